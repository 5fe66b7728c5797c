"""Photo in, outlines of its slides out, at the photo's full resolution."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.affinity import translate
from shapely.geometry import Polygon, box

from slidemask.base.errors import BundleError
from slidemask.base.types import Mask, Probs, Rgb
from slidemask.models.backends import Name, with_backend
from slidemask.models.bundle import Bundle
from slidemask.post.edges import refine
from slidemask.post.glass import glass_joined
from slidemask.post.halves import Halves
from slidemask.post.outlines import Kind, Outline, Outlines, boxes, separate
from slidemask.post.quadrilateral import Quadrilateral
from slidemask.post.seams import Part, parted
from slidemask.post.sides import agreement, fit
from slidemask.recipes.recipe import checked

SLIDE, BORDER = "slide", "border"
_MOSTLY_SEEN = 3.0
"""Area of a slide over the part of it within the photo, at most."""
_AROUND = 0.12
"""What is seen around a find from near, as a share of its longer side."""
_NEARLY_ALL = 0.6
"""Share of the photo from which on a find is large enough as it is."""
_TOO_SMALL_PX = 40
_SMALLEST_NEAR = 0.03
"""Smallest slide seen from near, as a share of what is seen, at most."""


@dataclass(frozen=True)
class Refusal:
    """Something that the network took for a slide and that is not given out as one."""

    outline: Outline
    reason: str


@dataclass(frozen=True)
class Found:
    """What a photo holds, in reading order, and what was refused.

    Parameters
    ----------
    outlines : tuple of Outline
    refused : tuple of Refusal
    whole : frozenset of Outline
        Those of the outlines that are surely one slide each.
    """

    outlines: tuple[Outline, ...]
    refused: tuple[Refusal, ...] = ()
    whole: frozenset[Outline] = frozenset()


def find_outlines(photo: Rgb, bundle: Bundle) -> tuple[Outline, ...]:
    """Find the slides in a photo, in reading order.

    Parameters
    ----------
    photo : (H, W, 3) uint8
        Upright; `io.photograph.read_photo` reads one.
    bundle : Bundle
        Trained with a recipe that has a part `photo`.

    Returns
    -------
    tuple of Outline
        In the photo's pixels.

    Raises
    ------
    BundleError
        If the bundle is not for photos.
    """
    return look(photo, bundle, photo_settings(bundle)).outlines


def equipped(bundle: Bundle, photo: Rgb, settings: Outlines, backend: Name) -> Bundle:
    """Return the bundle with the backend that is asked for, tried on a photo the first time.

    Raises
    ------
    SettingsError
        If the backend is not installed, or not for such a network or device.
    """
    return with_backend(
        bundle, backend, lambda: seen_by_network(photo, settings)[None], tiles=None,
        precision="auto",
    )  # fmt: skip


def photo_settings(bundle: Bundle) -> Outlines:
    """Return how a bundle finds slides.

    Raises
    ------
    BundleError
        If it is not for photos.
    """
    info = bundle.info
    if "photo" not in info.use or info.classes.index_of(SLIDE) is None:
        raise BundleError(
            f"Model {info.name!r} is not for photos: its recipe has no part [photo], or no class "
            f"{SLIDE!r} among {list(info.classes.names[1:])}. Give a model trained with the recipe "
            "photo/better or photo/published."
        )
    return checked(Outlines, info.use["photo"], f"photo settings of model {info.name}")


def look(photo: Rgb | Halves, bundle: Bundle, settings: Outlines) -> Found:
    """Find the slides in a photo, and what looked like one and was refused."""
    halves = Halves.of(photo)
    found = _searched(halves, bundle, settings)
    if settings.look_closer:
        found = _closer(found, halves, bundle, settings)
    if settings.glass:
        found = replace(found, outlines=_in_reading_order(glass_joined(list(found.outlines))))
    return found


def _searched(photo: Halves, bundle: Bundle, settings: Outlines) -> Found:
    probabilities = bundle.predict(seen_by_network(photo, settings)[None])[0]
    return outlines_from(probabilities, photo, bundle.info.classes.names, settings)


def _closer(found: Found, photo: Halves, bundle: Bundle, settings: Outlines) -> Found:
    """Search finds again from near, where slides that seemed one may lie side by side.

    Several that are found there take the place of a find, and one that of what was refused.
    """
    kept, refused = [one for one in found.outlines if one in found.whole], list[Refusal]()
    finds = [(one, "") for one in found.outlines if one not in found.whole]
    finds += [(refusal.outline, refusal.reason) for refusal in found.refused]
    with ThreadPoolExecutor(max(1, bundle.streams)) as pool:
        every = list(pool.map(lambda find: _seen_nearer(find[0], photo, bundle, settings), finds))
    for (outline, reason), nearer in zip(finds, every, strict=True):
        if len(nearer) > (0 if reason else 1):
            kept += nearer
        elif reason:
            refused.append(Refusal(outline, reason))
        else:
            kept.append(outline)
    return Found(_in_reading_order(_without_doubles(kept)), tuple(refused))


def _seen_nearer(
    outline: Outline, photo: Halves, bundle: Bundle, settings: Outlines
) -> list[Outline]:
    """Return the slides where a find is, searched in that part of the photo alone."""
    around = box_around(outline, photo.size)
    if around is None:
        return []
    share = box(*around).area / (photo.size[0] * photo.size[1])
    smallest = min(_SMALLEST_NEAR, settings.min_share / share)
    part, left, top = photo.part(*around)
    nearer = _searched(part, bundle, settings.model_copy(update={"min_share": smallest}))
    moved = [_moved(one, left, top) for one in nearer.outlines]
    return [
        one
        for one in moved
        if one.polygon.intersection(outline.polygon).area > 0.5 * one.polygon.area
    ]


def box_around(outline: Outline, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return left, top, right, bottom of what is seen of a photo to see a find from near.

    None where that is too little to be seen, or nearly all of the photo.
    """
    if outline.polygon.is_empty:
        return None
    width, height = size
    left, top, right, bottom = outline.polygon.bounds
    margin = _AROUND * max(right - left, bottom - top)
    left, top = max(0, int(left - margin)), max(0, int(top - margin))
    right, bottom = min(width, int(right + margin) + 1), min(height, int(bottom + margin) + 1)
    share = (right - left) * (bottom - top) / (width * height)
    if share > _NEARLY_ALL or min(right - left, bottom - top) < _TOO_SMALL_PX:
        return None
    return left, top, right, bottom


