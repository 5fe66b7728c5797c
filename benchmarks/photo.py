"""From files to crops: ours against the thesis's own steps, in one run on one machine.

    python benchmarks/photo.py PHOTO… [--better RUN_OR_BUNDLE] [--published RUN_OR_BUNDLE]
        [--megapixels 12] [--rounds 3] [--json FILE]

Each side is a process of its own that loads its network once and works through all photos, as the
command `slidemask photo` and the program of M. Mohamed (MSc thesis, UT Arlington 2024) do. What the
latter does to a photo is written here again from its listings: open with Pillow; squeeze to 640 x
640, pad by 30, squeeze again; normalise; FCN-ResNet-50 in single precision, eager, on the CPU; heat
map, threshold, `skimage.measure.label` with 8 neighbours, the extremes of each component's
coordinates, boxes of 2,500 px and more; crop each box from the frame, paste it into a picture of
the frame's size and save that as PNG. Saving the crop alone is timed beside it: "lean" is the whole
with that instead. Its network comes from a .pth file with the weights of --published. Where that
is a model of photo/published on another encoder than ResNet-50, the network is untrained, and takes
as long; the heat maps that follow it are those of the model. Without --published they are those of
a perfect network: the outlines that ours has found, without a speck beside them, so that "boxes" is
cheap. What is left out is in the thesis's favour: it loads ImageNet weights first, which it then
overwrites, and prints.
Where boxes lie in the frame is worked out rightly here (the listing divides by 576); that costs the
same.

Times are wall-clock; the sides take turns, and the median of the rounds counts. "Import" is what a
program imports at its head; our "load" holds what is imported only where a model needs it, and
OpenVINO's preparation of the network. "Whole program" adds all three. Our network is converted for
OpenVINO before, as the command's first run on a machine does; that is not timed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

SIDES = ("published", "better")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE, PAD, LEAST_PX, THRESHOLD = 640, 30, 2500, 0.5
HEATS = "heats.npy"


def main() -> None:
    """Run both sides in turn and print what they took."""
    asked = _arguments()
    if asked.side:
        run = {"published": run_published, "better": run_better}[asked.side]
        print(json.dumps(run(asked.photos, asked.weights, Path(asked.out))))
        return
    with tempfile.TemporaryDirectory() as folder:
        photos = enlarged(asked.photos, asked.megapixels, Path(folder))
        weights = Path(folder) / "best.pth"
        trained = save_state(asked.published, weights)
        given = {"published": str(weights), "better": asked.better}
        took = {side: list[dict[str, Any]]() for side in SIDES}
        first = Path(folder) / "first"
        _in_process("better", photos, asked.better, first)  # converts, once
        if not trained:
            heats = heats_of(asked.published, photos) if asked.published else perfect(first, photos)
            save_heats(heats, weights.with_name(HEATS))
        for turn in range(asked.rounds):
            for side in SIDES:
                out = Path(folder) / f"{side}-{turn}"
                took[side].append(_in_process(side, photos, given[side], out))
                print(
                    f"{side}, round {turn + 1}: {took[side][-1]['photos']:.2f} s", file=sys.stderr
                )
    result = summary(took, len(photos), asked.megapixels)
    print(in_words(result))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def run_published(photos: Sequence[Path], weights: str, out: Path) -> dict[str, Any]:
    """Do what the thesis's program does; return seconds by stage, over all photos."""
    began = time.perf_counter()
    import numpy as np
    import torch
    from PIL import Image
    from skimage import measure
    from torchvision import transforms

    imported = time.perf_counter()
    network = published_network()
    network.load_state_dict(torch.load(weights, map_location="cpu"))  # noqa: TID251 - as published
    network.eval()
    loaded = time.perf_counter()
    prepare = transforms.Compose(
        [
            transforms.Resize((SIDE, SIDE)), transforms.Pad(PAD), transforms.Resize((SIDE, SIDE)),
            transforms.ToTensor(), transforms.Normalize(mean=MEAN, std=STD),
        ]
    )  # fmt: skip
    out.mkdir(parents=True)
    stages: tuple[str, ...] = ("read", "prepare", "network", "boxes", "save", "save lean")
    seconds: dict[str, float] = dict.fromkeys(stages, 0.0)
    clock, count = _Clock(seconds), 0
    given = Path(weights).with_name(HEATS)
    heats = np.load(given) if given.exists() else None
    for number, path in enumerate(photos):
        frame = clock.time("read", lambda path=path: _loaded(path))
        tensor = clock.time("prepare", lambda frame=frame: prepare(frame)[None])
        with torch.no_grad():
            logits = clock.time("network", lambda tensor=tensor: network(tensor))
        heat = torch.softmax(logits[0], dim=0)[1].numpy()
        heat = heat if heats is None else heats[number]
        boxes = clock.time("boxes", lambda heat=heat: published_boxes(heat, measure.label))
        count += len(boxes)
        picture = clock.time("save", lambda frame=frame: Image.new("RGB", frame.size))
        for place, box in enumerate(boxes):
            name = f"{number}-{place}.png"
            told = (picture, frame, box, out / name)
            clock.time("save", lambda told=told: _paste_and_save(*told))
            clock.time("save lean", lambda f=frame, b=box, n=name: _crop(f, b).save(out / f"l{n}"))
    return _told(began, imported, loaded, seconds) | {"slides": count}


