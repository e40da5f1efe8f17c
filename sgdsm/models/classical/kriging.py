"""Local kriging of anomalies: of each day, in space and time (a Gaussian process), and of regression residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sgdsm.core.errors import ConfigError
from sgdsm.core.grids import MEAN_EARTH_RADIUS_KM
from sgdsm.core.random import Stream
from sgdsm.data.batch import CELL_MAPS, SEASON_CHANNELS, Batch
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import Window
from sgdsm.models.classical.nearest import local_weights, nearest, seen_days
from sgdsm.models.networks.base import Estimate, Network, at_least

SEEN_STEPS = 2  # seen days of each neighbouring cell, before and after: earlier and later ones are screened by them
MEMORIES = (1, 3, 10, 30)  # days over which the regression's covariates are averaged
CHUNK = 512  # values solved together: their matrices fit in the processor's cache
CHUNK_ON_GPU = 65_536  # there each launch costs, and memory is fast
LEAST_NUGGET = 1e-3  # of the cell's variance: without noise the matrices would be singular in float32


class Kriging(Network):
    """Estimates each value from the seen ones around it that are the most correlated with it (see `nearest`).

    Anomalies over the spread of their cell have the covariance of a sum of two exponentials, each in days and in
    distance (a slow and a fast part: together not separable), and of noise, the nugget. Lengths, variances and nugget
    are fitted to values that are hidden as gaps occur, given the values seen around them (the predictive approach of
    Rasmussen and Williams, MIT Press 2006, section 5.4.2, with gaps in place of single values). The loss is that of
    `Network`, a likelihood in which values of small variance do not outweigh the others. Distances are chords of the
    Earth in km, or cells where the cube has no latitude and longitude.

    With `halo_days` above 0 the estimate is the mean of a Gaussian process in space and time, with 0 each day is
    kriged by itself. Without seen values in reach the estimate is the climatology, with the spread of the cell.

    Args:
        halo_days: Reach in time, days; 0: values of the same day only.
        halo_cells: Reach in space, cells.
        neighbours: Largest number of seen values used.
        ordinary: True for ordinary kriging, with an unknown mean anomaly where five seen values or more are in reach;
            otherwise simple kriging, with mean 0.
        regression: True to krige the residuals of a linear regression on the covariates (means over 1, 3, 10 and 30
            days, maps, season), which is fitted together with the covariance.
        samples: Hidden values in a step of the fit.
        epochs: See `Network`.
        learning_rate: See `Network`.
        seed: See `Network`.

    Raises:
        ConfigError: If a setting is out of range.
    """

    trains_on_cores = can_be_causal = True

    def __init__(
        self,
        halo_days: int = 0,
        halo_cells: int = 10,
        *,
        neighbours: int = 32,
        ordinary: bool = True,
        regression: bool = False,
        samples: int = 2000,
        epochs: int = 10,
        learning_rate: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(epochs, learning_rate=learning_rate, weight_decay=0.0, batch_size=1, seed=seed)
        at_least(0, halo_days=halo_days, halo_cells=halo_cells)
        at_least(1, neighbours=neighbours, samples=samples)
        if not halo_days and not halo_cells:
            raise ConfigError("model.halo_days=0, halo_cells=0: expected a reach in days or in cells")
        self.halo, self.neighbours, self.samples = (halo_days, halo_cells), neighbours, samples
        self.ordinary, self.regression = ordinary, regression
        self.uses_covariates = regression
        days = max(halo_days, max(MEMORIES) - 1) if regression else halo_days
        # tiles with cores of 120 days and 32 x 32 cells
        self.window = Window(2 * days + 120, 2 * halo_cells + 32, days, halo_cells)
        # logarithms, of lengths in days and in cells of the grid that it was fitted on
        self.log_variances = nn.Parameter(torch.tensor([0.4, 0.4]).log())
        self.log_days = nn.Parameter(torch.tensor([15.0, 3.0]).log())
        self.log_cells = nn.Parameter(torch.tensor([3.0, 5.0]).log())
        self.log_nugget = nn.Parameter(torch.tensor(0.15).log())
        # distance between neighbouring cells in the fit, in km, or 1 without latitude and longitude; NaN: not fitted
        self.cell_size: Tensor
        self.register_buffer("cell_size", torch.tensor(float("nan")))
        # 1 if fitted on a grid with latitude and longitude, else 0; NaN: not fitted
        self.placed: Tensor
        self.register_buffer("placed", torch.tensor(float("nan")))

    def setup_inputs(self, inputs: Inputs) -> None:
        if self.regression and not inputs.dynamic:
            raise ConfigError(
                "regression kriging (model.regression=true) learns from dynamic covariates, and the cube has none: "
                "name them in data.dynamic"
            )
        if self.regression:
            maps = len(inputs.static) + CELL_MAPS
            self.trend = nn.Linear(len(MEMORIES) * len(inputs.dynamic) + maps + SEASON_CHANNELS, 1)
            nn.init.zeros_(self.trend.weight)
            nn.init.zeros_(self.trend.bias)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss at a random sample of the hidden values of a batch.

        Args:
            batch: Windows.
            index: Number of the batch, given by Lightning.
        """
        if self.placed.isnan():
            self.placed.fill_(bool(batch.place.any()))
            self.cell_size.fill_(_cell_size(batch))
        # a sample of the values is enough for a handful of parameters
        rng = np.random.default_rng([Stream.KRIGING_VALUES, self.seed, self.current_epoch, index])
        places = batch.wanted.flatten().nonzero()[:, 0]
        kept = places[torch.from_numpy(rng.permutation(len(places))[: self.samples]).to(places.device)]
        wanted = torch.zeros_like(batch.wanted)
        wanted.view(-1)[kept] = True
        return super().training_step(batch._replace(wanted=wanted), index)

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        with torch.autocast(batch.sm.device.type, enabled=False):
            spread = batch.cell_log_spread[:, None, None].exp().expand_as(batch.sm)
            trend = self._trend(batch) if self.regression else torch.zeros_like(batch.sm)
            residual, variance = self._krige(batch.sm / spread - trend, batch)
            # rounding can make a tiny variance negative
            log_variance = (variance.clamp(min=1e-6) * spread**2).log()
            return spread * (residual + trend), log_variance

    def covariance(self, days: Tensor, distance: Tensor) -> Tensor:
        """Return the covariance of scaled anomalies, without their noise.

        Args:
            days: Distance in time, days.
            distance: Distance in space, cells of the fit; broadcastable with `days`.
        """
        parts = zip(self.log_variances.exp(), self.log_days.exp(), self.log_cells.exp(), strict=True)
        slow, fast = (v * torch.exp(-days / length - distance / reach) for v, length, reach in parts)
        return slow + fast

    def _krige(self, values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return estimates at the wanted values and the variance of their errors, (B, 1, T, H, W) each."""
        place = self._place(batch)
        steps = SEEN_STEPS if self.halo[0] else 1
        days = seen_days(batch.seen[:, 0], steps)
        if self.inputs.causal:
            # those after are the second half
            days = days[..., :steps]
        mean, variance = torch.zeros_like(values), torch.ones_like(values)
        nugget = LEAST_NUGGET + self.log_nugget.exp()
        together = CHUNK_ON_GPU if batch.sm.is_cuda else CHUNK
        for wanted in batch.wanted[:, 0].nonzero().split(together):
            # the choice of neighbours is discrete: no gradient passes through it
            with torch.no_grad():
                near = nearest(self.covariance, days, place, wanted, self.halo, self.neighbours)
            window, day, row, column = wanted.T
            both_days = torch.cat([day[:, None], near.day], 1).to(values.dtype)
            both = torch.cat([place[window, row, column][:, None], place[near.window, near.row, near.column]], 1)
            weights, error_variance = local_weights(
                self.covariance, nugget, both_days, both, near.present, self.ordinary
            )
            neighbours = values[near.window, 0, near.day, near.row, near.column]
            mean[window, 0, day, row, column] = (weights * neighbours).sum(1)
            variance[window, 0, day, row, column] = error_variance
        return mean, variance

    def _place(self, batch: Batch) -> Tensor:
        """Return the positions of the cells in units of the cell size, (B, H, W, 3)."""
        placed = bool(batch.place.any())
        if self.placed.isfinite() and bool(self.placed) != placed:
            kinds = {True: "latitude and longitude", False: "no latitude and longitude"}
            raise ConfigError(
                f"the covariance was fitted on a grid of {kinds[not placed]}, and this has {kinds[placed]}"
            )
        return _places(batch) / self.cell_size

    def _trend(self, batch: Batch) -> Tensor:
        """Return the regression on the covariates, (B, 1, T, H, W)."""
        # means over past days by differences of cumulative sums
        total = batch.dynamic.cumsum(2)
        length = batch.sm.shape[2]
        columns = [(total - pad(total, (0, 0, 0, 0, days, 0))[:, :, :length]) / days for days in MEMORIES]
        columns.append(batch.static[:, :, None].expand(-1, -1, length, -1, -1))
        columns.append(batch.season[..., None, None].expand(-1, -1, -1, *batch.sm.shape[3:]))
        trend: Tensor = self.trend(torch.cat(columns, 1).movedim(1, -1)).movedim(-1, 1)
        return trend


def _places(batch: Batch) -> Tensor:
    """Return the positions of the cells, in km or in cells, (B, H, W, 3)."""
    if batch.place.any():
        return MEAN_EARTH_RADIUS_KM * batch.place.movedim(1, -1)
    count, _, height, width = batch.place.shape
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)], -1).to(batch.place).expand(count, -1, -1, -1)


def _cell_size(batch: Batch) -> float:
    """Return the median distance of neighbouring land cells, in km or in cells; 1 if no two are neighbours."""
    place, land = _places(batch), batch.land.any(2)[:, 0]
    steps = [
        (a - b).norm(dim=-1)[c & d]
        for a, b, c, d in (
            (place[:, 1:], place[:, :-1], land[:, 1:], land[:, :-1]),
            (place[:, :, 1:], place[:, :, :-1], land[:, :, 1:], land[:, :, :-1]),
        )
    ]
    distances = torch.cat(steps)
    return float(distances.median()) if len(distances) else 1.0
