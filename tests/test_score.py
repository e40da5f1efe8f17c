from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.cube import CubeError
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
    inside = (t >= answer["sm_lower"].values[mask]) & (t <= answer["sm_upper"].values[mask])
    return {
        "n": mask.sum(),
        "rmse": np.sqrt(np.mean((q - t) ** 2)),
        "mae": np.mean(abs(q - t)),
        "bias": np.mean(q - t),
        "r": np.corrcoef(q, t)[0, 1],
        "r_anomaly": np.corrcoef(q - c, t - c)[0, 1],
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
    rows = score(folder / "filled.nc", folder / "hidden.nc", folder / "visible.nc", rows_at_once=3)
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
