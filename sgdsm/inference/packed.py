"""A box of a cube with only the cells that a filler looks at, and the windows that are cut from it on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.tiling import Axis, cut
from sgdsm.data.batch import Batch, Scene
from sgdsm.data.normalization import Climatology, Inputs, season_basis

Start = tuple[int, int, int]  # first day, row and column of a window, in the cube
CACHED = 2**17  # values
SM, AGE, COVARIATES = 0, 1, 2  # places in `PackedScene.series`


@dataclass(frozen=True, kw_only=True)
class PackedScene:
    """What a `Scene` holds, for filling: of N cells instead of all rows and columns, without values to compare with.

    Cells off land and out of reach of any land cell are left out. In each array cell 0 stands for them and for what
    lies outside the cube: nothing is there; the N cells follow. In `series` NaN says so: a mask beside each array would
    have to be cut with it. In a `Batch` there is none.

    Attributes:
        inputs: What the filler was fitted for.
        days: Days since 1970-01-01, (T,).
        start: Position of the box in the cube: first day, row and column.
        circular: The last column touches the first.
        number: Number of each cell, 0 where it is left out, (H, W) int64.
        series: Anomalies, NaN where not seen; gap ages in days; scaled covariates, NaN where missing; (2 + C, T, 1 + N)
            float32.
        wanted: Values to estimate, (T, 1 + N) bool.
        static: Static maps as in `Batch`, (S + 2, 1 + N) float32.
        place: Unit vectors as in `Batch`, (3, 1 + N) float32.
        coefficients: Of the climatology, in the target's units, (K, 1 + N) float32.
        land: Land cells, (1 + N,) bool.
    """

    inputs: Inputs
    days: np.ndarray
    start: Start
    circular: bool
    number: np.ndarray
    series: Tensor
    wanted: Tensor
    static: Tensor
    place: Tensor
    coefficients: Tensor
    land: Tensor

    @classmethod
    def of(cls, scene: Scene, halo: int | None) -> PackedScene:
        """Pack a scene.

        Args:
            scene: A record with its seen and its wanted values.
            halo: How far the filler looks, in cells; None: over the whole window.
        """
        record, inputs = scene.record, scene.inputs
        some = record.land | scene.seen.any(0) | scene.wanted.any(0)
        cells = np.flatnonzero(near(some, halo, record.circular))

        def at(array: np.ndarray) -> np.ndarray:
            return array.reshape(len(array), -1).take(cells, 1)

        packed = cls.make(
            inputs, record.days, record.start, record.circular, cells,
            land=record.land, values=np.where(at(scene.seen), at(record.values), np.float32(np.nan)),
            wanted=at(scene.wanted), gap_age=at(scene.gap_age), climatology=scene.climatology, static=scene.static,
            place=record.place,
        )  # fmt: skip
        for c in range(len(inputs.dynamic)):
            values = np.where(at(scene.present[c]), at(scene.dynamic[c]), np.float32(np.nan))
            packed.put_covariate(c, slice(None), values)
        return packed

    @classmethod
    def make(
        cls,
        inputs: Inputs,
        days: np.ndarray,
        start: Start,
        circular: bool,
        cells: np.ndarray,
        *,
        land: np.ndarray,
        values: np.ndarray,
        wanted: np.ndarray,
        gap_age: np.ndarray,
        climatology: Climatology,
        static: np.ndarray,
        place: np.ndarray,
    ) -> PackedScene:
        """Make a scene that still lacks its covariates; `put_covariate` adds them.

        Args:
            inputs: See the attributes, as for the arguments that are not named here.
            days: See there.
            start: See there.
            circular: See there.
            cells: Cells to keep, as positions in a flat map, rising, (N,).
            land: Land cells, (H, W) bool.
            values: Target in its units, NaN where not seen, (T, N) float32.
            wanted: Values to estimate, (T, N) bool.
            gap_age: Days to the nearest seen value of the cell, (T, N).
            climatology: Climatology of the cells, of (H, W).
            static: Scaled maps, 0 where missing, (S, H, W) float32.
            place: Unit vectors from the Earth's centre, (3, H, W) float32.
        """
        number = np.zeros(land.size, np.int64)
        number[cells] = np.arange(1, len(cells) + 1)

        def of_maps(maps: np.ndarray) -> np.ndarray:
            packed = np.zeros((*maps.shape[:-2], len(cells) + 1), maps.dtype)
            packed[..., 1:] = maps.reshape(*maps.shape[:-2], land.size)[..., cells]
            return packed

        coefficients, spread, on_land = of_maps(climatology.coefficients), of_maps(climatology.spread), of_maps(land)
        channels = COVARIATES + len(inputs.dynamic)
        series = np.empty((channels, len(days), len(cells) + 1), np.float32)
        series[..., 0] = np.nan
        asked = np.zeros(series.shape[1:], bool)
        asked[:, 1:] = wanted
        basis = season_basis(days)
        for some in day_blocks(series[SM]):
            anomaly = values[some] - basis[some] @ coefficients[:, 1:]
            np.divide(anomaly, np.float32(inputs.anomaly_scale), out=series[SM, some, 1:])
        series[AGE, :, 1:] = gap_age
        # mean and spread of a cell are given to the filler as two more static maps
        mean = (coefficients[:1] - np.float32(inputs.mean)) / np.float32(inputs.mean_spread)
        log_spread = np.log(np.maximum(spread[None], np.float32(1e-6)) / np.float32(inputs.anomaly_scale))
        return cls(
            inputs=inputs,
            days=days,
            start=start,
            circular=circular,
            number=number.reshape(land.shape),
            series=torch.from_numpy(series),
            wanted=torch.from_numpy(asked),
            static=torch.from_numpy(np.concatenate([of_maps(static), mean, log_spread]) * on_land),
            place=torch.from_numpy(of_maps(place)),
            coefficients=torch.from_numpy(coefficients),
            land=torch.from_numpy(on_land),
        )

    def put_covariate(self, channel: int, days: slice, values: np.ndarray) -> None:
        """Add a covariate.

        Args:
            channel: Its number among the dynamic covariates.
            days: Some days of the scene.
            values: Scaled values, NaN where missing, (T, N) float32.
        """
        self.series[COVARIATES + channel].numpy()[days, 1:] = values

    def to(self, device: torch.device) -> PackedScene:
        """Return the scene with its arrays on a device."""
        arrays: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **arrays)

    def batch(self, windows: Sequence[Start], axes: Sequence[Axis], wanted: Sequence[Sequence[np.ndarray]]) -> Batch:
        """Cut windows on the device of the scene.

        Args:
            windows: First day, row and column of each window, in the cube; may lie outside it.
            axes: Tiling, for the sizes of the windows.
            wanted: For each window and each of its axes, where values are wanted, (size,) bool.

        Returns:
            A batch of as many windows.
        """
        parts = [self._window(start, axes, where) for start, where in zip(windows, wanted, strict=True)]
        # of a single window no copy is made
        return Batch(*(f[0][None] if len(f) == 1 else torch.stack(f) for f in zip(*parts, strict=True)))

    def _window(self, start: Start, axes: Sequence[Axis], wanted: Sequence[np.ndarray]) -> tuple[Tensor, ...]:
        device = self.series.device
        days, rows, columns = (axis.size for axis in axes)
        at = [s - o for s, o in zip(start, self.start, strict=True)]
        index = torch.from_numpy(cut(self.number, at[1:], (rows, columns), self.circular).reshape(-1)).to(device)
        # windows that begin before the cube or end after it keep a calendar
        calendar = self.days[0] + self.inputs.step_days * np.arange(at[0], at[0] + days)
        basis = torch.from_numpy(season_basis(calendar)).to(device)
        coefficients = self.coefficients[:, index]
        # no matrix product: those are of lower precision under autocast
        climatology = basis[:, :1] * coefficients[0]
        for k in range(1, len(coefficients)):
            climatology.addcmul_(basis[:, k : k + 1], coefficients[k])
        series = _gather(self.series, at[0], days, index, torch.nan).view(-1, days, rows, columns)
        # only NaN is unlike itself
        present = series == series
        series.nan_to_num_(0.0)
        t, y, x = (torch.from_numpy(part).to(device) for part in wanted)
        asked = _gather(self.wanted[None], at[0], days, index, False).view(days, rows, columns)
        asked &= t[:, None, None] & (y[:, None] & x)
        within = torch.arange(at[0], at[0] + days, device=device)
        within = (within >= 0) & (within < len(self.days))
        return (
            series[SM : SM + 1],
            present[SM : SM + 1],
            series[AGE : AGE + 1],
            series[COVARIATES:],
            present[COVARIATES:],
            self.static[:, index].view(-1, rows, columns),
            self.place[:, index].view(-1, rows, columns),
            basis[:, 1:].T,
            climatology.view(1, days, rows, columns),
            (within[:, None, None] & self.land[index].view(rows, columns))[None],
            asked[None],
            # in filling nothing is hidden
            torch.zeros((), device=device).expand(1, days, rows, columns),
            asked[None].float(),
        )


def day_blocks(array: np.ndarray) -> list[slice]:
    """Return slices of days that fit into the cache, of an array (T, ...): what follows each other stays there."""
    step = max(1, CACHED // max(1, array[0].size))
    return [slice(k, k + step) for k in range(0, len(array), step)]


def near(some: np.ndarray, halo: int | None, circular: bool) -> np.ndarray:
    """Return the cells at most so many rows and columns from some cells.

    Args:
        some: Cells, (H, W) bool.
        halo: Largest distance, in cells; None: any.
        circular: The last column touches the first.

    Returns:
        (H, W) bool.
    """
    if halo is None:
        return np.ones_like(some)
    found: np.ndarray = some
    for axis in (0, 1):
        wraps = circular and axis == 1
        pads = [(halo, halo) if k == axis else (0, 0) for k in (0, 1)]
        padded = np.pad(found, pads, mode="wrap" if wraps else "constant")
        found = np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * halo + 1, axis).any(-1))
    return found


def _gather(arrays: Tensor, begin: int, size: int, index: Tensor, outside: float) -> Tensor:
    """Return days and cells of arrays (K, T, 1 + N), `outside` on days that they lack, (K, size, cells)."""
    count, days, _ = arrays.shape
    low, high = max(begin, 0), min(begin + size, days)
    if high - low == size == days:
        return arrays.view(count * days, -1).index_select(1, index).view(count, days, -1)
    found = arrays.new_empty((count, size, len(index)))
    found[:, : low - begin] = outside
    found[:, high - begin :] = outside
    # one by one: of arrays with a gap between their rows it takes several times as long
    for k in range(count):
        torch.index_select(arrays[k, low:high], 1, index, out=found[k, low - begin : high - begin])
    return found
