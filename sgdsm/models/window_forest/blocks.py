"""Windows that grow until they contain enough samples, for blocks of neighbouring cells and days.

A block is a single value, or a box of values that share one regression on the samples of all their windows. The window
reaches from the edges of the block as far as the window of a single value does from its middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

Stage = tuple[int, int]


def stages(cells: tuple[int, int], days: tuple[int, int]) -> list[Stage]:
    """Return the sizes of a growing window: days and cells grow by turns.

    Args:
        cells: Smallest and largest number of cells across, odd.
        days: Smallest and largest number of days on each side.

    Returns:
        Cells and days on each side, smallest first.
    """
    side, reach = cells[0] // 2, days[0]
    sizes = [(side, reach)]
    while side < cells[1] // 2 or reach < days[1]:
        if reach < days[1]:
            reach += 1
            sizes.append((side, reach))
        if side < cells[1] // 2:
            side += 1
            sizes.append((side, reach))
    return sizes


class Chunk(NamedTuple):
    """G blocks with n samples and m targets each.

    Attributes:
        samples: Indices of the samples in the padded volume, (G, n) int64.
        sample_mask: False for padding, (G, n) bool.
        slot: Index of a sample in the largest window of its block, (G, n) int64.
        sample_at: Day, row and column of a sample relative to the middle of the block, (G, n, 3).
        targets: Indices of the targets in the padded volume, (G, m) int64.
        target_mask: False for padding, (G, m) bool.
        target_at: Day, row and column of a target relative to the middle of the block, (G, m, 3).
        side: Cells on each side of the window, (G,).
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

    Args:
        shape: Of the volume, (T, H, W).
        block: Days, rows and columns of a block.
        grown: Sizes of the window, see `stages`.
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
        # distance of a slot from the block, per axis
        # outside on either side of the block; 0 inside
        out = torch.maximum(-where, where - torch.tensor(block) + 1).clamp(min=0)
        self.within = torch.stack([(out[:, 0] <= days) & (out[:, 1:] <= side).all(1) for side, days in grown])
        self.inside = (out == 0).all(1).nonzero()[:, 0]
        self.at = where.float() - (torch.tensor(block) - 1) / 2

    def _places(self, days: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the indices in the flat padded volume of all combinations of days, rows and columns."""
        return ((days[:, None, None] * self.sizes[1] + rows[:, None]) * self.sizes[2] + columns).reshape(-1)

    def padded(self, values: Tensor) -> Tensor:
        """Return values as a flat padded volume, (..., places).

        Args:
            values: (..., T, H, W).
        """
        widths = []
        for length, size, reach in reversed(list(zip(self.shape, self.sizes, self.reach, strict=True))):
            widths += [reach, size - length - reach]
        return pad(values, widths).flatten(-3)

    def cropped(self, volume: Tensor) -> Tensor:
        """Return values without padding, (..., T, H, W): the inverse of `padded`.

        Args:
            volume: (..., places).
        """
        t, y, x = (slice(r, r + n) for r, n in zip(self.reach, self.shape, strict=True))
        return volume.unflatten(-1, self.sizes)[..., t, y, x]

    def chunks(self, seen: Tensor, wanted: Tensor, enough: int, fewest: int, most: int) -> Iterator[Chunk]:
        """Yield the blocks with a wanted value, sorted by their number of samples so that there is little padding.

        Args:
            seen: (places,) bool.
            wanted: (places,) bool.
            enough: Samples at which a window stops growing.
            fewest: Blocks with fewer samples in their largest window are left out.
            most: Largest number of samples in a chunk with several blocks, padding included.
        """
        device = seen.device
        origins, offsets, within = (part.to(device) for part in (self.origins, self.offsets, self.within))
        inside = offsets[self.inside.to(device)]
        origins = origins[wanted[origins[:, None] + inside].any(1)]
        # number of samples at each stage, by a matrix product; 4096 blocks at once limit the memory
        parts = [(seen[part[:, None] + offsets]).float() @ within.T.float() for part in origins.split(4096)]
        if not parts:
            return
        held = torch.cat(parts).round().long()
        last = within.shape[0] - 1
        # the first size with enough samples, else the largest one
        stage = torch.where((held >= enough).any(1), (held >= enough).float().argmax(1), last)
        number = held.gather(1, stage[:, None])[:, 0]
        number, order = number.sort(stable=True, dim=0)
        order = order[number >= fewest]
        sizes = number[number >= fewest].tolist()
        begin = 0
        while begin < len(order):
            end = begin + 1
            # the last block is the largest: its size is that of the padding
            while end < len(order) and sizes[end] * (end + 1 - begin) <= most:
                end += 1
            chosen = order[begin:end]
            yield self._chunk(seen, wanted, origins[chosen], stage[chosen], sizes[end - 1])
            begin = end

    def _chunk(self, seen: Tensor, wanted: Tensor, origins: Tensor, stage: Tensor, number: int) -> Chunk:
        """Return blocks with these origins, their windows at these stages, padded to `number` samples."""
        device = seen.device
        offsets, within, at = (part.to(device) for part in (self.offsets, self.within, self.at))
        inside = self.inside.to(device)
        held = seen[origins[:, None] + offsets] & within[stage]
        # a stable sort puts the seen slots first, in their order
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
