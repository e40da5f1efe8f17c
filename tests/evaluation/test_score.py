from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.evaluation.score import Scores, format_table, gap_lengths, score


@pytest.fixture
def files(world, tmp_path):
    """A question and an answer made without any of the project's code for them."""
    rng = np.random.default_rng(0)
    truth = world["sm"].values
    observed = np.isfinite(truth)
    swath = observed & (rng.random(truth.shape) < 0.2)
    outage = observed & ~swath & (rng.random(truth.shape) < 0.1)
    hidden = swath | outage
    visible = np.where(hidden, np.nan, truth).astype(np.float32)
    filled = np.where(hidden, truth + rng.normal(0.01, 0.03, truth.shape), truth).astype(np.float32)
    filled = np.where(observed, filled, 0.2).astype(np.float32)
    dims, coords = ("time", "lat", "lon"), world["sm"].coords
    question = xr.Dataset({"swath": (dims, swath), "outage": (dims, outage), "truth": (dims, truth)}, coords)
    question.attrs["target"] = "sm"
    shown = xr.Dataset({"sm": (dims, visible)}, coords)
    shown["precipitation"] = world["precipitation"].assign_attrs(units="mm h-1") / 24
    shown["precipitation"].attrs = {"units": "mm h-1", "standard_name": "precipitation_flux"}
    answer = xr.Dataset(
        {"sm_filled": (dims, filled), "sm_lower": (dims, filled - 0.05), "sm_upper": (dims, filled + 0.05)}, coords
    )
    for name, dataset in {"hidden": question, "visible": shown, "filled": answer}.items():
        dataset.to_netcdf(tmp_path / f"{name}.nc")
    return tmp_path, question, shown, answer


def by_hand(question, shown, answer, mask) -> dict[str, float]:
    t, q = question["truth"].values[mask].astype(float), answer["sm_filled"].values[mask].astype(float)
    visible = shown["sm"].values.astype(float)
    mean = np.nansum(visible, 0) / np.maximum(np.isfinite(visible).sum(0), 1)
    c = np.broadcast_to(mean, visible.shape)[mask]
    series = xr.DataArray(visible, dims=("time", "lat", "lon"))
    window = series.rolling(time=35, center=True, min_periods=5).mean().values[mask]
    known = np.isfinite(window)
    inside = (t >= answer["sm_lower"].values[mask]) & (t <= answer["sm_upper"].values[mask])
    return {
        "n": mask.sum(),
        "rmse": np.sqrt(np.mean((q - t) ** 2)),
        "mae": np.mean(abs(q - t)),
        "bias": np.mean(q - t),
        "r": np.corrcoef(q, t)[0, 1],
        "r_anomaly": np.corrcoef(q - c, t - c)[0, 1],
        "r_seasonal_anomaly": np.corrcoef((q - window)[known], (t - window)[known])[0, 1],
        "coverage": inside.mean(),
    }


def test_scores_by_hand(files):
    folder, question, shown, answer = files
    table = score(folder / "filled.nc", folder / "hidden.nc", folder / "visible.nc").table()
    swath, outage = question["swath"].values, question["outage"].values
    month = question["time"].dt.month.values[:, None, None]
    wet = shown["precipitation"].values >= 0.1
    masks = {
        "swath": swath,
        "outage": outage,
        "all": swath | outage,
        "rain": (swath | outage) & wet,
        "dry": (swath | outage) & ~wet,
        "JJA": (swath | outage) & np.isin(month, (6, 7, 8)),
    }
    for name, mask in masks.items():
        for metric, expected in by_hand(question, shown, answer, mask).items():
            assert table[name][metric] == pytest.approx(expected, abs=1e-7), (name, metric)
    assert sum(table[k]["n"] for k in table if k.startswith("gap_")) == table["all"]["n"]
    assert sum(table[k]["n"] for k in ("DJF", "MAM", "JJA", "SON")) == table["all"]["n"]


def test_scores_do_not_depend_on_how_the_files_are_read(files):
    folder, question, shown, answer = files
    whole = score(answer, question, shown)
    rows = score(folder / "filled.nc", folder / "hidden.nc", folder / "visible.nc", days_at_once=3)
    np.testing.assert_allclose(rows.state.sum, whole.state.sum, rtol=1e-9)
    np.testing.assert_array_equal(rows.state.weight, whole.state.weight)


def test_another_order_of_axes_and_a_time_of_day_do_not_matter(files):
    _, question, shown, answer = files
    expected = score(answer, question, shown).table()["all"]
    other = answer.isel(lat=slice(None, None, -1)).transpose("lon", "time", "lat")
    other = other.assign_coords(time=other["time"] + np.timedelta64(6, "h"), lat=other["lat"] + 1e-5)
    assert score(other, question, shown).table()["all"] == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_files_may_hold_more_days_than_were_asked_for(files):
    _, question, shown, answer = files
    days = slice(0, 100)
    expected = score(answer.isel(time=days), question.isel(time=days), shown.isel(time=days))
    np.testing.assert_array_equal(score(answer, question.isel(time=days), shown).state.sum, expected.state.sum)


