"""Hard negatives: they are the tiles with false finds, and a resumed run draws the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError

from slidemask.data.loader import TrainingLoader
from slidemask.data.sampling import Sampling, draw
from slidemask.data.source import TileSource
from slidemask.data.truth import open_truth
from slidemask.geometry.box import Box
from slidemask.io.open import open_slide
from slidemask.train.checkpoint import Progress
from slidemask.train.hard import FOLDER, recall, remember, search
from slidemask.train.loop import Task, fit

CPU = torch.device("cpu")
HARD = Sampling(
    negatives_per_positive=1.0, tiles_per_epoch=8, jitter=0.5,
    hard_rounds=(1, 3), hard_share=0.5, hard_pool=0.2,
)  # fmt: skip


def harder(task: Task) -> Task:
    source = replace(task.training.source, sampling=HARD)
    return replace(task, training=TrainingLoader(source, 4))


def no_bundle(_progress: Progress) -> None:
    """Nobody wants one."""


def test_the_hardest_are_those_a_naive_look_finds(make_task: Callable[..., Task]) -> None:
    task = harder(make_task())
    fabric = Fabric(accelerator="cpu", devices=1)
    found = search(task.segmenter, task.training, fabric, batch=3)

    source, segmenter = task.training.source, task.segmenter.eval()
    table = source.table
    negative = np.flatnonzero(~table.is_positive(HARD))
    wrong = {}
    for row in negative:
        case = source.cases[table.case[row]]
        with open_slide(case.slide, mpp=case.mpp) as slide:
            box = Box(float(table.x[row]), float(table.y[row]), 32, 32)
            pixels = slide.read(box, 1.0)
            labels = open_truth(case, slide, source.classes).labels(box, 1.0)
        with torch.inference_mode():
            tiles = torch.from_numpy(pixels[None])
            foreground = 1 - segmenter.probabilities(segmenter(tiles))[0, 0].numpy()
        wrong[int(row)] = float(foreground[labels == 0].mean())
    expected = sorted(wrong, key=lambda row: -wrong[row])[: len(found)]
    assert len(found) == int(np.ceil(0.2 * len(negative)))
    assert found.tolist() == expected


def test_half_of_the_negatives_are_hard_ones(disc_parts: tuple[TileSource, TileSource]) -> None:
    table = disc_parts[0].table
    hard = np.flatnonzero(~table.is_positive(HARD))[:1]
    drawn = draw(table, HARD, 5, hard)
    positive = table.is_positive(HARD)[drawn]
    assert positive.sum() == 4
    assert np.sum(drawn == hard[0]) >= 2
    assert np.sum(draw(table, HARD, 5) == hard[0]) <= 1
    assert np.array_equal(draw(table, HARD, 5, hard[:0]), draw(table, HARD, 5))


def test_a_resumed_run_draws_the_same_hard_tiles(
    make_task: Callable[..., Task], tmp_path: Path
) -> None:
    straight, halves = tmp_path / "straight", tmp_path / "halves"
    straight.mkdir()
    halves.mkdir()
    flat = {"rate": "constant", "warmup_epochs": 0.0}  # a course that does not know its end
    whole = harder(make_task(epochs=4, **flat))
    fit(whole, straight, CPU, no_bundle)
    fit(harder(make_task(epochs=2, **flat)), halves, CPU, no_bundle)
    rest = harder(make_task(epochs=4, **flat))
    fit(rest, halves, CPU, no_bundle)
    for name, value in whole.segmenter.state_dict().items():
        assert torch.equal(value, rest.segmenter.state_dict()[name]), name
    assert sorted(file.name for file in (straight / FOLDER).iterdir()) == ["001.npy", "003.npy"]


def test_the_last_round_before_an_epoch_counts(tmp_path: Path) -> None:
    remember(tmp_path, 1, np.array([3, 4]))
    remember(tmp_path, 3, np.array([5]))
    assert recall(tmp_path, HARD, 0) is None
    found = [recall(tmp_path, HARD, epoch) for epoch in (1, 2, 3)]
    assert [None if tiles is None else tiles.tolist() for tiles in found] == [[3, 4], [3, 4], [5]]


def test_rounds_need_a_ratio() -> None:
    with pytest.raises(ValidationError, match="negatives_per_positive"):
        Sampling(hard_rounds=(2,))
    with pytest.raises(ValidationError, match="from 1 on"):
        Sampling(hard_rounds=(0,), negatives_per_positive=1)
