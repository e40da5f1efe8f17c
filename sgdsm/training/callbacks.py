"""Callbacks of a training: its history, and checkpoints written whole."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins import TorchCheckpointIO

from sgdsm.core.logging import log
from sgdsm.models.checkpoint import save_whole

BEST = "best.pt"


class TrainingHistory(pl.Callback):
    """Loss and validation score of each epoch in `training.csv`, and the best weights in BEST.

    Resumes where an interrupted run stopped, also when its folder was moved.

    Args:
        folder: Of the run.

    Attributes:
        seconds: Of training so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._validated: dict[str, float] = {}

    @property
    def best(self) -> float:
        """Smallest validation RMSE so far, in the target's units."""
        return min((row.get("validation_rmse", math.inf) for row in self.rows), default=math.inf)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = time.perf_counter() - self.seconds

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # the last epoch, with the smallest learning rates, is always validated
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = ("validation_rmse", "validation_bias")
        self._validated = {name: float(trainer.callback_metrics[name]) for name in names}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train_loss"])
        row = {"epoch": float(trainer.current_epoch), "train_loss": loss, **self._validated}
        score = self._validated.get("validation_rmse")
        if not trainer.is_global_zero:
            self._validated = {}
            return
        if score is not None and score < self.best:
            save_whole(pl_module.state_dict(), self.folder / BEST)
        self.rows.append(row)
        self._validated = {}
        self.seconds = time.perf_counter() - self._begin
        names = ("train_loss", "validation_rmse", "validation_bias")
        lines = [",".join(("epoch", *names))]
        lines += [
            ",".join([f"{row['epoch']:.0f}", *(f"{row[n]:.6g}" if n in row else "" for n in names)])
            for row in self.rows
        ]
        (self.folder / "training.csv").write_text("\n".join(lines) + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]
        log.info("resuming after epoch %d", len(self.rows))


class WholeCheckpoints(TorchCheckpointIO):
    """Write checkpoints whole or not at all.

    Lightning writes them among the temporary files and moves them, which copies where those lie on another disk: a
    kill in the middle would leave half a checkpoint in place of the one before.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        save_whole(checkpoint, Path(path))
