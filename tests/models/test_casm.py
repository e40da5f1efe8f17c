from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.cli.commands import load
from sgdsm.core.cube import as_cube
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.settings import made
from sgdsm.core.specification import build
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs, Scaler, season_basis
from sgdsm.data.record import Names, read_record
from sgdsm.data.splits import Blocks, Random
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.networks.base import Network
from sgdsm.models.networks.casm import GROWTH, LEAST_RAIN, MEMORIES, Casm
from sgdsm.models.networks.seasonal import seasonal_cycle
from sgdsm.sources.pseudo_labels import pseudo_labelled
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.conftest import composed

DAYS = np.arange(16436, 16436 + 730)
SEASON = torch.from_numpy(season_basis(DAYS)[:, 1:].T)[None]
CASM = {"_target_": "sgdsm.models.Casm", "layers": 2, "width": 16, "epochs": 2, "samples": 4, "dropout": 0.1}
PAPER = {**CASM, "published": True, "harmonics": 1, "weight_decay": 0.0}
QUIET = {"_target_": "sgdsm.training.TrainerOptions", "progress": False}


def wave(amplitude: float, phase: float, offset: float, harmonic: int = 1) -> torch.Tensor:
    angle = 2 * np.pi * DAYS / 365.2425
    return torch.from_numpy(amplitude * np.sin(harmonic * angle + phase) + offset).float()


def fitted(series: torch.Tensor, present: torch.Tensor | None = None, harmonics: int = 1) -> torch.Tensor:
    values = series.reshape(1, 1, -1, 1, 1)
    mask = torch.ones_like(values, dtype=torch.bool) if present is None else present.reshape(values.shape)
    return seasonal_cycle(torch.where(mask, values, 0), mask, SEASON, harmonics).flatten()


def test_a_sine_is_found_again_and_goes_on_where_nothing_is_present():
    series = wave(0.1, 0.7, 0.25)
    present = torch.rand(len(DAYS), generator=torch.Generator().manual_seed(0)) < 0.3
    present[500:] = False
    torch.testing.assert_close(fitted(series, present), series, atol=1e-5, rtol=0)


@pytest.mark.parametrize("harmonics", [1, 2, 3])
def test_more_harmonics(harmonics):
    series = wave(0.1, 0.7, 0.25) + wave(0.05, 2.0, 0, harmonics)
    torch.testing.assert_close(fitted(series, None, harmonics), series, atol=1e-5, rtol=0)


def test_all_cells_are_solved_as_each_alone():
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(1, 2, len(DAYS), 3, 2, generator=generator)
    present = torch.rand(values.shape, generator=generator) < 0.4
    together = seasonal_cycle(torch.where(present, values, 0), present, SEASON)
    for c, y, x in np.ndindex(2, 3, 2):
        alone = fitted(values[0, c, :, y, x], present[0, c, :, y, x])
        torch.testing.assert_close(together[0, c, :, y, x], alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["casm", "paper", "ensemble"])
def test_wide_windows_fill_the_same(world, kind):
    spec = {**(PAPER if kind == "paper" else CASM), "samples": 2}
    if kind == "ensemble":
        spec = {"_target_": "sgdsm.models.Ensemble", "filler": spec, "members": 2}
    net = build(spec, GapFiller)
    record = read_record(world)
    net.configure(Inputs.fit(record, Names.of(world), record.observed, "m3 m-3", 1, "train"))
    generator = torch.Generator().manual_seed(0)
    for name, parameter in net.named_parameters():
        if name.endswith("output.weight"):
            parameter.data.normal_(0, 0.3, generator=generator)
    net.eval()
    found = []
    for cells in (None, 1):
        output, sizes = MemoryOutput(), []
        fill, net.fill = net.fill, lambda batch, fill=net.fill, sizes=sizes: sizes.append(batch.sm.shape) or fill(batch)
        fill_cube(world, net, output, window_cells=cells, trainer={"enable_progress_bar": False})
        net.fill = fill
        found.append((output.arrays["sm_filled"], sizes))
    (wide, windows), (single, cells) = found
    assert len(windows) * 5 < len(cells)
    assert max(np.prod(size) for size in windows) <= 2**17
    np.testing.assert_allclose(wide, single, rtol=0, atol=1e-6)


