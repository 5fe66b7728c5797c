"""Phantoms: the same wherever one looks, and exactly what their ground truth says."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import shapely
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import SettingsError
from slidemask.base.types import Mask, Rgb
from slidemask.data.cohort import read_cohort
from slidemask.data.phantom.atlas import atlas_for
from slidemask.data.phantom.glands import gland_patch
from slidemask.data.phantom.ground import Ground, Patch
from slidemask.data.phantom.layout import HALO_UM, Layout, lay_out
from slidemask.data.phantom.noise import noise, noise_at
from slidemask.data.phantom.render import MARGIN
from slidemask.data.phantom.settings import (
    CLUSTER,
    GLAND,
    NUCLEI,
    PEN,
    TISSUE,
    PhantomSettings,
    Window,
)
from slidemask.data.phantom.slide import PhantomSlide
from slidemask.data.phantom.truth import nuclei_of
from slidemask.data.phantom.write import bands, write_phantom, write_phantom_cohort
from slidemask.data.split import check_leaks
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box
from slidemask.io.geojson import read_geojson
from slidemask.io.open import open_slide
from slidemask.tiles.tissue import find_tissue

SMALL = PhantomSettings(width_px=1300, height_px=1100, mpp=2.0, tissue_share=0.4, piece_mm=2.0)
ROOMY = PhantomSettings(
    width_px=6000,
    height_px=5000,
    mpp=1.0,
    tissue_share=0.5,
    clusters_per_cm2=60,
    decoys_per_cm2=60,
    cluster_mm2=0.08,
    pens=3,
)


@pytest.fixture(scope="module")
def small() -> PhantomSlide:
    return PhantomSlide(SMALL, seed=5)


@pytest.fixture(scope="module")
def whole(small: PhantomSlide) -> Rgb:
    return small.read(Box(0, 0, *small.size))


@pytest.fixture(scope="module")
def roomy() -> Layout:
    return lay_out(ROOMY, seed=4)


def everywhere(layout: Layout, name: str) -> Mask:
    box = Box(0, 0, *layout.size)
    return layout.annotations.rasterise(box, 1.0, {name: 1}).astype(bool)


# ---------------------------------------------------------------- noise


@settings(deadline=None, max_examples=30)
@given(st.integers(-5000, 5000), st.floats(2, 90), st.integers(0, 2**40))
def test_noise_on_a_grid_is_noise_at_its_points(start: int, scale: float, seed: int):
    rows, columns = start + np.arange(15) * 1.5, 3 * start + np.arange(22.0)
    x, y = np.meshgrid(columns, rows)
    grid = noise(rows, columns, scale, seed)
    np.testing.assert_allclose(grid, noise_at(x, y, scale, seed), atol=1e-5)
    assert np.abs(grid).max() <= 1


def test_noise_is_smooth_and_differs_by_seed():
    at = np.arange(4000.0)
    one, other = (noise(np.zeros(1), at, 50, seed)[0] for seed in (1, 2))
    assert np.abs(np.diff(one)).max() < 2 * 1.5 / 50 * 1.1  # steepest smooth step
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.3
    assert one.std() > 0.3


# ---------------------------------------------------------------- layout


def test_layout_follows_from_its_seed():
    again = lay_out(SMALL, 5), lay_out(SMALL, 5), lay_out(SMALL, 6)
    first, second, other = (each.annotations for each in again)
    assert shapely.equals_exact(first.polygons, second.polygons).all()
    assert len(first) != len(other) or not shapely.equals(first.polygons, other.polygons).all()


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_tissue_takes_the_share_that_was_asked_for(share: float):
    shares = []
    for seed in range(6):
        layout = lay_out(SMALL.model_copy(update={"tissue_share": share}), seed)
        area = sum(piece.outline.area for piece in layout.pieces)
        shares.append(area / (layout.size.width * layout.size.height))
    assert np.mean(shares) == pytest.approx(share, rel=0.15)


def test_no_tissue_and_nothing_but_tissue():
    none = lay_out(SMALL.model_copy(update={"tissue_share": 0.0}), 1)
    assert not none.pieces
    assert not len(none.glands)
    full = lay_out(SMALL.model_copy(update={"tissue_share": 1.0}), 1)
    assert full.pieces[0].outline.equals(shapely.box(0, 0, 1300, 1100))


def test_objects_stand_apart_and_inside_tissue(roomy: Layout):
    glands, mpp = roomy.glands, roomy.mpp
    assert len(glands) > 100
    assert shapely.is_valid(roomy.annotations.polygons).all()
    tissue = shapely.union_all([piece.outline for piece in roomy.pieces])
    assert shapely.contains(tissue, glands).all()
    one, other = shapely.STRtree(glands).query(glands, predicate="intersects")
    assert (one == other).all()
    outlines = [cluster.outline for cluster in roomy.clusters]
    assert {cluster.true for cluster in roomy.clusters} == {True, False}
    assert not shapely.intersects(shapely.union_all(glands), outlines).any()
    for index, outline in enumerate(outlines):
        assert all(outline.distance(rest) > HALO_UM / mpp for rest in outlines[index + 1 :])
    slide = shapely.box(0, 0, *roomy.size)
    assert all(slide.covers(pen.outline) for pen in roomy.pens)
    assert len({pen.ink for pen in roomy.pens}) == 3


def test_sizes_are_those_of_the_settings(roomy: Layout):
    diameters = 2 * np.sqrt(shapely.area(roomy.glands) / np.pi) * roomy.mpp
    assert np.median(diameters) == pytest.approx(ROOMY.gland_um, rel=0.25)
    found = [lay_out(ROOMY, seed).clusters for seed in range(4)]
    areas = [cluster.outline.area / 1e6 for clusters in found for cluster in clusters]
    assert np.mean(areas) == pytest.approx(ROOMY.cluster_mm2, rel=0.4)


# ---------------------------------------------------------------- pixels


@settings(deadline=None, max_examples=25)
@given(
    corner=st.tuples(st.integers(0, 1299), st.integers(0, 1099)),
    extent=st.tuples(st.integers(1, 600), st.integers(1, 600)),
)
def test_any_box_is_the_same_part_of_the_whole(
    small: PhantomSlide, whole: Rgb, corner: tuple[int, int], extent: tuple[int, int]
):
    box = Box(*corner, *extent).intersect(Box(0, 0, *small.size))
    np.testing.assert_array_equal(small.read(box), whole[box.slices])


def test_another_process_paints_the_same(small: PhantomSlide, whole: Rgb):
    copy = pickle.loads(pickle.dumps(small))  # as a worker would get it
    assert copy == small
    assert "painter" not in vars(copy)
    box = Box(400, 300, 300, 300)
    np.testing.assert_array_equal(copy.read(box), whole[box.slices])


def test_bands_are_the_slide(small: PhantomSlide, whole: Rgb):
    tops, parts = zip(*bands(small), strict=True)
    assert tops == (0, 512, 1024)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_blocks_join_without_seams():
    asked = PhantomSettings(width_px=1100, height_px=1100, mpp=0.9, tissue_share=1.0, pens=0)
    pixels = PhantomSlide(asked, seed=2).read(Box(0, 0, 1100, 1100)).astype(int)
    for axis in (0, 1):
        steps = np.abs(np.diff(pixels, axis=axis)).mean(axis=(1 - axis, 2))
        near = np.concatenate([steps[400:511], steps[512:620]])
        assert steps[511] < near.mean() + 3.5 * near.std()


def test_neighbouring_blocks_paint_the_same_ground_where_they_overlap():
    # At 0.9 µm the textures repeat every 569 pixels, so a block cannot fit by chance.
    asked = PhantomSettings(width_px=3000, height_px=900, mpp=0.9, tissue_share=1.0)
    piece, atlas = lay_out(asked, 3).pieces[0], atlas_for(0.9)
    rows = np.arange(-MARGIN, 300, dtype=np.int64)
    for start in (512, 1024, 2048):
        before, after = (
            Ground(Patch(rows, np.arange(first - MARGIN, first + 536), 0.9, atlas), piece).painted()
            for first in (start - 512, start)
        )
        for one, other in zip(before, after, strict=True):
            # Four columns at either rim have no neighbour to be interpolated with.
            left, right = one[4:-4, 516:540], other[4:-4, 4:28]
            assert np.mean(np.abs(left - right) > 0.02) < 0.002
            assert np.ptp(left) > 0


def test_patients_differ_in_stain_and_slides_of_one_do_not():
    stains = [
        PhantomSlide(SMALL, seed, patient).painter.stain
        for seed, patient in ((1, 1), (2, 1), (3, 2))
    ]
    assert stains[0] == stains[1] != stains[2]


# ---------------------------------------------------------------- ground truth


def test_glands_are_painted_pixel_by_pixel_where_the_polygons_are():
    settings_ = SMALL.model_copy(update={"mpp": 1.0, "tissue_share": 1.0, "piece_mm": 1.3})
    layout = lay_out(settings_, 2)
    rng = np.random.default_rng(0)
    assert len(layout.glands) > 20
    for polygon in layout.glands[:20]:
        patch = gland_patch(polygon, atlas_for(1.0), 1.0, rng)
        rows, columns = patch.inside.shape
        box = Box(patch.x, patch.y, columns, rows)
        expected = Annotations.of([polygon], [GLAND]).rasterise(box, 1.0, {GLAND: 1})
        np.testing.assert_array_equal(patch.inside, expected == 1)
        assert not patch.paleness[patch.inside].any()


def test_outside_tissue_and_pens_there_is_only_clean_glass(small: PhantomSlide, whole: Rgb):
    covered = everywhere(small.layout, TISSUE) | everywhere(small.layout, PEN)
    near = shapely.union_all(small.layout.annotations.polygons).buffer(4)
    far = Annotations.of([*shapely.get_parts(near)], [""] * len(shapely.get_parts(near)))
    glass = whole[far.rasterise(Box(0, 0, *small.size), 1.0, {"": 1}) == 0]
    assert 0.2 < covered.mean() < 0.7
    assert np.ptp(glass.astype(int), axis=1).max() <= 8  # neutral, smears included
    assert glass.min() > 190


def test_only_true_clusters_have_a_ring_and_all_look_alike_inside():
    inside: dict[bool, list[float]] = {True: [], False: []}
    ring: dict[bool, list[float]] = {True: [], False: []}
    for seed in (4, 5):
        slide = PhantomSlide(ROOMY.model_copy(update={"pens": 0}), seed, patient=1)
        for cluster in slide.layout.clusters:
            left, top, right, bottom = (int(v) for v in cluster.outline.buffer(60).bounds)
            box = Box(left, top, right - left, bottom - top).intersect(Box(0, 0, *slide.size))
            pixels = slide.read(box).mean(axis=2)
            hull = cluster.outline.buffer(-8), cluster.outline.buffer(55)
            core, around = (
                Annotations.of([shape], [""]).rasterise(box, 1.0, {"": 1}) == 1 for shape in hull
            )
            outer = Annotations.of([cluster.outline.buffer(8)], [""])
            around &= outer.rasterise(box, 1.0, {"": 1}) == 0
            inside[cluster.true].append(float(pixels[core].mean()))
            ring[cluster.true].append(float(pixels[around].mean()))
    assert min(ring[True]) > max(ring[False])
    assert np.mean(inside[True]) == pytest.approx(np.mean(inside[False]), abs=4)


def test_nuclei_differ_at_fine_resolution_only():
    window = Window(x=300, y=200, width=500, height=400)
    fine = PhantomSettings(
        width_px=1200, height_px=900, mpp=0.25, tissue_share=1, pens=0, nuclei_in=(window,)
    )
    slide = PhantomSlide(fine, 11, patient=3)
    pixels = slide.read(Box(window.x, window.y, window.width, window.height))[..., 0].astype(float)
    coarse = pixels.reshape(100, 4, 125, 4).mean(axis=(1, 3)).repeat(4, 0).repeat(4, 1)
    texture: dict[str, list[float]] = {name: [] for name in NUCLEI}
    blurred: dict[str, list[float]] = {name: [] for name in NUCLEI}
    bright: dict[str, list[float]] = {name: [] for name in NUCLEI}
    found = list(nuclei_of(slide, window))
    for polygon, name in found:
        core = polygon.buffer(-4)
        if core.area * fine.mpp**2 < 8:
            continue
        box = Box(window.x, window.y, window.width, window.height)
        mask = Annotations.of([*shapely.get_parts(core)], [""] * shapely.get_num_geometries(core))
        inner = mask.rasterise(box, 1.0, {"": 1}) == 1
        texture[name].append(float(pixels[inner].std()))
        blurred[name].append(float(coarse[inner].std()))
        bright[name].append(float(pixels[inner].mean()))
    assert min(len(values) for values in texture.values()) > 10
    plain, clumped = (np.median(texture[name]) for name in NUCLEI)
    assert clumped > 2 * plain
    plain, clumped = (np.median(blurred[name]) for name in NUCLEI)
    assert clumped - plain < 3  # grey levels
    plain, clumped = (np.array(bright[name]) for name in NUCLEI)
    assert abs(plain.mean() - clumped.mean()) < 0.5 * plain.std()  # as dark as one another
    areas = [polygon.area * fine.mpp**2 for polygon, _ in found]
    assert 15 < np.median(areas) < 60  # µm²


# ---------------------------------------------------------------- files


def test_written_phantoms_are_read_back(tmp_path: Path, small: PhantomSlide, whole: Rgb):
    asked = SMALL.model_copy(
        update={"nuclei_in": (Window(x=600, y=500, width=60, height=60),), "annotate": (GLAND,)}
    )
    files = write_phantom(tmp_path / "new", asked, 5, patient=0)
    with open_slide(files.slide) as slide:
        assert (slide.size, slide.mpp) == (small.size, pytest.approx(2.0))
        assert len(slide.downsamples) > 1
        shown = slide.read(Box(0, 0, *slide.size)).astype(int)
    assert np.abs(shown - whole).mean() < 4  # JPEG
    written = read_geojson(files.annotations)
    assert set(written.labels) <= {GLAND, *NUCLEI}
    kept = [n for n, name in enumerate(written.labels) if name == GLAND]
    assert shapely.equals(written.polygons[kept], small.layout.glands).all()
    note = json.loads(files.note.read_text())
    assert note["synthetic"] is True
    assert "SYNTHETIC" in note["note"]
    assert note["holds"]["glands"] == len(small.layout.glands)
    with tifffile.TiffFile(files.slide) as tiff:
        assert "SYNTHETIC" in tiff.pages.first.description


def test_read_back_polygons_give_the_same_pixels(tmp_path: Path, small: PhantomSlide):
    files = write_phantom(tmp_path, SMALL, 5)
    index, box = {TISSUE: 1, CLUSTER: 2, GLAND: 3, PEN: 4}, Box(0, 0, *small.size)
    np.testing.assert_array_equal(
        read_geojson(files.annotations).rasterise(box, 1.0, index),
        small.layout.annotations.rasterise(box, 1.0, index),
    )


def test_a_cohort_keeps_patients_apart(tmp_path: Path):
    tiny = PhantomSettings(width_px=300, height_px=200, mpp=4, tissue_share=0.3, pens=0)
    cases = read_cohort(write_phantom_cohort(tmp_path, 4, 2, tiny, seed=3))
    assert [case.split for case in cases] == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    assert len({case.patient for case in cases}) == 4
    assert len({case.slide for case in cases}) == 8
    assert all(case.slide.is_file() and case.mpp == 4 for case in cases)
    parts = {"train": cases[:4], "validation": cases[4:6], "test": cases[6:]}
    check_leaks(parts)
    with pytest.raises(SettingsError, match="3 patients"):
        write_phantom_cohort(tmp_path, 2, 1, tiny)


# ---------------------------------------------------------------- with the tissue filter


@pytest.mark.parametrize("seed", range(3))
def test_the_tissue_filter_finds_the_tissue_and_no_dirt(seed: int):
    asked = SMALL.model_copy(update={"pens": 2, "dirt": 1.0, "width_px": 1600})
    slide = PhantomSlide(asked, seed, seed)
    found = find_tissue(slide)
    height, width = found.mask.shape
    box = Box(0, 0, width * found.downsample, height * found.downsample)
    truth = slide.layout.annotations.rasterise(box, found.downsample, {TISSUE: 1, PEN: 2})
    assert 2 * np.sum(found.mask & (truth == 1)) / (found.mask.sum() + np.sum(truth == 1)) > 0.88
    outlines = Annotations.of([piece.outline.buffer(30) for piece in slide.layout.pieces], [TISSUE])
    away = outlines.rasterise(box, found.downsample, {TISSUE: 1}) == 0
    assert not found.mask[away].any()  # glass, dirt, and pens on glass
