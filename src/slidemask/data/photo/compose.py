"""One photo: a scene is set, a camera aimed at it, the picture taken."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from slidemask.base.errors import SettingsError
from slidemask.base.types import Rgb
from slidemask.data.photo.camera import Pose, View, draw_bend, laid, rectangle
from slidemask.data.photo.light import (
    Hand,
    blurred,
    draw_hand,
    glow,
    light_field,
    sensed,
    shadow_under,
    shine,
)
from slidemask.data.photo.pages import page, poster, screen
from slidemask.data.photo.sheets import Figure, Sheet, Stock, glass, printed
from slidemask.data.photo.textures import surface
from slidemask.data.photo.views import view_of, whole

_ASPECTS = (4 / 3, 4 / 3, 4 / 3, 16 / 9, 1.0, 1.5)
_SCENES, _VIEWS = 12, 25
_LEAST_SEEN = 0.45


@dataclass(frozen=True, eq=False)
class Laid:
    """A slide in a photo.

    Parameters
    ----------
    corners : (4, 2) float
        x, y in the frame's pixels, clockwise from the one nearest to the frame's top left, also
        where they lie beyond the frame; a pixel's edges lie on whole numbers.
    outline : Polygon
        The whole outline; more than four corners where the page is bent.
    figure : Figure
    curved : bool
    hidden : float
        Share of what lies in the frame that fingers cover.
    """

    corners: NDArray[np.float64]
    outline: Polygon
    figure: Figure
    curved: bool
    hidden: float = 0.0

    def within(self, size: tuple[int, int]) -> Polygon:
        """Return the part of the outline inside a frame of (width, height)."""
        seen = self.outline.intersection(shapely.box(0, 0, *size))
        return seen if isinstance(seen, Polygon) else Polygon()


@dataclass(frozen=True, eq=False)
class Photo:
    """A composed photo and what is in it.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    slides : tuple of Laid
    kind : str
    camera : mapping
        Focal length in pixels and tilts in degrees.
    scene : str
        Name of the user's scene behind it, or "".
    jpeg_quality : int
        With which it should be written.
    """

    pixels: Rgb
    slides: tuple[Laid, ...]
    kind: str
    camera: dict[str, float] = field(default_factory=dict)
    scene: str = ""
    jpeg_quality: int = 90


@dataclass(frozen=True, eq=False)
class _Scene:
    """Sheets, where they lie on the plane (from sheet pixels), and where they are bent."""

    sheets: tuple[Sheet, ...]
    places: tuple[Pose, ...]


def compose(stock: Stock, kind: str) -> Photo:
    """Compose one photo.

    Parameters
    ----------
    stock : Stock
        Sources, scenes, settings and dice; equal ones give equal photos.
    kind : str
        One of `slidemask.data.photo.settings.KINDS`.

    Raises
    ------
    SettingsError
        If no view shows the slides large enough, or there is no scene for a `photograph`.
    """
    settings = stock.settings
    if kind == "photograph":
        return _photograph(stock)
    path = _scene_behind(stock)
    size = _frame_size(stock, path)
    closer = settings.closer > 0 and stock.rng.uniform() < settings.closer
    for _ in range(_SCENES):
        scene = _set(stock, kind, size)
        if kind != "negative" and not any(sheet.figures for sheet in scene.sheets):
            continue  # none fitted between the text
        for _ in range(_VIEWS):
            view = _aimed(stock, kind, scene, size, closer=closer)
            poses = tuple(Pose(view.matrix @ at.matrix, at.bend) for at in scene.places)
            slides = _seen(scene, poses)
            least_seen = 0.05 if closer else _LEAST_SEEN
            fair = _fair(slides, poses, scene, (size, settings.smallest_share, least_seen))
            if fair and (closer or not _cuts(slides, size) or stock.rng.uniform() < settings.cut):
                frame = _behind(path, size, stock)
                return _taken(frame, scene, poses, (stock, kind, view, slides, path))
    raise SettingsError(
        f"No view of a {kind!r} scene shows its slides at {settings.smallest_share:.1%} of the "
        "photo or more. Lower smallest_share or most_slides."
    )


def _taken(
    frame: Rgb,
    scene: _Scene,
    poses: tuple[Pose, ...],
    what: tuple[Stock, str, View, tuple[Laid, ...], Path | None],
) -> Photo:
    """Draw everything and photograph it."""
    stock, kind, view, slides, path = what
    rng, severity = stock.rng, stock.settings.severity
    white = _white(frame) if path is not None else np.ones(3)
    light = light_field(frame.shape[:2], severity * (0.5 if path is not None else 1.0), rng)
    for sheet, pose in zip(scene.sheets, poses, strict=True):
        shadow_under(frame, pose, sheet.size, rng)
        pixels = sheet.pixels
        if sheet.lit is None:
            gain = white * (pose.bend.shade[_columns(pose, sheet)][:, None] if pose.bend else 1.0)
            pixels = np.clip(pixels * gain, 0, 255).astype(np.uint8)
        cast = pose.render(frame, pixels, sheet.alpha)
        if sheet.lit is not None:
            glow(frame, (pose, cast), sheet.lit, rng)
            light[cast.window] **= np.float32(0.35)
    slides = tuple(each for each in slides if each.within(view.size).area > 0)
    if rng.uniform() < stock.settings.hands:
        hand, slides = _hand(frame.shape[:2], slides, rng)
        if hand is not None:
            hand.paint(frame)
    shine(frame, light, rng, severity)
    pixels = sensed(blurred(frame, severity, rng), severity, rng)
    camera = {
        "focal_px": round(view.focal_px, 2),
        "tilt_x_degrees": round(float(np.rad2deg(view.tilt[0])), 2),
        "tilt_y_degrees": round(float(np.rad2deg(view.tilt[1])), 2),
    }
    quality = 97 if severity == 0 else int(rng.integers(50, 96))
    return Photo(pixels, slides, kind, camera, path.name if path else "", quality)


def _columns(pose: Pose, sheet: Sheet) -> NDArray[np.intp]:
    """Return the knot of the bend next to each column of a sheet."""
    assert pose.bend is not None  # noqa: S101 - the caller looked
    middles = np.arange(sheet.size[0]) + 0.5
    return np.clip(np.searchsorted(pose.bend.along, middles), 0, len(pose.bend.heights) - 1)


def _set(stock: Stock, kind: str, size: tuple[int, int]) -> _Scene:
    """Set the scene of a kind; the plane's unit is about one pixel of the frame."""
    rng, settings = stock.rng, stock.settings
    long = max(size)
    if kind == "negative":
        kind, count = str(rng.choice(["page", "page", "prints", "screen", "poster", "bare"])), 0
    else:
        count = int(rng.choice([1, 1, 1, 2, 2, 3, 4, 5, 6]))
        count = min(count, settings.most_slides)
    if kind == "bare":
        return _Scene((), ())
    if kind in {"prints", "glass"}:
        return _spread(stock, kind, count, long)
    if kind == "close":
        sheet = printed(stock, round(long * rng.uniform(0.75, 1.15)), 1)
    elif kind == "screen":
        sheet = screen(stock, round(long * rng.uniform(0.85, 1.3)), count)
    else:
        make = page if kind == "page" else poster
        sheet = make(stock, round(long * rng.uniform(0.95, 1.5)), count)
    bent = kind == "page" and rng.uniform() < settings.curved
    bend = draw_bend(sheet.size[0], rng) if bent else None
    angle = rng.normal(0, 0.06) + float(rng.choice([0, 0, 0, 0, 1, -1])) * np.pi / 2
    return _Scene((sheet,), (Pose(laid(sheet.size, (0, 0), angle), bend),))


