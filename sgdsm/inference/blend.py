"""A filler on a box of a cube: overlapping windows, blended."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

from sgdsm.data.batch import Filled, Scene
from sgdsm.models.base import GapFiller
from sgdsm.windows import Axis, Blend, cut


def fill_scene(
    filler: GapFiller, scene: Scene, axes: Sequence[Axis], begin: tuple[int, int, int], shape: tuple[int, int, int]
) -> dict[str, np.ndarray]:
    """Fill the box of cells that begins at `begin` of the cube and has `shape`.

    scene: a record that holds every cell of the cube that the windows of the box look at. Windows without a wanted
    value are left out.

    Returns the fields of `Filled` that the filler gives, each (T, H, W) float32, NaN where it was not wanted.
    """
    origin = scene.record.start
    times, rows, columns = (a.starts_for(b, b + n) for a, b, n in zip(axes, begin, shape, strict=True))
    windows = [w for w in product(times, rows, columns) if _has_wanted(scene, w, axes)]
    blends: dict[str, Blend] = {}
    for first in range(0, len(windows), filler.batch_size):
        chosen = windows[first : first + filler.batch_size]
        starts = [(t - origin[0], y - origin[1], x - origin[2]) for t, y, x in chosen]
        batch = scene.batch(starts, axes)
        batch = type(batch)(*(field.to(filler.device) for field in batch))
        with torch.inference_mode():
            filled = filler.fill(batch)
        _add(blends, filled, chosen, axes, begin, shape)
    box = tuple(slice(b - o, b - o + n) for b, o, n in zip(begin, origin, shape, strict=True))
    wanted = scene.wanted[box]
    fields = {name: np.where(wanted, blend.mean(), np.float32(np.nan)) for name, blend in blends.items()}
    # no estimate lies outside what was ever observed in training
    clip = (filler.inputs.lowest, filler.inputs.highest)
    ours = ("mean", "lower", "upper")
    return {name: np.clip(values, *clip) if name in ours else values for name, values in fields.items()}


def _has_wanted(scene: Scene, window: Sequence[int], axes: Sequence[Axis]) -> bool:
    """Whether the core of a window holds something to fill: most windows at sea do not."""
    start = [at - origin for at, origin in zip(window, scene.record.start, strict=True)]
    inside = cut(scene.wanted, start, [axis.size for axis in axes], axes[2].circular)
    core = tuple(slice(axis.margin, axis.size - axis.margin) if axis.exact else slice(None) for axis in axes)
    return bool(inside[core].any())


def _add(
    blends: dict[str, Blend],
    filled: Filled,
    starts: Sequence[tuple[int, int, int]],
    axes: Sequence[Axis],
    begin: Sequence[int],
    shape: Sequence[int],
) -> None:
    for name, values in filled._asdict().items():
        if values is None:
            continue
        blend = blends.setdefault(name, Blend(axes, begin, shape))
        for window, start in zip(values[:, 0].float().cpu().numpy(), starts, strict=True):
            blend.add(window, start)
