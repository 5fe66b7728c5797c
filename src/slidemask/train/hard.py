"""Hard negatives: the tiles without the object in which a network found most of it."""

from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from slidemask.base.files import output_folder, written_whole
from slidemask.data.loader import TrainingLoader, ValidationLoader
from slidemask.data.sampling import Sampling
from slidemask.models.segmenter import Segmenter

FOLDER = "hard"
"""Of the lists, one a round, in the run's folder: a resumed run draws the same tiles."""


def search(
    segmenter: Segmenter, training: TrainingLoader, fabric: Fabric, *, batch: int
) -> NDArray[np.intp]:
    """Return the rows of the source's table that are the hardest negatives, the hardest first.

    A tile is as hard as the mean probability of foreground over its pixels that are known to be
    background. The network is left in evaluation mode.
    """
    source = training.source
    negative = np.flatnonzero(~source.table.is_positive(source.sampling))
    wrong = false_foreground(segmenter, ValidationLoader(source, batch, rows=negative), fabric)
    return hardest(negative, wrong, source.sampling)


@torch.inference_mode()
def false_foreground(
    segmenter: Segmenter, samples: ValidationLoader, fabric: Fabric
) -> NDArray[np.float32]:
    """Return, for each tile, the mean foreground probability where truth is background."""
    segmenter.eval()
    means = []
    for tiles, labels, _ in samples:
        with fabric.autocast():
            logits = segmenter(fabric.to_device(tiles))
        found = 1 - segmenter.probabilities(logits)[:, 0]
        empty = (segmenter.targets(labels) == 0).to(found.device)
        means.append((found * empty).sum(dim=(1, 2)) / empty.sum(dim=(1, 2)).clamp(min=1))
    return torch.cat(means).float().cpu().numpy() if means else np.empty(0, np.float32)


def hardest(
    rows: NDArray[np.intp], wrong: NDArray[np.float32], sampling: Sampling
) -> NDArray[np.intp]:
    """Return the worst share of `rows`, the worst first; none without a fault.

    >>> half = Sampling(hard_pool=0.5)
    >>> hardest(np.array([7, 8, 9, 10]), np.array([0.2, 0.0, 0.9, 0.1], np.float32), half)
    array([9, 7])
    """
    count = int(np.ceil(sampling.hard_pool * len(rows)))
    order = np.argsort(-wrong, kind="stable")[:count]
    return rows[order[wrong[order] > 0]]


def remember(run: Path, epoch: int, tiles: NDArray[np.intp]) -> None:
    """Write a round's list."""
    with written_whole(output_folder(run / FOLDER) / f"{epoch:03d}.npy") as beside:
        np.save(beside, tiles, allow_pickle=False)


def recall(run: Path, sampling: Sampling, epoch: int) -> NDArray[np.intp] | None:
    """Return the list of the last round at or before `epoch`; None before the first."""
    done = [number for number in sampling.hard_rounds if number <= epoch]
    return np.load(run / FOLDER / f"{max(done):03d}.npy", allow_pickle=False) if done else None