def _spread(stock: Stock, kind: str, count: int, long: int) -> _Scene:
    """Lay several prints or glass slides on the desk, none over another."""
    rng = stock.rng
    sheets: list[Sheet] = []
    places: list[Pose] = []
    taken: list[Polygon] = []
    left = max(1, count)
    room = long * 0.95 / np.sqrt(left)
    while left > 0:
        inside = min(left, int(rng.choice([1, 1, 1, 2, 3]))) if kind == "prints" else 1
        side = round(room * rng.uniform(0.55, 1.0) * (1.0 if inside == 1 else 1.3))
        if kind == "glass":
            sheet = glass(stock, round(side * 1.3))
        else:
            sheet = printed(stock, side, inside if count else 0)
        left -= inside
        for _ in range(30):
            x, y = rng.uniform(-0.4 * long, 0.4 * long, 2)
            turned = rng.normal(0, 0.35) if rng.uniform() < 0.7 else rng.uniform(0, 6.28)
            place = Pose(laid(sheet.size, (x, y), turned))
            outline = place.outline(rectangle(*sheet.size))
            if all(outline.distance(other) > 3 for other in taken):
                sheets.append(sheet)
                places.append(place)
                taken.append(outline)
                break
    return _Scene(tuple(sheets), tuple(places))


