"""Processor time of everything but the network, per value of the grid (sea included), in filling a global cube.

    python benchmarks/host.py FOLDER [days=368 rows=120 memory_gib=0.2 window_cells=64 rounds=3 output=nc,zarr]

A pretended network with the windows of `seamless` or of `pconv3d` returns the climatology, alone or with intervals, and
takes no time. Printed: nanoseconds of the main thread, of reading, of writing and of the end (joining), of the whole
process, and what 46 years of 720 x 1440 cells would take. FOLDER keeps the simulated world.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
import xarray as xr

from sgdsm.core.specification import build
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.inference import survey, writers
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.reader import SlabReader
from sgdsm.inference.slab_filler import SlabFiller
from sgdsm.inference.writers import writer_for
from sgdsm.models.base import GapFiller, quiet_lightning
from sgdsm.models.uncertainty.error_bars import ErrorBars
from sgdsm.sources.simulation.world import simulate_store

NETWORKS = {"seamless": "Seamless", "pconv3d": "PartialConvNetwork"}
GLOBAL_VALUES = 46 * 365 * 720 * 1440
CPU = {"accelerator": "cpu", "enable_progress_bar": False}


class NoNetwork(GapFiller):
    """Returns what it is given.

    Args:
        intervals: Also give intervals and the distance.
    """

    def __init__(self, intervals: bool = False) -> None:
        super().__init__()
        self.level = 0.9 if intervals else None

    @property
    def error_bars(self) -> ErrorBars | None:
        return None if self.level is None else ErrorBars(self.level, False, None, 30.0)

    def fill(self, batch: Batch) -> Filled:
        mean = batch.climatology
        return Filled(mean) if self.level is None else Filled(mean, mean, mean, mean, None, batch.sm)


class Stages:
    """Processor time of each stage, in the thread that does it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            begin = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                self.seconds[stage] += time.thread_time() - begin

        return call


def cost(cube: xr.Dataset, filler: GapFiller, path: Path, **settings: Any) -> dict[str, float]:
    """Fill once; nanoseconds per value of the grid, by stage."""
    stages = Stages()
    # what one thread does, and what it hands to others
    places = [
        ("read", SlabReader, "__getitem__"),
        ("read", SlabReader, "_read_covariate"),
        ("write", writers.NetcdfOutput, "write"),
        ("write", writers.NetcdfOutput, "_packed"),
        ("write", writers.ZarrOutput, "write"),
        ("end", SlabFiller, "finish"),
    ]
    # as for a record of 46 years, of which the climatology of the domain takes a sample
    patches = [patch.object(survey, "PRIOR_VALUES", 0)]
    patches += [patch.object(o, name, stages.timed(stage, getattr(o, name))) for stage, o, name in places]
    begin, whole, main = time.perf_counter(), time.process_time(), time.thread_time()
    with ExitStack() as stack:
        for one in patches:
            stack.enter_context(one)
        fill_cube(cube, filler, writer_for(path), trainer=CPU, **settings)
    found = stages.seconds
    found["main"] = time.thread_time() - main - found["end"]
    found["total"] = time.process_time() - whole
    found["wall"] = time.perf_counter() - begin
    values = cube["sm"].size
    return {stage: 1e9 * seconds / values for stage, seconds in found.items()}


def main(folder: str, *words: str) -> None:
    given = {
        "days": "368",
        "rows": "120",
        "memory_gib": "0.2",
        "window_cells": "64",
        "rounds": "3",
        "output": "nc,zarr",
    }
    given |= {"networks": "seamless,pconv3d", "intervals": "false,true"} | dict(w.split("=", 1) for w in words)
    rows = int(given["rows"])
    path = Path(folder) / f"world_{rows}_{given['days']}.zarr"
    cube = simulate_store(
        str(path), rows=rows, columns=2 * rows, days=int(given["days"]), resolution=180 / rows, land_fraction=0.34
    )
    part = cube.isel(lat=slice(0, 100))
    record, names = read_record(part.load()), Names.of(cube)
    inputs = Inputs.fit(record, names, record.observed, "m3 m-3", 1, "train")
    quiet_lightning()
    torch.set_num_threads(1)
    settings = {"memory_gib": float(given["memory_gib"])}
    print(f"{cube['sm'].shape}, land {float(cube['land'].mean()):.0%}, {given}")
    kinds = [
        (n, i == "true", s)
        for n in given["networks"].split(",")
        for i in given["intervals"].split(",")
        for s in given["output"].split(",")
    ]
    found: dict[Any, list[dict[str, float]]] = defaultdict(list)
    for _ in range(int(given["rounds"])):
        for name, intervals, suffix in kinds:
            real = build({"_target_": f"sgdsm.models.{NETWORKS[name]}"}, GapFiller)
            filler = NoNetwork(intervals)
            filler.configure(inputs)
            filler.window, filler.batch_size, filler.wide_cells = real.window, real.batch_size, real.wide_cells
            with TemporaryDirectory(dir=folder) as place:
                settings["window_cells"] = int(given["window_cells"]) or None
                took = cost(cube, filler.eval(), Path(place) / f"filled.{suffix}", **settings)
            found[name, intervals, suffix].append(took)
    for (name, intervals, suffix), rounds in found.items():
        ns = {stage: median(one[stage] for one in rounds) for stage in rounds[0]}
        years = {stage: GLOBAL_VALUES * ns[stage] * 1e-9 / 60 for stage in ("main", "total")}
        print(
            f"{name}{' with intervals' if intervals else ''}, {suffix}: "
            + ", ".join(f"{stage} {ns[stage]:.0f}" for stage in ("main", "read", "write", "end", "total", "wall"))
            + f" ns a value; 46 global years: {years['main']:.0f} min of the main thread, {years['total']:.0f} in all",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
