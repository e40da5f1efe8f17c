from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.core.tiling import Axis, Blend, axis, cut

sizes = st.one_of(st.none(), st.integers(1, 20))
halos = st.one_of(st.none(), st.integers(0, 6))


def make_axis(length: int, size: int | None, halo: int | None, circular: bool = False, longest: int = 1) -> Axis | None:
    try:
        return axis(length, size, halo, circular, longest)
    except ValueError:
        return None


@settings(max_examples=300, deadline=None)
@given(st.tuples(*[st.integers(1, 24)] * 3), st.tuples(*[sizes] * 3), st.tuples(*[halos] * 3), st.booleans(), st.data())
def test_blended_windows_give_back_the_array(lengths, window_sizes, window_halos, circular, data):
    longest = (data.draw(st.integers(1, 4)), 1, 1)
    axes = [
        make_axis(n, s, h, c, many)
        for n, s, h, c, many in zip(lengths, window_sizes, window_halos, (False, False, circular), longest, strict=True)
    ]
    if None in axes:
        return
    array = np.random.default_rng(0).standard_normal(lengths).astype(np.float32)
    begin = [data.draw(st.integers(0, n - 1)) for n in lengths]
    shape = [data.draw(st.integers(1, n - b)) for n, b in zip(lengths, begin, strict=True)]
    blend = Blend(axes, begin, shape)
    starts = [a.starts_for(b, b + n) for a, b, n in zip(axes, begin, shape, strict=True)]
    for window in itertools.product(*starts):
        blend.add(cut(array, window, [a.size for a in axes], circular), window)
    box = tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))
    np.testing.assert_allclose(blend.mean(), array[box], atol=1e-5)


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


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize(("length", "begin", "end"), [(40, 0, 40), (37, 12, 30), (11, 0, 11), (5, 0, 5)])
@pytest.mark.parametrize("most", [3, 16, 23, 100])
def test_merged_windows_hold_the_same_cores(circular, length, begin, end, most):
    small = axis(length, 8, 1, circular)
    starts = small.starts_for(begin, end)
    large, fewer = small.merged(starts, most)
    assert large.size <= max(most, small.size)
    assert len(fewer) <= len(starts)

    def cores(tiles: Axis, starts: list[int]) -> set[int]:
        return {c for s in starts for c in range(s + tiles.margin, s + tiles.size - tiles.margin)}

    assert cores(small, starts) <= cores(large, fewer)
