from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.core.cube import as_cube, repeat_cycle
from sgdsm.core.errors import CubeError
from sgdsm.core.tiling import Axis, axis
from sgdsm.data.batch import LONGEST_AGE, Batch, ages
from sgdsm.data.datamodule import GapData, WindowBatches
from sgdsm.data.features import (
    HALO_CELLS,
    HALO_DAYS,
    _box,
    features,
    own_line,
    previous,
    repeat_features,
    to_rows,
)
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, Record, read_record
from sgdsm.data.splits import All


def data_of(record: Record, names: Names, axes: tuple[Axis, ...], **more: object) -> GapData:
    split = All().split(record.observed, record.days, Gaps())
    inputs = Inputs.fit(record, names, split.base, "m3 m-3", 1, "train")
    return GapData(record, inputs, split, Gaps(), axes, **more)


@pytest.fixture
def record(world) -> Record:
    return read_record(world)


AXES = (axis(150, 40, None), axis(10, 8, None), axis(14, 8, None))


def test_hidden_truth_changes_nothing_but_the_field_truth(world, record):
    data = data_of(record, Names.of(world), AXES)
    before = data.training_batches(0)
    hidden = before.scene.wanted
    changed = read_record(world)
    changed.values[hidden] = np.random.default_rng(0).random(hidden.sum()).astype(np.float32)
    inputs = data.scene.inputs
    after = GapData(changed, inputs, data.split, Gaps(), AXES).training_batches(0)
    assert before.windows == after.windows
    for k in range(len(before)):
        for name, a, b in zip(Batch._fields, before[k], after[k], strict=True):
            same = torch.equal(a, b)
            assert same == (name != "truth"), name


def test_validation_shows_neither_held_draw(world, record):
    data = data_of(record, Names.of(world), AXES)
    held = data.split.scenarios["validation"].all_hidden | data.split.scenarios["calibration"].all_hidden
    changed = read_record(world)
    changed.values[held] = 0.9
    other = GapData(changed, data.scene.inputs, data.split, Gaps(), AXES)
    for name in ("training", "validation"):
        pairs = [(d.training_batches(3) if name == "training" else d.val_dataloader().dataset) for d in (data, other)]
        for k in range(len(pairs[0])):
            a, b = pairs[0][k], pairs[1][k]
            assert all(torch.equal(getattr(a, f), getattr(b, f)) for f in Batch._fields if f != "truth")
            if name == "training":
                assert torch.equal(a.truth, b.truth), "held values are no training targets either"


def batches(record: Record, data: GapData, gaps: Gaps | None = None) -> WindowBatches:
    return GapData(record, data.scene.inputs, data.split, gaps or Gaps(), AXES).training_batches(0)


def test_the_uncertainty_weighs_hidden_values(unsure_world):
    record = read_record(unsure_world)
    data = data_of(record, Names.of(unsure_world), AXES)
    scale, errors = data.scene.inputs.anomaly_scale, record.uncertainty
    assert errors is not None
    assert np.isnan(errors[~record.observed]).all()
    expected = scale**2 / (scale**2 + errors**2)
    told = np.isfinite(errors)
    assert (record.observed & ~told).any()
    expected[~told] = np.median(expected[told & data.split.base])
    weight = data.training_batches(0).scene.weight
    np.testing.assert_allclose(weight[record.observed], expected[record.observed], rtol=1e-5)
    wanted = [b.weight[b.wanted] for b in data.training_batches(0)]
    assert all(((w > 0) & (w < 1)).all() for w in wanted)
    # on top of the weights of gaps that are like those of the cube
    matched = batches(replace(record, uncertainty=None), data, Gaps(match=True)).scene.weight
    both = batches(record, data, Gaps(match=True)).scene.weight
    np.testing.assert_allclose(both, matched * weight, rtol=1e-6)
    # the choice of epochs is a plain score
    assert data.val_dataloader().dataset.scene.weight is None
    assert batches(replace(record, uncertainty=np.full_like(errors, np.nan)), data).scene.weight is None


@pytest.mark.parametrize("whose", ["hidden", "held", "seen"])
def test_uncertainties_change_nothing_but_weights(unsure_world, whose):
    record = read_record(unsure_world)
    data = data_of(record, Names.of(unsure_world), AXES)
    before = data.training_batches(0)
    held = data.split.scenarios["validation"].all_hidden | data.split.scenarios["calibration"].all_hidden
    where = {"hidden": before.scene.wanted, "held": held, "seen": before.scene.seen}[whose]
    # the median, of all that may be learned from, stays
    changed = replace(record, uncertainty=np.where(where & (record.uncertainty > 0.03), 0.05, record.uncertainty))
    assert (changed.uncertainty[where] != record.uncertainty[where]).any()
    after = batches(changed, data)
    for k in range(len(before)):
        for name, a, b in zip(Batch._fields, before[k], after[k], strict=True):
            assert torch.equal(a, b) or (name == "weight" and whose == "hidden"), name
    same = all(torch.equal(before[k].weight, after[k].weight) for k in range(len(before)))
    assert same == (whose != "hidden")


