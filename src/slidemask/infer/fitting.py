"""How many tiles at once: as many as the device's free memory takes, fewer after it ran out."""

import logging
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.base.types import Probs
from slidemask.infer.job import Job
from slidemask.models.devices import LANES

MOST = 32
"""Tiles a forward pass: more of them make no device faster."""
SHARE = 0.6
"""Of the free memory; the rest is for what allocators leave unused between tensors."""
_chosen: dict[tuple[object, ...], int] = {}
"""What was chosen, or was left after memory ran out, by network, tile and device."""
log = logging.getLogger(__name__)


def batch_that_fits(job: Job) -> int:
    """Return tiles a forward pass: what was asked for, else what suits device and memory.

    On CUDA one tile and then two are computed, to see what a tile takes; once a process.
    """
    device = job.bundle.device
    if job.blend.batch or device.type != "cuda":
        return job.batch
    key = _key(job)
    if key not in _chosen:
        import torch

        first, both = (_peak_bytes(job, count) for count in (1, 2))
        free = torch.cuda.mem_get_info(device)[0]
        _chosen[key] = tiles_in(free, first, max(1, both - first))
        log.info("%s: %d tiles a forward pass", device, _chosen[key])
    return _chosen[key]


def tiles_in(free: int, first: int, more: int) -> int:
    """Return how many tiles fit, a power of two.

    Parameters
    ----------
    free : int
        Bytes that are free.
    first, more : int
        Bytes that a first tile takes, and each after it; every lane takes them.

    Examples
    --------
    >>> tiles_in(8_000_000_000, 400_000_000, 300_000_000), tiles_in(10**6, 10**9, 10**9)
    (4, 1)
    """
    each = SHARE * free / LANES
    count = 1 + int(max(0.0, each - first) / more)
    return min(MOST, 1 << (count.bit_length() - 1))


class Fitting:
    """Computes batches in pieces that fit into memory; several threads may call it.

    Parameters
    ----------
    job : Job
    predict : callable
        Computes (N, H, W, C) uint8 tiles; it is called again with fewer when memory runs out.
    """

    def __init__(self, job: Job, predict: Callable[[NDArray[np.uint8]], Probs]) -> None:
        self._job, self._predict = job, predict
        self.most = job.batch
        self._lock = threading.Lock()
        self.notes: list[str] = []

    def __call__(self, tiles: NDArray[np.uint8]) -> Probs:
        """Return the probabilities of all tiles.

        Raises
        ------
        SettingsError
            If not even one fits.
        """
        while True:
            most = self.most
            try:
                found = [self._predict(tiles[at : at + most]) for at in range(0, len(tiles), most)]
                return found[0] if len(found) == 1 else np.concatenate(found)
            except RuntimeError as error:
                if not _is_full(error):
                    raise
                told = str(error).partition("\n")[0]
            # Only here is nothing left that holds what the failed attempt had computed.
            self._halve(min(most, len(tiles)), told)

    def _halve(self, tried: int, told: str) -> None:
        """Take half of what was tried from now on, unless another thread has done so."""
        device, tile = self._job.bundle.device, self._job.tiles.grid.tile
        with self._lock:
            if device.type == "cuda":
                import torch

                torch.cuda.empty_cache()
            if tried == 1:
                raise SettingsError(
                    f"One tile of {tile} px does not fit into the memory of {device} ({told}). "
                    "End other programs that use it, set a smaller tiling.tile_px, or take "
                    "another --device."
                )
            if self.most < tried:
                return
            self.most = tried // 2
            _chosen[_key(self._job)] = self.most
            note = (
                f"the memory of {device} ran out with {tried} tiles a forward pass: "
                f"went on with {self.most}"
            )
            self.notes.append(note)
            log.warning("%s: %s", self._job.slide.id, note)


def _is_full(error: RuntimeError) -> bool:
    """Whether memory ran out; Apple's GPUs have no error class for it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "out of memory" in str(error).lower()


def _peak_bytes(job: Job, count: int) -> int:
    import torch

    device, grid = job.bundle.device, job.tiles.grid
    channels = 3 if grid.context is None else 6
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    job.bundle.predict(
        np.zeros((count, grid.tile, grid.tile, channels), np.uint8), job.blend.precision
    )
    peak = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    return peak


def _key(job: Job) -> tuple[object, ...]:
    return job.bundle.digest, str(job.bundle.device), job.tiles.grid.tile, job.blend.precision
