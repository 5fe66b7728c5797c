"""A task that is learned in seconds: dark discs on light ground."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from journey import GLAND, disc_cases
from slidemask.data.augment import Augment
from slidemask.data.case import Case
from slidemask.data.loader import TrainingLoader, ValidationLoader
from slidemask.data.sampling import Sampling
from slidemask.data.source import TileSource, lay_tiles
from slidemask.models.build import ModelSpec
from slidemask.models.losses import LossSpec
from slidemask.models.segmenter import Segmenter
from slidemask.tiles.grid import Tiling
from slidemask.train.loop import Task
from slidemask.train.schedule import Schedule, Selection

Parts = tuple[TileSource, TileSource]
MakeTask = Callable[..., Task]


@pytest.fixture(scope="session")
def disc_parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Training and validation tiles of 32 px."""
    cases = disc_cases(tmp_path_factory.mktemp("discs"))

    def tiles(part: str) -> TileSource:
        some: list[Case] = [case for case in cases if case.split == part]
        tiling = Tiling(tile_px=32, overlap=0.0, downsample=1.0)
        return lay_tiles(some, GLAND, tiling=tiling, sampling=Sampling(jitter=0.5))

    return tiles("train"), tiles("validation")


@pytest.fixture
def make_task(disc_parts: Parts) -> MakeTask:
    """Build a task with fresh weights; keywords are of `Schedule`."""

    def make(
        model: ModelSpec | None = None, *, augment: Augment | None = None, **schedule: Any
    ) -> Task:
        told = {"epochs": 4, "batch": 4, "learning_rate": 1e-2, "precision": "fp32"} | schedule
        settings = Schedule.model_validate(told)
        torch.manual_seed(0)
        segmenter = Segmenter(model or ModelSpec(width=3, depth=1), 1)
        training = TrainingLoader(disc_parts[0], settings.batch, augment=augment or Augment())
        validation = ValidationLoader(disc_parts[1], 4)
        tiles = Selection(level="tiles")
        return Task(segmenter, GLAND.names, LossSpec(), settings, tiles, training, validation)

    return make


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small are slower on two threads, and crawl beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run"
