"""Make a cohort of one slide's pieces of tissue, with a model's own masks as annotations.

    python scripts/pieces_cohort.py SLIDE OUT --model glands --parts validation,train,train,test

The pieces, smallest first, are cut out as slides of their own, and the model segments each. What
is trained on such a cohort learns what the model says, and scores against it are agreement with
the model, not truth. Each piece is called a patient, since a cohort keeps patients apart; here
all are of one, so nothing follows for other patients.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from slidemask.base.types import Rgb
from slidemask.data.case import Case
from slidemask.data.cohort import write_cohort
from slidemask.geometry.box import Box, Size
from slidemask.io.open import open_slide
from slidemask.io.pyramid import write_rgb_pyramid
from slidemask.io.slide import Slide
from slidemask.models.bundle import Bundle
from slidemask.recipes.segment import Options, segment
from slidemask.tiles.tissue import TissueFilter, find_tissue

SMALLEST_MM2 = 0.5
MARGIN_PX = 256
BAND_ROWS = 1024


def main(path: Path, out: Path, model: str, parts: list[str]) -> None:
    """Write slides, masks and `cohort.csv` into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with open_slide(path) as slide:
        boxes = pieces(slide)
        if len(boxes) != len(parts):
            raise SystemExit(f"{path} has {len(boxes)} pieces; name as many --parts.")
        files = [cut(slide, box, out / f"piece-{n}.tif") for n, box in enumerate(boxes, start=1)]
    cases = [Case(file) for file in files]
    outcomes = list(segment(cases, Bundle.load(model), out / "masks", Options()))
    rows = [
        Case(one.slide, one.folder / "polygons.geojson", one.slide.stem, part, complete=True)
        for one, part in zip(outcomes, parts, strict=True)
    ]
    write_cohort(out / "cohort.csv", rows)
    print(f"{out / 'cohort.csv'}: {len(rows)} pieces")


def pieces(slide: Slide) -> list[Box]:
    """Return boxes around the connected pieces of tissue, smallest piece first."""
    tissue = find_tissue(slide, TissueFilter())
    _, _, found, _ = cv2.connectedComponentsWithStats(tissue.mask.astype(np.uint8))
    step, mpp = tissue.downsample, slide.mpp or 1.0
    large = [one for one in found[1:] if one[4] * (step * mpp / 1000) ** 2 >= SMALLEST_MM2]
    boxes = []
    for x, y, width, height, _ in sorted(large, key=lambda one: one[4]):
        left, top = (max(0, int(at * step) - MARGIN_PX) for at in (x, y))
        right = min(slide.size.width, int((x + width) * step) + MARGIN_PX)
        bottom = min(slide.size.height, int((y + height) * step) + MARGIN_PX)
        boxes.append(Box(left, top, right - left, bottom - top))
    return boxes


def cut(slide: Slide, box: Box, path: Path) -> Path:
    """Write a part of a slide as a slide, unless it is there."""
    if not path.exists():
        size = Size(int(box.width), int(box.height))
        write_rgb_pyramid(path, _bands(slide, box), size, mpp=slide.mpp)
    return path


def _bands(slide: Slide, box: Box) -> Iterator[tuple[int, Rgb]]:
    for top in range(0, int(box.height), BAND_ROWS):
        rows = min(BAND_ROWS, box.height - top)
        yield top, slide.read(Box(box.x, box.y + top, box.width, rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("slide", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", default="glands")
    parser.add_argument("--parts", required=True)
    given = parser.parse_args()
    main(given.slide, given.out, given.model, given.parts.split(","))
