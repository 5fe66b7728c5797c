"""Several models on one slide, and what networks that vote say of it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from journey import discs, save_dark_bundle, write_slide
from slidemask.apps.cli import app
from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.base.errors import SettingsError
from slidemask.data.case import Case
from slidemask.infer import pool
from slidemask.io.maskfile import open_mask
from slidemask.io.open import open_slide
from slidemask.io.probabilityfile import open_probability
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import Bundle, BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.post.clean import Post
from slidemask.recipes.reporting import report
from slidemask.recipes.results import read_summary
from slidemask.recipes.segment import Options, Outcome, common_post, segment
from slidemask.recipes.use import use_of
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling
from slidemask.tiles.reading import read_tile

SUBTYPES = ClassMap(classes=(ClassInfo(name="high"), ClassInfo(name="low")))
TILE = 32


def save_voting_bundle(folder: Path, seed: int, *, overlap: float = 0.5) -> Bundle:
    torch.manual_seed(seed)
    spec = ModelSpec.model_validate(
        {"architecture": "tile", "filters": (4, 6), "head": "pool", "activation": "softmax"}
    )
    segmenter = Segmenter(spec, 2, None, TILE)
    with torch.no_grad():
        for layer in segmenter.tile_net().head:
            if isinstance(layer, torch.nn.Linear):
                layer.weight.mul_(8)
    info = BundleInfo(
        name=f"votes {seed}",
        model=spec,
        classes=SUBTYPES,
        tiling=Tiling(tile_px=TILE, overlap=overlap, downsample=1.0),
        filters=Filters(tissue=None),
        use={"blend": {"precision": "fp32"}},
    )
    save_bundle(folder, info, segmenter, card="# votes", scores={})
    return Bundle.load(folder, "cpu")


def votes_of(slide: Path, bundle: Bundle) -> np.ndarray:
    """Return each tile's vote, (tiles, 3)."""
    stride = bundle.info.tiling.stride_px
    with open_slide(slide) as opened:
        grid = TileGrid(opened.size, TILE, stride)
        tiles = [read_tile(opened, tile.box, 1.0) for tile in grid]
    return bundle.predict(np.stack(tiles), "fp32")[:, :, 0, 0]


def counts_of(votes: np.ndarray) -> list[int]:
    best = np.where(votes[:, 1:].sum(axis=1) >= 0.5, 1 + votes[:, 1:].argmax(axis=1), 0)
    return [int((best == index).sum()) for index in (1, 2)]


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    pixels, _ = discs(130, 170, seed=2)
    pixels[:, 60:] = np.clip(pixels[:, 60:] * [1.1, 0.6, 0.8], 0, 255)
    pixels[:, 120:] = np.clip(pixels[:, 120:] * [0.4, 1.4, 0.6], 0, 255)
    return write_slide(tmp_path / "s.tif", pixels)


def go(slide: Path, bundles: list[Bundle], out: Path, *changes: str, **options: Any) -> Outcome:
    (outcome,) = segment([Case(slide)], bundles, out, Options(changes, **options))
    return outcome


def probabilities(folder: Path) -> np.ndarray:
    with open_probability(folder / "probability.ome.tif") as file:
        return file.rows(0, file.size.height).astype(int)


def test_a_voting_network_s_slide_gets_the_label_of_most_positive_tiles(
    slide: Path, tmp_path: Path
) -> None:
    bundle = save_voting_bundle(tmp_path / "votes", 1)
    outcome = go(slide, [bundle], tmp_path / "out", "blend.votes.combine=union")
    assert outcome.state == "done", outcome.message
    summary = read_summary(outcome.folder)
    counts = counts_of(votes_of(slide, bundle))
    assert counts[0] != counts[1]
    expected = ("high", "low")[int(np.argmax(counts))]
    assert summary["label"] == {"class": expected, "tiles": {"high": counts[0], "low": counts[1]}}
    assert summary["settings"]["blend"]["votes"]["combine"] == "union"
    report(tmp_path / "out", [outcome])
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["label"] == expected


def test_a_slide_without_positive_tiles_has_no_label(slide: Path, tmp_path: Path) -> None:
    bundle = save_voting_bundle(tmp_path / "votes", 1)
    outcome = go(
        slide,
        [bundle],
        tmp_path / "out",
        "filters.max_background_share=0.0",
        "filters.light=0",
        "filters.dark=0",
    )
    assert outcome.state == "done", outcome.message
    assert read_summary(outcome.folder)["label"] == {"class": "", "tiles": {"high": 0, "low": 0}}


def test_several_models_are_averaged_and_their_tiles_pooled(slide: Path, tmp_path: Path) -> None:
    bundles = [save_voting_bundle(tmp_path / f"votes{seed}", seed) for seed in (1, 2, 3)]
    alone = [go(slide, [b], tmp_path / b.info.name, probability=True).folder for b in bundles]
    outcome = go(slide, bundles, tmp_path / "out", probability=True)
    assert outcome.state == "done", outcome.message
    parts = np.stack([probabilities(folder) for folder in alone])
    assert not np.array_equal(parts[0], parts[1])
    np.testing.assert_allclose(probabilities(outcome.folder), parts.mean(axis=0), atol=0.51)
    summary = read_summary(outcome.folder)
    counts = np.sum([counts_of(votes_of(slide, bundle)) for bundle in bundles], axis=0)
    assert list(summary["label"]["tiles"].values()) == counts.tolist()
    assert summary["label"]["class"] == ("high", "low")[int(np.argmax(counts))]
    assert summary["model"]["name"] == "votes 1 + votes 2 + votes 3"
    assert summary["model"]["path"] is None
    assert [one["digest"] for one in summary["models"]] == [b.digest for b in bundles]
    assert len(summary["settings_of_models"]) == 3
    assert not (outcome.folder / ".work").exists()
    assert go(slide, bundles, tmp_path / "out").state == "there"
    other = go(slide, bundles[:2], tmp_path / "out")
    assert "another slide, model" in other.message


