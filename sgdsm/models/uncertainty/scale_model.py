"""Expected size of an error from the age of its gap, the covariates, the season and the cell."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgdsm.data.batch import CELL_MAPS, SEASON_CHANNELS, Batch
from sgdsm.models.uncertainty.calibrated import CalibrationBatch, joined_errors

UNITS, STEPS, RATE, DECAY = 16, 100, 0.02, 0.3
FARTHEST = 4.0  # scaled features are clipped here: the network must not extrapolate
FEWEST = 100  # errors
FLOOR = 1e-4  # smallest standard deviation, as a share of the anomalies' spread


class ScaleModel(nn.Module):
    """A small network for the log of the size of an error, relative to the filler's own standard deviation.

    Args:
        dynamic: Number of dynamic covariates.
        anomaly_scale: Spread of the anomalies in the target's units; stands in for a missing standard deviation.
    """

    offset: Tensor

    def __init__(self, dynamic: int, anomaly_scale: float) -> None:
        super().__init__()
        self.anomaly_scale = anomaly_scale
        # the seed is fixed and the caller's random numbers stay as they are: calibration must not change a training
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            count = 1 + dynamic + CELL_MAPS + SEASON_CHANNELS
            self.network = nn.Sequential(nn.Linear(count, UNITS), nn.Tanh(), nn.Linear(UNITS, 1))
        last = self.network[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        self.register_buffer("offset", torch.tensor(0.0))

    def forward(self, batch: Batch, std: Tensor | None) -> Tensor:
        """Return the log of the expected size of the error at the wanted values.

        Args:
            batch: Windows with N wanted values.
            std: The filler's own standard deviation, (B, 1, T, H, W), in the target's units, or None.

        Returns:
            Logs of sizes in the target's units, (N,).
        """
        base = torch.full_like(batch.sm, self.anomaly_scale) if std is None else std
        floor = FLOOR * self.anomaly_scale
        correction: Tensor = self.network(self.features(batch))[:, 0] + self.offset
        return torch.log(base[batch.wanted].float().clamp(min=floor)) + correction

    def features(self, batch: Batch) -> Tensor:
        """Return the inputs of the network at the wanted values, (N, features).

        Args:
            batch: Windows with N wanted values.
        """
        wanted = batch.wanted[:, 0]
        size = batch.sm.shape
        maps = torch.stack([batch.cell_mean, batch.cell_log_spread], 1)[:, :, None].expand(-1, -1, *size[2:])
        season = batch.season[:, :, :, None, None].expand(-1, -1, -1, *size[3:])
        fields = torch.cat([torch.log1p(batch.gap_age), batch.dynamic, maps, season], 1)
        return fields.movedim(1, -1)[wanted].float().clamp(-FARTHEST, FARTHEST)

    def fit(self, validation: Sequence[CalibrationBatch]) -> None:
        """Fit offset and network to errors; without enough of them both stay as they are.

        The loss is the negative log-likelihood of a Laplace distribution: it is less sensitive to outliers than that
        of a normal distribution.

        Args:
            validation: Errors at the hidden values of the validation split.
        """
        with torch.no_grad():
            features = torch.cat([self.features(one.batch) for one in validation])
            base = torch.cat([self(one.batch, one.std) for one in validation])
        sizes = joined_errors(validation).abs().float()
        if len(sizes) < FEWEST:
            return
        self.offset += torch.log((sizes / base.exp()).mean().clamp(min=1e-6))
        base += self.offset
        with torch.enable_grad():
            optimizer = torch.optim.AdamW(self.network.parameters(), RATE, weight_decay=DECAY)
            for step in range(STEPS):
                # learning rate along a cosine
                optimizer.param_groups[0]["lr"] = RATE * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
                optimizer.zero_grad()
                log_scale = base + self.network(features)[:, 0]
                (log_scale + sizes * torch.exp(-log_scale)).mean().backward()
                optimizer.step()
