"""The graph written down: for one size without padding where it needs none."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from slidemask.export.exported import write_down, write_down_varying
from slidemask.export.wanted import Wanted
from slidemask.models.bundle import Bundle
from slidemask.models.graph import Graph

MakeBundle = Callable[[str], Bundle]


def pads(program: torch.export.ExportedProgram) -> bool:
    return any("aten.pad" in str(node.target) for node in program.graph.nodes)


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize(
    ("rows", "columns", "padded"), [(40, 44, False), (41, 40, True), (40, 42, True)]
)
def test_one_size_is_padded_only_where_it_needs_that(
    rows: int, columns: int, padded: bool, channels_first: bool, make_bundle: MakeBundle
) -> None:
    bundle = make_bundle("unet")  # its sides are multiples of 4
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (1, rows, columns, 3), np.uint8)
    pixels = torch.from_numpy(tiles).float()
    if channels_first:
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    graph = Graph(bundle.segmenter, channels_first=channels_first)
    program = write_down(graph, torch.zeros_like(pixels))
    assert pads(program) == padded
    assert np.allclose(program.module()(pixels), bundle.predict(tiles, "fp32"), atol=1e-5)


@pytest.mark.parametrize("fixed", [False, True])
def test_open_sizes_are_padded(fixed: bool, make_bundle: MakeBundle) -> None:
    bundle = make_bundle("unet")
    wanted = Wanted(bundle, "fp32", (40, 44), fixed, np.zeros((0, 40, 44, 3), np.uint8), {})
    program, varying = write_down_varying(wanted, Graph(bundle.segmenter))
    assert varying == ("nothing" if fixed else "batch, height and width")
    assert pads(program) == (not fixed)
