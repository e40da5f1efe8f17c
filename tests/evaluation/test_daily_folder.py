"""Files of others: daily folders in the layouts of ESA CCI and SGD-SM, percent, and products that smooth."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.evaluation.daily_folder import open_folder
from sgdsm.evaluation.score import format_change, score
from sgdsm.preprocessing.export import write_cci_gapfilled, write_sgd_sm

DIMS = ("time", "lat", "lon")
UNITS = {"units": "m3 m-3"}


def question_of(whole_percent: bool = False) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Hidden, visible and filled values on 20 days."""
    rng = np.random.default_rng(3)
    coords = {"time": xr.date_range("2016-02-20", periods=20), "lat": [49.5, 48.5, 47.5], "lon": [7.5, 8.5, 9.5, 10.5]}
    truth = rng.uniform(0.05, 0.45, (20, 3, 4))
    filled = truth + rng.normal(0, 0.03, truth.shape)
    if whole_percent:
        truth, filled = truth.round(2), filled.round(2)
    seen = rng.random(truth.shape) < 0.5
    hidden = ~seen & (rng.random(truth.shape) < 0.6)
    truth, filled = truth.astype(np.float32), np.where(seen, truth, filled.clip(0, 1)).astype(np.float32)
    question = xr.Dataset({"gap": (DIMS, hidden), "truth": (DIMS, truth, UNITS)}, coords, {"target": "sm"})
    shown = xr.Dataset({"sm": (DIMS, np.where(seen, truth, np.nan).astype(np.float32), UNITS)}, coords)
    source = np.where(seen, 1, 2).astype(np.int8)
    answer = xr.Dataset({"sm_filled": (DIMS, filled, UNITS), "sm_source": (DIMS, source)}, coords)
    return question, shown, answer


def digits(scores) -> dict[str, dict[str, str]]:
    return {c: {k: f"{v:.6f}" for k, v in row.items()} for c, row in scores.table().items()}


def test_a_folder_of_cci_gapfilled_scores_as_the_filled_file(tmp_path):
    question, shown, answer = question_of()
    write_cci_gapfilled(answer, tmp_path / "cci")
    found = score(tmp_path / "cci", question, shown, layout="cci_gapfilled")
    assert digits(found) == digits(score(answer, question, shown))
    # the same without being told the layout, in another order of days, in blocks
    again = score(tmp_path / "cci", question, shown, estimate="sm", days_at_once=3)
    assert digits(again) == digits(found)


def test_a_folder_of_sgd_sm_in_percent_scores_as_the_filled_file(tmp_path):
    question, shown, answer = question_of(whole_percent=True)
    write_sgd_sm(answer, tmp_path / "sgd")
    found = score(tmp_path / "sgd", question, shown, layout="sgd_sm")
    assert digits(found) == digits(score(answer, question, shown))
    # rounding to whole percent is no change of visible values
    question, shown, answer = question_of()
    write_sgd_sm(answer, tmp_path / "rounded")
    found = score(tmp_path / "rounded", question, shown, layout="sgd_sm")
    assert abs(found.table()["all"]["rmse"] - score(answer, question, shown).table()["all"]["rmse"]) < 2e-3
    assert found.change.changed == 0


def test_a_product_that_smooths_is_scored_where_it_is_allowed():
    question, shown, answer = question_of()
    smooth = answer["sm_filled"].rolling(time=3, center=True, min_periods=1).mean().astype(np.float32)
    smooth = smooth.where(~((smooth["lat"] == 49.5) & np.isfinite(shown["sm"])))
    smooth = smooth.assign_attrs(UNITS).to_dataset(name="theirs")
    with pytest.raises(CubeError, match=r"visible values were changed or left out, by 0\.\d+ .*changed=allow"):
        score(smooth, question, shown, estimate="theirs")
    found = score(smooth, question, shown, estimate="theirs", changed="allow")
    seen = np.isfinite(shown["sm"].values)
    difference = (smooth["theirs"].values.astype(float) - shown["sm"].values)[seen]
    there = difference[np.isfinite(difference)]
    assert found.change.seen == seen.sum()
    assert found.change.missing == np.isnan(difference).sum() > 0
    assert found.change.changed == (abs(there) >= 1e-4).sum() > 0
    text = format_change(found.change)
    assert f"changed {(abs(there) >= 1e-4).sum() / seen.sum():.1%}" in text
    assert f"RMS of the change {np.sqrt(np.mean(there**2)):.6f}, mean {there.mean():+.6f}" in text
    # hidden values are scored as those of any other file
    mask = question["gap"].values
    error = (smooth["theirs"].values - question["truth"].values)[mask].astype(float)
    assert found.table()["all"]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)


