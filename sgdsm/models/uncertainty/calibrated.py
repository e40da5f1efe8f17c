"""Interface of wrappers that are fitted to errors at held-out values."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgdsm.data.batch import Batch
from sgdsm.models.uncertainty.wrappers import Wrapper


class CalibrationBatch(NamedTuple):
    """A batch and the errors of a filler at its N wanted values.

    Attributes:
        batch: Windows whose wanted values are held out.
        errors: Estimate minus truth, (N,), in the target's units.
        std: The filler's own standard deviation, (B, 1, T, H, W), in the target's units; None if it gives none.
        days: Days since 1970-01-01, (N,) int.
        places: Positions of the cells, (N, 3), see `correlation.positions`.
        weight: Weights of the values in `Calibrated.recalibrate`, (N,); None: all 1.
    """

    batch: Batch
    errors: Tensor
    std: Tensor | None
    days: np.ndarray
    places: np.ndarray
    weight: Tensor | None = None

    def weights(self) -> Tensor:
        """Return the weights of the values, (N,)."""
        return torch.ones(len(self.errors)) if self.weight is None else self.weight


class Calibrated(Wrapper):
    """A wrapper whose intervals are fitted to errors at held-out values."""

    level: float

    @abstractmethod
    def fit_to_errors(
        self,
        validation: Sequence[CalibrationBatch],
        calibration: Sequence[CalibrationBatch],
        training: Iterable[Batch],
    ) -> None:
        """Fit everything that the wrapper needs.

        Args:
            validation: Errors at the hidden values of the validation split.
            calibration: Errors at the hidden values of the calibration split.
            training: Batches whose wanted values are a sample of the training values.
        """

    @abstractmethod
    def recalibrate(self, calibration: Sequence[CalibrationBatch]) -> None:
        """Adapt the intervals to drift.

        Args:
            calibration: Weighted errors at more recent values.
        """

    @abstractmethod
    def widths(self, batch: Batch, std: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return half the width of the interval and the standard deviation at the wanted values.

        Args:
            batch: Windows with N wanted values.
            std: The inner filler's standard deviation, (B, 1, T, H, W), in the target's units; None if it gives none.

        Returns:
            Half-width and standard deviation, (N,) each, in the target's units.
        """


def joined_errors(batches: Sequence[CalibrationBatch]) -> Tensor:
    """Return the errors of all batches, (N,), in the target's units.

    Args:
        batches: Errors at held-out values.
    """
    return torch.cat([one.errors for one in batches])


def largest_gap_age(batches: Sequence[CalibrationBatch]) -> float:
    """Return the largest gap age among the wanted values, days.

    Args:
        batches: Errors at held-out values.
    """
    return max(float(one.batch.gap_age[one.batch.wanted].max()) for one in batches)
