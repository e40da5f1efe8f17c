from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import as_cube
from sgdsm.core.errors import CubeError
from sgdsm.data.splits import Scenario
from sgdsm.evaluation.metrics import normal_crps
from sgdsm.evaluation.protocol import write_files
from sgdsm.evaluation.score import Scores, format_table, score
from sgdsm.evaluation.strata import ARIDITY, TEMPERATURE, air_temperature_of, thirds

DIMS, DAYS = ("time", "lat", "lon"), 30
RAIN = np.repeat([[1.0], [4.0], [16.0]], 3, 1)  # mm a day: wetter by row, whatever the temperature
AIR = np.repeat([[0.0, 10.0, 20.0]], 3, 0)  # degC: warmer by column
ERROR = np.array([[0.01, 0.02, 0.06], [0.03, 0.07, 0.08], [0.09, 0.04, 0.10]])
Question = tuple[xr.Dataset, xr.Dataset, xr.Dataset]


@pytest.fixture
def question() -> Question:
    """Filled, hidden and visible of nine cells whose errors are ERROR, every third day hidden; no meteorology."""
    rng = np.random.default_rng(0)
    coords = {
        "time": xr.date_range("2020-01-01", periods=DAYS),
        "lat": [50.0, 49.0, 48.0],
        "lon": [5.0, 6.0, 7.0],
    }
    truth = rng.uniform(0.1, 0.4, (DAYS, 3, 3))
    mask = np.zeros(truth.shape, bool)
    mask[::3] = True
    filled = truth + mask * ERROR
    hidden = xr.Dataset({"swath": (DIMS, mask), "truth": (DIMS, truth)}, coords, {"target": "sm"})
    visible = xr.Dataset({"sm": (DIMS, np.where(mask, np.nan, truth))}, coords)
    answer = {"sm_filled": filled, "sm_lower": filled - 0.05, "sm_upper": filled + 0.05, "sm_std": filled * 0 + 0.03}
    return xr.Dataset({k: (DIMS, v) for k, v in answer.items()}, coords), hidden, visible


