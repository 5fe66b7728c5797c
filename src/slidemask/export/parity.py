"""Whether the exported network says what PyTorch says."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import OutputError
from slidemask.base.types import Probs
from slidemask.export.wanted import Precision, Predict

_ROUNDS = 5


class Limits(NamedTuple):
    """How far an export may be off, over all tiles that were compared."""

    largest: float
    """Of any probability, anywhere."""
    mean: float
    """Mean over all probabilities."""
    agreement: float
    """Least share of pixels, or tiles, that are of the same class."""


LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(largest=2e-3, mean=1e-4, agreement=0.9999),
    "fp16": Limits(largest=0.1, mean=2e-3, agreement=0.999),
    "int8": Limits(largest=1.0, mean=0.02, agreement=0.985),
}
"""Of int8 single pixels at an edge may change sides; measured: 0.991 to 0.998 agree."""


@dataclass(frozen=True)
class Parity:
    """What was compared, and how far the two are apart.

    Parameters
    ----------
    tiles : int
        Tiles compared.
    largest, mean : float
        Differences of probabilities.
    agreement : float
        Share of pixels, or of tiles where the network votes, of the same class.
    differing, decided : int
        Pixels or tiles of another class, and of how many.
    ms_per_tile, torch_ms_per_tile : float
        Median time of one tile, and PyTorch's in single precision beside it.
    """

    tiles: int
    largest: float
    mean: float
    agreement: float
    differing: int
    decided: int
    ms_per_tile: float
    torch_ms_per_tile: float

    def require(self, precision: Precision, what: str) -> None:
        """Make sure that the export keeps the limits of its precision.

        One pixel, or tile, of another class is allowed in any case.

        Raises
        ------
        OutputError
            Naming what was found and allowed.
        """
        limits = LIMITS[precision]
        faults = []
        if not self.largest <= limits.largest:
            faults.append(f"largest difference {self.largest:.2g}, allowed {limits.largest:g}")
        if not self.mean <= limits.mean:
            faults.append(f"mean difference {self.mean:.2g}, allowed {limits.mean:g}")
        if self.differing > max(1, (1 - limits.agreement) * self.decided):
            faults.append(f"same class {self.agreement:.4f}, wanted {limits.agreement:g}")
        if faults:
            raise OutputError(
                f"The export to {what} in {precision} says something else than PyTorch on "
                f"{self.tiles} tiles: {'; '.join(faults)}. Nothing was written. "
                f"{_ADVICE[precision]}"
            )


_ADVICE: dict[Precision, str] = {
    "fp32": "Try --fixed, or another format; please report it with the bundle.",
    "fp16": "Try --precision fp32.",
    "int8": "Give more, and more varied, --tiles of the kind it will see, or use --precision fp16.",
}


def compare(
    predict: Predict,
    reference: Predict,
    pictures: Sequence[NDArray[np.uint8]],
) -> Parity:
    """Compare an exported network with PyTorch's.

    Parameters
    ----------
    predict, reference : callable
        The export, and PyTorch in single precision.
    pictures : sequence of (N, H, W, 3 or 6) uint8
        Batches; the first is of one tile and is timed.
    """
    largest = total = 0.0
    count = differing = decided = 0
    for batch in pictures:
        ours, theirs = predict(batch), reference(batch)
        if ours.shape != theirs.shape:
            raise OutputError(
                f"The export answers tiles {batch.shape} with {ours.shape}, PyTorch with "
                f"{theirs.shape}. Please report it with the bundle."
            )
        apart = np.abs(ours - theirs)
        largest, total = max(largest, float(apart.max())), total + float(apart.sum())
        count += apart.size
        differing += int(np.count_nonzero(ours.argmax(axis=1) != theirs.argmax(axis=1)))
        decided += apart.size // apart.shape[1]
    if not np.isfinite(total):
        largest = total = float("inf")
    return Parity(
        tiles=sum(len(batch) for batch in pictures),
        largest=largest,
        mean=total / count,
        agreement=1 - differing / decided,
        differing=differing,
        decided=decided,
        ms_per_tile=median_ms(predict, pictures[0]),
        torch_ms_per_tile=median_ms(reference, pictures[0]),
    )


def median_ms(predict: Predict, tile: NDArray[np.uint8]) -> float:
    """Return the median time of a call, in ms, after calls that warmed it up."""
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        predict(tile)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def one_by_one(predict: Predict) -> Predict:
    """Let a network that takes one tile take several, one after the other."""

    def each(tiles: NDArray[np.uint8]) -> Probs:
        return np.concatenate([predict(tile[None]) for tile in tiles])

    return each