def test_negative_uncertainties_are_refused(unsure_world):
    broken = unsure_world.copy(deep=True)
    broken["sm_uncertainty"].values[np.isfinite(broken["sm"].values)] *= -1
    with pytest.raises(CubeError, match=r"'sm_uncertainty' has \d+ negative values, the smallest -0.0\d+: expected st"):
        read_record(broken)


def test_masks_and_values_agree(world, record):
    for batch in (data := data_of(record, Names.of(world), AXES)).training_batches(0):
        assert all(torch.isfinite(f).all() for f in batch if f.is_floating_point())
        assert not (batch.seen & batch.wanted).any()
        assert (batch.sm[~batch.seen] == 0).all()
        assert (batch.truth[~batch.wanted] == 0).all()
        assert (batch.gap_age[batch.seen] == 0).all()
        assert (batch.gap_age[batch.wanted] > 0).all()
        assert not (batch.wanted & ~batch.land).any()
        missing = ~batch.present
        assert (batch.dynamic[missing] == 0).all()
    assert missing[:, data.scene.inputs.dynamic.index("surface_temperature")].any()


def test_a_window_beyond_the_edges_is_padded_and_keeps_the_calendar(world, record):
    data = data_of(record, Names.of(world), AXES)
    inside = data.scene.batch([(0, 0, 0)], AXES)
    beyond = data.scene.batch([(-5, -2, -3)], AXES)
    torch.testing.assert_close(beyond.season[:, :, 5:], inside.season[:, :, :-5])
    for name in ("sm", "dynamic", "gap_age"):
        a, b = getattr(beyond, name), getattr(inside, name)
        torch.testing.assert_close(a[:, :, 5:, 2:, 3:], b[:, :, :-5, :-2, :-3])
        assert (a[:, :, :5] == 0).all()
    assert not beyond.seen[:, :, :5].any()
    assert not beyond.land[:, :, :5].any()
    assert not beyond.land[:, :, :, :2].any()


def test_circular_longitude_wraps(world, record):
    record.circular = True
    axes = (axis(150, 40, None), axis(10, 8, None), axis(14, 8, None, circular=True))
    data = data_of(record, Names.of(world), axes)
    batch = data.scene.batch([(0, 0, 10)], axes)
    expected = np.concatenate([record.observed[:40, :8, 10:], record.observed[:40, :8, :4]], 2)
    expected &= data.split.base[:40, :8][:, :, [10, 11, 12, 13, 0, 1, 2, 3]]
    np.testing.assert_array_equal(batch.seen[0, 0].numpy(), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_the_batches(world, record, workers):
    data = data_of(record, Names.of(world), AXES, workers=workers, batch_size=2)
    got = list(data.train_dataloader())
    expected = data.training_batches(0)
    assert len(got) == len(expected)
    for a, k in zip(got, range(len(expected)), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, expected[k], strict=True))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 30), st.floats(0, 1), st.integers(0, 29))
def test_ages_agree_with_a_search_and_with_part_of_a_record(seed, length, share, cut):
    seen = np.random.default_rng(seed).random((length, 1, 2)) < share
    days = np.arange(length) + 100
    expected = np.full(seen.shape, LONGEST_AGE)
    for t in range(length):
        for x in range(2):
            found = np.flatnonzero(seen[:, 0, x])
            if found.size:
                expected[t, 0, x] = abs(found - t).min()
    np.testing.assert_array_equal(ages(seen, days), expected)
    cut = min(cut, length - 1)
    before = np.full((1, 2), LONGEST_AGE + 1)
    for x in range(2):
        earlier = np.flatnonzero(seen[:cut, 0, x])
        if earlier.size:
            before[0, x] = cut - earlier[-1]
    np.testing.assert_array_equal(ages(seen[cut:], days[cut:], before), expected[cut:])


def test_previous_values_agree_with_a_search():
    rng = np.random.default_rng(0)
    seen = torch.from_numpy(rng.random((1, 1, 60, 1, 3)) < 0.3)
    values = torch.from_numpy(rng.random((1, 1, 60, 1, 3)).astype(np.float32))
    for steps in (1, 2):
        value, age = previous(values, seen, steps)
        for t in range(60):
            for x in range(3):
                found = [d for d in range(t) if seen[0, 0, d, 0, x]]
                if len(found) < steps or t - found[-steps] > 32:
                    assert value[0, 0, t, 0, x].isnan()
                else:
                    assert value[0, 0, t, 0, x] == values[0, 0, found[-steps], 0, x]
                    assert age[0, 0, t, 0, x] == t - found[-steps]


