"""Training and choosing where a network says one class for a tile."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import Tensor, nn

from journey import GLAND, write_png
from slidemask.data.case import Case
from slidemask.data.loader import Batch, ValidationLoader
from slidemask.evaluate.confusion import Confusion
from slidemask.geometry.box import Box
from slidemask.infer.blend import Blend
from slidemask.io.open import open_slide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo, save_bundle
from slidemask.models.losses import LossSpec
from slidemask.models.segmenter import Segmenter
from slidemask.post.clean import Post
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling, lay_grid
from slidemask.tiles.reading import read_tile
from slidemask.train.choose import choice_of
from slidemask.train.loop import Task, fit
from slidemask.train.schedule import Selection
from slidemask.train.validation import validate
from slidemask.train.wholeslides import WholeSlides

MakeTask = Callable[..., Task]
CPU = torch.device("cpu")
TILE = ModelSpec(
    architecture="tile", filters=(4, 6), activation="sigmoid", head="pool", dropouts=(0, 0, 0)
)
BCE = LossSpec(terms={"bce": 1.0})


def voting(task: Task, *, spec: ModelSpec = TILE, loss: LossSpec = BCE) -> Task:
    """The same task for a network that votes, quick to follow what it learns."""
    torch.manual_seed(0)
    segmenter = Segmenter(spec, 1, tile_px=32)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    return replace(task, segmenter=segmenter, loss=loss)


def nothing(_progress: object) -> None: ...


def test_tiles_with_enough_of_the_object_are_told_from_the_others(
    make_task: MakeTask, run: Path
) -> None:
    spec = TILE.model_copy(update={"min_share": 0.15})
    task = voting(make_task(epochs=12, batch=4, learning_rate=0.03, weight_decay=0), spec=spec)
    told = torch.cat([task.segmenter.targets(batch.labels) for batch in task.validation])
    assert 0 < told.sum() < len(told)
    progress = fit(task, run, CPU, nothing)
    assert progress.history[-1]["loss"] < 0.8 * progress.history[0]["loss"]
    assert progress.history[-1]["tiles dice pooled"] > 0.7  # 0.4 if all are taken for the object
    assert progress.best == progress.history[progress.best_epoch - 1]["tiles dice slides"]


def test_a_refined_vote_learns_pixels(make_task: MakeTask, run: Path) -> None:
    spec = TILE.model_copy(update={"refine": 6, "activation": "softmax"})
    task = voting(make_task(epochs=12, batch=2, learning_rate=0.03), spec=spec, loss=LossSpec())
    progress = fit(task, run, CPU, nothing)
    assert progress.best > 0.8


class Red(nn.Module):
    """Votes as strongly as the first pixel is red."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.tensor(-1.0))

    def forward(self, tiles: Tensor) -> Tensor:
        return tiles[:, 0, 0, 0].float()[:, None] / 255 * 2 + self.shift


def test_tiles_are_counted_and_not_their_pixels() -> None:
    """Six tiles: found and there, found and not there, missed; what is unknown does not count."""
    segmenter = Segmenter(TILE, 1, tile_px=32)
    segmenter.network = Red()
    images = torch.zeros(6, 32, 32, 3, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.tensor([255, 255, 0, 0, 255, 255])
    labels = torch.zeros(6, 32, 32, dtype=torch.uint8)
    labels[0, :16], labels[1, :15], labels[2, :20], labels[4] = 1, 1, 1, 255
    labels[5, :8], labels[5, 8:20] = 1, 255  # 8 of 20 known rows
    batch = Batch(images, labels, ("s",) * 6)
    figures = validate(segmenter, [batch], GLAND.names, Fabric(accelerator="cpu"))
    assert figures["recall pooled"] == pytest.approx(1 / 2)
    assert figures["precision pooled"] == pytest.approx(1 / 3)


def test_every_epoch_s_weights_are_kept(make_task: MakeTask, run: Path, tmp_path: Path) -> None:
    seen: dict[int, dict[str, Tensor]] = {}
    task = voting(make_task(epochs=2, keep_epochs=True))
    info = BundleInfo(
        name="v", model=TILE, classes=GLAND, tiling=Tiling(tile_px=32, downsample=1),
    )  # fmt: skip

    def keep(progress: object) -> None:
        seen[progress.epoch] = {  # type: ignore[attr-defined]
            key: value.clone() for key, value in task.segmenter.state_dict().items()
        }
        save_bundle(tmp_path / "bundle", info, task.segmenter, card="", scores={})

    schedule = task.schedule
    fit(task, run, CPU, keep)
    assert [path.name for path in sorted((run / "epochs").iterdir())] == [
        "001.safetensors", "002.safetensors",
    ]  # fmt: skip
    for epoch, expected in seen.items():
        found = load_file(run / "epochs" / f"{epoch:03d}.safetensors")
        assert found.keys() == expected.keys()
        for key, value in found.items():
            np.testing.assert_allclose(value.float(), expected[key].float(), rtol=1e-3, atol=1e-6)
    fit(replace(task, schedule=schedule.model_copy(update={"epochs": 3})), run, CPU, nothing)
    assert len(list((run / "epochs").iterdir())) == 3
    (run / "epochs" / "001.safetensors").replace(tmp_path / "bundle" / "weights.safetensors")
    Bundle.load(tmp_path / "bundle", "cpu")


def test_no_epochs_are_kept_unless_asked_for(make_task: MakeTask, run: Path) -> None:
    fit(voting(make_task(epochs=1)), run, CPU, nothing)
    assert not (run / "epochs").exists()


class Recalled(ValidationLoader):
    """Validation whose figures are foreseen: of each epoch, how many of four tiles are found."""

    def __init__(self, found: list[tuple[int, int]]) -> None:
        self._found = iter(found)

    def __iter__(self) -> Iterator[Batch]:
        hits, false = next(self._found)
        images = torch.zeros(12, 32, 32, 3, dtype=torch.uint8)
        images[:hits], images[4 : 4 + false] = 255, 255
        labels = torch.zeros(12, 32, 32, dtype=torch.uint8)
        labels[:4] = 1
        yield Batch(images, labels, ("s",) * 12)


@pytest.mark.parametrize(("least", "epoch"), [(None, 2), (0.7, 3), (1.0, 4), (0.0, 2)])
def test_the_best_of_those_that_find_enough(
    make_task: MakeTask, run: Path, least: float | None, epoch: int
) -> None:
    """Jaccard 1/9, 2/4, 3/7, 4/12, 3/8; recall 1/4, 2/4, 3/4, 1, 3/4."""
    task = make_task(epochs=5, optimiser="sgd", learning_rate=1e-30, weight_decay=0)
    segmenter = Segmenter(TILE, 1, tile_px=32)
    segmenter.network = Red()
    selection = Selection(level="tiles", figure="iou", min_recall=least)
    found = Recalled([(1, 5), (2, 0), (3, 3), (4, 8), (3, 4)])
    task = replace(
        task, segmenter=segmenter, loss=BCE, selection=selection, validation=found,
        schedule=task.schedule.model_copy(update={"early_stop_epochs": 4}),
    )  # fmt: skip
    better: list[int] = []
    progress = fit(task, run, CPU, lambda progress: better.append(progress.epoch))
    assert progress.best_epoch == better[-1] == epoch
    assert progress.best == progress.history[epoch - 1]["tiles iou slides"]
    choice = choice_of(progress.history, selection, 0.5)
    assert choice is not None
    assert choice.epoch == epoch


@pytest.fixture
def case(tmp_path: Path) -> Case:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (150, 170, 3), np.uint8)
    pixels[:60, :70] //= 8
    truth = np.zeros((150, 170), np.uint8)
    truth[:60, :70] = 255
    slide = write_png(tmp_path / "s.png", pixels)
    return Case(slide, write_png(tmp_path / "t.png", truth), "p", "validation", 1.0)


