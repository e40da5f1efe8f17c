"""Apply a filler to a box of a cube: cut windows, fill them in batches, blend them where they overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import isqrt, prod

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.core.tiling import Axis, cut
from sgdsm.data.batch import Scene
from sgdsm.inference.packed import PackedScene, Start
from sgdsm.models.base import GapFiller

CLIPPED = ("mean", "lower", "upper")  # fields of `Filled` in the target's units that are values, not spreads

# start of a window -> field of `Filled` -> its estimates for days after the box that was filled, (T, H, W)
OverlapCache = dict[Start, dict[str, Tensor]]


@torch.inference_mode()
def fill_scene(
    filler: GapFiller, scene: Scene, axes: Sequence[Axis], begin: Start, shape: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Fill a box of the cells of a record in memory.

    Args:
        filler: A fitted gap filler.
        scene: A record that holds every cell of the cube that the windows of the box cover.
        axes: Tiling of days, rows and columns of the cube.
        begin: First day, row and column of the box, as indices of the cube.
        shape: Days, rows and columns of the box.

    Returns:
        The fields of `Filled` that the filler gives, each (T, H, W) float32, NaN where it was not wanted.
    """
    blends = fill_packed(filler, PackedScene.of(scene, filler.window.halo_cells), axes, begin, shape)
    box = tuple(slice(b - o, b - o + n) for b, o, n in zip(begin, scene.record.start, shape, strict=True))
    wanted = torch.from_numpy(scene.wanted[box].reshape(shape[0], -1)).to(filler.device)
    fields = estimates(blends, np.arange(shape[1] * shape[2]), wanted, filler)
    return {name: values.view(shape).cpu().numpy() for name, values in fields.items()}


@torch.inference_mode()
def estimates(blends: Blends, cells: np.ndarray, wanted: Tensor, filler: GapFiller) -> dict[str, Tensor]:
    """Return what was estimated for some cells.

    Args:
        blends: The filled windows of a box.
        cells: Positions in a flat map of the box, (N,).
        wanted: Values that were to be estimated, (T, N) bool.
        filler: The gap filler; no estimate may lie outside the range of its training values.

    Returns:
        The fields of `Filled` that the filler gives, each (T, N) float32, NaN where not wanted.
    """
    limits = (filler.inputs.lowest, filler.inputs.highest)
    fields = blends.mean(cells)
    for name in fields.keys() & set(CLIPPED):
        fields[name].clamp_(*limits)
    return {name: values.masked_fill_(~wanted, torch.nan) for name, values in fields.items()}


@torch.inference_mode()
def fill_packed(
    filler: GapFiller,
    scene: PackedScene,
    axes: Sequence[Axis],
    begin: Start,
    shape: tuple[int, int, int],
    window_cells: int | None = None,
    overlaps: OverlapCache | None = None,
) -> Blends:
    """Fill the windows of a box of cells on the device of the filler.

    Windows without a wanted value are left out.

    Args:
        filler: A fitted gap filler.
        scene: Every cell of the cube that the windows of the box cover, save those out of reach of land.
        axes: Tiling of days, rows and columns of the cube.
        begin: First day, row and column of the box, as indices of the cube.
        shape: Days, rows and columns of the box.
        window_cells: Largest number of rows and columns of a window, for fillers to whose result it makes no
            difference. None: as `axes` has them, and on a GPU the filler's `wide_cells` (with `wide_values` on the CPU
            too).
        overlaps: What the windows of the box just before in time estimated for days of this box; those windows are
            not filled again. Replaced by the same for the box just after. None: nothing is kept.

    Returns:
        The estimates.

    Raises:
        ConfigError: When window_cells is given for a filler that takes no other windows than its own.
    """
    tiling, starts, batch_size = _windows(filler, axes, begin, shape, window_cells)
    where = [
        {start: _wanted_in(axis, start, b, b + n) for start in ones}
        for axis, ones, b, n in zip(tiling, starts, begin, shape, strict=True)
    ]
    cached = dict(overlaps or {})
    windows = [w for w in _with_wanted(scene, tiling, starts, where) if w not in cached]
    blends = Blends(tiling, starts, begin, shape, filler.device)
    for start, fields in cached.items():
        blends.add_overlap(fields, start)
    scene = scene.to(filler.device)
    for first in range(0, len(windows), batch_size):
        some = windows[first : first + batch_size]
        batch = scene.batch(some, tiling, [[asked[s] for asked, s in zip(where, w, strict=True)] for w in some])
        fields = {name: x[:, 0].float() for name, x in filler.fill(batch)._asdict().items() if x is not None}
        for name, values in fields.items():
            for window, start in zip(values, some, strict=True):
                blends.add(name, window, start)
    if overlaps is not None:
        overlaps.clear()
        overlaps.update(blends.overlaps)
    return blends


