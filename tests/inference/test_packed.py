from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.core.tiling import axis, cut
from sgdsm.data.batch import Scene
from sgdsm.data.normalization import CellStatistics, Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.inference.blend import Blends
from sgdsm.inference.packed import PackedScene, near

sizes = st.one_of(st.none(), st.integers(1, 20))
halos = st.one_of(st.none(), st.integers(0, 6))


@pytest.fixture(scope="module", params=[False, True])
def scene(request, world) -> Scene:
    """A record with gaps in a covariate, some values hidden."""
    gappy = world.assign_attrs(circular_longitude=int(request.param)).copy(deep=True)
    gappy["precipitation"].values[5, 1:3] = np.nan
    record = read_record(gappy)
    inputs = Inputs.fit(record, Names.of(gappy), record.observed, "m3 m-3", 1, "train")
    seen = record.observed & record.land & (np.arange(len(record.days)) % 3 > 0)[:, None, None]
    climatology = CellStatistics.of(record.values, seen, record.days).solve()
    return Scene.of(record, inputs, seen, record.land & ~seen, climatology)


@pytest.mark.parametrize("start", [(0, 0, 0), (-7, -3, -2), (60, 2, 5), (140, 1, -4)])
def test_windows_are_those_of_the_whole_scene(scene, start):
    shape = scene.seen.shape
    axes = [axis(shape[0], 30, 4), axis(shape[1], 5, 1), axis(shape[2], 8, 1, scene.record.circular)]
    where = [one.taper() > 0 for one in axes]
    expected = scene.batch([start, (3, 1, 1)], axes)
    for halo in (None, 1):
        packed = PackedScene.of(scene, halo)
        found = packed.batch([start, (3, 1, 1)], axes, [where, where])
        assert not found.truth.any()
        known = cut(packed.number > 0, start[1:], (5, 8), scene.record.circular)

        for name, own in expected._asdict().items():
            if name == "truth":
                continue
            other = getattr(found, name)
            assert other.dtype == own.dtype, name
            # series of all windows have no cells in `season`
            inside = torch.from_numpy(known) if name != "season" else torch.ones(())
            torch.testing.assert_close(other[0] * inside, own[0] * inside, rtol=1e-5, atol=1e-6, msg=name)


def test_cells_near_some_cells():
    some = np.zeros((7, 9), bool)
    some[1, 0] = True
    assert near(some, None, False).all()
    assert (near(some, 0, True) == some).all()
    expected = np.zeros_like(some)
    expected[:4, :3] = True
    assert (near(some, 2, False) == expected).all()
    expected[:4, 7:] = True
    assert (near(some, 2, True) == expected).all()


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(1, 24)] * 3), st.tuples(*[sizes] * 3), st.tuples(*[halos] * 3), st.booleans(), st.data())
def test_blended_windows_give_back_the_array(lengths, window_sizes, window_halos, circular, data):
    longest = (data.draw(st.integers(1, 4)), 1, 1)
    try:
        axes = [
            axis(n, s, h, c, many)
            for n, s, h, c, many in zip(
                lengths, window_sizes, window_halos, (False, False, circular), longest, strict=True
            )
        ]
    except ValueError:
        return
    array = np.random.default_rng(0).standard_normal(lengths).astype(np.float32)
    begin = [data.draw(st.integers(0, n - 1)) for n in lengths]
    shape = [data.draw(st.integers(1, n - b)) for n, b in zip(lengths, begin, strict=True)]
    most = data.draw(st.one_of(st.none(), st.integers(1, 30)))
    tiles = [a.tiles(b, b + n, most) for a, b, n in zip(axes, begin, shape, strict=True)]
    tiling, starts = [t for t, _ in tiles], [s for _, s in tiles]
    blends = Blends(tiling, starts, begin, shape, torch.device("cpu"))
    for window in itertools.product(*starts):
        values = cut(array, window, [a.size for a in tiling], circular)
        blends.add("mean", torch.from_numpy(np.ascontiguousarray(values)), window)
    cells = np.sort(np.random.default_rng(1).permutation(shape[1] * shape[2])[: max(1, shape[1] * shape[2] // 2)])
    box = tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))
    expected = array[box].reshape(shape[0], -1)[:, cells]
    np.testing.assert_allclose(blends.mean(cells)["mean"], expected, atol=1e-5)
