"""Votes of all tiles of a grid, with the work that overlapping tiles share done once.

Convolutions of `models.tilecnn.TileNet` are not padded, so a feature of a tile depends on the
pixels below it and on nothing else of the tile. After stage k a tile at position p has features at
p, p + 2^k, p + 2 * 2^k …; those of all tiles lie on one lattice of gcd(stride, 2^k) pixels. Each
stage is computed once on the lattice of the whole canvas, finer than 2^k where tiles ask for it:
convolution and pooling then reach over several lattice points (dilation, "à trous"). So any stride
is exact. Multiples of 2^(stages - 1), 16 px with five stages, cost each pixel no more than one
tile does; every factor 2 that the stride lacks makes the last stages 4 times dearer. Where a
stage costs more on the lattice than in each tile for itself, it and all after it run tile by tile,
on features cut from the lattice; `how` says where. The dense layers always do.

Rows stream through the stages, each of which keeps only the last rows that it needs again:
nothing is computed twice between bands, and memory grows with the canvas's width alone.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from typing import Literal, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slidemask.base.errors import SettingsError
from slidemask.base.types import Mask, Rgb
from slidemask.models.devices import Precision, number_type
from slidemask.models.tilecnn import TileNet, TileNetSpec, TileStage
from slidemask.tiles.canvas import Canvas, bands

MOST_NUMBERS = 2**27
"""Numbers held for one strip of the canvas: 0.5 GB in single precision."""
BATCH_NUMBERS = 2**22
"""Largest features of tiles that are finished together; small enough for a processor's cache."""
BAND_ROWS = 32
"""Canvas rows that enter at once: a multiple of 2**stages leaves no stage a half-used row."""


@dataclass(frozen=True)
class Plan:
    """Which stages are shared, on which lattices, and what it saves.

    Parameters
    ----------
    stages : int
        That many are computed once for all tiles, the others tile by tile.
    lattice : tuple of int
        Pixels between features of the canvas, then after each shared stage.
    products : float
        Multiplications per tile on a large canvas.
    tilewise : float
        Multiplications per tile without sharing.
    stride : int
        Of the tiles, pixels.
    """

    stages: int
    lattice: tuple[int, ...]
    products: float
    tilewise: float
    stride: int

    @property
    def mode(self) -> Literal["shared", "tiles"]:
        """Whether anything is shared."""
        return "shared" if self.stages else "tiles"

    @property
    def saving(self) -> float:
        """How many times fewer multiplications than tile by tile."""
        return self.tilewise / self.products

    @property
    def reason(self) -> str:
        """One sentence for a log."""
        if not self.stages:
            return f"stride {self.stride}: tile by tile, since sharing would cost no less"
        lattice = ", ".join(map(str, self.lattice[1:]))
        return (
            f"stride {self.stride}: {self.stages} stages shared on lattices of {lattice} px, "
            f"{self.saving:.1f} times fewer multiplications than tile by tile"
        )


def how(spec: TileNetSpec, stride: int) -> Plan:
    """Plan the fewest multiplications for tiles at this stride.

    Parameters
    ----------
    spec : TileNetSpec
    stride : int
        Pixels.

    Examples
    --------
    >>> print(how(TileNetSpec(tile_px=400), stride=80).reason)
    stride 80: 5 stages shared on lattices of 2, 4, 8, 16, 16 px, 22.5 times fewer multiplications
    than tile by tile
    >>> how(TileNetSpec(tile_px=400), stride=399).mode
    'tiles'
    """
    lattice = tuple(gcd(stride, 2**stage) for stage in range(len(spec.filters) + 1))
    widths = (3, *spec.filters)
    weights = [a * b * spec.kernel**2 for a, b in pairwise(widths)]
    alone = [
        products * (side - spec.kernel + 1) ** 2
        for products, side in zip(weights, spec.sides[:-1], strict=True)
    ]
    # A convolution is asked for at the points that the pooling after it reaches: the finer lattice.
    shared = [
        products * (stride / step) ** 2 for products, step in zip(weights, lattice, strict=False)
    ]
    head = _head_products(spec)
    totals = [sum(shared[:n]) + sum(alone[n:]) + head for n in range(len(lattice))]
    best = int(np.argmin(totals))
    return Plan(best, lattice[: best + 1], totals[best], totals[0], stride)


