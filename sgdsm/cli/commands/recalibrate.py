"""Fit the intervals of a run again, to recent values that it has not learned from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import xarray as xr

from sgdsm.core.cube import checked_cube
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import check_folder
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.core.specification import build
from sgdsm.data.gaps import Gaps
from sgdsm.inference.causal import read_climatology
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.uncertainty.calibrated import Calibrated
from sgdsm.training.config import check_training
from sgdsm.training.recalibrate import refit
from sgdsm.training.run import CONFIG, METRICS, MODEL, PROVENANCE, Run, check_data_given, fingerprint, run_data
from sgdsm.training.task import TrainerOptions

USAGE = "run=PATH output=NEWRUN [data=..] [days=180]"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The run, and the recent values."""

    data: dict[str, Any] | None = setting(
        None, "the cube, which goes on by now; by default that of the run", group=True, from_run=True
    )
    run: str = setting(help="folder of the run", path=True)
    output: str = setting(help="folder of the new run", path=True)
    days: int = setting(180, "at the end of the cube, as far as the run has not learned from them")
    half_life_days: float = setting(90.0, "a value so much older counts half")
    seed: int = setting(0, "of what is hidden")

    def __post_init__(self) -> None:
        check_data_given(self.data)
        if self.half_life_days < 1:
            raise ConfigError(f"half_life_days={self.half_life_days}: expected at least 1")


def run(settings: Settings) -> None:
    """Fit the intervals and keep the filler as another run."""
    run, output = Run(settings.run), Run(settings.output)
    trained, metrics = run.config(), run.metrics()
    check_training(trained)
    if output.folder.exists():
        raise ConfigError(f"output={output.folder} exists: remove it, or choose another")
    check_folder("output", output.folder)
    if metrics["protocol"].get("learned_from"):
        raise ConfigError(f"run={run.folder} started from another run: the last day it learned from is unknown")
    filler = load_filler(run.model)
    if not isinstance(filler, Calibrated):
        raise ConfigError(
            f"run={run.folder}: {type(filler).__name__} has no intervals; expected a run with uncertainty=conformal"
        )
    origin = run.provenance()
    learned = origin["data"].get("last_day")
    if learned is None:
        raise ConfigError(
            f"{run.folder / PROVENANCE}: does not say up to which day the run has learned: train it again"
        )
    data = run_data(trained, settings.data)
    cube = checked_cube(build(data, xr.Dataset))
    gaps: Gaps = build(trained["gaps"], Gaps)
    TrainerOptions().prepare(filler, trained["trainer"])
    climatology = read_climatology(run.climatology, cube) if filler.inputs.causal else None
    change = refit(cube, filler, gaps, learned, settings.days, settings.half_life_days, settings.seed, climatology)
    with exclusive(output.folder):
        path = {k: str(v) for k, v in data.items() if k == "path"}
        about = {"run": run.folder.name, "data": {"fingerprint": fingerprint(cube), **path}, **change}
        output.write(CONFIG, trained)
        output.write(PROVENANCE, {**origin, "recalibrated": about})
        if climatology is not None:
            shutil.copyfile(run.climatology, output.climatology)
        save_filler(filler, output.folder / MODEL)
        # its scores would be those of other intervals
        output.write(METRICS, {k: v for k, v in metrics.items() if k != "classes"} | {"recalibrated": about})
    print(
        f"{change['hidden']} values hidden from {change['first_day']} to {change['last_day']}: the "
        f"{100 * filler.level:g} % interval covered {change['covered']:.3f}; it is {change['width']:.2f} times as wide "
        f"now\nrun: {output.folder}"
    )
