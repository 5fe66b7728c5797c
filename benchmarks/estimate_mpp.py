"""Estimate EBHI-Seg's undocumented micrometres per pixel from the size of its healthy glands.

    python benchmarks/estimate_mpp.py EBHI_FOLDER GLAS_FOLDER [--group normal --group polyp]
        [--polygons OUT/slide/polygons.geojson --polygons-mpp 0.526] [--json FILE]

Measures the median equivalent diameter, sqrt(4 area / pi), of glands that do not touch the border
of their field: in pixels in EBHI-Seg, in micrometres in the fields of GlaS that Sirinukunwattana
et al. graded healthy (0.62005 µm per pixel). Their quotient is the estimate.

A small field cuts large glands more often than small ones, which alone makes its glands look
small. GlaS's fields are therefore seen through windows as large as an EBHI field, at every position
that a field allows: a gland counts by the share of the positions that show it whole. How large
that window is depends on the answer, so this is repeated until it stays.

It assumes: the same organ (colon), healthy glands of one size in both groups of patients, glands
cut across and along alike, equal shrinkage by fixation and embedding, annotators who draw a
gland's edge at the same place, and one magnification for all of EBHI-Seg. The interval, by
resampling cases and patients, holds the spread between patients and nothing of these assumptions.
"""

import argparse
import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GLAS_MPP = 0.62005
HEALTHY = "healthy"
SMALLEST_UM = 25.0
"""Smaller parts are specks of a mask, not glands."""


@dataclass(frozen=True)
class Field:
    """Glands of one picture that lie wholly in it.

    Parameters
    ----------
    owner : str
        Case or patient.
    size : (2,) int
        Height and width of the picture, px.
    diameters : (n,) float
        Equivalent diameters, px.
    first, last : (n, 2) int
        First and last row and column of each.
    """

    owner: str
    size: NDArray[np.int64]
    diameters: NDArray[np.float64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """µm per pixel, and the gland sizes that it comes from."""

    mpp: float
    reference_um: float
    unknown_px: float


def main() -> None:
    """Print a table of estimates."""
    asked = _arguments()
    glas = glas_fields(asked.glas)
    rows = []
    for groups in _choices(asked.group):
        ebhi = [field for group in groups for field in ebhi_fields(asked.ebhi / group)]
        rows.append({"EBHI groups": " + ".join(groups)} | compared(ebhi, glas, asked.resamples))
    print(f"GlaS, healthy: {_people(glas)}")
    for row in rows:
        print("\n" + "\n".join(f"{name:<42}{value}" for name, value in row.items()))
    if asked.polygons:
        found = polygon_diameters(asked.polygons) * asked.polygons_mpp
        found = found[found >= SMALLEST_UM]
        print(f"\n{asked.polygons}: {len(found)} outlines, median {np.median(found):.1f} µm")
        rows.append({"polygons": str(asked.polygons), "median_um": float(np.median(found))})
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def compared(
    ebhi: Sequence[Field], glas: Sequence[Field], resamples: int
) -> dict[str, float | int | str]:
    """Return the estimate without and with windows, and its interval."""
    plain = estimate(ebhi, glas, windows=False)
    best = estimate(ebhi, glas)
    rng = np.random.default_rng(0)
    drawn = [estimate(_drawn(ebhi, rng), _drawn(glas, rng)).mpp for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {
        "EBHI": _people(ebhi),
        "EBHI median, px": round(best.unknown_px, 1),
        "GlaS median, µm, whole fields": round(plain.reference_um, 1),
        "GlaS median, µm, windows of EBHI's size": round(best.reference_um, 1),
        "µm per pixel, uncorrected": round(plain.mpp, 3),
        "µm per pixel": round(best.mpp, 3),
        f"95 % interval of {resamples} resamples": f"{low:.2f} to {high:.2f}",
    }


def estimate(ebhi: Sequence[Field], glas: Sequence[Field], *, windows: bool = True) -> Estimate:
    """Return the fixed point of: window size -> median in GlaS -> µm per pixel -> window size."""
    side, mpp = int(ebhi[0].size.max()), 1.0
    reference = unknown = 0.0
    for _ in range(30):
        least = SMALLEST_UM / mpp
        unknown = weighted_median([(f.diameters, np.ones(len(f.diameters))) for f in ebhi], least)
        window = side * mpp / GLAS_MPP if windows else np.inf
        seen = [(f.diameters, seen_whole(f, window)) for f in glas]
        reference = weighted_median(seen, SMALLEST_UM / GLAS_MPP) * GLAS_MPP
        before, mpp = mpp, (mpp + reference / unknown) / 2  # damped: medians move in steps
        if abs(mpp - before) < 1e-4:
            break
    return Estimate(mpp, reference, unknown)


def seen_whole(field: Field, window: float) -> NDArray[np.float64]:
    """Return for each gland the share of a square window's positions that show it whole."""
    share = np.ones(len(field.diameters))
    for axis in range(2):
        length = int(field.size[axis])
        side = round(min(length, window))
        places = length - side + 1
        # The gland may not touch the window's edge, as it may not touch the field's.
        lowest = np.maximum(0, field.last[:, axis] + 2 - side)
        highest = np.minimum(places - 1, field.first[:, axis] - 1)
        share *= np.maximum(0, highest - lowest + 1) / places
    return share


def weighted_median(
    parts: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]], least: float
) -> float:
    """Return the median of all values of at least `least`, each counting by its weight."""
    pairs = list(parts)
    values, weights = (np.concatenate(column) for column in zip(*pairs, strict=True))
    kept = (values >= least) & (weights > 0)
    order = np.argsort(values[kept])
    values, total = values[kept][order], np.cumsum(weights[kept][order])
    return float(values[np.searchsorted(total, total[-1] / 2)])


