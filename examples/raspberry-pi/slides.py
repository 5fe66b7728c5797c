"""Slides in photos or camera frames, cut out and straightened. Needs numpy, opencv and a runtime.

python slides.py photo.onnx PHOTO… --out crops          # or photo.xml: OpenVINO
python slides.py photo.onnx --camera 0 --out crops      # until Ctrl-C
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3), blue, green, red, as OpenCV has it."""
Corners = NDArray[np.float64]
"""(4, 2) x and y, clockwise from the top left; pixel (i, j) covers [j, j + 1) x [i, i + 1)."""


@dataclass(frozen=True)
class Model:
    """An exported model: its network, and what its file says of it."""

    predict: Callable[[Picture], NDArray[np.float32]]
    names: list[str]
    photo: dict[str, float]


def open_model(path: Path) -> Model:
    """Open .onnx by ONNX Runtime, .xml by OpenVINO; metadata are read from the file."""
    if path.suffix == ".xml":
        import openvino

        network = openvino.Core().read_model(path)
        told = {
            key: network.get_rt_info(["slidemask", key]).astype(str) for key in ("classes", "use")
        }
        compiled = openvino.compile_model(network, "AUTO")

        def run(image: Picture) -> NDArray[np.float32]:
            return np.asarray(compiled(image)[0], np.float32)
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            path, providers=onnxruntime.get_available_providers()
        )
        told = session.get_modelmeta().custom_metadata_map

        def run(image: Picture) -> NDArray[np.float32]:
            return np.asarray(session.run(None, {"image": image})[0], np.float32)

    names = [one["name"] for one in json.loads(told["classes"])]
    return Model(
        lambda seen: run(seen[None, ..., ::-1].copy())[0], names, json.loads(told["use"])["photo"]
    )


def find_slides(photo: Picture, model: Model) -> list[tuple[Corners, float]]:
    """Return the corners of each slide in the photo's pixels, and how sure it is (0..1)."""
    use, longest = model.photo, int(model.photo["longest_px"])
    height, width = photo.shape[:2]
    ratio = longest / max(height, width)
    size = round(width * ratio), round(height * ratio)
    small = np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
    probabilities = model.predict(small)
    inside = probabilities[model.names.index("slide")]
    border = probabilities[model.names.index("border")] if "border" in model.names else 0 * inside
    slide, found = inside + border, []
    for region in regions(inside, border, use["threshold"], use["border_share"] * longest):
        corners = quadrilateral(region)
        if corners is None or region.sum() < use["min_share"] * region.size:
            continue
        sure = float(slide[region].mean() * agreement(corners, region))
        if sure >= use["min_confidence"]:
            found.append((corners * (width / size[0], height / size[1]), sure))
    return found


