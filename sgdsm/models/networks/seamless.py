"""Seamless: recurrences over a year of a cell's and its neighbours' data."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from sgdsm.core.errors import ConfigError
from sgdsm.data.batch import SEASON_CHANNELS, Batch
from sgdsm.data.features import HALO_CELLS, gap_channel_count, gap_channels, own_line
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import Window
from sgdsm.models.networks.base import Estimate, Network, at_least, blocks_of
from sgdsm.models.networks.layers.dropout import ChannelDropout
from sgdsm.models.networks.layers.recurrent import RecurrentBlock
from sgdsm.models.networks.layers.series import through_blocks, to_field, to_series, wanted_cells
from sgdsm.models.networks.optimizer import muon_or_adamw

AROUND = 9  # cells in a square of 3 x 3


class Seamless(Network):
    """Minimal gated recurrences over a year of the cell's and its neighbours' observations, masks and covariates.

    Each day of each land cell is encoded as a vector: seen values of the 3 x 3 cells around it, covariates, maps and
    season. Blocks of bidirectional recurrences process the series; with `causal=true` they run forward alone. The head
    gives an anomaly and its log variance.

    Args:
        window_days: Length of a window, steps of the cube.
        window_cells: Rows and columns of a window; a step has `batch_size` windows, from distant places and dates.
        width: Channels.
        blocks: Number of recurrent blocks.
        gap_features: True to use the multi-scale features of the tree models too (values and ages around a gap,
            departures of the neighbourhood), which reach 7 cells, and to start from the line between the nearest seen
            values instead of the climatology; better on dense grids without meteorology.
        dropout: Share of the channels of a series dropped in the blocks.
        head_dropout: The same in the head, where samples of MC dropout cost little.
        beta: Of the loss (Seitzer et al., ICLR 2022).
        steps: See `Network`.
        epochs: See `Network`.
        learning_rate: See `Network`.
        muon_rate: Learning rate of Muon, which trains the hidden matrices; None: AdamW trains them like the rest.
        weight_decay: See `Network`.
        batch_size: Windows in a step.
        seed: See `Network`.
        observations: False to ignore the soil moisture of the window (but not the cell's climatology), for ablations.
        neighbours: False to ignore the soil moisture of neighbouring cells, for ablations.
        recompute_blocks: True for less memory in training, see `Block`.

    Raises:
        ConfigError: If a setting is out of range.
    """

    trains_on_cores = True
    gains_by_bf16 = True
    can_be_causal = learns_causal = True
    wide_cells = 64

    def __init__(
        self,
        window_days: int = 366,
        window_cells: int = 8,
        width: int = 64,
        blocks: int = 3,
        *,
        gap_features: bool = False,
        dropout: float = 0.2,
        head_dropout: float = 0.0,
        beta: float = 0.5,
        steps: int = 2000,
        epochs: int | None = None,
        learning_rate: float = 3e-3,
        muon_rate: float | None = 0.02,
        weight_decay: float = 0.1,
        batch_size: int = 3,
        seed: int = 0,
        observations: bool = True,
        neighbours: bool = True,
        recompute_blocks: bool = False,
    ) -> None:
        super().__init__(
            epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            seed=seed,
            steps=steps,
        )
        at_least(1, window_days=window_days, width=width, blocks=blocks)
        if gap_features and not (observations and neighbours):
            raise ConfigError("model.gap_features=true needs model.observations=true and model.neighbours=true")
        halo_cells = HALO_CELLS if gap_features else int(observations and neighbours)
        if window_cells <= 2 * halo_cells:
            raise ConfigError(
                f"model.window_cells={window_cells}: expected more than twice the reach of {halo_cells} cells"
            )
        # recurrences take series of any length: filling uses longer windows, with fewer overlaps
        self.window = Window(window_days, window_cells, None, halo_cells, longest=3)
        self.width, self.depth, self.dropout, self.head_share = width, blocks, dropout, head_dropout
        self.gap_features = self.uses_repeat_cycle = gap_features
        self.beta, self.muon_rate = beta, muon_rate
        self.observations, self.neighbours = observations, neighbours
        self.recompute_blocks = recompute_blocks

    def setup_inputs(self, inputs: Inputs) -> None:
        dynamic, gappy, static = inputs.channels
        torch.manual_seed(self.seed)
        self.gappy = [inputs.dynamic.index(name) for name in inputs.gappy]
        known = dynamic + gappy + static + SEASON_CHANNELS
        if self.observations:
            # values and masks of the cells around; then their share and mean, and the gap age (see `_observed`)
            known += 2 * AROUND + 3 if self.neighbours else 3
        if self.gap_features:
            known += gap_channel_count(inputs)
        self.encoder = nn.Sequential(nn.Linear(known, 2 * self.width), nn.GELU(), nn.Linear(2 * self.width, self.width))
        self.blocks = nn.ModuleList(RecurrentBlock(self.width, self.dropout, inputs.causal) for _ in range(self.depth))
        for block in blocks_of(self):
            block.recompute = self.recompute_blocks
        self.norm = nn.LayerNorm(self.width)
        self.hidden = nn.Linear(self.width, self.width)
        self.head_dropout = ChannelDropout(self.head_share, 2, (0,), in_head=True)
        self.output = nn.Linear(self.width, 2)
        # training starts at the climatology, or at the line between seen values
        nn.init.zeros_(self.output.weight)

    def make_optimizer(self) -> torch.optim.Optimizer:
        return muon_or_adamw(self, self.blocks.parameters(), self.muon_rate, self.learning_rate, self.weight_decay)

    def trunk_of(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the features before the head.

        Args:
            batch: Windows.

        Returns:
            Features (T, N, C); the N cells that they belong to, (B, H, W) bool, or None for all cells; and the line
            between the seen values, (B, 1, T, H, W), or None without gap features.
        """
        # the recurrences run only in cells with wanted values
        cells = wanted_cells(batch, self.inputs.causal)
        line = own_line(batch, not self.inputs.causal) if self.gap_features else None
        x = torch.cat([to_series(c, cells) for c in self._channels(batch, line)], -1)
        return through_blocks(x, self.encoder, self.blocks, self.norm), cells, line

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        x, cells, line = self.trunk_of(batch) if trunk is None else trunk
        output = self.output(self.head_dropout(gelu(self.hidden(x)))).float()
        anomaly, log_variance = to_field(output, cells, batch.sm).split(1, 1)
        if line is not None:
            anomaly = anomaly + torch.nan_to_num(line)
        # a finite variance, also where the network extrapolates
        return anomaly, log_variance.clamp(-8, 4)

    def _channels(self, batch: Batch, line: Tensor | None) -> list[Tensor]:
        """Return the inputs, (B, C, T, H, W) each."""
        size = batch.sm.shape
        channels = [
            batch.dynamic,
            batch.present[:, self.gappy].to(batch.sm.dtype),
            batch.static[:, :, None].expand(-1, -1, *size[2:]),
            batch.season[:, :, :, None, None].expand(-1, -1, -1, *size[3:]),
        ]
        if self.observations:
            channels += self._observed(batch)
        if line is not None:
            channels += gap_channels(batch, line, self.inputs)
        return channels

    def _observed(self, batch: Batch) -> list[Tensor]:
        """Return the inputs that come from soil moisture: values, masks, their means around the cell, and gap age."""
        seen = batch.seen.to(batch.sm.dtype)
        # in the order of 1, as all inputs are
        age = torch.log1p(batch.gap_age) / 3
        if not self.neighbours:
            return [batch.sm, seen, age]
        around = torch.cat([_neighbours(batch.sm), _neighbours(seen)], 1)
        values, masks = around[:, :AROUND], around[:, AROUND:]
        share = masks.mean(1, keepdim=True)
        # the mean over the seen ones of the 3 x 3 cells
        return [around, share, values.mean(1, keepdim=True) / share.clamp(min=0.1), age]


def _neighbours(x: Tensor) -> Tensor:
    """Return the values of the 3 x 3 cells around each, (B, 1, T, H, W) to (B, 9, T, H, W), 0 outside the window."""
    rows, columns = x.shape[3:]
    wide = pad(x, (1, 1, 1, 1))
    return torch.cat([wide[..., i : i + rows, j : j + columns] for i in range(3) for j in range(3)], 1)
