"""Where the course of a training is written: training.csv, and beside it a logger of Lightning's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from sgdsm.core.arguments import Recorded
from sgdsm.core.errors import ConfigError
from sgdsm.core.extras import need
from sgdsm.core.specification import TARGET, build

PROJECT = "sgdsm"
CSV = {TARGET: "sgdsm.training.RunLogger", "kind": "csv"}  # the default
PACKAGES = ("tensorboard", "wandb", "mlflow")  # the extra of each has its name


@dataclass(frozen=True)
class RunLogger(Recorded):
    """Where losses and validation scores of each epoch, and the settings and scores of the run, are written.

    Nothing leaves this machine: wandb works offline, mlflow in files.

    Args:
        kind: csv: training.csv in the run's folder, of networks; tensorboard, wandb, mlflow: that file, and a folder of
            that program there (tensorboard, wandb, mlruns); none: nothing.

    Raises:
        ConfigError: The package of that program is not installed.
    """

    kind: Literal["csv", "tensorboard", "wandb", "mlflow", "none"] = "csv"

    def __post_init__(self) -> None:
        if self.kind in PACKAGES:
            need(self.kind, self.kind, f"logger={self.kind}")

    @property
    def curve(self) -> bool:
        """Return True if training.csv is written."""
        return self.kind != "none"


def logger_of(config: Mapping[str, Any]) -> RunLogger:
    """Return the logger settings of a run.

    Args:
        config: Plain values of `TrainingConfig`; runs of before there were loggers have none.
    """
    settings: RunLogger = build(config.get("logger", CSV), RunLogger)
    return settings


@contextmanager
def opened(config: Mapping[str, Any], folder: Path) -> Iterator[Logger | None]:
    """Open the logger of a run; one that an interrupted run began is gone on with.

    Args:
        config: Plain values of `TrainingConfig`.
        folder: Of the run.

    Yields:
        Lightning's logger; None where training.csv is all.
    """
    kind = logger_of(config).kind
    if kind not in PACKAGES:
        yield None
        return
    if kind == "wandb":
        yield from _wandb(folder)
    else:
        yield _tensorboard(folder) if kind == "tensorboard" else _mlflow(folder)


def write_result(logger: Logger | None, config: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """Write the settings and the scores of a finished run.

    Args:
        logger: From `opened`.
        config: Plain values of `TrainingConfig`.
        scores: By the names under which they appear.
    """
    if isinstance(logger, TensorBoardLogger):
        logger.log_hyperparams(dict(config), dict(scores))
    elif logger is not None:
        logger.log_hyperparams(dict(config))
        logger.log_metrics(dict(scores))
    if logger is not None:
        logger.finalize("success")


def _tensorboard(folder: Path) -> Logger:
    # `tensorboard --logdir runs` names each run by its folder
    return TensorBoardLogger(folder, "tensorboard", "")


def _wandb(folder: Path) -> Iterator[Logger]:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    if wandb.run is not None:  # Lightning writes into a run that is open, which may send what it gets
        raise ConfigError("logger=wandb: a run of wandb is open in this process: call wandb.finish() first")
    begun = sorted(folder.glob("wandb/offline-run-*"))
    logger = WandbLogger(
        folder.name,
        folder,
        offline=True,
        id=begun[-1].name.rpartition("-")[2] if begun else None,
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        settings=wandb.Settings(console="off", silent=True, x_disable_stats=True),
    )
    logger._wandb_init.pop("anonymous", None)  # Lightning passes it, and wandb warns of it
    try:
        yield logger
    finally:
        if wandb.run is not None:
            wandb.finish()  # the next run of this process would be written into this one


def _mlflow(folder: Path) -> Logger:
    # files are all that runs without a database; newer versions want to hear that this is meant
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    begun = sorted(path.parent.name for path in folder.glob(f"mlruns/*/{'[0-9a-f]' * 32}/meta.yaml"))
    store = (folder / "mlruns").resolve().as_uri()
    return MLFlowLogger(PROJECT, folder.name, store, run_id=begun[0] if begun else None)
