"""Fill the gaps of a cube with the model of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from sgdsm.cli.reports import check_page, entries_of, report_of, write_page
from sgdsm.core.cube import checked_cube, target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.filled import version_line
from sgdsm.core.lock import exclusive, is_first
from sgdsm.core.region import box_of, check_bbox, period_of
from sgdsm.core.settings import setting
from sgdsm.core.specification import build
from sgdsm.data.batch import check_cap
from sgdsm.data.record import usable, warn_unusual
from sgdsm.inference.causal import look_back_only, read_climatology, save_climatology
from sgdsm.inference.dask import fill_on_cluster
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.refill import box_to_refill, merge, opened, up_to_date
from sgdsm.inference.writers import PLAN, Writer, writer_for
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler
from sgdsm.models.uncertainty.wrappers import innermost
from sgdsm.report.interactive import require_bokeh
from sgdsm.training.config import check_groups, check_training
from sgdsm.training.run import PROVENANCE, Run, check_data_given, file_digest, file_stamp, fingerprint, run_data
from sgdsm.training.task import TrainerOptions, training_values

USAGE = "run=PATH output=FILE [data=..] [time=A:B] [bbox=[W,S,E,N]]"
NOTE = "the same words go on where an interrupted call stopped; refill_days=30 keeps a file up to date as data arrive"
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
    causal: bool = setting(
        False,
        "near real time: look at nothing after the day that is filled (a run trained with causal=true always does)",
    )
    refill_days: int | None = setting(
        None, "fill the last so many days of output= again, and the days that the cube has after them"
    )
    max_gap_days: int | None = setting(None, "fill only values at most so many days from an observation of their cell")
    report: str | None = setting(
        None, "a page of the run and the filled file, like report.html; needs pip install 'sgdsm[report]'", path=True
    )
    inference: Inference = setting(Inference(), "how the cube goes through the model")

    def __post_init__(self) -> None:
        check_data_given(self.data)
        if self.bbox is not None:
            check_bbox(self.bbox)
        period_of(self.time)
        check_cap(self.max_gap_days)
        if self.refill_days is not None:
            if self.refill_days < 1:
                raise ConfigError(f"refill_days={self.refill_days}: expected at least 1")
            if self.time is not None or self.bbox is not None:
                raise ConfigError("refill_days: days and grid are those of the file: leave out time= and bbox=")
        if self.report is not None:
            check_page("report", self.report)
            if "{year}" in self.output:
                raise ConfigError(
                    f"report={self.report}: output={self.output} makes several files: run `sgdsm report` on one of them"
                )
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
    if settings.report is not None:
        require_bokeh()
    run = Run(settings.run)
    trained = run.config()
    check_training(trained)
    if not run.model.is_file():
        raise ConfigError(f"run={run.folder}: its training has not ended; go on with: sgdsm train run={run.folder}")
    # before the work: a run without scores has no page
    entries = [] if settings.report is None else entries_of([settings.run])
    filler = load_filler(run.model)
    options: TrainerOptions = build(settings.trainer, TrainerOptions)
    options.prepare(filler, trained["trainer"])
    if settings.causal:
        look_back_only(filler)
        if not run.climatology.is_file():
            last = run.last_day()
            if last is None:
                raise ConfigError(
                    f"causal=true: {run.folder / PROVENANCE} does not say up to which day the run has learned: train "
                    "it again"
                )
            own = usable(build(run_data(trained, None), xr.Dataset)).sel(time=slice(None, last))
            values, which = training_values(own, trained)
            save_climatology(values, filler.inputs, run.climatology, which)
    # of a file that is filled again another one is made, beside it
    output = writer_for(settings.output if settings.refill_days is None else _beside(settings))
    data = run_data(trained, settings.data)
    cube = checked_cube(build(data, xr.Dataset))
    warn_unusual(cube)
    # dask's workers have no GPU
    used = replace(options, accelerator="cpu") if settings.inference.cluster else options
    if settings.refill_days is not None and settings.inference.cluster:
        raise ConfigError("inference.cluster=true: the last days are filled again on one machine")
    how: dict[str, Any] = {
        "source": f"{type(innermost(filler)).__name__} fitted in {run.folder.name}",
        "identity": f"{file_digest(run.model)} {fingerprint(cube)} {file_stamp(data.get('path'))}",
        "box": box_of(cube, period_of(settings.time), settings.bbox),
        "max_gap_days": settings.max_gap_days,
        "memory_gib": settings.inference.memory_gib or _memory_gib(options, settings.inference.cluster),
        "window_cells": settings.inference.window_cells,
        "precision": {"setting": options.precision, "used": used.precision_of(filler)},
    }
    if filler.inputs.causal:
        how["climatology"] = read_climatology(run.climatology, cube)
        how["identity"] += " causal"
    with exclusive(settings.output):
        if settings.refill_days is not None:
            _refill(settings, cube, filler, output, options, how)
        elif settings.inference.cluster:
            fill_on_cluster(cube, filler, output, partial(build, data, xr.Dataset), **how)
        else:
            fill_cube(cube, filler, output, trainer=options.predicting(several=True), **how)
    if is_first():
        print(f"filled: {settings.output}")
        if settings.report is not None:
            write_page(report_of(entries, settings.output, other_grid=True), settings.report)


def _beside(settings: Settings) -> Path:
    """Return where the days go that are filled again, until they are put in."""
    return Path(settings.output).with_suffix(".refill.nc")


def _refill(
    settings: Settings,
    cube: xr.Dataset,
    filler: GapFiller,
    writer: Writer,
    options: TrainerOptions,
    how: dict[str, Any],
) -> None:
    """Fill the last days of the output again, beside it, and put them in."""
    path, days = Path(settings.output), settings.refill_days or 0
    if options.several:
        raise ConfigError(f"refill_days={days}: one device is enough: leave out trainer.devices and trainer.num_nodes")
    digest = hashlib.sha256(f"{how['identity']} {days}".encode()).hexdigest()[:16]
    with opened(path) as filled:
        if up_to_date(filled, digest):
            # killed just before it was removed
            _beside(settings).unlink(missing_ok=True)
            print("the file is of this run, these data and days already")
            return
        if filled.attrs.get("source") != how["source"]:
            raise ConfigError(f"output={path}: filled by {filled.attrs.get('source')}, not by {how['source']}")
        box = box_to_refill(filled, cube, days)
        # an interrupted one goes on, unless the file has changed since
        identity = f"{how['identity']} into {filled.attrs.get(PLAN)}"
    fill_cube(
        cube,
        filler,
        writer,
        trainer=options.predicting(),
        **{**how, "box": box, "identity": identity},
    )
    print(version_line(merge(path, _beside(settings), digest), str(target_of(cube).attrs.get("units", "1"))))
    _beside(settings).unlink()


def _memory_gib(options: TrainerOptions, cluster: bool) -> float:
    """Return the memory for a slab: a GPU waits for what is read, and of larger slabs less is read twice."""
    on_gpu = options.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() and not cluster
    return 4.0 if on_gpu else 1.0


def _check_no_device(options: TrainerOptions) -> None:
    for key in ("devices", "num_nodes", "precision", "accelerator"):
        value, default = getattr(options, key), getattr(type(options), key)
        if value != default and (key, value) != ("accelerator", "cpu"):
            raise ConfigError(f"trainer.{key}={value}: inference.cluster=true fills on the CPUs of dask's workers")
