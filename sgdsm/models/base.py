"""`GapFiller`: what a network, a tree model, a classical method and an uncertainty wrapper share."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector
from torch import Tensor

from sgdsm.core.arguments import Recorded
from sgdsm.core.tiling import Axis, axis
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs
from sgdsm.evaluation.metrics import State, bin_statistics, error_statistics, metrics


@dataclass(frozen=True)
class Window:
    """What a filler looks at.

    days, cells: size of a window in days (steps of the cube) and in rows and columns; None = the whole record, the
    whole grid. halo_days, halo_cells: how far an output depends on its surroundings on each side; None = all over the
    window.
    """

    days: int | None
    cells: int | None = None
    halo_days: int | None = None
    halo_cells: int | None = None
    longest: int = 1

    def tile(self, shape: Sequence[int], circular: bool, filling: bool = False) -> tuple[Axis, Axis, Axis]:
        """Tiling of a cube of `shape` (T, H, W), for learning or for filling."""
        days = axis(shape[0], self.days, self.halo_days, longest=self.longest if filling else 1)
        if self.days is not None and self.halo_days is not None and self.days == 2 * self.halo_days + 1:
            # the day that is estimated stays in the middle, however short the record
            days = Axis(shape[0], self.days, self.halo_days, True)
        return (
            days,
            axis(shape[1], self.cells, self.halo_cells),
            axis(shape[2], self.cells, self.halo_cells, circular),
        )


class GapFiller(Recorded, pl.LightningModule, ABC):
    """Fills the gaps of windows; a LightningModule whose validation is common to all.

    A subclass declares its `window` and `batch_size`, implements `fill`, and builds what depends on the variables in
    `setup_inputs`. One that learns sets `epochs`, over the record, and implements Lightning's `training_step`; with
    `trains_on_cores` it learns from values in the cores of windows only, where their surroundings are complete. One
    that `chooses` settings does so in the validation pass that follows when what it learns is learned; like every other
    it logs `validation_rmse` at its end, that of what was chosen.

    decomposes: whether it tells its epistemic from its aleatoric uncertainty.
    wide_cells: side of the windows in which it fills on a GPU, where it has a finite reach and wider windows give the
    same; None: those of `window`.
    inputs: the variables and scalers it was fitted for, set by `configure`.
    """

    uses_repeat_cycle = False
    decomposes = False
    epochs: int = 0
    trains_on_cores = False
    chooses = False
    batch_size = 1
    wide_cells: int | None = None
    window = Window(days=None)
    inputs: Inputs

    def configure(self, inputs: Inputs) -> None:
        """Fix the variables; call once, before fitting or loading."""
        self.inputs = inputs
        self.setup_inputs(inputs)

    def setup_inputs(self, inputs: Inputs) -> None:
        """Build what depends on the variables."""

    @abstractmethod
    def fill(self, batch: Batch) -> Filled:
        """Estimate the wanted values of the windows in the target's units, (B, 1, T, H, W); elsewhere any number.

        It must not look at `batch.truth`.
        """

    def in_units(self, anomaly: Tensor, batch: Batch) -> Tensor:
        """From anomalies (B, 1, T, H, W) to the target's units."""
        return batch.climatology + self.inputs.anomaly_scale * anomaly

    def on_validation_epoch_start(self) -> None:
        self._state = State.zeros((1,))

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add the errors at the hidden values of a batch to the epoch's State."""
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
        sums, weights = (self.trainer.strategy.all_gather(torch.from_numpy(f)).sum(0).cpu().numpy() for f in state)
        return State(sums, weights)


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches the caller: Lightning would end the process itself, with a code of its own."""
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def quiet_lightning() -> None:
    """Keep Lightning's own remarks off the screen: what a user must know, we say."""
    for name in ("pytorch_lightning", "lightning", "lightning_fabric", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
    _SignalConnector.register_signal_handlers = _leave_signals  # type: ignore[method-assign, assignment]


_register = _SignalConnector.register_signal_handlers


def _leave_signals(connector: _SignalConnector) -> None:
    """SIGTERM stays with who listens to it already: on it, Lightning would first tell the other processes, which wait
    for something else."""
    ours = signal.getsignal(signal.SIGTERM)
    _register(connector)
    if callable(ours) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)
