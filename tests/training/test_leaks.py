"""Each way in which test values may get into what is fitted, chosen or fed in is planted here, and a check catches it.

The check is the same for all: other values where nobody may look change nothing. It must hold for the package as it is,
and fail with the leak. The list is in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.cli.commands import correct_fit
from sgdsm.core.cube import by_role, open_dataset, seen_only
from sgdsm.core.specification import build
from sgdsm.data import features
from sgdsm.data.datamodule import GapData
from sgdsm.inference.causal import save_climatology
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.sources.simulation.two_sensors import two_sensors
from sgdsm.training import calibrate, task
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask, fill_scenario
from sgdsm.training.train import train
from tests.conftest import BLOCKS, composed

WORLD = ["data.rows=8", "data.columns=8", "data.days=200", "data.start='2015-09-01'"]
TREES = ["model=xgboost", "model.gap_draws=1", "model.rounds=15", "model.early_stopping_rounds=2"]


def settings_of(*words: str) -> dict[str, Any]:
    return composed("train", "trainer.progress=false", *WORLD, *words)


def world_of(config: dict[str, Any]) -> xr.Dataset:
    return build(config["data"], xr.Dataset)


def with_others(cube: xr.Dataset, where: np.ndarray, *roles: str) -> xr.Dataset:
    """The cube with other values of the variables of some roles, where a mask (T, H, W) is True."""
    rng, changed = np.random.default_rng(1), {}
    for name in (n for role in roles for n in by_role(cube, role)):
        values = cube[name].values.copy()
        values[where] = 0.5 * values[where] + 0.3 * rng.random(where.sum()) * np.nanmean(values)
        changed[name] = cube[name].copy(data=values)
    return cube.assign(changed)


def days_of_test(made: TrainingTask) -> np.ndarray:
    """Values on the days of the test, also those that are seen there, (T, H, W) bool."""
    test = made.split.scenarios["test"]
    days = (test.seen | test.all_hidden).any((1, 2))
    assert days.any()
    assert not made.split.base[days].any()
    return np.broadcast_to(days[:, None, None], test.seen.shape)


def same(one: Any, other: Any) -> bool:
    """Whether two results are equal, to the last bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other, equal_nan=True)
    return bool(one == other)


Plant = Callable[[pytest.MonkeyPatch], None]


def check(made: Callable[[bool], Any], plant: Plant) -> None:
    """Other values change nothing, and with the leak they do.

    made: what is fitted or fed in, from the values as they are or (True) from others where nobody may look.
    """
    assert same(made(False), made(True))
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        assert not same(made(False), made(True)), "the leak was not caught"


def test_scalers_know_no_day_of_the_test():
    config = settings_of("model=climatology", *BLOCKS)
    cube = world_of(config)
    others = with_others(cube, days_of_test(TrainingTask.from_config(config, cube)), "target", "dynamic")

    def made(changed: bool) -> Any:
        return TrainingTask.from_config(config, others if changed else cube).filler.inputs.to_dict()

    def plant(patch: pytest.MonkeyPatch) -> None:
        fitted = task._inputs

        def on_all_days(cube: xr.Dataset, held: list[task.SplitCube], *others: Any, **settings: Any) -> Any:
            all_days = [one._replace(split=one.split._replace(base=one.record.observed)) for one in held]
            return fitted(cube, all_days, *others, **settings)

        patch.setattr(task, "_inputs", on_all_days)

    check(made, plant)


def test_the_kept_climatology_of_near_real_time_knows_no_day_of_the_test(tmp_path):
    config = {**settings_of("model=climatology", *BLOCKS), "causal": True}
    cube = world_of(config)
    made = TrainingTask.from_config(config, cube)
    others = with_others(cube, days_of_test(made), "target")
    save_climatology(seen_only(cube, made.split.base), made.filler.inputs, tmp_path / "expected.nc", "")
    kept = train(config, tmp_path / "run", others, figures=False).climatology
    with xr.open_dataset(kept) as found, xr.open_dataset(tmp_path / "expected.nc") as expected:
        xr.testing.assert_equal(found, expected)
        assert found.attrs["fitted_on"] == "values of the training split"


def filled_test(config: dict[str, Any], cube: xr.Dataset) -> np.ndarray:
    """What the test is filled with, by a filler that learns nothing but the climatology of the cells."""
    made = TrainingTask.from_config(config, cube)
    output = MemoryOutput()
    fill_scenario(made, made.filler.eval(), "test", output, {"enable_progress_bar": False})
    return output.dataset["sm_filled"].values[made.split.scenarios["test"].all_hidden]


