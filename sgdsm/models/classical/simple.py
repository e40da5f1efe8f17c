"""Fillers that learn nothing: what every other must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller, Window


class Climatology(GapFiller):
    """Mean and two annual harmonics of the cell's seen values."""

    window = Window(days=64, halo_days=0, halo_cells=0)

    def fill(self, batch: Batch) -> Filled:
        return Filled(batch.climatology)


class Persistence(GapFiller):
    """The last seen value of the cell; before its first one, that one; the climatology where it has none."""

    window = Window(days=None, cells=32, halo_cells=0)

    def fill(self, batch: Batch) -> Filled:
        last, following = _nearest(batch.seen)
        return Filled(self._take(torch.where(last >= 0, last, following), batch))

    def _take(self, index: Tensor, batch: Batch) -> Tensor:
        values = self.in_units(batch.sm, batch)
        length = values.shape[2]
        known = (index >= 0) & (index < length)
        return torch.where(known, values.gather(2, index.clamp(0, length - 1)), batch.climatology)


class LinearTime(Persistence):
    """The line between the seen values before and after; the nearest one where there is none on one side."""

    def fill(self, batch: Batch) -> Filled:
        last, following = _nearest(batch.seen)
        length = batch.seen.shape[2]
        days = torch.arange(length, device=batch.seen.device)[:, None, None]
        before, after = self._take(last, batch), self._take(following, batch)
        share = (days - last) / (following - last).clamp(min=1)
        line = before + (after - before) * share
        both = (last >= 0) & (following < length)
        return Filled(torch.where(both, line, torch.where(last >= 0, before, after)))


def _nearest(seen: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the nearest seen day up to and from each day (-1 and T where there is none)."""
    length = seen.shape[2]
    days = torch.arange(length, device=seen.device)[:, None, None]
    last = torch.where(seen, days, -1).cummax(2).values
    following = torch.where(seen, days, length).flip(2).cummin(2).values.flip(2)
    return last, following
