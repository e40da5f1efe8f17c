from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.cube import as_cube, open_cube
from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.classical.nearest import FEWEST, local_weights, nearest, seen_days
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.conftest import composed

SILL, RANGE, NUGGET = 0.7, 4.0, 0.2


def covariance(days: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
    return SILL * torch.exp(-days / 5 - distance / RANGE)


def places(rng: np.random.Generator, count: int) -> torch.Tensor:
    """The value itself, then its neighbours."""
    flat = torch.from_numpy(rng.uniform(0, 10, (1, 1 + count, 2)))
    return torch.cat([flat, torch.zeros(1, 1 + count, 1)], -1)


def weigh(days, place, present, ordinary):
    nugget = torch.tensor(NUGGET, dtype=torch.float64)
    return local_weights(covariance, nugget, days, place, present, ordinary)


def test_ordinary_kriging_is_that_of_pykrige():
    ordinary_kriging = pytest.importorskip("pykrige.ok").OrdinaryKriging
    rng = np.random.default_rng(0)
    for count in (FEWEST, 12):
        place, values = places(rng, count), rng.normal(0.3, 1, count)
        weights, variance = weigh(torch.zeros(1, 1 + count).double(), place, torch.ones(1, count, dtype=bool), True)
        x, y = place[0, 1:, 0].numpy(), place[0, 1:, 1].numpy()
        # its range is where 95 % of the sill is reached
        parameters = {"psill": SILL, "range": 3 * RANGE, "nugget": NUGGET}
        theirs = ordinary_kriging(x, y, values, "exponential", parameters)
        mean, spread = theirs.execute("points", place[0, :1, 0].numpy(), place[0, :1, 1].numpy())
        assert weights.sum().item() == pytest.approx(1, abs=1e-9)
        assert (weights[0].numpy() * values).sum() == pytest.approx(mean[0], abs=1e-6)
        assert variance.item() == pytest.approx(spread[0], abs=1e-6)


def test_simple_kriging_is_the_mean_of_a_gaussian_process():
    kernels = pytest.importorskip("sklearn.gaussian_process.kernels")
    process = pytest.importorskip("sklearn.gaussian_process").GaussianProcessRegressor
    rng = np.random.default_rng(1)
    place, values = places(rng, 9), rng.normal(0, 1, 9)
    weights, variance = weigh(torch.zeros(1, 10).double(), place, torch.ones(1, 9, dtype=bool), False)
    kernel = SILL * kernels.Matern(RANGE, nu=0.5) + kernels.WhiteKernel(NUGGET)
    theirs = process(kernel, alpha=0, optimizer=None).fit(place[0, 1:].numpy(), values)
    mean, std = theirs.predict(place[0, :1].numpy(), return_std=True)
    assert (weights[0].numpy() * values).sum() == pytest.approx(mean[0], abs=1e-9)
    assert variance.sqrt().item() == pytest.approx(std[0], abs=1e-9)


def test_a_mean_of_few_neighbours_is_not_taken():
    place, days = places(np.random.default_rng(6), 9), torch.zeros(1, 10).double()
    few = torch.arange(9)[None] < FEWEST - 1
    for got, expected in zip(weigh(days, place, few, True), weigh(days, place, few, False), strict=True):
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("ordinary", [False, True])
def test_absent_neighbours_count_for_nothing(ordinary):
    rng = np.random.default_rng(2)
    place, days = places(rng, 9), torch.from_numpy(rng.integers(0, 9, (1, 10))).double()
    present = torch.arange(9)[None] < 6
    weights, variance = weigh(days, place, present, ordinary)
    fewer, same = weigh(days[:, :7], place[:, :7], present[:, :6], ordinary)
    torch.testing.assert_close(weights[:, :6], fewer)
    torch.testing.assert_close(variance, same)
    assert (weights[:, 6:] == 0).all()
    none, prior = weigh(days, place, torch.zeros_like(present), ordinary)
    assert (none == 0).all()
    assert prior.item() == pytest.approx(SILL + NUGGET)


def test_seen_days_are_those_before_and_after():
    seen = torch.from_numpy(np.random.default_rng(3).random((2, 30, 2, 3)) < 0.3)
    found = seen_days(seen, 2)
    for b, t, y, x in np.ndindex(*seen.shape):
        days = seen[b, :, y, x].nonzero()[:, 0].tolist()
        before, after = [d for d in days if d <= t][::-1], [d for d in days if d > t]
        expected = [*(before + [-1, -1])[:2], *(after + [-1, -1])[:2]]
        assert found[b, t, y, x].tolist() == expected


def test_the_nearest_are_the_most_correlated_within_reach():
    rng = np.random.default_rng(4)
    seen = torch.from_numpy(rng.random((1, 15, 7, 7)) < 0.3)
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing="ij")
    place = torch.stack([rows, columns, 0 * rows], -1)[None]
    wanted = torch.tensor([[0, 7, 3, 3], [0, 0, 0, 6]])
    found = nearest(covariance, seen_days(seen, 15), place, wanted, (4, 2), 10)
    for k, (_, t, y, x) in enumerate(wanted.tolist()):
        near = [
            covariance(torch.tensor(abs(d - t)), torch.tensor(float(np.hypot(i - y, j - x)))).item()
            for _, d, i, j in seen.nonzero().tolist()
            if abs(d - t) <= 4 and np.hypot(i - y, j - x) <= 2
        ]
        here = found.present[k]
        got = covariance((found.day - t).abs()[k], torch.hypot(found.row[k] - y + 0.0, found.column[k] - x + 0.0))
        assert seen[0, found.day[k][here], found.row[k][here], found.column[k][here]].all()
        np.testing.assert_allclose(got[here], sorted(near, reverse=True)[:10], rtol=1e-6)
        assert here.sum() == min(10, len(near))


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    """A Gaussian process, seen in part, on a grid without latitude and longitude: path, truth and noise."""
    rng = np.random.default_rng(5)
    days, side = 150, 8
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    distance = np.hypot(rows.ravel()[:, None] - rows.ravel(), columns.ravel()[:, None] - columns.ravel())
    factor = np.linalg.cholesky(np.exp(-distance / 4) + 1e-9 * np.eye(side**2))
    keep = np.exp(-1 / 8)
    state, states = factor @ rng.normal(size=side**2), []
    for _ in range(days):
        state = keep * state + np.sqrt(1 - keep**2) * factor @ rng.normal(size=side**2)
        states.append(state)
    noise = 0.3
    values = np.reshape(states, (days, side, side)) + noise * rng.normal(size=(days, side, side))
    truth = (0.3 + 0.04 * values).astype("f4")
    gaps = rng.random((days, 1, side)) < 0.5  # a swath of columns
    coords = {
        "time": xr.date_range("2020-01-01", periods=days),
        "y": -9e3 * np.arange(side),
        "x": 9e3 * np.arange(side),
    }
    cube = xr.Dataset({"sm": (("time", "y", "x"), np.where(gaps, np.nan, truth), {"units": "m3 m-3"})}, coords)
    path = tmp_path_factory.mktemp("field") / "field.nc"
    cube.to_netcdf(path)
    return path, truth, 0.04 * noise


