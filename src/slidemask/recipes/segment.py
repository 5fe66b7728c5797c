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
from slidemask.infer.job import Job
from slidemask.infer.pool import predict_together
from slidemask.io.open import open_slide
from slidemask.io.slide import Slide
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
    table.pop("photo", None)  # of slides in photos: `slidemask photo` reads it
    for change in changes:
        apply_change(table, change)
    use = checked(Use, table, "these settings")
    if use.tiling.context != info.tiling.context:
        raise SettingsError(
            f"tiling.context {use.tiling.context} was asked for, but model {info.name} was trained "
            f"with {info.tiling.context}, which its network is made for. Leave it as it is."
        )
    return use


@dataclass(frozen=True)
class Model:
    """A bundle, changed as the caller asked, and how it is used."""

    bundle: Bundle
    use: Use

    @classmethod
    def of(cls, bundle: Bundle, changes: Sequence[str] = ()) -> "Model":
        """Apply "key=value" changes to a bundle's use."""
        use = use_of(bundle, changes)
        changed = {"tiling": use.tiling, "filters": use.filters}
        return cls(replace(bundle, info=bundle.info.model_copy(update=changed)), use)


def segment(
    cases: Sequence[Case], bundle: Bundle | Sequence[Bundle], out: Path, options: Options
) -> Iterator[Outcome]:
    """Segment slides one after another; one that fails does not stop the rest.

    Several models give the mean of their probabilities; each brings its own tiles, filters and
    blending, and `common_post` says how the mean is cleaned.

    Parameters
    ----------
    cases : sequence of Case
        Slides, each with its own mpp where the file's is not to be trusted.
    bundle : Bundle, or several
        Network and how to use it. Several must know the same classes and see slides at the same
        resolution.
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
    bundles = [bundle] if isinstance(bundle, Bundle) else bundle
    models = [Model.of(one, options.changes) for one in bundles]
    common_post([model.use.post for model in models])
    folders = result_folders([case.slide for case in cases], output_folder(out))
    for case, folder in zip(cases, folders, strict=True):
        try:
            state = segment_slide(case, models, folder, options=options)
        except SlidemaskError as error:
            yield Outcome(case.slide, folder, "failed", str(error))
        except Exception as error:  # whatever ails one slide, the others go on
            log.debug("%s failed", case.slide, exc_info=True)
            note = f"{type(error).__name__}: {error}"
            yield Outcome(case.slide, folder, "failed", note)
        else:
            yield Outcome(case.slide, folder, state)


def segment_slide(case: Case, models: Sequence[Model], folder: Path, *, options: Options) -> str:
    """Segment one slide into its result folder; return 'done' or 'there'."""
    stages = Stages()
    with open_slide(case.slide, mpp=case.mpp) as slide:
        source = _fingerprint(case.slide)
        identity = _identity(models, source, slide.mpp)
        if _is_finished(folder, identity["job"], options):
            shutil.rmtree(folder / WORK, ignore_errors=True)  # killed just before its end
            return "there"
        post = common_post([model.use.post for model in models])
        require_pixel_size(post, slide.mpp)
        jobs = [_job(slide, model, source, stages) for model in models]
        tiles = jobs[0].tiles
        if not len(tiles):
            log.warning(
                "%s: no tissue was found, so its mask is empty. Look with `slidemask tissue`; "
                "--set filters.tissue=false takes all of it.",
                case.slide,
            )
        for stray in folder.glob(".*.part*"):  # what a killed run was writing
            stray.unlink()
        work = output_folder(folder) / WORK
        prediction = predict_together(jobs, work, stages, threads=options.threads)
        bundles = tuple(model.bundle for model in models)
        whole = Segmented(slide, case.slide, bundles, tiles, prediction, post, stages)
        write_results(whole, folder, identity, probability=options.probability)
    shutil.rmtree(folder / WORK)
    return "done"


def common_post(posts: Sequence[Post]) -> Post:
    """Return how the mean of several models is cleaned: by the mean of each of their numbers.

    So the mean probability stands to the mean threshold as each model's to its own.

    Raises
    ------
    SettingsError
        If one asks for a length in µm and another for it in pixels.

    Examples
    --------
    >>> common_post([Post(threshold=0.4, smooth_px=6), Post(threshold=0.6)])
    Post(threshold=0.5, min_area_um2=0.0, fill_holes_um2=0.0, smooth_um=0.0, smooth_px=3.0,
    shrink=0.0, simplify_px=0.0)
    """
    if len(posts) == 1:
        return posts[0]
    every = [post.model_dump() for post in posts]
    values = {name: sum(one[name] for one in every) / len(every) for name in every[0]}
    if values["smooth_um"] and values["smooth_px"]:
        raise SettingsError(
            "One model smooths by µm and another by pixels; say how their mean is to be smoothed "
            "with --set post.smooth_px=… and --set post.smooth_um=0, or the other way round."
        )
    return Post.model_validate(values)


def _job(slide: Slide, model: Model, source: str, stages: Stages) -> Job:
    """Choose the tiles that a model is to see."""
    grid = lay_grid(slide, model.use.tiling)
    with stages.stage("tissue"):
        tiles = select(slide, grid, model.use.filters)
    return Job(slide, tiles, model.bundle, model.use.blend, source)


def _identity(models: Sequence[Model], source: str, mpp: float | None) -> dict[str, Any]:
    """Return what the summary says of the job: its digest, and all settings."""
    first, several = models[0].use.model_dump(mode="json"), len(models) > 1
    post = common_post([model.use.post for model in models])
    settings = [model.use.model_dump(mode="json") for model in models]
    digests = [model.bundle.digest for model in models]
    made_of = {"model": digests if several else digests[0], "use": settings if several else first}
    return {
        "job": digest({"slide": source, "mpp": mpp, **made_of}),
        "settings": first | {"post": post.model_dump(mode="json")},
        **({"settings_of_models": settings} if several else {}),
    }


def result_folders(slides: Sequence[Path], out: Path) -> list[Path]:
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
