"""Losses that never see a pixel whose class is unknown.

Each term takes `Pixels`, in which unknown pixels have weight 0, and returns a scalar. Terms are
added with weights: `terms = {ce = 1.0, dice = 1.0}`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from slidemask.base.errors import SettingsError
from slidemask.base.types import IGNORE
from slidemask.models.spec import LossSpec


class Pixels(NamedTuple):
    """One batch, ready for every term."""

    logits: Tensor
    """(N, C, H, W) float32."""
    probabilities: Tensor
    """(N, K + 1, H, W), background first."""
    truth: Tensor
    """(N, K + 1, H, W) one-hot, all zero where unknown."""
    known: Tensor
    """(N, 1, H, W), 1 where the class is known, else 0."""


def loss(spec: LossSpec, logits: Tensor, probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the weighted sum of the terms; 0 where no pixel of the batch is known.

    Parameters
    ----------
    spec : LossSpec
        Terms and their weights.
    logits : (N, C, H, W)
        Of the network; C = K + 1 with softmax, K with sigmoid.
    probabilities : (N, K + 1, H, W)
        What the logits mean.
    labels : (N, H, W) uint8
        Class index; 255 = unknown.

    Raises
    ------
    SettingsError
        If a term does not fit the activation, or class weights do not fit the classes.
    """
    pixels = _pixels(logits.float(), probabilities, labels)
    classes = pixels.truth.shape[1]
    if spec.class_weights and len(spec.class_weights) != classes:
        raise SettingsError(
            f"class_weights has {len(spec.class_weights)} numbers for {classes} classes "
            "(background counts)."
        )
    return sum(
        (weight * TERMS[name](pixels, spec) for name, weight in spec.terms.items()),
        start=logits.new_zeros((), dtype=torch.float32),
    )


def _pixels(logits: Tensor, probabilities: Tensor, labels: Tensor) -> Pixels:
    known = (labels != IGNORE).unsqueeze(1)
    index = torch.where(known.squeeze(1), labels, 0).long()
    one_hot = functional.one_hot(index, probabilities.shape[1]).movedim(-1, 1)
    return Pixels(logits, probabilities, one_hot.float() * known, known.float())


def _class_weights(pixels: Pixels, spec: LossSpec) -> Tensor:
    """(1, K + 1, 1, 1) weights."""
    count = pixels.truth.shape[1]
    values = spec.class_weights or (1.0,) * count
    return pixels.logits.new_tensor(values).view(1, count, 1, 1)


def _pixel_mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp_min(1e-6)


def cross_entropy(pixels: Pixels, spec: LossSpec) -> Tensor:
    """Weighted mean of -log p of the true class; needs softmax."""
    _needs(pixels, softmax=True, term="ce")
    log_p = pixels.logits.log_softmax(dim=1)
    weights = pixels.truth * _class_weights(pixels, spec)
    return _pixel_mean(-log_p, weights)


def binary_cross_entropy(pixels: Pixels, spec: LossSpec) -> Tensor:
    """Mean over foreground channels and known pixels; needs sigmoid."""
    _needs(pixels, softmax=False, term="bce")
    truth = pixels.truth[:, 1:]
    each = functional.binary_cross_entropy_with_logits(pixels.logits, truth, reduction="none")
    class_weights = _class_weights(pixels, spec)
    weights = torch.where(truth > 0, class_weights[:, 1:], class_weights[:, :1]) * pixels.known
    return _pixel_mean(each, weights)


def focal(pixels: Pixels, spec: LossSpec) -> Tensor:
    """Cross entropy, each pixel times (1 - p)**gamma (Lin et al. 2017)."""
    p = (pixels.probabilities * pixels.truth).sum(dim=1, keepdim=True)
    known = pixels.known * (pixels.truth * _class_weights(pixels, spec)).sum(1, keepdim=True)
    each = -((1 - p) ** spec.focal_gamma) * p.clamp_min(1e-7).log()
    return _pixel_mean(each, known)


def tversky(pixels: Pixels, spec: LossSpec) -> Tensor:
    """1 - TP / (TP + alpha FP + beta FN), mean over foreground classes (Salehi et al. 2017)."""
    return _overlap(pixels, spec.tversky_alpha, spec.tversky_beta)


def dice(pixels: Pixels, _spec: LossSpec) -> Tensor:
    """1 - soft Dice, mean over foreground classes, pooled over the batch."""
    return _overlap(pixels, 0.5, 0.5)


def jaccard(pixels: Pixels, _spec: LossSpec) -> Tensor:
    """1 - soft IoU, mean over foreground classes, pooled over the batch."""
    return _overlap(pixels, 1.0, 1.0)


def _overlap(pixels: Pixels, false_cost: float, miss_cost: float) -> Tensor:
    """One minus the share of hits, mean over all foreground classes."""
    p, truth = (pixels.probabilities * pixels.known)[:, 1:], pixels.truth[:, 1:]
    over = (0, 2, 3)
    hit, false, miss = (
        (p * truth).sum(over),
        (p * (1 - truth)).sum(over),
        (truth - p * truth).sum(over),
    )
    smooth = 1.0  # one pixel: keeps a batch without foreground from dividing by zero
    return (1 - (hit + smooth) / (hit + false_cost * false + miss_cost * miss + smooth)).mean()


def _needs(pixels: Pixels, *, softmax: bool, term: str) -> None:
    if (pixels.logits.shape[1] == pixels.truth.shape[1]) != softmax:
        wanted, other = ("softmax", "bce") if softmax else ("sigmoid", "ce")
        raise SettingsError(f"Loss {term!r} needs activation = {wanted!r}; or use {other!r}.")


TERMS: dict[str, Callable[[Pixels, LossSpec], Tensor]] = {
    "bce": binary_cross_entropy,
    "ce": cross_entropy,
    "dice": dice,
    "focal": focal,
    "jaccard": jaccard,
    "tversky": tversky,
}
