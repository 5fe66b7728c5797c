"""What a segmented slide leaves behind: mask, polygons, preview, summary."""

import json
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import shapely

from slidemask.base.ahead import looking_on
from slidemask.base.classes import ClassMap
from slidemask.base.errors import OutputError, SlideError
from slidemask.base.files import not_done, sha256, write_json
from slidemask.base.memory import give_back
from slidemask.base.record import machine, peak_memory_mb, versions
from slidemask.base.settings import digest
from slidemask.base.stages import Stages
from slidemask.base.types import Labels, Quantised, Rgb
from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box
from slidemask.infer.prediction import Prediction
from slidemask.infer.unread import Unread, share_unknown, with_unknown
from slidemask.infer.votes import leading
from slidemask.io.geojson import write_geojson
from slidemask.io.maskfile import MaskFile, open_mask
from slidemask.io.pyramid import write_label_pyramid, write_probability_pyramid
from slidemask.io.slide import Slide
from slidemask.models.bundle import Bundle
from slidemask.post.clean import Post, clean, labels_of
from slidemask.post.ink import without_ink
from slidemask.post.preview import thumbnail, write_preview
from slidemask.post.vectorise import simplify, vectorise
from slidemask.tiles.select import TileSet

SUMMARY = "summary.json"
FILES = {
    "mask": "mask.ome.tif",
    "polygons": "polygons.geojson",
    "preview": "preview.png",
    "probability": "probability.ome.tif",
}
"""What is written of a slide, `probability` only where it is asked for."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Segmented:
    """One slide and all that is known of it after prediction.

    Of several models `tiles` are the first's.
    """

    slide: Slide
    path: Path
    bundles: tuple[Bundle, ...]
    tiles: TileSet
    prediction: Prediction
    post: Post
    stages: Stages
    unread: tuple[Unread, ...] = ()
    stop: Event = field(default_factory=Event)
    """When it is set, files that are being written are given up."""
    looked_at: int | None = None
    """Tiles that a cascade's coarse network left; None: all that were kept."""

    def bands(self) -> Iterator[tuple[int, Quantised]]:
        """Yield the prediction's bands until all is to stop.

        Raises
        ------
        KeyboardInterrupt
            If it is: here in place of the thread that got the signal.
        """
        for band in self.prediction.bands():
            if self.stop.is_set():
                raise KeyboardInterrupt
            yield band

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel of the mask."""
        return self.slide.mpp and self.slide.mpp * self.prediction.downsample

    @property
    def classes(self) -> ClassMap:
        """What the mask's numbers mean."""
        return self.bundles[0].info.classes


def write_results(
    whole: Segmented, folder: Path, identity: dict[str, Any], *, probability: bool
) -> None:
    """Write the files of a result folder; `summary.json` comes last and says that all is there."""
    files = files_of(probability=probability)
    outlines = partial(
        vectorise, names=whole.prediction.names, downsample=whole.prediction.downsample
    )
    with looking_on(_cleaned(whole), outlines) as (bands, outlined):
        with whole.stages.stage("clean and write"):
            write_label_pyramid(
                folder / files["mask"],
                bands,
                whole.prediction.canvas,
                mpp=whole.mpp,
                classes=whole.classes,
            )
            if probability:
                _write_probability(whole, folder / files["probability"])
        give_back()
        with ThreadPoolExecutor(1, thread_name_prefix="preview") as beside:
            previewed = beside.submit(_write_preview, whole, folder)
            with whole.stages.stage("vectorise"):
                found = _write_polygons(whole, outlined.result(), folder / files["polygons"])
            with whole.stages.stage("preview"):  # what is left of it
                previewed.result()
    with whole.stages.stage("hash"):
        source = sha256(whole.path)
    summary = {**identity, **_facts(whole, source), "classes": found, "files": files}
    write_json(folder / SUMMARY, summary)


def files_of(*, probability: bool) -> dict[str, str]:
    """Return the names of the files that are written of a slide, by kind."""
    return {kind: name for kind, name in FILES.items() if probability or kind != "probability"}


def read_summary(folder: Path) -> dict[str, Any]:
    """Read a finished slide's summary.

    Raises
    ------
    OutputError
        If it is damaged, or another program's.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        _ = [summary[key] for key in ("job", "slide", "classes", "files")]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise OutputError(
            f"{folder / SUMMARY} is damaged or not slidemask's ({error}). Remove that folder, or "
            "choose another --out."
        ) from error
    return summary


def results(out: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return folder and summary of all finished slides of an output folder, by name.

    One whose summary is damaged is left out, and the log says so.

    Raises
    ------
    OutputError
        If the folder cannot be listed, such as of a share that went away.
    """
    found: list[tuple[Path, dict[str, Any]]] = []
    try:
        paths = sorted(one / SUMMARY for one in out.iterdir() if (one / SUMMARY).is_file())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise not_done(f"{out} could not be read", error) from error
    for path in paths:
        try:
            found.append((path.parent, read_summary(path.parent)))
        except OutputError as error:
            log.warning("%s", error)
    return found


def _cleaned(whole: Segmented) -> Iterator[tuple[int, Labels]]:
    """Make the mask's bands."""

    def labels() -> Iterator[tuple[int, Labels]]:
        bands = labels_of(whole.bands(), whole.post.threshold)
        return without_ink(bands, whole.tiles.tissue, whole.prediction.downsample)

    width = whole.prediction.canvas.width
    return with_unknown(clean(labels, width, whole.post, whole.mpp), whole.unread)


def _write_probability(whole: Segmented, path: Path) -> None:
    bands = without_ink(whole.bands(), whole.tiles.tissue, whole.prediction.downsample)
    canvas = whole.prediction.canvas
    write_probability_pyramid(path, bands, canvas, mpp=whole.mpp, names=whole.prediction.names[1:])


