from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy.stats import spearmanr

from sgdsm.core.errors import CubeError
from sgdsm.evaluation.insitu import compare, format_summary, paired_difference, summary
from sgdsm.evaluation.station_matching import Projection, distance_km, matched, nearest_cells, scaled, with_dense_cells
from sgdsm.preprocessing.bias_correction.moments import fit_moments
from sgdsm.sources import open_product
from sgdsm.sources.simulation.stations import GOOD, simulated_stations, write_csv, write_ismn
from sgdsm.sources.simulation.world import simulate


def filled_of(world: xr.Dataset) -> xr.Dataset:
    """A filled file as predict writes it: the truth and an error in the gaps, intervals of 0.04."""
    rng = np.random.default_rng(1)
    sm, truth = world["sm"].values, world["sm_true"].values
    gap = np.isnan(sm)
    estimate = np.where(gap, truth + 0.02 * rng.standard_normal(sm.shape), sm).astype(np.float32)
    dims = ("time", "lat", "lon")
    attrs = {"units": "m3 m-3", "observed_variable": "sm"}
    bounds = {"units": "m3 m-3", "level": 0.9}
    return xr.Dataset(
        {
            "sm": (dims, sm, {"units": "m3 m-3"}),
            "sm_filled": (dims, estimate, attrs),
            "sm_lower": (dims, np.where(gap, estimate - 0.04, np.nan), bounds),
            "sm_upper": (dims, np.where(gap, estimate + 0.04, np.nan), bounds),
            "sm_source": (dims, np.where(np.isnan(estimate), 0, np.where(gap, 2, 1)).astype(np.int8)),
        },
        {d: world[d].values for d in dims},
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("stations")
    # from winter on: gaps of frost are among them
    world = simulate(rows=8, columns=10, days=240, seed=3, start="2015-11-01")
    readings = simulated_stations(world, 12, in_one_cell=5, seed=2)
    write_ismn(readings, folder / "s.zip")
    write_csv(readings, folder / "s.csv")
    stations = open_product("ismn", folder / "s.zip", least_readings=6)
    return SimpleNamespace(world=world, filled=filled_of(world), readings=readings, stations=stations, folder=folder)


@pytest.fixture(scope="module")
def result(made):
    pairs = matched(made.filled, made.stations, reasons=made.world)
    return compare(with_dense_cells(pairs, 5), least=20, draws=40)


def daily(reading) -> dict[np.datetime64, float]:
    good = reading.flags == GOOD
    days = reading.times[good].astype("datetime64[D]")
    found = {}
    for day in np.unique(days):
        values = reading.values[good][days == day]
        if len(values) >= 6:
            found[day] = float(np.float32(values.mean()))
    return found


def test_the_table_is_that_of_the_arrays_of_the_world(made, result):
    from pytesmo.metrics import nash_sutcliffe

    days = made.world["time"].values.astype("datetime64[D]")
    seen = np.isfinite(made.world["sm"].values)
    reason = made.world["sm_reason"].values
    compared = 0
    for reading in made.readings:
        station = daily(reading)
        cell = np.s_[:, reading.row, reading.column]
        masks = {
            "observed": seen[cell],
            "filled": ~seen[cell],
            "filled_orbit": ~seen[cell] & (reason[cell] == 1),
            "filled_frost": ~seen[cell] & (reason[cell] == 2),
        }
        for subset, mask in masks.items():
            at = [k for k in np.flatnonzero(mask) if days[k] in station]
            y = np.array([station[days[k]] for k in at])
            x = made.filled["sm_filled"].values[cell][at].astype(np.float64)
            found = result.table.sel(station=f"SIM/{reading.name}", subset=subset)
            assert int(found["n"]) == len(at)
            if len(at) < 20:
                assert int(found["status"]) == 1
                continue
            compared += 1
            expected = {
                "r": np.corrcoef(x, y)[0, 1],
                "spearman": spearmanr(x, y).statistic,
                "rmsd": np.sqrt(np.mean((x - y) ** 2)),
                "ubrmsd": np.std(x - y),
                "mae": abs(x - y).mean(),
                "bias": np.mean(x - y),
                "nse": nash_sutcliffe(y, x),
            }
            if subset != "observed":
                low, high = (made.filled[b].values[cell][at] for b in ("sm_lower", "sm_upper"))
                expected["coverage"] = np.mean((y >= low) & (y <= high))
            for name, value in expected.items():
                assert float(found[name]) == pytest.approx(value, abs=1e-9), (reading.name, subset, name)
                assert float(found[f"{name}_lower"]) <= float(found[f"{name}_upper"])
    assert compared > 25
    text = format_summary(summary(result))
    assert all(word in text for word in ("observed", "filled_orbit", "filled_frost", "filled minus observed"))


def test_the_archive_and_the_table_of_the_stations_are_the_same(made):
    from_csv = open_product("station_csv", made.folder / "s.csv", network="SIM", least_readings=6)
    xr.testing.assert_equal(from_csv["sm"], made.stations["sm"])


def test_cells_with_many_stations_are_compared_with_their_mean(made, result):
    at = int(np.flatnonzero(result.table["network"].values == "dense cells")[0])
    place = (int(result.pairs["row"][at]), int(result.pairs["column"][at]))
    members = [f"SIM/{r.name}" for r in made.readings if (r.row, r.column) == place]
    assert result.table["count"].values[at] == len(members) == 5
    values = made.stations["sm"].sel(station=members).values.astype(np.float64)
    enough = np.isfinite(values).sum(1) >= 2.5
    mean = np.where(enough, np.nanmean(np.where(enough[:, None], values, 0), 1), np.nan)
    ours = result.pairs["in_situ"].isel(station=at).sel(time=made.stations["time"]).values
    np.testing.assert_allclose(ours, mean, atol=1e-12)


def test_a_difference_is_weighed_to_the_same_months(made):
    """Days whose error depends on the month alone: a difference that months explain is none."""
    time = np.arange("2015-01-01", "2017-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
    month = time.astype("datetime64[M]").astype(int) % 12
    rng = np.random.default_rng(0)
    truth = 0.2 + 0.05 * rng.standard_normal(len(time))
    observed = rng.random(len(time)) < np.where(month < 6, 0.2, 0.8)
    estimate = (truth + 0.01 * month)[:, None, None]
    dims = ("time", "lat", "lon")
    source = np.where(observed, 1, 2)[:, None, None]
    product = xr.Dataset(
        {"sm_filled": (dims, estimate, {"units": "m3 m-3"}), "sm_source": (dims, source)},
        {"time": time, "lat": [40.0], "lon": [-100.0]},
    )
    stations = xr.Dataset(
        {"sm": (("time", "station"), truth[:, None])},
        {
            "time": time, "station": ["A/a"], "lat": ("station", [40.0]), "lon": ("station", [260.0]),
            "network": ("station", ["A"]), "depth_m": ("station", [0.05]),
        },
    )  # fmt: skip
    table = compare(matched(product, stations), draws=20).table.isel(station=0)
    assert float(table["bias"].sel(subset="filled minus observed")) < -0.02
    assert abs(float(table["bias"].sel(subset="filled minus observed, same months"))) < 1e-12


def test_the_nearest_cell_and_whether_it_holds_the_station():
    rows, columns = np.array([50.5, 49.5, 48.5]), np.array([0.5, 1.5, 358.5, 359.5])
    lat, lon = np.array([49.9, 48.2, 47.9, 50.0]), np.array([-1.4, 1.9, 0.5, 120.0])
    row, column, distance, inside = nearest_cells(rows, columns, lat, lon)
    assert list(row[:3]) == [1, 2, 2]
    assert list(column[:3]) == [2, 1, 0]
    assert list(inside) == [True, True, False, False]
    assert distance[1] == pytest.approx(float(distance_km(48.2, 1.9, 48.5, 1.5)))
    assert float(distance_km(0, 0, 0, 90)) == pytest.approx(6371 * np.pi / 2)
    # a grid in m: 1 m a degree
    flat = Projection(lambda a, b: (a, b), lambda y, x: (y, x))
    again = nearest_cells(rows, np.array([-1.5, -0.5, 0.5, 1.5]), lat[:2], lon[:2], flat)
    assert list(again[1]) == [0, 3]
    assert again[3].all()


def test_scaling_is_fitted_on_observed_days_alone(made):
    pairs = matched(made.filled, made.stations, reasons=made.world)
    changed = pairs.copy(deep=True)
    changed["estimate"] = pairs["estimate"].where(pairs["source"] == 1, 0.9)
    one, other = scaled(pairs, fit_moments), scaled(changed, fit_moments)
    seen = pairs["source"].values == 1
    np.testing.assert_array_equal(one["estimate"].values[seen], other["estimate"].values[seen])
    bias = compare(one, least=20, draws=20).table["bias"].sel(subset="observed").values
    assert np.nanmax(abs(bias)) < 1e-9


def test_products_are_compared_on_the_same_draws(made, result):
    median, low, high, share, count = paired_difference(result, result, "r", "filled")
    assert (median, low, high, share) == (0, 0, 0, 0)
    worse = made.filled.copy()
    noise = np.random.default_rng(0).standard_normal(worse["sm_filled"].shape)
    worse["sm_filled"] = worse["sm_filled"] + 0.03 * noise
    other = compare(with_dense_cells(matched(worse, made.stations, reasons=made.world), 5), least=20, draws=40)
    median, low, high, share, count = paired_difference(other, result, "r", "filled")
    assert high < 0
    assert share == 0
    assert count > 5


def broken(made, what: str) -> tuple[xr.Dataset, xr.Dataset, dict]:
    filled, stations = made.filled, made.stations
    if what == "days":
        stations = stations.assign_coords(time=stations["time"] + np.timedelta64(4000, "D"))
    elif what == "place":
        stations = stations.assign_coords(lat=stations["lat"] - 60)
    elif what == "sea":
        filled = filled.assign(sm_filled=filled["sm_filled"].where(False))
    elif what == "index":
        filled["sm_filled"].attrs["units"] = "K"
    elif what == "unit":
        filled = filled.assign(sm_filled=(100 * filled["sm_filled"]).assign_attrs(units="1"))
    elif what == "source":
        filled = filled.drop_vars(["sm_source", "sm"])
    return filled, stations, {}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("days", "no common day: its days are 2015-11-01 to 2016-06-27, those of the stations 2026"),
        ("place", "none of 12 stations lies inside a cell.*max_distance_km="),
        ("sea", "none of the cells of 12 stations has a value"),
        ("index", "'sm_filled' is in 'K', the stations in m3 m-3: scale="),
        ("unit", "has the units '1' and values up to .*give it the attribute units"),
        ("source", "nothing says which values of 'sm_filled' were observed.*observed=NAME"),
    ],
)
def test_what_cannot_be_compared(made, what, message):
    filled, stations, more = broken(SimpleNamespace(filled=made.filled.copy(deep=True), stations=made.stations), what)
    with pytest.raises(CubeError, match=message):
        matched(filled, stations, **more)