def test_units_are_converted_or_refused():
    question, shown, answer = question_of()
    expected = score(answer, question, shown)
    percent = (answer[["sm_filled"]] * np.float32(100)).assign_attrs(answer.attrs)
    percent["sm_filled"].attrs["units"] = "percent"
    found = score(percent, question, shown)
    assert found.table()["all"]["rmse"] == pytest.approx(expected.table()["all"]["rmse"], rel=1e-5)
    percent["sm_filled"].attrs["units"] = "K"
    with pytest.raises(CubeError, match="the Dataset: 'sm_filled' is in 'K', expected 'm3 m-3' as in the truth"):
        score(percent, question, shown)
    del percent["sm_filled"].attrs["units"]
    with pytest.raises(CubeError, match=r"'sm_filled' has no units and a median of .*, the truth is in 'm3 m-3'"):
        score(percent, question, shown, changed="allow")


def test_dates_and_grids_that_differ_are_refused_with_the_difference(tmp_path):
    question, shown, answer = question_of()
    write_cci_gapfilled(answer.isel(time=slice(5, 20)), tmp_path / "late")
    with pytest.raises(
        CubeError, match="lacks 5 values of time, the first 2016-02-20; it has 2016-02-25 to 2016-03-10"
    ):
        score(tmp_path / "late", question, shown, layout="cci_gapfilled")
    write_cci_gapfilled(answer.assign_coords(lat=answer["lat"] + 0.125), tmp_path / "moved")
    with pytest.raises(CubeError, match=r"lacks 3 values of lat, the first 49.5, the nearest 49.625: bring the file"):
        score(tmp_path / "moved", question, shown, layout="cci_gapfilled")


def test_folders_that_cannot_be_read_are_named(tmp_path):
    question, shown, answer = question_of()
    write_cci_gapfilled(answer, tmp_path / "cci")
    (tmp_path / "empty").mkdir()

    def refused(message, folder="cci", **more):
        with pytest.raises((CubeError, ConfigError), match=message):
            score(tmp_path / folder, question, shown, **({"layout": "cci_gapfilled"} | more))

    refused("empty: holds no file ending in .nc or .nc4", "empty")
    refused(r"no variable 'smm' \(did you mean 'sm'\?\)", estimate="smm")
    refused("layout=sgd_sm: expected filled= to be a folder", "absent.nc", layout="sgd_sm")
    one = sorted((tmp_path / "cci").iterdir())[1]
    with xr.open_dataset(one) as day:
        day.load().assign_coords(lon=day["lon"] + 1).to_netcdf(tmp_path / "other.nc")
    kept = one.read_bytes()
    one.write_bytes((tmp_path / "other.nc").read_bytes())
    refused("another grid than")
    one.write_bytes(kept[: len(kept) // 2])
    refused(f"{one.name}: cannot be read")
    one.write_bytes(kept)
    twice = one.with_name(one.name.replace("sgdsm", "again"))
    twice.write_bytes(kept)
    refused("two files are of 2016-02-21: expected one a day")
    twice.rename(one.with_name("undated.nc"))
    one.unlink()
    # the day is told by its time, where the name has none
    assert digits(score(tmp_path / "cci", question, shown, estimate="sm")) == digits(score(answer, question, shown))


def test_files_in_unlike_units_are_refused(tmp_path):
    space = {"lat": [40.0, 39.0], "lon": [5.0, 6.0]}
    for day, value, units in ((1, 0.2, "m3 m-3"), (2, 20.0, "percent")):
        sm = xr.DataArray(np.full((2, 2), value), space, attrs={"units": units}, name="sm")
        sm.to_netcdf(tmp_path / f"sm_2015040{day}.nc")
    with pytest.raises(CubeError, match=r"sm_20150402.nc: 'sm' is in 'percent', in sm_20150401.nc in 'm3 m-3'"):
        open_folder(tmp_path, "sm", None)["sm"].load()
