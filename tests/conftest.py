from __future__ import annotations

import contextlib
import copy
import functools
import gc
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hydra._internal.hydra import Hydra
from hypothesis import settings

from sgdsm.cli import console
from sgdsm.cli.commands import load
from sgdsm.cli.overrides import as_hydra_reads
from sgdsm.core.cube import as_cube
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.compose import compose_settings

# the same examples in every run; others: pytest --hypothesis-profile=default
settings.load_profile("ci")

# the million objects of the packages and of the tests themselves stay: looking for garbage among them takes long
gc.disable()

ROOT = Path(__file__).resolve().parent.parent
SMALL_WORLD = ["data.rows=10", "data.columns=14", "data.days=150"]
BLOCKS = ["splits=blocks", "splits.block_days=20", "splits.separation_days=6"]
TINY_PCONV = [
    "model=pconv3d",
    *(f"model.{w}" for w in ("channels=8", "width=8", "memory=1", "window_days=32", "epochs=2")),
]
TINY_TREES = ["model=xgboost", "model.gap_draws=1", "model.rounds=20"]
TINY_FOREST = ["model=random_forest", "model.gap_draws=1", "model.trees=5"]


# they take longest: first, so that the processes of xdist end together
LONG = ("test_notebooks", "test_several_processes", "test_signals", "test_examples", "test_devices", "test_benchmarks")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONG)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(100_000)
    gc.enable()


@pytest.fixture(scope="session")
def world() -> xr.Dataset:
    """A small simulated cube with every kind of variable; read only."""
    return simulate(rows=10, columns=14, days=150, seed=3)


@pytest.fixture
def plain() -> Callable[..., xr.Dataset]:
    """Makes a small Dataset as a user would have it, without roles."""

    def make(days: int = 40, rows: int = 4, columns: int = 5, seed: int = 0, **coords: object) -> xr.Dataset:
        rng = np.random.default_rng(seed)
        shape = (days, rows, columns)
        sm = (0.2 + 0.05 * rng.standard_normal(shape)).astype(np.float32)
        sm[rng.random(shape) < 0.4] = np.nan
        return xr.Dataset(
            {
                "sm": (("time", "lat", "lon"), sm, {"units": "m3 m-3"}),
                "rain": (("time", "lat", "lon"), rng.exponential(2, shape).astype(np.float32), {"units": "mm d-1"}),
                "clay": (("lat", "lon"), rng.random(shape[1:]).astype(np.float32), {"units": "1"}),
            },
            {
                "time": xr.date_range("2020-01-01", periods=days),
                "lat": 50.0 - np.arange(rows),
                "lon": 5.0 + np.arange(columns),
                **coords,
            },
        )

    return make


@pytest.fixture(scope="session", autouse=True)
def worlds_are_simulated_once() -> Iterator[None]:
    """What commands and settings ask for; tests of the simulation itself hold the function as it is."""
    made: dict[str, xr.Dataset] = {}

    @functools.wraps(simulate)
    def same_world(*words: object, **settings: object) -> xr.Dataset:
        if settings.get("sensors") is not None:
            return simulate(*words, **settings)  # type: ignore[arg-type]
        asked = repr((words, sorted(settings.items())))
        if asked not in made:
            made[asked] = simulate(*words, **settings)  # type: ignore[arg-type]
        return made[asked].copy(deep=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgdsm.sources.simulation.world.simulate", same_world)
        yield


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same random numbers, in whatever order they run."""
    torch.manual_seed(0)


def without_figures(patch: pytest.MonkeyPatch) -> None:
    if "sgdsm.training.train" in sys.modules:
        patch.setattr("sgdsm.training.train.run_figures", lambda *args: None)


@pytest.fixture(autouse=True)
def few_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training draws its figures in the tests of `figures` alone: they take longer than a small training."""
    if "figures" not in request.keywords:
        without_figures(monkeypatch)


@pytest.fixture(scope="session")
def unsure_world(world: xr.Dataset) -> xr.Dataset:
    """The small simulated cube with an uncertainty, missing at a fifth of the values; read only."""
    rng = np.random.default_rng(5)
    errors = rng.uniform(0.005, 0.05, world["sm"].shape).astype(np.float32)
    errors[rng.random(errors.shape) < 0.2] = np.nan
    attrs = {"role": "uncertainty", "units": "m3 m-3"}
    return world.assign(sm_uncertainty=(world["sm"].dims, np.where(np.isfinite(world["sm"]), errors, np.nan), attrs))


@pytest.fixture
def cube(plain: Callable[..., xr.Dataset]) -> xr.Dataset:
    return as_cube(plain(), "sm", ["rain"], ["clay"], precipitation="rain")


@pytest.fixture
def filled(plain: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """Makes what `sgdsm.fill` gives, filled with the climatology, whatever the target is called."""
    from sgdsm.data.normalization import Inputs
    from sgdsm.data.record import Names, read_record
    from sgdsm.inference.fill import fill_cube
    from sgdsm.inference.writers import MemoryOutput
    from sgdsm.models.classical.simple import Climatology

    def make(target: str = "sm", **shape: int) -> xr.Dataset:
        cube = as_cube(plain(**shape).rename(sm=target), target)
        record, filler, output = read_record(cube), Climatology(), MemoryOutput()
        filler.configure(Inputs.fit(record, Names.of(cube), record.observed, "m3 m-3", 1, "train"))
        fill_cube(cube, filler.eval(), output, trainer={"enable_progress_bar": False})
        return output.dataset

    return make


def compose_once(patch: pytest.MonkeyPatch, words: Sequence[str]) -> None:
    """Hydra makes the settings once to see whether they ask for a sweep, then once more: not where no word asks."""
    if not any(word in ("-m", "--multirun") or word.lstrip("+").startswith("hydra.mode=") for word in words):
        patch.setattr(Hydra, "get_mode", lambda *_, **__: None)


@pytest.fixture
def run_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, in a fresh folder; returns exit code, stdout and stderr."""

    def run(command: str, *words: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        # the command sets it, for Hydra: each call starts without it
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", [f"{command}.py", *words])
        code = 0
        capsys.readouterr()
        try:
            with pytest.MonkeyPatch.context() as patch:
                compose_once(patch, words)
                console.main(command)
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 1
        out, err = capsys.readouterr()
        return code, out, err

    return run


def in_process(folder: Path, command: str, *words: str) -> str:
    """Run a command in this process, in a folder; returns what it printed. Starting one of its own takes seconds."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        patch.setattr(sys, "argv", [f"{command}.py", *words])
        compose_once(patch, words)
        without_figures(patch)
        console.main(command)
    return printed.getvalue()


def composed(command: str, *words: str) -> dict[str, Any]:
    """The settings of a command as plain values, not checked yet."""
    return copy.deepcopy(_composed(command, words))


@functools.cache
def _composed(command: str, words: tuple[str, ...]) -> dict[str, Any]:
    kind = load(command).Settings
    return compose_settings(command, kind, as_hydra_reads(kind, words))


def run_folder(out: str) -> Path:
    """The folder that a run prints last."""
    last = out.strip().splitlines()[-1]
    assert last.startswith("run: ")
    return Path(last.removeprefix("run: "))


def shared_data() -> Path:
    """The folder of the real data; skips the test where it is absent."""
    folder = Path(os.environ.get("SGDSM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "smap_conus.nc").exists():
        pytest.skip(f"real data are absent: set SGDSM_SHARED_DATA (looked in {folder})")
    return folder
