"""The commands drought and rootzone as typed, on files of a few cells."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import xarray as xr

from sgdsm.cli.commands import rootzone
from sgdsm.evaluation.exponential_filter import ExponentialFilter, fitted_days
from sgdsm.models.uncertainty.correlation import Correlation
from tests.evaluation.test_standardized_index import calendar, simulated

DROUGHT, ROOTZONE = "drought filled=filled.nc output=out/d.nc", "rootzone filled=longer.nc output=r.nc"


@pytest.fixture
def files(tmp_path):
    """A filled file of ten years that tells its errors, with a planted drought, and parts of it."""
    days = calendar(10)
    values = simulated("gamma", days, 6)[0].reshape(-1, 2, 3)
    values[1500:1600] *= 0.4
    space = {"lat": [50.5, 49.5], "lon": [5.5, 6.5, 7.5]}
    dims = ("time", "lat", "lon")
    maps = xr.DataArray(values, {"time": days.astype("datetime64[ns]"), **space}, dims, attrs={"units": "m3 m-3"})
    std = (0.0 * maps + 0.03).assign_attrs(Correlation((0.9,), (100.0,), (10.0,)).attributes(), units="m3 m-3")
    dataset = xr.Dataset({"sm_filled": maps, "sm_std": std, "sm_source": xr.full_like(maps, 2, np.int8)})
    dataset["land"] = ("lat", "lon"), np.array([[1, 1, 1], [1, 1, 0]], np.int8)
    dataset["zone"] = ("lat", "lon"), np.array([[1, 1, 1], [2, 2, 2]], np.int8)
    dataset["zone"].attrs = {"flag_values": np.array([1, 2], np.int8), "flag_meanings": "north south"}
    dataset["sm_source"][:2000] = 1
    dataset.to_netcdf(tmp_path / "filled.nc")
    dataset[["zone"]].to_netcdf(tmp_path / "zones.nc")
    dataset[["sm_filled"]].isel(time=slice(0, 200)).to_netcdf(tmp_path / "begun.nc")
    dataset[["sm_filled"]].isel(time=slice(0, 400)).to_netcdf(tmp_path / "longer.nc")
    dataset[["sm_filled"]].isel(time=[0]).to_netcdf(tmp_path / "one_day.nc")
    dataset[["sm_filled"]].isel(time=slice(0, None, 2)).to_netcdf(tmp_path / "every_other.nc")
    dataset[["sm_filled"]].where(False).to_netcdf(tmp_path / "empty.nc")
    zeros = dataset[["sm_filled"]].copy(deep=True)
    zeros["sm_filled"][5:9] = 0
    zeros.to_netcdf(tmp_path / "zeros.nc")
    zeros["sm_filled"].attrs["units"] = "kg m-2"
    zeros.to_netcdf(tmp_path / "water.nc")
    return tmp_path


def test_indicators_events_and_figures(run_command, files):
    words = ["drought", "filled=filled.nc", "output=out/d.nc", "regions=zones.nc", "scale_days=5", "members=4"]
    code, out, err = run_command(*words)
    assert code == 0, err
    assert "moderate        or worse: mean" in out
    names = ["d.nc", "d_area.png", "d_classes.png", "d_events.csv", "d_series.png"]
    assert sorted(p.name for p in (files / "out").iterdir()) == names
    with xr.open_dataset(files / "out" / "d.nc") as found:
        assert found["ssi"].attrs["reference_values"] == 3652 * 5
        assert found["ssi"].attrs["reference_values_filled"] == 1652 * 5
        classes = found["drought_class"].values
        assert np.isnan(classes[:, 1, 2]).all()
        assert (classes[1520:1590, :, :2] >= 4).mean() > 0.75
        assert (found["probability_moderate"].values[classes >= 4] > 0.5).mean() > 0.9
        assert found["area_under_drought"].dims == ("time", "class")
        ssi = found["ssi"].values
        with xr.open_dataset(files / "filled.nc") as filled:
            made = filled.sgdsm.drought(scale_days=5, members=4)
        xr.testing.assert_equal(made, found)
        assert made["ssi"].attrs.keys() == found["ssi"].attrs.keys()
    with (files / "out" / "d_events.csv").open(newline="") as file:
        events = list(csv.DictReader(file))
    north = [e for e in events if e["where"] == "north" and "1985-02-10" < e["begin"] < "1985-02-20"]
    assert len(north) == 1
    assert "1985-05-16" < north[0]["end"] < "1985-05-26"
    cell = next(e for e in events if e["where"] == "cell")
    row, column = int(cell["lat"] == "49.5"), int(float(cell["lon"]) - 5.5)
    first = int((np.datetime64(cell["begin"]) - np.datetime64("1981-01-01")).astype(int))
    part = ssi[first : first + int(cell["days"]), row, column]
    assert float(cell["deficit"]) == pytest.approx(-part.sum(), abs=2e-3)
    assert float(cell["peak"]) == pytest.approx(part.min(), abs=2e-3)
    # the same words again compute nothing; others are refused
    code, out, _ = run_command(*words, "memory_gib=0.5")
    assert code == 0
    assert "is finished already" in out
    code, _, err = run_command(*words, "fit=beta")
    assert code == 1
    assert "out/d.nc exists and is of other settings or files" in err


def test_the_root_zone_goes_on_from_its_state(run_command, files):
    for words in (
        "filled=longer.nc output=whole.nc time_constant=15",
        "filled=begun.nc output=first.nc time_constant=15",
        "filled=longer.nc output=second.nc state=first.nc",
    ):
        code, _, err = run_command("rootzone", *words.split())
        assert code == 0, err
    with xr.open_dataset(files / "whole.nc") as whole, xr.open_dataset(files / "second.nc") as second:
        assert str(second["time"].values[0])[:10] == "1981-07-20"
        for name in ("rootzone", "state_value", "state_weight", "time_constant"):
            expected = whole[name][200:] if name == "rootzone" else whole[name]
            np.testing.assert_array_equal(second[name], expected)
        assert whole["rootzone"].attrs["units"] == "m3 m-3"
        # the weights of three days and fewer are below a fifth of all
        assert np.isnan(whole["rootzone"].values[:3]).all()
        assert np.isfinite(whole["rootzone"].values[3:]).all()
    assert (files / "second.png").stat().st_size > 10_000
    # in other units, and of another variable
    with xr.open_dataset(files / "longer.nc") as longer:
        percent = (100 * longer["sm_filled"]).assign_attrs(units="%")
        percent.to_dataset().assign(swi=percent).to_netcdf(files / "percent.nc")
    words = ["rootzone", "filled=percent.nc", "state=first.nc"]
    code, _, err = run_command(*words, "output=third.nc")
    assert code == 0, err
    with xr.open_dataset(files / "second.nc") as second, xr.open_dataset(files / "third.nc") as third:
        np.testing.assert_allclose(third["rootzone"], second["rootzone"], rtol=1e-5)
        assert third["rootzone"].attrs == second["rootzone"].attrs
    # one day has too few weights behind it
    with xr.open_dataset(files / "longer.nc") as longer:
        longer.isel(time=[0]).to_netcdf(files / "day.nc")
    code, _, err = run_command("rootzone", "filled=day.nc", "output=day_out.nc", "time_constant=15")
    assert code == 0
    assert "day_out.nc: no cell has a value of the root zone" in err
    code, _, err = run_command(*words, "output=fourth.nc", "variable=swi")
    assert code == 1
    assert "state=first.nc is of the variable 'sm_filled', not of variable=swi" in err
    code, out, err = run_command("rootzone", "filled=longer.nc", "output=fitted.nc", "deeper=whole.nc:rootzone")
    assert code == 0, err
    assert "time constant: 15 days (median of 6 cells, 15 to 15 in 80 % of them)" in out


def test_time_constants_are_fitted_row_by_row_where_cells_are_many(run_command, files, monkeypatch):
    asked = []

    def counted(pairs, least):
        asked.append(fitted_days(pairs, least))
        return asked[-1]

    monkeypatch.setattr(rootzone, "fitted_days", counted)
    monkeypatch.setattr(rootzone, "FITTED", 5, raising=False)
    constant = np.array([[5.0], [40.0]])
    with xr.open_dataset(files / "longer.nc") as longer:
        one, maps = ExponentialFilter.new(constant, (2, 3)), longer["sm_filled"].astype(np.float64)
        deeper = [one.step(day, values) for day, values in zip(calendar(10)[:400], maps.values, strict=True)]
        # on some days only
        maps.copy(data=np.stack(deeper))[::2].to_dataset(name="swvl2").to_netcdf(files / "deep.nc")
    code, _, err = run_command("rootzone", "filled=longer.nc", "output=fitted.nc", "deeper=deep.nc:swvl2")
    assert code == 0, err
    assert [found.shape for found, _ in asked] == [(1, 3), (1, 3)]
    with xr.open_dataset(files / "fitted.nc") as fitted:
        np.testing.assert_allclose(fitted["time_constant"], np.broadcast_to(constant, (2, 3)), rtol=0.1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("drought filled=begun.nc output=d.nc", "filled=begun.nc: 1 year of days in the reference, expected at least"),
        ("drought filled=one_day.nc output=d.nc", "filled=one_day.nc: 1 year of days"),
        ("drought filled=every_other.nc output=d.nc", "filled=every_other.nc: 1981-01-03 follows 1981-01-01"),
        ("drought filled=empty.nc output=d.nc", "filled=empty.nc: no cell has a value"),
        ("drought filled=zeros.nc output=d.nc", "filled=zeros.nc: 24 values like 0 where fit=gamma takes"),
        ("drought filled=water.nc output=d.nc fit=beta", "fit=beta: sm_filled is in 'kg m-2', which has no largest"),
        ("drought filled=zones.nc output=d.nc", "filled=zones.nc: not a filled Dataset: no variable 'sm_filled'"),
        (f"{DROUGHT} fit=normal", "fit='normal': expected one of gamma, beta, empirical"),
        (f"{DROUGHT} reference=1950:1960", "reference=1950:1960: the file has 1981-01-01 to 1990-12-31"),
        (f"{DROUGHT} day=2030-01-01", "day=2030-01-01: expected a day of 1981-01-01 to 1990-12-31"),
        (f"{DROUGHT} threshold=1", "threshold=1: expected an index below 0"),
        (f"{DROUGHT} regions=filled.nc", "regions=filled.nc: has the maps land, zone: say regions_variable=NAME"),
        (f"{DROUGHT} regions=nil.nc", "nil.nc: no such file"),
        ("rootzone filled=filled.nc output=r.nc", "nothing given: expected one of time_constant, deeper, state"),
        (f"{ROOTZONE} time_constant=0", "time_constant=0: expected"),
        (f"{ROOTZONE} time_constant=5 state=begun.nc", "time_constant and state given: expected one of"),
        (f"{ROOTZONE} state=begun.nc", "begun.nc: no variable 'state_value'"),
        (f"{ROOTZONE} deeper=begun.nc:swvl2", "begun.nc: no variable 'swvl2'"),
        (f"{ROOTZONE} deeper=one_day.nc:sm_filled", "no cell has 100 days with a value beside the surface"),
        ("rootzone filled=begun.nc output=./begun.nc time_constant=5", "output=./begun.nc: is one of the inputs"),
        ("rootzone filled=longer.nc output=begun.nc deeper=begun.nc:x", "output=begun.nc: is one of the inputs"),
        ("rootzone filled=longer.nc output=begun.nc state=begun.nc", "output=begun.nc: is one of the inputs"),
        ("drought filled=filled.nc output=zones.nc regions=zones.nc", "output=zones.nc: is one of the inputs"),
        ("rootzone filled=zones.nc output=r.nc variable=zone time_constant=5", "zones.nc: 'zone' has dims"),
    ],
)
def test_what_cannot_work_ends_in_one_line(run_command, files, words, message):
    before = sorted(files.iterdir())
    code, _, err = run_command(*words.split())
    assert code == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert [p for p in sorted(files.iterdir()) if p.suffix != ".lock" and p.name != "out"] == before
