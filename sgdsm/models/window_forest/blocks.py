"""Windows that grow until they hold enough samples, for blocks of neighbouring cells and days.

A block is what one regression serves: a single value, or a box of them that share the samples of their windows. Its
window reaches from the block's edges as far as the window of a single value does from its middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

Stage = tuple[int, int]


def stages(cells: tuple[int, int], days: tuple[int, int]) -> list[Stage]:
    """Sizes that a window goes through, as (cells, days) on each side: days and cells grow by turns.

    cells: smallest and largest number of cells across, odd. days: smallest and largest number of days on each side.
    """
    side, reach = cells[0] // 2, days[0]
    found = [(side, reach)]
    while side < cells[1] // 2 or reach < days[1]:
        if reach < days[1]:
            reach += 1
            found.append((side, reach))
        if side < cells[1] // 2:
            side += 1
            found.append((side, reach))
    return found


class Chunk(NamedTuple):
    """Blocks with their samples and targets: places in the padded volume, (G, n) and (G, m), and which are there.

    slot: where in the largest window of its block a sample lies, (G, n). sample_at, target_at: day, row and column
    relative to the middle of the block, (G, n, 3) and (G, m, 3). side: cells on each side of the window, (G,).
    """

    samples: Tensor
    sample_mask: Tensor
    slot: Tensor
    sample_at: Tensor
    targets: Tensor
    target_mask: Tensor
    target_at: Tensor
    side: Tensor


class Blocks:
    """A volume of days, rows and columns cut into blocks (from its first cell), padded by the largest window.

    shape: of the volume. block: days, rows and columns of a block. grown: sizes of the window.
    """

    def __init__(self, shape: tuple[int, int, int], block: tuple[int, int, int], grown: list[Stage]) -> None:
        self.shape, self.grown = shape, grown
        self.reach = (grown[-1][1], grown[-1][0], grown[-1][0])
        self.counts = [-(-length // size) for length, size in zip(shape, block, strict=True)]
        self.sizes = [c * b + 2 * r for c, b, r in zip(self.counts, block, self.reach, strict=True)]
        first = [torch.arange(c) * b for c, b in zip(self.counts, block, strict=True)]
        self.origins = self._places(*first)
        at = [torch.arange(-r, b + r) for b, r in zip(block, self.reach, strict=True)]
        self.offsets = self._places(*(a + r for a, r in zip(at, self.reach, strict=True)))
        where = torch.cartesian_prod(*at)
        # how far a slot lies outside the block
        out = torch.maximum(-where, where - torch.tensor(block) + 1).clamp(min=0)
        self.within = torch.stack([(out[:, 0] <= days) & (out[:, 1:] <= side).all(1) for side, days in grown])
        self.inside = (out == 0).all(1).nonzero()[:, 0]
        self.at = where.float() - (torch.tensor(block) - 1) / 2

    def _places(self, days: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return ((days[:, None, None] * self.sizes[1] + rows[:, None]) * self.sizes[2] + columns).reshape(-1)

    def padded(self, values: Tensor) -> Tensor:
        """Values (..., T, H, W) as a flat volume (..., places)."""
        widths = []
        for length, size, reach in reversed(list(zip(self.shape, self.sizes, self.reach, strict=True))):
            widths += [reach, size - length - reach]
        return pad(values, widths).flatten(-3)

    def cropped(self, volume: Tensor) -> Tensor:
        """The inverse of `padded`."""
        t, y, x = (slice(r, r + n) for r, n in zip(self.reach, self.shape, strict=True))
        return volume.unflatten(-1, self.sizes)[..., t, y, x]

    def chunks(self, seen: Tensor, wanted: Tensor, enough: int, fewest: int, most: int) -> Iterator[Chunk]:
        """Blocks that hold a wanted value, those with about as many samples together.

        seen, wanted: (places,) bool. enough: samples at which a window stops growing. fewest: blocks with fewer in
        their largest window are left out. most: samples in a chunk, padding included, unless it is one block.
        """
        device = seen.device
        origins, offsets, within = (part.to(device) for part in (self.origins, self.offsets, self.within))
        inside = offsets[self.inside.to(device)]
        origins = origins[wanted[origins[:, None] + inside].any(1)]
        parts = [(seen[part[:, None] + offsets]).float() @ within.T.float() for part in origins.split(4096)]
        if not parts:
            return
        held = torch.cat(parts).round().long()
        last = within.shape[0] - 1
        stage = torch.where((held >= enough).any(1), (held >= enough).float().argmax(1), last)
        number = held.gather(1, stage[:, None])[:, 0]
        number, order = number.sort(stable=True, dim=0)
        order = order[number >= fewest]
        sizes = number[number >= fewest].tolist()
        begin = 0
        while begin < len(order):
            end = begin + 1
            while end < len(order) and sizes[end] * (end + 1 - begin) <= most:
                end += 1
            chosen = order[begin:end]
            yield self._chunk(seen, wanted, origins[chosen], stage[chosen], sizes[end - 1])
            begin = end

    def _chunk(self, seen: Tensor, wanted: Tensor, origins: Tensor, stage: Tensor, number: int) -> Chunk:
        device = seen.device
        offsets, within, at = (part.to(device) for part in (self.offsets, self.within, self.at))
        inside = self.inside.to(device)
        held = seen[origins[:, None] + offsets] & within[stage]
        slot = held.to(torch.uint8).sort(stable=True, dim=1, descending=True).indices[:, :number]
        targets = origins[:, None] + offsets[inside]
        return Chunk(
            origins[:, None] + offsets[slot],
            held.gather(1, slot),
            slot,
            at[slot],
            targets,
            wanted[targets],
            at[inside].expand(len(origins), -1, -1),
            torch.tensor([side for side, _ in self.grown], device=device)[stage],
        )
