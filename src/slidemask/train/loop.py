"""The training loop, on one page."""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from slidemask.base.errors import TrainingError
from slidemask.base.progress import duration, track
from slidemask.data.loader import TrainingLoader, ValidationLoader
from slidemask.models.bundle import save_weights
from slidemask.models.devices import number_type
from slidemask.models.losses import LossSpec, loss
from slidemask.models.segmenter import Segmenter
from slidemask.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from slidemask.train.choose import WHOLE, column, judge, rank_of
from slidemask.train.hard import recall, remember, search
from slidemask.train.history import History
from slidemask.train.schedule import Schedule, Selection
from slidemask.train.validation import validate
from slidemask.train.wholeslides import WholeSlides

TileLevel = Literal["tiles", "positive tiles"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
EPOCHS = "epochs"
"""Folder of every epoch's weights, where they are kept."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What is to be learnt.

    Parameters
    ----------
    segmenter : Segmenter
        The network.
    names : tuple of str
        Class names, background first.
    loss : LossSpec
        What is made small.
    schedule, selection : Schedule, Selection
        How long and how fast; which epoch is the best.
    training : TrainingLoader
        The batches of each epoch, always the same for the same number.
    validation : ValidationLoader
        Tiles with their slide, always the same.
    tiles : {"positive tiles", "tiles"}
        Whether those are the ones that hold the object, or all.
    slides : WholeSlides, optional
        Where whole slides decide: those.
    threshold : float
        The recipe's own.
    """

    segmenter: Segmenter
    names: tuple[str, ...]
    loss: LossSpec
    schedule: Schedule
    selection: Selection
    training: TrainingLoader
    validation: ValidationLoader
    tiles: TileLevel = "tiles"
    slides: WholeSlides | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        deciding = "slides" if self.slides else self.tiles
        if self.selection.level != deciding:
            raise ValueError(f"{self.selection.level} are to decide, but there are only {deciding}")


def fit(
    task: Task, run: Path, device: torch.device, on_best: Callable[[Progress], None]
) -> Progress:
    """Train until the last epoch, early stop or Ctrl-C; resume where `run` left off.

    Parameters
    ----------
    task : Task
        What to learn.
    run : Path
        Folder of checkpoints, history and curves; it must exist.
    device : torch.device
        Where to train.
    on_best : callable
        Called after each epoch that is better than all before, with the weights in place.

    Returns
    -------
    Progress
        After the last finished epoch; an interrupted epoch leaves no trace. A resumed run gives the
        identical weights on the same device with the same number of threads.
    """
    fabric = Fabric(
        accelerator=device.type,
        devices=1 if device.index is None else [device.index],
        precision=_precision(task.schedule, device),
    )
    task.segmenter.to(device)  # before the optimiser: a resumed state goes where the weights are
    task.segmenter.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimiser = _optimiser(task)
    last = run / "last.safetensors"
    progress = load_checkpoint(last, task.segmenter, optimiser) if last.exists() else Progress()
    model, fabric_optimiser = fabric.setup(task.segmenter, optimiser)
    history = History(run, progress.history)
    task.training.hard = recall(run, task.training.source.sampling, progress.epoch)
    log.info("%s trainable parameters", f"{task.segmenter.parameters_count:,}")
    try:
        while not is_finished(progress, task.schedule, task.selection):
            epoch = progress.epoch + 1
            fabric.seed_everything(task.schedule.seed * 10_007 + epoch, verbose=False)
            figures = _learn(fabric, model, fabric_optimiser, task, epoch=epoch)
            figures |= _validate(fabric, task, epoch)
            better = _advance(progress, figures, task.selection)
            history.add(figures)
            if better:  # before the checkpoint: stopped in between, the epoch is done again
                on_best(progress)
            if epoch in task.training.source.sampling.hard_rounds:
                _look_for_hard_tiles(fabric, task, run, epoch)
            if task.schedule.keep_epochs:
                save_weights(run / EPOCHS / f"{epoch:03d}.safetensors", task.segmenter)
            save_checkpoint(last, task.segmenter, optimiser, progress)
    except KeyboardInterrupt:
        log.warning("Stopped after epoch %d; the same command goes on from there.", progress.epoch)
    history.draw(progress.best_epoch)
    return progress


def _learn(
    fabric: Fabric, model: nn.Module, optimiser: Optimizer, task: Task, *, epoch: int
) -> dict[str, float]:
    """One epoch of steps; return its mean loss."""
    schedule, steps = task.schedule, len(task.training)
    _rest_encoder(task.segmenter, resting=epoch <= schedule.freeze_encoder_epochs)
    batches = track(
        task.training.epoch(epoch), f"epoch {epoch}/{schedule.epochs}", steps, "batches"
    )
    losses, rate = [], 0.0
    for step, (tiles, labels) in enumerate(_on(fabric, batches)):
        rate = schedule.rate_at(epoch - 1 + step / steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        logits = model(tiles)
        truth = task.segmenter.targets(labels)
        value = loss(task.loss, logits, task.segmenter.probabilities(logits), truth)
        fabric.backward(value / _together(step, steps, schedule.accumulate))
        if (step + 1) % schedule.accumulate == 0 or step + 1 == steps:
            if schedule.clip:
                fabric.clip_gradients(model, optimiser, max_norm=schedule.clip)
            optimiser.step()
            optimiser.zero_grad()
        losses.append(value.detach())
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise TrainingError(
            f"The loss of epoch {epoch} is {mean}: the weights are lost, and nothing of it is "
            "kept. Lower schedule.learning_rate, set schedule.clip, or use schedule.precision=fp32."
        )
    return {"epoch": epoch, "loss": mean, "learning_rate": rate}


def _together(step: int, steps: int, accumulate: int) -> int:
    """Return how many batches share a step with batch `step`; the last step may have fewer."""
    return min(accumulate, steps - step // accumulate * accumulate)


def _on(
    fabric: Fabric, batches: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, Tensor]]:
    for tiles, labels in batches:
        yield fabric.to_device(tiles), fabric.to_device(labels)


def _validate(fabric: Fabric, task: Task, epoch: int) -> dict[str, float]:
    """Return the epoch's figures on tiles and, where their turn has come, on whole slides."""
    began = time.perf_counter()
    on_tiles = validate(
        task.segmenter, task.validation, task.names, fabric,
        threshold=task.threshold, scope=task.selection.scope,
    )  # fmt: skip
    figures = {f"{task.tiles} {name}": value for name, value in on_tiles.items()}
    seconds = {task.tiles: time.perf_counter() - began}
    every, last = task.selection.every_epochs, task.schedule.epochs
    if task.slides and (epoch % every == 0 or epoch == last):
        histograms = task.slides.histograms(task.segmenter, fabric.device)
        figures |= judge(histograms, task.selection, task.threshold)
        seconds[WHOLE] = time.perf_counter() - began - seconds[task.tiles]
    cost = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    value = figures.get(column(task.selection), math.nan)
    log.info("epoch %d: %s %.4f; validation: %s", epoch, column(task.selection), value, cost)
    return figures


def _look_for_hard_tiles(fabric: Fabric, task: Task, run: Path, epoch: int) -> None:
    began, training = time.perf_counter(), task.training
    training.hard = search(task.segmenter, training, fabric, batch=task.schedule.batch)
    remember(run, epoch, training.hard)
    took = duration(time.perf_counter() - began)
    log.info("epoch %d: %d hard negative tiles found (%s)", epoch, len(training.hard), took)


def _advance(progress: Progress, figures: dict[str, float], selection: Selection) -> bool:
    """Count the epoch; say whether it is the best so far of those that can be judged."""
    value = figures.get(column(selection), math.nan)
    best = progress.best_epoch and progress.history[progress.best_epoch - 1]
    progress.epoch += 1
    progress.history.append(figures)
    if math.isnan(value) or (best and rank_of(figures, selection) <= rank_of(best, selection)):
        return False
    progress.best, progress.best_epoch = value, progress.epoch
    return True


def is_finished(progress: Progress, schedule: Schedule, selection: Selection) -> bool:
    """Whether the last epoch is done, or one that was judged came too long after the best."""
    if progress.epoch >= schedule.epochs:
        return True
    if not (schedule.early_stop_epochs and progress.history):
        return False
    judged = column(selection) in progress.history[-1]
    return judged and progress.epoch - progress.best_epoch >= schedule.early_stop_epochs


def _optimiser(task: Task) -> Optimizer:
    schedule, parameters = task.schedule, list(task.segmenter.parameters())
    if schedule.optimiser == "sgd":
        decay = schedule.weight_decay
        return SGD(parameters, schedule.learning_rate, 0.9, nesterov=True, weight_decay=decay)
    if schedule.optimiser == "adam":
        return Adam(parameters, schedule.learning_rate)
    return AdamW(parameters, schedule.learning_rate, weight_decay=schedule.weight_decay)


def _rest_encoder(segmenter: Segmenter, *, resting: bool) -> None:
    """Train mode for all but a resting encoder, whose batch norms keep their statistics too."""
    segmenter.train()
    encoder = getattr(segmenter.network, "encoder", None)
    if isinstance(encoder, nn.Module):
        encoder.requires_grad_(not resting)
        encoder.train(not resting)


def _precision(schedule: Schedule, device: torch.device) -> Precision:
    names: dict[torch.dtype, Precision] = {
        torch.float32: "32-true", torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed",
    }  # fmt: skip
    return names[number_type(device, schedule.precision)]
