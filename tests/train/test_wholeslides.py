"""Slides that are segmented during training are what `segment` gives of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from journey import GLAND, darkness, discs, save_dark_bundle, write_png
from slidemask.base.errors import SettingsError
from slidemask.data.case import Case
from slidemask.data.loader import TrainingLoader, ValidationLoader
from slidemask.data.source import lay_tiles
from slidemask.evaluate.confusion import Confusion
from slidemask.geometry.box import Box, Size
from slidemask.infer.blend import Blend
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.io.slide import Slide
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo
from slidemask.models.losses import LossSpec
from slidemask.models.segmenter import Segmenter
from slidemask.post.clean import Post
from slidemask.recipes.segment import Options, segment
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling
from slidemask.tiles.select import TileSet
from slidemask.tiles.tissue import TissueMask
from slidemask.train import wholeslides
from slidemask.train.choose import THRESHOLD, choice_of
from slidemask.train.loop import Task, fit
from slidemask.train.schedule import Schedule, Selection
from slidemask.train.wholeslides import BandRows, WholeSlides

CPU = torch.device("cpu")
EXACT = Blend(precision="fp32")


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    """Two pictures with holes and crumbs in what is dark; a part of the truth is unknown."""
    made = []
    for number, (height, width) in enumerate(((90, 120), (61, 75))):
        pixels, mask = discs(height, width, seed=number)
        rng = np.random.default_rng(number)
        pixels[rng.random(mask.shape) < 0.03] = 20
        pixels[rng.random(mask.shape) < 0.03] = 240
        truth = np.where(mask > 0, 200, 0).astype(np.uint8)
        truth[:, : width // 3] = 255
        slide = write_png(tmp_path / f"s{number}.png", pixels)
        made.append(Case(slide, write_png(tmp_path / f"t{number}.png", truth), mpp=0.5))
    return made


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.load(save_dark_bundle(tmp_path / "dark", tile=32), "cpu")


CLASSES = GLAND.model_copy(
    update={"classes": (GLAND.classes[0].model_copy(update={"values": (200,)}),)}
)


def slides_of(cases: list[Case], bundle: Bundle, folder: Path) -> WholeSlides:
    info = bundle.info.model_copy(update={"classes": CLASSES})
    return WholeSlides(cases, info, EXACT, folder=folder / "scratch")


def truth_of(case: Case) -> np.ndarray:
    values = np.asarray(cv2.imread(str(case.annotations), cv2.IMREAD_UNCHANGED))
    return np.where(values == 255, 255, values // 200).astype(np.uint8)


def test_counts_are_those_of_the_network_s_own_answer(
    cases: list[Case], bundle: Bundle, tmp_path: Path
) -> None:
    """The network looks at each pixel alone, so what it says is known without it."""
    slides = slides_of(cases, bundle, tmp_path)
    bundle.segmenter.train()
    for _ in range(2):  # again, as after the next epoch
        found = slides.histograms(bundle.segmenter, CPU)
        for case, histogram in zip(cases, found, strict=True):
            with open_slide(case.slide, mpp=0.5) as slide:
                dark = darkness(slide.read(Box(0, 0, *slide.size)))
            truth = truth_of(case)
            expected = Confusion.of(truth, (dark > 0.5).astype(np.uint8), 2)
            assert histogram.total == (truth != 255).sum()
            np.testing.assert_array_equal(histogram.confusion_at(0.5).counts, expected.counts)
    assert not (tmp_path / "scratch").exists()
    assert not bundle.segmenter.training


POSTS = [
    Post(threshold=0.5),
    Post(threshold=0.2, min_area_um2=3),
    Post(threshold=0.9, min_area_um2=10, fill_holes_um2=10),
]


@pytest.mark.parametrize("ink", [False, True])
def test_cleaned_counts_are_those_of_the_mask_that_segment_writes(
    cases: list[Case], bundle: Bundle, tmp_path: Path, *, ink: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked(slide: Slide, grid: TileGrid, _filters: Filters) -> TileSet:
        pen = np.zeros((4, 5), bool)
        pen[1:3, 2:4] = True
        tissue = TissueMask(np.ones((4, 5), bool), slide.size.width / 5, ink=pen)
        return TileSet(grid, np.ones(grid.shape, bool), tissue=tissue)

    if ink:
        monkeypatch.setattr(wholeslides, "select", marked)
        monkeypatch.setattr("slidemask.recipes.oneslide.select", marked)
    slides = slides_of(cases, bundle, tmp_path)
    found = slides.cleaned(bundle, POSTS)
    assert [len(counts) for counts in found] == [2] * len(POSTS)
    for post, counts in zip(POSTS, found, strict=True):
        changes = [f"post.{name}={value}" for name, value in post.model_dump().items()]
        options = Options((*changes, "blend.precision=fp32"), overwrite=True)
        for outcome, case, count in zip(
            segment(cases, bundle, tmp_path / "out", options), cases, counts, strict=True
        ):
            assert outcome.state == "done", outcome.message
            with open_mask(outcome.folder / "mask.ome.tif") as mask:
                written = mask.rows(0, mask.size.height)
            np.testing.assert_array_equal(
                count.counts, Confusion.of(truth_of(case), written, 2).counts
            )
    plain = [h.confusion_at(0.5).counts for h in slides.histograms(bundle.segmenter, CPU)]
    np.testing.assert_array_equal(plain, [count.counts for count in found[0]])
    assert (found[1][0].counts != found[0][0].counts).any()


def test_what_a_killed_run_left_is_not_taken_up(
    cases: list[Case], bundle: Bundle, tmp_path: Path
) -> None:
    """It is of another epoch's weights."""
    slides = slides_of(cases, bundle, tmp_path)
    before = slides.histograms(bundle.segmenter, CPU)
    other = Bundle.load(save_dark_bundle(tmp_path / "other", tile=32), "cpu")
    with torch.no_grad():
        dict(other.segmenter.network.named_parameters())["last.bias"][1] = 50
    stopped = slides._on_each(replace(bundle, network=other.segmenter), lambda *_: None)
    next(stopped)
    left = {path: path.read_bytes() for path in (tmp_path / "scratch").rglob("*.*")}
    assert len(left) == 3
    stopped.close()
    for path, data in left.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for one, again in zip(before, slides.histograms(bundle.segmenter, CPU), strict=True):
        np.testing.assert_array_equal(one.counts, again.counts)


