from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.core.tiling import Axis, axis, cut

sizes = st.one_of(st.none(), st.integers(1, 20))
halos = st.one_of(st.none(), st.integers(0, 6))


def make_axis(length: int, size: int | None, halo: int | None, circular: bool = False, longest: int = 1) -> Axis | None:
    try:
        return axis(length, size, halo, circular, longest)
    except ValueError:
        return None


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), halos)
def test_every_cell_lies_in_the_core_of_a_window(length, size, halo):
    tiling = make_axis(length, size, halo)
    if tiling is None:
        return
    weights = np.zeros(length)
    for start in tiling.starts():
        for k, weight in enumerate(tiling.taper()):
            if 0 <= start + k < length:
                weights[start + k] += weight
    assert (weights > 0).all()
    if tiling.exact:
        assert (weights == 1).all()


@settings(max_examples=200, deadline=None)
@given(st.integers(-12, 12), st.integers(1, 20), st.booleans())
def test_cut_agrees_with_index_arithmetic(start, size, circular):
    array = np.arange(1, 9.0)[None]
    expected = np.zeros(size)
    for k in range(size):
        place = start + k
        if circular:
            expected[k] = array[0, place % 8]
        elif 0 <= place < 8:
            expected[k] = array[0, place]
    np.testing.assert_array_equal(cut(array, (start,), (size,), circular)[0], expected)


def test_windows_start_at_the_same_cells_whatever_part_is_wanted():
    tiling = axis(100, 20, None)
    assert set(tiling.starts_for(37, 58)) <= set(tiling.starts())
    assert tiling.starts_for(0, 100) == tiling.starts()


def test_a_window_without_a_core_is_refused():
    with pytest.raises(ValueError, match="no core"):
        axis(100, 10, 5)


@pytest.mark.parametrize(("length", "count"), [(366, 1), (731, 1), (1461, 2), (16_800, 17)])
def test_long_windows_fill_little_twice(length, count):
    tiles = axis(length, 366, None, longest=3)
    assert tiles.size <= 3 * 366
    assert len(tiles.starts()) == count
    assert count * tiles.size <= 1.07 * length
    assert tiles.starts()[-1] + tiles.size >= length


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.integers(0, 6), st.booleans(), st.data())
def test_exact_tiles_cover_a_range_and_little_more(length, size, halo, circular, data):
    tiling = make_axis(length, size, halo, circular)
    if tiling is None:
        return
    begin = data.draw(st.integers(0, length - 1))
    end = data.draw(st.integers(begin + 1, length))
    most = data.draw(st.one_of(st.none(), st.integers(1, 80)))
    tiles, starts = tiling.tiles(begin, end, most)
    if tiling.size >= length:
        assert (tiles, starts) == (tiling, tiling.starts_for(begin, end)), "a window of the whole axis stays"
        return
    cores = [c for s in starts for c in range(s + tiles.margin, s + tiles.size - tiles.margin)]
    assert set(range(begin, end)) <= set(cores)
    assert len(cores) == len(set(cores)), "no core is filled twice"
    assert tiles.margin == tiling.margin
    assert tiles.size <= max(tiling.size, most or 0)
    # coarse cells of a network with several levels divide size and margin
    grain = math.gcd(size, halo) if halo else 1
    assert tiles.size % grain == tiling.size % grain
    assert {(s + tiles.margin) % grain for s in starts} == {0}
    assert len(cores) < (end - begin) + grain * (len(starts) + 1)


def test_blended_tiles_are_those_of_the_whole_axis():
    tiling = axis(100, 20, None)
    assert tiling.tiles(37, 58, 64) == (tiling, tiling.starts_for(37, 58))
