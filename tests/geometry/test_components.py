"""Components that touch get one number, in the order of their first."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from slidemask.geometry.components import contacts, merged


@st.composite
def links(draw: st.DrawFn) -> tuple[int, np.ndarray]:
    count = draw(st.integers(0, 40))
    one = st.integers(1, max(1, count))
    pairs = draw(st.lists(st.tuples(one, one), max_size=60 if count else 0))
    return count, np.array(pairs, np.int32).reshape(-1, 2)


@given(links())
def test_numbers_are_those_of_scipy(given_links: tuple[int, np.ndarray]) -> None:
    count, pairs = given_links
    numbers, remaining = merged(count, pairs)
    graph = coo_array((np.ones(len(pairs)), tuple(pairs.T - 1)), shape=(count, count))
    expected, labels = connected_components(graph, directed=False) if count else (0, [])
    assert numbers.dtype == np.int32
    assert (numbers.tolist(), remaining) == ([0, *(np.asarray(labels) + 1).tolist()], expected)


def test_long_chains_come_together() -> None:
    order = np.random.default_rng(0).permutation(20_000).astype(np.int32) + 1
    numbers, remaining = merged(len(order), np.stack([order[:-1], order[1:]], axis=1))
    assert remaining == 1
    assert (numbers[1:] == 1).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]))
def test_contacts_are_all_pairs_that_meet(seed: int, connectivity: int) -> None:
    rng = np.random.default_rng(seed)
    width = int(rng.integers(1, 30))
    upper, lower = (np.repeat(rng.integers(0, 4, width), 2)[:width].astype(np.int32) for _ in "ab")
    reach = (0,) if connectivity == 4 else (-1, 0, 1)
    expected = {
        (upper[x], lower[x + step])
        for x in range(width)
        for step in reach
        if 0 <= x + step < width and upper[x] and lower[x + step]
    }
    found = contacts(upper, lower, connectivity)
    assert found.dtype == np.int32
    assert [tuple(pair) for pair in found.tolist()] == sorted(expected)
