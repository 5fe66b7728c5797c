"""A half-done result is gone on with as it was begun."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from fakes import Darkness
from slidemask.base.errors import OutputError, SettingsError
from slidemask.base.stages import Stages
from slidemask.infer import equip as module
from slidemask.infer.blend import Blend
from slidemask.infer.equip import equip
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.io.array import ArraySlide
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.select import TileSet


@dataclass
class Named:
    name: str


@dataclass
class Computed(Darkness):
    """Darkness by a backend of some name."""

    backend: Named | None = None  # type: ignore[assignment]
    info: object = field(default_factory=lambda: Darkness().info)  # type: ignore[assignment]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []

    def with_backend(
        bundle: Computed, name: str, _: Callable[[], object], **__: object
    ) -> Computed:
        names.append(name)
        if name == "int8":
            raise SettingsError("There is none.")
        return replace(bundle, backend=None if name == "torch" else Named(name))

    monkeypatch.setattr(module, "with_backend", with_backend)
    return names


def job_of(batch: int = 0) -> Job:
    rng = np.random.default_rng(0)
    slide = ArraySlide("random", rng.integers(0, 256, (90, 60, 3), np.uint8))
    grid = TileGrid(slide.size, 32, 20)
    return Job(slide, TileSet(grid, np.ones(grid.shape, bool)), Computed(), Blend(batch=batch))  # type: ignore[arg-type]


@pytest.mark.parametrize("now", ["auto", "onnxruntime"])
def test_it_goes_on_with_the_backend_it_began_with(
    tmp_path: Path, asked: list[str], now: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun = equip(job_of(), "torch", [tmp_path])
    predict(begun, tmp_path, Stages())
    job = equip(job_of(), now, [tmp_path / "not there", tmp_path])  # type: ignore[arg-type]
    assert asked == ["torch", "torch"]
    assert job.identity == begun.identity
    predict(job, tmp_path, Stages())  # which refuses another identity
    assert ("goes on with it, not with onnxruntime" in caplog.text) == (now == "onnxruntime")


def test_and_with_the_batch(tmp_path: Path, asked: list[str]) -> None:
    begun = replace(equip(job_of(), "torch"), batch_chosen=4)
    predict(begun, tmp_path, Stages())
    assert equip(job_of(), "torch", [tmp_path]).batch == 4
    assert equip(job_of(batch=2), "torch", [tmp_path]).batch == 2, "asked for: then it is refused"
    assert len(asked) == 3


def test_what_is_of_another_job_says_nothing(tmp_path: Path, asked: list[str]) -> None:
    predict(equip(job_of(), "onnxruntime"), tmp_path / "1", Stages())
    other = replace(job_of(), source="another file")
    assert equip(other, "torch", [tmp_path / "1"]).bundle.backend is None
    (tmp_path / "1" / "job.json").write_text("{")
    assert equip(job_of(), "torch", [tmp_path / "1"]).bundle.backend is None
    assert asked == ["onnxruntime", "torch", "torch"]


def test_what_is_gone_is_told(tmp_path: Path, asked: list[str]) -> None:
    job = replace(job_of(), bundle=Computed(backend=Named("int8")))  # type: ignore[arg-type]
    predict(job, tmp_path, Stages())
    with pytest.raises(OutputError, match=r"--backend int8, which cannot.*none\. Or pass --over"):
        equip(job_of(), "auto", [tmp_path])
    assert asked == ["int8"]
