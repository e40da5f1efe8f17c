"""CASM: the seasonal cycle of each cell plus a dense network on the covariates' departures from their own cycles."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, pad, relu

from sgdsm.core.errors import ConfigError
from sgdsm.core.units import same_units
from sgdsm.data.batch import SEASON_CHANNELS, Batch, Filled
from sgdsm.data.normalization import Inputs, Scaler
from sgdsm.models.base import Window
from sgdsm.models.checkpoint import load_filler
from sgdsm.models.networks.base import Estimate, Network, at_least, weighted_mean
from sgdsm.models.networks.seasonal import seasonal_cycle
from sgdsm.models.uncertainty.wrappers import innermost

# scale of the place: a unit vector changes by 0.02 a degree, too little for a regional network to learn from
PLACE = 4.0
PLACE_CHANNELS = 3
LAGS = (1, 2, 3)  # steps of the cube
MEANS = (2, 5, 15, 45, 90)  # days, the day itself included
# means over more days vary less: times days to this power they are in the order of 1
GROWTH = 0.3
MEMORIES = (2, 5, 10, 20, 40)  # days in which the weight of earlier rain falls to 1/e
DOUBLINGS = 8  # that weight ends after 2^8 steps
LEAST_RAIN = 0.02  # of the mean of wet days; antecedent rain that is less differs little from none


class Casm(Network):
    """Residual network on the weather or on brightness temperatures, cell by cell and day by day.

    Follows CASM (Skulovich and Gentine, Sci. Data 10, 154, 2023): the target's seasonal cycle in each cell, plus its
    departure as a dense network tells it from the departures of the covariates from their own cycles. The network does
    not look at soil moisture of the window, only at the climatology of the cell.

    `published` is the paper's network. Inputs: the place, and for each covariate its departure on the day, 0 where it
    is missing, with a mask channel for covariates with gaps. The covariates are the brightness temperatures, recognised
    by a name that begins with `tb_` or contains 'brightness_temperature'; all dynamic ones if there is none. ReLU
    layers learn by squared errors. Differences from the paper: dropout; AdamW with a schedule; splits and scalers
    without leaks; and the target's cycle, which is the climatology of the Batch (two harmonics, drawn towards those of
    the domain where values are few) because it is also fitted to the training days of a split into blocks.

    Otherwise the network has more than in the paper: brightness temperatures hold the state of the soil, the weather of
    a day does not, so that the weather before it is needed too. Inputs: the value of every dynamic covariate, its
    departures on the day, of one to three steps before and of means over 2 to 90 days; antecedent precipitation with
    memories of 2 to 40 days; season; maps; mean, spread and climatology of the cell. Residual layers with layer
    normalisation estimate the departure and its variance and learn by the beta-NLL.

    Args:
        window_cells: Rows and columns of a window, which has all days of the record. A step has the hidden values of
            `batch_size` windows: of four single cells some 240 in two years of SMAP. Cells from distant places make
            better steps than as many neighbours.
        layers: Number of hidden layers.
        width: Units of a hidden layer.
        published: True for the network of the paper.
        harmonics: Of the covariates' cycles, 1 to 3.
        dropout: Share of the units dropped.
        samples: Number of thinned networks whose mean is the estimate (Gal and Ghahramani, ICML 2016), each with one
            mask for all cells and days; 1, or no dropout: the whole network. The standard deviation combines their
            spread with the estimated variance, or for the published network with the RMSE in validation.
        start_from: Folder of a run whose weights training starts from.
        frozen: Number of first layers that keep those weights.
        beta: Of the loss (Seitzer et al., ICLR 2022).
        epochs: See `Network`.
        learning_rate: See `Network`; it is constant in the paper.
        weight_decay: See `Network`.
        batch_size: Windows in a step.
        seed: See `Network`.

    Raises:
        ConfigError: If a setting is out of range.
    """

    # so many that the inputs of the network, some hundred, take less than 100 MiB
    wide_cells = 64
    wide_values = 2**17

    def __init__(
        self,
        window_cells: int = 1,
        layers: int = 4,
        width: int = 256,
        *,
        published: bool = False,
        harmonics: int = 2,
        dropout: float = 0.1,
        samples: int = 20,
        start_from: str | None = None,
        frozen: int = 0,
        beta: float = 0.5,
        epochs: int = 30,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.1,
        batch_size: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(
            epochs, learning_rate=learning_rate, weight_decay=weight_decay, batch_size=batch_size, seed=seed
        )
        at_least(1, window_cells=window_cells, layers=layers, width=width, samples=samples)
        if harmonics not in (1, 2, 3):
            raise ConfigError(f"model.harmonics={harmonics}: expected 1, 2 or 3")
        if not 0 <= dropout < 1:
            raise ConfigError(f"model.dropout={dropout}: expected a share from 0 to below 1")
        if not 0 <= frozen <= layers or (frozen and start_from is None):
            raise ConfigError(f"model.frozen={frozen}: expected 0 to {layers} layers, of a run model.start_from")
        self.window = Window(None, window_cells, None, 0)
        self.depth, self.width, self.harmonics, self.dropout, self.samples = layers, width, harmonics, dropout, samples
        self.published, self.beta = published, beta
        self.start_from, self.frozen = start_from, frozen
        self.thinned = self.decomposes = dropout > 0 and samples > 1
        # RMSE in validation, in the target's units; NaN: not validated
        self.noise: Tensor
        self.register_buffer("noise", torch.tensor(float("nan")))
        # 1 if trained with latitude and longitude, else 0; NaN: not trained
        self.placed: Tensor
        self.register_buffer("placed", torch.tensor(float("nan")))

    def setup_inputs(self, inputs: Inputs) -> None:
        self.used = _brightness(inputs.dynamic) if self.published else list(range(len(inputs.dynamic)))
        if not self.used:
            raise ConfigError(
                "model=casm learns from dynamic covariates, and the cube has none: name them in data.dynamic"
            )
        self.gappy = [c for c in self.used if inputs.dynamic[c] in inputs.gappy]
        torch.manual_seed(self.seed)
        sizes = [len(self._channels(inputs)), *[self.width] * self.depth]
        hidden = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.output = nn.Linear(self.width, 1 if self.published else 2)
        for layer in hidden:
            # PyTorch's default initialisation lets the activations of ReLU layers fade from layer to layer
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        # training starts at the seasonal cycle itself
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.hidden = nn.ModuleList(hidden)
        # in front of each layer but the first
        self.norms = nn.ModuleList([] if self.published else [nn.LayerNorm(self.width) for _ in range(self.depth)])
        for module in (*self.hidden[: self.frozen], *self.norms[: max(0, self.frozen - 1)]):
            module.requires_grad_(False)

    def _channels(self, inputs: Inputs) -> list[Scaler]:
        """Return offset and scale of each input of the network, in the order of `_rows`."""
        one = Scaler(0.0, 1.0)
        covariates = [inputs.scalers[inputs.dynamic[c]] for c in self.used]
        departures = [Scaler(0.0, scaler.scale) for scaler in covariates]
        first, gappy = [one] * PLACE_CHANNELS, [one] * len(self.gappy)
        if self.published:
            return [*first, *departures, *gappy]
        maps = [inputs.scalers[name] for name in inputs.static]
        mean = Scaler(inputs.mean, inputs.mean_spread)
        rain = [one] * (len(MEMORIES) if inputs.precipitation else 0)
        return [
            *first,
            *departures * (1 + len(LAGS) + len(MEANS)),
            *gappy,
            *covariates,
            *rain,
            *[one] * SEASON_CHANNELS,
            *maps,
            mean,
            Scaler(math.log(inputs.anomaly_scale), 1.0),
            mean,
        ]

    def setup(self, stage: str) -> None:
        # before Lightning restores an interrupted training, and not in filling: the other run may be deleted by then
        if stage == "fit" and self.start_from is not None:
            self._take_over(self.start_from)

    def loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        """Return the mean loss at the hidden values of a batch: beta-NLL, or squared errors if `published`.

        Args:
            estimate: See `Network.estimate`.
            batch: Windows with the truth.
        """
        if not self.published:
            return super().loss(estimate, batch)
        errors = (estimate[0] - batch.truth)[batch.wanted]
        return weighted_mean(errors.float().square(), batch)

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        anomaly, log_variance = self._forward(self._rows(batch), None)
        placed = None if log_variance is None else self._place_back(log_variance, batch)
        return self._place_back(anomaly, batch), placed

    def fill(self, batch: Batch, trunk: Any = None) -> Filled:
        rows = self._rows(batch)
        masks = [self._mask(number) for number in range(self.samples)] if self.thinned else [None]
        samples, log_variances = zip(*(self._forward(rows, mask) for mask in masks), strict=True)
        anomalies = torch.stack(samples).float()
        spread = self.inputs.anomaly_scale * anomalies.std(0, unbiased=False)
        if self.published:
            variance = self.noise**2 if self.noise.isfinite() else None
        else:
            variance = self.inputs.anomaly_scale**2 * torch.stack(log_variances).float().exp().mean(0)
        std = None if variance is None else self._place_back(torch.sqrt(spread**2 + variance), batch)
        mean = self.in_units(self._place_back(anomalies.mean(0), batch), batch)
        epistemic = self._place_back(spread, batch) if self.decomposes else None
        return Filled(mean, std, epistemic=epistemic)

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
        departures = torch.where(present, values - cycle, 0)
        # a covariate without gaps needs no mask channel
        gappy = batch.present[:, self.gappy].to(values.dtype)
        place = (PLACE * batch.place)[:, :, None]
        fields = [place, departures]
        if self.published:
            fields += [gappy]
        else:
            fields += [*self._antecedent(departures, present), gappy, values, *self._rain(batch)]
            fields += [batch.season[..., None, None], batch.static[:, :, None]]
            fields += [(batch.climatology - self.inputs.mean) / self.inputs.mean_spread]
        size = values.shape
        return torch.cat([f.expand(size[0], -1, *size[2:]) for f in fields], 1).movedim(1, -1)[batch.wanted[:, 0]]

    def _antecedent(self, departures: Tensor, present: Tensor) -> Iterator[Tensor]:
        """Yield departures of some steps ago, and their means over the last days, (B, C, T, H, W) each."""
        for steps in LAGS:
            yield _ago(departures, steps)
        total, count = departures.cumsum(2), present.to(departures.dtype).cumsum(2)
        for days in MEANS:
            steps = max(1, round(days / self.inputs.step_days))
            # over the values that are there; at the beginning of the record that is less
            mean = (total - _ago(total, steps)) / (count - _ago(count, steps)).clamp(min=1)
            yield days**GROWTH * mean

    def _rain(self, batch: Batch) -> Iterator[Tensor]:
        """Yield logs of antecedent precipitation, a mean whose weights fall exponentially, (B, 1, T, H, W) each."""
        inputs = self.inputs
        if inputs.precipitation is None:
            return
        channel, scaler = inputs.dynamic.index(inputs.precipitation), inputs.scalers[inputs.precipitation]
        # as parts of the mean of wet days; where it is missing, that of a usual day
        amount = torch.expm1(scaler.scale * batch.dynamic[:, channel : channel + 1] + scaler.offset).clamp(min=0)
        for days in MEMORIES:
            kept = math.exp(-inputs.step_days / days)
            total, weight = amount, torch.ones_like(amount[:1, :, :, :1, :1])
            for doubling in range(DOUBLINGS):
                steps = 2**doubling
                total, weight = (x + kept**steps * _ago(x, steps) for x in (total, weight))
            yield torch.log(total / weight + LEAST_RAIN)

    def _check_place(self, batch: Batch) -> None:
        """Raise ConfigError if training had a place and this batch has none, or the other way round."""
        # a place of zeros is no unit vector: the network would extrapolate
        placed = bool(batch.place.any())
        if self.training and self.placed.isnan():
            self.placed.fill_(placed)
        if self.placed.isfinite() and bool(self.placed) != placed:
            kinds = {True: "latitude and longitude", False: "no latitude and longitude"}
            raise ConfigError(f"model=casm learned on a grid of {kinds[not placed]}, and this cube has {kinds[placed]}")

    def _forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the scaled departures of the target, (N,), and the logs of their variances, or None if `published`.

        Args:
            x: Inputs, (N, channels).
            mask: Of a thinned network, (layers, width); None: the whole one.
        """
        for number, layer in enumerate(self.hidden):
            residual = not self.published and number > 0
            y = layer(self.norms[number - 1](x) if residual else x)
            y = relu(y) if self.published else gelu(y)
            y = dropout(y, self.dropout, self.training) if mask is None else y * mask[number]
            x = x + y if residual else y
        if self.published:
            return self.output(x)[:, 0], None
        # a finite variance, also where the network extrapolates
        anomaly, log_variance = self.output(self.norms[-1](x)).float().unbind(1)
        return anomaly, log_variance.clamp(-8, 4)

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
        """Start from the weights of another run, changed so that they are the same function of unscaled values."""
        other = innermost(load_filler(Path(folder) / "model.ckpt"))
        self._check_source(other, folder)
        # the RMSE in validation is that of this run, not of the other
        self.load_state_dict({**other.state_dict(), "noise": self.noise})
        pairs = zip(self._channels(self.inputs), other._channels(other.inputs), strict=True)
        # an input of the other run is ratio x input of this one + shift
        ratio, shift = zip(*((a.scale / b.scale, (a.offset - b.offset) / b.scale) for a, b in pairs), strict=True)
        scale = other.inputs.anomaly_scale / self.inputs.anomaly_scale
        with torch.no_grad():
            first = self.get_parameter("hidden.0.weight")
            self.get_parameter("hidden.0.bias").add_(first @ torch.tensor(shift, device=first.device))
            first.mul_(torch.tensor(ratio, device=first.device))
            for parameter in self.output.parameters():
                parameter[0].mul_(scale)
            if not self.published:
                self.output.bias[1] += 2 * math.log(scale)

    def _check_source(self, other: Any, folder: str) -> None:
        """Raise ConfigError if the weights of another run do not fit."""
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
            "published": (self.published, other.published),
            "harmonics": (self.harmonics, other.harmonics),
            "units": (ours.units, theirs.units),
            **units,
        }
        if not self.published:
            same["maps"] = (list(ours.static), list(theirs.static))
            same["precipitation"] = (ours.precipitation, theirs.precipitation)
            same["days between maps"] = (ours.step_days, theirs.step_days)
        for name in (*ours.dynamic, *([] if self.published else ours.static)):
            pair = (ours.variable_units.get(name), theirs.variable_units.get(name))
            if None not in pair and not same_units(*pair):
                same[f"units of {name}"] = pair
        for what, (expected, theirs_is) in same.items():
            if theirs_is != expected:
                raise ConfigError(f"model.start_from={folder}: {what}: found {theirs_is}, expected {expected}")


def _ago(values: Tensor, steps: int) -> Tensor:
    """Return the values of some steps ago, 0 before the window, (B, C, T, H, W)."""
    return pad(values, (0, 0, 0, 0, steps, 0))[:, :, : values.shape[2]]


def _brightness(names: tuple[str, ...]) -> list[int]:
    """Return the channels of the brightness temperatures; all channels if there is none."""
    channels = [c for c, n in enumerate(names) if n.lower().startswith("tb_") or "brightness_temperature" in n.lower()]
    return channels or list(range(len(names)))