def _windows(
    filler: GapFiller,
    axes: Sequence[Axis],
    begin: Sequence[int],
    shape: Sequence[int],
    window_cells: int | None,
) -> tuple[list[Axis], list[list[int]], int]:
    """Return the tiling, where its windows start on each axis, and how many windows make a batch."""
    if window_cells is not None and filler.wide_cells is None:
        raise ConfigError(f"inference.window_cells={window_cells}: {type(filler).__name__} has windows of its own")
    # larger windows have less margin to compute twice; days stay as they are
    most = window_cells
    if most is None and filler.wide_cells is not None:
        if filler.wide_values is not None:
            most = min(filler.wide_cells, isqrt(filler.wide_values // axes[0].size))
        elif filler.device.type == "cuda":
            most = filler.wide_cells
    tiles = [
        (axis, axis.starts_for(b, b + n)) if filler.fixed_windows else axis.tiles(b, b + n, limit)
        for axis, b, n, limit in zip(axes, begin, shape, (None, most, most), strict=True)
    ]
    tiling = [axis for axis, _ in tiles]
    # larger windows, fewer to a batch: about as many values as the filler's own batch size
    if not axes[0].ahead:
        # rounding may depend on what goes through together, and that on which windows have gaps
        return tiling, [starts for _, starts in tiles], 1
    together = filler.batch_size * prod(axis.size for axis in axes) // prod(axis.size for axis in tiling)
    return tiling, [starts for _, starts in tiles], max(1, together)


def _wanted_in(axis: Axis, start: int, begin: int, end: int) -> np.ndarray:
    """Return where in a window values are wanted, (size,) bool."""
    if not axis.exact:
        # also beyond the box: the next one takes these estimates from here
        return np.ones(axis.size, bool)
    cells = start + np.arange(axis.size)
    return (axis.taper() > 0) & (cells >= begin) & (cells < end)


def _with_wanted(
    scene: PackedScene, axes: Sequence[Axis], starts: Sequence[Sequence[int]], where: Sequence[dict[int, np.ndarray]]
) -> list[Start]:
    """Return the windows that hold a value to fill: most windows at sea do not."""
    wanted, chosen = scene.wanted.numpy(), []
    for t in starts[0]:
        days = t - scene.start[0] + np.flatnonzero(where[0][t])
        cells = np.logical_or.reduce(wanted[max(0, days[0]) : days[-1] + 1])[scene.number]
        for y, x in product(*starts[1:]):
            at = (y - scene.start[1], x - scene.start[2])
            inside = cut(cells, at, (axes[1].size, axes[2].size), scene.circular)
            if inside[np.ix_(where[1][y], where[2][x])].any():
                chosen.append((t, y, x))
    return chosen


class Blends:
    """Adds up the windows of a box, field by field, and keeps their estimates for the days after the box.

    Along an exact axis the cores of windows lie side by side; along another windows overlap and their mean is taken,
    with the tapers as weights.

    Args:
        axes: Tiling of days, rows and columns.
        starts: Where windows start along each axis; a window is missing only where none of its values is wanted.
        begin: First day, row and column of the box.
        shape: Days, rows and columns of the box.
        device: Where the estimates are.

    Attributes:
        fields: The weighted sum of each field of `Filled`, (T, H, W).
        overlaps: Estimates for days after the box, by the start of their window.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        starts: Sequence[Sequence[int]],
        begin: Sequence[int],
        shape: Sequence[int],
        device: torch.device,
    ) -> None:
        self.axes, self.begin, self.shape, self.device = axes, begin, shape, device
        self.fields: dict[str, Tensor] = {}
        self.overlaps: OverlapCache = {}
        self.blended = [k for k, axis in enumerate(axes) if not axis.exact]
        self.tapers = [
            torch.from_numpy(axis.taper()).to(device).view([-1 if n == k else 1 for n in range(3)])
            for k, axis in enumerate(axes)
        ]
        # of all windows over a cell; the weight of a cell is the product over the axes
        self.weights = [torch.zeros(n, device=device) for n in shape]
        for k in self.blended:
            for start in starts[k]:
                for here, there in self._places(k, start, axes[k].size):
                    self.weights[k][here] += self.tapers[k].flatten()[there]

    def add(self, name: str, window: Tensor, start: Start) -> None:
        """Add one field of a window.

        Args:
            name: A field of `Filled`.
            window: Its values, (T, H, W).
            start: Where the whole window starts in the cube.
        """
        if name not in self.fields:
            self.fields[name] = torch.zeros(tuple(self.shape), device=self.device)
        field = self.fields[name]
        places = [self._places(k, s, n) for k, (s, n) in enumerate(zip(start, window.shape, strict=True))]
        for spans in product(*places):
            here, there = zip(*spans, strict=True)
            part = window[there]
            if not self.blended:
                field[here] = part
                continue
            tapers = [
                self.tapers[k][tuple(there[k] if n == k else slice(None) for n in range(3))] for k in self.blended
            ]
            field[here].addcmul_(part, prod(tapers[1:], start=tapers[0]))
        later = self.begin[0] + self.shape[0] - start[0]
        # windows of an exact axis have no weight after the box
        if not self.axes[0].exact and later < self.axes[0].size:
            self.overlaps.setdefault(start, {})[name] = window[later:].clone()

    def add_overlap(self, fields: dict[str, Tensor], start: Start) -> None:
        """Add what a window of the box before estimated for days of this box.

        Args:
            fields: Its last days, (T, H, W) for each field; the days before them lie outside this box.
            start: Where the window starts in the cube.
        """
        for name, overlap in fields.items():
            # days before this box are 0; they lie outside it
            days = self.axes[0].size
            window = torch.zeros((days, *overlap.shape[1:]), device=self.device)
            window[days - len(overlap) :] = overlap
            self.add(name, window, start)

    def mean(self, cells: np.ndarray) -> dict[str, Tensor]:
        """Return the blended values of some cells; anything where no window has contributed.

        Args:
            cells: Positions in a flat map of the box, (N,).

        Returns:
            Each field, (T, N).
        """
        flat = {name: values.view(self.shape[0], -1) for name, values in self.fields.items()}
        if len(cells) < self.shape[1] * self.shape[2]:
            index = torch.from_numpy(cells).to(self.device)
            flat = {name: values.index_select(1, index) for name, values in flat.items()}
        if not self.blended:
            return flat
        t, y, x = (w if k in self.blended else torch.ones_like(w) for k, w in enumerate(self.weights))
        weight = (y[:, None] * x).flatten()[torch.from_numpy(cells).to(self.device)] * t[:, None]
        return {name: values.div_(weight) for name, values in flat.items()}

    def _places(self, axis: int, start: int, size: int) -> list[tuple[slice, slice]]:
        """Return where a window and the box meet along an axis, in the box and in the window."""
        tiling, begin, length = self.axes[axis], self.begin[axis], self.shape[axis]
        low, high = (tiling.margin, size - tiling.after) if tiling.exact else (0, size)
        turns = [0]
        if tiling.circular and not tiling.exact:
            # a window near the date line covers cells on both ends, a wide one some of them twice
            turns = list(range(-1, (start + size) // tiling.length + 1))
        places = []
        for turn in turns:
            at = start - turn * tiling.length
            first, last = max(at + low, begin), min(at + high, begin + length)
            # else it lies outside the box
            if first < last:
                places.append((slice(first - begin, last - begin), slice(first - at, last - at)))
        return places
