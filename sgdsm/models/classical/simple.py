"""Baselines without training, which every other filler must be better than."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdsm.core.compiled import compiled_module
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller, Window


class Climatology(GapFiller):
    """Climatology: mean and two annual harmonics of the cell's seen values."""

    window = Window(days=64, halo_days=0, halo_cells=0)
    uses_covariates = False
    can_be_causal = True

    def fill(self, batch: Batch) -> Filled:
        return Filled(batch.climatology)


class Persistence(GapFiller):
    """Last seen value of the cell; before the first one, the first; the climatology where nothing is seen.

    With `causal=true` the climatology before the first one.
    """

    window = Window(days=None, cells=32, halo_cells=0)
    uses_covariates = False
    can_be_causal = True

    def fill(self, batch: Batch) -> Filled:
        last, following = _nearest_days(batch.seen)
        ahead = not self.inputs.causal
        return Filled(self._take(torch.where((last < 0) & ahead, following, last), batch))

    def _take(self, index: Tensor, batch: Batch) -> Tensor:
        """Return the values of the days `index` (B, 1, T, H, W); the climatology where it is outside the window."""
        values = self.in_units(batch.sm, batch)
        length = values.shape[2]
        known = (index >= 0) & (index < length)
        return torch.where(known, values.gather(2, index.clamp(0, length - 1)), batch.climatology)


class LinearTime(Persistence):
    """Linear interpolation in time; the nearest seen value where there is none on one side.

    With `causal=true` that is persistence.
    """

    def fill(self, batch: Batch) -> Filled:
        if self.inputs.causal:
            return super().fill(batch)
        values = self.in_units(batch.sm, batch)
        loops = compiled_module("sgdsm.models.classical.compiled_line")
        if loops is not None and values.device.type == "cpu" and values.dtype == torch.float32:
            return Filled(loops.interpolate(values, batch.seen, batch.climatology))
        last, following = _nearest_days(batch.seen)
        length = batch.seen.shape[2]
        days = torch.arange(length, device=batch.seen.device)[:, None, None]
        before, after = self._take(last, batch), self._take(following, batch)
        share = (days - last) / (following - last).clamp(min=1)
        line = before + (after - before) * share
        both = (last >= 0) & (following < length)
        return Filled(torch.where(both, line, torch.where(last >= 0, before, after)))


def _nearest_days(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices of the last seen day up to each day, -1 if none, and of the next one from it, T if none."""
    length = seen.shape[2]
    days = torch.arange(length, device=seen.device)[:, None, None]
    last = torch.where(seen, days, -1).cummax(2).values
    following = torch.where(seen, days, length).flip(2).cummin(2).values.flip(2)
    return last, following
