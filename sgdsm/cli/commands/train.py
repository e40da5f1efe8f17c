"""Fit a gap-filler, calibrate and score it; prints the folder of the run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from sgdsm.cli.hydra_state import is_run_folder_given, is_sweep, run_folder, shown
from sgdsm.core.errors import ConfigError
from sgdsm.core.lock import is_first
from sgdsm.core.signals import going_on
from sgdsm.training.config import TrainingConfig as Settings
from sgdsm.training.run import CONFIG, Run
from sgdsm.training.train import scores_text
from sgdsm.training.train import train as train_in

USAGE = (
    "[data=..] [model=..] [gaps=..] [splits=..] [trainer=..] [uncertainty=..] [logger=..] [callbacks=..] "
    "[experiment=..] | run=PATH"
)
NOTE = (
    "name=NAME puts the run into runs/NAME, output=FOLDER into any folder; run=PATH resumes an interrupted training; "
    "data=netcdf --help shows the settings of a file of your own; --config-dir=FOLDER adds settings of your own"
)
HYDRA = {
    "run": {"dir": "runs/${now:%Y-%m-%d_%H-%M-%S}_${hydra:runtime.choices.model}"},
    "sweep": {
        "dir": "runs/${now:%Y-%m-%d_%H-%M-%S}_sweep",
        "subdir": "${hydra:job.num}_${hydra:runtime.choices.model}",
    },
}


def prepared(words: Sequence[str]) -> list[str]:
    """Return the words with the folder of the run, or of the runs of a sweep, as Hydra takes it."""
    named = [word for word in words if word.partition("=")[0] in ("name", "output")]
    if not named:
        return list(words)
    key, _, value = named[0].partition("=")
    value = value.strip("'\"")
    given = any(word.startswith("hydra.run.dir=") for word in words)
    if given and not is_first():  # Lightning starts it with the words of the first process, and the folder
        return [word for word in words if word not in named]
    if len(named) > 1 or given:
        raise ConfigError(f"{named[0]}: the folder of the run is given twice; expected one of name= and output=")
    if value in ("", "null", ".", "..") or (key == "name" and "/" in value):
        expected = "a name without '/', of a folder in runs" if key == "name" else "the name of a folder"
        raise ConfigError(f"{named[0]}: expected {expected}")
    folder = f"runs/{value}" if key == "name" else value
    of_hydra = "hydra.sweep.dir" if {"-m", "--multirun"} & set(words) else "hydra.run.dir"
    return [*(word for word in words if word not in named), f"{of_hydra}='{folder}'"]


def run(settings: Settings) -> float:
    """Train in the folder that Hydra made; returns the validation RMSE, which sweeps minimise."""
    folder = run_folder()
    if is_first() and (folder / CONFIG).exists() and not (is_sweep() or is_run_folder_given()):
        # another training began within the same second, after which folders are named
        folder = next(free for k in count(2) if not (free := Path(f"{folder}_{k}")).exists())
    if is_first() and (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds a run already: go on with run={folder}, or choose another name=")
    finished = train_and_print(settings, Run(folder))
    score: float = finished.metrics()["validation_rmse"]
    return score


def train_and_print(settings: Settings, run: Run, figures: bool = True) -> Run:
    """Train in the folder of a run, or resume there, and print scores and folder.

    A further process of a training on several devices ends here: the first goes on alone.
    """
    folder = shown(run.folder)

    def how_to_resume() -> str:
        return f"go on with: python train.py run={folder}" if (folder / CONFIG).is_file() else ""

    with going_on(how_to_resume):
        trained = train_in(settings.training(), folder, figures=figures)
    if not is_first():
        sys.exit(0)
    print(f"\n{scores_text(trained)}")
    print(f"run: {folder}")
    return trained
