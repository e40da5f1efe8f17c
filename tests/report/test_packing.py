from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgdsm.core.errors import ConfigError
from sgdsm.core.filled import observed_of
from sgdsm.report.packing import (
    Grid,
    Product,
    Question,
    Thinning,
    block_means,
    candidates,
    deflated,
    pack,
    pixels_of,
    quantised,
)
from tests.report.records import filled_record, question


def unpacked(layer: dict, cells: int) -> np.ndarray:
    """Values of a packed layer, (T, C), as the script of the page reads them."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8).reshape(layer["bytes"], -1)
    codes = sum(plane.astype(int) << (8 * k) for k, plane in enumerate(planes))
    return np.where(codes > 0, layer["offset"] + layer["step"] * (codes - 1), np.nan).reshape(-1, cells)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4, width=32) | st.just(float("nan")), min_size=1), st.sampled_from([250, 4000]))
def test_quantised_values_are_within_half_a_step(values, steps):
    given_values = np.array(values, np.float32)
    codes, offset, step = quantised(given_values, steps)
    assert codes.dtype.itemsize <= 2
    assert ((codes == 0) == np.isnan(given_values)).all()
    back = offset + step * (codes.astype(float) - 1)
    assert np.nanmax(abs(back - given_values), initial=0) <= step * 0.5001
    known = given_values[np.isfinite(given_values)]
    # the step is as fine as was asked for, or 1 for whole numbers
    assert known.size < 2 or np.ptp(known) == 0 or step <= max(5 * np.ptp(known.astype(float)) / steps, 1)


def test_deflated_numbers_of_four_bytes():
    numbers = np.array([-1, 0, 70_000, 3], np.int32)
    planes = np.frombuffer(zlib.decompress(base64.b64decode(deflated(numbers))), np.uint8).reshape(4, -1)
    assert np.array_equal(np.ascontiguousarray(planes.T).view(np.int32).ravel(), numbers)


def test_layers_hold_the_values_of_the_file():
    record = filled_record()
    hidden, visible = question(record)
    asked = Question(visible["sm"], [Product("a", record)], hidden["truth"], hidden["swath"])
    # rows from south to north and columns in any order, as in files of others
    turned = record.isel(lat=slice(None, None, -1)).transpose("lat", "time", "lon")
    other = Question(observed_of(turned), [Product("b", turned)])
    grid = Grid.of([asked, other])
    packed = pack([asked, other], grid, 1)
    content, cells = packed.content, int(record["land"].sum())
    assert packed.thinning == Thinning(1, 1)
    layers = content["layers"]
    land = record["land"].values.astype(bool)
    for k, product in enumerate(content["products"]):
        own = layers[product["layers"]["filled"]]
        seen = unpacked(layers[content["questions"][k]["observed"]], cells)
        stored = unpacked(own, cells)
        # observed values are stored once
        assert np.array_equal(np.isnan(stored), np.isfinite(seen))
        shown = np.where(np.isnan(stored), seen, stored)
        # turned land has the same cells: they are numbered from the north
        assert abs(shown - record["sm_filled"].values[:, land]).max() <= own["step"]
        lower = shown - unpacked(layers[product["layers"]["below"]], cells)
        step = layers[product["layers"]["below"]]["step"] + own["step"]
        assert np.nanmax(abs(lower - record["sm_lower"].values[:, land])) <= step
    errors = np.where(hidden["swath"], record["sm_filled"] - hidden["truth"], np.nan)[:, land]
    scores = content["products"][0]["scores"]
    assert scores["n"] == np.isfinite(errors).sum(0).tolist()
    assert scores["rmse"][0] == pytest.approx(np.sqrt(np.nanmean(errors[:, 0] ** 2)), rel=1e-3)
    assert scores["bias"][0] == pytest.approx(np.nanmean(errors[:, 0]), rel=1e-2)


def test_blocks_are_means_of_their_land_cells():
    values = np.arange(12.0, dtype=np.float32).reshape(1, 3, 4)
    values[0, 0, 0] = np.nan
    numbers = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, -1, -1]])
    assert block_means(values, numbers).tolist() == [pytest.approx([(1 + 4 + 5) / 3, (2 + 3 + 6 + 7) / 4, 8.5])]


def test_records_are_thinned_until_they_fit_and_scores_do_not_change():
    record = filled_record(days=24, rows=np.linspace(50, 10, 8), columns=np.arange(720) / 2 - 180.0)
    hidden, visible = question(record)
    asked = [Question(visible["sm"], [Product("a", record)], hidden["truth"], hidden["swath"])]
    grid = Grid.of(asked)
    whole = pack(asked, grid, 100)
    assert whole.thinning == Thinning(1, 1)
    for part in (0.7, 0.1):
        packed = pack(asked, grid, part * whole.size / 1e6)
        assert packed.size <= part * whole.size
        block, every = packed.thinning
        # space first, to what a map shows, then days
        assert (block, every == 1) in {(2, True), (2, False)}
        assert len(packed.content["days"]) == -(-24 // every)
        weights = np.array(packed.content["products"][0]["scores"]["n"])
        assert weights.sum() == hidden["swath"].values.sum()
        # thinning no more than needed
        assert every == 1 or packed.size * every / (every - 1) > 0.8 * part * whole.size
    with pytest.raises(ConfigError, match=r"megabytes=0.0001: too small for one day of the maps, expected 0\.\d"):
        pack(asked, grid, 1e-4)
    ways = list(candidates(grid))
    assert len(set(ways)) == len(ways)


def test_other_grids_are_refused():
    one, other = filled_record(), filled_record(columns=np.arange(-3.0, 3.0))
    both = [Question(observed_of(r), [Product(n, r)]) for n, r in (("one", one), ("other", other))]
    with pytest.raises(
        ConfigError, match="'other' is on another grid than 'one': lon 6 from -3 to 2 and 5 from -3 to 1"
    ):
        Grid.of(both)


def test_pixels_lie_in_the_cells_that_they_show():
    rows = np.array([49.87, 48.16, 46.5, 44.9, 43.3, 41.8, 40.3, 38.8])
    shown = pixels_of(rows)
    edges = np.concatenate([[50.725], (rows[1:] + rows[:-1]) / 2, [38.05]])
    step = (edges[0] - edges[-1]) / len(shown)
    centres = edges[0] - step * (np.arange(len(shown)) + 0.5)
    assert (centres <= edges[shown]).all()
    assert (centres >= edges[shown + 1]).all()
    np.testing.assert_array_equal(np.unique(shown), np.arange(len(rows)))
    np.testing.assert_array_equal(pixels_of(np.arange(5.0)), np.arange(5))
