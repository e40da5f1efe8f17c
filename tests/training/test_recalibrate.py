"""Intervals that follow a sensor whose noise grows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import seen_only
from sgdsm.data.gaps import Gaps
from sgdsm.models.checkpoint import load_filler
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.recalibrate import refit
from sgdsm.training.run import METRICS, PROVENANCE
from sgdsm.training.train import train
from tests.conftest import composed

pytestmark = pytest.mark.slow

QUIET = "trainer.progress=false"
LEARNED, NOW = 700, 880  # days: what the run knows, and where the recalibration stands; what follows is the future
WORDS = ["data=netcdf", "data.target=sm", "data.land=land", "data.precipitation=precipitation",
         "data.dynamic=[precipitation,air_temperature]"]  # fmt: skip


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    """Two years as they were, then noise that is three times as large."""
    cube = simulate(rows=10, columns=14, days=980, seed=1)
    noise = np.random.default_rng(2).standard_normal(cube["sm"].shape) * 0.06
    noise[:LEARNED] = 0
    values = np.clip(cube["sm"].values + noise, 0, 1).astype(np.float32)
    return cube[["precipitation", "air_temperature", "land"]].assign(sm=(cube["sm"].dims, values, cube["sm"].attrs))


@pytest.fixture(scope="module")
def run(world, tmp_path_factory) -> Path:
    """A run that has learned from the first days; beside it the cube of today, and a later one with hidden values."""
    folder = tmp_path_factory.mktemp("recalibrating")
    world.isel(time=slice(LEARNED)).to_netcdf(folder / "learned.nc")
    world.isel(time=slice(NOW)).to_netcdf(folder / "now.nc")
    seen_only(world, ~hidden_later(world)).to_netcdf(folder / "later.nc")
    return trained(folder, "old")


def trained(folder: Path, name: str, *more: str) -> Path:
    words = ["model=linear_time", *WORDS, f"data.path={folder / 'learned.nc'}", QUIET, *more]
    config = composed("train", *words)
    return train(config, folder / name).folder


def hidden_later(world: xr.Dataset) -> np.ndarray:
    observed = np.isfinite(world["sm"].values) & world["land"].values.astype(bool)
    hidden = observed & (np.random.default_rng(5).random(observed.shape) < 0.3)
    hidden[:NOW] = False
    return hidden


def coverage(run_command, folder: Path, world: xr.Dataset, run: Path) -> float:
    """Of values after NOW, hidden from a cube that goes on."""
    words = ["data=netcdf", f"data.path={folder / 'later.nc'}", f"time={str(world['time'].values[NOW])[:10]}:", QUIET]
    code, _, err = run_command("predict", f"run={run}", *words, f"output={run.name}.nc")
    assert code == 0, err
    truth, hidden = world["sm"].values[NOW:], hidden_later(world)[NOW:]
    with xr.open_dataset(f"{run.name}.nc") as filled:
        inside = (truth >= filled["sm_lower"].values) & (truth <= filled["sm_upper"].values)
    return float(inside[hidden].mean())


def test_a_recalibrated_run_covers_later_values_where_the_old_one_does_not(run_command, tmp_path, world, run):
    words = [f"run={run}", "data=netcdf", f"data.path={run.parent / 'now.nc'}", "output=new"]
    code, out, err = run_command("recalibrate", *words)
    assert code == 0, err
    assert out.strip().endswith("run: new")
    assert coverage(run_command, run.parent, world, run) < 0.8
    assert abs(coverage(run_command, run.parent, world, tmp_path / "new") - 0.9) < 0.04
    about = json.loads((tmp_path / "new" / PROVENANCE).read_text())["recalibrated"]
    assert about["last_day"] == str(world["time"].values[NOW - 1])[:10]
    assert about["first_day"] > str(world["time"].values[LEARNED - 1])[:10], "nothing that was learned from"
    assert "classes" not in json.loads((tmp_path / "new" / METRICS).read_text()), "scores were of other intervals"
    code, _, err = run_command("recalibrate", *words)
    assert (code, "output=new exists" in err) == (1, True)


def test_what_is_hidden_is_not_seen(run, monkeypatch):
    cube = xr.open_dataset(run.parent / "now.nc").load()
    cube = cube.assign(sm=cube["sm"].assign_attrs(role="target"), land=cube["land"].assign_attrs(role="land"))
    for name in ("precipitation", "air_temperature"):
        cube[name].attrs["role"] = "dynamic"
    shown = []

    def note(filler, scene, places, trainer, weight):
        shown.append(scene)
        raise StopIteration

    monkeypatch.setattr("sgdsm.training.recalibrate.predict_held_out", note)
    arguments = (load_filler(run / "model.ckpt"), Gaps(), str(cube["time"].values[LEARNED - 1])[:10], 180, 60.0)
    with pytest.raises(StopIteration):
        refit(cube, *arguments)
    hidden = shown[0].wanted
    assert not (shown[0].seen & hidden).any()
    assert not hidden[:LEARNED].any()
    # the climatology does not know them either
    other = cube.assign(sm=cube["sm"].copy(data=np.where(hidden, 0.9, cube["sm"].values)))
    other["sm"].attrs["role"] = "target"
    with pytest.raises(StopIteration):
        refit(other, *arguments)
    for one, two in zip(shown[0].climatology, shown[1].climatology, strict=True):
        np.testing.assert_array_equal(one, two)


def test_an_old_error_weighs_less(run_command, tmp_path, run):
    widths = []
    for half_life in (5, 1000):
        output = f"half_{half_life}"
        words = [f"run={run}", "data=netcdf", f"data.path={run.parent / 'now.nc'}", f"half_life_days={half_life}"]
        code, _, err = run_command("recalibrate", *words, f"output={output}")
        assert code == 0, err
        widths.append(json.loads((tmp_path / output / PROVENANCE).read_text())["recalibrated"]["width"])
    assert min(widths) > 1.3
    assert widths[0] != widths[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run=old"], "output is not given"),
        (["run=absent", "output=new"], "absent: no such folder"),
        (["run=old", "output=new"], "values could be hidden after"),
        (["run=old", "output=new", "days=0"], "days=0: expected at least 1"),
        (["run=old", "output=new", "data=netcdf", "data.path=gone.nc"], "gone.nc: no such file"),
        (["run=old", "output=."], "output=. exists: remove it, or choose another"),
        (["run=bare", "output=new"], "bare: LinearTime has no intervals; expected a run with uncertainty=conformal"),
    ],
)
def test_a_mistake_is_one_line(run_command, tmp_path, run, words, message):
    if words[0] == "run=bare" and not (run.parent / "bare").exists():
        trained(run.parent, "bare", "uncertainty=none")
    words = [word.replace("run=", f"run={run.parent}/") for word in words]
    code, _, err = run_command("recalibrate", *words)
    lines = [line for line in err.strip().splitlines() if not line.startswith("note: ")]
    assert (code, len(lines)) == (1, 1), err
    assert message in lines[0]
    assert not (tmp_path / "new").exists()
