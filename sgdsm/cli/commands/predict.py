"""Fill the gaps of a cube with the model of a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import xarray as xr

from sgdsm.core.cube import checked_cube
from sgdsm.core.errors import ConfigError
from sgdsm.core.lock import exclusive, is_first
from sgdsm.core.region import box_of, check_bbox, period_of
from sgdsm.core.settings import setting
from sgdsm.core.specification import build
from sgdsm.data.batch import check_cap
from sgdsm.data.record import warn_unusual
from sgdsm.inference.dask import fill_on_cluster
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import writer_for
from sgdsm.models.checkpoint import load_filler
from sgdsm.training.config import check_groups, check_training
from sgdsm.training.run import Run, check_data_given, file_digest, file_stamp, fingerprint, run_data
from sgdsm.training.task import TrainerOptions

USAGE = "run=PATH output=FILE [data=..] [time=A:B] [bbox=[W,S,E,N]]"
NOTE = "the same words go on where an interrupted call stopped"
OF_TRAINING = ("max_epochs", "gradient_clip", "check_every", "accumulate", "memory_gib")


@dataclass(frozen=True)
class Inference:
    """How a cube goes through a model."""

    memory_gib: float | None = setting(
        None, "for one slab; two or three are in memory; null = 1, on a GPU 4; an output that was begun keeps its slabs"
    )
    window_cells: int | None = setting(
        None, "side of the windows that go through a network; null = the model's own, wider ones on a GPU"
    )
    cluster: bool = setting(
        False, "fill on the dask cluster of DASK_SCHEDULER_ADDRESS, or on one made here; each worker holds a slab"
    )

    def __post_init__(self) -> None:
        if self.memory_gib is not None and self.memory_gib <= 0:
            raise ConfigError(f"inference.memory_gib={self.memory_gib}: expected more than 0")
        if self.window_cells is not None and self.window_cells < 1:
            raise ConfigError(f"inference.window_cells={self.window_cells}: expected at least 1, or null")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to fill, with which run, and where to write."""

    data: dict[str, Any] | None = setting(
        None, "the cube to fill; by default that of the run", group=True, from_run=True
    )
    trainer: dict[str, Any] = setting("default", "devices, precision", group=True)
    run: str = setting(help="folder of the run", path=True)
    output: str = setting(help="FILE.nc or FILE.zarr; {year} in the name splits it by years", path=True)
    time: str | None = setting(None, "first and last day, like 2015-04-01:2015-06-30")
    bbox: list[Any] | None = setting(None, "[west, south, east, north], degrees")
    max_gap_days: int | None = setting(None, "fill only values at most so many days from an observation of their cell")
    inference: Inference = setting(Inference(), "how the cube goes through the model")

    def __post_init__(self) -> None:
        check_data_given(self.data)
        if self.bbox is not None:
            check_bbox(self.bbox)
        period_of(self.time)
        check_cap(self.max_gap_days)
        options = check_groups({"trainer": self.trainer}, ["trainer"])["trainer"]
        for key in OF_TRAINING:
            if getattr(options, key) != getattr(type(options), key):
                raise ConfigError(
                    f"trainer.{key}={getattr(options, key)}: it belongs to training, predict has no use for it"
                )
        if self.inference.cluster:
            _check_no_device(options)


def run(settings: Settings) -> None:
    """Fill a cube with a run's filler and write it."""
    run = Run(settings.run)
    trained = run.config()
    check_training(trained)
    if not run.model.is_file():
        raise ConfigError(f"run={run.folder}: its training has not ended; go on with: python train.py run={run.folder}")
    filler = load_filler(run.model)
    options: TrainerOptions = build(settings.trainer, TrainerOptions)
    options.prepare(filler, trained["trainer"])
    output = writer_for(settings.output)
    data = run_data(trained, settings.data)
    cube = checked_cube(build(data, xr.Dataset))
    warn_unusual(cube)
    # dask's workers have no GPU
    used = replace(options, accelerator="cpu") if settings.inference.cluster else options
    how: dict[str, Any] = {
        "source": f"{run.model_name()} fitted in {run.folder.name}",
        "identity": f"{file_digest(run.model)} {fingerprint(cube)} {file_stamp(data.get('path'))}",
        "box": box_of(cube, period_of(settings.time), settings.bbox),
        "max_gap_days": settings.max_gap_days,
        "memory_gib": settings.inference.memory_gib or _memory_gib(options, settings.inference.cluster),
        "window_cells": settings.inference.window_cells,
        "precision": {"setting": options.precision, "used": used.precision_of(filler)},
    }
    with exclusive(settings.output):
        if settings.inference.cluster:
            fill_on_cluster(cube, filler, output, partial(build, data, xr.Dataset), **how)
        else:
            fill_cube(cube, filler, output, trainer=options.predicting(several=True), **how)
    if is_first():
        print(f"filled: {settings.output}")


def _memory_gib(options: TrainerOptions, cluster: bool) -> float:
    """Return the memory for a slab: a GPU waits for what is read, and of larger slabs less is read twice."""
    on_gpu = options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() and not cluster
    return 4.0 if on_gpu else 1.0


def _check_no_device(options: TrainerOptions) -> None:
    for key in ("devices", "num_nodes", "precision", "accelerator"):
        value, default = getattr(options, key), getattr(type(options), key)
        if value != default and (key, value) != ("accelerator", "cpu"):
            raise ConfigError(f"trainer.{key}={value}: inference.cluster=true fills on the CPUs of dask's workers")
