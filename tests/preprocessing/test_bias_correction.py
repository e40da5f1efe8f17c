"""The maps of one sensor to another: what they must be for any data, and what pytesmo gives."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, theilslopes

from sgdsm.core.cube import as_cube
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.preprocessing.bias_correction.cdf import fit_cdf
from sgdsm.preprocessing.bias_correction.correction import Correction
from sgdsm.preprocessing.bias_correction.fit import Settings, fit_correction
from sgdsm.preprocessing.bias_correction.maps import CellMaps, bounds_of
from sgdsm.preprocessing.bias_correction.moments import fit_moments
from sgdsm.preprocessing.bias_correction.residual_trees import ResidualTrees, folds_of
from sgdsm.sources.simulation.two_sensors import LEAST, two_sensors

NO_BOUNDS = (-np.inf, np.inf)
FITS = {"cdf": fit_cdf, "moments": fit_moments}


def two_records(seed: int, days: int, cells: int = 3, decimals: int = 8, missing: float = 0.3):
    """Moist values of two sensors, with gaps and, where few decimals are kept, ties; at least a bin in common."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, rng.uniform(2, 6), (days, cells)) * 0.5
    source = rng.uniform(0, 0.1) + rng.uniform(0.3, 1.5) * truth ** rng.uniform(0.7, 1.5)
    reference = abs(truth + 0.02 * rng.standard_normal(truth.shape))
    pair = [np.round(v, decimals) for v in (source, reference)]
    for values in pair:
        values[rng.random(values.shape) < missing] = np.nan
    return pair


records = st.builds(
    two_records,
    seed=st.integers(0, 10_000),
    days=st.integers(30, 900),
    decimals=st.sampled_from([1, 2, 8]),
    missing=st.sampled_from([0.0, 0.3, 0.8]),
)
quick = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@quick
@given(pair=records)
def test_a_map_rises_and_gives_moisture(fit, pair):
    source, reference = pair
    maps = fit(source, reference, bounds=(0.0, 1.0))
    common = (np.isfinite(source) & np.isfinite(reference)).sum(0)
    # far beyond what was seen too
    probe = np.repeat(np.linspace(-1, 3, 801)[:, None], source.shape[1], 1)
    mapped = maps.apply(probe)
    assert (np.isfinite(mapped).all(0) == (common >= 20)).all(), "a cell has a map where it has 20 common days"
    mapped = mapped[:, common >= 20]
    assert (np.diff(mapped, axis=0) >= -1e-12).all()
    assert ((mapped >= 0) & (mapped <= 1)).all()
    slopes = maps.derivative(probe)[:, common >= 20]
    assert (slopes >= 0).all()
    assert np.isfinite(slopes).all()
    assert np.isnan(maps.apply(np.full((2, source.shape[1]), np.nan))).all()


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
@quick
@given(pair=records)
def test_equal_records_are_not_changed(fit, pair):
    source, _ = pair
    maps = fit(source, source.copy())
    probe = np.clip(np.where(np.isfinite(source), source, 0.1) * 1.7, 0, None)
    fitted = np.isfinite(source).sum(0) >= 20
    np.testing.assert_allclose(maps.apply(probe)[:, fitted], probe[:, fitted], atol=1e-9)
    np.testing.assert_allclose(maps.derivative(probe + 1e-6)[:, fitted], 1, atol=1e-4)


@pytest.mark.parametrize("value", [0.3, 0.0])
@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_a_record_that_never_changes_is_shifted(fit, value):
    source = np.full((100, 1), value)
    assert fit(source, source).apply(source) == pytest.approx(source)
    reference = np.random.default_rng(0).random((100, 1))
    mapped = fit(source, reference).apply(source)
    assert mapped == pytest.approx(np.full((100, 1), reference.mean()), abs=1e-6)
    assert fit(reference, source + 0.1).apply(reference) == pytest.approx(source + 0.1)


@pytest.mark.parametrize("days", [130, 700, 1500, 4000])
def test_it_is_what_pytesmo_gives(days):
    cdf_matching = pytest.importorskip("pytesmo.cdf_matching")
    source, reference = two_records(days, days, 25)
    # values that were not seen in the fit too
    probe = np.concatenate([source, np.linspace(0.01, 0.9, 50)[:, None] * np.ones(25)])
    ours = fit_cdf(source, reference, bounds=NO_BOUNDS).apply(probe)
    for cell in range(25):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The bins have been resized")
            golden = cdf_matching.CDFMatching(nbins=100, minobs=20, linear_edge_scaling=True, combine_invalid=True)
            golden.fit(source[:, cell], reference[:, cell])
        np.testing.assert_allclose(ours[:, cell], golden.predict(probe[:, cell]), atol=1e-6)


