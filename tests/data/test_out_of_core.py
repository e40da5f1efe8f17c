"""A cube larger than `trainer.memory_gib` is learned from in parts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.region import Box
from sgdsm.data.out_of_core import cut_parts, gib_of
from sgdsm.evaluation.score import Scores
from sgdsm.models.checkpoint import load_filler
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.fit import _epochs
from sgdsm.training.task import TrainingTask
from tests.conftest import run_folder
from tests.models.test_models import filled, settings_of

pytestmark = pytest.mark.slow

SIZE = ["data.rows=24", "data.columns=30", "data.days=400"]
WORDS = [*SIZE, "model.core_cells=8", "model.epochs=6"]
SMALL = "trainer.memory_gib=0.02"


@pytest.fixture(scope="module")
def task():
    return TrainingTask.from_config(settings_of("pconv3d", *WORDS, SMALL))


def test_parts_tile_the_land_and_keep_to_chunks():
    cube = simulate(rows=40, columns=60, days=100)
    target_of(cube).encoding["preferred_chunks"] = {"time": 10, "lat": 8, "lon": 60}
    for memory in (0.01, 0.03, 10.0):
        boxes = cut_parts(cube, (32, 8), memory)
        count = np.zeros(target_of(cube).shape, int)
        for box in boxes:
            count[box] += 1
        assert (count[:, cube["land"].values] == 1).all()
        assert max(gib_of(cube, count[box].size) for box in boxes) <= memory / 7
    rows = {box.rows.stop - box.rows.start for box in cut_parts(cube, (32, 8), 0.2)}
    assert rows <= {8, 16, 24, 32, 40}


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match=r"trainer.memory_gib=1e-05: a window of 32 days and 8 x 8 cells"):
        cut_parts(simulate(rows=20, columns=20, days=50), (32, 8), 1e-5)


def test_held_parts_are_not_trained_on(task):
    assert len(task.parts) > 1
    held = np.zeros(target_of(task.whole).shape, bool)
    for part in task.parts:
        held |= mask_of(task.whole, part.cube)
    roamed = [box for box in task.learned.boxes if held[box].any()]
    assert not roamed
    for part in task.parts:
        hidden = [scenario.all_hidden for scenario in part.split.scenarios.values()]
        assert not (part.split.base & np.logical_or.reduce(hidden)).any()


def mask_of(cube: xr.Dataset, part: xr.Dataset) -> np.ndarray:
    inside = [np.isin(cube[dim], part[dim]) for dim in target_of(cube).dims]
    return inside[0][:, None, None] & inside[1][:, None] & inside[2]


def test_epochs_go_through_all_parts_and_depend_on_their_number_alone(task):
    again = TrainingTask.from_config(settings_of("pconv3d", *WORDS, SMALL))
    starts = set()
    for epoch in (3, 0, 1, 2):
        one, two = task.learned.batches(epoch), again.learned.batches(epoch)
        assert len(one) == len(two)
        for a, b in zip(one[0], two[0], strict=True):
            np.testing.assert_array_equal(a, b)
        starts.add((one.scene.record.days[0], one.scene.record.values.sum()))
    assert len(starts) == 4


def test_a_part_without_values_is_skipped(task):
    cube = task.whole.copy()
    values = cube["sm"].values.copy()
    box: Box = task.learned.boxes[0]
    values[box] = np.nan
    learned = type(task.learned)(task.learned.held, [box], task.learned.read, 0)

    def empty(_: Box) -> None:
        raise ConfigError("no observed value")

    learned.read = empty
    found = {learned.batches(epoch).scene.record.values.sum() for epoch in range(6)}
    assert found <= {data.scene.record.values.sum() for data in learned.held}


def test_train_and_predict(run_command):
    few = [
        "model.channels=4",
        "model.width=8",
        "model.core_cells=8",
        "model.window_days=32",
        "model.epochs=2",
        "trainer.progress=false",
    ]
    code, out, err = run_command("train", "model=pconv3d", *SIZE, SMALL, *few)
    assert code == 0, err
    assert "learned from in" in err
    folder = run_folder(out)
    metrics = json.loads((folder / "metrics.json").read_text())
    parts = [folder / "evaluation" / "scores.nc", *(folder / "evaluation").glob("part_*/filled.nc")]
    assert len(parts) > 1
    assert metrics["classes"]["all"]["n"] == sum(metrics["protocol"]["hidden"].values())
    assert Scores.load(parts[0]).table()["all"]["rmse"] == pytest.approx(metrics["classes"]["all"]["rmse"])
    cube = simulate(rows=24, columns=30, days=60)
    assert np.isfinite(
        filled(cube, load_filler(folder / "model.ckpt"))["sm_filled"].values[:, cube["land"].values]
    ).all()
    assert run_command("evaluate", f"run={folder}")[0] == 0


def test_parts_are_cut_for_the_window_that_a_cube_without_weather_needs(monkeypatch):
    cube = simulate(rows=24, columns=30, days=400)
    cube = cube.drop_vars([name for name in cube if cube[name].attrs.get("role") == "dynamic"])
    asked = []

    def noted(cube: xr.Dataset, window: tuple, memory_gib: float) -> list[Box]:
        asked.append(window)
        return cut_parts(cube, window, memory_gib)

    monkeypatch.setattr("sgdsm.training.task.cut_parts", noted)
    one = TrainingTask.from_config(settings_of("pconv3d", "trainer.memory_gib=0.01"), cube)
    assert one.filler.window.halo_cells == 7
    assert asked == [(one.filler.window.days, one.filler.window.cells)]


def test_the_largest_number_of_steps_holds_in_parts(task, monkeypatch, caplog):
    monkeypatch.setattr(task.filler, "steps", 5)
    caplog.set_level("INFO")
    assert len(task.learned.held) > 1
    steps = sum(len(data.training_batches(0)) for data in task.learned.held) // len(task.learned.held)
    assert 1 < steps < 5
    assert _epochs(task) == -(-5 // steps) < task.filler.epochs
    assert f"epochs of {steps} steps: model.steps=5" in caplog.text
    count = len(task.learned.boxes)
    assert ("parts: a larger model.steps sees more" in caplog.text) == (count > -(-5 // steps))
    monkeypatch.setattr(task.filler, "steps", 1)
    assert _epochs(task) == 1 < count
    assert f"1 epochs see 1 of {count} parts: a larger model.steps sees more" in caplog.text


def test_blocks_need_the_whole_cube(run_command):
    code, _, err = run_command("train", "model=pconv3d", *SIZE, "splits=blocks", SMALL)
    assert code == 1
    assert "trainer.memory_gib allows" in err.splitlines()[-1]


@pytest.mark.parametrize(("days", "window"), [(1461, 64), (2200, 366), (736, 366), (16_800, 64)])
def test_there_are_no_slivers(days, window):
    space = {"time": xr.date_range("2000-01-01", periods=days), "lat": 60.0 - np.arange(90), "lon": np.arange(180.0)}
    land = (("lat", "lon"), np.ones((90, 180), bool), {"role": "land"})
    empty = np.broadcast_to(np.float32(0), (days, 90, 180))
    cube = xr.Dataset({"sm": (("time", "lat", "lon"), empty, {"role": "target"}), "land": land}, space)
    for memory in (0.5, 2.0, 8.0):
        for box in cut_parts(cube, (window, 8), memory):
            lengths = [min(part.stop, n) - part.start for part, n in zip(box, cube["sm"].shape, strict=True)]
            assert lengths[0] >= min(window, days) * 0.9
            assert min(lengths[1:]) >= 4


def test_values_beyond_those_of_the_held_parts_are_not_cut_off(task):
    inputs = task.filler.inputs
    values = np.concatenate([part.record.values[part.split.base] for part in task.parts])
    assert inputs.highest == pytest.approx(2 * values.max() - values.min())
    assert inputs.lowest == 0


def test_a_part_with_too_few_batches_for_all_processes_is_skipped(task):
    class Few:
        world_size = 2

        def training_batches(self, epoch: int) -> list[int]:
            return [epoch]

    learned = type(task.learned)(task.learned.held, task.learned.boxes, lambda box: Few(), 0)
    assert min(len(learned.batches(epoch)) for epoch in range(8)) == 1
    learned.trainer = Few()
    assert min(len(learned.batches(epoch)) for epoch in range(8)) > 1
