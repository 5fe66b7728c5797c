"""What a result was made with."""

import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version

import numpy as np

from slidemask.base.record import machine, peak_memory_mb, versions
from slidemask.base.stages import Stages


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == version("torch")
    assert "not installed" not in found.values()
    assert platform.machine() in machine()


def test_peak_memory_sees_an_array_that_is_gone() -> None:
    code = (
        "import numpy as np; from slidemask.base.record import peak_memory_mb;"
        "before = peak_memory_mb(); np.ones(25_000_000); print(before, peak_memory_mb())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert 10 < before < 200
    assert 190 < after - before < 260
    assert peak_memory_mb() >= np.float64(before)


def test_stages_add_up_and_count_what_fails() -> None:
    stages = Stages()

    def fails() -> None:
        with stages.stage("read"):
            raise KeyError

    for _ in range(2):
        with stages.stage("read"):
            pass
    once = stages.seconds["read"]
    with suppress(KeyError):
        fails()
    assert stages.seconds["read"] > once
