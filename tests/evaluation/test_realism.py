from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.evaluation.realism import LAGS, OFFSETS, PERIODS, format_realism, realism
from sgdsm.report.realism import realism_figure

DIMS = ("time", "lat", "lon")
UNITS = {"units": "m3 m-3"}
TAU, MEMORY = 8.0, 0.8


@pytest.fixture(scope="module")
def files():
    """Rain, drydowns and noise of a known memory, on 600 days of 4 x 6 cells."""
    rng = np.random.default_rng(0)
    shape, coords = (600, 4, 6), {"time": xr.date_range("2015-01-01", periods=600)}
    coords |= {"lat": 47.5 - np.arange(4.0), "lon": 5.5 + np.arange(6.0)}
    noise = rng.standard_normal(shape)
    for day in range(1, shape[0]):
        noise[day] = MEMORY * noise[day - 1] + np.sqrt(1 - MEMORY**2) * noise[day]
    rain = np.where(rng.random(shape) < 0.06, 20.0, 0.0)
    water = np.zeros(shape)
    for day in range(1, shape[0]):
        water[day] = np.where(rain[day] > 0, 0.3, water[day - 1] * np.exp(-1 / TAU))
    seen = rng.random(shape) < 0.6
    # a week in three is hidden: gaps have an inside
    hidden = (np.arange(600) // 7 % 3 == 0)[:, None, None] & (rng.random((600, 1, 1)) < 2)
    hidden = np.broadcast_to(hidden, shape) & (rng.random(shape) < 0.9)
    return coords, {"noise": 0.2 + 0.03 * noise, "water": 0.05 + water}, rain, hidden, seen & ~hidden


def statistics(files, which, change=lambda filled, hidden: filled):
    coords, truths, rain, hidden, seen = files
    truth = truths[which]
    filled = np.where(hidden, change(truth.copy(), hidden), truth)
    question = xr.Dataset({"gap": (DIMS, hidden), "truth": (DIMS, truth, UNITS)}, coords, {"target": "sm"})
    shown = xr.Dataset({"sm": (DIMS, np.where(seen, truth, np.nan), UNITS)}, coords)
    shown["rain"] = (DIMS, rain, {"units": "mm d-1", "standard_name": "precipitation_flux"})
    return realism(xr.Dataset({"sm_filled": (DIMS, filled, UNITS)}, coords), question, shown)


def test_a_perfect_filler_is_as_real_as_the_truth(files):
    found = statistics(files, "noise")
    for values in (*found[:3], found.variogram, *found[6:]):
        np.testing.assert_allclose(values[0], values[1])
    np.testing.assert_allclose(found.autocorrelation[0, :8], MEMORY ** LAGS[:8], atol=0.08)
    np.testing.assert_allclose(found.std[0], 0.03, rtol=0.05)
    # edges of gaps are places like any others
    np.testing.assert_allclose([found.seam_time[0], found.seam_space[0]], 1, atol=0.06)
    # first-order memory: power falls towards short periods
    expected = 0.03**2 * (1 - MEMORY**2) / (1 + MEMORY**2 - 2 * MEMORY * np.cos(2 * np.pi / PERIODS))
    np.testing.assert_allclose(found.power[0], expected, rtol=0.35)


def test_smooth_and_displaced_values_show(files):
    middle = statistics(files, "noise", lambda filled, _: 0.2 + 0.5 * (filled - 0.2))
    np.testing.assert_allclose(middle.std[1] / middle.std[0], 0.5, rtol=0.03)
    np.testing.assert_allclose(middle.seam_time[0], statistics(files, "noise").seam_time[0])
    offset = statistics(files, "noise", lambda filled, _: filled + 0.1)
    assert offset.seam_time[1] > 1.5 * offset.seam_time[0]
    assert offset.seam_space[1] > 1.5 * offset.seam_space[0]
    np.testing.assert_allclose(offset.std[1], offset.std[0])


def test_the_drydown_time_scale_is_recovered(files):
    found = statistics(files, "water")
    np.testing.assert_allclose(found.drydown_days[0], TAU, rtol=0.1)
    slow = statistics(files, "water", lambda filled, _: np.full_like(filled, 0.15))
    assert not 0.5 * TAU < slow.drydown_days[1] < 1.2 * TAU


def test_the_variogram_by_hand(files):
    coords, truths, _, hidden, seen = files
    found = statistics(files, "noise")
    mean = np.where(seen, truths["noise"], 0).sum(0) / seen.sum(0)
    values = np.where(seen | hidden, truths["noise"] - mean, np.nan)
    squares = []
    for a, b, h, g in (
        (values[:, 1:], values[:, :-1], hidden[:, 1:], hidden[:, :-1]),
        (values[:, :, 1:], values[:, :, :-1], hidden[:, :, 1:], hidden[:, :, :-1]),
    ):
        pairs = np.isfinite(a) & np.isfinite(b) & (h | g)
        squares.append((a - b)[pairs] ** 2)
    assert found.variogram[0, 0] == pytest.approx(np.concatenate(squares).mean() / 2)
    across = 111.195 * np.cos(np.deg2rad(np.mean(coords["lat"])))
    counts = [len(s) for s in squares]
    assert found.distance_km[0] == pytest.approx((counts[0] * 111.195 + counts[1] * across) / sum(counts))
    # no pair of cells is so far apart
    assert np.isnan(found.variogram[:, OFFSETS >= 6]).all()


def test_the_table_and_the_figure(files, tmp_path):
    one, two = statistics(files, "water"), statistics(files, "water", lambda filled, _: 0.9 * filled)
    text = format_realism(two, "m3 m-3")
    assert max(map(len, text.splitlines())) <= 100
    row = next(line for line in text.splitlines() if line.startswith("standard deviation"))
    assert f"{two.std[1] / two.std[0]:.3f}" in row
    path = realism_figure({"one": one, "two": two}, tmp_path / "new" / "realism.png", "title", "m3 m-3")
    assert path.read_bytes()[:4] == b"\x89PNG"
