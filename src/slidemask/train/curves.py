"""Pictures of a training: curves over epochs, and sample predictions beside the truth."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from slidemask.base.classes import ClassMap, Colour
from slidemask.base.files import written_whole
from slidemask.base.types import Labels, Rgb
from slidemask.evaluate.confusion import Confusion
from slidemask.post.overlay import FALSE, HIT, MISSED, error_picture, overlay
from slidemask.train.choose import LEVELS

History = Sequence[Mapping[str, float]]
"""One row per epoch: `epoch`, and figures whose names say what they are, e.g. `train_loss`."""

SCORES: Final = ("dice", "iou", "precision", "recall", "specificity", "accuracy", "mcc")
RATES: Final = ("learning_rate", "lr", "rate")

_INK, _SOFT, _LINE = "#23272e", "#68707b", "#e4e6ea"
_TONES: Final = ("#17778a", "#d9822b", "#7a5ea8", "#4b9b57", "#c1464f", "#5b6b7f", "#b59a2a")

_DASHES: Final = ("-", "--", ":")


def plot_curves(history: History, path: Path, *, best_epoch: int | None = None) -> None:
    """Draw losses, scores and the learning rate over the epochs, as PNG.

    Parameters
    ----------
    history : sequence of mapping
        One row per epoch with its number under `epoch` (counted from 1 where it is missing).
        Names with "loss" go to the first panel, "learning_rate" to the last, and names with a score
        ("dice", "iou", ...) to those between: one for tiles, one for whole slides, by the level
        that the name begins with. Figures at one threshold ("... at 0.3") and others are passed
        over. Figures of one kind share a colour and differ in dashes, e.g. "dice pooled" and
        "dice slides". Values may be missing, which the line bridges, or NaN, which breaks it.
    path : Path
        A .png file.
    best_epoch : int, optional
        The epoch that was chosen, marked.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    panels = {title: names for title, names in _panels(history).items() if names}
    heights = [1.0 if title == "learning rate" else 2.4 for title in panels] or [2.4]
    figure = _figure(7.6, 0.9 + 1.15 * sum(heights))
    axes = figure.subplots(
        len(heights), sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for axis, (title, names) in zip(axes, panels.items(), strict=False):
        _draw_panel(axis, title, history, names)
        if best_epoch is not None:
            _mark_best(axis, best_epoch, labelled=axis is axes[0])
    axes[-1].set_xlabel("epoch", color=_SOFT)
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _save(figure, path)


def plot_samples(
    images: Sequence[Rgb],
    truths: Sequence[Labels],
    predictions: Sequence[Labels],
    path: Path,
    *,
    classes: ClassMap,
) -> None:
    """Draw a contact sheet of tiles: truth, prediction and errors side by side, as PNG.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8
    truths, predictions : sequence of (H, W) uint8
        Truth may hold 255, unknown. (1, 1): one class for the whole tile.
    path : Path
        A .png file.
    classes : ClassMap
        Names and colours.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    samples = list(zip(images, truths, predictions, strict=True))
    across = 1 if len(samples) < 3 else 2
    rows = max(1, math.ceil(len(samples) / across))
    figure = _figure(5.7 * across, 1.95 * rows + 0.6)
    axes = figure.subplots(rows, 3 * across, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (image, truth, predicted) in enumerate(samples):
        row, column = divmod(number, across)
        _draw_sample(axes[row, 3 * column : 3 * column + 3], (image, truth, predicted), classes)
    colours = [(info.name, info.colour) for info in classes.classes]
    _legend(figure, [*colours, ("found", HIT), ("missed", MISSED), ("false", FALSE)])
    _save(figure, path)


def _panels(history: History) -> dict[str, list[str]]:
    names = list(dict.fromkeys(name for row in history for name in row))
    scores = [
        name for name in names
        if "loss" not in name and " at " not in name and any(score in name for score in SCORES)
    ]  # fmt: skip
    return {
        "loss": [name for name in names if "loss" in name],
        **{
            f"score, {level}" if level else "score": [n for n in scores if _level(n) == level]
            for level in ("", *LEVELS)
        },
        "learning rate": [name for name in names if name in RATES],
    }


def _level(name: str) -> str:
    """Return the level that a figure's name begins with, or nothing."""
    return next((level for level in LEVELS if name.startswith(level)), "")


def _draw_panel(axis: Axes, title: str, history: History, names: Sequence[str]) -> None:
    for name, (colour, dashes) in zip(names, _styles(names), strict=True):
        points = [
            (int(row.get("epoch", number)), float(row[name]))
            for number, row in enumerate(history, start=1)
            if name in row
        ]
        marker = "o" if len(points) == 1 else ""
        label = _words(name.removeprefix(_level(name)).strip())
        axis.plot(
            *zip(*points, strict=True), color=colour, lw=1.6, ls=dashes, marker=marker, label=label
        )
    axis.set_ylabel(title, color=_SOFT)
    axis.grid(color=_LINE, lw=0.8)
    axis.tick_params(colors=_SOFT, length=0)
    axis.spines[:].set_visible(False)
    if title == "learning rate":
        axis.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        axis.yaxis.set_major_locator(MaxNLocator(3))
        axis.yaxis.get_offset_text().set_color(_SOFT)
    else:
        legend = {"frameon": False, "labelcolor": _INK, "fontsize": 8.5}
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), **legend)


