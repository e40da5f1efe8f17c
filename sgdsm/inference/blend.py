"""Apply a filler to a box of a cube: cut overlapping windows, fill them in batches, blend them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from math import prod
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.core.tiling import Axis, Blend, cut
from sgdsm.data.batch import Batch, Filled, Scene
from sgdsm.models.base import GapFiller

CUTTERS = 4  # threads that cut windows for a GPU
CLIPPED = ("mean", "lower", "upper")  # fields of `Filled` in the target's units that are values, not spreads

Start = tuple[int, int, int]
# start of a window -> field of `Filled` -> its estimates for days after the box that was filled, (T, H, W)
OverlapCache = dict[Start, dict[str, np.ndarray]]
Item = TypeVar("Item")
Made = TypeVar("Made")


def fill_scene(
    filler: GapFiller,
    scene: Scene,
    axes: Sequence[Axis],
    begin: tuple[int, int, int],
    shape: tuple[int, int, int],
    window_cells: int | None = None,
    overlaps: OverlapCache | None = None,
) -> dict[str, np.ndarray]:
    """Fill a box of cells.

    Windows without a wanted value are left out.

    Args:
        filler: A fitted gap filler.
        scene: A record that holds every cell of the cube that the windows of the box cover.
        axes: Tiling of days, rows and columns of the cube.
        begin: First day, row and column of the box, as indices of the cube.
        shape: Days, rows and columns of the box.
        window_cells: Largest number of rows and columns of a window, for fillers to whose result it makes no
            difference. None: as `axes` has them, and on a GPU the filler's `wide_cells`.
        overlaps: What the windows of the box just before in time estimated for days of this box; those windows are
            not filled again. Replaced by the same for the box just after. None: nothing is kept.

    Returns:
        The fields of `Filled` that the filler gives, each (T, H, W) float32, NaN where it was not wanted.

    Raises:
        ConfigError: When window_cells is given for a filler that takes no other windows than its own.
    """
    axes, windows, batch_size = _windows(filler, axes, begin, shape, window_cells)
    cached = dict(overlaps or {})
    windows = [window for window in windows if window not in cached and _has_wanted(scene, window, axes)]
    blends = Blends(axes, begin, shape)
    for start, fields in cached.items():
        blends.add_overlap(fields, start)
    _fill_windows(
        filler, scene, axes, [windows[k : k + batch_size] for k in range(0, len(windows), batch_size)], blends
    )
    if overlaps is not None:
        overlaps.clear()
        overlaps.update(blends.overlaps)
    box = tuple(slice(b - o, b - o + n) for b, o, n in zip(begin, scene.record.start, shape, strict=True))
    wanted = scene.wanted[box]
    fields = {name: np.where(wanted, blend.mean(), np.float32(np.nan)) for name, blend in blends.fields.items()}
    # no estimate may lie outside the range of the training values
    limits = (filler.inputs.lowest, filler.inputs.highest)
    return {name: np.clip(values, *limits) if name in CLIPPED else values for name, values in fields.items()}


def _fill_windows(
    filler: GapFiller, scene: Scene, axes: Sequence[Axis], groups: Sequence[Sequence[Start]], blends: Blends
) -> None:
    """Fill windows, one group a batch, and add them to the blends."""
    origin = scene.record.start
    on_gpu = filler.device.type == "cuda"

    def batch_of(starts: Sequence[Start]) -> tuple[Sequence[Start], Batch]:
        batch = scene.batch([(t - origin[0], y - origin[1], x - origin[2]) for t, y, x in starts], axes)
        # only from pinned memory can a copy to the GPU run while it computes
        return starts, Batch(*(field.pin_memory() for field in batch)) if on_gpu else batch

    last: _FilledWindows | None = None
    for starts, batch in _ahead(batch_of, groups, CUTTERS) if on_gpu else map(batch_of, groups):
        batch = Batch(*(field.to(filler.device, non_blocking=True) for field in batch))
        with torch.inference_mode():
            filled = _FilledWindows.of(filler.fill(batch), starts)
        # while a GPU is at work on one batch, the batch before is blended
        if last is not None:
            last.add_to(blends)
        last = filled
    if last is not None:
        last.add_to(blends)


def _windows(
    filler: GapFiller,
    axes: Sequence[Axis],
    begin: Sequence[int],
    shape: Sequence[int],
    window_cells: int | None,
) -> tuple[list[Axis], list[Start], int]:
    """Return the tiling, where its windows start, and how many windows make a batch."""
    tiles = [(axis, axis.starts_for(b, b + n)) for axis, b, n in zip(axes, begin, shape, strict=True)]
    if window_cells is not None and filler.wide_cells is None:
        raise ConfigError(f"inference.window_cells={window_cells}: {type(filler).__name__} has windows of its own")
    most = filler.wide_cells if window_cells is None and filler.device.type == "cuda" else window_cells
    # larger windows have less margin to compute twice; days stay as they are
    if most is not None:
        tiles[1:] = [axis.merged(starts, most) for axis, starts in tiles[1:]]
    tiling = [axis for axis, _ in tiles]
    # larger windows, fewer to a batch: about as many values as the filler's own batch size
    together = filler.batch_size * prod(axis.size for axis in axes) // prod(axis.size for axis in tiling)
    days, rows, columns = (starts for _, starts in tiles)
    return tiling, list(product(days, rows, columns)), max(1, together)


class _FilledWindows(NamedTuple):
    """Filled windows on their way from the device to main memory.

    Attributes:
        fields: Fields of `Filled` that the filler gave, (B, T, H, W) each.
        starts: Start of each window in the cube.
        arrived: Recorded after the copies to main memory; None on the CPU.
    """

    fields: dict[str, Tensor]
    starts: Sequence[Start]
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, filled: Filled, starts: Sequence[Start]) -> _FilledWindows:
        values = {name: x[:, 0].float() for name, x in filled._asdict().items() if x is not None}
        fields = {name: x.to("cpu", non_blocking=True) for name, x in values.items()}
        if not filled.mean.is_cuda:
            return cls(fields, starts, None)
        # copies run while the next batch is filled; the event reports when they are complete
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(fields, starts, arrived)

    def add_to(self, blends: Blends) -> None:
        # the copy to main memory may still be running
        if self.arrived is not None:
            self.arrived.synchronize()
        for name, values in self.fields.items():
            for window, start in zip(values.numpy(), self.starts, strict=True):
                blends.add(name, window, start)


class Blends:
    """Adds up the windows of a box, field by field, and keeps their estimates for the days after the box.

    Args:
        axes: Tiling of days, rows and columns.
        begin: First day, row and column of the box.
        shape: Days, rows and columns of the box.

    Attributes:
        fields: The blend of each field of `Filled`.
        overlaps: Estimates for days after the box, by the start of their window.
    """

    def __init__(self, axes: Sequence[Axis], begin: Sequence[int], shape: Sequence[int]) -> None:
        self.axes, self.begin, self.shape = axes, begin, shape
        self.fields: dict[str, Blend] = {}
        self.overlaps: OverlapCache = {}

    def add(self, name: str, window: np.ndarray, start: Start) -> None:
        """Add one field of a window.

        Args:
            name: A field of `Filled`.
            window: Its values, (T, H, W).
            start: Where the window starts in the cube.
        """
        if name not in self.fields:
            self.fields[name] = Blend(self.axes, self.begin, self.shape)
        self.fields[name].add(window, start)
        later = self.begin[0] + self.shape[0] - start[0]
        # only where the window still has weight after the box
        if self.axes[0].taper()[later:].any():
            self.overlaps.setdefault(start, {})[name] = window[later:].copy()

    def add_overlap(self, fields: dict[str, np.ndarray], start: Start) -> None:
        """Add what a window of the box before estimated for days of this box.

        Args:
            fields: Its last days, (T, H, W) for each field; the days before them lie outside this box.
            start: Where the window starts in the cube.
        """
        for name, overlap in fields.items():
            # days before this box are 0; the blend drops them, they lie outside it
            window = np.zeros((self.axes[0].size, *overlap.shape[1:]), np.float32)
            window[len(window) - len(overlap) :] = overlap
            self.add(name, window, start)


def _ahead(make: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """Yield what is made of items, in their order; threads make the next ones meanwhile."""
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[Made]] = deque()
        for item in items:
            coming.append(pool.submit(make, item))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _has_wanted(scene: Scene, window: Sequence[int], axes: Sequence[Axis]) -> bool:
    """Return True if the core of a window holds a value to fill: most windows at sea do not."""
    start = [at - origin for at, origin in zip(window, scene.record.start, strict=True)]
    inside = cut(scene.wanted, start, [axis.size for axis in axes], axes[2].circular)
    # outside the core an exact window has no weight in the blend
    core = tuple(slice(axis.margin, axis.size - axis.margin) if axis.exact else slice(None) for axis in axes)
    return bool(inside[core].any())