def _moved(outline: Outline, x: float, y: float) -> Outline:
    polygon = translate(outline.polygon, x, y)
    return replace(outline, corners=outline.corners + np.array([x, y]), polygon=polygon)


def seen_by_network(photo: Rgb | Halves, settings: Outlines) -> Rgb:
    """Bring a photo to the size that the network sees."""
    halves = Halves.of(photo)
    width, height = halves.size
    longest, pad = settings.longest_px, settings.pad_px
    ratio = longest / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    if settings.squash:
        size = (longest, longest)
    pixels = _resized(halves.shrunk(max(size[0] / width, size[1] / height))[0], size)
    return _resized(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0))), size) if pad else pixels


def outlines_from(
    probabilities: Probs, photo: Rgb | Halves, names: tuple[str, ...], settings: Outlines
) -> Found:
    """Return the outlines of a photo whose probabilities are known.

    Parameters
    ----------
    probabilities : (K + 1, h, w) float32
        Of `seen_by_network(photo, settings)`.
    photo : (H, W, 3) uint8
    names : tuple of str
        What the probabilities are of; "slide" is one of them, "border" may be.
    settings : Outlines
    """
    inside, halves = probabilities[names.index(SLIDE)], Halves.of(photo)
    if settings.method == "boxes":
        return Found(_in_reading_order(_boxes(inside, halves, settings)))
    inside = _unpadded(inside, settings.pad_px)
    border = np.zeros_like(inside)
    if BORDER in names:
        border = _unpadded(probabilities[names.index(BORDER)], settings.pad_px)
    ids, count = separate(inside, border, settings)
    slide = inside + border
    kept, refused, whole = list[Outline](), list[Refusal](), set[Outline]()
    for number in range(1, count + 1):
        parts = [Part(ids == number, whole=False)]
        finds = [_outline(parts[0].mask, slide, halves, settings)]
        if settings.seams:
            corners, band = finds[0][0].corners, settings.border_share
            parts = parted(
                parts[0].mask, border, halves, corners, band_share=band, glass=settings.glass
            )
            if len(parts) > 1:
                finds = [_outline(part.mask, slide, halves, settings) for part in parts]
        whole |= {find[0] for find, part in zip(finds, parts, strict=True) if part.whole}
        kept += [outline for outline, reason in finds if not reason]
        refused += [Refusal(outline, reason) for outline, reason in finds if reason]
    return Found(_in_reading_order(_without_doubles(kept)), tuple(refused), frozenset(whole))


def _unpadded(plane: NDArray[np.float32], pad: int) -> NDArray[np.float32]:
    """Return the part of a plane that is the photo, as `seen_by_network` padded it."""
    if not pad:
        return plane
    rows, columns = plane.shape
    size = (columns + 2 * pad, rows + 2 * pad)
    padded = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(padded[pad : pad + rows, pad : pad + columns], np.float32)


