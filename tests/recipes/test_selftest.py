"""The doctor's own checks, with a model that is there and one that is damaged."""

from pathlib import Path

import pytest

from journey import save_dark_bundle
from slidemask.models import bundle
from slidemask.recipes.selftest import self_test


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in place of the shipped ones."""
    save_dark_bundle(tmp_path / "shipped" / "tiny", downsample=None, mpp=1.0)
    monkeypatch.setattr(bundle, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


@pytest.mark.usefixtures("shipped")
def test_all_is_well_with_a_model() -> None:
    checks = list(self_test("cpu"))
    assert [check.what for check in checks] == [
        "write a slide", "read it back", "model tiny", "segment with tiny",
    ]  # fmt: skip
    assert all(check.passed for check in checks), checks
    assert "mask 750 × 550" in checks[-1].note


def test_a_damaged_model_fails_by_name_and_the_rest_goes_on(shipped: Path) -> None:
    save_dark_bundle(shipped / "zz")
    (shipped / "tiny" / "weights.safetensors").write_bytes(b"damaged")
    checks = {check.what: check for check in self_test("cpu")}
    assert not checks["model tiny"].passed
    assert "do not fit" in checks["model tiny"].note
    assert checks["segment with zz"].passed
