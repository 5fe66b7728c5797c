"""Threads that compute for the first time, at once."""

from typing import Any

import numpy as np
import pytest
from tests.models.test_backends import bundle_of, cache

from slidemask.models import backends
from slidemask.models.backends import OpenVino
from slidemask.models.build import ModelSpec
from slidemask.models.unreported import import_openvino

__all__ = ["cache"]


@pytest.mark.usefixtures("cache")
def test_openvino_meets_numpy_before_any_thread_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sixteen programs whose two threads met it at the same time, four stood still for ever."""
    told, openvino = list[str](), import_openvino()
    real = backends.SimpleQueue

    class Noting(openvino.Tensor):
        def __init__(self, *some: Any) -> None:
            super().__init__(*some)
            told.append("made")

        @property
        def data(self) -> np.ndarray:
            told.append("looked at")
            return super().data

    def queue() -> Any:
        told.append("queue")
        return real()

    monkeypatch.setattr(openvino, "Tensor", Noting)
    monkeypatch.setattr(backends, "SimpleQueue", queue)
    OpenVino(bundle_of(ModelSpec(width=3, depth=2)))
    assert told == ["made", "looked at", "queue"]
