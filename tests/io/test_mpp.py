import numpy as np
import pytest
import tifffile

from slidemask.io.mpp import from_power, judged
from slidemask.io.open import open_slide
from slidemask.io.openslide_ import _pixel_size

PIXELS = np.full((64, 64, 3), 99, np.uint8)


@pytest.mark.parametrize(
    ("x", "y", "mpp"),
    [
        (0.25, 0.25, 0.25),
        (0.05, 0.05, 0.05),
        (100, 100, 100),
        (0.5, 0.509, 0.5045),
        (0.5, 0.5101, None),
        (0.049, 0.049, None),
        (100.1, 100, None),
        (1000, 1000, None),
        (0, 0, None),
        (-0.5, -0.5, None),
        (float("nan"), 0.5, None),
        (float("inf"), float("inf"), None),
    ],
)
def test_what_is_believable(x, y, mpp):
    size = judged(x, y, "somebody")
    assert size.mpp == (None if mpp is None else pytest.approx(mpp))
    assert "somebody" in size.reason


@pytest.mark.parametrize(("power", "mpp"), [(40, 0.25), (5, 2), (0, None), (-1, None), (300, None)])
def test_objective_power(power, mpp):
    assert from_power(power).mpp == mpp


@pytest.mark.parametrize(
    ("properties", "mpp", "assumed"),
    [
        ({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}, 0.5, False),
        ({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5", "openslide.objective-power": "40"},
         0.5, False),
        ({"openslide.objective-power": "20"}, 0.5, True),
        ({"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.7", "openslide.objective-power": "40"},
         None, False),
        ({"openslide.mpp-x": "abc", "openslide.mpp-y": "0.7"}, None, False),
        ({}, None, False),
    ],
)  # fmt: skip
def test_what_openslide_says(properties, mpp, assumed):
    size = _pixel_size(properties)
    assert (size.mpp, size.assumed) == (mpp, assumed)


@pytest.mark.parametrize(
    ("per_unit", "unit", "mpp"),
    [
        (20_000, "centimeter", 0.5),
        (50_800, "inch", 0.5),
        (20_000, "none", None),
        (72, "inch", None),
        (96, "inch", None),
        (300, "inch", None),
        (1200, "inch", None),
        (37.8, "centimeter", None),
        (1, "centimeter", None),
    ],
)
def test_resolution_tags(tmp_path, per_unit, unit, mpp):
    tifffile.imwrite(tmp_path / "a.tif", PIXELS, tile=(16, 16), photometric="rgb",
                     resolution=(per_unit, per_unit), resolutionunit=unit)  # fmt: skip
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize(
    ("length", "unit", "mpp"),
    [
        (0.5, None, 0.5),
        (0.5, "µm", 0.5),
        (500, "nm", 0.5),
        (0.0005, "mm", 0.5),
        (0.5, "m", None),
        (0.5, "parsec", None),
    ],
)
def test_ome_sizes(tmp_path, length, unit, mpp):
    sizes = {f"PhysicalSize{axis}": length for axis in "XY"}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "XY"} if unit else {}
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, tile=(16, 16), photometric="rgb",
                     metadata={"axes": "YXS", **sizes, **units})  # fmt: skip
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.mpp == (None if mpp is None else pytest.approx(mpp))


def test_ome_sizes_stand_above_the_tags(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", PIXELS, tile=(16, 16), photometric="rgb",
                     resolution=(72, 72), resolutionunit="inch",
                     metadata={"PhysicalSizeX": 0.3, "PhysicalSizeY": 0.3})  # fmt: skip
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert (slide.mpp, slide.mpp_reason) == (0.3, "OME PhysicalSize")


def test_real_slides(shared_data):
    for name, mpp in {
        "slides/crohn_HE4_20x_whole.tif": 0.526036,
        "slides/neuroendocrine_giemsa_20x_crop.tif": 0.5044,
        "slides_native/CMU-1-Small-Region.svs": 0.499,
        "slides_native/sm_image.dcm": 0.499,
    }.items():
        with open_slide(shared_data / name) as slide:
            assert slide.mpp == pytest.approx(mpp, rel=1e-6)
            assert not slide.mpp_assumed