def test_it_is_what_pytesmo_gives_where_values_tie():
    """The spread of ties and the edges, whose ranks then differ in number."""
    cdf_matching = pytest.importorskip("pytesmo.cdf_matching")
    source, reference = two_records(1, 1024, 25, missing=0.0)
    source, reference = np.maximum(source, 0.12), np.maximum(np.round(reference * 128) / 128, 0.0625)
    # a power of two values and of bins: quantiles that are exact in both
    ours = fit_cdf(source, reference, bins=32, bounds=NO_BOUNDS).apply(source)
    for cell in range(25):
        golden = cdf_matching.CDFMatching(nbins=32, minobs=20, linear_edge_scaling=True, combine_invalid=True)
        golden.fit(source[:, cell], reference[:, cell])
        np.testing.assert_allclose(ours[:, cell], golden.predict(source[:, cell]), atol=1e-6)


def test_only_common_days_count():
    """A reference that sees summer alone: what the source says in winter must not matter."""
    rng = np.random.default_rng(0)
    summer = np.arange(800) % 2 == 0
    truth = np.where(summer, 0.15, 0.35)[:, None] + 0.03 * rng.standard_normal((800, 1))
    reference = np.where(summer[:, None], truth, np.nan)
    for fit in FITS.values():
        mapped = fit(truth, reference).apply(truth)
        np.testing.assert_allclose(mapped[summer], truth[summer], atol=1e-9)
        wetter = np.where(summer[:, None], truth, truth + 0.2)
        np.testing.assert_array_equal(fit(wetter, reference).source, fit(truth, reference).source)


def test_moments_are_those_of_the_reference():
    source, reference = two_records(5, 400, 4)
    maps = fit_moments(source, reference, bounds=NO_BOUNDS)
    both = np.isfinite(source) & np.isfinite(reference)
    mapped = np.where(both, maps.apply(source), np.nan)
    wanted = np.where(both, reference, np.nan)
    np.testing.assert_allclose(np.nanmean(mapped, 0), np.nanmean(wanted, 0), atol=1e-9)
    np.testing.assert_allclose(np.nanstd(mapped, 0), np.nanstd(wanted, 0), atol=1e-9)
    slope = np.nanstd(wanted, 0) / np.nanstd(np.where(both, source, np.nan), 0)
    np.testing.assert_allclose(maps.derivative(source[:1] * 0 + 0.2)[0], np.where(np.isnan(source[0]), np.nan, slope))


def test_the_derivative_is_the_slope():
    source, reference = two_records(6, 700, 4, missing=0.0)
    maps = fit_cdf(source, reference)
    x = np.linspace(0.05, 0.6, 997)[:, None] * np.ones(4)
    step = 1e-7
    told = (maps.apply(x + step) - maps.apply(x)) / step
    same_piece = abs(maps.derivative(x) - maps.derivative(x + step)) < 1e-9
    np.testing.assert_allclose(told[same_piece], maps.derivative(x)[same_piece], atol=1e-4)
    assert same_piece.mean() > 0.99


def test_bounds_come_from_units_and_attributes():
    assert bounds_of({"units": "m3 m-3"}) == (0.0, 1.0)
    assert bounds_of({"units": "%"}) == (0.0, 100.0)
    assert bounds_of({"units": "m3 m-3", "valid_range": [0.02, 0.6]}) == (0.02, 0.6)
    assert bounds_of({"units": "1", "valid_max": 0.5}) == (0.0, 0.5)
    steep = CellMaps(np.array([[0.1, 0.2]]), np.array([[0.1, 0.9]]), 0.0, 0.6)
    np.testing.assert_allclose(steep.apply(np.array([[0.0], [0.15], [0.3]])), [[0.0], [0.5], [0.6]])
    np.testing.assert_allclose(steep.derivative(np.array([[0.0], [0.15], [0.3]])), [[0.0], [8.0], [0.0]])


def test_numbers_that_make_no_bin_are_refused():
    with pytest.raises(ConfigError, match="bins=1"):
        fit_cdf(np.ones((50, 1)), np.ones((50, 1)), bins=1)
    with pytest.raises(ConfigError, match="folds=1"):
        ResidualTrees(folds=1)


