from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.evaluation.compare import Entry, comparison, format_comparison
from sgdsm.evaluation.distances import NearestVisible
from sgdsm.evaluation.score import (
    CELL_VALUES,
    DISTANCES,
    GAP_AGES,
    MONTHS,
    Scores,
    format_change,
    format_details,
    format_efficiency,
    format_table,
    score,
    write_maps,
)
from sgdsm.evaluation.strata import cell_areas

DIMS = ("time", "lat", "lon")
DAYS = 80


@pytest.fixture(scope="module")
def files():
    """A globe of 10-degree cells, 80 days from the end of January."""
    rng = np.random.default_rng(0)
    lat, lon = np.arange(75.0, -80, -30), np.arange(-175.0, 180, 10)
    coords = {"time": xr.date_range("2015-01-25", periods=DAYS), "lat": lat, "lon": lon}
    shape = (DAYS, len(lat), len(lon))
    truth = (0.2 + 0.05 * rng.standard_normal(shape)).astype(np.float32)
    seen = rng.random(shape) < 0.2
    seen[:, :, 5:20] &= rng.random((DAYS, 1, 1)) < 0.3
    seen[30] = False
    hidden = ~seen & (rng.random(shape) < 0.25)
    filled = np.where(seen, truth, truth + 0.02 * rng.standard_normal(shape)).astype(np.float32)
    units = {"units": "m3 m-3"}
    question = xr.Dataset({"gap": (DIMS, hidden), "truth": (DIMS, truth, units)}, coords, {"target": "sm"})
    shown = xr.Dataset({"sm": (DIMS, np.where(seen, truth, np.nan), units)}, coords)
    return question, shown, xr.Dataset({"sm_filled": (DIMS, filled, units)}, coords)


def rmse(question, answer, mask) -> float:
    return float(np.sqrt(np.mean((answer["sm_filled"].values - question["truth"].values)[mask].astype(float) ** 2)))