def test_the_median_stands_in():
    series = wave(0.1, 0.7, 0.25)
    few = torch.zeros(len(DAYS), dtype=torch.bool)
    few[::20] = True
    assert few.sum() < 40
    torch.testing.assert_close(fitted(series, few), series[few].median().expand(len(DAYS)))
    season = torch.zeros(len(DAYS), dtype=torch.bool)
    season[60:120] = True
    got = fitted(series, season)
    assert (got == got[0]).all(), "two months do not tell a year"
    assert (fitted(series, torch.zeros_like(few)) == 0).all()


def test_the_median_stands_in_where_the_fit_leaves_what_was_seen():
    """Five months in a year tell the terms apart, but not what the others are like."""
    season = torch.zeros(len(DAYS), dtype=torch.bool)
    season[30:180] = True
    line, bowl = torch.zeros(2, len(DAYS))
    line[season] = torch.linspace(-1, 1, 150)
    bowl[season] = torch.linspace(-1, 1, 150) ** 2
    assert (fitted(line, season).diff() != 0).any(), "these days are enough for a cycle"
    basis = season_basis(DAYS)[:, :3].astype(np.float64)
    free = np.linalg.lstsq(basis[season], bowl[season].double().numpy(), rcond=None)[0]
    assert np.ptp(basis @ free) > 2, "the free fit spans more than twice what was seen"
    torch.testing.assert_close(fitted(bowl, season), bowl[season].median().expand(len(DAYS)))


def world(days: int = 200, projected: bool = False, dynamic: tuple[str, ...] = ("tb_a", "rain")) -> xr.Dataset:
    """Soil moisture that one covariate tells, and another that has nothing to say."""
    rng = np.random.default_rng(0)
    shape = (days, 4, 5)
    names = ("y", "x") if projected else ("lat", "lon")
    dims = ("time", *names)
    signal = rng.standard_normal(shape)
    sm = 0.25 + 0.05 * signal + 0.005 * rng.standard_normal(shape)
    sm[rng.random(shape) < 0.3] = np.nan
    tb = 250 - 10 * signal
    tb[rng.random(shape) < 0.2] = np.nan
    dataset = xr.Dataset(
        {
            "sm": (dims, sm.astype("f4"), {"units": "m3 m-3"}),
            "tb_a": (dims, tb.astype("f4"), {"units": "K"}),
            "rain": (dims, rng.random(shape).astype("f4"), {"units": "mm d-1"}),
        },
        {
            "time": xr.date_range("2015-01-01", periods=days),
            names[0]: 50.0 - np.arange(4),
            names[1]: 5.0 + np.arange(5),
        },
    )
    return as_cube(dataset, "sm", dynamic)


def settings(path, model: dict, **data) -> dict:
    return {
        "data": {"_target_": "sgdsm.open_cube", "path": str(path), "target": "sm", "dynamic": ["tb_a"], **data},
        "model": model,
        "gaps": {"_target_": "sgdsm.data.Gaps"},
        "splits": {"_target_": "sgdsm.data.All"},
        "trainer": QUIET,
        "seed": 0,
    }


def filled(cube: xr.Dataset, filler: GapFiller) -> xr.Dataset:
    output = MemoryOutput()
    fill_cube(cube, filler, output, trainer={"enable_progress_bar": False})
    return output.dataset


def small(task) -> dict:
    """The settings of an untrained network like that of a task."""
    return PAPER if task.filler.published else CASM


@pytest.fixture(scope="module", params=["published", "weather"])
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("casm")
    world().to_netcdf(folder / "world.nc")
    published = request.param == "published"
    model = {**(PAPER if published else CASM), "epochs": 30, "learning_rate": 1e-2, "window_cells": 2, "batch_size": 1}
    task = TrainingTask.from_config(settings(folder / "world.nc", model))
    fit(task, folder)
    save_filler(task.filler, folder / "model.ckpt")
    return task, folder


