"""Callbacks of a training: its history, its early end, its learning rates, and checkpoints written whole."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning import callbacks
from pytorch_lightning.plugins import TorchCheckpointIO

from sgdsm.core.logging import PASSING, log
from sgdsm.models.checkpoint import save_whole

BEST = "best.pt"
RATE = "learning_rate"


class TrainingHistory(pl.Callback):
    """Loss and validation score of each epoch in `training.csv`, and the best weights in BEST.

    Resumes where an interrupted run stopped, also when its folder was moved.

    Args:
        folder: Of the run.
        curve: Whether `training.csv` is written.

    Attributes:
        rows: Epoch, loss, validation scores and learning rates of each epoch so far.
        seconds: Of training so far.
    """

    def __init__(self, folder: Path, curve: bool = True) -> None:
        self.folder, self.curve = folder, curve
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._validated: dict[str, float] = {}

    @property
    def best(self) -> float:
        """Smallest validation RMSE so far, in the target's units."""
        return min((row.get("validation_rmse", math.inf) for row in self.rows), default=math.inf)

    @property
    def best_epoch(self) -> int | None:
        """Number of the epoch with the smallest validation RMSE, from 1; None in a further process of a run."""
        best = min(self.rows, key=lambda row: row.get("validation_rmse", math.inf), default=None)
        return None if best is None else int(best["epoch"]) + 1

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
        found = trainer.callback_metrics
        rates = {name: float(found[name]) for name in sorted(found) if name.startswith(RATE)}
        row = {
            "epoch": float(trainer.current_epoch),
            "train_loss": float(found["train_loss"]),
            **self._validated,
            **rates,
        }
        score = self._validated.get("validation_rmse")
        if not trainer.is_global_zero:
            self._validated = {}
            return
        if score is not None and score < self.best:
            save_whole(pl_module.state_dict(), self.folder / BEST)
        self.rows.append(row)
        self._validated = {}
        self.seconds = time.perf_counter() - self._begin
        if not self.curve:
            return
        names = ("train_loss", "validation_rmse", "validation_bias", *rates)
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
        log.info("resuming after epoch %d", len(self.rows), extra=PASSING)


class EarlyStopping(callbacks.EarlyStopping):
    """Ends the training of a network whose validation RMSE no longer falls.

    The weights of the best epoch are kept with it and without it. The learning rate falls until the last epoch of
    `model.epochs`, so that a training that ends early has not seen the small ones.

    Args:
        patience: Validations in a row without a smaller RMSE after which the training ends; `trainer.check_every`
            epochs lie between two validations.
        min_delta: By how much the RMSE must fall to count as smaller, in the target's units.
    """

    def __init__(self, patience: int = 3, min_delta: float = 0.0) -> None:
        # after the validation, not at the end of an epoch, where none may have been
        # a value that is not finite is no smaller one, and says so like any other
        super().__init__("validation_rmse", min_delta, patience, check_finite=False, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # a run that was killed between its last epoch and its end does not go on to train
        trainer.should_stop = trainer.should_stop or self.stopped_epoch > 0

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopped_epoch and trainer.is_global_zero:
            log.info(
                "ended after epoch %d: the validation RMSE did not fall in %d validations",
                self.stopped_epoch + 1, self.wait_count,
            )  # fmt: skip


class LearningRates(pl.Callback):
    """Writes the learning rates at the end of each epoch to the logger.

    `learning_rate` is that of the optimizer's first group of weights, `learning_rate_2` that of the second.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for number, group in enumerate(trainer.optimizers[0].param_groups, 1):
            pl_module.log(RATE if number == 1 else f"{RATE}_{number}", group["lr"])


class WholeCheckpoints(TorchCheckpointIO):
    """Write checkpoints whole or not at all.

    Lightning writes them among the temporary files and moves them, which copies where those lie on another disk: a
    kill in the middle would leave half a checkpoint in place of the one before.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        save_whole(checkpoint, Path(path))
