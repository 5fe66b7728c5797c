"""One slide in three steps that may run beside another slide's: prepare, predict, finish."""

import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from slidemask.base.errors import OutputError, SlideError, SlidemaskError
from slidemask.base.files import output_folder, remove_folder, require_free
from slidemask.base.lock import locked, seems_locked
from slidemask.base.memory import give_back
from slidemask.base.stages import Stages
from slidemask.infer.cascade import is_found, narrow
from slidemask.infer.equip import equip
from slidemask.infer.job import Job
from slidemask.infer.pool import place_of, predict_together
from slidemask.infer.predict import take_parts
from slidemask.infer.unread import TolerantSlide, Unread, read_notes
from slidemask.io.open import FileSlide, open_slide
from slidemask.io.slide import Slide
from slidemask.post.clean import Post, require_pixel_size
from slidemask.recipes.asked import Asked, Outcome
from slidemask.recipes.results import SUMMARY, Segmented, files_of, read_summary, write_results
from slidemask.recipes.use import common_post, identity_of
from slidemask.tiles.grid import lay_grid
from slidemask.tiles.select import TileSet, select

WORK = ".work"
PARTS = "parts"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A slide that is open.

    Parameters
    ----------
    asked : Asked
    slide : FileSlide
    source : str
        Fingerprint of its file.
    identity : dict
        What the summary says of the job.
    stages : Stages
    tiles : tuple of TileSet or None
        One a model; None where they are not chosen yet.
    resources : ExitStack
        The open slide, later the lock.
    """

    asked: Asked
    slide: FileSlide
    source: str
    identity: dict[str, Any]
    stages: Stages
    tiles: tuple[TileSet, ...] | None
    resources: ExitStack

    def close(self) -> None:
        """Close the slide; free the lock."""
        self.resources.close()


@dataclass(frozen=True)
class Predicted:
    """A slide whose bands are all on disk."""

    ready: Ready
    whole: Segmented

    @property
    def asked(self) -> Asked:
        """What was asked for."""
        return self.ready.asked

    def close(self) -> None:
        """Close the slide; free the lock."""
        self.ready.close()


class Step(Protocol):
    """What a step takes."""

    @property
    def asked(self) -> Asked:
        """What was asked for."""
        ...

    def close(self) -> None:
        """Free what is open."""
        ...


S = TypeVar("S", bound=Step)
T = TypeVar("T")


def attempting(step: Callable[[S], T | Outcome]) -> Callable[[S | Outcome], T | Outcome]:
    """Make a step whose failure becomes the slide's outcome; an outcome just passes it."""

    def attempt(given: S | Outcome) -> T | Outcome:
        if isinstance(given, Outcome):
            return given
        try:
            after = step(given)
        except SlidemaskError as error:
            after = given.asked.became("failed", str(error))
        except Exception as error:  # whatever ails one slide, the others go on
            log.debug("%s failed", given.asked.case.slide, exc_info=True)
            after = given.asked.became("failed", f"{type(error).__name__}: {error}")
        except BaseException:
            given.close()
            raise
        if isinstance(after, Outcome):
            given.close()
        return after

    return attempt


def drop(given: Ready | Outcome) -> None:
    """Close what was prepared and is not wanted any more."""
    if isinstance(given, Ready):
        given.close()


def prepare(asked: Asked) -> Ready | Outcome:
    """Open a slide and choose its tiles, unless it is finished or somebody seems to be at it."""
    asked.became("opening")
    with ExitStack() as resources:
        slide = resources.enter_context(open_slide(asked.case.slide, mpp=asked.case.mpp))
        source = _fingerprint(asked.case.slide)
        identity = identity_of(asked.models, source, slide.mpp)
        if not asked.options.overwrite and _is_finished(asked, identity["job"]):
            return _there(asked)
        require_pixel_size(_post(asked), slide.mpp)
        ready = Ready(asked, slide, source, identity, Stages(), None, resources.pop_all())
    try:
        return ready if seems_locked(asked.lock) else replace(ready, tiles=tiles_of(ready))
    except BaseException:
        ready.close()
        raise


