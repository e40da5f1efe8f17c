"""How a cube is cut into slabs, and which cells each slab must read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sgdsm.core.region import Box
from sgdsm.core.tiling import Axis

# measured, while a slab is filled: of the target, its masks and results; of each covariate and its mask
BYTES_PER_VALUE, BYTES_PER_COVARIATE = 40, 9


class Slab(NamedTuple):
    """Days and rows of a cube that are filled together.

    Attributes:
        number: Position in the list of all slabs.
        days: First day and the one after the last, as indices.
        rows: First row and the one after the last, as indices.
    """

    number: int
    days: tuple[int, int]
    rows: tuple[int, int]


def plan_slabs(axes: Sequence[Axis], covariates: int, memory_gib: float, box: Box) -> list[Slab]:
    """Cut a box of a cube into slabs that hold as many windows as the memory allows, at least one row of them.

    Args:
        axes: Tiling of days, rows and columns.
        covariates: Number of variables with a time that are read beside the target.
        memory_gib: Memory for one slab, GiB.
        box: The part of the cube to fill.

    Returns:
        Slabs in the order they are filled in: those of the same rows follow each other, days rising.
    """
    days, rows, columns = axes
    values = memory_gib * 2**30 / (BYTES_PER_VALUE + BYTES_PER_COVARIATE * covariates) / columns.length

    def pieces(axis: Axis, part: slice, most: float) -> list[tuple[int, int]]:
        length = part.stop - part.start
        if axis.size >= axis.length:
            return [(part.start, part.stop)]
        # a slab needs whole windows, and the margins of the outer ones
        windows = max(1, int((most - axis.margin - axis.after) // axis.stride))
        count = math.ceil(length / (windows * axis.stride))
        # equal slabs, so that the last one is not a thin rest
        step = math.ceil(length / count / axis.stride) * axis.stride
        return [(b, min(b + step, part.stop)) for b in range(part.start, part.stop, step)]

    # as many days as fit with all rows; where not even one window does, the rows are cut as well
    time = pieces(days, box.days, values / rows.length)
    longest = days.length if days.size >= days.length else max(e - b for b, e in time) + days.margin + days.after
    boxes = [(t, y) for y in pieces(rows, box.rows, values / longest) for t in time]
    return [Slab(number, t, y) for number, (t, y) in enumerate(boxes)]


def cells_to_read(axis: Axis, part: tuple[int, int], before: tuple[int, int] | None = None) -> slice:
    """Return the cells of an axis that the windows of a part of it cover.

    Args:
        axis: Tiling of the axis.
        part: First cell of the part and the one after its last.
        before: The part before, when its windows have been filled already: blended ones need not be read again.

    Returns:
        A slice that holds the part itself at least.
    """
    if not axis.ahead:
        # windows at fixed places: what lies before their cores is part of the result
        return slice(max(0, axis.starts_for(*part)[0]), part[1])
    if axis.exact and axis.size < axis.length:
        return slice(max(0, part[0] - axis.margin), min(axis.length, part[1] + axis.margin))
    done = set() if before is None else set(axis.starts_for(*before))
    starts = [start for start in axis.starts_for(*part) if start not in done]
    first, last = (starts[0], starts[-1] + axis.size) if starts else part
    return slice(max(0, min(part[0], first)), min(axis.length, max(part[1], last)))


def preceding_days(slab: Slab, slabs: Sequence[Slab]) -> tuple[int, int] | None:
    """Return the days of the slab just before in time that has the same rows, None if there is none."""
    other = slabs[slab.number - 1] if slab.number else slab
    return other.days if other.rows == slab.rows and other.days[1] == slab.days[0] else None