def test_it_learns_and_its_std_holds_the_noise(trained):
    task, _ = trained
    scenario = task.split.scenarios["validation"]
    values = task.cube["sm"].values
    hidden = scenario.all_hidden
    shown = task.cube.assign(sm=task.cube["sm"].where(xr.DataArray(scenario.seen, dims=task.cube["sm"].dims)))
    got = filled(shown, task.filler)
    present = np.isfinite(task.cube["tb_a"].values)
    errors = (got["sm_filled"].values - values)[hidden & present]
    assert np.sqrt(np.mean(errors**2)) < 0.02, "half of the spread and less"
    scene = task.data.scene_of(scenario)
    axes = task.filler.window.tile(hidden.shape, False)
    batch = scene.batch([tuple(axis.starts()[0] for axis in axes)], axes)
    with torch.no_grad():
        found = task.filler.fill(batch)
    std, epistemic = found.std[batch.wanted], found.epistemic[batch.wanted]
    assert std.std() > 0, "the spread is not the same everywhere"
    assert (std > epistemic).all()
    rmse = np.sqrt(np.mean((got["sm_filled"].values - values)[hidden] ** 2))
    if task.filler.published:
        noise = float(task.filler.noise)
        assert noise == pytest.approx(rmse, rel=0.1)
        assert (std >= noise).all()
    else:
        assert float(std.square().mean().sqrt()) == pytest.approx(rmse, rel=0.5)


def test_only_brightness_temperatures_are_used_where_there_are_any():
    assert _used(["rain", "tb_a"]) == [1]
    assert _used(["rain", "toa_brightness_temperature_v"]) == [1]
    assert _used(["rain", "wind"]) == [0, 1]


def _used(dynamic: list[str]) -> list[int]:
    from sgdsm.models.networks.casm import _brightness

    return _brightness(tuple(dynamic))


def test_batches_and_tiles_do_not_show(trained):
    task, _ = trained
    a = filled(task.cube, task.filler)
    window, size = task.filler.window, task.filler.batch_size
    try:
        task.filler.window, task.filler.batch_size = type(window)(None, 3, None, 0), 5
        b = filled(task.cube, task.filler)
    finally:
        task.filler.window, task.filler.batch_size = window, size
    np.testing.assert_allclose(a["sm_filled"].values, b["sm_filled"].values, atol=1e-6)


def test_the_weights_of_another_run_mean_the_same_under_other_scalers(trained):
    task, folder = trained
    inputs = task.filler.inputs
    wider = replace(inputs.scalers["tb_a"], scale=2 * inputs.scalers["tb_a"].scale)
    pupil = build({**small(task), "start_from": str(folder)}, Casm)
    # another unit, mean and spread: the same values get other scaled ones
    pupil.configure(
        replace(inputs, scalers={"tb_a": replace(wider, offset=wider.offset - 3 * wider.scale)}, mean=inputs.mean + 0.1)
        if not task.filler.published
        else replace(inputs, scalers={"tb_a": wider})
    )
    pupil.inputs = replace(pupil.inputs, anomaly_scale=1.5 * inputs.anomaly_scale)
    pupil.setup("fit")
    batch = task.data.training_batches(0)[0]
    changed = batch._replace(dynamic=batch.dynamic / 2)
    if not task.filler.published:
        static = batch.static.clone()
        static[:, -2] -= 0.1 / inputs.mean_spread
        static[:, -1] -= np.log(1.5)
        changed = batch._replace(dynamic=batch.dynamic / 2 + 3, static=static)
    with torch.no_grad():
        taken, expected = (f.eval().fill(b) for f, b in ((pupil, changed), (task.filler, batch)))
    for name in ("mean", "epistemic", *([] if task.filler.published else ["std"])):
        a, b = (getattr(f, name)[batch.wanted] for f in (taken, expected))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_training_starts_from_another_run_and_keeps_its_first_layers(trained, tmp_path):
    task, folder = trained
    model = {**small(task), "start_from": str(folder), "frozen": 1, "epochs": 1}
    pupil = TrainingTask.from_config(settings(folder / "world.nc", model))
    fit(pupil, tmp_path)
    for name, learned in pupil.filler.named_parameters():
        kept = torch.equal(learned, task.filler.get_parameter(name))
        assert kept == name.startswith("hidden.0."), name
    # in filling, the run that it started from is not needed
    pupil.filler.spec = {**pupil.filler.spec, "start_from": str(tmp_path / "gone")}
    save_filler(pupil.filler, tmp_path / "model.ckpt")
    got, again = (filled(pupil.cube, f)["sm_filled"] for f in (pupil.filler, load_filler(tmp_path / "model.ckpt")))
    np.testing.assert_array_equal(got.values, again.values)


