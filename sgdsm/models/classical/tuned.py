"""Methods without training whose settings are tuned on gaps like the real ones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.data.batch import Batch, Filled
from sgdsm.evaluation.metrics import State, bin_statistics, error_statistics, metrics
from sgdsm.models.base import GapFiller


class Tuned(GapFiller):
    """Tries every candidate on the validation split, in one pass, and keeps the one with the smallest RMSE.

    A checkpoint contains the number of the chosen candidate.

    Args:
        candidates: Settings by name, plain numbers; a single candidate is used without a comparison.

    Raises:
        ConfigError: If there is no candidate.
    """

    uses_covariates = False

    def __init__(self, candidates: Sequence[Mapping[str, float]]) -> None:
        super().__init__()
        if not candidates:
            raise ConfigError(f"{type(self).__name__}: no setting to choose from")
        self.candidates = [dict(candidate) for candidate in candidates]
        self.chooses = len(candidates) > 1
        self.choice: Tensor
        # a buffer, so that checkpoints contain the choice
        self.register_buffer("choice", torch.tensor(0))

    @abstractmethod
    def fill_with(self, batch: Batch, candidate: Mapping[str, float]) -> Filled:
        """Fill as `fill` does, with one candidate.

        Args:
            batch: Windows.
            candidate: Settings by name.

        Returns:
            Fields (B, 1, T, H, W) in the target's units.
        """

    def fill(self, batch: Batch) -> Filled:
        return self.fill_with(batch, self.candidates[int(self.choice)])

    def on_validation_epoch_start(self) -> None:
        self._states = State.zeros((len(self.candidates),))

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add the errors of every candidate at the hidden values of a batch.

        Args:
            batch: Windows whose wanted values are hidden ones.
            index: Number of the batch, given by Lightning.
        """
        truth = self.in_units(batch.truth, batch)[batch.wanted].float().cpu().numpy()
        # all candidates in one pass, so that windows are cut once
        for number, candidate in enumerate(self.candidates):
            filled = self.fill_with(batch, candidate).mean[batch.wanted].float().cpu().numpy()
            values = error_statistics(filled, truth)
            self._states += bin_statistics(values, np.full(len(values), number), len(self.candidates))

    def on_validation_epoch_end(self) -> None:
        rmse = metrics(self._states)["rmse"]
        self.choice.fill_(int(np.nanargmin(rmse)))
        self.log("validation_rmse", torch.tensor(np.nanmin(rmse), dtype=torch.float32))
        for candidate, score in zip(self.candidates, rmse, strict=True):
            chosen = candidate is self.candidates[int(self.choice)]
            settings = ", ".join(f"{name} {value:g}" for name, value in candidate.items())
            log.info("validation RMSE %.5f with %s%s", score, settings, " (chosen)" if chosen else "")
