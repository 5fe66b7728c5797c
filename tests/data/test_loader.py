"""Batches: the same tiles whoever makes them, and the right ones."""

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from slidemask.base.classes import ClassMap
from slidemask.base.errors import CohortError, SlideError
from slidemask.base.types import IGNORE
from slidemask.data import loader as module
from slidemask.data.augment import Augment
from slidemask.data.case import Case
from slidemask.data.loader import Order, TileMaker, TrainingLoader, ValidationLoader
from slidemask.data.sampling import Sampling
from slidemask.data.shelf import Shelf, open_case
from slidemask.data.source import TileSource, lay_tiles
from slidemask.tiles.grid import Tiling

TILING = Tiling(tile_px=32, overlap=0.25, downsample=1.5)


@pytest.fixture
def source(cases: tuple[Case, ...], classes: ClassMap) -> TileSource:
    sampling = Sampling(tiles_per_epoch=22, negatives_per_positive=1, seed=5)
    return lay_tiles(cases, classes, tiling=TILING, sampling=sampling)


def epoch(loader: TrainingLoader, number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(images.clone(), labels.clone()) for images, labels in loader.epoch(number)]


def same(one: list[tuple[torch.Tensor, ...]], other: list[tuple[torch.Tensor, ...]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


def test_tiles_do_not_depend_on_the_number_of_workers(
    source: TileSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = TrainingLoader(source, 4, augment=Augment())
    first, second = epoch(alone, 1), epoch(alone, 2)
    assert len(alone) == len(first) == 5, "22 tiles are 5 batches of 4"
    assert first[0][0].shape == (4, 32, 32, 3)
    assert first[0][1].shape == (4, 32, 32)
    assert first[0][0].dtype == first[0][1].dtype == torch.uint8
    assert not same(first, second)
    assert same(epoch(alone, 1), first), "an epoch can be made again, in any order"
    for workers in (2, 1):
        if workers == 1:  # as on other systems than Linux
            monkeypatch.setattr(module, "_processes", lambda: get_context("spawn"))
        loader = TrainingLoader(source, 4, workers=workers, augment=Augment())
        abandoned = loader.epoch(7)
        next(abandoned)
        assert same(epoch(loader, 2), second)
        assert same(epoch(loader, 1), first), "the workers stay, and know the new epoch"
        del loader, abandoned


def test_seed_changes_the_tiles(source: TileSource) -> None:
    other = replace(source, sampling=source.sampling.model_copy(update={"seed": 6}))
    order = Order(1, 20.0, 20.0, (1, 3))
    one, two = (TileMaker(which, Augment())[order][0] for which in (source, other))
    assert (one != two).any(), "not the order of tiles alone"
    assert not same(epoch(TrainingLoader(source, 4), 1), epoch(TrainingLoader(other, 4), 1))


def test_image_and_labels_belong_together(source: TileSource) -> None:
    augment = Augment.off().model_copy(update={"flip": 0.5, "turn": 1.0, "affine": 0.7})
    for number in range(3):
        for images, labels in TrainingLoader(source, 4, augment=augment).epoch(number):
            known = labels != IGNORE
            agree = (images[..., 0] > 120) == (labels == 1)
            assert agree[known].float().mean() > 0.9
            assert known.float().mean() > 0.6


def test_small_epochs_still_have_a_batch(source: TileSource) -> None:
    loader = TrainingLoader(source, 64)
    assert len(loader) == 1
    ((images, _),) = loader.epoch(0)
    assert len(images) == 22


def test_validation_tiles_are_the_grid_as_it_is(
    source: TileSource, cases: tuple[Case, ...], classes: ClassMap
) -> None:
    loader = ValidationLoader(source, 5)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert [batch.slides for batch in batches] == [batch.slides for batch in loader]
    images = torch.cat([batch.images for batch in batches]).numpy()
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    slides = [slide for batch in batches for slide in batch.slides]
    assert len(images) == sum(len(grid) for grid in source.grids)
    place = 0
    for case, grid in zip(cases, source.grids, strict=True):
        with open_case(case, classes) as (slide, _):
            mask = cv2.imread(str(case.annotations), cv2.IMREAD_UNCHANGED)
            assert mask is not None
            for tile in grid:
                assert slides[place] == str(case.slide)
                if tile.box.x + tile.box.width <= 140 and tile.box.y + tile.box.height <= 100:
                    np.testing.assert_array_equal(images[place], slide.read(tile.box, 1.5))
                rows, columns = (
                    np.floor(start + (np.arange(32) + 0.5) * 1.5).astype(int)
                    for start in (tile.box.y, tile.box.x)
                )
                wanted = np.full((32, 32), IGNORE)
                for i, row in enumerate(rows):
                    for j, column in enumerate(columns):
                        if row < 100 and column < 140:
                            wanted[i, j] = mask[row, column] > 0
                np.testing.assert_array_equal(labels[place], wanted)
                place += 1


def test_positives_only(source: TileSource) -> None:
    everything, positives = (
        ValidationLoader(source, 1),
        ValidationLoader(source, 1, positives_only=True),
    )
    held = [bool((batch.labels == 1).any()) for batch in everything]
    assert 0 < len(positives) < len(everything)
    assert len(positives) == sum(held)
    assert all((batch.labels == 1).any() for batch in positives)


def test_training_draws_the_ratio_of_positives(source: TileSource) -> None:
    still = replace(source, sampling=source.sampling.model_copy(update={"jitter": 0.0}))
    loader = TrainingLoader(still, 22)
    ((_, labels),) = loader.epoch(3)
    counts = Counter((labels == 1).flatten(1).any(dim=1).tolist())
    # Overhanging tiles are pushed back onto the slide, where a few negatives meet a gland.
    assert abs(counts[True] - 11) <= 3


def test_makers_leave_open_slides_behind(source: TileSource) -> None:
    maker = TileMaker(source, Augment())
    order = Order(2, 10.5, 20.0, (1, 3))
    image, labels, slide = maker[order]
    copy = pickle.loads(pickle.dumps(maker))
    assert len(copy._shelf) == 0
    assert len(pickle.dumps(maker)) < 10_000
    for one, other in zip(copy[order], (image, labels, slide), strict=True):
        np.testing.assert_array_equal(one, other)


def test_shelf_closes_what_was_used_longest_ago(cases: tuple[Case, ...], classes: ClassMap) -> None:
    picture = 100 * 140 * 4  # three bytes of colour and a label
    shelf = Shelf(cases, classes, budget_bytes=3 * picture)
    opened = [shelf.get(number) for number in (0, 1, 2)]
    assert shelf.get(0) is opened[0]
    shelf.get(3)
    assert len(shelf) == 3
    assert shelf.get(0) is opened[0], "used again after 1"
    assert shelf.get(1) is not opened[1]
    tight = Shelf(cases, classes, budget_bytes=1)
    assert tight.get(4) is tight.get(4)
    assert len(tight) == 1
    shelf.close()
    assert len(shelf) == 0


def test_pictures_smaller_than_a_tile(
    tmp_path: Path,
    classes: ClassMap,
    blobs: Callable[..., np.ndarray],
    write_pair: Callable[..., Case],
) -> None:
    case = write_pair(tmp_path, "small", blobs(30, 50, 0))
    source = lay_tiles([case], classes, tiling=Tiling(tile_px=64, overlap=0, downsample=1.0))
    ((images, labels),) = TrainingLoader(source, 1, augment=Augment()).epoch(0)
    assert images.shape == (1, 64, 64, 3)
    assert (labels != IGNORE).sum() > 0
    (batch,) = ValidationLoader(source, 1)
    assert (batch.labels != IGNORE).sum() == 30 * 50


def test_cases_without_a_tile_are_an_error(
    cases: tuple[Case, ...], classes: ClassMap, caplog: pytest.LogCaptureFixture
) -> None:
    weak = replace(cases[-1], complete=False)
    with pytest.raises(CohortError, match="no tile to learn from"):
        lay_tiles([weak], classes, tiling=TILING)
    source = lay_tiles([cases[0], weak], classes, tiling=TILING)
    assert set(source.table.case) == {0}
    assert "p5.png: no tile" in caplog.text
    with pytest.raises(CohortError, match="0 cases"):
        lay_tiles([], classes, tiling=TILING)


def test_a_vanished_slide_is_a_slide_error(source: TileSource) -> None:
    loader = TrainingLoader(source, 4)
    for case in source.cases:
        case.slide.unlink()
    with pytest.raises(SlideError, match="does not exist"):
        next(loader.epoch(0))
