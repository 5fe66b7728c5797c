"""A slide predicted in parts is bit by bit the slide predicted whole."""

import itertools
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import Darkness
from slidemask.base.lock import locked
from slidemask.base.stages import Stages
from slidemask.infer.blend import Blend
from slidemask.infer.job import Job
from slidemask.infer.predict import adopt_parts, part_lock, predict, predict_part, take_parts
from slidemask.infer.prediction import Prediction
from slidemask.io.array import ArraySlide
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.select import TileSet


class Placed(Darkness):
    """Its answer depends on where in the tile a pixel is, so that blending shows."""

    def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
        probs = super().predict(tiles, precision)
        gland = probs[:, 1] * np.linspace(0.2, 1, tiles.shape[1], dtype=np.float32)[:, None]
        return np.stack([1 - gland, gland], axis=1)


def whole(prediction: Prediction) -> np.ndarray:
    return np.concatenate([band for _, band in prediction.bands()], axis=1)


def job_of(height: int, width: int, tile: int, stride: int, seed: int = 0) -> Job:
    rng = np.random.default_rng(seed)
    slide = ArraySlide("random", rng.integers(0, 256, (height, width, 3), np.uint8))
    grid = TileGrid(slide.size, tile, stride)
    kept = rng.random(grid.shape) < 0.8
    return Job(slide, TileSet(grid, kept), Placed(), Blend(batch=2))  # type: ignore[arg-type]


def placed(job: Job) -> Placed:
    """Return the job's bundle as what it is, which counts the tiles that it has seen."""
    assert isinstance(job.bundle, Placed)
    return job.bundle


@given(height=st.integers(1, 120), tile=st.integers(8, 40), data=st.data(), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_parts_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    height: int,
    tile: int,
    data: st.DataObject,
    seed: int,
) -> None:
    job = job_of(height, 50, tile, data.draw(st.integers(max(1, tile // 3), tile)), seed)
    count = job.tiles.grid.shape[0]
    cuts = sorted({0, count, *data.draw(st.lists(st.integers(0, count), max_size=3))})
    folder = tmp_path_factory.mktemp("work")
    parts = [
        predict_part(job, folder / str(first), Stages(), rows=range(first, last))
        for first, last in itertools.pairwise(cuts)
    ]
    adopt_parts(job, folder / "joined", parts)
    placed(job).seen = 0
    joined = predict(job, folder / "joined", Stages())
    assert placed(job).seen == 0
    np.testing.assert_array_equal(whole(joined), whole(predict(job, folder / "alone", Stages())))


def test_what_a_part_lacks_is_computed(tmp_path: Path) -> None:
    job = job_of(200, 60, 32, 20)
    first = predict_part(job, tmp_path / "0", Stages(), rows=range(4))
    adopt_parts(job, tmp_path / "joined", [first])
    joined = predict(job, tmp_path / "joined", Stages())
    np.testing.assert_array_equal(whole(joined), whole(predict(job, tmp_path / "alone", Stages())))


def test_a_part_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    class Dying(Placed):
        def predict(self, tiles: np.ndarray, precision: str = "auto") -> np.ndarray:
            if self.seen > 6:
                raise RuntimeError
            return super().predict(tiles, precision)

    job = job_of(200, 60, 32, 20)
    alone = predict_part(job, tmp_path / "alone", Stages(), rows=range(2, 8))
    dying = Job(job.slide, job.tiles, Dying(), job.blend)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError):
        predict_part(dying, tmp_path / "part", Stages(), rows=range(2, 8))
    part = predict_part(job, tmp_path / "part", Stages(), rows=range(2, 8))
    found, expected = (
        np.concatenate([band for _, band in store.bands()], axis=1) for store in (part, alone)
    )
    np.testing.assert_array_equal(found, expected)


@dataclass
class Named:
    """A backend, as far as a job's identity goes."""

    name: str


def cut_in(folder: Path, cuts: list[int]) -> list[tuple[range, Path]]:
    return [
        (range(first, last), folder / f"{first}-{last}") for first, last in itertools.pairwise(cuts)
    ]


@pytest.mark.parametrize("fault", ["missing", "torn", "of another backend"])
def test_every_finished_part_is_taken_up_whatever_became_of_one_in_the_middle(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Tiles are counted: only those that the middle part sees are computed again."""
    job = job_of(400, 60, 32, 20)
    count = job.tiles.grid.shape[0]
    places = cut_in(tmp_path / "parts", [0, 5, 10, 15, count])
    for rows, folder in places:
        other = replace(job, bundle=Placed(backend=Named("another")))  # type: ignore[arg-type]
        ours = fault != "of another backend" or rows.start != 5
        predict_part(job if ours else other, folder, Stages(), rows=rows)
    middle = places[1][1]
    if fault == "missing":
        shutil.rmtree(middle)
    elif fault == "torn":
        lines = (middle / "journal.jsonl").read_text().splitlines(keepends=True)
        (middle / "journal.jsonl").write_text("".join(lines[:3]))
    placed(job).seen = 0
    take_parts(job, tmp_path / "joined", places, Stages())
    joined = predict(job, tmp_path / "joined", Stages())
    first = {"torn": 7}.get(fault, 4)  # a tile reaches into the row below
    assert placed(job).seen == job.tiles.kept[first:10].sum()
    assert ("rows 5 to 9 are computed again" in caplog.text) == (fault == "of another backend")
    np.testing.assert_array_equal(whole(joined), whole(predict(job, tmp_path / "alone", Stages())))


def test_what_comes_behind_the_last_band_is_left_to_the_whole_slide(tmp_path: Path) -> None:
    job = job_of(400, 60, 32, 20)
    places = cut_in(tmp_path / "parts", [0, 5, 10, job.tiles.grid.shape[0]])
    predict_part(job, places[0][1], Stages(), rows=places[0][0])
    placed(job).seen = 0
    take_parts(job, tmp_path / "joined", places, Stages())
    assert placed(job).seen == 0
    predict(job, tmp_path / "joined", Stages())
    assert placed(job).seen == job.tiles.kept[4:].sum()


def test_a_part_that_somebody_is_at_is_left_alone(tmp_path: Path) -> None:
    job = job_of(200, 60, 32, 20)
    places = cut_in(tmp_path / "parts", [0, 3, 6, job.tiles.grid.shape[0]])
    for rows, folder in places:
        predict_part(job, folder, Stages(), rows=rows)
    with locked(part_lock(places[1][1])):
        shutil.rmtree(places[1][1])
        take_parts(job, tmp_path / "joined", places, Stages())
        assert not places[1][1].exists()
    placed(job).seen = 0
    joined = predict(job, tmp_path / "joined", Stages())
    assert placed(job).seen == job.tiles.kept[2:].sum()
    np.testing.assert_array_equal(whole(joined), whole(predict(job, tmp_path / "alone", Stages())))