def settings_of(*words):
    return composed("train", *[*words, "trainer.progress=false"])


def fitted(path, model, *more):
    task = TrainingTask.from_config(
        settings_of("data=netcdf", f"data.path={path}", "data.target=sm", f"model={model}", *more)
    )
    with TemporaryDirectory() as folder:
        fit(task, Path(folder))
    return task


def filled(cube, filler):
    output = MemoryOutput()
    fill_cube(cube, filler, output, trainer={"enable_progress_bar": False})
    return output.dataset["sm_filled"].values


def test_the_fitted_covariance_fills_as_well_as_the_true_one(field):
    path, truth, _ = field
    task = fitted(path, "gp", "model.epochs=10")
    filler, gap = task.filler, np.isnan(task.cube["sm"].values)

    def rmse(other):
        return np.sqrt(((filled(task.cube, other) - truth)[gap] ** 2).mean())

    found = rmse(filler)
    assert float(filler.cell_size) == 1
    assert found < 0.85 * rmse(fitted(path, "linear_time").filler)
    with torch.no_grad():
        for parameter, true in {"variances": 0.5, "days": 8.0, "cells": 4.0, "nugget": 0.3**2}.items():
            getattr(filler, f"log_{parameter}").fill_(np.log(true))
    assert found < 1.02 * rmse(filler)


@pytest.mark.parametrize("model", ["gp", "kriging"])
def test_the_std_is_that_of_the_errors(field, model):
    path, truth, noise = field
    task = fitted(path, model, "model.epochs=3")
    scene = task.data.scene_of(task.split.scenarios["validation"])
    axes = task.filler.window.tile(scene.seen.shape, False)
    with torch.no_grad():
        batch = scene.batch([tuple(axis.starts()[0] for axis in axes)], axes)
        got = task.filler.fill(batch)
    true = task.filler.in_units(batch.truth, batch)
    scores = ((got.mean - true) / got.std)[batch.wanted]
    assert scores.square().mean().sqrt().item() == pytest.approx(1, abs=0.25)
    assert (got.std[batch.wanted] > 0.9 * noise).all(), "the noise of the satellite is part of it"


def test_nothing_seen_in_reach_is_the_climatology(field):
    path, _, _ = field
    task = fitted(path, "gp", "model.epochs=1")
    cube = task.cube.copy(deep=True)
    cube["sm"].values[50:110] = np.nan
    gp, climatology = (filled(cube, made.filler) for made in (task, fitted(path, "climatology")))
    np.testing.assert_allclose(gp[71:89], climatology[71:89], atol=1e-6)
    assert (gp[69] != climatology[69]).mean() > 0.9


@pytest.mark.parametrize("model", ["gp", "kriging"])
def test_tiles_do_not_show(field, model):
    path, _, _ = field
    task = fitted(path, model, "model.epochs=1", "model.halo_cells=2")
    whole, reach = filled(task.cube, task.filler), task.filler.window
    days, cells = reach.halo_days, reach.halo_cells
    task.filler.window = type(reach)(2 * days + 30, 2 * cells + 3, days, cells)
    np.testing.assert_allclose(filled(task.cube, task.filler), whole, atol=1e-6)


def test_values_without_noise_can_be_solved(field):
    path, truth, _ = field
    filler = fitted(path, "gp", "model.epochs=1").filler
    with torch.no_grad():
        filler.log_nugget.fill_(-50.0)
        filler.log_days.fill_(12.0)
        filler.log_cells.fill_(12.0)
    assert np.isfinite(filled(open_cube(str(path), "sm"), filler)).all()


def test_a_grid_of_another_kind_is_refused(field, plain):
    path, _, _ = field
    task = fitted(path, "gp", "model.epochs=1")
    with pytest.raises(ConfigError, match="fitted on a grid of no latitude and longitude, and this has latitude"):
        filled(as_cube(plain(days=60, rows=6, columns=6), "sm"), task.filler)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.halo_days=0", "model.halo_cells=0"], "expected a reach in days or in cells"),
        (["model.neighbours=0"], "neighbours=0: expected at least 1"),
        (["model.halo_days=-1"], "halo_days=-1: expected at least 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        build(settings_of("model=gp", *words)["model"], GapFiller)