def test_scores_are_saved_and_loaded(files, tmp_path):
    _, question, shown, answer = files
    scores = score(answer, question, shown)
    scores.save(tmp_path / "scores.nc")
    again = Scores.load(tmp_path / "scores.nc")
    np.testing.assert_array_equal(again.state.sum, scores.state.sum)
    assert again.classes == scores.classes
    assert again.units().weight.sum() == scores.table()["all"]["n"]
    text = format_table(scores.table())
    assert text.splitlines()[0].startswith("swath: N ")
    assert "coverage" in text


def test_what_is_wrong_with_a_file_is_an_error(files):
    _, question, shown, answer = files
    hidden = (question["swath"] | question["outage"]).values
    seen = np.isfinite(shown["sm"].values)

    def changed(dataset, name, where, value):
        values = dataset[name].values.copy()
        values[np.unravel_index(np.flatnonzero(where)[0], where.shape)] = value
        return dataset.assign({name: dataset[name].copy(data=values)})

    cases = [
        (changed(answer, "sm_filled", hidden, np.nan), question, shown, r"1 of \d+ hidden values are not filled"),
        (changed(answer, "sm_filled", seen, 0.9), question, shown, r"1 of \d+ visible values were changed"),
        (changed(answer, "sm_filled", seen, np.nan), question, shown, "were changed or left out"),
        (answer, changed(question, "truth", hidden, np.nan), shown, "1 hidden values have no truth"),
        (answer, question, changed(shown, "sm", hidden, 0.1), "1 hidden values are visible"),
        (answer.drop_vars("sm_filled"), question, shown, "no variable 'sm_filled'"),
        (answer, question.drop_attrs(), shown, "attribute 'target'"),
        (answer, question.drop_vars(["swath", "outage"]), shown, "no boolean variable"),
        (answer.isel(time=slice(0, 100)), question, shown, "lacks 50 values of time"),
        (answer.assign_coords(lat=answer["lat"] + 0.5), question, shown, "lacks .* values of lat"),
        (answer.rename(lat="y"), question, shown, "has dims"),
        (changed(answer, "sm_lower", hidden, np.nan), question, shown, "1 hidden values have no bounds"),
        (changed(answer, "sm_lower", hidden, 9), question, shown, "sm_lower lies above sm_upper at 1 hidden values"),
        (answer, question.assign({k: question[k] & False for k in ("swath", "outage")}), shown, "hides no value"),
    ]
    for filled, asked, visible, message in cases:
        with pytest.raises(CubeError, match=message):
            score(filled, asked, visible)


def test_gap_lengths_by_search():
    seen = np.random.default_rng(0).random((60, 2, 3)) < 0.3
    got = gap_lengths(seen)
    for row, column in np.ndindex(2, 3):
        series = seen[:, row, column]
        for day in range(60):
            if series[day]:
                assert got[day, row, column] == 0
                continue
            before = day
            while before > 0 and not series[before - 1]:
                before -= 1
            after = day
            while after < 59 and not series[after + 1]:
                after += 1
            assert got[day, row, column] == after - before + 1


def test_a_std_of_the_filled_file_is_scored_and_kept(files):
    folder, question, shown, answer = files
    noisy = answer.assign(sm_std=answer["sm_filled"] * 0 + 0.03)
    noisy["sm_lower"].attrs["level"] = 0.9
    found = score(noisy, question, shown)
    found.save(folder / "scores.nc")
    again = Scores.load(folder / "scores.nc")
    for name in ("crps", "interval_score", "spread"):
        assert again.table()["all"][name] == pytest.approx(found.table()["all"][name])
    hidden = question["swath"].values | question["outage"].values
    assert again.calibration.pit.sum() == hidden.sum()
    assert "crps 0.0" in format_table(found.table())
    assert "crps" not in format_table(score(answer, question, shown).table())
    missing = noisy.assign(sm_std=noisy["sm_std"].where(~question["swath"]))
    with pytest.raises(CubeError, match="have no sm_std"):
        score(missing, question, shown)


