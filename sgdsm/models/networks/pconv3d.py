"""3-D partial convolutions: the network of `model=pconv3d` and `model=sgd_sm`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, mse_loss, smooth_l1_loss

from sgdsm.core.errors import ConfigError
from sgdsm.data.batch import SEASON_CHANNELS, Batch
from sgdsm.data.features import HALO_CELLS, gap_channel_count, gap_channels, own_line
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import Window
from sgdsm.models.networks.base import Estimate, Network, at_least, blocks_of, weighted_mean
from sgdsm.models.networks.layers.block import run
from sgdsm.models.networks.layers.dropout import ChannelDropout
from sgdsm.models.networks.layers.partial import PartialBlock, PartialConv3d, box_sum
from sgdsm.models.networks.layers.recurrent import RecurrentBlock
from sgdsm.models.networks.layers.series import through_blocks, to_field, to_series, wanted_cells
from sgdsm.models.networks.optimizer import muon_or_adamw

NEAR = (1, 3, 3)  # the neighbours whose share of seen values is an input
OWN = 4  # inputs of the cell itself: value, mask, gap age, share of seen neighbours


class PartialConvNetwork(Network):
    """3-D spatio-temporal partial convolutions on soil moisture, joined by the covariates, then a memory of each cell.

    1. Partial convolutions (Liu et al., ECCV 2018, Eqs. 1-2) carry what neighbours saw across the edges of a gap. The
       mask grows from layer to layer, and stays on land. Only soil moisture goes through them: under one joint mask
       the covariates would be masked in the gaps to be filled.
    2. In the cells to be filled, the features are joined by the cell's own values, the covariates, the season, the maps
       and the age of the gap.
    3. Bidirectional minimal gated recurrences go over the whole window: a memory of antecedent rain, and of the
       observations before and after. With `causal=true` they run forward alone, and the filters end with the day.
    4. The head gives an anomaly and its log variance.

    Inspired by SGD-SM (Zhang et al., ESSD 13, 1385, 2021), whose network was not published in full and has no memory
    and no covariates.

    Args:
        window_days: Length of a window, steps of the cube.
        core_cells: Rows and columns that a window estimates; on each side it has as many more as the partial
            convolutions reach.
        channels: Of the partial convolutions.
        layers: Number of partial blocks after the first partial convolution.
        kernel: Days, rows and columns of their filters, odd.
        width: Channels of the memory.
        memory: Number of recurrent blocks; 0 for none.
        gap_features: True to use the tree models' features of soil moisture too, which reach 7 cells, and to correct
            the line between the cell's nearest seen values, in place of the climatology; better on dense grids without
            weather. None: where the cube has no dynamic covariates.
        dropout: Share of the channels dropped in the blocks.
        head_dropout: The same in the head, where samples of MC dropout cost little.
        middle_day: True to estimate only the middle day of a window, as SGD-SM does: training then hides values on that
            day only.
        loss: Of the hidden values: 'nll', the likelihood of Seitzer et al. (ICLR 2022), with a variance for each value;
            'smooth_l1', or 'mse' as in SGD-SM, without.
        beta: Of 'nll'.
        global_weight: Weight of the same loss at the values that the window shows; 0 for none. Not for 'nll'.
        recompute_blocks: True for less memory in training, see `Block`.
        steps: See `Network`.
        epochs: See `Network`.
        learning_rate: See `Network`.
        muon_rate: Learning rate of Muon, which trains the matrices and filters of the blocks; None: AdamW trains them
            like the rest.
        weight_decay: See `Network`.
        batch_size: Windows in a step, from distant places and dates.
        seed: See `Network`.

    Raises:
        ConfigError: If a setting is out of range.
    """

    gains_by_bf16 = True
    trains_on_cores = True
    can_be_causal = learns_causal = True
    wide_cells = 64

    def __init__(
        self,
        window_days: int = 366,
        core_cells: int = 6,
        channels: int = 32,
        layers: int = 1,
        *,
        kernel: tuple[int, int, int] = (3, 3, 3),
        width: int = 64,
        memory: int = 3,
        gap_features: bool | None = None,
        dropout: float = 0.2,
        head_dropout: float = 0.0,
        middle_day: bool = False,
        loss: Literal["nll", "smooth_l1", "mse"] = "nll",
        beta: float = 0.5,
        global_weight: float = 0.0,
        recompute_blocks: bool = False,
        steps: int = 2000,
        epochs: int | None = None,
        learning_rate: float = 3e-3,
        muon_rate: float | None = 0.02,
        weight_decay: float = 0.1,
        batch_size: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(
            epochs,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            batch_size=batch_size,
            seed=seed,
            steps=steps,
        )
        at_least(1, window_days=window_days, core_cells=core_cells, channels=channels, width=width)
        at_least(0, layers=layers, memory=memory, global_weight=global_weight)
        if any(size < 1 or size % 2 == 0 for size in kernel):
            raise ConfigError(f"model.kernel={list(kernel)}: expected odd sizes")
        if middle_day and window_days % 2 == 0:
            raise ConfigError(f"model.window_days={window_days}: expected an odd number, to have a middle day")
        if loss == "nll" and global_weight:
            raise ConfigError(f"model.global_weight={global_weight}: expected 0 with model.loss=nll")
        self.kernel, self.channels, self.layers = (kernel[0], kernel[1], kernel[2]), channels, layers
        self.width, self.memory, self.dropout, self.head_share = width, memory, dropout, head_dropout
        self.window_days, self.core_cells, self.middle_day = window_days, core_cells, middle_day
        self.wants_gap_features = gap_features
        self.penalty = {"nll": None, "smooth_l1": smooth_l1_loss, "mse": mse_loss}[loss]
        self.beta, self.muon_rate = beta, muon_rate
        self.global_weight, self.recompute_blocks = global_weight, recompute_blocks
        self.gap_features = bool(gap_features)
        # until the covariates are known
        self.uses_repeat_cycle = gap_features is not False
        self.window = self.window_for(["some"])

    def window_for(self, dynamic: Sequence[str]) -> Window:
        # its margin is what the inputs reach
        reach = 1 + self.layers * (max(self.kernel[1:]) // 2)
        halo = max(HALO_CELLS, reach) if self._uses_gap_features(dynamic) else reach
        # recurrences take series of any length: filling uses longer windows, with fewer overlaps
        halo_days, longest = (self.window_days // 2, 1) if self.middle_day else (None, 3)
        return Window(self.window_days, self.core_cells + 2 * halo, halo_days, halo, longest)

    def _uses_gap_features(self, dynamic: Sequence[str]) -> bool:
        return not dynamic if self.wants_gap_features is None else self.wants_gap_features

    def setup_inputs(self, inputs: Inputs) -> None:
        dynamic, gappy, static = inputs.channels
        self.gap_features = self.uses_repeat_cycle = self._uses_gap_features(inputs.dynamic)
        self.window = self.window_for(inputs.dynamic)
        torch.manual_seed(self.seed)
        self.gappy = [inputs.dynamic.index(name) for name in inputs.gappy]
        self.first = PartialConv3d(1, self.channels, (self.kernel[0], 3, 3), inputs.causal)
        # where few values are seen their sum is multiplied by up to the size of the filter
        self.first.weight.data *= 0.4
        self.partial = nn.ModuleList(
            PartialBlock(self.channels, self.kernel, self.dropout, inputs.causal) for _ in range(self.layers)
        )
        known = self.channels + OWN + dynamic + gappy + static + SEASON_CHANNELS
        if self.gap_features:
            known += gap_channel_count(inputs)
        self.join = nn.Sequential(nn.Linear(known, 2 * self.width), nn.GELU(), nn.Linear(2 * self.width, self.width))
        self.blocks = nn.ModuleList(RecurrentBlock(self.width, self.dropout, inputs.causal) for _ in range(self.memory))
        for block in blocks_of(self):
            block.recompute = self.recompute_blocks
        self.norm = nn.LayerNorm(self.width)
        self.hidden = nn.Linear(self.width, self.width)
        self.head_dropout = ChannelDropout(self.head_share, 2, (0,), in_head=True)
        self.output = nn.Linear(self.width, 2 if self.penalty is None else 1)
        # training starts at the climatology, or at the line between seen values
        nn.init.zeros_(self.output.weight)

    def make_optimizer(self) -> torch.optim.Optimizer:
        within = [*self.partial.parameters(), *self.blocks.parameters()]
        return muon_or_adamw(self, within, self.muon_rate, self.learning_rate, self.weight_decay)

    def trunk_of(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the features before the head.

        Args:
            batch: Windows.

        Returns:
            Features (T, N, C); the N cells that they belong to, (B, H, W) bool, or None for all cells; and the line
            between the seen values, (B, 1, T, H, W), or None without gap features.
        """
        line = own_line(batch, not self.inputs.causal) if self.gap_features else None
        # the memory runs only in cells with wanted values
        cells = wanted_cells(batch, self.inputs.causal)
        x = torch.cat([to_series(c, cells) for c in [*self._seen(batch), *self._known(batch, line)]], -1)
        return through_blocks(x, self.join, self.blocks, self.norm), cells, line

    def _seen(self, batch: Batch) -> list[Tensor]:
        """Return the inputs that come from soil moisture, (B, C, T, H, W) each."""
        mask = batch.seen.to(batch.sm.dtype)
        own = [batch.sm * mask, mask, torch.log1p(batch.gap_age) / 3, box_sum(mask, NEAR) / (NEAR[1] * NEAR[2])]
        # the mask must not grow into the sea and beyond the record
        land = batch.land.to(mask.dtype)
        features, mask = self.first(batch.sm, mask)
        for block in self.partial:
            features, mask = run(block, features, mask * land)
        return [features.to(batch.sm.dtype), *own]

    def _known(self, batch: Batch, line: Tensor | None) -> list[Tensor]:
        """Return the other inputs, (B, C, T, H, W) each."""
        size = batch.sm.shape
        known = [
            batch.dynamic,
            batch.present[:, self.gappy].to(batch.sm.dtype),
            batch.static[:, :, None].expand(-1, -1, *size[2:]),
            batch.season[:, :, :, None, None].expand(-1, -1, -1, *size[3:]),
        ]
        return known if line is None else [*known, *gap_channels(batch, line, self.inputs)]

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        x, cells, line = self.trunk_of(batch) if trunk is None else trunk
        output = self.output(self.head_dropout(gelu(self.hidden(x)))).float()
        fields = to_field(output, cells, batch.sm)
        anomaly = fields[:, :1] if line is None else fields[:, :1] + torch.nan_to_num(line)
        # a finite variance, also where the network extrapolates
        return anomaly, fields[:, 1:].clamp(-8, 4) if self.penalty is None else None

    def loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        """Return the local loss at the hidden values plus `global_weight` times the global one at all observed values.

        SGD-SM has two such losses with weights that are not published. The global loss includes only days with a hidden
        value in the window: other days may be too close to another split to be used. Validation and scores use hidden
        values only.

        Args:
            estimate: See `Network.estimate`.
            batch: Windows with the truth.
        """
        if self.penalty is None:
            return super().loss(estimate, batch)
        anomaly, truth = estimate[0].float(), batch.truth.float()
        loss = weighted_mean(self.penalty(anomaly[batch.wanted], truth[batch.wanted], reduction="none"), batch)
        if self.global_weight:
            # days with a hidden value in the window
            targets = batch.wanted.any(4, keepdim=True).any(3, keepdim=True)
            observed = batch.wanted | (batch.seen & targets)
            values = torch.where(batch.wanted, truth, batch.sm.float())
            loss = loss + self.global_weight * self.penalty(anomaly[observed], values[observed])
        return loss