def _aimed(stock: Stock, kind: str, scene: _Scene, size: tuple[int, int], *, closer: bool) -> View:
    """Draw a camera that looks at the scene, or at one slide of it, or at one group from near."""
    rng = stock.rng
    most = np.deg2rad(stock.settings.largest_tilt_degrees)
    tilt = rng.normal(0, 0.4, 2) * most
    tilt = np.clip(tilt, -most, most)
    aim = np.zeros(2)
    outlines = [
        place.outline(figure.corners)
        for sheet, place in zip(scene.sheets, scene.places, strict=True)
        for figure in sheet.figures
    ]
    if outlines and rng.uniform() < 0.4:
        centre = outlines[int(rng.integers(len(outlines)))].centroid
        aim = np.array([centre.x, centre.y]) * rng.uniform(0.3, 1.0)
    aim = aim + rng.normal(0, 0.05, 2) * max(size)
    zoom = float(np.exp(rng.normal(0.0 if kind != "prints" else -0.1, 0.22)))
    if closer and outlines:
        left, top, right, bottom = _group(outlines, int(rng.integers(len(outlines))))
        extent = np.array([right - left, bottom - top])
        aim = np.array([left + right, top + bottom]) / 2 + rng.normal(0, 0.06, 2) * extent
        zoom = float((np.array(size) / extent).min() * rng.uniform(0.5, 0.95))
    roll = rng.normal(0, 0.08) + (
        float(rng.choice([0, np.pi / 2])) if kind == "page" and size[0] > size[1] else 0.0
    )
    focal = max(size) * rng.uniform(0.7, 1.6)
    return View(size, focal, (tilt[0], tilt[1]), roll, zoom, (aim[0], aim[1]))


def _group(outlines: list[Polygon], first: int) -> tuple[float, float, float, float]:
    """Return the bounds of a slide and of all that lie close to it, one by one."""
    reach = 0.1 * np.sqrt(outlines[first].area)
    group, left = [outlines[first]], [*outlines[:first], *outlines[first + 1 :]]
    while near := [one for one in left if any(one.distance(each) < reach for each in group)]:
        group += near
        left = [one for one in left if one not in near]
    return shapely.union_all(group).bounds


def _seen(scene: _Scene, poses: tuple[Pose, ...]) -> tuple[Laid, ...]:
    """Return all slides as the camera sees them, inside the frame or not."""
    return tuple(
        Laid(
            _from_top_left(pose.forward(figure.corners)),
            pose.outline(figure.corners, figure.radius),
            figure,
            pose.bend is not None,
        )
        for sheet, pose in zip(scene.sheets, poses, strict=True)
        for figure in sheet.figures
    )


