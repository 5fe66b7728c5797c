"""Losses against formulas written out pixel by pixel, and their blindness to the unknown."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import SettingsError
from slidemask.models.build import ModelSpec
from slidemask.models.losses import TERMS, LossSpec, loss
from slidemask.models.segmenter import Segmenter
from slidemask.models.spec import TERM_NAMES

SOFTMAX = Segmenter(ModelSpec(width=1, depth=1), 2)
SIGMOID = Segmenter(ModelSpec(width=1, depth=1, activation="sigmoid"), 2)


def batch(seed: int, *, sigmoid: bool = False) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, probabilities and labels of 2 tiles of 3 x 4: three classes and the unknown."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 2 if sigmoid else 3, 3, 4, generator=generator)
    labels = torch.randint(0, 4, (2, 3, 4), generator=generator)
    labels = torch.where(labels == 3, 255, labels).to(torch.uint8)
    return logits, (SIGMOID if sigmoid else SOFTMAX).probabilities(logits), labels


def naive(
    term: str, logits: np.ndarray, p: np.ndarray, labels: np.ndarray, spec: LossSpec
) -> float:
    weights = spec.class_weights or (1.0,) * p.shape[1]
    top = bottom = 0.0
    overlap = {c: [0.0, 0.0, 0.0] for c in range(1, p.shape[1])}  # hit, false, miss
    for n, i, j in np.ndindex(*labels.shape):
        truth = int(labels[n, i, j])
        if truth == 255:
            continue
        if term == "bce":
            for c in range(1, p.shape[1]):
                q = 1 / (1 + math.exp(-logits[n, c - 1, i, j]))
                hit = truth == c
                w = weights[c] if hit else weights[0]
                top += w * -math.log(q if hit else 1 - q)
                bottom += w
        chance = p[n, truth, i, j]
        if term in {"ce", "focal"}:
            down = (1 - chance) ** spec.focal_gamma if term == "focal" else 1.0
            top += weights[truth] * down * -math.log(chance)
            bottom += weights[truth]
        for c, sums in overlap.items():
            hit = float(truth == c)
            sums[0] += p[n, c, i, j] * hit
            sums[1] += p[n, c, i, j] * (1 - hit)
            sums[2] += (1 - p[n, c, i, j]) * hit
    if term in {"bce", "ce", "focal"}:
        return top / bottom
    alpha, beta = {
        "dice": (0.5, 0.5),
        "jaccard": (1.0, 1.0),
        "tversky": (spec.tversky_alpha, spec.tversky_beta),
    }[term]
    each = [1 - (h + 1) / (h + alpha * f + beta * m + 1) for h, f, m in overlap.values()]
    return sum(each) / len(each)


def test_each_name_of_a_term_has_its_formula() -> None:
    assert set(TERMS) == set(TERM_NAMES)


@pytest.mark.parametrize("term", sorted(TERMS))
@given(seed=st.integers(0, 1000), weighted=st.booleans())
@settings(max_examples=25, deadline=None)
def test_each_term_is_its_formula(term: str, seed: int, weighted: bool) -> None:
    logits, p, labels = batch(seed, sigmoid=term == "bce")
    if (labels == 255).all():
        return
    spec = LossSpec(terms={term: 1.0}, class_weights=(0.5, 2.0, 3.0) if weighted else ())
    found = float(loss(spec, logits, p, labels))
    assert found == pytest.approx(
        naive(term, logits.numpy(), p.numpy(), labels.numpy(), spec), rel=1e-4
    )


@pytest.mark.parametrize("term", sorted(TERMS))
def test_unknown_pixels_move_neither_loss_nor_gradient(term: str) -> None:
    sigmoid = term == "bce"
    segmenter = SIGMOID if sigmoid else SOFTMAX
    logits, _, labels = batch(3, sigmoid=sigmoid)
    labels[0, 0, 0] = 255
    other = logits.clone()
    other[0, :, 0, 0] += 5.0
    values, gradients = [], []
    for these in (logits, other):
        leaf = these.clone().requires_grad_()
        value = loss(LossSpec(terms={term: 1.0}), leaf, segmenter.probabilities(leaf), labels)
        value.backward()
        values.append(float(value.detach()))
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    for gradient in gradients:
        assert not gradient[labels.unsqueeze(1).expand_as(gradient) == 255].any()


@pytest.mark.parametrize("term", sorted(TERMS))
def test_a_batch_of_which_nothing_is_known_teaches_nothing(term: str) -> None:
    logits, p, labels = batch(1, sigmoid=term == "bce")
    value = loss(LossSpec(terms={term: 1.0}), logits, p, torch.full_like(labels, 255))
    assert float(value) == 0


def test_terms_are_added_with_their_weights() -> None:
    logits, p, labels = batch(2)
    parts = [float(loss(LossSpec(terms={t: 1.0}), logits, p, labels)) for t in ("ce", "dice")]
    both = loss(LossSpec(terms={"ce": 0.5, "dice": 2.0}), logits, p, labels)
    assert float(both) == pytest.approx(0.5 * parts[0] + 2 * parts[1], rel=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    logits, p, labels = batch(2)
    with pytest.raises(SettingsError, match="sigmoid"):
        loss(LossSpec(terms={"bce": 1.0}), logits, p, labels)
    with pytest.raises(SettingsError, match="2 numbers for 3 classes"):
        loss(LossSpec(class_weights=(1.0, 2.0)), logits, p, labels)
    with pytest.raises(ValueError, match="known: "):
        LossSpec(terms={"dize": 1.0})
