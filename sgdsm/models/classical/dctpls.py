"""DCT-PLS: penalised least squares by cosine transforms, the method of ESA CCI's gap-filled product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal

import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import Window
from sgdsm.models.classical.smooth import smooth
from sgdsm.models.classical.tuned import Tuned
from sgdsm.models.networks.base import at_least

CAUSAL_DAYS = 32  # that a day is smoothed with where later ones are not looked at: smoothing reaches about ten


class DctPls(Tuned):
    """The smooth field in time and space that is closest to the seen anomalies.

    Garcia (Comput. Stat. Data Anal. 54, 1167, 2010), as applied by Preimesberger et al. (ESSD 17, 4305, 2025).
    Differences from that product: it works on anomalies from the cell's climatology, s is chosen on the validation
    split, and differences in time can have another weight than those between neighbouring cells. Cells off land and
    gaps have no weight. In frozen periods that product interpolates linearly in time instead: see the layout
    cci_gapfilled of `export`.

    With `causal=true` each day is the last one of a field of its own, of 32 days: as many times the work.

    Args:
        s: Strength of the smoothing; several to choose from; or 'gcv': generalised cross-validation in each window,
            which scores single values and so smooths too little for large gaps.
        time_weight: Weight of differences from day to day against those from cell to cell (1: as published); several
            to choose from.
        robust: True to lower the weights of outliers (bisquare).
        tolerance: The iteration stops when the seen values change by a smaller share.
        iterations: Largest number of steps.
        window_cells: Rows and columns of spatial windows, which are blended; None: the whole grid.
        batch_size: Windows processed together.

    Raises:
        ConfigError: If a setting is out of range.
    """

    can_be_causal = True

    def __init__(
        self,
        s: Sequence[float] | float | Literal["gcv"] = (0.03, 0.1, 0.3),
        time_weight: Sequence[float] | float = (0.25, 1.0, 2.0),
        *,
        robust: bool = False,
        tolerance: float = 1e-3,
        iterations: int = 100,
        window_cells: int | None = None,
        batch_size: int = 1,
    ) -> None:
        weights = several(time_weight, "time_weight")
        # each window finds its own s: only the weights in time are candidates
        if s == "gcv":
            super().__init__([{"time_weight": w} for w in weights])
        else:
            assert not isinstance(s, str)
            super().__init__([{"s": k, "time_weight": w} for k, w in product(several(s, "s"), weights)])
        at_least(1, iterations=iterations, batch_size=batch_size)
        if not 0 < tolerance < 1:
            raise ConfigError(f"model.tolerance={tolerance}: expected a share between 0 and 1")
        if window_cells is not None:
            at_least(4, window_cells=window_cells)
        self.window = Window(None, window_cells)
        self.batch_size, self.robust, self.tolerance, self.iterations = batch_size, robust, tolerance, iterations

    def fill_with(self, batch: Batch, candidate: Mapping[str, float]) -> Filled:
        with torch.autocast(batch.sm.device.type, enabled=False):  # the iteration does not converge in half precision
            values, seen = batch.sm[:, 0].float(), batch.seen[:, 0].float()
            if self.inputs.causal:
                anomaly = torch.zeros_like(values)
                for day in batch.wanted.any(4).any(3).any(1).any(0).nonzero()[:, 0].tolist():
                    days = slice(max(0, day + 1 - CAUSAL_DAYS), day + 1)
                    anomaly[:, day] = self._smooth(values[:, days], seen[:, days], candidate)[:, -1]
            else:
                anomaly = self._smooth(values, seen, candidate)
        return Filled(self.in_units(anomaly[:, None], batch))

    def _smooth(self, values: Tensor, seen: Tensor, candidate: Mapping[str, float]) -> Tensor:
        return smooth(
            values,
            seen,
            candidate.get("s"),
            time_weight=candidate["time_weight"],
            robust=self.robust,
            tolerance=self.tolerance,
            iterations=self.iterations,
        )


def several(value: Sequence[float] | float, name: str) -> list[float]:
    """Return the candidates of a setting.

    Args:
        value: One number or several.
        name: Of the setting, for messages.

    Raises:
        ConfigError: If there is none, or one is not above 0.
    """
    values = [float(v) for v in (value if isinstance(value, Sequence) else [value])]
    if not values or min(values) <= 0:
        raise ConfigError(f"model.{name}={value}: expected a number above 0, or several to choose from")
    return values
