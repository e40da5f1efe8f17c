"""Wrappers that give any filler an uncertainty."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sgdsm.cube import ConfigError
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller

AGE_CLASSES = (1, 2, 3, 4, 8)
FEWEST = 100


class Conformal(GapFiller):
    """Split conformal intervals by the age of the gap (Mondrian conformal prediction, Vovk et al. 2005).

    Half-width of the interval: the quantile of the absolute errors on the calibration draw among values as far from
    a seen one (1, 2, 3, 4-7, 8 and more days; all together where a class has fewer than 100). Standard deviation: the
    root mean square of these errors. Both describe the value that the satellite would have reported.

    filler: already fitted. level: of the interval.
    """

    def __init__(self, filler: GapFiller, level: float = 0.9) -> None:
        super().__init__()
        if not 0 < level < 1:
            raise ConfigError(f"uncertainty.level={level}: expected a share between 0 and 1")
        self.filler, self.level = filler, level
        self.window, self.batch_size = filler.window, filler.batch_size
        self.half_width: Tensor
        self.std: Tensor
        for name in ("half_width", "std"):
            self.register_buffer(name, torch.full((len(AGE_CLASSES),), float("nan")))

    def setup_inputs(self, inputs: object) -> None:
        self.filler.configure(self.inputs)

    def calibrate(self, errors: np.ndarray, age: np.ndarray) -> None:
        """Fit to errors (N,) in the target's units at gap ages (N,) in days."""
        classes = np.digitize(age, AGE_CLASSES) - 1
        for k in range(len(AGE_CLASSES)):
            mine = errors[classes == k] if (classes == k).sum() >= FEWEST else errors
            rank = min(1.0, np.ceil((len(mine) + 1) * self.level) / len(mine))
            self.half_width[k] = float(np.quantile(abs(mine), rank, method="higher"))
            self.std[k] = float(np.sqrt(np.mean(mine.astype(np.float64) ** 2)))

    def fill(self, batch: Batch) -> Filled:
        mean = self.filler.fill(batch).mean
        edges = torch.tensor(AGE_CLASSES, device=mean.device, dtype=batch.gap_age.dtype)
        classes = (torch.bucketize(batch.gap_age, edges, right=True) - 1).clamp(min=0)
        width = self.half_width[classes]
        return Filled(mean, self.std[classes], mean - width, mean + width)