def test_all_models_together_say_which_class_is_dominant(slide: Path, tmp_path: Path) -> None:
    bundles = [save_voting_bundle(tmp_path / f"votes{seed}", seed) for seed in range(1, 6)]
    counts = [counts_of(votes_of(slide, bundle)) for bundle in bundles]
    pair = next(
        (i, j) for i in range(5) for j in range(5)
        if counts[i][0] > counts[i][1] and counts[j][0] < counts[j][1]
    )  # fmt: skip
    both, total = [bundles[n] for n in pair], np.sum([counts[n] for n in pair], axis=0)
    assert total[0] != total[1]
    outcome = go(
        slide, both, tmp_path / "out", "blend.votes.combine=union", "blend.votes.dominant=true",
        probability=True,
    )  # fmt: skip
    assert outcome.state == "done", outcome.message
    found = probabilities(outcome.folder)
    leader = int(np.argmax(total))
    assert found[leader].any()
    assert not found[1 - leader].any()


def test_models_that_do_not_fit_together_say_why(slide: Path, tmp_path: Path) -> None:
    fine = Bundle.load(save_dark_bundle(tmp_path / "fine"), "cpu")
    coarse = Bundle.load(save_dark_bundle(tmp_path / "coarse", downsample=2.0), "cpu")
    outcome = go(slide, [fine, coarse], tmp_path / "a")
    assert outcome.state == "failed"
    assert "170 x 130 px (downsample 1) and as 85 x 65 px (downsample 2)" in outcome.message
    assert go(slide, [fine, coarse], tmp_path / "b", "tiling.downsample=1.0").state == "done"
    votes = save_voting_bundle(tmp_path / "votes", 1)
    with pytest.raises(SettingsError, match=r"one finds gland, the other high, low"):
        go(slide, [fine, votes], tmp_path / "c")  # before the first slide
    assert not (tmp_path / "c").exists()


def test_a_killed_mean_goes_on(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundles = [save_voting_bundle(tmp_path / f"votes{seed}", seed) for seed in (1, 2)]
    expected = probabilities(go(slide, bundles, tmp_path / "whole", probability=True).folder)
    monkeypatch.setattr(pool, "BAND_ROWS", 50)
    with monkeypatch.context() as patch:
        patch.setattr("slidemask.recipes.oneslide.write_results", None)
        assert go(slide, bundles, tmp_path / "cut").state == "failed"
    work = tmp_path / "cut" / slide.stem / ".work"
    lines = (work / "mean" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    (work / "mean" / "journal.jsonl").write_bytes(lines[0])
    (work / "2" / "journal.jsonl").unlink()
    outcome = go(slide, bundles, tmp_path / "cut", probability=True)
    np.testing.assert_array_equal(probabilities(outcome.folder), expected)


def test_a_mean_is_cleaned_by_the_mean_of_the_models_numbers() -> None:
    posts = [Post(threshold=0.3, min_area_um2=90), Post(threshold=0.5, smooth_px=6), Post()]
    found = common_post(posts)
    assert found.threshold == pytest.approx(1.3 / 3)
    assert (found.min_area_um2, found.smooth_px, found.smooth_um) == (30, 2, 0)
    assert common_post(posts[:1]) is posts[0]
    with pytest.raises(SettingsError, match="One model smooths by µm"):
        common_post([Post(smooth_um=4), Post(smooth_px=4)])


def test_the_command_takes_several_models(slide: Path, tmp_path: Path) -> None:
    folders = [
        str(save_dark_bundle(tmp_path / name, tile=side)) for name, side in (("a", 64), ("b", 48))
    ]
    out = tmp_path / "out"
    done = CliRunner().invoke(
        app, ["segment", str(slide), "-m", folders[0], "-m", folders[1], "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    summary = read_summary(out / "s")
    assert summary["model"]["name"] == "dark + dark"
    assert summary["model"]["classes"] == [{"name": "gland", "colour": [0, 160, 60]}]
    with open_mask(out / "s" / "mask.ome.tif") as mask:
        assert mask.rows(0, mask.size.height).any()


def test_what_a_network_that_votes_cannot_do_is_refused_before_the_first_slide() -> None:
    spec = ModelSpec(architecture="tile", filters=(4, 6), head="dense")
    info = BundleInfo(
        name="votes", model=spec, classes=SUBTYPES, tiling=Tiling(tile_px=32, downsample=1),
        filters=Filters(tissue=None),
    )  # fmt: skip
    bundle = Bundle(info, Segmenter(spec, 2, tile_px=32), "digest", torch.device("cpu"))
    assert use_of(bundle).tiling.tile_px == 32
    with pytest.raises(SettingsError, match=r"tile_px 48.*dense layers.*32 px"):
        use_of(bundle, ["tiling.tile_px=48"])
    with pytest.raises(SettingsError, match=r"vote_share = 0\.7.*votes by itself"):
        use_of(bundle, ["blend.vote_share=0.7"])
