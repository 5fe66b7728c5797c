"""The two photo recipes: what their networks see of a photo; the ordinary loop trains them."""

from pathlib import Path

import numpy as np
import pytest

from drawn import write_drawn
from slidemask.base.errors import SettingsError
from slidemask.base.types import IGNORE
from slidemask.data.cohort import read_cohort
from slidemask.data.loader import TrainingLoader, ValidationLoader
from slidemask.data.source import TileSource, lay_tiles
from slidemask.geometry.box import Box
from slidemask.io.open import open_slide
from slidemask.models.bundle import Bundle
from slidemask.recipes.recipe import Recipe, load_recipe
from slidemask.recipes.training import train

SMALL = ("tiling.tile_px=128", "tiling.longest_side_px=128", "model.encoder_weights=")
SIZES = ((320, 240), (240, 320), (321, 180), (200, 200), (256, 192))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn(tmp_path_factory.mktemp("photos"), SIZES, slides=2)


def tiles(recipe: Recipe, cohort: Path) -> TileSource:
    return lay_tiles(
        read_cohort(cohort), recipe.classes,
        tiling=recipe.tiling, filters=recipe.filters, sampling=recipe.sampling,
    )  # fmt: skip


def test_a_photo_is_one_tile_with_all_of_it_in_its_own_shape(cohort: Path) -> None:
    source = tiles(load_recipe("photo/better", SMALL), cohort)
    assert [len(grid) for grid in source.grids] == [1] * len(SIZES)
    ((images, labels, _),) = ValidationLoader(source, len(SIZES))
    for image, truth, size, case in zip(images, labels, SIZES, source.cases, strict=True):
        wide, high = (round(128 * length / max(size)) for length in size)
        known = truth.numpy() != IGNORE
        assert known[: high - 1, : wide - 1].all(), "nothing of the photo is unknown"
        assert not known[high:].any(), "what mirrors the photo counts nothing"
        assert not known[:, wide:].any()
        with open_slide(case.slide) as slide:
            whole = slide.read(Box(0, 0, *size), max(size) / 128)[: high - 1, : wide - 1]
        difference = image.numpy()[: high - 1, : wide - 1].astype(int) - whole
        assert np.abs(difference).max() == 0
        assert set(np.unique(truth)) >= {0, 1, 2}, "slide and border"


def test_published_squeezes_each_photo_to_a_square(cohort: Path) -> None:
    source = tiles(load_recipe("photo/published", SMALL), cohort)
    ((images, labels, _),) = ValidationLoader(source, len(SIZES))
    for image, truth, case in zip(images, labels, source.cases, strict=True):
        assert set(np.unique(truth)) == {0, 1}, "the border is slide, and all is known"
        with open_slide(case.slide) as slide:
            whole = slide.read(Box(0, 0, *slide.size))
        # Independently: means of a 4 x 4 grid of cells agree with those of the photo itself.
        assert np.abs(cells(image.numpy()) - cells(whole)).max() < 3
    share = np.mean(labels.numpy() == 1, axis=(1, 2))
    truths = [source.table.positive[source.table.case == case][0] for case in range(len(SIZES))]
    assert share == pytest.approx(truths, abs=0.02)


def cells(picture: np.ndarray) -> np.ndarray:
    return np.array(
        [
            part.mean(axis=(0, 1))
            for rows in np.array_split(picture, 4)
            for part in np.array_split(rows, 4, axis=1)
        ]
    )


def test_squeezed_photos_are_moved_with_their_truth(cohort: Path) -> None:
    recipe = load_recipe("photo/published", (*SMALL, "augment.invert=0"))
    source = tiles(recipe, cohort)
    loader = TrainingLoader(source, len(SIZES), augment=recipe.augment)
    (images, labels), (others, _) = next(loader.epoch(1)), next(loader.epoch(2))
    assert not np.array_equal(images, others)
    for image, truth in zip(images.numpy(), labels.numpy(), strict=True):
        blue = image[..., 2].astype(int)  # tissue is bluer than the desk
        assert blue[truth == 1].mean() > blue[truth == 0].mean() + 50
        assert 0 < (truth == IGNORE).mean() < 0.3, "rotation brings in a little of nothing"


def test_a_negative_is_as_frequent_as_asked(cohort: Path) -> None:
    plain = load_recipe("photo/published", (*SMALL, "augment.invert=0", "augment.blur=0"))
    always = plain.augment.model_copy(update={"invert": 1.0})
    source = tiles(plain, cohort)
    (images, _), (negatives, _) = (
        next(TrainingLoader(source, len(SIZES), augment=augment).epoch(1))
        for augment in (plain.augment, always)
    )
    # Each draw of the negative comes after those of place, so the same photo lies the same way.
    assert np.array_equal(255 - images.numpy(), negatives.numpy())


def test_photos_that_need_several_tiles_cannot_be_squeezed(cohort: Path) -> None:
    recipe = load_recipe("photo/published", (*SMALL, "tiling.longest_side_px=200"))
    with pytest.raises(SettingsError, match=r"gives 4 of 128 px.*longest_side_px"):
        tiles(recipe, cohort)


@pytest.mark.parametrize(
    ("name", "changes", "outputs"),
    [
        ("photo/published", ("model.encoder=resnet18",), 2),
        ("photo/better", ("split.train=0.6", "split.validation=0.4"), 3),
    ],
)
def test_the_ordinary_loop_trains_it(
    name: str, changes: tuple[str, ...], outputs: int, cohort: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(name, (*SMALL, "schedule.epochs=1", "schedule.batch=2", *changes))
    trained = train(recipe, read_cohort(cohort), tmp_path / "run", device="cpu", workers=0)
    assert trained.finished
    bundle = Bundle.load(tmp_path / "run", "cpu")
    photo = np.zeros((1, 70, 101, 3), np.uint8)
    assert bundle.predict(photo, "fp32").shape == (1, outputs, 70, 101)
    assert bundle.info.use["photo"]["method"] == recipe.photo.method  # type: ignore[union-attr]  # both recipes have it


def test_published_is_as_published() -> None:
    recipe = load_recipe("photo/published")
    assert recipe.photo is not None
    assert (recipe.model.architecture, recipe.model.encoder) == ("fcn", "resnet50")
    assert (recipe.tiling.tile_px, recipe.photo.pad_px, recipe.photo.squash) == (640, 30, True)
    assert recipe.photo.min_share * 640 * 640 == 2500
