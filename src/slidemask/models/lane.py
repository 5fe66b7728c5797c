"""One thread's way to a device and back: a stream of its own, and memory that copies need not wait.

While one thread's tiles are computed, another's are copied: on CUDA two threads, each with a lane,
keep the device busy. On other devices a lane only computes.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slidemask.models.devices import Device

_own = threading.local()


class Lane:
    """A stream, and page-locked memory to and from it, which grows to the largest batch.

    For one thread.

    Parameters
    ----------
    device : torch.device or its name
    """

    def __init__(self, device: Device) -> None:
        self.device = torch.device(device)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._there = self._back = torch.empty(0, dtype=torch.uint8)
        if self._stream is not None:  # weights came by another stream
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def run(
        self, network: Callable[[Tensor], Tensor], tiles: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return what `network`, which lives on the device, says of tiles."""
        self._there = self._room(self._there, tiles.nbytes)
        held = self._there[: tiles.nbytes].view(tiles.shape)
        held.numpy()[...] = tiles
        with self._on_stream():
            found = network(held.to(self.device, non_blocking=True)).float().contiguous()
            size = found.numel() * found.element_size()
            self._back = self._room(self._back, size)
            answer = self._back[:size].view(torch.float32).view(found.shape)
            answer.copy_(found, non_blocking=True)
            if self._stream is not None:
                self._stream.synchronize()  # lets other threads run meanwhile
        return answer.numpy().copy()

    def _on_stream(self) -> AbstractContextManager[object]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _room(self, there: Tensor, size: int) -> Tensor:
        if len(there) >= size:
            return there
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._stream is not None)


def lane(device: Device) -> Lane:
    """Return this thread's lane to a device."""
    lanes: dict[Device, Lane] = _own.__dict__.setdefault("lanes", {})
    if device not in lanes:
        lanes[device] = Lane(device)
    return lanes[device]