def test_a_start_that_does_not_fit_is_refused(trained, tmp_path):
    own, folder = trained
    world().to_netcdf(tmp_path / "world.nc")
    for model, data, message in (
        ({"published": not own.filler.published}, {}, "published: found|harmonics: found"),
        ({"width": 8}, {}, "expected a run of model=casm of 2 layers of 8"),
        ({}, {"dynamic": ["rain"]}, r"it learned from \['tb_a'\]"),
        ({"start_from": str(tmp_path)}, {}, "no such checkpoint"),
    ):
        task = TrainingTask.from_config(
            settings(tmp_path / "world.nc", {**small(own), "start_from": str(folder), **model}, **data)
        )
        with pytest.raises(ConfigError, match=message):
            fit(task, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: (i, {"harmonics": 3}), "harmonics: found [12], expected 3"),
        (lambda i: (replace(i, units="%"), {}), "units: found m3 m-3, expected %"),
        (lambda i: (replace(i, variable_units={"tb_a": "degC"}), {}), "units of tb_a: found K, expected degC"),
        (
            lambda i: (replace(i, scalers={"tb_a": replace(i.scalers["tb_a"], unit=2.0)}), {}),
            "the unit of the logarithm of tb_a: found 0.0, expected 2.0",
        ),
    ],
)
def test_weights_that_would_mean_something_else_are_refused(trained, change, message):
    task, folder = trained
    inputs, words = change(task.filler.inputs)
    pupil = build({**small(task), "start_from": str(folder), **words}, Casm)
    pupil.configure(inputs)
    with pytest.raises(ConfigError, match=message):
        pupil.setup("fit")


def test_a_model_with_places_fills_and_teaches_no_cube_without(trained, tmp_path):
    task, folder = trained
    projected = world(projected=True)
    with pytest.raises(ConfigError, match="learned on a grid of latitude and longitude, and this cube has no"):
        filled(projected, load_filler(folder / "model.ckpt"))
    projected.to_netcdf(tmp_path / "world.nc")
    pupil = TrainingTask.from_config(settings(tmp_path / "world.nc", {**small(task), "start_from": str(folder)}))
    with pytest.raises(ConfigError, match="learned on a grid of latitude"):
        fit(pupil, tmp_path)
    without = TrainingTask.from_config(settings(tmp_path / "world.nc", small(task)))
    fit(without, tmp_path)
    with pytest.raises(ConfigError, match="learned on a grid of no latitude and longitude"):
        filled(task.cube, without.filler)


def test_the_loss_in_the_step_of_all_networks(trained):
    task, _ = trained
    assert Casm.training_step is Network.training_step
    batch = task.data.training_batches(0)[0]
    anomaly, log_variance = torch.randn(2, *batch.truth.shape, generator=torch.Generator().manual_seed(0))
    expected = (anomaly - batch.truth)[batch.wanted].square()
    if not task.filler.published:
        spread = torch.exp(0.5 * log_variance[batch.wanted])
        expected = 0.5 * (expected / spread**2 + 2 * spread.log()) * spread
    torch.testing.assert_close(task.filler.loss((anomaly, log_variance), batch), expected.mean())