def predict(ready: Ready, parts: Sequence[range] = ()) -> Predicted | Outcome:
    """Predict a slide, unless another process holds it or has finished it meanwhile.

    `parts` are rows that may have been predicted apart; they begin at 0 and follow each other.
    """
    asked = ready.asked
    holder = ready.resources.enter_context(locked(asked.lock))
    if holder is not None:
        return asked.became("elsewhere", f"{holder} is at it")
    if asked.options.overwrite:
        remove_results(asked.folder)
    elif _is_finished(asked, ready.identity["job"]):
        return _there(asked)
    asked.became("predicting")
    tiles = ready.tiles or tiles_of(ready)
    give_back()  # what the search for tissue took
    if not len(tiles[0]):
        log.warning(
            "%s: no tissue was found, so its mask is empty. Look with `slidemask tissue`; "
            "--set filters.tissue=false takes all of it.",
            asked.case.slide,
        )
    for stray in asked.folder.glob(".*.part*"):  # what a killed run was writing
        stray.unlink()
    work = output_folder(output_folder(asked.folder) / WORK)
    files = files_of(probability=asked.options.probability)
    require_free(*(asked.folder / name for name in (*files.values(), SUMMARY)))
    slides = _slides(ready, work)
    jobs = jobs_of(ready, slides, tiles)
    if parts:
        places = [(rows, work / PARTS / f"{rows.start}-{rows.stop}") for rows in parts]
        take_parts(jobs[0], work, places, ready.stages, threads=asked.options.threads)
    prediction = predict_together(jobs, work, ready.stages, threads=asked.options.threads)
    bundles = tuple(job.bundle for job in jobs)
    whole = Segmented(
        ready.slide, asked.case.slide, bundles, tiles[0], prediction, _post(asked), ready.stages,
        unread=_unread(asked, slides, tiles), stop=asked.stop, looked_at=len(jobs[0].tiles),
    )  # fmt: skip
    return Predicted(ready, whole)


def finish(predicted: Predicted) -> Outcome:
    """Write the result folder."""
    asked, ready = predicted.asked, predicted.ready
    asked.became("writing")
    ready.slide.forget()  # only the preview will read it again
    give_back()
    write_results(
        predicted.whole, asked.folder, ready.identity, probability=asked.options.probability
    )
    try:
        remove_folder(asked.folder / WORK)
    except OutputError as error:  # all is written; the next run removes it
        log.warning("%s", error)
    ready.close()  # whoever hears that it is done may want it
    return asked.became("done", unread_message(read_summary(asked.folder)))


def unread_message(summary: dict[str, Any]) -> str:
    """Say how many tiles a result lacks; "" for none.

    >>> unread_message({"unread": {"tiles": 1, "tissue_share": 0.012}})
    '1 tile could not be read (1.2 % of the tissue is unknown)'
    """
    unread = summary.get("unread")
    if not unread:
        return ""
    tiles = "1 tile" if unread["tiles"] == 1 else f"{unread['tiles']} tiles"
    return (
        f"{tiles} could not be read ({100 * unread['tissue_share']:.2g} % of the tissue is unknown)"
    )


def jobs_of(
    ready: Ready, slides: Sequence[Slide], tiles: Sequence[TileSet], *, coarse: Path | None = None
) -> list[Job]:
    """Return what each model is to do: where, and computed by what.

    `coarse` is where a part predicts coarsely; what is there for the whole slide is taken up.
    """
    options, stages, jobs = ready.asked.options, ready.stages, list[Job]()
    for number, model in enumerate(ready.asked.models):
        job = Job(slides[number], tiles[number], model.bundle, model.use.blend, ready.source)
        to = coarse_folder(ready, number)
        if coarse is not None and not is_found(job, to):
            to = coarse
        job = narrow(
            job, model.use.cascade, to, stages, backend=options.backend, threads=options.threads
        )
        with stages.stage("backend"):
            jobs.append(equip(job, options.backend, _begun(ready, number)))
    return jobs


