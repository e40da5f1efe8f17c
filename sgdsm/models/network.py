"""Networks behind the trainer: what they share in training, and the partial-convolution network."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, smooth_l1_loss

from sgdsm.cube import ConfigError
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.rows import own_line
from sgdsm.data.scaling import Inputs
from sgdsm.models.base import GapFiller, Window
from sgdsm.models.nets.partial import PartialConv3d

Estimate = tuple[Tensor, Tensor | None]


class Network(GapFiller):
    """A torch network that estimates anomalies, trained on hidden values: with a smooth L1 loss, or, where it estimates
    their variance too, with the beta-NLL of Seitzer et al. (ICLR 2022).

    passes: epochs, each one pass over the record with fresh gaps. learning_rate: rises over the first 3 % of the
    training, then falls along a cosine. weight_decay: of AdamW. batch_size: windows in a step. seed: of everything
    random in training.
    """

    beta = 0.5  # of the beta-NLL: 0 = likelihood, 1 = squared errors

    def __init__(
        self,
        passes: int = 40,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {"passes": passes, "learning_rate": learning_rate, "batch_size": batch_size}.items():
            if value <= 0:
                raise ConfigError(f"model.{name}={value}: expected more than 0")
        self.passes, self.learning_rate, self.weight_decay = passes, learning_rate, weight_decay
        self.batch_size, self.seed = batch_size, seed

    @abstractmethod
    def estimate(self, batch: Batch) -> Estimate:
        """Anomalies over `Inputs.anomaly_scale`, (B, 1, T, H, W), and the log of their variance, or None."""

    def fill(self, batch: Batch) -> Filled:
        anomaly, log_variance = self.estimate(batch)
        std = None if log_variance is None else self.inputs.anomaly_scale * torch.exp(0.5 * log_variance.float())
        return Filled(self.in_units(anomaly.float(), batch), std)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Mean loss at the hidden values of a batch."""
        # seeded here, not once: then a resumed run draws the same dropout masks as an uninterrupted one
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.current_epoch, index]).generate_state(1)[0]))
        self._schedule(index)
        anomaly, log_variance = self.estimate(batch)
        errors = (anomaly - batch.truth)[batch.wanted].float()
        if log_variance is None:
            loss = smooth_l1_loss(errors, torch.zeros_like(errors))
        else:
            log_variance = log_variance[batch.wanted].float()
            loss = 0.5 * (errors.square() * torch.exp(-log_variance) + log_variance)
            loss = (loss * torch.exp(self.beta * log_variance.detach())).mean()
        self.log("train_loss", loss.detach(), prog_bar=True, on_step=False, on_epoch=True, batch_size=1)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.make_optimizer()
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer with its highest learning rates."""
        return torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def _schedule(self, index: int) -> None:
        # a function of where the training stands, without a state that an interruption could lose
        epochs = self.trainer.max_epochs or self.passes
        done = (self.current_epoch + index / max(1, int(self.trainer.num_training_batches))) / epochs
        factor = min(1.0, (done + 1e-3) / 0.03) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * max(factor, 1e-2)


class PartialConvNetwork(Network):
    """3-D spatio-temporal partial convolutions on soil moisture, covariates in a branch of their own.

    Inspired by SGD-SM (Zhang et al., ESSD 13, 1385, 2021), whose network was not published in full. The first partial
    layer reads the seen anomalies with their mask. The covariates, the season, the maps and the age of the gap go
    through plain convolutions (one of them `memory_days` long in time) and are added after it: under one joint mask
    they would vanish in the very gaps that they should fill. Residual blocks of partial convolutions follow, their
    mask growing from layer to layer. The output is a correction of the line between the cell's nearest seen values.

    window_days, window_cells: size of a window. channels, layers: of the partial blocks. kernel: days, rows and
    columns of their filters. first_guess: whether to start from the line (else from the climatology). dropout: of
    whole channels in each block. The other arguments are those of `Network`.
    """

    def __init__(
        self,
        window_days: int = 64,
        window_cells: int = 48,
        channels: int = 32,
        layers: int = 5,
        kernel: tuple[int, int, int] = (3, 3, 3),
        memory_days: int = 9,
        first_guess: bool = True,
        dropout: float = 0.0,
        passes: int = 40,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(passes, learning_rate, weight_decay, batch_size, seed)
        for name, value in {"window_days": window_days, "channels": channels, "layers": layers}.items():
            if value < 1:
                raise ConfigError(f"model.{name}={value}: expected at least 1")
        if any(size < 1 or size % 2 == 0 for size in (*kernel, memory_days)):
            raise ConfigError(f"model.kernel={list(kernel)}, model.memory_days={memory_days}: expected odd sizes")
        halo_cells = 1 + layers * (max(kernel[1:]) // 2)
        if window_cells <= 2 * halo_cells:
            raise ConfigError(
                f"model.window_cells={window_cells}: expected more than twice the reach of {halo_cells} cells"
            )
        # the first guess looks beyond any halo in time, so windows are blended there
        self.window = Window(window_days, window_cells, None, halo_cells)
        self.shape = (channels, layers, tuple(kernel), memory_days, dropout)
        self.first_guess = first_guess

    def setup_inputs(self, inputs: Inputs) -> None:
        channels, layers, kernel, memory_days, dropout = self.shape
        dynamic, gappy, static = inputs.channels
        torch.manual_seed(self.seed)
        self.gappy = [inputs.dynamic.index(name) for name in inputs.gappy]
        known = dynamic + gappy + static + 4 + 1 + 2 * self.first_guess
        self.covariates = nn.Sequential(
            nn.Conv3d(known, channels, 1),
            nn.GELU(),
            nn.Conv3d(channels, channels, (memory_days, 1, 1), padding=(memory_days // 2, 0, 0)),
        )
        self.first = PartialConv3d(1, channels, (5, 3, 3))
        self.blocks = nn.ModuleList(PartialBlock(channels, kernel, dropout) for _ in range(layers))
        last = nn.Conv3d(channels, 1, 1, bias=False)
        self.head = nn.Sequential(nn.GELU(), nn.Conv3d(channels, channels, 1), nn.GELU(), last)
        # training starts at the first guess itself
        nn.init.zeros_(last.weight)

    def estimate(self, batch: Batch) -> Estimate:
        size = batch.sm.shape
        known = [
            batch.dynamic,
            batch.present[:, self.gappy].to(batch.sm.dtype),
            batch.static[:, :, None].expand(-1, -1, *size[2:]),
            batch.season[:, :, :, None, None].expand(-1, -1, -1, *size[3:]),
            torch.log1p(batch.gap_age),
        ]
        line = None
        if self.first_guess:
            line = own_line(batch)
            missing = line.isnan()
            line = torch.where(missing, 0.0, line)
            known += [line, missing.to(line.dtype)]
        # sea and days beyond the record stay missing, however far the mask grows
        land = batch.land.to(batch.sm.dtype)
        features, mask = self.first(batch.sm, batch.seen.to(batch.sm.dtype))
        features = features + self.covariates(torch.cat(known, 1))
        for block in self.blocks:
            features, mask = block(features, mask * land)
        correction = self.head(features)
        return (correction if line is None else line + correction), None


class PartialBlock(nn.Module):
    """x + mix(gelu(partial convolution(gelu(norm(x))))): what a cell itself knows passes its gaps unmasked.

    The norm is over the channels of each value, so that an output depends on its surroundings only through the
    filters.
    """

    def __init__(self, channels: int, kernel: Any, dropout: float) -> None:
        super().__init__()
        self.partial = PartialConv3d(channels, channels, kernel)
        self.mix = nn.Conv3d(channels, channels, 1)
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, C, T, H, W); mask: (B, 1, T, H, W)."""
        normed = layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
        y, mask = self.partial(gelu(normed), mask)
        return x + self.dropout(self.mix(gelu(y))), mask
