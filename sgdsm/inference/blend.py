"""A filler on a box of a cube: overlapping windows, blended."""

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

from sgdsm.core.cube import ConfigError
from sgdsm.core.tiling import Axis, Blend, cut
from sgdsm.data.batch import Batch, Filled, Scene
from sgdsm.models.base import GapFiller

CUTTERS = 4  # threads that cut windows for a GPU

Start = tuple[int, int, int]
Tails = dict[Start, dict[str, np.ndarray]]  # what windows gave for days after a box, by field, (T, H, W)
Item = TypeVar("Item")
Made = TypeVar("Made")


def fill_scene(
    filler: GapFiller,
    scene: Scene,
    axes: Sequence[Axis],
    begin: tuple[int, int, int],
    shape: tuple[int, int, int],
    window_cells: int | None = None,
    tails: Tails | None = None,
) -> dict[str, np.ndarray]:
    """Fill the box of cells that begins at `begin` of the cube and has `shape`.

    scene: a record that holds every cell of the cube that the windows of the box look at. Windows without a wanted
    value are left out. window_cells: rows and columns that a window may have, for fillers to which that makes no
    difference; None: as `axes` say, and on a GPU the filler's `wide_cells`. tails: from the box of the days before,
    whose windows are then not worked out again; replaced by those for the box of the days after.

    Returns the fields of `Filled` that the filler gives, each (T, H, W) float32, NaN where it was not wanted. Raises
    ConfigError where the filler does not take other windows.
    """
    origin = scene.record.start
    axes, windows, together = _windows(filler, axes, begin, shape, window_cells)
    given = dict(tails or {})
    windows = [w for w in windows if w not in given and _has_wanted(scene, w, axes)]
    blends = Blends(axes, begin, shape)
    for start, fields in given.items():
        blends.add_tail(fields, start)

    def batch_of(chosen: Sequence[Start]) -> tuple[Sequence[Start], Batch]:
        batch = scene.batch([(t - origin[0], y - origin[1], x - origin[2]) for t, y, x in chosen], axes)
        return chosen, Batch(*(field.pin_memory() for field in batch)) if on_gpu else batch

    on_gpu = filler.device.type == "cuda"
    groups = [windows[k : k + together] for k in range(0, len(windows), together)]
    last: _Found | None = None
    for chosen, batch in _ahead(batch_of, groups, CUTTERS) if on_gpu else map(batch_of, groups):
        batch = Batch(*(field.to(filler.device, non_blocking=True) for field in batch))
        with torch.inference_mode():
            found = _Found.of(filler.fill(batch), chosen)
        # while a GPU is at work on one batch, the one before is blended
        if last is not None:
            last.add_to(blends)
        last = found
    if last is not None:
        last.add_to(blends)
    if tails is not None:
        tails.clear()
        tails.update(blends.tails)
    box = tuple(slice(b - o, b - o + n) for b, o, n in zip(begin, origin, shape, strict=True))
    wanted = scene.wanted[box]
    fields = {name: np.where(wanted, blend.mean(), np.float32(np.nan)) for name, blend in blends.fields.items()}
    # no estimate lies outside what was ever observed in training
    clip = (filler.inputs.lowest, filler.inputs.highest)
    ours = ("mean", "lower", "upper")
    return {name: np.clip(values, *clip) if name in ours else values for name, values in fields.items()}


def _windows(
    filler: GapFiller,
    axes: Sequence[Axis],
    begin: Sequence[int],
    shape: Sequence[int],
    window_cells: int | None,
) -> tuple[list[Axis], list[Start], int]:
    """The tiling, where its windows start, and how many of them make a batch."""
    tiles = [(axis, axis.starts_for(b, b + n)) for axis, b, n in zip(axes, begin, shape, strict=True)]
    if window_cells is not None and filler.wide_cells is None:
        raise ConfigError(f"inference.window_cells={window_cells}: {type(filler).__name__} has windows of its own")
    most = filler.wide_cells if window_cells is None and filler.device.type == "cuda" else window_cells
    if most is not None:
        tiles[1:] = [axis.merged(starts, most) for axis, starts in tiles[1:]]
    found = [axis for axis, _ in tiles]
    values = filler.batch_size * prod(axis.size for axis in axes) // prod(axis.size for axis in found)
    days, rows, columns = (starts for _, starts in tiles)
    return found, list(product(days, rows, columns)), max(1, values)


class _Found(NamedTuple):
    """What a filler gave for some windows, on its way to main memory."""

    fields: dict[str, Tensor]
    starts: Sequence[Start]
    arrived: torch.cuda.Event | None

    @classmethod
    def of(cls, filled: Filled, starts: Sequence[Start]) -> _Found:
        values = {name: x[:, 0].float() for name, x in filled._asdict().items() if x is not None}
        fields = {name: x.to("cpu", non_blocking=True) for name, x in values.items()}
        if not filled.mean.is_cuda:
            return cls(fields, starts, None)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(fields, starts, arrived)

    def add_to(self, blends: Blends) -> None:
        if self.arrived is not None:
            self.arrived.synchronize()
        for name, values in self.fields.items():
            for window, start in zip(values.numpy(), self.starts, strict=True):
                blends.add(name, window, start)


class Blends:
    """Adds up windows of a box, field by field, and keeps what they give for the days after it."""

    def __init__(self, axes: Sequence[Axis], begin: Sequence[int], shape: Sequence[int]) -> None:
        self.axes, self.begin, self.shape = axes, begin, shape
        self.fields: dict[str, Blend] = {}
        self.tails: Tails = {}

    def add(self, name: str, window: np.ndarray, start: Start) -> None:
        """Add a field of a window, (T, H, W)."""
        if name not in self.fields:
            self.fields[name] = Blend(self.axes, self.begin, self.shape)
        self.fields[name].add(window, start)
        later = self.begin[0] + self.shape[0] - start[0]
        if self.axes[0].taper()[later:].any():
            self.tails.setdefault(start, {})[name] = window[later:].copy()

    def add_tail(self, fields: dict[str, np.ndarray], start: Start) -> None:
        """Add what a window of the box before gave."""
        for name, tail in fields.items():
            window = np.zeros((self.axes[0].size, *tail.shape[1:]), np.float32)
            window[len(window) - len(tail) :] = tail
            self.add(name, window, start)


def _ahead(make: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """What is made of items, in their order; threads make the next ones meanwhile."""
    with ThreadPoolExecutor(threads) as pool:
        coming: deque[Future[Made]] = deque()
        for item in items:
            coming.append(pool.submit(make, item))
            if len(coming) > threads:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _has_wanted(scene: Scene, window: Sequence[int], axes: Sequence[Axis]) -> bool:
    """Whether the core of a window holds something to fill: most windows at sea do not."""
    start = [at - origin for at, origin in zip(window, scene.record.start, strict=True)]
    inside = cut(scene.wanted, start, [axis.size for axis in axes], axes[2].circular)
    core = tuple(slice(axis.margin, axis.size - axis.margin) if axis.exact else slice(None) for axis in axes)
    return bool(inside[core].any())