def _write_polygons(
    whole: Segmented, outlines: Annotations, path: Path
) -> dict[str, dict[str, Any]]:
    """Write the outlines; return area and number of objects of each class."""
    downsample, names = whole.prediction.downsample, whole.prediction.names[1:]
    polygons = simplify(outlines, whole.post.simplify_px * downsample)
    write_geojson(path, polygons, whole.classes, valid=True)
    square_mm = whole.mpp and whole.mpp**2 / 1e6
    # Outlines follow the edges of pixels, so that their areas are the pixels' numbers.
    owner, areas = np.array(outlines.labels, object), shapely.area(outlines.polygons)
    pixels = {name: round(areas[owner == name].sum() / downsample**2) for name in names}
    return {
        name: {
            "area_mm2": square_mm and float(pixels[name] * square_mm),
            "area_px": pixels[name],
            "objects": polygons.labels.count(name),
        }
        for name in names
    }


def _write_preview(whole: Segmented, folder: Path) -> None:
    with open_mask(folder / FILES["mask"]) as mask:
        picture, labels, mpp = _seen_small(whole, mask)
    path = folder / FILES["preview"]
    write_preview(path, picture, labels, whole.classes, mpp_of_thumbnail=mpp, title=whole.slide.id)


def _seen_small(whole: Segmented, mask: MaskFile) -> tuple[Rgb, Labels, float | None]:
    """Return thumbnail, labels, and µm per pixel of the thumbnail."""
    try:
        picture, downsample = thumbnail(whole.slide)
    except SlideError:
        if not whole.unread:
            raise
        longest = max(mask.level(1600).shape)  # known to be damaged: its classes on white
        downsample = max(whole.slide.size) / longest
        height, width = Box(0, 0, *whole.slide.size).shape_at(downsample)
        picture = np.full((height, width, 3), 255, np.uint8)
    mpp = whole.slide.mpp and whole.slide.mpp * downsample
    return picture, mask.level(max(picture.shape)), mpp


def _facts(whole: Segmented, source: str) -> dict[str, Any]:
    slide, prediction = whole.slide, whole.prediction
    seconds = {name: round(value, 3) for name, value in whole.stages.seconds.items()}
    total = sum(seconds.values())
    canvas, tissue = prediction.canvas, whole.tiles.tissue
    return {
        "slide": {
            "id": slide.id,
            "path": str(whole.path.resolve()),
            "sha256": source,
            **slide.size._asdict(),
            "mpp": slide.mpp,
        },
        **_models(whole.bundles),
        "versions": versions(),
        "machine": machine(),
        "canvas": {**canvas._asdict(), "downsample": prediction.downsample, "mpp": whole.mpp},
        "tiles": _tile_counts(whole),
        **_label(prediction),
        **_left_out(whole),
        "tissue_mm2": tissue and slide.mpp and tissue.area_mm2(slide.mpp),
        "seconds": {**seconds, "total": round(total, 3)},
        "megapixels_per_s": round(canvas.width * canvas.height / 1e6 / total, 3),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "device": str(whole.bundles[0].device),
        "backend": whole.bundles[0].backend.name if whole.bundles[0].backend else "torch",
        **({"batch": prediction.batch} if prediction.batch is not None else {}),
        **({"notes": list(prediction.notes)} if prediction.notes else {}),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _models(bundles: Sequence[Bundle]) -> dict[str, Any]:
    """Say what was used; several models as one by all their names, and each by itself."""
    info = bundles[0].info
    each = [
        {"name": b.info.name, "digest": b.digest, "path": b.source and str(b.source.resolve())}
        for b in bundles
    ]
    whole = each[0] if len(each) == 1 else {
        "name": " + ".join(str(one["name"]) for one in each),
        "digest": digest({"models": [one["digest"] for one in each]}),
        "path": None,
    }  # fmt: skip
    classes = [{"name": c.name, "colour": list(c.colour)} for c in info.classes.classes]
    recipes = dict.fromkeys(b.info.provenance.get("recipe_digest", "") for b in bundles)
    return {
        "model": {**whole, "classes": classes},
        **({"models": each} if len(each) > 1 else {}),
        "class_map": info.classes.model_dump(mode="json"),
        "recipe_digest": " + ".join(recipes),
    }


def _left_out(whole: Segmented) -> dict[str, Any]:
    """Say which tiles could not be read; "" where all could."""
    if not whole.unread:
        return {}
    tissue = whole.tiles.tissue
    where = np.ones((1000, 1000), bool) if tissue is None else tissue.mask
    return {
        "unread": {
            "tiles": sum(len(one.why) for one in whole.unread),
            "boxes": [list(box) for one in whole.unread for box in one.boxes],
            "tissue_share": round(share_unknown(whole.unread, whole.prediction.canvas, where), 6),
            "first": next(iter(whole.unread[0].why.values())),
        }
    }


def _tile_counts(whole: Segmented) -> dict[str, int]:
    counts = {"grid": len(whole.tiles.grid), "kept": len(whole.tiles)}
    if whole.bundles[0].coarse is not None and whole.looked_at is not None:
        counts["looked_at"] = whole.looked_at
    return counts


def _label(prediction: Prediction) -> dict[str, Any]:
    """Say what most of the positive tiles are of, where a network voted; "" where there is none."""
    if prediction.positive is None:
        return {}
    leader = leading(prediction.positive)
    tiles = dict(zip(prediction.names[1:], prediction.positive, strict=True))
    return {"label": {"class": prediction.names[leader] if leader else "", "tiles": tiles}}
