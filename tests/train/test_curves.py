"""Pictures of a training."""

import gc
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from slidemask.base.classes import ClassInfo, ClassMap
from slidemask.train import curves
from slidemask.train.curves import plot_curves, plot_samples

CLASSES = ClassMap(classes=(ClassInfo(name="gland"),))


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": n, "loss": 1 / n, "learning_rate": 1e-3 / n, "dice pooled": 1 - 1 / (n + 1),
         "dice slides": 0.9 - 1 / (n + 1), "iou pooled": math.nan if n == 2 else 0.5,
         "seconds": 9.0}
        for n in range(1, epochs + 1)
    ]  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Gather each figure as it is saved."""
    figures: list[Figure] = []
    save = curves._save
    monkeypatch.setattr(
        curves, "_save", lambda figure, path: (figures.append(figure), save(figure, path))
    )
    return figures


def test_curves_show_what_the_history_says(tmp_path: Path, drawn: list[Figure]):
    rows = history(6)
    plot_curves(rows, tmp_path / "curves.png", best_epoch=4)
    loss, score, rate = drawn[0].axes
    assert [axis.get_ylabel() for axis in (loss, score, rate)] == ["loss", "score", "learning rate"]
    shown = {str(line.get_label()): line for line in score.get_lines()}
    assert {"dice pooled", "dice slides", "iou pooled"} <= set(shown)
    assert "seconds" not in shown
    np.testing.assert_array_equal(shown["dice pooled"].get_xdata(), range(1, 7))
    np.testing.assert_allclose(
        np.asarray(shown["dice pooled"].get_ydata()), [row["dice pooled"] for row in rows]
    )
    assert shown["dice pooled"].get_color() == shown["dice slides"].get_color()
    assert not shown["dice pooled"].is_dashed()
    assert shown["dice slides"].is_dashed()
    assert [t.get_text() for t in loss.texts] == ["best: epoch 4"]


def test_tiles_and_whole_slides_have_a_panel_each(tmp_path: Path, drawn: list[Figure]):
    rows = [
        {"epoch": n, "loss": 1 / n, "positive tiles dice slides": 0.9 - 0.1 / n}
        | ({"whole slides dice slides": 0.1 * n, "whole slides threshold": 0.5,
            "whole slides dice slides at 0.3": 0.01} if n % 2 == 0 else {})
        for n in range(1, 7)
    ]  # fmt: skip
    plot_curves(rows, tmp_path / "curves.png", best_epoch=6)
    axes = {axis.get_ylabel(): axis for axis in drawn[0].axes}
    assert list(axes) == ["loss", "score, positive tiles", "score, whole slides"]
    lines = [line for line in axes["score, whole slides"].get_lines() if len(line.get_xdata()) > 2]  # type: ignore[arg-type]  # it is an array
    assert [line.get_label() for line in lines] == ["dice slides"]
    np.testing.assert_array_equal(lines[0].get_xdata(), [2, 4, 6])  # bridged, not broken
    np.testing.assert_allclose(np.asarray(lines[0].get_ydata()), [0.2, 0.4, 0.6])


@pytest.mark.parametrize("rows", [history(1), history(0), [{"loss": math.nan}], [{"epoch": 3}]])
def test_short_and_empty_histories_make_a_picture(tmp_path: Path, rows: list[dict[str, float]]):
    plot_curves(rows, tmp_path / "curves.png")
    assert cv2.imread(str(tmp_path / "curves.png")) is not None


def test_curves_are_the_same_bytes_again(tmp_path: Path):
    for name in ("a.png", "b.png"):
        plot_curves(history(3), tmp_path / name, best_epoch=2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_samples_show_truth_prediction_and_errors(tmp_path: Path, drawn: list[Figure], count: int):
    truth = np.zeros((64, 64), np.uint8)
    truth[16:48, 16:48] = 1
    predicted = np.roll(truth, 8, 1)
    unknown = np.where(np.arange(64) < 8, 255, truth).astype(np.uint8)
    image = np.full((64, 64, 3), 200, np.uint8)
    plot_samples(
        [image] * count, [unknown] * count, [predicted] * count, tmp_path / "s.png", classes=CLASSES
    )
    titles = [axis.get_title() for axis in drawn[0].axes if axis.get_images()]
    assert titles == ["truth", "prediction", "Dice 0.75"] * count


def test_sample_without_object_has_no_dice(tmp_path: Path, drawn: list[Figure]):
    nothing = np.zeros((32, 32), np.uint8)
    image = np.full((32, 32, 3), 200, np.uint8)
    plot_samples([image], [nothing], [nothing], tmp_path / "s.png", classes=CLASSES)
    assert drawn[0].axes[2].get_title() == "Dice \N{EN DASH}"


def test_no_global_figure_is_left_behind(tmp_path: Path):
    plot_curves(history(2), tmp_path / "curves.png")
    gc.collect()
    # by type(): isinstance would ask lazy objects of other packages for their class
    assert not [item for item in gc.get_objects() if issubclass(type(item), Figure)]
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