def test_areas_without_pixel_size_are_refused_before_training(
    cases: list[Case], bundle: Bundle, tmp_path: Path
) -> None:
    slides = slides_of([replace(case, mpp=None) for case in cases], bundle, tmp_path)
    slides.require_pixel_sizes([Post(), Post(threshold=0.1)])
    with pytest.raises(SettingsError, match=r"s0\.png has no pixel size.*post\.min_area_um2"):
        slides.require_pixel_sizes([Post(), Post(min_area_um2=5)])


@given(
    cuts=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    data=st.data(),
    classes=st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_bands_read_by_rows_are_the_whole(
    cuts: list[int], data: st.DataObject, classes: int
) -> None:
    height = sum(cuts)
    shape = (*([classes] if classes else []), height, 3)
    whole = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    tops = np.cumsum([0, *cuts[:-1]]).tolist()
    bands = [(t, whole[..., t : t + cut, :]) for t, cut in zip(tops, cuts, strict=True)]
    rows = BandRows(iter(bands), Size(3, height))
    top = 0
    for _ in range(5):
        top = data.draw(st.integers(top, height - 1))
        count = data.draw(st.integers(1, height - top))
        np.testing.assert_array_equal(rows.rows(top, count), whole[..., top : top + count, :])
        top += data.draw(st.integers(0, count - 1))


def test_rows_that_have_passed_or_never_come_are_an_error() -> None:
    bands = [(top, np.zeros((2, 3), np.uint8)) for top in (0, 2, 4)]
    rows = BandRows(iter(bands), Size(3, 6))
    rows.rows(3, 1)
    with pytest.raises(ValueError, match="row 1 has passed"):
        rows.rows(1, 1)
    with pytest.raises(ValueError, match="not all there"):
        rows.rows(3, 4)


class Told:
    """One batch an epoch, before which the network becomes what the epoch's number says."""

    def __init__(self, loader: TrainingLoader, network: nn.Conv2d, levels: tuple[int, ...]) -> None:
        self._loader, self._network, self._levels = loader, network, levels
        self.source = loader.source

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        with torch.no_grad():
            self._network.weight[:] = torch.tensor([0.0, -100.0])[:, None, None, None] / 3
            assert self._network.bias is not None
            self._network.bias[:] = torch.tensor([0.0, 100 * self._levels[number - 1] / 255])
        yield next(iter(self._loader.epoch(1)))


@pytest.mark.parametrize("level", ["slides", "positive tiles", "tiles"])
def test_tiles_with_the_object_choose_what_ruins_the_slide(tmp_path: Path, level: str) -> None:
    """What is below a level of grey is called a gland, and each epoch has a level of its own.

    A disc has 256 px, 100 of them black, the rest dark grey; elsewhere 1,600 px are dark grey
    and no gland. Epoch 1 calls what is black a gland, epoch 2 what is black or grey.
    Tile with the disc: Dice 200 / 356 and 1; slide: 200 / 356 and 512 / (512 + 1600).
    """
    pixels, truth = np.full((64, 64, 3), 230, np.uint8), np.zeros((64, 64), np.uint8)
    pixels[8:24, 8:24], pixels[8:18, 8:18], truth[8:24, 8:24] = 110, 40, 255
    pixels[:40, 32:48] = pixels[40:64, 8:48] = 110
    assert ((pixels[..., 0] == 110) & (truth == 0)).sum() == 1600
    slide = write_png(tmp_path / "s.png", pixels)
    cases = [Case(slide, write_png(tmp_path / "t.png", truth), "p", "validation", 1.0)]
    tiling, spec = Tiling(tile_px=32, overlap=0.0, downsample=1.0), ModelSpec(
        width=1, depth=1, mean=(0, 0, 0), std=(1, 1, 1)
    )  # fmt: skip
    source = lay_tiles(cases, GLAND, tiling=tiling)
    segmenter = Segmenter(spec, 1)
    segmenter.network = network = nn.Conv2d(3, 2, 1)
    info = BundleInfo(
        name="t", model=spec, classes=GLAND, tiling=tiling, filters=Filters(tissue=None)
    )
    whole = WholeSlides(cases, info, EXACT, folder=tmp_path / "scratch")
    selection = Selection.model_validate({"level": level, "thresholds": (0.5,)})
    positives = level != "tiles"
    training = Told(TrainingLoader(source, 1), network, (75, 170))
    task = Task(
        segmenter, GLAND.names, LossSpec(),
        Schedule(epochs=2, optimiser="sgd", learning_rate=1e-30, weight_decay=0, precision="fp32"),
        selection,
        training,  # type: ignore[arg-type]
        ValidationLoader(source, 4, positives_only=positives),
        "positive tiles" if positives else "tiles",
        whole if level == "slides" else None,
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    progress = fit(task, tmp_path / "run", CPU, lambda _: None)
    on_tile, on_slide = (200 / 356, 1.0), (200 / 356, 512 / 2112)
    seen = on_slide if level == "tiles" else on_tile
    name = f"{task.tiles} dice slides"
    assert [row[name] for row in progress.history] == pytest.approx(seen)
    assert progress.best_epoch == (2 if level == "positive tiles" else 1)
    if level == "slides":
        rows = progress.history
        assert [row["whole slides dice slides"] for row in rows] == pytest.approx(on_slide)
        assert rows[0][THRESHOLD] == 0.5
        choice = choice_of(rows, selection, 0.5)
        assert choice is not None
        assert (choice.epoch, choice.tiles_epoch) == (1, 2)
        assert choice.tiles_value == pytest.approx(512 / 2112)


def test_a_task_s_parts_must_suit_its_selection() -> None:
    with pytest.raises(ValueError, match="slides are to decide, but there are only tiles"):
        Task(None, ("b", "g"), LossSpec(), Schedule(), Selection(), None, None)  # type: ignore[arg-type]


def _all(slide: Slide):
    from slidemask.geometry.box import Box

    return Box(0, 0, *slide.size)
