"""Make the cohort that the shipped model `glands` is trained on.

    python scripts/glands_cohort.py EBHI_SEG_FOLDER OUT

EBHI-Seg's fields (split by case), plus, in the training part alone, fields without glands: quilts
of the training fields' own stroma, and synthetic slides with muscle, fat and lymphoid tissue.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from slidemask.base.types import Rgb
from slidemask.data.case import Case
from slidemask.data.cohort import pair_folders, write_cohort
from slidemask.data.phantom.settings import GLAND, PhantomSettings
from slidemask.data.phantom.write import write_phantom
from slidemask.data.quilt import quilt, stroma, write_picture_pair
from slidemask.data.split import Split, split_cases
from slidemask.geometry.box import Box
from slidemask.io.labelimage import read_label_image
from slidemask.io.open import open_slide

MPP = 1.17  # by benchmarks/estimate_mpp.py
SIDE = 224
QUILTS = (("plain", 36, 1.0), ("dense", 26, 0.05))
LARGEST_SHARE = 0.98  # fields that are labelled throughout show no border to learn
PHANTOMS = 4
PHANTOM = PhantomSettings(
    width_px=2200, height_px=1700, mpp=0.5, tissue_share=0.85, piece_mm=0.8, cluster_mm2=0.06,
    clusters_per_cm2=150, decoys_per_cm2=150, pens=0, annotate=(GLAND,),
)  # fmt: skip


def main(ebhi: Path, out: Path) -> None:
    """Write quilts, phantoms and `cohort.csv` into `out`."""
    cases = pair_folders(ebhi, patient_pattern=r"(\d+)", mpp=MPP)
    fields = [case for case in cases if _labelled_share(case) < LARGEST_SHARE]
    parts = split_cases(fields, Split(train=0.75, validation=0.25, test=0.0))
    rows = [replace(case, split=part) for part, each in parts.items() for case in each]
    rows += _quilts(parts["train"], out)
    rows += _phantoms(out)
    write_cohort(out / "cohort.csv", rows)
    print(f"{len(cases) - len(fields)} fields left out, labelled throughout")
    print(f"{out / 'cohort.csv'}: {len(rows)} cases")


def _labelled_share(case: Case) -> float:
    return float((_labels(case) > 0).mean())


def _labels(case: Case) -> np.ndarray:
    assert case.annotations  # pair_folders pairs every field with a label image
    return read_label_image(case.annotations)


def _picture(case: Case) -> Rgb:
    with open_slide(case.slide) as slide:
        return slide.read(Box(0, 0, *slide.size))


def _quilts(cases: tuple[Case, ...], out: Path) -> list[Case]:
    rng = np.random.default_rng(0)
    folders = out / "quilts" / "images", out / "quilts" / "labels"
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in cases:
        picture = _picture(case)
        background = stroma(picture, _labels(case))
        for kind, patch, densest in QUILTS:
            sewn = quilt(picture, background, SIDE, rng, patch=patch, densest=densest)
            if sewn is None:
                continue
            name = f"{kind}-{case.group}-{case.slide.stem}.png"
            write_picture_pair(sewn, folders[0] / name, folders[1] / name)
            rows.append(
                replace(case, slide=folders[0] / name, annotations=folders[1] / name,
                        group="quilt", split="train")
            )  # fmt: skip
    return rows


def _phantoms(out: Path) -> list[Case]:
    made = [write_phantom(out / "phantoms", PHANTOM, seed=seed) for seed in range(PHANTOMS)]
    return [
        Case(phantom.slide, phantom.annotations, phantom.patient, "train", group="phantom")
        for phantom in made
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
