"""Preparing and filling on a dask cluster: the same files as without, also where a worker dies."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

from sgdsm.cli.error_lines import log_to_screen
from sgdsm.core.dask_cluster import cluster, results
from sgdsm.core.errors import ConfigError, SgdsmError
from sgdsm.core.logging import log
from sgdsm.preprocessing.pipeline import assemble
from sgdsm.preprocessing.store import Store
from sgdsm.sources.simulation.world import simulate
from tests.conftest import run_folder
from tests.preprocessing.test_pipeline import cci, recipe, same_values, with_weather

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed")
__all__ = ["cci"]


@pytest.fixture(scope="module")
def two() -> Iterator[distributed.LocalCluster]:
    """Two processes whose address is where dask looks for it."""
    size = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0}
    made = distributed.LocalCluster(dashboard_address=None, **size)
    with made, dask.config.set({"scheduler-address": made.scheduler_address}):
        with distributed.Client(made) as client:
            client.run(os.chdir, "/")  # as on another machine: not where we are
        yield made


@contextmanager
def killing(ended: Path, count: int, victim: int) -> Iterator[None]:
    """Kill a process as soon as so many files match."""
    end = time.monotonic() + 60

    def kill() -> None:
        while len(list(ended.parent.glob(ended.name))) < count and time.monotonic() < end:
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()


def pid_of_one(made: distributed.LocalCluster) -> int:
    with distributed.Client(made) as client:
        return int(next(iter(client.run(os.getpid).values())))


def test_prepared_cube_is_the_same(cci, two):
    made = recipe(cci, **with_weather(cci))
    assemble(made, cci / "one.zarr", workers=1)
    assemble(made, cci / "two.zarr", block_days=3, on_cluster=True)
    same_values(cci / "one.zarr", cci / "two.zarr")


def test_prepared_cube_is_the_same_where_a_worker_dies(cci, two):
    made = recipe(cci, **with_weather(cci))
    assemble(made, cci / "one.zarr", workers=1)
    with killing(cci / "two.zarr.notes" / "maps-*.json", 2, pid_of_one(two)):
        assemble(made, cci / "two.zarr", block_days=1, on_cluster=True)
    same_values(cci / "one.zarr", cci / "two.zarr")


def test_only_the_first_process_notes_what_is_finished(cci, two, monkeypatch):
    """What it did not note is made again."""
    keep, noted = Store.keep, []

    def stop(self: Store, stage: str, block: int, note: dict) -> None:
        keep(self, stage, block, note)
        noted.append(block)
        if len(noted) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "keep", stop)
    with pytest.raises(KeyboardInterrupt):
        assemble(recipe(cci), cci / "two.zarr", block_days=2, on_cluster=True)
    assert len(list((cci / "two.zarr.notes").glob("maps-*.json"))) == 2
    assemble(recipe(cci), cci / "two.zarr", on_cluster=True)
    assert sorted(noted) == [0, 1, 2, 3, 4]
    assemble(recipe(cci), cci / "one.zarr", workers=1)
    same_values(cci / "one.zarr", cci / "two.zarr")


@pytest.fixture
def trained(run_command, tmp_path) -> Callable[..., list[str]]:
    """Trains on an HDF5 file, whose open arrays cannot travel; gives the words of a prediction in several slabs."""
    simulate(rows=130, columns=6, days=60, seed=3).to_netcdf(tmp_path / "world.h5")
    data = ["data=netcdf", "data.path=world.h5", "data.target=sm", "data.dynamic=[precipitation]", "data.land=land"]

    def train(*model: str) -> list[str]:
        code, out, err = run_command("train", *data, *model, "uncertainty=none", "trainer.progress=false")
        assert code == 0, err
        return [f"run={run_folder(out)}", "inference.memory_gib=0.0001"]

    return train


def assert_same(folder: Path, one: str, other: str) -> None:
    with xr.open_dataset(folder / one) as a, xr.open_dataset(folder / other) as b:
        assert set(a) == set(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=f"{other} {name}")


@pytest.mark.parametrize("model", [("model=linear_time",), ("model=xgboost", "model.gap_draws=1", "model.rounds=20")])
def test_filled_file_is_the_same(run_command, trained, two, tmp_path, model):
    words = trained(*model)
    code, _, err = run_command("predict", *words, "output=one.nc", "trainer.progress=false")
    assert code == 0, err
    for output in ("two.nc", "two.zarr"):
        code, _, err = run_command("predict", *words, f"output={output}", "inference.cluster=true")
        assert code == 0, err
        slabs = re.findall(r"(\d+) of (\d+) slabs", err)[-1]
        assert slabs[0] == slabs[1] != "1"
        assert_same(tmp_path, "one.nc", output)


def test_filled_file_is_the_same_where_a_worker_dies(run_command, trained, two, tmp_path):
    words = trained("model=linear_time")
    assert run_command("predict", *words, "output=one.nc", "trainer.progress=false")[0] == 0
    with killing(tmp_path / "two.nc.parts" / "slab-*.chunks", 1, pid_of_one(two)):
        code, _, err = run_command("predict", *words, "output=two.nc", "inference.cluster=true")
    assert code == 0, err
    assert_same(tmp_path, "one.nc", "two.nc")


def test_what_is_wrong_with_the_data_ends_in_one_line(run_command, trained, two, tmp_path):
    words = trained("model=linear_time")
    with xr.open_dataset(tmp_path / "world.h5") as world:
        bad = world.load()
    bad["precipitation"][50, 100, 3] = np.inf
    (tmp_path / "world.h5").unlink()
    bad.to_netcdf(tmp_path / "world.h5")
    code, _, err = run_command("predict", *words, "output=two.nc", "inference.cluster=true")
    assert code == 1
    assert "'precipitation' has 1 infinite values" in err.splitlines()[-1]


def test_notes_of_workers_are_told_once(two, capsys):
    log_to_screen()
    with cluster("cluster=true") as client:
        found = list(results(client, partial(log.info, "seen: %s"), [1, 1, 2], "numbers"))
    assert sorted(found) == [(1, None), (1, None), (2, None)]
    told = [line for line in capsys.readouterr().err.splitlines() if "seen" in line]
    assert sorted(told) == ["note: seen: 1", "note: seen: 2"]


def test_work_that_ends_workers_ends_in_one_line():
    one_is_enough = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with one_is_enough, cluster("cluster=true", workers=1) as client, pytest.raises(SgdsmError, match="workers died"):
        list(results(client, os._exit, [1], "exits"))


def test_a_scheduler_that_goes_ends_in_one_line():
    made = distributed.LocalCluster(n_workers=1, dashboard_address=None, silence_logs=logging.CRITICAL)
    setting = {"scheduler-address": made.scheduler_address, "distributed.comm.timeouts.connect": "1s"}
    gone = pytest.raises(SgdsmError, match="scheduler is gone, naps are left: run the same command again")
    with dask.config.set(setting), gone, cluster("cluster=true") as client:
        for _ in results(client, time.sleep, [0, 8], "naps"):
            made.close()


def test_a_cluster_that_is_not_there_ends_in_one_line(monkeypatch):
    setting = {"scheduler-address": "tcp://127.0.0.1:9", "distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(setting), pytest.raises(ConfigError, match="no dask scheduler answers at tcp"):
        cluster("cluster=true").__enter__()
    monkeypatch.setattr("sgdsm.core.dask_cluster.WAIT_SECONDS", 0.1)
    empty = distributed.LocalCluster(n_workers=0, dashboard_address=None)
    told = pytest.raises(ConfigError, match="has no workers: start some with `dask worker tcp")
    with empty, dask.config.set({"scheduler-address": empty.scheduler_address}), told:
        cluster("cluster=true").__enter__()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("inference.cluster=yes please", "inference.cluster='yes please': expected bool"),
        ("trainer.devices=2", "trainer.devices=2: inference.cluster=true fills on the CPUs"),
        ("trainer.precision=bf16-mixed", "trainer.precision=bf16-mixed: inference.cluster=true"),
    ],
)
def test_settings_that_do_not_go_together(run_command, word, message):
    code, _, err = run_command("predict", "run=x", "output=x.nc", "inference.cluster=true", word)
    assert code == 1
    assert message in err
