"""3-D partial convolutions: the network of `model=pconv3d` and `model=sgd_sm`."""

from __future__ import annotations

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
from sgdsm.models.networks.layers.partial import PartialConv3d, PartialTrunk
from sgdsm.models.networks.layers.recurrent import RecurrentBlock
from sgdsm.models.networks.optimizer import MuonAdamW

GROUP = 32


class PartialConvNetwork(Network):
    def __init__(
        self,
        window_days: int = 366,
        window_cells: int = 8,
        channels: int = 64,
        layers: int = 1,
        *,
        memory: int = 2,
        levels: int = 0,
        kernel: tuple[int, int, int] = (3, 3, 3),
        first: tuple[int, int, int] = (3, 3, 3),
        gap_features: bool = False,
        dropout: float = 0.2,
        head_dropout: float = 0.0,
        middle_day: bool = False,
        loss: Literal["nll", "smooth_l1", "mse"] = "nll",
        beta: float = 0.5,
        global_weight: float = 0.0,
        recompute_blocks: bool = False,
        order: str = "",
        narrow: int = 0,
        epochs: int = 48,
        learning_rate: float = 3e-3,
        muon_rate: float | None = 0.02,
        weight_decay: float = 0.1,
        batch_size: int = 3,
        seed: int = 0,
    ) -> None:
        super().__init__(
            epochs, learning_rate=learning_rate, weight_decay=weight_decay, batch_size=batch_size, seed=seed
        )
        self.trunk_settings = (channels, (kernel[0], kernel[1], kernel[2]), layers, levels, dropout)
        self.firstk = tuple(first)
        halo_cells = (HALO_CELLS if gap_features else first[1] // 2) + layers * (kernel[1] // 2)
        self.window = Window(window_days, window_cells, window_days // 2 if middle_day else None, halo_cells, longest=1 if middle_day else 3)
        self.trains_on_cores = middle_day
        self.order = order or "r" * memory + "p" * layers
        self.head_share = head_dropout
        self.gap_features = self.uses_repeat_cycle = gap_features
        self.penalty = {"nll": None, "smooth_l1": smooth_l1_loss, "mse": mse_loss}[loss]
        self.beta, self.muon_rate = beta, muon_rate
        self.global_weight, self.recompute_blocks = global_weight, recompute_blocks

    def setup_inputs(self, inputs: Inputs) -> None:
        channels, kernel, layers, levels, dropout = self.trunk_settings
        dynamic, gappy, static = inputs.channels
        torch.manual_seed(self.seed)
        self.gappy = [inputs.dynamic.index(name) for name in inputs.gappy]
        known = dynamic + gappy + static + SEASON_CHANNELS + 3
        if self.gap_features:
            known += gap_channel_count(inputs)
        self.covariates = nn.Sequential(nn.Linear(known, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
        self.first = PartialConv3d(1, channels, self.firstk)
        self.blocks = nn.ModuleList(
            RecurrentBlock(channels, dropout) if c == "r" else PartialTrunk(channels, kernel, 1, levels, dropout)
            for c in self.order
        )
        self.norm = nn.LayerNorm(channels)
        self.hidden = nn.Linear(channels, channels)
        self.head_dropout = ChannelDropout(self.head_share, 2, (0,), in_head=True)
        self.output = nn.Linear(channels, 2 if self.penalty is None else 1)
        nn.init.zeros_(self.output.weight)

    def make_optimizer(self) -> torch.optim.Optimizer:
        if self.muon_rate is None:
            return super().make_optimizer()
        matrices = [p for p in self.blocks.parameters() if p.ndim == 2 and min(p.shape) > 3]
        chosen = set(map(id, matrices))
        rest = [p for p in self.parameters() if id(p) not in chosen]
        return MuonAdamW(matrices, rest, self.muon_rate, self.learning_rate, self.weight_decay)

    def trunk_of(self, batch: Batch) -> Any:
        line = own_line(batch) if self.gap_features else None
        cells = _in_whole_groups(batch.land.any(2)[:, 0])
        land = batch.land.to(batch.sm.dtype)
        seen = batch.seen.to(batch.sm.dtype)
        first, mask = self.first(batch.sm, seen)
        x = torch.cat([_series(c, cells) for c in self._known(batch, line)], -1)
        x = self.covariates(x).float() + _series(first, cells).float()
        for kind, block in zip(self.order, self.blocks, strict=True):
            if kind == "r":
                x = run(block, x)
            else:
                dense = x.new_zeros(len(x), *cells.shape, x.shape[-1])
                dense[:, cells] = x
                dense = dense.permute(1, 4, 0, 2, 3)
                dense = block(dense, mask, land)
                x = _series(dense, cells).float()
                mask = box_grow(mask, self.trunk_settings[1])
        return self.norm(x), cells, line

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        x, cells, line = self.trunk_of(batch) if trunk is None else trunk
        output = self.output(self.head_dropout(gelu(self.hidden(x)))).float()
        whole = output.new_zeros(len(output), *cells.shape, output.shape[-1])
        whole[:, cells] = output
        fields = whole.permute(4, 1, 0, 2, 3)[:, :, None]
        anomaly = fields[0]
        if line is not None:
            anomaly = anomaly + torch.nan_to_num(line)
        return anomaly, fields[1].clamp(-8, 4) if self.penalty is None else None

    def _known(self, batch: Batch, line: Tensor | None) -> list[Tensor]:
        size = batch.sm.shape
        known = [
            batch.dynamic,
            batch.present[:, self.gappy].to(batch.sm.dtype),
            batch.static[:, :, None].expand(-1, -1, *size[2:]),
            batch.season[:, :, :, None, None].expand(-1, -1, -1, *size[3:]),
            batch.sm,
            batch.seen.to(batch.sm.dtype),
            torch.log1p(batch.gap_age) / 3,
        ]
        if self.gap_features and line is not None:
            known += gap_channels(batch, line, self.inputs)
        return known

    def loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        if self.penalty is None:
            return super().loss(estimate, batch)
        anomaly, truth = estimate[0].float(), batch.truth.float()
        loss = weighted_mean(self.penalty(anomaly[batch.wanted], truth[batch.wanted], reduction="none"), batch)
        if self.global_weight:
            targets = batch.wanted.any(4, keepdim=True).any(3, keepdim=True)
            observed = batch.wanted | (batch.seen & targets)
            values = torch.where(batch.wanted, truth, batch.sm.float())
            loss = loss + self.global_weight * self.penalty(anomaly[observed], values[observed])
        return loss


def box_grow(mask, kernel):
    from sgdsm.models.networks.layers.partial import box_sum
    return (box_sum(mask, kernel) > 0).to(mask.dtype)


def _series(x: Tensor, cells: Tensor) -> Tensor:
    return x.movedim(2, 0).movedim(2, -1)[:, cells]


def _in_whole_groups(cells: Tensor, size: int = GROUP) -> Tensor:
    added = (~cells).flatten().nonzero()[: -int(cells.sum()) % size]
    cells = cells.clone()
    cells.view(-1)[added] = True
    return cells
