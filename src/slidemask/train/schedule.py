"""How long and how fast to learn."""

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from slidemask.base.settings import Settings

Share: TypeAlias = Annotated[float, Field(gt=0, le=1)]
Area: TypeAlias = Annotated[float, Field(ge=0)]


class Schedule(Settings):
    """Length, optimiser and learning rate of a training.

    Parameters
    ----------
    epochs : int
        At most so many.
    batch : int
        Tiles a step and device.
    accumulate : int
        Batches whose gradients are added before a step.
    optimiser : {"adam", "adamw", "sgd"}
        SGD uses Nesterov momentum 0.9.
    learning_rate, weight_decay : float
        Peak rate, and decoupled decay (adamw, sgd).
    rate : {"constant", "cosine", "poly"}
        Course of the rate after the warm-up: flat, half a cosine to 1 %, or (1 - t)**0.9.
    warmup_epochs : float
        The rate rises linearly over these.
    freeze_encoder_epochs : int
        A pretrained encoder and its batch norms rest for so many epochs.
    clip : float
        Largest gradient norm; 0 = no clipping.
    early_stop_epochs : int
        Stop when the selected figure did not improve for so many epochs; 0 = never.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Auto: bf16 where the processor or GPU computes in it, else fp32.
    seed : int
        Of weights, order and augmentation.
    keep_epochs : bool
        Every epoch's weights stay in the run's folder, as epochs/001.safetensors and so on. Any
        of them may take the place of `weights.safetensors` in a copy of the run's bundle.
    """

    epochs: int = Field(default=60, ge=1)
    batch: int = Field(default=8, ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    rate: Literal["constant", "cosine", "poly"] = "cosine"
    warmup_epochs: float = Field(default=1.0, ge=0)
    freeze_encoder_epochs: int = Field(default=0, ge=0)
    clip: float = Field(default=1.0, ge=0)
    early_stop_epochs: int = Field(default=0, ge=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(default=0, ge=0)
    keep_epochs: bool = False

    def rate_at(self, progress_epochs: float) -> float:
        """Return the learning rate after so many epochs: a pure function, so resuming is exact.

        >>> schedule = Schedule(epochs=10, warmup_epochs=2, learning_rate=1.0)
        >>> [round(schedule.rate_at(epoch), 3) for epoch in (0, 1, 2, 6, 10)]
        [0.01, 0.505, 1.0, 0.505, 0.01]
        """
        floor = 0.01
        if progress_epochs < self.warmup_epochs:
            share = floor + (1 - floor) * progress_epochs / self.warmup_epochs
            return self.learning_rate * share
        rest = max(self.epochs - self.warmup_epochs, 1e-9)
        done = min(1.0, (progress_epochs - self.warmup_epochs) / rest)
        share = {
            "constant": 1.0,
            "cosine": floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2,
            "poly": (1 - done) ** 0.9,
        }[self.rate]
        return self.learning_rate * share


class Selection(Settings):
    """How the epoch is chosen, and with it threshold and post-processing.

    Tiles that were chosen because they hold the object say nothing of what a network does to the
    rest of a slide, so the epoch that is best on them need not be the best on slides. Published
    work chooses on tiles all the same; here that is a switch, and by either choice what the
    other would have chosen is on record.

    Parameters
    ----------
    level : {"slides", "tiles", "positive tiles"}
        "slides": the network segments the validation slides whole, and every pixel that was
        annotated counts; threshold and post-processing are chosen too. "tiles": all validation
        tiles at the recipe's own threshold. "positive tiles": only those that hold the object,
        as is usual in publications. Where tiles decide, the recipe's own threshold and
        post-processing stay.
    figure : {"dice", "iou", "mcc"}
        What is compared; "iou" is Jaccard's index.
    scope : {"mean of classes", "any class"}
        Of what: the mean over foreground classes, or all of them taken for one, so that a pixel
        of one class that was taken for another is right.
    average : {"slides", "pooled"}
        Mean of each slide's own figure, or one figure from pooled counts.
    min_recall : float, optional
        Only epochs, thresholds and ways of cleaning whose recall (at the level, of the scope and
        the average that decide) reaches this are compared; where none does, the highest recall
        decides.
    thresholds : tuple of float
        Among which the threshold is chosen, at each epoch.
    min_areas_um2, fill_holes_um2 : tuple of float
        Among which `post.min_area_um2` and `post.fill_holes_um2` are chosen, after the last epoch;
        empty: the recipe's own stay.
    calibrate : bool
        After the last epoch one temperature for all logits is fitted to the validation tiles, so
        that probabilities are worth their name; threshold and cleaning are chosen after it.
    every_epochs : int
        Whole slides are segmented after every so many epochs, and after the last one.
    """

    level: Literal["slides", "tiles", "positive tiles"] = "slides"
    figure: Literal["dice", "iou", "mcc"] = "dice"
    scope: Literal["mean of classes", "any class"] = "mean of classes"
    average: Literal["slides", "pooled"] = "slides"
    min_recall: float | None = Field(default=None, ge=0, le=1)
    thresholds: tuple[Share, ...] = Field(
        default=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), min_length=1
    )
    min_areas_um2: tuple[Area, ...] = ()
    fill_holes_um2: tuple[Area, ...] = ()
    calibrate: bool = False
    every_epochs: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _chosen_afterwards(self) -> "Selection":
        if self.calibrate and self.level != "slides":
            raise ValueError(
                "calibrate moves probabilities, so the threshold must be chosen after it: "
                'give level = "slides"'
            )
        return self