@pytest.fixture(scope="module")
def long_world() -> xr.Dataset:
    """1981-2022 in a few cells; the reference from 2015."""
    return two_sensors(rows=3, columns=4, days=15340, start="1981-01-01", seed=1, trend=0.003)


@pytest.mark.slow
def test_significant_trends_keep_sign_and_slope(long_world):
    """Fitted on 2015-2022, applied to 1981-2022: the slope of the yearly means is that of the input times the mean
    derivative of the map, to 10 %. Cells apart whose sensor reads its lowest value on more than 1 % of the days: what
    is cut off there moves no more, whatever slope the map has at that value."""
    world = long_world
    period = world["time"].values >= np.datetime64("2015-01-01")
    source, reference = (world[n].values.reshape(world.sizes["time"], -1) for n in ("sm", "sm_reference"))
    assert not np.isfinite(reference[~period]).any()
    maps = fit_cdf(source[period], reference[period], bounds=(0.0, 1.0))
    mapped, slope = maps.apply(source), maps.derivative(source)
    year = world["time"].dt.year.values
    years = np.unique(year)
    checked = 0
    floored = (source <= LEAST + 1e-6).sum(0) / np.isfinite(source).sum(0)
    for cell in np.flatnonzero(floored <= 0.01):
        before, after = (np.array([np.nanmean(values[year == y, cell]) for y in years]) for values in (source, mapped))
        # Mann-Kendall's test is Kendall's tau against time
        if kendalltau(years, before).pvalue >= 0.05:
            continue
        expected = theilslopes(before, years)[0] * np.nanmean(slope[:, cell])
        found = theilslopes(after, years)[0]
        assert np.sign(found) == np.sign(expected)
        assert found == pytest.approx(expected, rel=0.1), f"cell {cell}"
        checked += 1
    assert checked >= 6


FEW = {"rounds": 60, "block_days": 30, "separation_days": 5, "threads": 1}


@pytest.fixture(scope="module")
def small_world() -> xr.Dataset:
    return two_sensors(rows=3, columns=4, days=1200, start="2014-01-01", seed=2)


def sensors_of(world: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset, list[str]]:
    names = ["ndvi", "air_temperature", "clay"]
    source = as_cube(world, "sm", names[:2], names[2:], land="land")
    return source, as_cube(world, "sm_reference", land="land"), names


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_saved_correction_is_the_same(small_world, tmp_path, suffix):
    source, reference, names = sensors_of(small_world)
    fitted, scores = fit_correction(source, reference, names, Settings("cdf_xgboost", ResidualTrees(**FEW)))
    assert scores["with trees"]["rmse"] < 0.9 * scores["mapped"]["rmse"] < 0.9 * scores["before"]["rmse"]
    fitted.about["reference"] = "sm_reference"
    fitted.save(tmp_path / f"c{suffix}")
    loaded = Correction.load(tmp_path / f"c{suffix}")
    assert loaded.covariates == names
    once, again = (c.corrected(source)["sm"].values for c in (fitted, loaded))
    np.testing.assert_array_equal(once, again)
    assert (np.isfinite(once) <= np.isfinite(source["sm"].values)).all()
    assert np.nanmin(once) >= 0
    # as it is read does not matter
    np.testing.assert_array_equal(
        loaded.corrected(source)["sm"].isel(time=[5, 700, 3], lat=1).values, once[[5, 700, 3], 1]
    )
    np.testing.assert_array_equal(loaded.corrected(source)["sm"][100:90:-2, ::-1].values, once[100:90:-2, ::-1])


def test_a_correction_does_not_depend_on_slabs(small_world):
    source, reference, names = sensors_of(small_world)
    options = ResidualTrees(**FEW, max_rows=700)
    found = [
        fit_correction(source, reference, names, Settings("cdf_xgboost", options, memory_gib=m)) for m in (1, 1e-6)
    ]
    assert found[0][1] == found[1][1]
    assert found[0][0].booster == found[1][0].booster
    np.testing.assert_array_equal(found[0][0].maps.reference, found[1][0].maps.reference)


