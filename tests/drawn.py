"""Photos drawn by a few lines of OpenCV: a pink, speckled quadrilateral or several on a desk."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from shapely.geometry import Polygon

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.data.case import Case
from slidemask.data.cohort import write_cohort
from slidemask.geometry.annotations import Annotations
from slidemask.io.geojson_out import write_geojson
from slidemask.models.build import ModelSpec
from slidemask.models.bundle import BundleInfo, save_bundle
from slidemask.models.segmenter import Segmenter
from slidemask.models.unet import UNet
from slidemask.post.outlines import Outlines
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling

Quad = NDArray[np.float64]
CLASSES = ClassMap(classes=(ClassInfo(name="slide"), ClassInfo(name="border")))


def quad_in(box: tuple[float, float, float, float], rng: np.random.Generator) -> Quad:
    """Corners near those of (left, top, right, bottom), clockwise from the top left."""
    left, top, right, bottom = box
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    return corners + rng.uniform(-0.08, 0.08, (4, 2)) * (right - left, bottom - top)


def draw_photo(
    size: tuple[int, int], quads: Sequence[Quad], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Paint a (width, height) desk and in each quadrilateral a slide, whose tissue it carries."""
    width, height = size
    grain = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 3)
    photo = np.array([150, 120, 90]) + 60 * grain[..., None]
    specks = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.5)
    tissue = np.where(specks[..., None] > 0.1, (120, 50, 140), (235, 170, 205))
    for quad in quads:
        inside = np.zeros((height, width), np.uint8)
        points = np.rint((quad - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(inside, [points], 1, shift=4)
        x, y = np.rint(quad[0]).astype(int)
        photo = np.where(inside[..., None] > 0, np.roll(tissue, (y, x), axis=(0, 1)), photo)
    return np.clip(photo + rng.normal(0, 3, photo.shape), 0, 255).astype(np.uint8)


def truth_of(size: tuple[int, int], quads: Sequence[Quad]) -> Annotations:
    """Slides, then the bands just inside their outlines, as the composer writes them."""
    slides = [Polygon(quad) for quad in quads]
    inner = [slide.buffer(-0.01 * max(size)) for slide in slides]
    bands = [
        Polygon(slide.exterior.coords, [within.exterior.coords])
        for slide, within in zip(slides, inner, strict=True)
        if isinstance(within, Polygon)
    ]
    labels = ("slide",) * len(slides) + ("border",) * len(bands)
    return Annotations.of([*slides, *bands], labels)


def write_drawn(
    folder: Path, sizes: Sequence[tuple[int, int]], seed: int = 0, *, slides: int = 1
) -> Path:
    """Write a photo of each size with so many slides side by side, their truth and the cohort."""
    rng, cases = np.random.default_rng(seed), []
    for name in ("photos", "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (width, height) in enumerate(sizes):
        step = width / max(1, slides)
        quads = [
            quad_in(((i + 0.2) * step, 0.25 * height, (i + 0.8) * step, 0.75 * height), rng)
            for i in range(slides)
        ]
        photo = folder / "photos" / f"{number:04d}.jpg"
        Image.fromarray(draw_photo((width, height), quads, rng)).save(photo, quality=92)
        truth = folder / "annotations" / f"{number:04d}.geojson"
        write_geojson(truth, truth_of((width, height), quads), CLASSES)
        cases.append(Case(photo, truth, patient=f"source {number}"))
    path = folder / "cohort.csv"
    write_cohort(path, cases)
    return path


def save_pink_bundle(folder: Path, *, least: float = 0.2, name: str = "pink") -> Path:
    """Write a bundle for photos that calls a pixel a slide where red + blue - 2 green > `least`."""
    spec = ModelSpec(width=1, depth=1, mean=(0, 0, 0), std=(1, 1, 1))
    segmenter = Segmenter(spec, 1)
    network = segmenter.network
    assert isinstance(network, UNet)
    weights = dict(network.named_parameters())
    with torch.no_grad():
        for key, value in weights.items():
            value.fill_(1 if key.endswith("weight") and value.ndim == 1 else 0)  # of batch norms
        weights["first.0.weight"][0, :, 1, 1] = torch.tensor([1.0, -2.0, 1.0])
        weights["first.3.weight"][0, 0, 1, 1] = 1
        weights["up.0.convolve.0.weight"][0, 0, 1, 1] = 1  # the skip; what is below is left out
        weights["up.0.convolve.3.weight"][0, 0, 1, 1] = 1
        weights["last.weight"][1] = 80
        weights["last.bias"][1] = -80 * least
    info = BundleInfo(
        name=name,
        model=spec,
        classes=ClassMap(classes=(ClassInfo(name="slide"),)),
        tiling=Tiling(tile_px=320, overlap=0.0, longest_side_px=320),
        filters=Filters(tissue=None),
        use={"photo": Outlines(longest_px=320).model_dump(mode="json")},
    )
    save_bundle(folder, info, segmenter, card="# pink", scores={})
    return folder