def test_soil_moisture_of_the_window_is_not_looked_at(trained):
    task, _ = trained
    batch = task.data.validation_batches()[0]
    other = batch._replace(
        sm=torch.randn_like(batch.sm), seen=~batch.seen, gap_age=batch.gap_age + 5, truth=torch.randn_like(batch.truth)
    )
    with torch.no_grad():
        a, b = (task.filler.fill(x) for x in (batch, other))
    for name in ("mean", "std", "epistemic"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def weather(step_days: int = 1) -> tuple[Casm, torch.Tensor, torch.Tensor]:
    """A network for two covariates, the second of them rain; departures with gaps, and where they are present."""
    covariates = (("tb_a", Scaler(250.0, 10.0)), ("rain", Scaler(0.4, 0.5, unit=6.0)))
    inputs = Inputs(
        target="sm", units="1", dynamic=("tb_a", "rain"), static=(), precipitation="rain", gappy=("tb_a",),
        scalers=dict(covariates), anomaly_scale=0.05, mean=0.2, mean_spread=0.1, lowest=0.0, highest=1.0,
        step_days=step_days, fitted_on="train",
    )  # fmt: skip
    network = build(CASM, Casm)
    network.configure(inputs)
    generator = torch.Generator().manual_seed(0)
    present = torch.rand(1, 2, 300, 1, 2, generator=generator) < 0.7
    return network, torch.where(present, torch.randn(present.shape, generator=generator), 0), present


@pytest.mark.parametrize("step_days", [1, 3])
def test_antecedent_departures(step_days):
    network, departures, present = weather(step_days)
    *lagged, two, five, _, _, ninety = network._antecedent(departures, present)
    for steps, got in zip((1, 2, 3), lagged, strict=True):
        assert torch.equal(got[:, :, steps:], departures[:, :, :-steps])
        assert not got[:, :, :steps].any(), "before the record the weather is as usual"
    for days, got in ((2, two), (5, five), (90, ninety)):
        steps = max(1, round(days / step_days))
        for day in (0, 3, 250):
            last = slice(max(0, day - steps + 1), day + 1)
            count = present[:, :, last].sum(2).clamp(min=1)
            expected = days**GROWTH * departures[:, :, last].sum(2) / count
            torch.testing.assert_close(got[:, :, day], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("step_days", [1, 3])
def test_antecedent_rain_is_an_exponentially_weighted_mean(step_days):
    network, _, _ = weather(step_days)
    amount = 10 * torch.rand(1, 1, 300, 1, 2, generator=torch.Generator().manual_seed(1))
    scaled = torch.from_numpy(network.inputs.scalers["rain"](amount.numpy()))
    batch = Batch(**dict.fromkeys(Batch._fields, scaled))._replace(dynamic=torch.cat([scaled, scaled], 1))
    for days, got in zip(MEMORIES, network._rain(batch), strict=True):
        for day in (0, 10, 250):
            weights = torch.exp(-step_days / days * torch.arange(day + 1.0).flip(0))[:, None, None]
            mean = (weights * amount[0, 0, : day + 1] / 6).sum(0) / weights.sum(0)
            torch.testing.assert_close(got[0, 0, day], torch.log(mean + LEAST_RAIN), atol=1e-4, rtol=1e-4)


def test_the_paper_has_the_day_alone_and_plain_layers():
    paper = build(composed("train", "model=casm_paper")["model"], Casm)
    paper.configure(weather()[0].inputs)
    shapes = {name: tuple(p.shape) for name, p in paper.named_parameters()}
    # three of the place, the brightness temperature and its mask
    assert shapes.pop("hidden.0.weight") == (1050, 5)
    assert shapes.pop("output.weight") == (1, 1050)
    assert [shape for name, shape in shapes.items() if name.endswith("weight")] == [(1050, 1050)] * 6


def test_a_projected_cube_is_filled_without_its_place(tmp_path):
    cube = world(projected=True)
    assert not read_record(cube).place.any()
    cube.to_netcdf(tmp_path / "world.nc")
    task = TrainingTask.from_config(settings(tmp_path / "world.nc", CASM))
    fit(task, tmp_path)
    assert filled(task.cube, task.filler)["sm_filled"].notnull().all()


def test_a_place_is_absolute():
    record = read_record(world(), Names.of(world()))
    np.testing.assert_allclose((record.place**2).sum(0), 1, rtol=1e-5)
    np.testing.assert_allclose(record.place[2, 0], np.sin(np.deg2rad(50.0)), rtol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"layers": 0}, "model.layers=0: expected at least 1"),
        ({"harmonics": 4}, "expected 1, 2 or 3"),
        ({"dropout": 1.0}, "at most 0.99"),
        ({"frozen": 1}, "of a run model.start_from"),
    ],
)
def test_settings_that_cannot_work_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        build({**CASM, **words}, Casm)