def regions(
    inside: NDArray[np.float32], border: NDArray[np.float32], threshold: float, reach: float
) -> Iterator[NDArray[np.bool_]]:
    """Yield the pixels of each slide: connected insides, each with the border nearest to it."""
    seeds = (inside > threshold) & (inside >= border)
    count, ids = cv2.connectedComponents(seeds.astype(np.uint8), connectivity=4)
    away, owners = cv2.distanceTransformWithLabels(
        1 - seeds.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.asarray(owners, np.int32)
    owner = np.zeros(nearest.max() + 1, np.int32)
    owner[nearest[seeds]] = ids[seeds]
    grown = np.where((inside + border > threshold) & (away <= 2 * reach + 1), owner[nearest], 0)
    for number in range(1, count):
        yield grown == number


def quadrilateral(region: NDArray[np.bool_]) -> Corners | None:
    """Return the four corners of a region: the tightest four sides, each laid along its edge."""
    points = edge(region)
    hull = cv2.convexHull(points.astype(np.float32))
    if len(hull) < 4:
        return None
    corners = clockwise(cv2.approxPolyN(hull, 4).reshape(-1, 2).astype(np.float64))
    for band in (0.06, 0.03):
        lines = [laid(points, corners[k], corners[(k + 1) % 4], band) for k in range(4)]
        corners = np.array([meet(lines[k - 1], lines[k]) for k in range(4)])
    return corners


def edge(region: NDArray[np.bool_]) -> Corners:
    """Return the middles of all sides of pixels between a region and what is not."""
    padded = np.pad(region, 1).astype(np.int8)
    rows, columns = np.nonzero(np.diff(padded, axis=0)[:, 1:-1])
    upright = np.nonzero(np.diff(padded, axis=1)[1:-1])
    across = np.stack([columns + 0.5, rows], axis=1)
    along = np.stack([upright[1], upright[0] + 0.5], axis=1)
    return np.concatenate([across, along]).astype(np.float64)


def laid(points: Corners, start: Corners, end: Corners, band: float) -> tuple[Corners, Corners]:
    """Return the line (point, direction) that fits the points near a side best."""
    chord = end - start
    along = (points - start) @ chord / (chord @ chord)
    away = np.abs((points - start) @ (chord[1], -chord[0])) / (chord @ chord)
    near = points[(along > 0.1) & (along < 0.9) & (away < band)]
    if len(near) < 8:
        return start, chord
    middle = near.mean(axis=0)
    (xx, xy), (_, yy) = np.cov((near - middle).T)
    angle = np.arctan2(2 * xy, xx - yy) / 2
    return middle, np.array([np.cos(angle), np.sin(angle)])


def meet(one: tuple[Corners, Corners], other: tuple[Corners, Corners]) -> Corners:
    """Return where two lines meet."""
    (p, u), (q, v) = one, other
    return p + u * ((q - p) @ (v[1], -v[0])) / (u @ (v[1], -v[0]))


def clockwise(corners: Corners) -> Corners:
    """Order corners clockwise from the one whose side runs most nearly to the right."""
    middle = corners - corners.mean(axis=0)
    corners = corners[np.argsort(np.arctan2(middle[:, 1], middle[:, 0]))]
    sides = np.roll(corners, -1, axis=0) - corners
    return np.roll(corners, -int(np.argmax(sides[:, 0] / np.hypot(*sides.T))), axis=0)


def agreement(corners: Corners, region: NDArray[np.bool_]) -> float:
    """Return the IoU of a quadrilateral and a region."""
    drawn = np.zeros(region.shape, np.uint8)
    cv2.fillConvexPoly(drawn, np.rint((corners - 0.5) * 16).astype(np.int32), 1, shift=4)
    return float((region & (drawn > 0)).sum() / (region | (drawn > 0)).sum())


def straightened(photo: Picture, corners: Corners) -> Picture:
    """Cut a slide out, as wide and high as its longer sides are in the photo."""
    top, right, bottom, left = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    width, height = max(1, round(max(top, bottom))), max(1, round(max(right, left)))
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    # OpenCV counts from the middle of the first pixel.
    to_flat = cv2.getPerspectiveTransform(corners.astype(np.float32) - 0.5, flat - 0.5)
    flat_slide = cv2.warpPerspective(photo, to_flat, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(flat_slide, np.uint8)


def pictures(paths: list[Path], camera: str | None, every: int) -> Iterator[tuple[str, Picture]]:
    """Yield photos, turned upright as their EXIF says, or every so many frames of a camera."""
    for path in paths:
        photo = cv2.imread(str(path))
        if photo is None:
            print(f"{path}: cannot be read")
        else:
            yield path.stem, np.asarray(photo, np.uint8)
    if camera is None:
        return
    video = cv2.VideoCapture(int(camera) if camera.isdigit() else camera)
    if not video.isOpened():
        raise SystemExit(f"Camera {camera} cannot be opened: is it connected, and free?")
    number = 0
    try:
        while video.grab():
            if number % every == 0:
                yield f"frame-{number:06}", np.asarray(video.retrieve()[1], np.uint8)
            number += 1
    finally:
        video.release()


def main() -> None:
    options = argparse.ArgumentParser(description="Cut slides out of photos. Research use only.")
    options.add_argument("model", type=Path, help=".onnx or .xml, from slidemask export")
    options.add_argument("photos", type=Path, nargs="*")
    options.add_argument("--camera", help="number of a camera, a video file or an address")
    options.add_argument("--every", type=int, default=15, help="frames from one look to the next")
    options.add_argument("--out", type=Path, default=Path("crops"))
    asked = options.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        cut_out(asked)
    except KeyboardInterrupt:
        print("stopped")


def cut_out(asked: argparse.Namespace) -> None:
    """Write the slides of each photo or frame that was asked for."""
    model = open_model(asked.model)
    for name, photo in pictures(asked.photos, asked.camera, asked.every):
        start = time.perf_counter()
        found = find_slides(photo, model)
        print(f"{name}: {len(found)} slides, {1000 * (time.perf_counter() - start):.0f} ms")
        for number, (corners, _) in enumerate(found, 1):
            crop = straightened(photo, corners)
            cv2.imwrite(str(asked.out / f"{name}-{number}.png"), crop)


if __name__ == "__main__":
    main()