def run_better(photos: Sequence[Path], model: str, out: Path) -> dict[str, Any]:
    """Do what `slidemask photo` does; return seconds by stage, over all photos."""
    began = time.perf_counter()
    from slidemask.base.memory import share_freed
    from slidemask.io.photograph import read_photo
    from slidemask.models.backends import load
    from slidemask.recipes.photo.crops import CropOptions, cut_photos, read_result
    from slidemask.recipes.photo.find import equipped, photo_settings

    share_freed()
    first = read_photo(photos[0])
    imported = time.perf_counter()
    bundle = load(model, "cpu")
    bundle = equipped(bundle, first, photo_settings(bundle), "auto")
    loaded = time.perf_counter()
    outcomes = list(cut_photos(photos, bundle, out, CropOptions(backend="auto")))
    done = time.perf_counter()
    if failed := [one.message for one in outcomes if one.state != "done"]:
        raise SystemExit(f"photos failed: {failed}")
    results = [read_result(one.folder) for one in outcomes]
    seconds: dict[str, float] = {
        stage: float(sum(result["seconds"][stage] for result in results))
        for stage in results[0]["seconds"]
    }
    count = sum(len(result["outlines"]) for result in results)
    whole = {
        "photos": done - loaded,
        "slides": count,
    }  # stages run beside each other
    return _told(began, imported, loaded, seconds) | whole


def published_network() -> Any:  # noqa: ANN401 - a torch module; torch is imported where timed
    """Return torchvision's ResNet-50 without its last two layers, and the head, untrained."""
    from torch import nn
    from torchvision.models import resnet50

    head = nn.Sequential(
        nn.Conv2d(2048, 512, 3, padding=1), nn.ReLU(inplace=True),
        nn.ConvTranspose2d(512, 2, 32, stride=32),
    )  # fmt: skip
    backbone = nn.Sequential(*list(resnet50(weights=None).children())[:-2])
    return nn.Sequential(backbone, head)


def published_boxes(heat: Any, label: Callable[..., Any]) -> list[tuple[int, int, int, int]]:  # noqa: ANN401 - an array
    """Return (top, left, bottom, right) of each component, of 2,500 px and more, in 640 px."""
    import numpy as np

    labels, count = label(heat >= THRESHOLD, connectivity=2, return_num=True)
    boxes = []
    for number in range(1, count + 1):
        places = np.argwhere(labels == number)
        (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0)
        if (bottom - top) * (right - left) >= LEAST_PX:
            boxes.append((int(top), int(left), int(bottom), int(right)))
    return boxes


