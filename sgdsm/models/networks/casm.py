"""CASM: the seasonal cycle of each cell plus a dense network on the covariates' departures from their own cycles."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, relu

from sgdsm.core.errors import ConfigError
from sgdsm.core.units import same_units
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs, Scaler
from sgdsm.models.base import Window
from sgdsm.models.checkpoint import load_filler
from sgdsm.models.networks.base import Estimate, Network, at_least, weighted_mean
from sgdsm.models.networks.seasonal import seasonal_cycle
from sgdsm.models.uncertainty.wrappers import innermost

# scale of the place: a unit vector changes by 0.02 a degree, too little for a regional network to learn from
PLACE = 4.0
PLACE_CHANNELS = 3


class Casm(Network):
    """Residual network on brightness temperatures, cell by cell and day by day.

    Follows CASM (Skulovich and Gentine, Sci. Data 10, 154, 2023). Inputs: the place, and for each covariate its
    departure from the cell's seasonal cycle, 0 where it is missing, with a mask channel for covariates with gaps. The
    covariates are the brightness temperatures, recognised by a name that begins with 'tb_' or contains
    'brightness_temperature'; all dynamic ones if there is none. Output: the departure of the target from its own cycle,
    which is added. Differences from the paper: dropout; splits and scalers without leaks; and the target's cycle, which
    is the climatology of the Batch (two harmonics, drawn towards those of the domain where values are few) because it
    is also fitted to the training days of a split into blocks.

    Args:
        window_cells: Rows and columns of a window, which has all days of the record; with `batch_size` windows of 2 x 2
            cells a step has about 1000 rows in a record of five years every three days.
        layers: Number of hidden layers.
        width: Units of a hidden layer.
        harmonics: Of the covariates' cycles, 1 to 3.
        dropout: Share of the units dropped.
        samples: Number of thinned networks whose mean is the estimate (Gal and Ghahramani, ICML 2016), each with one
            mask for all cells and days; 1, or no dropout: the whole network. The standard deviation combines their
            spread and the RMSE in validation.
        start_from: Folder of a run whose weights training starts from.
        frozen: Number of first layers that keep those weights.
        epochs: See `Network`.
        learning_rate: Of Adam, with the schedule of `Network`; it is constant in the paper.
        batch_size: Windows in a step.
        seed: See `Network`.

    Raises:
        ConfigError: If a setting is out of range.
    """

    def __init__(
        self,
        window_cells: int = 2,
        layers: int = 7,
        width: int = 1050,
        *,
        harmonics: int = 1,
        dropout: float = 0.05,
        samples: int = 20,
        start_from: str | None = None,
        frozen: int = 0,
        epochs: int = 30,
        learning_rate: float = 2e-4,
        batch_size: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(epochs, learning_rate=learning_rate, weight_decay=0.0, batch_size=batch_size, seed=seed)
        at_least(1, window_cells=window_cells, layers=layers, width=width, samples=samples)
        if harmonics not in (1, 2, 3):
            raise ConfigError(f"model.harmonics={harmonics}: expected 1, 2 or 3")
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.dropout={dropout}: expected a share from 0 to below 1")
        if not 0 <= frozen <= layers or (frozen and start_from is None):
            raise ConfigError(f"model.frozen={frozen}: expected 0 to {layers} layers, of a run model.start_from")
        self.window = Window(None, window_cells, None, 0)
        self.depth, self.width, self.harmonics, self.dropout, self.samples = layers, width, harmonics, dropout, samples
        self.start_from, self.frozen = start_from, frozen
        self.thinned = self.decomposes = dropout > 0 and samples > 1
        # RMSE in validation, in the target's units; NaN: not validated
        self.noise: Tensor
        self.register_buffer("noise", torch.tensor(float("nan")))
        # 1 if trained with latitude and longitude, else 0; NaN: not trained
        self.placed: Tensor
        self.register_buffer("placed", torch.tensor(float("nan")))

    def setup_inputs(self, inputs: Inputs) -> None:
        self.used = _brightness(inputs.dynamic)
        if not self.used:
            raise ConfigError(
                "model=casm learns from dynamic covariates, and the cube has none: name them in data.dynamic"
            )
        self.gappy = [c for c in self.used if inputs.dynamic[c] in inputs.gappy]
        torch.manual_seed(self.seed)
        sizes = [PLACE_CHANNELS + len(self.used) + len(self.gappy), *[self.width] * self.depth]
        hidden = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.output = nn.Linear(self.width, 1)
        for layer in hidden:
            # PyTorch's default initialisation lets the activations of ReLU layers fade from layer to layer
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        # training starts at the seasonal cycle itself
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        for layer in hidden[: self.frozen]:
            layer.requires_grad_(False)
        self.hidden = nn.ModuleList(hidden)

    def setup(self, stage: str) -> None:
        # before Lightning restores an interrupted training, and not in filling: the other run may be deleted by then
        if stage == "fit" and self.start_from is not None:
            self._take_over(self.start_from)

    def make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], self.learning_rate)

    def loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        """Return the mean squared error at the hidden values of a batch.

        Args:
            estimate: See `Network.estimate`.
            batch: Windows with the truth.
        """
        errors = (estimate[0] - batch.truth)[batch.wanted]
        return weighted_mean(errors.float().square(), batch)

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        return self._place_back(self._forward(self._rows(batch), None), batch), None

    def fill(self, batch: Batch, trunk: Any = None) -> Filled:
        rows = self._rows(batch)
        masks = [self._mask(number) for number in range(self.samples)] if self.thinned else [None]
        samples = torch.stack([self._forward(rows, mask).float() for mask in masks])
        spread = self.inputs.anomaly_scale * samples.std(0, unbiased=False)
        std = torch.sqrt(spread**2 + self.noise**2) if self.noise.isfinite() else None
        mean = self.in_units(self._place_back(samples.mean(0), batch), batch)
        epistemic = self._place_back(spread, batch) if self.decomposes else None
        return Filled(mean, None if std is None else self._place_back(std, batch), epistemic=epistemic)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        # validated with the whole network: sampling in every epoch would cost more than the training
        self._sampling, self.thinned = self.thinned, False

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        self.thinned = self._sampling
        # `fill` adds it to the spread of the samples, which does not include the noise of the data
        self.noise.fill_(self.trainer.callback_metrics["validation_rmse"].item())

    def _rows(self, batch: Batch) -> Tensor:
        """Return the inputs of the network at the wanted values, (N, channels)."""
        self._check_place(batch)
        values, present = batch.dynamic[:, self.used], batch.present[:, self.used]
        cycle = seasonal_cycle(values, present, batch.season, self.harmonics)
        residual = torch.where(present, values - cycle, 0)
        # a covariate without gaps needs no mask channel
        gappy = batch.present[:, self.gappy].to(values.dtype)
        place = PLACE * batch.place[:, :, None].expand(-1, -1, values.shape[2], -1, -1)
        return torch.cat([place, residual, gappy], 1).movedim(1, -1)[batch.wanted[:, 0]]

    def _check_place(self, batch: Batch) -> None:
        """Raise ConfigError if training had a place and this batch has none, or the other way round."""
        # a place of zeros is no unit vector: the network would extrapolate
        placed = bool(batch.place.any())
        if self.training and self.placed.isnan():
            self.placed.fill_(placed)
        if self.placed.isfinite() and bool(self.placed) != placed:
            kinds = {True: "latitude and longitude", False: "no latitude and longitude"}
            raise ConfigError(f"model=casm learned on a grid of {kinds[not placed]}, and this cube has {kinds[placed]}")

    def _forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return the scaled departures of the target, (N,).

        Args:
            x: Inputs, (N, channels).
            mask: Of a thinned network, (layers, width); None: the whole one.
        """
        for number, layer in enumerate(self.hidden):
            x = relu(layer(x))
            x = dropout(x, self.dropout, self.training) if mask is None else x * mask[number]
        departures: Tensor = self.output(x)[:, 0]
        return departures

    def _mask(self, number: int) -> Tensor:
        """Return the dropout mask of a sample, (layers, width)."""
        # seeded by the number of the sample alone, so that the result does not depend on tiles and batches
        rng = np.random.default_rng([self.seed, number])
        kept = rng.random((self.depth, self.width), np.float32) >= self.dropout
        return torch.from_numpy(kept / np.float32(1 - self.dropout)).to(self.device)

    def _place_back(self, rows: Tensor, batch: Batch) -> Tensor:
        """Return values of the wanted places, (N,), as a field, (B, 1, T, H, W)."""
        whole = rows.new_zeros(batch.wanted.shape)
        whole[batch.wanted] = rows
        return whole

    def _take_over(self, folder: str) -> None:
        """Start from the weights of another run, rescaled so that they are the same function of unscaled values."""
        other = innermost(load_filler(Path(folder) / "model.ckpt"))
        scalers = self._check_source(other, folder)
        # the RMSE in validation is that of this run, not of the other
        self.load_state_dict({**other.state_dict(), "noise": self.noise})
        # weights of the inputs take up the ratio of the scales, those of the output that of the anomaly scales
        ratio = [ours.scale / theirs.scale for ours, theirs in scalers]
        with torch.no_grad():
            first = self.get_parameter("hidden.0.weight")
            # the first inputs are the place
            first[:, PLACE_CHANNELS : PLACE_CHANNELS + len(ratio)] *= torch.tensor(ratio, device=first.device)
            for parameter in self.output.parameters():
                parameter.mul_(other.inputs.anomaly_scale / self.inputs.anomaly_scale)

    def _check_source(self, other: Any, folder: str) -> list[tuple[Scaler, Scaler]]:
        """Raise ConfigError if the weights of another run do not fit; return the scalers, ours and theirs."""
        if not isinstance(other, Casm) or (other.depth, other.width) != (self.depth, self.width):
            raise ConfigError(
                f"model.start_from={folder}: expected a run of model=casm of {self.depth} layers of {self.width}"
            )
        ours, theirs = self.inputs, other.inputs
        if (theirs.dynamic, theirs.gappy) != (ours.dynamic, ours.gappy):
            raise ConfigError(
                f"model.start_from={folder}: it learned from {list(theirs.dynamic)} (with gaps: {list(theirs.gappy)}), "
                f"expected {list(ours.dynamic)} (with gaps: {list(ours.gappy)})"
            )
        names = [ours.dynamic[c] for c in self.used]
        scalers = [(ours.scalers[name], theirs.scalers[name]) for name in names]
        units = {
            f"the unit of the logarithm of {name}": (a.unit, b.unit)
            for name, (a, b) in zip(names, scalers, strict=True)
        }
        same: dict[str, tuple[Any, Any]] = {
            "harmonics": (self.harmonics, other.harmonics),
            "units": (ours.units, theirs.units),
            **units,
        }
        for name in ours.dynamic:
            pair = (ours.variable_units.get(name), theirs.variable_units.get(name))
            if None not in pair and not same_units(*pair):
                same[f"units of {name}"] = pair
        for what, (expected, theirs_is) in same.items():
            if theirs_is != expected:
                raise ConfigError(f"model.start_from={folder}: {what}: found {theirs_is}, expected {expected}")
        return scalers


def _brightness(names: tuple[str, ...]) -> list[int]:
    """Return the channels of the brightness temperatures; all channels if there is none."""
    channels = [c for c, n in enumerate(names) if n.lower().startswith("tb_") or "brightness_temperature" in n.lower()]
    return channels or list(range(len(names)))