def test_a_slab_takes_the_memory_that_it_may(tmp_path):
    rng = np.random.default_rng(0)
    coords = {"time": xr.date_range("2010-01-01", periods=1500), "lat": 60.0 - np.arange(24), "lon": np.arange(50.0)}
    for name in ("one", "other"):
        values = rng.random((1500, 24, 50), np.float32) * 0.4
        xr.Dataset({name: (("time", "lat", "lon"), values, {"units": "m3 m-3"})}, coords).to_netcdf(tmp_path / name)
    settings = Settings("cdf", ResidualTrees(max_rows=1000), memory_gib=40 / 1024)
    with xr.open_dataset(tmp_path / "one") as one, xr.open_dataset(tmp_path / "other") as other:
        cubes = as_cube(one, "one"), as_cube(other, "other")
        tracemalloc.start()
        try:
            fit_correction(*cubes, [], settings)
            peak = tracemalloc.get_traced_memory()[1] / 2**20
        finally:
            tracemalloc.stop()
    # all rows at once would take some 160
    assert 20 < peak < 44


def test_what_is_held_out_is_not_fitted_to():
    days = np.arange(16000, 17500)
    options = ResidualTrees(folds=3, block_days=50, separation_days=10)
    folds = folds_of(days, options)
    for k in range(3):
        own, fitted = days[folds.of_day == k], days[folds.fitted[k]]
        assert abs(own[:, None] - fitted).min() == 11
        # every season
        assert np.unique(own % 365 // 92).size == 4
    with pytest.raises(CubeError, match="expected at least 3 blocks"):
        folds_of(days[:90], options)


def test_covariates_without_meaning_do_not_score_well(small_world):
    """Scores are of days that trees have not seen: they cannot learn the residual by heart."""
    source, reference, _ = sensors_of(small_world)
    rng = np.random.default_rng(0)
    noise = source["ndvi"].copy(data=rng.random(source["ndvi"].shape, np.float32))
    # the residual itself on the days of the fit would be told by time, were rows dealt at random
    count = np.arange(source.sizes["time"], dtype=np.float32)[:, None, None]
    day = source["ndvi"].copy(data=np.broadcast_to(count, noise.shape))
    source = source.assign(ndvi=noise, air_temperature=day)
    fine = ResidualTrees(**FEW | {"rounds": 200}, max_depth=10, min_child_weight=1.0)
    _, scores = fit_correction(source, reference, ["ndvi", "air_temperature"], Settings("cdf_xgboost", fine))
    assert scores["with trees"]["rmse"] > 0.75 * scores["mapped"]["rmse"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.assign_coords(lon=r["lon"] + 1), "the reference: 'lon' has 4 from -123.5"),
        (lambda r: r.isel(lat=slice(2)), "expected the same grid"),
        (lambda r: r.assign_coords(time=r["time"] + np.timedelta64(9000, "D")), "no common day"),
        (lambda r: r.assign(sm_reference=r["sm_reference"].copy(data=r["sm_reference"] * 100)), "outside 0 to 1"),
        (lambda r: r.assign(sm_reference=r["sm_reference"].where(r["time"] < r["time"][0])), "nothing to fit"),
    ],
)  # fmt: skip
def test_sensors_that_do_not_go_together_are_refused(small_world, change, message):
    source, reference, _ = sensors_of(small_world)
    with pytest.raises(CubeError, match=message):
        fit_correction(source, change(reference), [], Settings("cdf", ResidualTrees(**FEW)))


def test_the_second_sensor_does_not_change_the_world():
    from sgdsm.sources.simulation.world import simulate

    plain = simulate(rows=3, columns=4, days=60, seed=4)
    both = two_sensors(rows=3, columns=4, days=60, start="2015-04-01", land_fraction=0.75, trend=0.0, seed=4)
    np.testing.assert_array_equal(plain["precipitation"].values, both["precipitation"].values)
    np.testing.assert_array_equal(plain["sm_true"].values, both["sm_true"].values)
    trend = two_sensors(rows=3, columns=4, days=4000, start="2010-01-01", reference_from="2015-01-01", seed=4)
    held, short = trend["sm_reference_held_back"], trend["sm_reference"]
    assert not np.isfinite(short.sel(time=slice(None, "2014-12-31"))).any()
    assert not np.isfinite(held.sel(time=slice("2015-01-01", None))).any()
    seen = np.isfinite(trend["sm"].values)
    assert (np.isfinite(trend["sm_in_gaps"].values) == ~seen & np.isfinite(trend["sm_true"].values)).all()
    with pytest.raises(ConfigError, match="reference_from=never"):
        two_sensors(rows=2, columns=2, days=9, reference_from="never")