def daily(mean: np.ndarray, **attrs: str) -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
    """Days whose mean is a map."""
    swing = np.tile([-0.5, 0.0, 0.5], DAYS // 3)[:, None, None]
    return DIMS, mean + swing, attrs


def rain_of(mean: np.ndarray = RAIN, units: str = "mm d-1") -> tuple[tuple[str, ...], np.ndarray, dict[str, str]]:
    return daily(mean, units=units, standard_name="precipitation_flux")


def counts(scores: Scores, names: tuple[str, ...]) -> list[float]:
    return [scores.table()[name]["n"] for name in names]


def test_each_zone_has_the_metrics_of_its_cells(question):
    filled, hidden, visible = question
    shown = visible.assign(precipitation=rain_of(), air_temperature=daily(AIR, units="degC"))
    found = score(filled, hidden, shown)
    table = found.table()
    for k in range(3):
        for name, errors in ((ARIDITY[k], ERROR[k]), (TEMPERATURE[k], ERROR[:, k])):
            assert table[name]["n"] == 3 * DAYS / 3
            assert table[name]["rmse"] == pytest.approx(np.sqrt(np.mean(errors**2))), name
            assert table[name]["bias"] == pytest.approx(errors.mean()), name
            assert table[name]["coverage"] == pytest.approx((errors <= 0.05).mean()), name
            assert table[name]["crps"] == pytest.approx(normal_crps(errors, np.full(3, 0.03)).mean()), name
    rows = score(filled, hidden, shown, days_at_once=1)
    np.testing.assert_allclose(rows.state.sum, found.state.sum)
    assert "dry_zone: N 30 RMSE" in format_table(table)


def test_zones_change_no_other_class_and_are_left_out_without_meteorology(question):
    filled, hidden, visible = question
    without = score(filled, hidden, visible)
    assert not {*ARIDITY, *TEMPERATURE} & {*without.classes}
    found = score(filled, hidden, visible.assign(air_temperature=daily(AIR, units="degC")))
    assert found.classes == [*without.classes, *TEMPERATURE]
    np.testing.assert_array_equal(found.state.sum[: len(without.classes)], without.state.sum)
    only_rain = score(filled, hidden, visible.assign(precipitation=rain_of()))
    assert only_rain.classes == [*without.classes, "rain", "dry"]


@pytest.mark.parametrize(
    ("air", "rain"),
    [
        (daily(AIR + 273.15, units="K"), rain_of()),
        (daily(AIR, units="celsius", standard_name="air_temperature"), rain_of(RAIN / 86400, "kg m-2 s-1")),
    ],
)
def test_units_do_not_matter(question, air, rain):
    filled, hidden, visible = question
    expected = score(filled, hidden, visible.assign(precipitation=rain_of(), tas=daily(AIR, units="degC")))
    found = score(filled, hidden, visible.assign(p=rain, t=air), temperature="t")
    for name in (*ARIDITY, *TEMPERATURE):
        assert found.table()[name] == pytest.approx(expected.table()[name], nan_ok=True)


def test_all_cells_are_in_the_middle_where_they_are_alike(question):
    filled, hidden, visible = question
    found = score(filled, hidden, visible.assign(t2m=daily(AIR * 0 + 285, units="K")))
    assert counts(found, TEMPERATURE) == [0, found.table()["all"]["n"], 0]
    assert "cold_zone" not in format_table(found.table())


@pytest.mark.parametrize("sign", [1, -1])
def test_potential_evaporation_goes_before_the_index_of_temperature(question, sign):
    filled, hidden, visible = question
    demand = daily(sign * RAIN * np.array([1.0, 2.0, 3.0]), units="mm")
    shown = visible.assign(precipitation=rain_of(), potential_evaporation=demand)
    table = score(filled, hidden, shown).table()
    for k, column in enumerate((2, 1, 0)):
        assert table[ARIDITY[k]]["bias"] == pytest.approx(ERROR[:, column].mean())


def test_a_cell_too_cold_for_the_index_is_in_no_zone_of_aridity(question):
    filled, hidden, visible = question
    air = AIR.copy()
    air[0, 0] = -12
    found = score(filled, hidden, visible.assign(precipitation=rain_of(), t2m=daily(air, units="degC")))
    assert sum(counts(found, ARIDITY)) == 80
    assert sum(counts(found, TEMPERATURE)) == 90


def test_terciles_are_those_of_land_and_of_all_days_of_the_visible_file(question):
    filled, hidden, visible = question
    shown = visible.assign(air_temperature=daily(AIR, units="degC"))
    land = xr.DataArray(np.array([[0, 0, 1]] * 3, np.int8), dims=("lat", "lon"))
    assert counts(score(filled, hidden, shown.assign(land=land)), TEMPERATURE) == [60, 30, 0]
    # warmest in the column that is coldest on the days that are asked for
    later = shown.assign_coords(time=shown["time"] + np.timedelta64(DAYS, "D"))
    later["air_temperature"] = later["air_temperature"].copy(data=daily(100 - 9 * AIR)[1])
    table = score(filled, hidden, xr.concat([shown, later], "time")).table()
    assert table["warm_zone"]["bias"] == pytest.approx(ERROR[:, 0].mean())


def test_what_is_wrong_with_a_named_temperature_is_an_error(question):
    filled, hidden, visible = question
    shown = visible.assign(t=daily(AIR, units="mm"), still=(("lat", "lon"), AIR, {"units": "K"}))
    for name, message in {
        "t": r"temperature 't' is in 'mm', expected K or degC",
        "absent": "no variable 'absent'",
        "still": "has dims",
    }.items():
        with pytest.raises(CubeError, match=message):
            score(filled, hidden, shown, temperature=name)


def test_a_temperature_is_told_by_its_name_first():
    kelvin = {"units": "K", "standard_name": "air_temperature"}
    shown = xr.Dataset({"t_min": daily(AIR, **kelvin), "air_temperature": daily(AIR, **kelvin)})
    assert air_temperature_of(shown) == "air_temperature"
    assert air_temperature_of(shown.drop_vars("air_temperature")) == "t_min"
    assert air_temperature_of(shown.drop_attrs()) is None


def test_no_thirds_where_no_land_cell_is_known():
    assert thirds(np.full((2, 2), np.nan), np.ones((2, 2), bool), ARIDITY) == {}


def test_the_files_of_a_run_hold_what_zones_are_made_of(plain: Callable[..., xr.Dataset], tmp_path):
    dataset = plain().assign(t2m=lambda d: (d["rain"] + 280).assign_attrs(units="K"))
    cube = as_cube(dataset, "sm", ["rain", "t2m"], precipitation="rain")
    observed = np.isfinite(cube["sm"].values)
    write_files(tmp_path, cube, Scenario(~observed, {"swath": observed}, ~observed), ~observed)
    with xr.open_dataset(tmp_path / "visible.nc") as shown:
        assert {"sm", "rain", "t2m", "land", "learned"} == {*shown.data_vars}
