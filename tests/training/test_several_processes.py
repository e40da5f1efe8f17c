"""Several processes on the CPU (gloo): the same result as one, and nothing lost when one dies."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from tests.conftest import in_process
from tests.forked import Forked

pytestmark = pytest.mark.slow

WORDS = [
    "model=pconv3d", "data.rows=12", "data.columns=24", "data.days=120", "model.channels=8", "model.layers=1",
    "model.window_days=32",
    "model.core_cells=12", "model.dropout=0.1", "uncertainty=none",
    "seed=3",  # two passes of 6 batches: of an odd number two processes leave out the last
]  # fmt: skip
QUIET = ["trainer.progress=false", "trainer.accelerator=cpu"]
TWO = "trainer.devices=2"


def start(folder: Path, *words: str) -> Forked:
    return Forked(folder, *words, *QUIET)


def run(folder: Path, *words: str) -> str:
    """What a command printed; one that has no further processes runs in this one."""
    if words[0] in ("train.py", "predict.py") and TWO not in words and "run=mine" not in words:
        return in_process(folder, words[0].removesuffix(".py"), *words[1:], *QUIET)
    process = start(folder, *words)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "error:" not in err  # of a further process
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Holds a run of one process, `one`."""
    made: Path = tmp_path_factory.mktemp("processes")
    run(made, "train.py", *WORDS, "trainer.max_epochs=2", "trainer.accumulate=2", "hydra.run.dir=one")
    return made


def assert_same(ours: xr.Dataset, theirs: xr.Dataset) -> None:
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-6, err_msg=str(name))


def test_two_train_as_one_that_takes_two_batches_a_step(folder):
    out = run(folder, "train.py", *WORDS, "trainer.max_epochs=2", TWO, "output=two")
    assert out.count("run: two") == 1
    one, two = (pd.read_csv(folder / name / "training.csv") for name in ("one", "two"))
    assert len(one) == 2
    pd.testing.assert_frame_equal(one, two, rtol=1e-3)


ENSEMBLE = [
    "model=ensemble", "model.members=2", "uncertainty=none",
    "data=netcdf", "data.path=world.h5", "data.target=sm", "data.dynamic=[precipitation]", "data.land=land",
    *(f"model.filler.{word}" for word in ("width=8", "blocks=1", "window_days=60", "window_cells=6", "epochs=4")),
]  # fmt: skip


def test_members_are_trained_side_by_side_as_alone(world, tmp_path):
    """Also where one of their processes is killed, and the run goes on."""
    world.to_netcdf(tmp_path / "world.h5")
    process = start(tmp_path, "train.py", *ENSEMBLE, TWO, "hydra.run.dir=mine")
    folder = tmp_path / "mine"
    end = time.monotonic() + 120
    while not list(folder.glob("members/*/training.csv")) and time.monotonic() < end:
        time.sleep(0.01)
    victim = next(k for k in children_of(process) if b"spawn_main" in Path(f"/proc/{k}/cmdline").read_bytes())
    os.kill(victim, signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "error: a process died" in err.splitlines()[-1]
    assert "note: member " in err
    run(tmp_path, "train.py", "run=mine")
    together = torch.load(folder / "model.ckpt", weights_only=True)
    left = sorted(path.name for path in folder.glob("members/*/*"))
    assert left == 2 * ["fit_seconds.txt"] + 2 * ["model.ckpt"] + 2 * ["training.csv"]
    # one that is left is trained alone, not by all devices
    shutil.rmtree(folder / "members" / "seed_1")
    for name in ("model.ckpt", "metrics.json"):
        (folder / name).unlink()
    run(tmp_path, "train.py", "run=mine")
    alone = torch.load(folder / "model.ckpt", weights_only=True)
    torch.testing.assert_close(alone["state"], together["state"], rtol=0, atol=0)


def children_of(process: Forked) -> list[int]:
    return [int(k) for k in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.parametrize("words", [[TWO], ["trainer.num_nodes=2"]])
def test_members_are_not_trained_by_processes_from_outside(world, run_command, tmp_path, monkeypatch, words):
    world.to_netcdf(tmp_path / "world.h5")
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = run_command("train", *ENSEMBLE, *words, *QUIET)
    assert code == 1
    assert "on one node, without torchrun" in err.splitlines()[-1]


def test_two_fill_one_store_as_one_does(folder):
    words = ["run=one", "inference.memory_gib=0.00125"]
    run(folder, "predict.py", *words, "output=one.nc")
    run(folder, "-m", "predict", *words, TWO, "output=two.nc")
    run(folder, "predict.py", "run=one", TWO, "output=two.zarr")  # one slab for two
    with xr.open_dataset(folder / "one.nc") as one, xr.open_dataset(folder / "two.nc") as two:
        assert_same(two, one)
        assert_same(xr.open_zarr(folder / "two.zarr").load(), one)


def test_what_is_wrong_with_the_output_is_told_by_all(folder):
    (folder / "other.nc").write_bytes(b"")
    process = start(folder, "predict.py", "run=one", TWO, "output=other.nc")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "other.nc exists and is of another run" in err


def test_a_process_that_is_killed_leaves_an_output_that_resumes(folder):
    words = ["run=one", "inference.memory_gib=0.000125"]
    run(folder, "predict.py", *words, "output=whole.nc")
    process = start(folder, "tests/training/slow_predict.py", *words, TWO, "output=killed.nc")
    parts = folder / "killed.nc.parts"
    end = time.monotonic() + 120
    while not (finished := len(list(parts.glob("slab-*.chunks")))) and time.monotonic() < end:
        time.sleep(0.01)
    assert finished
    for child in children_of(process):
        os.kill(child, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert not (folder / "killed.nc").exists()
    run(folder, "predict.py", *words, "output=killed.nc")
    with xr.open_dataset(folder / "whole.nc") as whole, xr.open_dataset(folder / "killed.nc") as killed:
        assert_same(killed, whole)