def glas_fields(folder: Path) -> list[Field]:
    """Read the healthy fields of GlaS."""
    with (folder / "Grade.csv").open(encoding="utf-8") as file:
        rows = [{k.strip(): v.strip() for k, v in row.items()} for row in csv.DictReader(file)]
    return [
        field_of(folder / "masks" / f"{row['name']}.png", row["patient_id"])
        for row in rows
        if row["grade_sirinukunwattana2015"] == HEALTHY
    ]


def ebhi_fields(folder: Path) -> list[Field]:
    """Read one group of EBHI-Seg; the first number of a file's name is its case."""
    paths = sorted((folder / "labels").glob("*.png"))
    return [field_of(path, re.findall(r"\d+", path.stem)[0]) for path in paths]


def field_of(path: Path, owner: str) -> Field:
    """Measure the glands of one mask; lumens that were left out of it count as gland."""
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise SystemExit(f"{path} is no readable picture")
    filled = np.asarray(ndimage.binary_fill_holes(mask > 0))
    _, _, stats, _ = cv2.connectedComponentsWithStats(filled.astype(np.uint8), connectivity=4)
    left, top, width, height, area = stats[1:].T.astype(np.int64)
    first, last = np.stack([top, left], 1), np.stack([top + height - 1, left + width - 1], 1)
    size = np.array(filled.shape)
    whole = (first > 0).all(axis=1) & (last < size - 1).all(axis=1)
    diameters = np.sqrt(4 * area[whole] / np.pi)
    return Field(owner, size, diameters, first[whole], last[whole])


def polygon_diameters(path: Path) -> NDArray[np.float64]:
    """Return equivalent diameters of a GeoJSON's outlines, without their holes, level-0 px."""
    from slidemask.io.geojson import read_geojson

    polygons = read_geojson(path).polygons
    import shapely

    areas = shapely.area(shapely.polygons(shapely.get_exterior_ring(polygons)))
    return np.sqrt(4 * areas / np.pi)


def _drawn(fields: Sequence[Field], rng: np.random.Generator) -> list[Field]:
    owners = sorted({field.owner for field in fields})
    chosen = rng.choice(owners, len(owners))
    drawn = [field for owner in chosen for field in fields if field.owner == owner]
    return drawn if any(len(field.diameters) for field in drawn) else list(fields)


def _people(fields: Sequence[Field]) -> str:
    owners = {field.owner for field in fields}
    glands = sum(len(field.diameters) for field in fields)
    return f"{len(owners)} cases, {len(fields)} fields, {glands} whole glands"


def _choices(groups: list[str] | None) -> list[list[str]]:
    return [groups] if groups else [["normal"], ["polyp"], ["normal", "polyp"]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("ebhi", type=Path, help="folder with normal/labels, polyp/labels, …")
    parser.add_argument("glas", type=Path, help="folder with masks/ and Grade.csv")
    parser.add_argument("--group", action="append", help="EBHI groups taken together")
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--polygons", type=Path, help="outlines of glands on another slide")
    parser.add_argument("--polygons-mpp", type=float, help="µm per level-0 pixel of that slide")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    asked = parser.parse_args()
    if asked.polygons and not asked.polygons_mpp:
        parser.error("--polygons needs --polygons-mpp")
    return asked


if __name__ == "__main__":
    main()
