"""`GapFiller`: common base of networks, tree models, classical methods and uncertainty wrappers."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from torch import Tensor

from sgdsm.core.arguments import TARGET, Recorded
from sgdsm.core.errors import ConfigError
from sgdsm.core.tiling import Axis, axis
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs
from sgdsm.evaluation.metrics import State, bin_statistics, error_statistics, metrics
from sgdsm.models.uncertainty.error_bars import ErrorBars


@dataclass(frozen=True)
class Window:
    """Tile size and receptive field of a model.

    Attributes:
        days: Length of a window, in steps of the cube; None: the whole record.
        cells: Rows and columns of a window; None: the whole grid.
        halo_days: Reach of the receptive field before and after an output, in steps; None: the whole window.
        halo_cells: The same in rows and columns; None: the whole window.
        longest: In filling windows may be so many times as long as in training; only without a halo in time.
        ahead: False where nothing after a day is looked at: in filling, windows then end with the days that they
            estimate, half of a window without a halo in time, and lie at fixed places.
    """

    days: int | None
    cells: int | None = None
    halo_days: int | None = None
    halo_cells: int | None = None
    longest: int = 1
    ahead: bool = True

    def tile(self, shape: Sequence[int], circular: bool, filling: bool = False) -> tuple[Axis, Axis, Axis]:
        """Return the tiling of a cube: axes of days, rows and columns.

        Args:
            shape: Of the cube, (T, H, W).
            circular: True if the columns go round the globe.
            filling: True for filling, where windows may be longer than in training.
        """
        days = axis(shape[0], self.days, self.halo_days, longest=self.longest if filling else 1)
        if filling and not self.ahead and self.days is not None:
            reach = self.days // 2 if self.halo_days is None else self.halo_days
            days = Axis(shape[0], self.days - (self.halo_days or 0), reach, True, ahead=False)
        elif self.days is not None and self.halo_days is not None and self.days == 2 * self.halo_days + 1:
            # a model of the middle day: that day stays in the middle, however short the record
            days = Axis(shape[0], self.days, self.halo_days, True)
        return (
            days,
            axis(shape[1], self.cells, self.halo_cells),
            axis(shape[2], self.cells, self.halo_cells, circular),
        )


class GapFiller(Recorded, pl.LightningModule, ABC):
    """Fills the gaps of windows; a LightningModule whose validation is common to all models.

    A subclass declares its `window` and `batch_size`, implements `fill`, and builds what depends on the variables in
    `setup_inputs`. One that is trained sets `epochs` and implements Lightning's `training_step`. One that `chooses`
    settings does so in the validation pass after training. All log `validation_rmse` at the end of that pass, for the
    chosen settings.

    Attributes:
        uses_repeat_cycle: True if the model needs the repeat cycle of the orbit.
        uses_covariates: True if estimates depend on the covariates; filled files name them then.
        can_be_causal: True if, with `Inputs.causal`, no estimate depends on a later day of its window.
        learns_causal: True if a model that looks at both sides must be trained again for that.
        decomposes: True if the model separates epistemic from aleatoric uncertainty.
        epochs: Passes over the record in training; 0: the model is not trained.
        steps: Training ends with the epoch that reaches so many steps of the optimizer; None: after `epochs`.
        trains_on_cores: True if training uses values in the cores of windows only, where the receptive field is
            complete.
        chooses: True if settings are chosen on the validation split.
        batch_size: Windows in a batch.
        wide_cells: Rows and columns of the windows in filling on a GPU, for models with a finite receptive field whose
            result does not depend on it; None: those of `window`.
        wide_values: Days times cells of such a window at most, for models whose windows have all days of the record:
            they go through them in wide windows on the CPU too. None: no limit, and only on a GPU.
        fixed_windows: True if the result depends on where windows start: filling then keeps the tiling of the whole
            cube.
        window: Tile size and receptive field.
        level: Coverage of the interval, a share of 1; None: the model gives no interval.
        inputs: Variables and scalers that the model was fitted with, set by `configure`.
    """

    uses_repeat_cycle = False
    uses_covariates = True
    can_be_causal = False
    learns_causal = False
    decomposes = False
    epochs: int = 0
    steps: int | None = None
    trains_on_cores = False
    chooses = False
    batch_size = 1
    wide_cells: int | None = None
    wide_values: int | None = None
    fixed_windows = False
    window = Window(days=None)
    level: float | None = None
    inputs: Inputs

    @property
    def error_bars(self) -> ErrorBars | None:
        """Description of the intervals that `fill` gives; None: it gives none."""
        return None if self.level is None else ErrorBars(self.level, self.decomposes)

    def window_for(self, dynamic: Sequence[str]) -> Window:
        """Return the window for a cube with these dynamic covariates; also before `configure`.

        Args:
            dynamic: Their names.
        """
        return self.window

    @property
    def configured(self) -> bool:
        """True once the variables are known."""
        return hasattr(self, "inputs")

    def configure(self, inputs: Inputs) -> None:
        """Fix the variables; call once, before fitting or loading.

        Args:
            inputs: Names and scalers of the variables.
        """
        self.inputs = inputs
        self.setup_inputs(inputs)
        if inputs.causal:
            self.check_causal()
            self.window = replace(self.window, ahead=False)

    def check_causal(self) -> None:
        """Raise ConfigError unless the filler can do without later days."""
        if not self.can_be_causal:
            raise ConfigError(
                f"causal=true: {type(self).__name__} needs later days too; expected a model that does without them, "
                "like pconv3d, seamless, xgboost, dctpls, kriging or persistence"
            )

    def setup_inputs(self, inputs: Inputs) -> None:
        """Build what depends on the variables.

        Args:
            inputs: Names and scalers of the variables.
        """

    @abstractmethod
    def fill(self, batch: Batch) -> Filled:
        """Estimate the wanted values of windows.

        Args:
            batch: Windows. `batch.truth` must not be used.

        Returns:
            Fields (B, 1, T, H, W) in the target's units; values that are not wanted may be any number.
        """

    def for_lightning(self) -> dict[str, Any]:
        """Return what `load_from_checkpoint` of Lightning makes the filler of, beside its weights: plain built-ins."""
        return {
            "pytorch-lightning_version": version("pytorch-lightning"),
            "filler": self.spec[TARGET],
            "hyper_parameters": {name: value for name, value in self.spec.items() if name != TARGET},
            "inputs": self.inputs.to_dict(),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.for_lightning())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.configured:  # an interrupted training goes on
            return
        if checkpoint.get("filler") != self.spec[TARGET]:
            raise ConfigError(
                f"{type(self).__name__}.load_from_checkpoint: expected a checkpoint of {self.spec[TARGET]}, found one "
                f"of {checkpoint.get('filler')}"
            )
        self.configure(Inputs.from_dict(checkpoint["inputs"]))

    def in_units(self, anomaly: Tensor, batch: Batch) -> Tensor:
        """Return values in the target's units, (B, 1, T, H, W).

        Args:
            anomaly: Anomalies from the climatology over `Inputs.anomaly_scale`, (B, 1, T, H, W).
            batch: The windows that they belong to.
        """
        return batch.climatology + self.inputs.anomaly_scale * anomaly

    def on_validation_epoch_start(self) -> None:
        self._state = State.zeros((1,))

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add the errors at the hidden values of a batch to the statistics of the epoch.

        Args:
            batch: Windows whose wanted values are hidden ones.
            index: Number of the batch, given by Lightning.
        """
        # scores are computed in float32, whatever the precision of the training
        filled = self.fill(batch).mean[batch.wanted].float().cpu().numpy()
        truth = self.in_units(batch.truth, batch)[batch.wanted].float().cpu().numpy()
        values = error_statistics(filled, truth)
        self._state += bin_statistics(values, np.zeros(len(values), int), 1)

    def on_validation_epoch_end(self) -> None:
        score = metrics(self._of_all_processes(self._state))
        self.log("validation_rmse", torch.tensor(score["rmse"][0], dtype=torch.float32), prog_bar=True)
        self.log("validation_bias", torch.tensor(score["bias"][0], dtype=torch.float32))

    def _of_all_processes(self, state: State) -> State:
        if self.trainer.world_size == 1:
            return state
        # each process validates a share of the windows; statistics are additive
        sums, weights = (self.trainer.strategy.all_gather(torch.from_numpy(f)).sum(0).cpu().numpy() for f in state)
        return State(sums, weights)


@contextmanager
def interruptible() -> Iterator[None]:
    """Pass Ctrl-C on as KeyboardInterrupt; Lightning would end the process with an exit status of its own.

    Raises:
        KeyboardInterrupt: If Lightning asks for the end of the process.
    """
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def quiet_lightning() -> None:
    """Silence Lightning's own messages; sgdsm logs what a user must know."""
    for name in ("pytorch_lightning", "lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    _SignalConnector.register_signal_handlers = _keep_sigterm_handler  # type: ignore[method-assign, assignment]


_register = _SignalConnector.register_signal_handlers


def _keep_sigterm_handler(connector: _SignalConnector) -> None:
    """Register Lightning's signal handlers, but leave SIGTERM to the handler that is there already.

    Lightning's own handler first notifies the other processes, which wait for something else at that time.
    """
    handler = signal.getsignal(signal.SIGTERM)
    _register(connector)
    if callable(handler) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)
