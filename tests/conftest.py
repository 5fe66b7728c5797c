"""What several rooms' tests share."""

import os
import tempfile
from pathlib import Path

import pytest

# Tiny networks are slower on two threads than on one, and sums in floating point depend on the
# number of threads: set before torch is imported, here and in every process that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# What is converted for tiny networks is neither taken from the user's cache nor left there.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="slidemask-tests-")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one module converts changes no other: for few tiles "auto" takes what is there."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real slides and annotations beside the checkout; tests skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return SHARED
