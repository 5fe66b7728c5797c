"""Every epoch's figures: CSV for tables, TensorBoard for watching, curves for the report."""

import csv
import io
import warnings
from pathlib import Path

from slidemask.base.files import write_text
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
        """Write after an epoch; `row` is already the last of the rows."""
        for name, value in row.items():
            self._board.add_scalar(name.replace(" ", "/"), value, int(row["epoch"]))
        self._board.flush()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self._run / "history.csv", text.getvalue())

    def draw(self, best_epoch: int) -> None:
        """Close the board and draw the curves."""
        self._board.close()
        if self._rows:
            plot_curves(self._rows, self._run / "curves.png", best_epoch=best_epoch)