def test_months_ages_and_distances_by_search(files):
    question, shown, answer = files
    table = score(answer, question, shown).table()
    hidden, seen = question["gap"].values, np.isfinite(shown["sm"].values)
    month = question["time"].dt.month.values[:, None, None] + np.zeros(hidden.shape)
    age, km = np.full(hidden.shape, np.inf), np.full(hidden.shape, np.inf)
    lat, lon = np.meshgrid(np.deg2rad(question["lat"]), np.deg2rad(question["lon"]), indexing="ij")
    for day, row, column in np.argwhere(hidden):
        there = np.flatnonzero(seen[:, row, column])
        age[day, row, column] = abs(there - day).min() if there.size else np.inf
        a, b = lat[row, column], lat[seen[day]]
        angle = np.sin((b - a) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin((lon[seen[day]] - lon[row, column]) / 2) ** 2
        distance = 2 * 6371 * np.arcsin(np.sqrt(angle))
        km[day, row, column] = distance.min() if distance.size else np.inf
    masks = {name: hidden & (month == number) for name, number in MONTHS.items()}
    masks |= {name: hidden & (age >= low) & (age <= high) for name, (low, high) in GAP_AGES.items()}
    for name, (low, high) in DISTANCES.items():
        masks[name] = hidden & (km >= low) & ((km < high) | (high == np.inf))
    for name, mask in masks.items():
        assert table[name]["n"] == mask.sum(), name
        if mask.any():
            assert table[name]["rmse"] == pytest.approx(rmse(question, answer, mask), rel=1e-6), name
    for group in (MONTHS, GAP_AGES, DISTANCES):
        assert sum(table[name]["n"] for name in group) == table["all"]["n"]
    assert sum(table[name]["n"] > 0 for name in DISTANCES) == 2


def test_distances_on_a_projected_grid():
    rng = np.random.default_rng(1)
    y, x = np.arange(9.0)[::-1] * 25e3, np.arange(12.0) * 40e3
    seen = rng.random((9, 12)) < 0.1
    cells = np.flatnonzero(~seen)
    place = xr.DataArray(np.zeros((9, 12)), {"y": y, "x": x}, ("y", "x"))
    rows, columns = np.nonzero(seen)
    expected = [np.hypot(y[rows] - y[c // 12], x[columns] - x[c % 12]).min() / 1000 for c in cells]
    np.testing.assert_allclose(NearestVisible(place).km(seen, cells), expected)
    assert np.isinf(NearestVisible(place).km(np.zeros((9, 12), bool), cells)).all()


def test_scores_do_not_depend_on_blocks_of_days(files):
    question, shown, answer = files
    whole = score(answer, question, shown)
    parts = score(answer, question, shown, days_at_once=7)
    np.testing.assert_allclose(parts.state.sum, whole.state.sum, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(parts.state.weight, whole.state.weight)
    np.testing.assert_allclose(parts.cell_r2, whole.cell_r2, rtol=1e-9)
    assert parts.change == pytest.approx(whole.change)


def test_efficiency_of_all_and_of_cells_by_hand(files, tmp_path):
    question, shown, answer = files
    scores = score(answer, question, shown)
    hidden = question["gap"].values
    t, q = (d.values.astype(float) for d in (question["truth"], answer["sm_filled"]))
    expected = 1 - np.mean((q - t)[hidden] ** 2) / np.var(t[hidden])
    assert scores.table()["all"]["nse"] == pytest.approx(expected)
    cells, maps = [], scores.maps
    for row, column in np.ndindex(hidden.shape[1:]):
        m = hidden[:, row, column]
        a, b = t[m, row, column], q[m, row, column]
        assert maps["n"].values[row, column] == m.sum()
        if m.sum() > 1:
            assert maps["rmse"].values[row, column] == pytest.approx(np.sqrt(np.mean((b - a) ** 2)), rel=1e-5)
            assert maps["bias"].values[row, column] == pytest.approx(np.mean(b - a), rel=1e-4, abs=1e-7)
            assert maps["ubrmse"].values[row, column] == pytest.approx(np.std(b - a), rel=1e-4)
            assert maps["r"].values[row, column] == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-4)
        if m.sum() >= CELL_VALUES:
            cells.append(1 - np.mean((b - a) ** 2) / np.var(a))
            assert maps["nse"].values[row, column] == pytest.approx(cells[-1], rel=1e-4)
    assert scores.table()["all"]["r2_cell_median"] == pytest.approx(np.median(cells))
    assert f"{np.median(cells):+.6f}" in format_efficiency(scores)
    scores.save(tmp_path / "scores.nc")
    assert Scores.load(tmp_path / "scores.nc").table()["all"] == pytest.approx(scores.table()["all"], nan_ok=True)
    write_maps(maps, tmp_path / "maps.nc", {"filled": "x.nc"})
    with xr.open_dataset(tmp_path / "maps.nc") as again:
        np.testing.assert_array_equal(again["rmse"], maps["rmse"])
        assert again["rmse"].attrs["units"] == "m3 m-3"
        assert again.attrs["filled"] == "x.nc"
    assert [path.name for path in tmp_path.glob("maps*")] == ["maps.nc"]


def test_truth_without_spread_has_no_efficiency(files):
    question, shown, answer = files
    flat = question.assign(truth=question["truth"] * 0 + np.float32(0.2))
    shown = shown.assign(sm=shown["sm"] * 0 + np.float32(0.2))
    answer = answer.assign(sm_filled=shown["sm"].fillna(0.21))
    row = score(answer, flat, shown).table()["all"]
    assert np.isnan(row["nse"])
    assert np.isnan(row["r2_cell_median"])


def test_weights_are_areas_of_cells(files):
    question, shown, answer = files
    scores = score(answer, question, shown, weights="area")
    plain = score(answer, question, shown)
    mask = question["gap"].values
    weight = np.cos(np.deg2rad(question["lat"].values))[None, :, None] + np.zeros(mask.shape)
    error = (answer["sm_filled"] - question["truth"]).values[mask].astype(float)
    expected = np.sqrt(np.average(error**2, weights=weight[mask]))
    assert scores.table()["all"]["rmse"] == pytest.approx(expected, rel=1e-6)
    assert scores.table()["all"]["rmse"] != pytest.approx(plain.table()["all"]["rmse"], rel=1e-4)
    assert {k: v["n"] for k, v in scores.table().items()} == {k: v["n"] for k, v in plain.table().items()}
    np.testing.assert_array_equal(scores.cell_r2, plain.cell_r2)


def test_areas_of_irregular_cells_add_up_to_the_sphere():
    lat, lon = np.array([80.0, 50, 10, -30, -85]), np.array([350.0, 358, 8, 30])
    area = cell_areas(xr.DataArray(np.zeros((5, 4)), {"lat": lat, "lon": lon}, ("lat", "lon")))
    edges = np.sin(np.deg2rad([90.0, 65, 30, -10, -57.5, -90]))  # ends are as far out as the next edge is in
    np.testing.assert_allclose(area[:, 0] / area[:, 0].sum(), -np.diff(edges) / 2, atol=1e-12)
    np.testing.assert_allclose(area[0] / area[0, 0], np.array([8, 9, 16, 22]) / 8)


def land_cover(**attrs) -> xr.Dataset:
    lat, lon = np.arange(88.0, -90, -4), np.arange(2.0, 360, 4)
    codes = np.where(lat[:, None] > 20, 1, np.where(lon[None] < 180, 2, 7)).astype(np.int8)
    return xr.Dataset({"cover": (("lat", "lon"), codes, attrs)}, {"lat": lat, "lon": lon})


def test_classes_of_a_map_of_another_grid(files, tmp_path):
    question, shown, answer = files
    named = land_cover(flag_values=np.array([1, 2], np.int8), flag_meanings="forest cropland")
    named.to_netcdf(tmp_path / "cover.nc")
    table = score(answer, question, shown, classes=f"{tmp_path / 'cover.nc'}:cover").table()
    lat, lon = question["lat"].values[:, None], question["lon"].values[None] % 360
    masks = {"cover=forest": (lat > 20) & (lon < 400), "cover=cropland": (lat < 20) & (lon < 180)}
    masks["cover=7"] = (lat < 20) & (lon > 180)
    for name, cells in masks.items():
        mask = question["gap"].values & cells
        assert table[name]["n"] == mask.sum() > 0, name
        assert table[name]["rmse"] == pytest.approx(rmse(question, answer, mask), rel=1e-6)
    # a map in the visible file that names its classes is taken by itself
    beside = named["cover"].sel(lat=shown["lat"], lon=shown["lon"] % 360, method="nearest")
    beside = beside.assign_coords(lat=shown["lat"], lon=shown["lon"])
    found = score(answer, question, shown.assign(cover=beside)).table()
    assert {k: v for k, v in found.items() if "=" in k}.keys() == {k for k in table if "=" in k}


def test_maps_that_are_no_classes_are_refused(files, tmp_path):
    question, shown, answer = files
    cover = land_cover()
    cover["height"] = cover["cover"] * 1.5 + np.arange(90)
    cover["daily"] = cover["cover"].expand_dims(time=shown["time"][:3])
    cover.to_netcdf(tmp_path / "cover.nc")
    cases = [
        ("height", CubeError, "cover.nc: 'height' has .* different values"),
        ("daily", CubeError, "cover.nc: 'daily' has dims"),
        ("covr", CubeError, "no variable 'covr' .did you mean 'cover'"),
    ]
    for name, error, message in cases:
        with pytest.raises(error, match=message):
            score(answer, question, shown, classes=f"{tmp_path / 'cover.nc'}:{name}")
    with pytest.raises(ConfigError, match=r"classes=cover.nc: expected FILE:variable"):
        score(answer, question, shown, classes="cover.nc")


def test_the_tables_stay_narrow(files):
    question, shown, answer = files
    scores = score(answer, question, shown)
    details, first = format_details(scores.table()), format_table(scores.table())
    assert max(map(len, details.splitlines())) <= 100
    assert {"month_02", "age_1_day"} <= {line.split()[0] for line in details.splitlines()}
    assert "month_02" not in first
    assert "NSE" not in first
    assert len(format_efficiency(scores)) <= 100
    assert len(format_change(scores.change)) <= 120
    line = next(line for line in details.splitlines() if line.startswith("all"))
    assert re.search(rf"^all +{scores.table()['all']['n']:.0f} +{scores.table()['all']['rmse']:.4f} ", line)


def test_a_comparison_has_further_tables(files):
    question, shown, answer = files
    scores = [score(answer, question, shown), score(answer, question, shown.assign(sm=shown["sm"]), weights="area")]
    entries = [Entry(name, Path(), {"fit_seconds": 1.0}, s) for name, s in zip(("one", "two"), scores, strict=True)]
    rows = comparison(entries, "one")
    text = format_comparison(rows, "one", "m3 m-3", {"scored_split": "test", "hidden": {}})
    first, others, further = text.split("\n\n")
    assert first.split()[:8] == ["model", "RMSE", "[95", "%]", "m3", "m-3", "share", "of"]
    assert others.split()[-1] == "1"  # seconds of the fit
    second = further.splitlines()
    assert second[0].split() == ["model", "MAE", "ubRMSE", "NSE", "R2-cell-median"]
    assert max(map(len, second)) <= 100
    line = next(line for line in second if line.startswith("one"))
    assert line.split()[3] == f"{scores[0].table()['all']['nse']:+.3f}"
