"""What an archive of slides would take: storage, machines, days, money, from a measured run.

    python benchmarks/archive.py RESULTS [--slides 1000000] [--cores 2] [--days 30]
        [--tissue-mm2 150] [--slide-gb 1.5] [--core-hour 0.04] [--gpu-hour 3] [--tb-month 20]

RESULTS is a folder that `segment` wrote. Seconds, sizes of result files and tissue of its finished
slides are averaged; `--tissue-mm2`, the archive's mean, scales all but the files of fixed size,
since work and polygons grow with tissue. Seconds are those of all stages of a slide in turn: that
neighbouring slides overlap is not counted in. `--cores` are those of the machine that measured; a
run on a GPU counts as one GPU with those cores beside it. Prices are yours to give: the defaults
are round numbers, of no provider. Slides' own bytes are those of the measured files, or
`--slide-gb` each; reading them once is what the storage must deliver.
"""

import argparse
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slidemask.recipes.results import results

HOUR, DAY = 3600, 86_400
FIXED = ("preview", "summary")
"""Files whose size does not depend on the slide's."""


@dataclass(frozen=True)
class Measured:
    """Means over the finished slides of one run."""

    slides: int
    device: str
    seconds: float
    network_share: float
    tissue_mm2: float | None
    slide_gb: float | None
    file_mb: dict[str, float]
    peak_memory_mb: float


@dataclass(frozen=True)
class Archive:
    """What is asked about, and what things cost."""

    slides: int
    days: float
    cores: int
    tissue_mm2: float | None
    slide_gb: float | None
    core_hour: float
    gpu_hour: float
    tb_month: float


def main() -> None:
    """Read, reckon, print."""
    asked = _arguments()
    archive = Archive(
        asked.slides, asked.days, asked.cores, asked.tissue_mm2, asked.slide_gb,
        asked.core_hour, asked.gpu_hour, asked.tb_month,
    )  # fmt: skip
    measured = read(asked.results)
    rows = reckoned(measured, archive)
    print(f"from {asked.results}: {described(measured)}\n")
    print("| | a slide | the archive |\n| --- | --- | --- |")
    print("\n".join(f"| {name} | {one} | {every} |" for name, one, every in rows))
    if asked.json:
        told = {"measured": asdict(measured), "archive": asdict(archive), "rows": rows}
        asked.json.write_text(json.dumps(told, indent=2), encoding="utf-8")


def read(out: Path) -> Measured:
    """Average over the finished slides of a run."""
    found = results(out)
    if not found:
        raise SystemExit(f"{out} holds no finished slide; give a folder that `segment` wrote.")
    summaries = [summary for _, summary in found]
    sizes = [sizes_mb(folder, summary) for folder, summary in found]
    paths = [Path(summary["slide"]["path"]) for summary in summaries]
    gigabytes = [path.stat().st_size / 1e9 for path in paths if path.is_file()]
    tissue = [s["tissue_mm2"] for s in summaries if s["tissue_mm2"] is not None]
    seconds = [s["seconds"]["total"] for s in summaries]
    network = sum(s["seconds"].get("network", 0) for s in summaries)
    return Measured(
        slides=len(found),
        device=", ".join(
            sorted({f"{s['device']} ({s.get('backend', 'torch')})" for s in summaries})
        ),
        seconds=statistics.fmean(seconds),
        network_share=network / sum(seconds),
        tissue_mm2=statistics.fmean(tissue) if tissue else None,
        slide_gb=statistics.fmean(gigabytes) if gigabytes else None,
        file_mb={
            kind: statistics.fmean(some.get(kind, 0) for some in sizes)
            for kind in dict.fromkeys(kind for some in sizes for kind in some)
        },
        peak_memory_mb=max(s["peak_memory_mb"] for s in summaries),
    )


def sizes_mb(folder: Path, summary: dict[str, Any]) -> dict[str, float]:
    """Return the size of each file of a result folder, MB."""
    files = summary["files"] | {"summary": "summary.json"}
    return {kind: (folder / name).stat().st_size / 1e6 for kind, name in files.items()}


