"""Make each group of a cohort a class of its own: benign and malignant glands, say.

    python scripts/subtype_cohort.py COHORT.csv OUT

Label images of one class get the number of their case's group (in alphabetical order) as value. At
the end stands what a recipe needs to know of them: `--set 'classes.classes=[…]'`.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from slidemask.data.case import Case
from slidemask.data.cohort import read_cohort, write_cohort
from slidemask.io.labelimage import read_label_image, write_label_image


def main(cohort: Path, out: Path) -> None:
    """Write label images and `cohort.csv` into `out`."""
    cases = read_cohort(cohort)
    groups = sorted({case.group for case in cases if case.group})
    rows = [_relabelled(case, groups, out, number) for number, case in enumerate(cases)]
    write_cohort(out / "cohort.csv", rows)
    classes = ", ".join(
        f'{{name = "{group}", values = [{value}]}}' for value, group in enumerate(groups, start=1)
    )
    print(f"{out / 'cohort.csv'}: {len(rows)} cases")
    print(f"--set 'classes.classes=[{classes}]'")


def _relabelled(case: Case, groups: list[str], out: Path, number: int) -> Case:
    if case.group is None or case.annotations is None:
        raise SystemExit(f"{case.slide} has no group or no label image; fill both columns.")
    held = read_label_image(case.annotations) > 0
    labels = np.where(held, groups.index(case.group) + 1, 0).astype(np.uint8)
    folder = out / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:04d}-{case.slide.stem}.png"
    write_label_image(path, labels)
    return replace(case, annotations=path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cohort", type=Path, metavar="COHORT.csv")
    parser.add_argument("out", type=Path, metavar="OUT")
    main(**vars(parser.parse_args()))
