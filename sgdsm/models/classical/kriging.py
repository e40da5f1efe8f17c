"""Local kriging of anomalies: in space and time (a Gaussian process), per day, and of a regression's residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sgdsm.core.cube import ConfigError
from sgdsm.core.grids import MEAN_EARTH_RADIUS_KM
from sgdsm.data.batch import Batch
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import Window
from sgdsm.models.classical.nearest import local_weights, nearest, seen_days
from sgdsm.models.networks.base import Estimate, Network, at_least

SEEN_STEPS = 2  # of each cell around, in each direction of time: what lies behind them tells little more
MEMORIES = (1, 3, 10, 30)  # days over which the regression's covariates are averaged
CHUNK = 512  # values solved at once: their matrices stay in the processor's cache
LEAST_NUGGET = 1e-3  # of the cell's variance: without noise the matrices would be singular in float32
VALUES_CHOSEN = 12


class Kriging(Network):
    """Estimates each value from the seen ones around it that are the most correlated with it (see `nearest`).

    Anomalies over the spread of their cell have the covariance of a sum of two exponentials, each in days and in
    distance (a slow and a fast part: together not separable), and of noise, the nugget. Lengths, variances and nugget
    are fitted to values that are hidden as gaps occur, given what is seen around them (the predictive approach of
    Rasmussen and Williams, MIT Press 2006, section 5.4.2, with gaps in place of single values), by the loss of
    `Network`: a likelihood in which values of small variance do not outweigh the others. Distances are chords of the
    Earth in km, or cells where the cube has no latitude and longitude.

    With `halo_days` the mean of a Gaussian process in space and time; with halo_days=0 kriging of each day by itself.
    Where nothing is seen in reach: the climatology and the spread of the cell.

    halo_days, halo_cells: reach. neighbours: most seen values used. ordinary: ordinary kriging, with an unknown mean
    anomaly where five seen values or more tell it; otherwise simple kriging, with mean 0. regression: krige what a
    linear regression on the covariates leaves (means over 1, 3, 10 and 30 days, maps, season), fitted together with the
    covariance. samples: hidden values in a step of the fit. epochs, learning_rate and seed are those of `Network`.
    """

    trains_on_cores = True

    def __init__(
        self,
        halo_days: int = 20,
        halo_cells: int = 5,
        neighbours: int = 32,
        ordinary: bool = False,
        regression: bool = False,
        samples: int = 2000,
        epochs: int = 10,
        learning_rate: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__(epochs, learning_rate, 0.0, 1, seed)
        at_least(0, halo_days=halo_days, halo_cells=halo_cells)
        at_least(1, neighbours=neighbours, samples=samples)
        if not halo_days and not halo_cells:
            raise ConfigError("model.halo_days=0, halo_cells=0: expected a reach in days or in cells")
        self.halo, self.neighbours, self.samples = (halo_days, halo_cells), neighbours, samples
        self.ordinary, self.regression = ordinary, regression
        days = max(halo_days, max(MEMORIES) - 1) if regression else halo_days
        self.window = Window(2 * days + 120, 2 * halo_cells + 32, days, halo_cells)
        # logarithms, of lengths in days and in cells of the grid that it was fitted on
        self.log_variances = nn.Parameter(torch.tensor([0.4, 0.4]).log())
        self.log_days = nn.Parameter(torch.tensor([15.0, 3.0]).log())
        self.log_cells = nn.Parameter(torch.tensor([3.0, 5.0]).log())
        self.log_nugget = nn.Parameter(torch.tensor(0.15).log())
        # distance between cells there, in km, or 1 without latitude and longitude; NaN = nothing learned yet
        self.cell_size: Tensor
        self.register_buffer("cell_size", torch.tensor(float("nan")))
        self.placed: Tensor
        self.register_buffer("placed", torch.tensor(float("nan")))

    def setup_inputs(self, inputs: Inputs) -> None:
        if self.regression and not inputs.dynamic:
            raise ConfigError(
                "regression kriging (model.regression=true) learns from dynamic covariates, and the cube has none: "
                "name them in data.dynamic"
            )
        if self.regression:
            self.trend = nn.Linear(len(MEMORIES) * len(inputs.dynamic) + len(inputs.static) + 2 + 4, 1)
            nn.init.zeros_(self.trend.weight)
            nn.init.zeros_(self.trend.bias)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of a random part of the hidden values of a batch."""
        if self.placed.isnan():
            self.placed.fill_(bool(batch.place.any()))
            self.cell_size.fill_(_cell_size(batch))
        rng = np.random.default_rng([VALUES_CHOSEN, self.seed, self.current_epoch, index])
        places = batch.wanted.flatten().nonzero()[:, 0]
        kept = places[torch.from_numpy(rng.permutation(len(places))[: self.samples]).to(places.device)]
        wanted = torch.zeros_like(batch.wanted)
        wanted.view(-1)[kept] = True
        return super().training_step(batch._replace(wanted=wanted), index)

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        with torch.autocast(batch.sm.device.type, enabled=False):
            spread = batch.static[:, -1:, None].exp().expand_as(batch.sm)
            trend = self._trend(batch) if self.regression else torch.zeros_like(batch.sm)
            found, variance = self._krige(batch.sm / spread - trend, batch)
            log_variance = (variance.clamp(min=1e-6) * spread**2).log()
            return spread * (found + trend), log_variance

    def covariance(self, days: Tensor, distance: Tensor) -> Tensor:
        """Of values so many days and so far apart, in cells; their noise left out."""
        parts = zip(self.log_variances.exp(), self.log_days.exp(), self.log_cells.exp(), strict=True)
        slow, fast = (v * torch.exp(-days / length - distance / reach) for v, length, reach in parts)
        return slow + fast

    def _krige(self, values: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Estimates at the wanted values and the variance of their errors, (B, 1, T, H, W)."""
        place = self._place(batch)
        days = seen_days(batch.seen[:, 0], SEEN_STEPS if self.halo[0] else 1)
        mean, variance = torch.zeros_like(values), torch.ones_like(values)
        nugget = LEAST_NUGGET + self.log_nugget.exp()
        for wanted in batch.wanted[:, 0].nonzero().split(CHUNK):
            with torch.no_grad():
                near = nearest(self.covariance, days, place, wanted, self.halo, self.neighbours)
            window, day, row, column = wanted.T
            both_days = torch.cat([day[:, None], near.day], 1).to(values.dtype)
            both = torch.cat([place[window, row, column][:, None], place[near.window, near.row, near.column]], 1)
            weights, left = local_weights(self.covariance, nugget, both_days, both, near.present, self.ordinary)
            shown = values[near.window, 0, near.day, near.row, near.column]
            mean[window, 0, day, row, column] = (weights * shown).sum(1)
            variance[window, 0, day, row, column] = left
        return mean, variance

    def _place(self, batch: Batch) -> Tensor:
        """Where cells lie, in units of the cell size, (B, H, W, 3)."""
        placed = bool(batch.place.any())
        if self.placed.isfinite() and bool(self.placed) != placed:
            kinds = {True: "latitude and longitude", False: "no latitude and longitude"}
            raise ConfigError(
                f"the covariance was fitted on a grid of {kinds[not placed]}, and this has {kinds[placed]}"
            )
        return _places(batch) / self.cell_size

    def _trend(self, batch: Batch) -> Tensor:
        """The regression, (B, 1, T, H, W)."""
        total = batch.dynamic.cumsum(2)
        length = batch.sm.shape[2]
        columns = [(total - pad(total, (0, 0, 0, 0, days, 0))[:, :, :length]) / days for days in MEMORIES]
        columns.append(batch.static[:, :, None].expand(-1, -1, length, -1, -1))
        columns.append(batch.season[..., None, None].expand(-1, -1, -1, *batch.sm.shape[3:]))
        found: Tensor = self.trend(torch.cat(columns, 1).movedim(1, -1)).movedim(-1, 1)
        return found


def _places(batch: Batch) -> Tensor:
    """Where cells lie, in km or in cells, (B, H, W, 3)."""
    if batch.place.any():
        return MEAN_EARTH_RADIUS_KM * batch.place.movedim(1, -1)
    count, _, height, width = batch.place.shape
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([rows, columns, torch.zeros_like(rows)], -1).to(batch.place).expand(count, -1, -1, -1)


def _cell_size(batch: Batch) -> float:
    """Median distance of neighbouring cells of land."""
    place, land = _places(batch), batch.land.any(2)[:, 0]
    steps = [
        (a - b).norm(dim=-1)[c & d]
        for a, b, c, d in (
            (place[:, 1:], place[:, :-1], land[:, 1:], land[:, :-1]),
            (place[:, :, 1:], place[:, :, :-1], land[:, :, 1:], land[:, :, :-1]),
        )
    ]
    found = torch.cat(steps)
    return float(found.median()) if len(found) else 1.0