def test_the_climatology_knows_nothing_that_is_hidden_in_the_year_of_the_test():
    config = settings_of(
        "model=climatology", "splits=years", "splits.test=[2016]", "splits.block_days=15", "splits.separation_days=4"
    )
    cube = world_of(config)
    hidden = TrainingTask.from_config(config, cube).split.scenarios["test"].all_hidden
    others = with_others(cube, hidden, "target")

    def plant(patch: pytest.MonkeyPatch) -> None:
        seen_only = task.seen_only

        def of_all_years(whole: xr.Dataset, mask: np.ndarray) -> xr.Dataset:
            # of the two masks that a scenario fills by, the one of the climatology also has the other years
            return seen_only(whole, np.isfinite(whole["sm"].values) if mask[:100].any() else mask)

        patch.setattr(task, "seen_only", of_all_years)

    check(lambda changed: filled_test(config, others if changed else cube), plant)


def test_neighbours_show_nothing_that_is_hidden():
    config = settings_of("model=xgboost", *BLOCKS)
    cube = world_of(config)
    hidden = TrainingTask.from_config(config, cube).split.scenarios["test"].all_hidden
    others = with_others(cube, hidden, "target")

    def made(changed: bool) -> Any:
        built = TrainingTask.from_config(config, others if changed else cube)
        whole = [replace(axis, size=axis.length, margin=0) for axis in built.data.axes]
        scene = built.data.scene_of(built.split.scenarios["test"])
        batch = scene.batch([(0, 0, 0)], whole, cores=False)
        return features.to_rows(batch, batch.wanted, built.filler.inputs)

    def plant(patch: pytest.MonkeyPatch) -> None:
        around = features._neighbours

        def with_hidden(batch: Any, line: torch.Tensor, ahead: bool) -> Any:
            values = torch.where(batch.wanted, batch.truth, batch.sm)
            return around(batch._replace(sm=values, seen=batch.seen | batch.wanted), line, ahead)

        patch.setattr(features, "_neighbours", with_hidden)

    check(made, plant)


def test_a_cdf_map_knows_no_day_beyond_its_period(run_command, tmp_path):
    cube = two_sensors(rows=3, columns=4, days=500, start="2014-10-01", seed=2)
    later = (cube["time"] > np.datetime64("2015-09-30")).values[:, None, None] & np.isfinite(
        cube["sm_reference"]
    ).values
    values = cube["sm_reference"].values.copy()
    assert later.any()
    values[later] = values[later] * 0.5 + 0.1
    for name, one in {
        "as_is": cube,
        "others": cube.assign(sm_reference=cube["sm_reference"].copy(data=values)),
    }.items():
        one.to_netcdf(tmp_path / f"{name}.nc")

    def made(changed: bool) -> Any:
        name, output = "others" if changed else "as_is", tmp_path / "map.nc"
        output.unlink(missing_ok=True)
        words = [f"source={name}.nc", f"reference={name}.nc", "reference_variable=sm_reference", "output=map.nc"]
        code, _, err = run_command("correct", "fit", *words, "period='2014-10-01:2015-09-30'", "trees.block_days=20")
        assert code == 0, err
        with open_dataset(output) as found:
            return {str(n): v.values for n, v in found.data_vars.items()}

    def plant(patch: pytest.MonkeyPatch) -> None:
        cut = correct_fit._common_period
        patch.setattr(correct_fit, "_common_period", lambda s, *others: cut(replace(s, period=None), *others))

    check(made, plant)


def test_conformal_quantiles_know_no_day_of_the_test():
    config = settings_of("model=climatology", "uncertainty=conformal", *BLOCKS)
    cube = world_of(config)
    others = with_others(cube, days_of_test(TrainingTask.from_config(config, cube)), "target")

    def made(changed: bool) -> Any:
        built = TrainingTask.from_config(config, others if changed else cube)
        return calibrate.add_uncertainty(built, config["uncertainty"]).state_dict()

    def plant(patch: pytest.MonkeyPatch) -> None:
        batches = calibrate._calibration_batches

        def of_the_test(filler: GapFiller, part: task.Part, split: str, trainer: dict[str, Any]) -> Any:
            return batches(filler, part, "test" if split == "calibration" else split, trainer)

        patch.setattr(calibrate, "_calibration_batches", of_the_test)

    check(made, plant)


def test_training_does_not_stop_by_the_test(tmp_path):
    config = settings_of(*TREES, *BLOCKS)
    cube = world_of(config)
    others = with_others(cube, days_of_test(TrainingTask.from_config(config, cube)), "target")

    def made(changed: bool) -> Any:
        built = TrainingTask.from_config(config, others if changed else cube)
        fitted = fit(built, tmp_path)
        return fitted.validation_rmse, built.filler.state_dict()

    def plant(patch: pytest.MonkeyPatch) -> None:
        validated = GapData.validation_batches

        def by_the_test(data: GapData) -> Any:
            scenarios = data.split.scenarios
            data.split = data.split._replace(scenarios={**scenarios, "validation": scenarios["test"]})
            return validated(data)

        patch.setattr(GapData, "validation_batches", by_the_test)

    check(made, plant)
