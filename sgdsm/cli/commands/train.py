"""Fit a gap-filler, calibrate and score it; prints the folder of the run."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

from sgdsm.cli.hydra_state import is_run_folder_given, is_sweep, run_folder, shown
from sgdsm.cli.overrides import with_run_folder
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
    "`sgdsm train` without a word about the model takes model=auto, train.py pconv3d; "
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


prepared = with_run_folder


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
        return f"go on with: sgdsm train run={folder}" if (folder / CONFIG).is_file() else ""

    with going_on(how_to_resume):
        trained = train_in(settings.training(), folder, figures=figures)
    if not is_first():
        sys.exit(0)
    print(f"\n{scores_text(trained)}")
    print(f"run: {folder}")
    return trained