def decided(case: Case) -> Segmenter:
    """Chance weights, the last ones moved and stretched so that votes lie all over 0..1."""
    segmenter = Segmenter(TILE, 1, tile_px=32).eval()
    last = segmenter.tile_net().head[-1]
    assert isinstance(last, nn.Linear)
    with open_slide(case.slide, mpp=1.0) as slide, torch.inference_mode():
        pixels = slide.read(Box(0, 0, *slide.size))
        tiles = [pixels[y : y + 32, x : x + 32] for y in (0, 40, 80) for x in (0, 30, 60, 90)]
        logits = segmenter(torch.from_numpy(np.stack(tiles)))
        last.bias -= logits.mean()
        last.weight *= 2 / logits.std()
        last.bias *= 2 / logits.std()
    return segmenter


@pytest.mark.parametrize("overlap", [0.0, 0.75])
@pytest.mark.parametrize("filters", [Filters(tissue=None), Filters(tissue=None, min_std=70)])
def test_whole_slides_are_the_mean_of_their_tiles_votes(
    case: Case, tmp_path: Path, overlap: float, filters: Filters
) -> None:
    """Naive: each tile read, judged and classified, and added up pixel by pixel."""
    torch.manual_seed(2)
    tiling = Tiling(tile_px=32, overlap=overlap, downsample=1.0)
    info = BundleInfo(name="v", model=TILE, classes=GLAND, tiling=tiling, filters=filters)
    segmenter = decided(case)
    blend = Blend(precision="fp32")
    whole = WholeSlides([case], info, blend, folder=tmp_path / "scratch")
    found = [whole.histograms(segmenter, CPU) for _ in range(2)][1][0]

    total, count = np.zeros((150, 170)), np.zeros((150, 170))
    dropped = 0
    with open_slide(case.slide, mpp=1.0) as slide:
        grid = lay_grid(slide, tiling)
        for tile in grid:
            pixels = read_tile(slide, tile.box, 1.0)
            if filters.min_std is not None and pixels.std() < filters.min_std:
                vote, dropped = 0.0, dropped + 1
            else:
                with torch.inference_mode():
                    vote = float(segmenter(torch.from_numpy(pixels.copy())[None]).sigmoid())
            x, y = int(tile.box.x), int(tile.box.y)
            total[y : y + 32, x : x + 32] += vote
            count[y : y + 32, x : x + 32] += 1
    assert (dropped > 0) == (filters.min_std is not None)
    mean = total / count
    assert mean.std() > 0.1
    truth = np.zeros((150, 170), np.uint8)
    truth[:60, :70] = 1
    for threshold in (0.2, 0.5, 0.7):
        expected = Confusion.of(truth, (mean >= threshold).astype(np.uint8), 2).counts
        near = np.count_nonzero(np.abs(mean - threshold) < 1 / 255)  # rounded to 8 bits
        assert np.abs(found.confusion_at(threshold).counts - expected).max() <= near
    bundle = Bundle(info, segmenter.eval(), "x", CPU)
    ((counted,),) = whole.cleaned(bundle, [Post(threshold=0.5)])
    np.testing.assert_array_equal(counted.counts, found.confusion_at(0.5).counts)
    whole.close()