def test_an_ensemble_joins_spread_and_noise():
    ensemble = build({"_target_": "sgdsm.models.Ensemble", "filler": CASM | {"seed": 3}, "members": 3}, GapFiller)
    assert [member.seed for member in ensemble.fillers] == [3, 4, 5]
    found = [Filled(torch.full((2,), m), torch.full((2,), 0.3)) for m in (0.0, 1.0, 2.0)]
    for member, one in zip(ensemble.fillers, found, strict=True):
        member.fill = lambda batch, one=one: one
    got = ensemble.fill(None)
    torch.testing.assert_close(got.mean, torch.ones(2))
    torch.testing.assert_close(got.std, torch.full((2,), (0.09 + 2 / 3) ** 0.5))
    torch.testing.assert_close(got.epistemic, torch.full((2,), (2 / 3) ** 0.5))
    with pytest.raises(ConfigError, match="has no seed"):
        build(
            {"_target_": "sgdsm.models.Ensemble", "filler": {"_target_": "sgdsm.models.Climatology"}},
            GapFiller,
        )


@pytest.mark.parametrize("kind", ["Ensemble", "Stack"])
def test_only_a_stack_takes_weights_from_the_validation(trained, tmp_path, kind):
    _, folder = trained
    words = {"filler": {**CASM, "epochs": 1, "seed": 0}, "members": 2}
    if kind == "Stack":
        words = {"members": {name: {**words["filler"], "seed": k} for k, name in enumerate("ab")}}
    task = TrainingTask.from_config(settings(folder / "world.nc", {"_target_": f"sgdsm.models.{kind}", **words}))
    found = fit(task, tmp_path)
    assert (task.filler.weights == 0.5).all() == (kind == "Ensemble")
    assert 0 < found.validation_rmse < 1
    assert not task.filler.training


def test_a_late_target_is_dealt_over_its_own_days():
    rng = np.random.default_rng(0)
    observed = rng.random((len(DAYS), 5, 6)) < 0.5
    observed[:400] = False
    split = Blocks().split(observed, DAYS, Gaps())
    alone = Blocks().split(observed[400:], DAYS[400:], Gaps())
    np.testing.assert_array_equal(split.base[400:], alone.base)
    assert not split.base[:400].any()
    for name in ("validation", "calibration", "test"):
        assert split.scenarios[name].all_hidden.any()


def test_random_rows_leak_by_design_but_no_value_is_in_two_splits():
    observed = np.random.default_rng(0).random((100, 5, 6)) < 0.5
    split = Random(seed=1).split(observed, DAYS[:100], Gaps())
    total = split.base.astype(int)
    for scenario in split.scenarios.values():
        total += scenario.all_hidden
        assert not (scenario.known & scenario.all_hidden).any()
        assert 0.1 < scenario.all_hidden.sum() / observed.sum() < 0.22
    np.testing.assert_array_equal(total, observed)
    # this is the leak: most test values have a training value on the day before or after
    test = split.scenarios["test"].all_hidden[1:-1]
    assert (split.base[:-2] | split.base[2:])[test].mean() > 0.3


def test_a_pupil_learns_from_the_teacher_alone(tmp_path):
    cube = world(60)
    cube.assign(sm_uncertainty=0.1 * cube["sm"]).to_netcdf(tmp_path / "world.nc")
    source = xr.where(cube["sm"].notnull(), 1, 2)
    product = xr.Dataset({"sm_filled": cube["sm"].fillna(0.5), "sm_source": source}).isel(time=slice(20, None))
    product.to_netcdf(tmp_path / "filled.nc")
    got = pseudo_labelled(str(tmp_path / "world.nc"), "sm", str(tmp_path / "filled.nc"), "tb_a", ["rain"])
    expected = cube["sm"].isnull().values & cube["tb_a"].notnull().values
    expected[:20] = False
    np.testing.assert_array_equal(np.isfinite(got["sm"].values), expected)
    assert (got["sm"].values[expected] == 0.5).all()
    assert "tb_a" not in got
    assert "sm_uncertainty" not in got, "it was that of the values before"
    with pytest.raises(CubeError, match="lacks \\['sm_filled'"):
        pseudo_labelled(str(tmp_path / "world.nc"), "sm", str(tmp_path / "world.nc"), "tb_a")


def test_the_settings_of_the_chain_are_checked():
    with pytest.raises(ConfigError, match="chain: unknown key 'stepps'"):
        made(load("chain").Settings, {"chain": {"stepps": {}}, "output": "new", **composed("train")})
