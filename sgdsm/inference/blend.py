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

from sgdsm.cube import ConfigError
from sgdsm.data.batch import Batch, Filled, Scene
from sgdsm.models.base import GapFiller
from sgdsm.windows import Axis, Blend, cut

CUTTERS = 4  # threads that cut windows for a GPU

Start = tuple[int, int, int]
Item = TypeVar("Item")
Made = TypeVar("Made")


def fill_scene(
    filler: GapFiller,
    scene: Scene,
    axes: Sequence[Axis],
    begin: tuple[int, int, int],
    shape: tuple[int, int, int],
    window_cells: int | None = None,
) -> dict[str, np.ndarray]:
    """Fill the box of cells that begins at `begin` of the cube and has `shape`.

    scene: a record that holds every cell of the cube that the windows of the box look at. Windows without a wanted
    value are left out. window_cells: rows and columns that a window may have, for fillers to which that makes no
    difference; None: as `axes` say, and on a GPU the filler's `wide_cells`.

    Returns the fields of `Filled` that the filler gives, each (T, H, W) float32, NaN where it was not wanted. Raises
    ConfigError where the filler does not take other windows.
    """
    origin = scene.record.start
    axes, windows, together = _windows(filler, axes, begin, shape, window_cells)
    windows = [w for w in windows if _has_wanted(scene, w, axes)]

    def batch_of(chosen: Sequence[Start]) -> tuple[Sequence[Start], Batch]:
        batch = scene.batch([(t - origin[0], y - origin[1], x - origin[2]) for t, y, x in chosen], axes)
        return chosen, Batch(*(field.pin_memory() for field in batch)) if on_gpu else batch

    on_gpu = filler.device.type == "cuda"
    groups = [windows[k : k + together] for k in range(0, len(windows), together)]
    blends: dict[str, Blend] = {}
    last: _Found | None = None
    for chosen, batch in _ahead(batch_of, groups, CUTTERS) if on_gpu else map(batch_of, groups):
        batch = Batch(*(field.to(filler.device, non_blocking=True) for field in batch))
        with torch.inference_mode():
            found = _Found.of(filler.fill(batch), chosen)
        # while a GPU is at work on one batch, the one before is blended
        if last is not None:
            last.add_to(blends, axes, begin, shape)
        last = found
    if last is not None:
        last.add_to(blends, axes, begin, shape)
    box = tuple(slice(b - o, b - o + n) for b, o, n in zip(begin, origin, shape, strict=True))
    wanted = scene.wanted[box]
    fields = {name: np.where(wanted, blend.mean(), np.float32(np.nan)) for name, blend in blends.items()}
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

    def add_to(
        self, blends: dict[str, Blend], axes: Sequence[Axis], begin: Sequence[int], shape: Sequence[int]
    ) -> None:
        if self.arrived is not None:
            self.arrived.synchronize()
        for name, values in self.fields.items():
            if name not in blends:
                blends[name] = Blend(axes, begin, shape)
            for window, start in zip(values.numpy(), self.starts, strict=True):
                blends[name].add(window, start)


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