def test_rows_do_not_depend_on_the_tile(world, record):
    whole_axes = tuple(axis(n, None, 0) for n in record.values.shape)
    data = data_of(record, Names.of(world), whole_axes)
    scenario = data.split.scenarios["validation"]
    scenario.seen[30:112, 5] = False  # an outage longer than any feature looks
    scene = data.scene_of(scenario)
    whole = scene.batch([(0, 0, 0)], whole_axes)
    tiles = (Axis(150, 2 * HALO_DAYS + 20, HALO_DAYS, True), Axis(10, 2 * HALO_CELLS + 2, HALO_CELLS, True))
    axes = (*tiles, Axis(14, 2 * HALO_CELLS + 3, HALO_CELLS, True))
    start = (61, 4, 6)
    tile = scene.batch([tuple(s - a.margin for s, a in zip(start, axes, strict=True))], axes)
    box = tuple(slice(s, s + a.size - 2 * a.margin) for s, a in zip(start, axes, strict=True))
    mask = torch.zeros_like(whole.seen)
    mask[(0, 0, *box)] = True
    core = torch.zeros_like(tile.seen)
    core[(0, 0, *(slice(a.margin, a.size - a.margin) for a in axes))] = True
    a, line_a, names = to_rows(whole, mask, data.scene.inputs)
    b, line_b, _ = to_rows(tile, core, data.scene.inputs)
    for k, name in enumerate(names):
        torch.testing.assert_close(a[:, k], b[:, k], equal_nan=True, rtol=1e-4, atol=1e-4, msg=name)
    torch.testing.assert_close(line_a, line_b)
    assert len(names) == len(set(names))
    assert any(n.startswith("precipitation_since") for n in names)
    temperature = a[:, names.index("surface_temperature")]
    assert temperature.isnan().any(), "trees see a missing covariate as NaN"


def test_rows_hold_the_features_where_the_mask_is(world, record):
    data = data_of(record, Names.of(world), AXES)
    batch = data.training_batches(0)[0]
    line = own_line(batch)
    rows, first, names = to_rows(batch, batch.wanted, data.scene.inputs)
    expected = dict(features(batch, data.scene.inputs, line))
    assert names == list(expected)
    for column, values in zip(rows.T, expected.values(), strict=True):
        torch.testing.assert_close(column, values.expand_as(batch.sm)[batch.wanted], rtol=0, atol=0, equal_nan=True)
    assert torch.equal(first, line.nan_to_num()[batch.wanted])


@pytest.mark.parametrize("radius", [1, 3, 7])
def test_means_over_squares_are_those_of_pooling(radius):
    torch.manual_seed(0)
    values, size = torch.rand(2, 1, 3, 9, 5), 2 * radius + 1
    wide = torch.nn.functional.pad(values, (radius,) * 4)
    expected = torch.nn.functional.avg_pool3d(wide, (1, size, size), 1)
    torch.testing.assert_close(_box(values, radius), expected)


def test_the_repeat_cycle_shows_when_a_composite_is_renewed(plain):
    # every cell has a new value on days 0, 3 and 5 of a cycle of 8, and repeats it in between
    mine = plain(days=80)
    renewed = np.isin(np.arange(80) % 8, (0, 3, 5))
    latest = np.maximum.accumulate(np.where(renewed, np.arange(80), 0))
    values = np.random.default_rng(0).random((80, 4, 5)).astype(np.float32)[latest]
    observed = np.random.default_rng(1).random(values.shape) < 0.6
    observed[40] = False
    mine["sm"] = (mine["sm"].dims, np.where(observed, values, np.nan))
    cube = as_cube(mine, "sm", repeat_cycle_days=8)
    record = read_record(cube)
    inputs = Inputs.fit(record, Names.of(cube), record.observed, "1", 1, "train", repeat_cycle(cube))
    data = GapData(record, inputs, All().split(record.observed, record.days, Gaps()), Gaps(), AXES)
    nothing = np.zeros_like(record.observed)
    scene = data.scene.again(record.observed, nothing, record.observed)
    axes = (axis(80, 80, None), axis(4, 4, None), axis(5, 5, None))
    found = dict(repeat_features(scene.batch([(0, 0, 0)], axes), inputs))
    # days 40 and 43 are renewed, 41, 42 and 44 repeat the day before
    means = {name: values[0, 0].mean((1, 2)) for name, values in found.items()}
    np.testing.assert_allclose(means["repeats_3_before"][40:45], [0, 1, 1, 0, 1], atol=0.05)
    np.testing.assert_allclose(means["repeats_3_after"][40:44], [1, 1, 0, 1], atol=0.05)
    assert (found["change_3_before"][0, 0, 41] < 1e-3).all()
    assert (found["change_3_before"][0, 0, 40] > 1).all()
    assert not dict(repeat_features(scene.batch([(0, 0, 0)], axes), replace(inputs, repeat_cycle=0)))


def test_a_repeat_cycle_is_a_number_of_maps(plain):
    with pytest.raises(CubeError, match="repeat_cycle_days=8: expected 0 or a multiple of the 3 days"):
        as_cube(plain(days=40).isel(time=slice(None, None, 3)), "sm", repeat_cycle_days=8)
    # a file's own attribute does not switch it on
    assert repeat_cycle(as_cube(plain(days=40).assign_attrs(repeat_cycle_days="8 d"), "sm")) is None
    assert repeat_cycle(as_cube(plain(days=40), "sm", repeat_cycle_days=0)) == 0
    with pytest.raises(CubeError, match="repeat_cycle_days=-8: expected 0 or a multiple"):
        as_cube(plain(days=40), "sm", repeat_cycle_days=-8)
