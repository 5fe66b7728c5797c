"""The main job: slides and a bundle in, a result folder for each slide out."""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from slidemask.base.errors import OutputError
from slidemask.base.files import output_folder, require_free
from slidemask.data.case import Case
from slidemask.data.table import listed
from slidemask.infer.pool import require_same_classes
from slidemask.models.bundle import Bundle
from slidemask.recipes.asked import LOCKS, Asked, Options, Outcome, Watch
from slidemask.recipes.oneslide import (
    WORK,
    attempting,
    drop,
    finish,
    predict,
    prepare,
)
from slidemask.recipes.overlap import overlapped
from slidemask.recipes.use import Model, Use, common_post, use_of

__all__ = [
    "WORK",
    "Model",
    "Options",
    "Outcome",
    "Use",
    "Watch",
    "common_post",
    "output_of",
    "result_folders",
    "segment",
    "use_of",
]

ABOUT_ALL = ("summary.csv", "report.html")
TAKEN = frozenset({LOCKS, "scores", *ABOUT_ALL})
"""Names in an output folder that no slide may have."""


def _nobody(_: Outcome) -> None:
    """Watch nothing."""


def segment(
    cases: Sequence[Case],
    bundle: Bundle | Sequence[Bundle],
    out: Path,
    options: Options,
    *,
    watch: Watch = _nobody,
) -> Iterator[Outcome]:
    """Segment slides one after another; one that fails does not stop the rest.

    While the network is at one slide, the files of the slide before are written and the next is
    opened and its tissue found. The same call in several processes, or on several machines that
    share `out`, shares the slides among them: one that another process is at is passed over.

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
    watch : callable, optional
        Told at once of every change of a slide's state.

    Yields
    ------
    Outcome
        In the order of the slides, each when the next has been predicted; a failure carries its
        message.

    Raises
    ------
    SlidemaskError
        If nothing can begin: the output cannot be written, two slides have one name, the
        settings are wrong, or the models do not know the same classes.
    """
    bundles = [bundle] if isinstance(bundle, Bundle) else bundle
    require_same_classes(bundles)
    models = [Model.of(one, options.changes) for one in bundles]
    common_post([model.use.post for model in models])
    folders = result_folders([case.slide for case in cases], output_of(out))
    stop = threading.Event()
    asked = [
        Asked(case, models, folder, options, stop, watch)
        for case, folder in zip(cases, folders, strict=True)
    ]
    yield from overlapped(
        asked,
        attempting(prepare),
        attempting(predict),
        attempting(finish),
        drop=drop,
        stop=stop.set,
    )


def output_of(out: Path) -> Path:
    """Make an output folder; prove that all can be written that is written into it.

    Raises
    ------
    OutputError
        If it cannot: before hours of work, and not after.
    """
    output_folder(output_folder(out) / LOCKS)
    require_free(*(out / name for name in ABOUT_ALL))
    return out


def result_folders(slides: Sequence[Path], out: Path) -> list[Path]:
    """Return a folder for each slide: its stem, or with suffix and parents where that is shared."""
    paths = [path.resolve() for path in slides]
    twice = sorted({path.name for path, count in Counter(paths).items() if count > 1})
    if twice:
        raise OutputError(f"{listed(twice)} was given twice; name each slide once.")
    names = [path.name if path.stem.casefold() in TAKEN else path.stem for path in paths]
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
