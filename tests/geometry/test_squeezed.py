"""Squeezed bands: nothing is lost, and what is made of them is what is made of whole bands."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from slidemask.geometry import squeezed as module
from slidemask.geometry.squeezed import blank, is_blank, relaid, runs, squeezed, squeezed_bands
from slidemask.geometry.trace import trace
from slidemask.post.clean import Post, clean
from slidemask.post.vectorise import vectorise


@pytest.fixture(autouse=True)
def narrow_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squeeze small maps too, and map their memory."""
    monkeypatch.setattr(module, "_LEAST_GAP", 1)
    monkeypatch.setattr(module, "_LEAST_MAPPED", 1)


@st.composite
def sparse_maps(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Labels 0..2 with empty columns, now and then at the rim."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.tuples(st.integers(1, 24), st.integers(1, 40)))
    labels = rng.choice([0, 1, 2], (rows, columns), p=[0.4, 0.4, 0.2]).astype(np.uint8)
    labels[:, rng.random(columns) < draw(st.sampled_from([0.2, 0.6, 0.9]))] = 0
    labels[rng.random(rows) < 0.1] = draw(st.integers(0, 1))  # rows that close holes over gaps
    return labels


@st.composite
def cut_maps(draw: st.DrawFn) -> tuple[NDArray[np.uint8], list[int]]:
    """A map and rows where it is cut."""
    labels = draw(sparse_maps())
    cuts = draw(st.lists(st.integers(0, len(labels)), max_size=5))
    return labels, sorted({0, len(labels), *cuts})


def bands(labels: NDArray[np.uint8], cuts: list[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Cut a map; what is empty takes no memory."""
    for top, bottom in pairwise(cuts):
        band = labels[top:bottom]
        yield top, band if band.any() else blank(band.shape)


@given(cut_maps())
@settings(max_examples=60, deadline=None)
def test_nothing_is_lost(cut: tuple[NDArray[np.uint8], list[int]]) -> None:
    """Each kept column is that of the band, and widened again all is as it was."""
    labels, cuts = cut
    for top, band, thin in squeezed_bands(bands(labels, cuts)):
        assert np.array_equal(thin.values, band[:, thin.edges[:-1]])
        assert np.array_equal(thin.widened(thin.values), band)
        above = labels[top - 1] if top else np.zeros(labels.shape[1], np.uint8)
        gone = np.setdiff1d(np.arange(labels.shape[1]), thin.edges[:-1])
        assert not band[:, gone].any()
        assert not above[gone].any()


def test_a_row_is_laid_out_anew() -> None:
    """Values of one squeezing are found at the columns of another."""
    edges = [np.array(some) for some in ([0, 3, 4, 9], [0, 1, 2, 3, 4, 5, 9])]
    assert relaid(np.array([7, 8, 9]), *edges).tolist() == [7, 7, 7, 8, 9, 9]


def test_only_gaps_that_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow gaps stay; blank bands are known without a look."""
    monkeypatch.setattr(module, "_LEAST_GAP", 4)
    row = np.zeros((1, 20), np.uint8)
    row[0, [2, 6, 11]] = 1
    assert runs(row) == [slice(2, 7), slice(11, 12)]
    assert is_blank(blank((3, 4))[1:])
    assert not is_blank(np.broadcast_to(np.uint8(1), (3, 4)))
    assert squeezed(blank((3, 4))).values.shape == (3, 1)


def labelled(mask: NDArray[np.bool_], around: NDArray[Any] | None) -> tuple[NDArray[Any], int]:
    """Number the parts, by scipy."""
    numbers = np.zeros(mask.shape, np.int32)
    return numbers, int(ndimage.label(mask, around, output=numbers))  # type: ignore[arg-type]  # one number with an output


def cleaned_whole(labels: NDArray[np.uint8], holes: float, parts: float) -> NDArray[np.uint8]:
    """Fill and drop on the whole map, by scipy; of one class only."""
    numbers, count = labelled(labels == 0, np.ones((3, 3)))
    rim = {*numbers[0], *numbers[-1], *numbers[:, 0], *numbers[:, -1]}
    result = labels.copy()
    for number in set(range(1, count + 1)) - rim:
        if np.count_nonzero(numbers == number) < holes:
            result[numbers == number] = 1
    numbers, count = labelled(result > 0, None)
    for number in range(1, count + 1):
        if np.count_nonzero(numbers == number) < parts:
            result[numbers == number] = 0
    return result


@given(cut_maps(), st.integers(2, 60), st.integers(2, 12))
@settings(max_examples=80, deadline=None)
def test_cleaning_is_that_of_the_whole_map(
    cut: tuple[NDArray[np.uint8], list[int]], holes: int, parts: int
) -> None:
    """Areas count the columns that were left out, and holes over gaps are filled."""
    labels, cuts = (cut[0] > 0).astype(np.uint8), cut[1]
    post = Post(fill_holes_um2=holes, min_area_um2=parts)
    found = clean(lambda: bands(labels, cuts), labels.shape[1], post, 1.0)
    whole = np.concatenate([band for _, band in found])
    assert np.array_equal(whole, cleaned_whole(labels, holes, parts))


@pytest.mark.parametrize(("limit", "filled"), [(8 * 18, False), (8 * 18 + 1, True)])
def test_a_hole_as_wide_as_a_gap_counts_all_its_columns(limit: int, filled: bool) -> None:
    """A frame, cut where only its sides are left."""
    labels = np.ones((10, 20), np.uint8)
    labels[1:-1, 1:-1] = 0
    post = Post(fill_holes_um2=limit)
    found = clean(lambda: bands(labels, [0, 3, 6, 7, 10]), 20, post, 1.0)
    whole = np.concatenate([band for _, band in found])
    assert np.array_equal(whole, np.ones_like(labels) if filled else labels)


@given(cut_maps())
@settings(max_examples=60, deadline=None)
def test_outlines_are_those_of_the_whole_map(cut: tuple[NDArray[np.uint8], list[int]]) -> None:
    """Corners stand where they are in the whole map."""
    labels, cuts = cut
    found = vectorise(bands(labels, cuts), ("background", "a", "b"), 1.0)
    expected = [polygon for value in (1, 2) for polygon in trace(labels == value)]
    assert len(found) == len(expected)
    assert all(shapely.equals_exact(found.polygons, np.array(expected, object)))
