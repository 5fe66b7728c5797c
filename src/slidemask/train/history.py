"""Every epoch's figures: CSV for tables, TensorBoard for watching, curves for the report."""

import csv
import io
import warnings
from pathlib import Path

from slidemask.base.files import write_text
from slidemask.train.choose import LEVELS
from slidemask.train.curves import plot_curves


class History:
    """Figures of a run, one row an epoch.

    Parameters
    ----------
    run : Path
        Folder to write `history.csv`, `curves.png` and `tensorboard/` to.
    rows : list of dict
        Epochs before a resume; new rows are appended by the caller's own list.
    """

    def __init__(self, run: Path, rows: list[dict[str, float]]) -> None:
        with warnings.catch_warnings():  # TensorBoard's own dependencies warn at import
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard.writer import SummaryWriter
        self._run, self._rows = run, rows
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=len(rows) + 1)

    def add(self, row: dict[str, float]) -> None:
        """Write after an epoch; `row` is already the last of the rows.

        On the board a figure of tiles or whole slides stands under its level.
        """
        for name, value in row.items():
            self._board.add_scalar(_tag(name), value, int(row["epoch"]))
        self._board.flush()
        text = io.StringIO()
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        writer = csv.DictWriter(text, names, lineterminator="\n")  # not all have whole slides
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._run / "history.csv", text.getvalue())

    def draw(self, best_epoch: int) -> None:
        """Close the board and draw the curves."""
        self._board.close()
        if self._rows:
            plot_curves(self._rows, self._run / "curves.png", best_epoch=best_epoch)


def _tag(name: str) -> str:
    """Return the board's name of a figure.

    >>> _tag("whole slides dice pooled"), _tag("learning_rate")
    ('whole_slides/dice/pooled', 'learning_rate')
    """
    for level in LEVELS:
        if name.startswith(level):
            rest = name.removeprefix(level).strip().replace(" ", "/")
            return f"{level.replace(' ', '_')}/{rest}"
    return name.replace(" ", "/")