def test_percent_is_converted_and_composites_get_means_of_their_days(made):
    percent = made.filled.copy()
    for name in ("sm_filled", "sm_lower", "sm_upper"):
        percent[name] = (100 * made.filled[name]).assign_attrs({**made.filled[name].attrs, "units": "percent"})
    one, other = (matched(f, made.stations) for f in (made.filled, percent))
    np.testing.assert_allclose(one["estimate"], other["estimate"], rtol=1e-6)
    composite = made.filled.isel(time=slice(0, None, 3))
    pairs = matched(composite, made.stations)
    first = made.stations["sm"].isel(station=0).sel(time=slice("2015-11-04", "2015-11-06")).values
    expected = np.nanmean(first) if np.isfinite(first).sum() >= 1.5 else np.nan
    assert pairs.attrs["step_days"] == 3
    np.testing.assert_allclose(pairs["in_situ"].isel(station=0).sel(time="2015-11-04"), expected, rtol=1e-6)


def test_days_that_a_file_lacks_are_gaps(made):
    whole = compare(matched(made.filled, made.stations), least=20, draws=20).table
    # without the second day the first two maps are two days apart
    lacking = made.filled.isel(time=np.r_[0, 2 : made.filled.sizes["time"]])
    pairs = matched(lacking, made.stations)
    assert pairs.attrs["step_days"] == 1
    assert (np.diff(pairs["time"].values) == np.timedelta64(1, "D")).all()
    table = compare(pairs, least=20, draws=20).table
    np.testing.assert_allclose(table["r"].sel(subset="filled"), whole["r"].sel(subset="filled"), atol=0.02)
    for subset in ("observed", "filled"):
        assert (abs(table["n"] - whole["n"]).sel(subset=subset) <= 1).all()


def test_odd_attributes_are_no_traceback(made):
    odd = made.filled.copy()
    odd["sm_lower"] = odd["sm_lower"].assign_attrs(level="ninety")
    table = compare(matched(odd, made.stations), least=20, draws=20).table
    assert np.isfinite(table["r"].sel(subset="filled")).any()
    map_of = made.world["elevation"].copy(data=np.ones(made.world["elevation"].shape))
    for values, name in (("1, 2", "forest"), ("one, two", "1")):
        classes = map_of.assign_attrs(flag_values=values, flag_meanings="forest crop")
        assert set(matched(made.filled, made.stations, classes=classes)["class"].values) <= {name, ""}