def turned(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_coords(lon=dataset["lon"] % 360)


LAYOUTS = {
    "0..360": turned,
    "0..360, sorted": lambda d: turned(d).sortby("lon"),
    "dims of another name": lambda d: d.rename(lat="latitude", lon="longitude", time="valid_time"),
    "dims in capitals": lambda d: d.rename(lat="Latitude", lon="LON", time="Time"),
    "an auxiliary lat": lambda d: d.rename(lat="latitude").assign_coords(lat=("latitude", d["lat"].values)),
    "south to north": lambda d: d.isel(lat=slice(None, None, -1)),
    "no order": lambda d: d.isel(lat=[3, 1, 0, 2, *range(4, 10)], time=[*range(75, 150), *range(75)]),
    "times of day": lambda d: d.assign_coords(time=d["time"] + np.timedelta64(12, "h")),
    "just below midnight": lambda d: d.assign_coords(time=d["time"] - np.timedelta64(86, "us")),
    "order of dims": lambda d: d.transpose("lon", "lat", "time"),
    "more than is asked": lambda d: xr.concat(
        [d, d.isel(time=[-1]).assign_coords(time=d["time"][[-1]] + np.timedelta64(1, "D"))], "time"
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
@pytest.mark.parametrize("which", ["filled", "hidden", "visible"])
def test_files_of_other_layouts_score_the_same(files, layout, which):
    _, question, shown, answer = files
    given = {"hidden": question, "visible": shown, "filled": answer}
    expected = score(given["filled"], given["hidden"], given["visible"]).table()
    if layout is LAYOUTS["more than is asked"] and which == "hidden":
        which = "filled"  # who asks more gets another answer
    given[which] = layout(given[which])
    found = score(given["filled"], given["hidden"], given["visible"]).table()
    for name in expected:
        # blocks and regions are others then, sums are in another order
        assert found[name] == pytest.approx(expected[name], rel=1e-5, abs=1e-6, nan_ok=True), name


def test_the_globe_may_be_cut_elsewhere():
    """-180 to 180 against 0 to 360, also with the rounding of single precision at the seam."""
    lon = np.arange(-180, 180, 30.0)
    rng = np.random.default_rng(1)
    values = rng.random((3, 2, 12))
    dims, coords = ("time", "lat", "lon"), {"time": xr.date_range("2020", periods=3), "lat": [1.0, 0.0], "lon": lon}
    hidden = rng.random(values.shape) < 0.3
    question = xr.Dataset({"gap": (dims, hidden), "truth": (dims, values)}, coords, {"target": "sm"})
    shown = xr.Dataset({"sm": (dims, np.where(hidden, np.nan, values))}, coords)
    answer = xr.Dataset({"sm_filled": (dims, values)}, coords)
    moved = turned(answer).sortby("lon")
    moved = moved.assign_coords(lon=moved["lon"].astype("f4") - np.float32(1e-5))
    assert score(moved, question, shown).table()["all"]["rmse"] == 0


BROKEN = {
    "no lat": (lambda d: d.drop_vars("lat"), "dimension 'lat' has no coordinate values"),
    "no time": (lambda d: d.drop_vars("time"), "dimension 'time' has no coordinate values: expected dates"),
    "text": (lambda d: d.assign_coords(lat=list("abcdefghij")), "'lat' holds <U1 values, like a: expected numbers"),
    "twice": (lambda d: d.assign_coords(lon=[-125, -125, *range(-123, -111)]), "'lon' holds -125 more than once"),
    "nan": (lambda d: d.assign_coords(lat=[np.nan, *range(9)]), "'lat' has 1 values that are missing or infinite"),
    "beyond": (lambda d: d.assign_coords(lat=d["lat"] * 10), "'lat' goes from 405 to 495: expected -90 to 90"),
    "a day twice": (lambda d: d.isel(time=[0, *range(149)]), "time has 1 duplicated days, the first is 20"),
    "noleap": (lambda d: d.convert_calendar("noleap"), "calendar 'noleap', expected a standard"),
    "360_day": (lambda d: d.convert_calendar("360_day", align_on="date"), "calendar '360_day', expected a standard"),
    "numbers": (lambda d: d.assign_coords(time=np.arange(150)), "time holds int64 values, expected dates"),
    "elsewhere": (lambda d: d.assign_coords(lon=d["lon"] + 0.5), "lacks 14 values of lon, the first -124.5"),
    "fewer days": (lambda d: d.isel(time=slice(10, None)), "lacks 10 values of time, the first 20"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=list(BROKEN))
def test_a_file_that_cannot_be_scored_is_named(files, change, message):
    folder, question, shown, answer = files
    path = folder / "broken.nc"
    change(answer).drop_encoding().to_netcdf(path)
    with pytest.raises(CubeError, match="broken.nc: .*" + re.escape(message)):
        score(path, question, shown)


def test_an_attribute_of_several_values_is_named(files):
    _, question, shown, answer = files
    shown["sm"].attrs["units"] = np.array([1.0, 2.0])
    with pytest.raises(CubeError, match="the attribute units of 'sm' is"):
        score(answer, question, shown)


def spoilt(dataset: xr.Dataset, name: str, value: float, share: float = 0.3) -> xr.Dataset:
    """A share of the values of a variable is a fill value that no attribute declares."""
    some = np.random.default_rng(5).random(dataset[name].shape) < share
    return dataset.assign({name: dataset[name].where(~some, value)})


def with_weather_and_std(shown: xr.Dataset, answer: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    air = 15 + 5 * np.random.default_rng(6).random(shown["sm"].shape)
    shown = shown.assign(air_temperature=(shown["sm"].dims, air, {"units": "degC"}))
    return shown, answer.assign(sm_std=answer["sm_filled"] * 0 + 0.03)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("precipitation", 9999.9),
        ("air_temperature", 9999.9),
        ("sm_lower", -9999.0),
        ("sm_upper", 9999.0),
        ("sm_std", 9999.0),
        ("land", -9999.0),
    ],
)
@pytest.mark.parametrize("days_at_once", [None, 4])
def test_undeclared_fill_values_are_refused(files, name, value, days_at_once):
    _, question, shown, answer = files
    shown, answer = with_weather_and_std(shown, answer)
    shown["land"] = shown["sm"][0] * 0 + 1
    score(answer, question, shown, days_at_once=days_at_once)
    shown, answer = (spoilt(d, name, value) if name in d else d for d in (shown, answer))
    with pytest.raises(CubeError, match=rf"variable '{name}' holds {value:g} \d+ times: a fill value"):
        score(answer, question, shown, days_at_once=days_at_once)


def test_undeclared_fill_values_of_rain_alone_are_refused(files):
    _, question, shown, answer = files
    with pytest.raises(CubeError, match=r"variable 'precipitation' holds 9999.9 \d+ times: a fill value"):
        score(answer, question, spoilt(shown, "precipitation", 9999.9))


def test_axes_of_one_meaning_are_named(files):
    _, question, shown, answer = files
    answer["sm_filled"] = answer["sm_filled"].expand_dims(date=3)
    with pytest.raises(CubeError, match=r"the dimensions .* are both taken for time"):
        score(answer, question, shown)


def test_bounds_on_axes_of_other_names_are_scored(files):
    _, question, shown, answer = files
    expected = score(answer, question, shown)
    bounds = answer[["sm_lower", "sm_upper"]].rename(time="date", lat="latitude")
    found = score(bounds.assign(answer[["sm_filled"]]), question, shown)
    np.testing.assert_array_equal(found.state.sum, expected.state.sum)


@pytest.mark.parametrize("name", ["air_temperature", "precipitation"])
def test_a_declared_valid_max_of_the_weather_is_honoured(files, name):
    _, question, shown, answer = files
    shown, answer = with_weather_and_std(shown, answer)
    some = np.random.default_rng(5).random(shown[name].shape) < 0.3
    expected = score(answer, question, shown.assign({name: shown[name].where(~some)}))
    marked = spoilt(shown, name, 9999.9)
    marked[name].attrs |= {**shown[name].attrs, "valid_max": 1000.0}
    found = score(answer, question, marked)
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.state.sum, expected.state.sum)


def test_an_infinite_std_is_refused(files):
    _, question, shown, answer = files
    _, answer = with_weather_and_std(shown, answer)
    with pytest.raises(CubeError, match="have no sm_std"):
        score(answer.assign(sm_std=answer["sm_std"] / 0), question, shown)


BESIDE = {
    "date": {"other": ("date", np.arange(3.0))},
    "t": {"other": ("t", np.arange(3.0))},
    "i, j": {"other": (("j", "i"), np.ones((2, 3)))},
    "latitude": {"other": ("latitude", np.arange(4.0))},
    "date, latitude, longitude": {"rain_gauge": (("date", "latitude", "longitude"), np.ones((2, 3, 4)), {"units": "K",
                                  "standard_name": "air_temperature"})},
    "other rain": {"rain_gauge": (("time", "station"), np.ones((150, 4)), {"standard_name": "precipitation_flux"})},
    "odd attributes": {"other": ("station", np.ones(4), {"units": np.array([1.0, 2.0])})},
    "odd attributes of a map": {"other": (("time", "lat", "lon"), np.ones((150, 10, 14)), {"units": [1.0, 2.0]})},
}  # fmt: skip


@pytest.mark.parametrize("beside", BESIDE.values(), ids=list(BESIDE))
@pytest.mark.parametrize("which", ["filled", "hidden", "visible"])
def test_a_variable_beside_does_not_matter(files, beside, which):
    _, question, shown, answer = files
    given = {"hidden": question, "visible": shown, "filled": answer}
    expected = score(given["filled"], given["hidden"], given["visible"])
    given[which] = given[which].assign(beside)
    found = score(given["filled"], given["hidden"], given["visible"])
    assert found.classes == expected.classes
    np.testing.assert_array_equal(found.state.sum, expected.state.sum)
