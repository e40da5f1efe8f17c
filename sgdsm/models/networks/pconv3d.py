"""3-D partial convolutions: the network of `model=pconv3d` and `model=sgd_sm`."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, smooth_l1_loss

from sgdsm.core.errors import ConfigError
from sgdsm.data.batch import SEASON_CHANNELS, Batch
from sgdsm.data.features import HALO_CELLS, gap_channel_count, gap_channels, own_line
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import Window
from sgdsm.models.networks.base import Estimate, Network, at_least, blocks_of, weighted_mean
from sgdsm.models.networks.layers.dropout import ChannelDropout
from sgdsm.models.networks.layers.partial import DaysConv, Mix, PartialConv3d, PartialTrunk


class PartialConvNetwork(Network):
    """3-D spatio-temporal partial convolutions on soil moisture, covariates in a branch of their own.

    Inspired by SGD-SM (Zhang et al., ESSD 13, 1385, 2021), whose network was not published in full. The input of the
    first partial layer are the seen anomalies with their mask. The covariates, the season, the maps and the age of the
    gap pass through plain convolutions (one of them `memory_days` long in time) and are added after it: under one joint
    mask they would be masked in the gaps to be filled. Residual blocks of partial convolutions follow, their mask
    growing from layer to layer. The output is a correction of the line between the cell's nearest seen values.

    Args:
        window_days: Length of a window, steps of the cube.
        window_cells: Rows and columns of a window.
        channels: Of the partial blocks.
        layers: Number of partial blocks.
        levels: 0: one stack of blocks; more: an encoder-decoder that halves rows and columns so many times, see
            `PartialTrunk`.
        kernel: Days, rows and columns of the filters, odd.
        memory_days: Length of the covariates' filter in time, days, odd.
        first_guess: True to start from the line between seen values, False from the climatology.
        gap_features: True to use the tree models' features of soil moisture in the covariate branch too, which reach
            7 cells.
        dropout: Share of the channels dropped in each block.
        head_dropout: The same in the head, where samples of MC dropout cost little.
        middle_day: True to estimate only the middle day of a window, as SGD-SM does: training then hides values on that
            day only.
        loss: 'smooth_l1', or 'mse' as in SGD-SM, of the hidden values.
        global_weight: Weight of the same loss at the values that the window shows; 0 for none.
        recompute_blocks: True for less memory in training, see `Block`.
        epochs: See `Network`.
        learning_rate: See `Network`.
        weight_decay: See `Network`.
        batch_size: Windows in a step.
        seed: See `Network`.

    Raises:
        ConfigError: If a setting is out of range.
    """

    wide_cells = 128

    def __init__(
        self,
        window_days: int = 64,
        window_cells: int = 48,
        channels: int = 32,
        layers: int = 5,
        *,
        levels: int = 0,
        kernel: tuple[int, int, int] = (3, 3, 3),
        memory_days: int = 9,
        first_guess: bool = True,
        gap_features: bool = False,
        dropout: float = 0.0,
        head_dropout: float = 0.0,
        middle_day: bool = False,
        loss: Literal["smooth_l1", "mse"] = "smooth_l1",
        global_weight: float = 0.0,
        recompute_blocks: bool = False,
        epochs: int = 40,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            epochs, learning_rate=learning_rate, weight_decay=weight_decay, batch_size=batch_size, seed=seed
        )
        at_least(1, window_days=window_days, channels=channels, layers=layers)
        at_least(0, levels=levels, global_weight=global_weight)
        if any(size < 1 or size % 2 == 0 for size in (*kernel, memory_days)):
            raise ConfigError(f"model.kernel={list(kernel)}, model.memory_days={memory_days}: expected odd sizes")
        if middle_day and window_days % 2 == 0:
            raise ConfigError(f"model.window_days={window_days}: expected an odd number, to have a middle day")
        self.trunk_settings = (channels, (kernel[0], kernel[1], kernel[2]), layers, levels, dropout)
        halo_cells = self._halo_cells(HALO_CELLS if gap_features else 1)
        if window_cells <= 2 * halo_cells:
            raise ConfigError(
                f"model.window_cells={window_cells}: expected more than twice the reach of {halo_cells} cells"
            )
        if window_cells % 2**levels:
            raise ConfigError(f"model.window_cells={window_cells}: expected a multiple of {2**levels} (2 ** levels)")
        # the first guess has no finite reach in time: without a halo windows are blended in time
        self.window = Window(window_days, window_cells, window_days // 2 if middle_day else None, halo_cells)
        # the core of a window is then its middle day
        self.trains_on_cores = middle_day
        self.memory_days, self.first_guess, self.head_share = memory_days, first_guess, head_dropout
        self.gap_features = self.uses_repeat_cycle = gap_features
        self.penalty = {"smooth_l1": smooth_l1_loss, "mse": mse_loss}[loss]
        self.global_weight, self.recompute_blocks = global_weight, recompute_blocks

    def _halo_cells(self, inputs: int) -> int:
        """Return the reach of the receptive field in space, for inputs that reach `inputs` cells.

        It is a multiple of the coarsest cells, as window_cells is: then coarse cells are aligned in all windows, and
        the result does not depend on the tiling.
        """
        _, kernel, layers, levels, _ = self.trunk_settings
        # a block at a level reaches 2 ** level times as far as on the finest one
        coarsest = 2**levels
        blocks = (2 * (coarsest - 1) + layers * coarsest) * (max(kernel[1:]) // 2)
        return -(-(inputs + blocks + coarsest - 1) // coarsest) * coarsest

    def setup_inputs(self, inputs: Inputs) -> None:
        channels = self.trunk_settings[0]
        dynamic, gappy, static = inputs.channels
        torch.manual_seed(self.seed)
        self.gappy = [inputs.dynamic.index(name) for name in inputs.gappy]
        # the last two: gap age; the line and the mask of its gaps
        known = dynamic + gappy + static + SEASON_CHANNELS + 1 + 2 * self.first_guess
        if self.gap_features:
            known += gap_channel_count(inputs)
        self.covariates = nn.Sequential(
            Mix(known, channels),
            nn.GELU(),
            DaysConv(channels, self.memory_days),
        )
        self.first = PartialConv3d(1, channels, (5, 3, 3))
        self.trunk = PartialTrunk(*self.trunk_settings)
        for block in blocks_of(self.trunk):
            block.recompute = self.recompute_blocks
        last = Mix(channels, 1, bias=False)
        self.head = nn.Sequential(nn.GELU(), Mix(channels, channels), nn.GELU(), last)
        self.head_dropout = ChannelDropout(self.head_share, 1, (2, 3, 4), in_head=True)
        # the output is 0 at first: training starts at the first guess
        nn.init.zeros_(last.weight)

    def trunk_of(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the features before the head.

        Args:
            batch: Windows.

        Returns:
            Features (B, C, T, H, W), and the line between the seen values (B, 1, T, H, W) or None if it is not used.
        """
        line = own_line(batch) if self.first_guess or self.gap_features else None
        # the mask must not grow into the sea and beyond the record
        land = batch.land.to(batch.sm.dtype)
        features, mask = self.first(batch.sm, batch.seen.to(batch.sm.dtype))
        features = features + self.covariates(torch.cat(self._known(batch, line), 1))
        return self.trunk(features, mask, land), line

    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        features, line = self.trunk_of(batch) if trunk is None else trunk
        # dropout sits before the last layer of the head
        correction = self.head[3](self.head_dropout(self.head[:3](features)))
        if self.first_guess and line is not None:
            correction = correction + torch.nan_to_num(line)
        return correction, None

    def _known(self, batch: Batch, line: Tensor | None) -> list[Tensor]:
        """Return the inputs of the covariate branch, (B, C, T, H, W) each."""
        size = batch.sm.shape
        known = [
            batch.dynamic,
            batch.present[:, self.gappy].to(batch.sm.dtype),
            batch.static[:, :, None].expand(-1, -1, *size[2:]),
            batch.season[:, :, :, None, None].expand(-1, -1, -1, *size[3:]),
            torch.log1p(batch.gap_age),
        ]
        if self.first_guess and line is not None:
            known += [torch.nan_to_num(line), line.isnan().to(line.dtype)]
        if self.gap_features and line is not None:
            known += gap_channels(batch, line, self.inputs)
        return known

    def loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        """Return the local loss at the hidden values plus `global_weight` times the global one at all observed values.

        SGD-SM has two such losses with weights that are not published. The global loss includes only days with a hidden
        value in the window: other days may be too close to another split to be used. Validation and scores use hidden
        values only.

        Args:
            estimate: See `Network.estimate`.
            batch: Windows with the truth.
        """
        anomaly, truth = estimate[0].float(), batch.truth.float()
        loss = weighted_mean(self.penalty(anomaly[batch.wanted], truth[batch.wanted], reduction="none"), batch)
        if self.global_weight:
            # days with a hidden value in the window
            targets = batch.wanted.any(4, keepdim=True).any(3, keepdim=True)
            observed = batch.wanted | (batch.seen & targets)
            values = torch.where(batch.wanted, truth, batch.sm.float())
            loss = loss + self.global_weight * self.penalty(anomaly[observed], values[observed])
        return loss
