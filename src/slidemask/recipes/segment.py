"""The main job: slides and a bundle in, a result folder for each slide out."""

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slidemask.base.errors import OutputError, SettingsError, SlidemaskError
from slidemask.base.files import output_folder
from slidemask.base.settings import Settings, digest
from slidemask.base.stages import Stages
from slidemask.data.case import Case
from slidemask.infer.blend import Blend
from slidemask.infer.predict import Job, predict
from slidemask.io.open import open_slide
from slidemask.models.bundle import Bundle
from slidemask.post.clean import Post, require_pixel_size
from slidemask.recipes.recipe import apply_change, checked
from slidemask.recipes.results import SUMMARY, Segmented, read_summary, write_results
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tiling, lay_grid
from slidemask.tiles.select import select

WORK = ".work"
log = logging.getLogger(__name__)


class Use(Settings):
    """How a bundle is used; it brings its own, which options may change."""

    tiling: Tiling
    filters: Filters = Filters()
    blend: Blend = Blend()
    post: Post = Post()


@dataclass(frozen=True)
class Options:
    """What the caller of `segment` may choose.

    Parameters
    ----------
    changes : tuple of str
        "key=value" on the bundle's tiling, filters, blend and post.
    probability : bool
        Also write `probability.ome.tif`.
    overwrite : bool
        Replace results of other settings.
    threads : int
        Reading threads.
    """

    changes: tuple[str, ...] = ()
    probability: bool = False
    overwrite: bool = False
    threads: int = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one slide."""

    slide: Path
    folder: Path
    state: str
    """'done', 'there' (was finished before) or 'failed'."""
    message: str = ""


def use_of(bundle: Bundle, changes: Sequence[str] = ()) -> Use:
    """Return how `bundle` is to be used, after "key=value" changes."""
    info = bundle.info
    table: dict[str, Any] = {
        "tiling": info.tiling.model_dump(exclude_none=True),
        "filters": info.filters.model_dump(),
        **deepcopy(info.use),
    }
    for change in changes:
        apply_change(table, change)
    use = checked(Use, table, "these settings")
    if use.tiling.context != info.tiling.context:
        raise SettingsError(
            f"tiling.context {use.tiling.context} was asked for, but model {info.name} was trained "
            f"with {info.tiling.context}, which its network is made for. Leave it as it is."
        )
    return use


def segment(
    cases: Sequence[Case], bundle: Bundle, out: Path, options: Options
) -> Iterator[Outcome]:
    """Segment slides one after another; one that fails does not stop the rest.

    Parameters
    ----------
    cases : sequence of Case
        Slides, each with its own mpp where the file's is not to be trusted.
    bundle : Bundle
        Network and how to use it.
    out : Path
        A folder for each slide is made in it.
    options : Options
        Changes and what to write.

    Yields
    ------
    Outcome
        As soon as a slide is done; a failure carries its message.

    Raises
    ------
    SlidemaskError
        If nothing can begin: the output cannot be written, two slides have one name, or the
        settings are wrong.
    """
    use = use_of(bundle, options.changes)
    changed = bundle.info.model_copy(update={"tiling": use.tiling, "filters": use.filters})
    bundle = replace(bundle, info=changed)
    folders = _folders([case.slide for case in cases], output_folder(out))
    for case, folder in zip(cases, folders, strict=True):
        try:
            state = segment_slide(case, bundle, use, folder, options=options)
        except SlidemaskError as error:
            yield Outcome(case.slide, folder, "failed", str(error))
        except Exception as error:  # whatever ails one slide, the others go on
            log.debug("%s failed", case.slide, exc_info=True)
            note = f"{type(error).__name__}: {error}"
            yield Outcome(case.slide, folder, "failed", note)
        else:
            yield Outcome(case.slide, folder, state)


def segment_slide(case: Case, bundle: Bundle, use: Use, folder: Path, *, options: Options) -> str:
    """Segment one slide into its result folder; return 'done' or 'there'."""
    stages = Stages()
    with open_slide(case.slide, mpp=case.mpp) as slide:
        source = _fingerprint(case.slide)
        digest_of_job = digest(
            {
                "slide": source,
                "mpp": slide.mpp,
                "model": bundle.digest,
                "use": use.model_dump(mode="json"),
            }
        )
        if _is_finished(folder, digest_of_job, options):
            shutil.rmtree(folder / WORK, ignore_errors=True)  # killed just before its end
            return "there"
        grid = lay_grid(slide, use.tiling)
        require_pixel_size(use.post, slide.mpp)
        with stages.stage("tissue"):
            tiles = select(slide, grid, use.filters)
        if not len(tiles):
            log.warning(
                "%s: no tissue was found, so its mask is empty. Look with `slidemask tissue`; "
                "--set filters.tissue=false takes all of it.",
                case.slide,
            )
        for stray in folder.glob(".*.part*"):  # what a killed run was writing
            stray.unlink()
        job = Job(slide, tiles, bundle, use.blend, source)
        prediction = predict(job, output_folder(folder) / WORK, stages, threads=options.threads)
        whole = Segmented(slide, case.slide, bundle, tiles, prediction, use.post, stages)
        write_results(
            whole, folder, {"job": digest_of_job, "settings": use.model_dump(mode="json")},
            probability=options.probability,
        )  # fmt: skip
    shutil.rmtree(folder / WORK)
    return "done"


def _folders(slides: Sequence[Path], out: Path) -> list[Path]:
    """Return a folder for each slide: its stem, or with suffix and parents where that is shared."""
    paths = [path.resolve() for path in slides]
    twice = sorted({path.name for path in paths if paths.count(path) > 1})
    if twice:
        raise OutputError(f"{', '.join(twice)} was given twice; name each slide once.")
    names = [path.stem for path in paths]
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        count = Counter(name.casefold() for name in names)  # some file systems know no case
        if max(count.values()) == 1:
            break
        names = [
            name if count[name.casefold()] == 1 else "-".join(path.parts[-depth:])
            for name, path in zip(names, paths, strict=True)
        ]
    if len({name.casefold() for name in names}) < len(names):
        raise OutputError("The slides' names cannot be told apart; segment them into two folders.")
    return [out / name for name in names]


def _fingerprint(path: Path) -> str:
    """Tell whether a file is still the same without reading all of it."""
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"


def _is_finished(folder: Path, job: str, options: Options) -> bool:
    """Whether this very job is done; clears the way where it may be overwritten."""
    ours = (folder / SUMMARY).exists() or (folder / WORK).exists()
    if ours and options.overwrite:
        shutil.rmtree(folder)
        return False
    if not (folder / SUMMARY).exists():
        return False
    summary = read_summary(folder)
    if options.probability and "probability" not in summary["files"]:
        raise OutputError(
            f"{folder} holds a result without a probability map. "
            "Choose another --out, or pass --overwrite to make it again with one."
        )
    if summary["job"] != job:
        raise OutputError(
            f"{folder} holds a result of another slide, model or other settings. "
            "Choose another --out, or pass --overwrite to replace it."
        )
    return True
