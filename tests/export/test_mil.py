"""Core ML's operations, evaluated by PyTorch, against what their definitions say."""

from typing import Any

import numpy as np
import pytest
import torch

from slidemask.export.mil import UnknownOperationError, evaluate, operations
from slidemask.export.quiet import quiet

with quiet():  # it warns of what it will not do
    import coremltools
    from coremltools.converters.mil import Builder

mil: Any = Builder  # its operations are made at run time
X = np.random.default_rng(0).normal(size=(1, 2, 4, 6)).astype(np.float32)


def program(make: object) -> object:
    """A program of one input x and what `make` does with it."""

    @mil.program(
        input_specs=[mil.TensorSpec(shape=X.shape)], opset_version=coremltools.target.macOS13
    )
    def built(x: object) -> object:
        return make(x)  # type: ignore[operator]  # a function all the same

    return built


def result(make: object) -> np.ndarray:
    built = program(make)
    (name,) = built.functions["main"].inputs  # type: ignore[attr-defined]  # coremltools has no types
    (out,) = evaluate(built, {name: torch.from_numpy(X)})
    return out.numpy()


def test_padding_is_first_axis_first() -> None:
    made = result(
        lambda x: mil.pad(x=x, pad=[0, 0, 0, 0, 1, 2, 0, 3], mode="constant", constant_val=7.0)
    )
    assert np.array_equal(made, np.pad(X, ((0, 0), (0, 0), (1, 2), (0, 3)), constant_values=7.0))
    made = result(lambda x: mil.pad(x=x, pad=[1, 2, 0, 3], mode="replicate"))
    assert np.array_equal(made, np.pad(X, ((0, 0), (0, 0), (1, 2), (0, 3)), mode="edge"))


def test_convolution_pads_and_steps_as_asked() -> None:
    weight = np.random.default_rng(1).normal(size=(3, 2, 3, 3)).astype(np.float32)
    made = result(
        lambda x: mil.conv(x=x, weight=weight, strides=[2, 1], pad_type="custom", pad=[1, 0, 0, 1])
    )
    padded = np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 1)))
    naive = np.zeros((1, 3, 2, 5), np.float32)
    for row in range(2):
        for column in range(5):
            window = padded[0, :, 2 * row : 2 * row + 3, column : column + 3]
            naive[0, :, row, column] = (weight * window).sum(axis=(1, 2, 3))
    assert made.shape == naive.shape
    assert np.allclose(made, naive, atol=1e-5)


def test_slices_splits_and_thresholds() -> None:
    made = result(
        lambda x: mil.slice_by_index(
            x=x, begin=[0, 1, 0, 1], end=[0, 0, 3, 6], stride=[1, 1, 1, 2],
            begin_mask=[True, False, True, False], end_mask=[True, True, False, False],
            squeeze_mask=[False, False, False, False],
        )
    )  # fmt: skip
    assert np.array_equal(made, X[:, 1:, :3, 1:6:2])
    made = result(lambda x: mil.split(x=x, split_sizes=[1, 5], axis=3)[1])
    assert np.array_equal(made, X[..., 1:])
    made = result(lambda x: mil.thresholded_relu(x=x, alpha=0.3))
    assert np.array_equal(made, np.where(X >= 0.3, X, 0))


def test_halves_and_means() -> None:
    made = result(lambda x: mil.cast(x=mil.cast(x=x, dtype="fp16"), dtype="fp32"))
    assert np.array_equal(made, X.astype(np.float16).astype(np.float32))
    made = result(lambda x: mil.reduce_mean(x=x, axes=[2, 3], keep_dims=False))
    assert np.allclose(made, X.mean(axis=(2, 3)), atol=1e-6)
    made = result(lambda x: mil.upsample_nearest_neighbor(
        x=x, scale_factor_height=2, scale_factor_width=3
    ))  # fmt: skip
    assert np.array_equal(made, X.repeat(2, axis=2).repeat(3, axis=3))


def test_four_channels_become_two_by_two_pixels() -> None:
    made = result(
        lambda x: mil.pixel_shuffle(
            x=mil.concat(values=[x, mil.mul(x=x, y=-2.0)], axis=1), upscale_factor=2
        )
    )
    assert made.shape == (1, 1, 8, 12)
    first, second = X[0]
    for row, column, wanted in ((0, 0, first), (0, 1, second), (1, 0, -2 * first)):
        np.testing.assert_array_equal(made[0, 0, row::2, column::2], wanted)


def test_unknown_operations_are_named() -> None:
    built = program(lambda x: mil.erf(x=x))
    assert operations(built) == {"erf": 1}
    with pytest.raises(UnknownOperationError, match="erf"):
        evaluate(built, {"x": torch.from_numpy(X)})