def _from_top_left(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.roll(corners, -int(np.argmin(corners.sum(axis=1))), axis=0)


def _fair(
    slides: tuple[Laid, ...],
    poses: tuple[Pose, ...],
    scene: _Scene,
    least: tuple[tuple[int, int], float, float],
) -> bool:
    """Whether the sheets lie before the camera and each slide is seen well or not at all."""
    size, share, least_seen = least
    for sheet, pose in zip(scene.sheets, poses, strict=True):
        ring = np.column_stack([rectangle(*sheet.size) * 1.0, np.ones(4)]) @ pose.matrix.T
        if ring[:, 2].min() <= 0.25 * ring[:, 2].max():
            return False
    frame, seen_any = size[0] * size[1], not slides
    for slide in slides:
        if not slide.outline.is_valid:
            return False
        parts = slide.outline.intersection(shapely.box(0, 0, *size))
        if parts.area == 0:
            continue
        fine = isinstance(parts, Polygon) and parts.area >= share * frame
        if not fine or parts.area < least_seen * slide.outline.area:
            return False
        seen_any = True
    return seen_any


def _cuts(slides: tuple[Laid, ...], size: tuple[int, int]) -> bool:
    frame = shapely.box(0, 0, *size)
    return any(slide.outline.crosses(frame) or slide.outline.overlaps(frame) for slide in slides)


def _hand(
    shape: tuple[int, int], slides: tuple[Laid, ...], rng: np.random.Generator
) -> tuple[Hand | None, tuple[Laid, ...]]:
    """Draw fingers that hide little of every slide, if they can be placed so."""
    for _ in range(6):
        hand = draw_hand(shape, rng)
        hidden = [_hidden(hand, slide) for slide in slides]
        if max(hidden, default=0) < 0.12:
            shown = zip(slides, hidden, strict=True)
            return hand, tuple(
                Laid(each.corners, each.outline, each.figure, each.curved, share)
                for each, share in shown
            )
    return None, slides


def _hidden(hand: Hand, slide: Laid) -> float:
    mask = np.zeros(hand.mask.shape, np.uint8)
    ring = shapely.get_coordinates(slide.outline.exterior)
    cv2.fillPoly(mask, [np.rint(np.clip(ring, -9999, 19999)).astype(np.int32)], 1)
    return float(np.count_nonzero(mask & (hand.mask > 127)) / max(1, np.count_nonzero(mask)))


def _frame_size(stock: Stock, path: Path | None) -> tuple[int, int]:
    long = stock.settings.longest_px
    if path is not None and stock.settings.whole_scenes:
        height, width = whole(path).shape[:2]
        scale = long / max(width, height)
        return round(width * scale), round(height * scale)
    short = round(long / float(stock.rng.choice(_ASPECTS)))
    return (short, long) if stock.rng.uniform() < 0.6 else (long, short)


def _scene_behind(stock: Stock) -> Path | None:
    if stock.scenes and stock.rng.uniform() < stock.settings.scene_share:
        return stock.scenes[int(stock.rng.integers(len(stock.scenes)))]
    return None


def _behind(path: Path | None, size: tuple[int, int], stock: Stock) -> Rgb:
    """Draw the desk, or one of the user's scenes."""
    rng, (width, height) = stock.rng, size
    if path is not None:
        if stock.settings.whole_scenes:
            scene = cv2.resize(whole(path), size, interpolation=cv2.INTER_AREA)
            return np.array(scene, np.uint8)
        return view_of(path, (height, width), rng)
    shape = (round(height * 0.75), round(width * 0.75))
    texture = surface(shape, rng)
    scale = 1.5 * rng.uniform(0.9, 1.4)
    around = laid((shape[1], shape[0]), (width / 2, height / 2), rng.uniform(0, 6.28), scale)
    lean = np.eye(3)
    lean[2, :2] = rng.normal(0, 0.12, 2) / max(size)
    seen = cv2.warpPerspective(texture, lean @ around, size, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(seen, np.uint8)


def _white(frame: Rgb) -> NDArray[np.float64]:
    """Return how paper would look in a scene's light, from its brightest parts, 0..1.

    Half of their colour is taken for the light's, half for their own.
    """
    bright = np.clip(np.quantile(frame[::8, ::8].reshape(-1, 3), 0.93, axis=0), 90, 250)
    return (bright + bright.max()) / 500


def _photograph(stock: Stock) -> Photo:
    """Return a scene as it is."""
    if not stock.scenes:
        raise SettingsError("Kind 'photograph' needs scenes: name pictures without slides.")
    path = stock.scenes[int(stock.rng.integers(len(stock.scenes)))]
    height, width = whole(path).shape[:2]
    scale = stock.settings.longest_px / max(width, height)
    size = (round(width * scale), round(height * scale))
    pixels = np.array(cv2.resize(whole(path), size, interpolation=cv2.INTER_AREA), np.uint8)
    return Photo(pixels, (), "photograph", {}, path.name, 92)
