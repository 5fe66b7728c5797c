"""What is to be exported, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Probs
from slidemask.models.bundle import Bundle

Precision = Literal["fp32", "fp16", "int8"]
Predict: TypeAlias = Callable[[NDArray[np.uint8]], Probs]
"""(N, H, W, 3 or 6) uint8 -> (N, K + 1, H, W) float32, as `Bundle.predict`."""


@dataclass(frozen=True)
class Wanted:
    """One export.

    Parameters
    ----------
    bundle : Bundle
        On the CPU.
    precision : {"fp32", "fp16", "int8"}
        Numbers of the weights; "int8" of activations too, where the format can.
    size : (int, int)
        Rows and columns of a tile; where the format can, any others will do as well.
    fixed : bool
        Whether this size and one tile at a time are all that the network need take.
    calibration : (N, H, W, 3 or 6) uint8
        Real tiles from which ranges of activations are learnt; empty unless "int8".
    metadata : dict of str to str
        What is written into the file.
    converter : Path, optional
        Python of another environment, in which the conversion shall run.
    """

    bundle: Bundle
    precision: Precision
    size: tuple[int, int]
    fixed: bool
    calibration: NDArray[np.uint8]
    metadata: dict[str, str]
    converter: Path | None = None

    @property
    def stem(self) -> str:
        """Name of the files, without what follows the dot."""
        return Path(self.bundle.info.name).name or "model"


class Port(NamedTuple):
    """An input or output of the graph."""

    name: str
    kind: str
    """uint8, float32, picture."""
    shape: tuple[int | str, ...]
    """Numbers, or names of what may vary."""
    meaning: str


@dataclass(frozen=True)
class Written:
    """What a conversion wrote.

    Parameters
    ----------
    path : Path
        The file, or folder, to be opened.
    image, probabilities : Port
        Input and output.
    dynamic : str
        What may vary: "batch, height and width", "batch" or "nothing".
    notes : tuple of str
        What whoever uses it must know.
    versions : dict of str to str
        Of packages that took part in another environment.
    """

    path: Path
    image: Port
    probabilities: Port
    dynamic: str = "nothing"
    notes: tuple[str, ...] = ()
    versions: dict[str, str] | None = None


@dataclass(frozen=True)
class Format:
    """A way out.

    Parameters
    ----------
    convert : callable
        Writes into a folder what is wanted.
    start : callable
        Opens what was written, to predict with it.
    packages : tuple of str
        Whose versions decide the result.
    runs_here : bool
        Whether `start` is the format's own runtime; otherwise it evaluates the file's operations
        one by one, and the runtime has not been seen.
    """

    convert: Callable[[Wanted, Path], Written]
    start: Callable[[Path], Predict]
    packages: tuple[str, ...]
    runs_here: bool = True
