"""Show what a run's estimates rest on: importances of covariates and features, as a table and a figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import setting
from sgdsm.inference.importance import of_trees, with_permutation
from sgdsm.models.checkpoint import load_filler
from sgdsm.models.trees.filler import TreeFiller
from sgdsm.models.uncertainty.wrappers import innermost
from sgdsm.report.importances import importance_figure, write_table
from sgdsm.training.config import check_training
from sgdsm.training.run import Run, only_open
from sgdsm.training.task import TrainerOptions, TrainingTask

USAGE = "run=PATH [output=FOLDER]"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The run to explain."""

    run: str = setting(help="folder of a run", path=True)
    output: str | None = setting(None, "folder; by default that of the run's figures", path=True)
    block_days: int = setting(30, "covariates are permuted in blocks of so many days; intervals are over such blocks")


def run(settings: Settings) -> None:
    """Write the importances, measured at the hidden values of the validation split."""
    run = Run(settings.run)
    trained = run.config()
    check_training(trained)
    only_open(trained["data"])
    filler = innermost(load_filler(run.model))
    filler.to("cuda" if torch.cuda.is_available() else "cpu")
    task = TrainingTask.from_config(trained)
    run.check_data(task.whole)
    TrainerOptions().prepare(filler, trained["trainer"])
    if not (filler.inputs.dynamic or filler.inputs.static):
        raise ConfigError(f"explain: the run {run.folder} knows no covariate, there is nothing to compare")
    scene = task.data.scene_of(task.split.scenarios["validation"])
    of_features = of_trees(filler, task.data) if isinstance(filler, TreeFiller) else []
    importances = with_permutation(of_features, filler, scene, settings.block_days)
    folder = Path(settings.output or run.figures)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{run.folder.name}: what the estimates rest on (validation split)"
    picture = importance_figure(importances, folder / "importances.png", title, filler.inputs.units)
    print(f"table: {write_table(importances, folder / 'importances.csv')}\nfigure: {picture}")