def _begun(ready: Ready, number: int) -> list[Path]:
    """Return where a model's prediction of this slide, or of parts of it, may have been begun."""
    work = ready.asked.folder / WORK
    return [place_of(work, number, len(ready.asked.models)), *sorted((work / PARTS).glob("*-*"))]


def coarse_folder(ready: Ready, number: int) -> Path:
    """Return where a model's coarse network predicts the whole slide."""
    return ready.asked.folder / WORK / f"coarse-{number + 1}"


def _post(asked: Asked) -> Post:
    return common_post([model.use.post for model in asked.models])


def tiles_of(ready: Ready) -> tuple[TileSet, ...]:
    """Choose the tiles that each model is to see."""
    chosen: list[TileSet] = []
    for model in ready.asked.models:
        grid = lay_grid(ready.slide, model.use.tiling)
        with ready.stages.stage("tissue"):
            chosen.append(select(ready.slide, grid, model.use.filters))
    return tuple(chosen)


def _slides(ready: Ready, work: Path) -> list[Slide]:
    """Return the slide as each model is to read it; with --keep-going, without what is damaged.

    Raises
    ------
    SlideError
        If an earlier run left tiles out and this one is not to.
    """
    asked = ready.asked
    noted = [work / f"unread-{number}.jsonl" for number in range(1, len(asked.models) + 1)]
    if asked.options.keep_going:
        return [TolerantSlide(ready.slide, path) for path in noted]
    for path in noted:
        if before := read_notes(path):
            raise SlideError(
                f"An earlier run with --keep-going left out {len(before)} tiles of "
                f"{asked.case.slide}, and what it made lacks them. Pass --keep-going again, or "
                f"--overwrite to start again. {next(iter(before.values()))}"
            )
    return [ready.slide] * len(asked.models)


def _unread(asked: Asked, slides: Sequence[Slide], tiles: Sequence[TileSet]) -> tuple[Unread, ...]:
    """Return what was left out.

    Raises
    ------
    SlideError
        If that is all that there was to read.
    """
    unread = tuple(
        Unread(some, slide.unread)
        for slide, some in zip(slides, tiles, strict=True)
        if isinstance(slide, TolerantSlide) and slide.unread
    )
    for one in unread:
        first = next(iter(one.why.values()))
        if len(one.why) == len(one.tiles):
            raise SlideError(f"No tile of {asked.case.slide} could be read. {first}")
        log.warning(
            "%s: %d of %d tiles could not be read and are left out; the mask is 255 (unknown) "
            "where no other tile covers them. The first: %s",
            asked.case.slide,
            len(one.why),
            len(one.tiles),
            first,
        )
    return unread


def _there(asked: Asked) -> Outcome:
    shutil.rmtree(asked.folder / WORK, ignore_errors=True)  # killed just before its end
    return asked.became("there", unread_message(read_summary(asked.folder)))


def _fingerprint(path: Path) -> str:
    """Tell whether a file is still the same without reading all of it."""
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"


def remove_results(folder: Path) -> None:
    """Clear the way, if what is there is ours."""
    if (folder / SUMMARY).exists() or (folder / WORK).exists():
        (folder / SUMMARY).unlink(missing_ok=True)  # first: what is half removed is not finished
        remove_folder(folder)


def _is_finished(asked: Asked, job: str) -> bool:
    """Whether this very job is done, and all of its files are there.

    Raises
    ------
    OutputError
        If another is.
    """
    folder = asked.folder
    try:  # a share may remember for a minute that a name was not there, but lists what is
        if folder / SUMMARY not in folder.iterdir():
            return False
    except OSError:
        return False
    summary = read_summary(folder)
    if not all((folder / name).exists() for name in summary["files"].values()):
        log.warning("%s: files of the result are missing; they are made again.", folder)
        return False
    if asked.options.probability and "probability" not in summary["files"]:
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