def described(measured: Measured) -> str:
    """Say what the figures come from."""
    tissue = "" if measured.tissue_mm2 is None else f", {measured.tissue_mm2:.1f} mm² of tissue"
    return (
        f"{measured.slides} slides on {measured.device}; means: {measured.seconds:.1f} s"
        f"{tissue}; network {100 * measured.network_share:.0f} % of the time; "
        f"peak memory {measured.peak_memory_mb:.0f} MB"
    )


def reckoned(measured: Measured, archive: Archive) -> list[tuple[str, str, str]]:
    """Return (what, of a slide, of the archive)."""
    scale = _scale(measured, archive)
    seconds, count = measured.seconds * scale, archive.slides
    mb = {kind: size * (1 if kind in FIXED else scale) for kind, size in measured.file_mb.items()}
    on_gpu = measured.device.startswith("cuda")
    price = archive.cores * archive.core_hour + (archive.gpu_hour if on_gpu else 0)
    money, machines = seconds / HOUR * price, seconds * count / (archive.days * DAY)
    what = f"machines of {archive.cores} cores{' and a GPU' if on_gpu else ''}"
    rows = [("time", f"{seconds:.1f} s", f"{seconds * count / DAY:,.0f} days of one machine")]
    rows.append((f"{what}, for {archive.days:g} days", "", f"{machines:,.1f}"))
    rows.append(("core hours", f"{seconds * archive.cores / HOUR:.4f}",
                 f"{seconds * archive.cores * count / HOUR:,.0f}"))  # fmt: skip
    if on_gpu:
        rows.append(("GPU hours", f"{seconds / HOUR:.4f}", f"{seconds * count / HOUR:,.0f}"))
    for kind, size in mb.items():
        rows.append((f"storage, {kind}", f"{size:.2f} MB", f"{size * count / 1e6:,.2f} TB"))
    whole = sum(mb.values())
    rows.append(("storage, results", f"{whole:.2f} MB", f"{whole * count / 1e6:,.1f} TB"))
    keep = whole / 1e6 * archive.tb_month
    rows.append(("computing", f"{money:.4f}", f"{money * count:,.0f}"))
    rows.append(("keeping results, a month", f"{keep:.6f}", f"{keep * count:,.0f}"))
    return rows + _reading(measured, archive)


def _scale(measured: Measured, archive: Archive) -> float:
    if archive.tissue_mm2 is None:
        return 1.0
    if not measured.tissue_mm2:
        raise SystemExit("--tissue-mm2: the measured slides do not say how much tissue they hold.")
    return archive.tissue_mm2 / measured.tissue_mm2


def _reading(measured: Measured, archive: Archive) -> list[tuple[str, str, str]]:
    """Return what the slides' own storage holds and must deliver."""
    gigabytes = archive.slide_gb or measured.slide_gb
    if gigabytes is None:
        return []
    every = gigabytes * archive.slides
    rate = every * 1000 / (archive.days * DAY)
    return [
        ("slides themselves", f"{gigabytes:.2f} GB", f"{every / 1e6:,.2f} PB"),
        (f"reading them once in {archive.days:g} days", "", f"{rate:,.0f} MB/s"),
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", type=Path, metavar="RESULTS")
    parser.add_argument("--slides", type=int, default=1_000_000, help="of the archive")
    parser.add_argument("--days", type=float, default=30.0, help="in which it is to be done")
    parser.add_argument("--cores", type=int, default=2, help="of the machine that measured")
    parser.add_argument("--tissue-mm2", type=float, help="mean of the archive's slides")
    parser.add_argument("--slide-gb", type=float, help="mean of the archive's slides")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price")
    parser.add_argument("--gpu-hour", type=float, default=3.0, help="price, without cores")
    parser.add_argument("--tb-month", type=float, default=20.0, help="price of storage")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