def _styles(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return colour and dashes of each line: one colour for each score, or for all losses."""
    kinds: dict[str, int] = {}
    styles: list[tuple[str, str]] = []
    for name in names:
        kind = next((score for score in SCORES if score in name), "")
        nth = kinds.get(kind, 0)
        kinds[kind] = nth + 1
        tone = list(kinds).index(kind) if kind else nth
        styles.append((_TONES[tone % len(_TONES)], _DASHES[nth % len(_DASHES) if kind else 0]))
    return styles


def _mark_best(axis: Axes, epoch: int, *, labelled: bool) -> None:
    axis.axvline(epoch, color=_SOFT, lw=1, ls=(0, (1, 2)))
    if labelled:
        axis.annotate(
            f"best: epoch {epoch}",
            (epoch, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            fontsize=8.5,
            color=_SOFT,
        )


def _draw_sample(
    axes: Iterable[Axes], sample: tuple[Rgb, Labels, Labels], classes: ClassMap
) -> None:
    image, *labels = sample
    truth, predicted = (np.broadcast_to(one, image.shape[:2]) for one in labels)
    width = max(1, round(max(image.shape) / 130))  # a tile is shown some 270 px wide
    pictures = (
        overlay(image, truth, classes, line_px=width),
        overlay(image, predicted, classes, line_px=width),
        error_picture(image, truth, predicted),
    )
    titles = ("truth", "prediction", f"Dice {_dice(truth, predicted, classes)}")
    for axis, picture, title in zip(axes, pictures, titles, strict=True):
        axis.imshow(picture, interpolation="lanczos")
        axis.set_title(title, fontsize=8.5, color=_SOFT, pad=3)


def _dice(truth: Labels, predicted: Labels, classes: ClassMap) -> str:
    """Return the mean over the foreground classes that are there, or a dash."""
    dice = Confusion.of(truth, predicted, len(classes.names)).dice[1:]
    defined = dice[~np.isnan(dice)]
    return f"{defined.mean():.2f}" if defined.size else "\N{EN DASH}"


def _legend(figure: Figure, entries: Sequence[tuple[str, Colour]]) -> None:
    patches = [Patch(color=_hex(colour), label=name) for name, colour in entries]
    figure.legend(
        handles=patches,
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=8.5,
        labelcolor=_INK,
        handlelength=1,
        handleheight=1,
    )


def _figure(width: float, height: float) -> Figure:
    """Return a figure of our own (no pyplot: nothing global is left behind)."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    with written_whole(path) as beside:
        figure.savefig(beside, format="png", dpi=140)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("/", " ")


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
