"""Windows of integer positions: where they start, how they are cut from an array, what they weigh where they overlap.

No xarray and no torch in here. A window is the block of cells and days that a model reads at once. Each axis of a
record is tiled by windows of one size whose cores lie side by side and whose margins overlap. Starts of windows that
are blended are counted from the beginning of the record, whatever part of it is in memory, so the result does not
depend on the slabs of a record.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Axis:
    """Tiling of one axis.

    Attributes:
        length: Cells on the axis.
        size: Cells in a window.
        margin: Cells on each side of a window that lie outside its core.
        exact: The receptive field of the model fits into the margin, so only cores are used; otherwise neighbouring
            windows are blended with a taper.
        circular: The last cell touches the first.
        ahead: False for windows that end with their core, for models that look at nothing after it. They lie at the
            same places whatever the length of the record.
    """

    length: int
    size: int
    margin: int
    exact: bool
    circular: bool = False
    ahead: bool = True

    @property
    def after(self) -> int:
        """Cells of a window after its core."""
        return self.margin if self.ahead else 0

    @property
    def stride(self) -> int:
        """Distance between the starts of neighbouring windows, in cells."""
        # exact tiles: cores side by side; blended tiles: neighbouring margins overlap
        core = self.size - self.margin - self.after
        return max(1, core if self.exact else core + self.margin)

    def starts(self) -> list[int]:
        """Return the starts of all windows; windows may begin before 0 and end after the last cell."""
        # the core of the first exact window begins at cell 0; what lies before is padding
        first = -self.margin if self.exact else 0
        if self.circular:
            count = -(-self.length // self.stride)
        else:
            count = 1 + max(0, -(-(self.length - self.size - first + (self.after if self.exact else 0)) // self.stride))
        return [first + k * self.stride for k in range(count)]

    def starts_for(self, begin: int, end: int) -> list[int]:
        """Return the starts of the windows that contribute to a range of cells.

        Args:
            begin: First cell.
            end: Cell after the last one.
        """
        if self.circular:
            return self.starts()
        weighted = np.flatnonzero(self.taper())
        low, high = int(weighted[0]), int(weighted[-1])
        return [s for s in self.starts() if s + low < end and s + high >= begin]

    def tiles(self, begin: int, end: int, most: int | None = None) -> tuple[Axis, list[int]]:
        """Return equal windows for a range of cells, as few as possible.

        Exact windows may lie anywhere, so their cores cover the range and little more; they are at most as large as
        those of this tiling, or as `most`. Blended windows are those of `starts_for`.

        Args:
            begin: First cell.
            end: Cell after the last one.
            most: Largest size of an exact window, in cells, if that is larger.

        Returns:
            The tiling with windows of this size, and their starts.
        """
        if not self.exact or not self.ahead or self.size >= self.length:
            return self, self.starts_for(begin, end)
        # coarse cells of a network with several levels divide size and margin: they stay aligned in all windows
        grain = math.gcd(self.size, self.margin) if self.margin else 1
        first = begin - begin % grain
        core = max(self.stride, ((most or 0) - 2 * self.margin) // grain * grain)
        core = -(-(end - first) // -(-(end - first) // core))
        core = -(-core // grain) * grain
        return replace(self, size=core + 2 * self.margin), [s - self.margin for s in range(first, end, core)]

    def taper(self) -> np.ndarray:
        """Return the weight of each cell of a window in the blend, (size,) float32."""
        weights = np.ones(self.size, np.float32)
        if self.margin:
            if self.exact:
                # values in the margin lack part of their receptive field
                weights[: self.margin] = weights[self.size - self.after :] = 0
            else:
                # tapers of two neighbours add up to about 1 where they overlap
                ramp = (np.arange(self.margin, dtype=np.float32) + 1) / (self.margin + 1)
                weights[: self.margin], weights[-self.margin :] = ramp, ramp[::-1]
        return weights


def axis(length: int, size: int | None, halo: int | None, circular: bool = False, longest: int = 1) -> Axis:
    """Return the tiling of an axis for a model.

    Args:
        length: Cells on the axis.
        size: Window size of the model; None for the whole axis.
        halo: Receptive field of the model on each side (tiles are then exact); None where it reaches across the whole
            window, so that tiles overlap by a quarter of a window and are blended.
        circular: The last cell touches the first.
        longest: For blended tiles, how many window sizes long they may be, if the model takes any size. They are made
            equal, and overlap by a sixth of a window.

    Raises:
        ValueError: The margins leave no core.
    """
    if size is not None and longest > 1 and halo is None and size < length:
        # longer windows need relatively less overlap
        overlap = size // 6
        count = -(-(length - overlap) // (longest * size - overlap))
        return Axis(length, -(-(length + (count - 1) * overlap) // count), overlap * (count > 1), False, circular)
    # one window holds the whole axis; on a circle it wraps round by its margin
    if size is None or size >= length:
        if not circular or halo == 0:
            return Axis(length, length, 0, halo is not None)
        margin = length // 8 if halo is None else halo
        return Axis(length, length + (margin if halo is None else 2 * margin), margin, halo is not None, True)
    margin = size // 4 if halo is None else halo
    if size - 2 * margin < 1:
        raise ValueError(f"a window of {size} with a margin of {margin} on each side has no core")
    return Axis(length, size, margin, halo is not None, circular)


def cut(array: np.ndarray, starts: Sequence[int], sizes: Sequence[int], circular: bool = False) -> np.ndarray:
    """Return a window of the last axes of an array; cells outside the array are 0 (False).

    Args:
        array: Array of any shape.
        starts: Start of the window on each of the last axes.
        sizes: Size of the window on each of these axes.
        circular: The last axis is a circle: cells beyond its ends are taken from the other side.
    """
    lead = array.ndim - len(starts)
    slices: list[slice] = [slice(None)] * lead
    pads = [(0, 0)] * lead
    for k, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        length = array.shape[lead + k]
        if circular and k == len(starts) - 1 and (start < 0 or start + size > length):
            # wrapped first: then the window lies inside the array
            array = array.take(np.arange(start, start + size) % length, axis=-1)
            start, length = 0, size
        begin, end = min(max(start, 0), length), min(max(start + size, 0), length)
        slices.append(slice(begin, end))
        before = min(max(0, -start), size)
        pads.append((before, size - before - (end - begin)))
    window = array[tuple(slices)]
    return np.pad(window, pads) if any(p != (0, 0) for p in pads) else window