@torch.inference_mode()
def vote_map(
    net: TileNet,
    canvas: Canvas,
    *,
    kept: Mask | None = None,
    precision: Precision = "fp32",
    temperature: float = 1.0,
    advance: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    """Classify every tile of the canvas's grid.

    Parameters
    ----------
    net : TileNet
        On the device where it is to run; used as in evaluation whatever its mode.
    canvas : Canvas
        Of a slide and its grid, or from an array by `canvas_of(pixels, tile, stride)`.
    kept : (rows, columns) bool, optional
        Tiles that are asked for; the others are background. Strips without any are not read.
    precision : {"fp32", "bf16", "fp16", "auto"}
        In "fp32" equal to tile by tile within 1e-5, whatever the stride.
    temperature : float
        Logits are divided by it, as in `Segmenter.probabilities`.
    advance : callable, optional
        Told of tiles as they are classified, how many at a time.

    Returns
    -------
    (rows, columns, K + 1) float32
        Probabilities of each tile, background first.

    Raises
    ------
    SettingsError
        If the grid's tiles are not the network's, or `kept` is not the grid's.
    """
    grid = canvas.grid
    kept = np.ones(grid.shape, bool) if kept is None else kept
    if grid.tile != net.spec.tile_px or kept.shape != grid.shape:
        raise SettingsError(
            f"The network sees tiles of {net.spec.tile_px} px and the grid has {grid.tile} px; "
            f"the grid is {grid.shape} tiles and `kept` {kept.shape}. Both pairs must agree."
        )
    votes = np.zeros((*grid.shape, net.spec.classes + 1), np.float32)
    votes[..., 0] = 1
    run = _Run(net, how(net.spec, grid.stride), precision, temperature)
    for strip in _strips(kept, -(-grid.tile // grid.stride) - 1, run.most_columns):
        for row, columns, found in run.votes(canvas, kept, strip):
            votes[row, columns] = found
            if advance:
                advance(len(columns))
    return votes


class _Strip(NamedTuple):
    """A rectangle of tiles."""

    rows: slice
    columns: slice


def _strips(kept: Mask, reach: int, most_columns: int) -> Iterator[_Strip]:
    """Cut a grid into rectangles that hold every kept tile, none wider than `most_columns`.

    Gaps of up to `reach` tiles stay in: they cost less than the overlap at a cut.
    """
    for rows in _runs(np.any(kept, axis=1), reach):
        for run in _runs(np.any(kept[rows], axis=0), reach):
            for first in range(run.start, run.stop, most_columns):
                yield _Strip(rows, slice(first, min(first + most_columns, run.stop)))


def _runs(flags: NDArray[np.bool_], reach: int) -> list[slice]:
    """Return the runs of True, joined over gaps of at most `reach`."""
    places = np.flatnonzero(flags)
    breaks = np.flatnonzero(np.diff(places) > reach + 1) + 1
    return [slice(int(p[0]), int(p[-1]) + 1) for p in np.split(places, breaks) if len(p)]


class _Run:
    """A network taken apart: shared stages, stages tile by tile, head."""

    def __init__(
        self, net: TileNet, plan: Plan, precision: Precision, temperature: float = 1.0
    ) -> None:
        self.net, self.plan, self.spec = net, plan, net.spec
        self.temperature = temperature
        self.device = net.mean.device
        self.numbers = number_type(self.device, precision)
        self.head = deepcopy(net.head).eval()
        self.filters, self.scale, self.shift = _folded(net, self.numbers)
        self.side = self.spec.sides[plan.stages]
        self.step = 2**plan.stages // plan.lattice[-1]

    @property
    def most_columns(self) -> int:
        """Tiles side by side whose features fit into `MOST_NUMBERS`."""
        widths = (3, *self.spec.filters)
        lattice, last = self.plan.lattice, self.plan.lattice[-1]
        # Per canvas column: the rows of a tile that are held (twice while they are joined), and
        # the rows that pass through each stage: those it keeps, and those that enter.
        held = 2 * (self.spec.tile_px + BAND_ROWS) * widths[self.plan.stages] / last**2
        passing = sum(
            2 * (BAND_ROWS + self.spec.kernel * 2**stage) * widths[stage + 1] / lattice[stage] ** 2
            for stage in range(self.plan.stages)
        )
        columns = MOST_NUMBERS / (held + passing) - self.spec.tile_px
        return max(1, int(columns) // self.plan.stride + 1)

    def votes(
        self, canvas: Canvas, kept: Mask, strip: _Strip
    ) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.float32]]]:
        """Yield (row, columns, probabilities) of the kept tiles of a strip."""
        stride, last = self.plan.stride, self.plan.lattice[-1]
        row, held, dropped = strip.rows.start, None, 0
        extent = (self.side - 1) * self.step + 1
        for features in self._features(canvas, strip):
            held = _below(held, features)
            while row < strip.rows.stop:
                top = (row - strip.rows.start) * stride // last - dropped
                if top + extent > held.shape[2]:
                    break
                columns = np.flatnonzero(kept[row, strip.columns])
                if len(columns):
                    windows = held[0, :, top : top + extent : self.step]
                    yield row, columns + strip.columns.start, self._finish(windows, columns)
                row += 1
            gone = min((row - strip.rows.start) * stride // last - dropped, held.shape[2])
            held, dropped = held[:, :, gone:], dropped + gone

    def _features(self, canvas: Canvas, strip: _Strip) -> Iterator[Tensor]:
        """Yield features of the last shared stage, (1, C, rows, columns), from the top."""
        stride, tile = self.plan.stride, self.spec.tile_px
        stages = [_SharedStage(*self.filters[n], *self._reach(n)) for n in range(self.plan.stages)]
        rows, columns = (
            slice(line.start * stride, (line.stop - 1) * stride + tile) for line in strip
        )
        # The first band also brings the rows that the stages keep from then on.
        first = rows.start + BAND_ROWS + (self.spec.smallest_tile_px - 2 ** len(self.spec.filters))
        cuts = [rows.start, *range(first, rows.stop, BAND_ROWS), rows.stop]
        for band in bands(canvas, cuts, columns):
            x = self._tensor(band)
            for stage in stages:
                x = stage.push(x)
            if x.shape[2]:
                yield x

    def _reach(self, stage: int) -> tuple[int, int]:
        """Lattice points between taps, and from result to result."""
        fine, coarse = self.plan.lattice[stage : stage + 2]
        return 2**stage // fine, coarse // fine

    def _tensor(self, band: Rgb) -> Tensor:
        """(h, w, 3) uint8 -> (1, 3, h, w), channels last in memory."""
        pixels = torch.from_numpy(np.ascontiguousarray(band)).to(self.device)
        if self.plan.stages:
            pixels = pixels.to(self.numbers)
        return pixels.permute(2, 0, 1)[None]

    def _finish(self, rows: Tensor, columns: NDArray[np.intp]) -> NDArray[np.float32]:
        """Features of a row of tiles, (C, side, width) -> probabilities of some of its tiles."""
        left = torch.from_numpy(columns).to(self.device) * (
            self.plan.stride // self.plan.lattice[-1]
        )
        at = left[:, None] + self.step * torch.arange(self.side, device=self.device)
        lines = rows.permute(1, 2, 0)
        found = []
        for some in at.split(self._batch):
            windows = lines[:, some].permute(1, 3, 0, 2).to(self.numbers)
            for weight, bias in self.filters[self.plan.stages :]:
                windows = _pooled(nn.functional.conv2d(windows, weight, bias), 1, 2)
            normal = torch.addcmul(self.shift, windows.float(), self.scale)
            with torch.autocast(
                self.device.type, self.numbers, enabled=self.numbers != torch.float32
            ):
                logits = self.head(normal)
            found.append(self.net.probabilities(logits.float() / self.temperature))
        return torch.cat(found).cpu().numpy()

    @property
    def _batch(self) -> int:
        """Tiles finished together."""
        widths, sides = (3, *self.spec.filters), self.spec.sides
        largest = max(
            (widths[n + 1] * sides[n] ** 2 for n in range(self.plan.stages, len(sides) - 1)),
            default=widths[-1] * sides[-1] ** 2,
        )
        return max(1, BATCH_NUMBERS // largest)


class _SharedStage:
    """Convolution, 2 × 2 maximum and ReLU on rows that arrive band by band."""

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int, step: int) -> None:
        self._weight, self._bias = weight, bias
        self._dilation, self._step = dilation, step
        self._pixels: Tensor | None = None
        self._convolved: Tensor | None = None

    def push(self, rows: Tensor) -> Tensor:
        """(1, inputs, h, w) -> (1, outputs, h', w'); h' may be 0 until enough rows are there."""
        rows = _below(self._pixels, rows)
        more = self._dilation * (self._weight.shape[2] - 1)
        self._pixels = rows[:, :, max(0, rows.shape[2] - more) :]
        if rows.shape[2] <= more:
            return rows.new_empty(1, len(self._weight), 0, 1)
        convolved = nn.functional.conv2d(rows, self._weight, self._bias, dilation=self._dilation)
        convolved = _below(self._convolved, convolved)
        ready = max(0, (convolved.shape[2] - self._dilation - 1) // self._step + 1)
        self._convolved = convolved[:, :, ready * self._step :]
        if not ready:
            return rows.new_empty(1, len(self._weight), 0, 1)
        return _pooled(convolved, self._dilation, self._step)


def _below(upper: Tensor | None, lower: Tensor) -> Tensor:
    """Join rows, without a copy where there is nothing to join."""
    if upper is None or not upper.shape[2]:
        return lower
    return torch.cat([upper, lower], dim=2) if lower.shape[2] else upper


def _pooled(x: Tensor, dilation: int, step: int) -> Tensor:
    """ReLU of the maximum of 2 × 2 values `dilation` apart, at every `step`-th place.

    The order does not matter to the result, but there are fewer values after the maximum. Plain
    maxima of slices are faster than a pooling that also notes where each maximum was.
    """
    for axis in (2, 3):
        count = (x.shape[axis] - dilation - 1) // step + 1
        first, second = (x.narrow(axis, start, (count - 1) * step + 1) for start in (0, dilation))
        every = [slice(None)] * axis + [slice(None, None, step)]
        x = torch.maximum(first[tuple(every)], second[tuple(every)])
    return x.relu_()


def _folded(
    net: TileNet, numbers: torch.dtype
) -> tuple[list[tuple[Tensor, Tensor]], Tensor, Tensor]:
    """Return (weight, bias) of each convolution, and scale and shift of the last features.

    What stands before a convolution that is not padded, normalising pixels or a batch, multiplies
    and adds the same everywhere: it goes into the convolution's numbers.
    """
    scale, shift = 1 / net.std.double(), -net.mean.double() / net.std.double()
    filters = []
    for stage in (cast(TileStage, stage) for stage in net.stages):
        weight, bias = (value.double() for value in stage.convolution.parameters())
        bias = bias + (weight * shift[:, None, None]).sum(dim=(1, 2, 3))
        weight = (weight * scale[:, None, None]).to(memory_format=torch.channels_last)
        filters.append((weight.to(numbers), bias.to(numbers)))
        norm = stage.normalisation
        variance, mean = (norm.get_buffer(f"running_{name}").double() for name in ("var", "mean"))
        scale = norm.weight.double() / (variance + norm.eps).sqrt()
        shift = norm.bias.double() - mean * scale
    return filters, scale.float()[:, None, None], shift.float()[:, None, None]


def _head_products(spec: TileNetSpec) -> int:
    if spec.head == "pool":
        return spec.filters[-1] * (spec.filters[-1] + spec.outputs)
    first, second = spec.tile_px, spec.tile_px // 2
    return spec.filters[-1] * spec.sides[-1] ** 2 * first + first * second + second * spec.outputs