def _outline(
    region: Mask, slide: NDArray[np.float32], photo: Halves, settings: Outlines
) -> tuple[Outline, str]:
    """Return the outline of one region, and why it is refused, if it is."""
    width, height = photo.size
    scale = np.array([width / region.shape[1], height / region.shape[0]])
    frame = box(0, 0, width, height)
    try:
        coarse, on_frame = fit(_soft(region, slide), settings.bent_share)
    except ValueError:
        return _refused_box(region, slide, scale), "no four sides"
    quadrilateral = coarse.scaled(scale)
    if settings.refine:
        finer = refine(
            photo.photo, quadrilateral, on_frame,
            scale=float(scale.max()), bent_share=settings.bent_share,
        )  # fmt: skip
        quadrilateral = finer if _is_close(finer, quadrilateral, scale) else quadrilateral
    polygon = _largest(shapely.make_valid(quadrilateral.polygon()).intersection(frame))
    if quadrilateral.polygon().area > _MOSTLY_SEEN * polygon.area:
        return _refused_box(region, slide, scale), "mostly outside the photo"
    small = _scaled(polygon, 1 / scale)
    marked = slide[region & (slide > settings.threshold)]  # not the pale middle within a border
    sure = float(marked.mean() * agreement(small, region)) if marked.size else 0.0
    bent = float(quadrilateral.bend_shares.max())
    kind: Kind = "curved" if bent > settings.bent_share else "quadrilateral"
    outline = Outline(quadrilateral.corners, polygon, sure, kind)
    if bent > settings.max_bend_share:
        return outline, f"too bent ({bent:.0%} of a side)"
    if sure < settings.min_confidence:
        return outline, f"too uncertain (confidence {sure:.2f} < {settings.min_confidence:g})"
    if polygon.area < settings.min_share * width * height:
        return outline, "too small"
    return outline, ""


def _soft(region: Mask, slide: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map whose half-way line is the region's edge, finer than a pixel where it can."""
    around = cv2.dilate(region.view(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return np.where(
        region, np.maximum(slide, 0.501), np.where(around, np.minimum(slide, 0.499), 0)
    ).astype(np.float32)


def _is_close(finer: Quadrilateral, coarse: Quadrilateral, scale: NDArray[np.float64]) -> bool:
    """Whether refined sides still make a quadrilateral about where it was."""
    moved = np.hypot(*(finer.corners - coarse.corners).T).max()
    return finer.is_sound() and bool(
        moved < max(12.0, 8 * scale.max(), 0.15 * coarse.lengths.min())
    )


def _refused_box(region: Mask, slide: NDArray[np.float32], scale: NDArray[np.float64]) -> Outline:
    rows, columns = np.nonzero(region.any(axis=1))[0], np.nonzero(region.any(axis=0))[0]
    corners = _corners(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) * scale
    return Outline(corners, Polygon(corners), float(slide[region].mean()), "box")


def _boxes(inside: NDArray[np.float32], photo: Halves, settings: Outlines) -> list[Outline]:
    """Return the network's boxes in the photo, those in the padding left out."""
    size = np.array(photo.size)
    seen = np.array([inside.shape[1], inside.shape[0]])
    padded, pad = seen + 2 * settings.pad_px, settings.pad_px
    found = list[Outline]()
    for x, y, right, bottom in boxes(inside, settings).astype(int).tolist():
        corners = (_corners(x, y, right, bottom) * padded / seen - pad) * size / seen
        corners = np.clip(corners, 0, size)
        if np.ptp(corners, axis=0).min() >= 1:
            part = inside[y:bottom, x:right]
            sure = float(part[part > settings.threshold].mean())
            found.append(Outline(corners, Polygon(corners), sure, "box"))
    return found


def _corners(x: float, y: float, right: float, bottom: float) -> NDArray[np.float64]:
    return np.array([[x, y], [right, y], [right, bottom], [x, bottom]], np.float64)


def _without_doubles(outlines: list[Outline]) -> list[Outline]:
    """Keep the surest of outlines that lie on one another."""
    kept = list[Outline]()
    for one in sorted(outlines, key=lambda outline: -outline.confidence):
        if all(
            one.polygon.intersection(other.polygon).area
            < 0.5 * min(one.polygon.area, other.polygon.area)
            for other in kept
        ):
            kept.append(one)
    return kept


def _in_reading_order(outlines: list[Outline]) -> tuple[Outline, ...]:
    """Sort by rows, then from left to right; a row is what overlaps its topmost by half."""
    left = sorted(outlines, key=lambda one: one.polygon.bounds[1])
    ordered = list[Outline]()
    while left:
        _, top, _, bottom = left[0].polygon.bounds
        row = [
            one for one in left if one.polygon.centroid.y < bottom and one.polygon.centroid.y >= top
        ]
        row = row or [left[0]]
        ordered += sorted(row, key=lambda one: one.polygon.centroid.x)
        left = [one for one in left if all(one is not other for other in row)]
    return tuple(ordered)


def _largest(shape: object) -> Polygon:
    parts = [part for part in getattr(shape, "geoms", [shape]) if isinstance(part, Polygon)]
    return max(parts, key=lambda part: part.area, default=Polygon())


def _scaled(polygon: Polygon, by: NDArray[np.float64]) -> Polygon:
    return Polygon(np.asarray(polygon.exterior.coords) * by) if not polygon.is_empty else polygon


def _resized(pixels: Rgb, size: tuple[int, int]) -> Rgb:
    if pixels.shape[1::-1] == size:
        return pixels
    smaller = size[0] * size[1] < pixels.shape[0] * pixels.shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)