def perfect(results: Path, photos: Sequence[Path]) -> list[Any]:
    """Return the heat maps (640, 640) of a network that sees what ours has found, no more."""
    import cv2
    import numpy as np

    from slidemask.recipes.photo.crops import read_result

    heats = [np.zeros((SIDE, SIDE), np.float32) for _ in photos]
    for heat, photo in zip(heats, photos, strict=True):
        result = read_result(results / photo.stem)
        size = result["photo"]["width"], result["photo"]["height"]
        for outline in result["outlines"]:
            inner = np.asarray(outline["polygon"]) / size * SIDE + PAD
            cv2.fillPoly(heat, [np.rint(inner * SIDE / (SIDE + 2 * PAD)).astype(np.int32)], 1.0)
    return heats


def heats_of(model: str, photos: Sequence[Path]) -> list[Any]:
    """Return the heat maps (640, 640) of a model of photo/published, whatever its encoder."""
    import cv2

    from slidemask.io.photograph import read_photo
    from slidemask.models.bundle import Bundle
    from slidemask.recipes.photo.find import photo_settings, seen_by_network

    bundle = Bundle.load(model, "cpu")
    settings = photo_settings(bundle)
    maps = [
        bundle.predict(seen_by_network(read_photo(photo), settings)[None])[0, 1] for photo in photos
    ]
    return [cv2.resize(one, (SIDE, SIDE)) for one in maps]


def save_heats(heats: Sequence[Any], path: Path) -> None:
    """Write heat maps for the thesis's side to read."""
    import numpy as np

    np.save(path, np.stack(heats))


def save_state(model: str | None, path: Path) -> bool:
    """Write weights as a .pth file of the thesis's network; say whether they are the model's."""
    import torch

    from slidemask.models.bundle import Bundle

    target = published_network()
    values, keys = list[Any](), list[str]()
    if model is not None:
        ours, theirs = Bundle.load(model, "cpu").segmenter.network.state_dict(), target.state_dict()
        values = [value for value in ours.values() if value.shape]
        keys = [key for key, value in theirs.items() if value.shape]
        shapes = [tuple(theirs[key].shape) for key in keys]
        if [tuple(value.shape) for value in values] == shapes:
            target.load_state_dict(theirs | dict(zip(keys, values, strict=True)))
            torch.save(target.state_dict(), path)
            return True
    torch.save(target.state_dict(), path)
    return False


def enlarged(photos: Sequence[Path], megapixels: float, folder: Path) -> list[Path]:
    """Write each photo anew at a camera's size; without one, take them as they are."""
    import cv2

    if not megapixels:
        return list(photos)
    paths = []
    for number, photo in enumerate(photos):
        pixels = cv2.imread(str(photo))
        if pixels is None:
            raise SystemExit(f"{photo} cannot be read")
        ratio = (megapixels * 1e6 / (pixels.shape[0] * pixels.shape[1])) ** 0.5
        large = cv2.resize(pixels, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_CUBIC)
        paths.append(folder / f"{number:03d}-{photo.stem}.jpg")
        cv2.imwrite(str(paths[-1]), large, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return paths


def summary(
    took: dict[str, list[dict[str, Any]]], photos: int, megapixels: float
) -> dict[str, Any]:
    """Return medians over rounds, and the ratios."""
    sides: dict[str, dict[str, Any]] = {side: _medians(runs) for side, runs in took.items()}
    theirs, ours = sides["published"], sides["better"]
    lean = theirs["photos"] - theirs["stages"]["save"] + theirs["stages"]["save lean"]
    return {
        "photos": photos,
        "megapixels": megapixels or None,
        "rounds": len(took["better"]),
        "seconds": sides,
        "ratio": {
            "a photo": theirs["photos"] / ours["photos"],
            "a photo, lean": lean / ours["photos"],
            "all photos with loading": _ratio(theirs, ours, theirs["photos"]),
            "one photo, whole program": _ratio(theirs, ours, theirs["photos"], photos, "import"),
            "one photo with loading": _ratio(theirs, ours, theirs["photos"], photos),
            "one photo with loading, lean": _ratio(theirs, ours, lean, photos),
        },
    }


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of each figure and of each stage."""
    names = ("import", "load", "photos", "slides")
    stages = {
        stage: statistics.median(run["stages"][stage] for run in runs)
        for stage in runs[0]["stages"]
    }
    return {name: statistics.median(run[name] for run in runs) for name in names} | {
        "stages": stages
    }


def in_words(result: dict[str, Any]) -> str:
    """Return a table and the ratios."""
    count = result["photos"]
    lines = [f"{count} photos, median of {result['rounds']} rounds; ms a photo by stage"]
    for side, took in result["seconds"].items():
        stages = ", ".join(f"{name} {1000 * s / count:.0f}" for name, s in took["stages"].items())
        lines.append(
            f"{side}: import {took['import']:.2f} s, load {took['load']:.2f} s, "
            f"{1000 * took['photos'] / count:.0f} ms a photo ({stages}), "
            f"{took['slides']:.0f} slides"
        )
    ratios = ", ".join(f"{name} {value:.1f}x" for name, value in result["ratio"].items())
    return "\n".join([*lines, f"published / better: {ratios}"])


class _Clock:
    """Adds up the seconds of each stage."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    def time(self, stage: str, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it gives
        began = time.perf_counter()
        result = work()
        self._seconds[stage] += time.perf_counter() - began
        return result


def _told(began: float, imported: float, loaded: float, stages: dict[str, float]) -> dict[str, Any]:
    """Return seconds; what is timed beside the rest does not count."""
    photos = sum(value for name, value in stages.items() if name != "save lean")
    return {
        "import": imported - began, "load": loaded - imported, "photos": photos, "stages": stages,
    }  # fmt: skip


def _ratio(
    theirs: dict[str, Any], ours: dict[str, Any], their_photos: float, photos: int = 1, *also: str
) -> float:
    before = [sum(side[key] for key in ("load", *also)) for side in (theirs, ours)]
    return (before[0] + their_photos / photos) / (before[1] + ours["photos"] / photos)


def _corners(frame: Any, box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:  # noqa: ANN401 - Pillow's
    """Return a box of the padded square in the frame's pixels: left, top, right, bottom."""
    inner = SIDE * SIDE / (SIDE + 2 * PAD)  # the photo itself, in the square
    edge = (SIDE - inner) / 2
    top, left, bottom, right = ((value - edge) / inner for value in box)
    width, height = frame.size
    places = (left * width, top * height, right * width, bottom * height)
    largest = (width, height, width, height)
    return tuple(round(min(max(0.0, at), most)) for at, most in zip(places, largest, strict=True))  # type: ignore[return-value]  # four of them


def _crop(frame: Any, box: tuple[int, int, int, int]) -> Any:  # noqa: ANN401 - Pillow's
    left, top, right, bottom = _corners(frame, box)
    return frame.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _loaded(path: Path) -> Any:  # noqa: ANN401 - Pillow's
    """Open a photo and decode it; Pillow would wait for the first who needs its pixels."""
    from PIL import Image

    frame = Image.open(path)
    frame.load()
    return frame if frame.mode == "RGB" else frame.convert("RGB")


def _paste_and_save(picture: Any, frame: Any, box: tuple[int, int, int, int], path: Path) -> None:  # noqa: ANN401 - Pillow's
    """Paste a box into the picture of the frame's size, which keeps earlier ones, and save all."""
    picture.paste(_crop(frame, box), _corners(frame, box)[:2])
    picture.save(path)


def _in_process(side: str, photos: Sequence[Path], weights: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, *map(str, photos), "--side", side]
    command += ["--weights", weights, "--out", str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photos", nargs="+", type=Path, metavar="PHOTO")
    parser.add_argument("--better", default="photo", help="our model (default: the shipped one)")
    parser.add_argument("--published", help="a model of photo/published (default: untrained)")
    parser.add_argument("--megapixels", type=float, default=0.0, help="enlarge photos to this size")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    for name in ("--side", "--weights", "--out"):  # of the processes that this one starts
        parser.add_argument(name, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
