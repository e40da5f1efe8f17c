"""Input and output of a gap filler.

Glossary: B windows, C channels, T days (steps of the cube), H rows, W columns. *seen*: observed and given to the
filler. *hidden*: observed, not seen, scored. *wanted*: to be estimated; in training and scoring the hidden values, in
filling every gap on land. Tensors never hold NaN: what is missing is 0 and its mask is False.

Invariant: changing the truth at hidden values changes no field of a Batch except `truth`, and so no output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import fits
from sgdsm.core.tiling import Axis, cut
from sgdsm.data.normalization import CellStatistics, Climatology, Inputs, season_basis
from sgdsm.data.record import Record

LONGEST_AGE = 365  # days; gap ages end there


class Batch(NamedTuple):
    """Windows of a cube; cells outside the cube are 0 and False.

    Attributes:
        sm: Seen values, as anomalies from the climatology divided by `Inputs.anomaly_scale`, "1", (B, 1, T, H, W).
        seen: Where a value is seen, (B, 1, T, H, W) bool.
        gap_age: Days to the nearest seen value of the cell, at most 365; 0 where seen; (B, 1, T, H, W). With
            `Inputs.causal` days since the last one, as everywhere.
        dynamic: Scaled covariates, "1", (B, C, T, H, W).
        present: Where covariates have a value, (B, C, T, H, W) bool.
        static: Scaled maps, then mean and log spread of the cell's seen values, "1", (B, S + 2, H, W).
        place: Unit vector from the centre of the Earth to each cell, 0 where unknown, (B, 3, H, W).
        season: Cosine and sine of the year and of half a year, (B, 4, T).
        climatology: Climatology of each cell, in the target's units, (B, 1, T, H, W).
        land: Land cells on days that the cube has, (B, 1, T, H, W) bool.
        wanted: Values to estimate, (B, 1, T, H, W) bool; what a filler gives elsewhere is not used.
        truth: Anomalies at the hidden values, scaled as `sm`, (B, 1, T, H, W); 0 elsewhere.
        weight: Weight of each wanted value in training, 0 to 1, (B, 1, T, H, W); 0 elsewhere. The only field that
            depends on the product's own uncertainty.
    """

    sm: Tensor
    seen: Tensor
    gap_age: Tensor
    dynamic: Tensor
    present: Tensor
    static: Tensor
    place: Tensor
    season: Tensor
    climatology: Tensor
    land: Tensor
    wanted: Tensor
    truth: Tensor
    weight: Tensor

    @property
    def cell_mean(self) -> Tensor:
        """Scaled mean of the cell's seen values, (B, H, W)."""
        return self.static[:, -2]

    @property
    def cell_log_spread(self) -> Tensor:
        """Log of the spread of the cell's anomalies over `Inputs.anomaly_scale`, (B, H, W)."""
        return self.static[:, -1]

    @property
    def cos_year(self) -> Tensor:
        """Cosine of the season's angle, (B, T)."""
        return self.season[:, 0]

    @property
    def sin_year(self) -> Tensor:
        """Sine of the season's angle, (B, T)."""
        return self.season[:, 1]


SEASON_CHANNELS = 4  # cosine and sine of the year and of its half, in `Batch.season`
CELL_MAPS = 2  # mean and log spread of the cell, the last channels of `Batch.static`


class Filled(NamedTuple):
    """What `GapFiller.fill` returns for each value of a window, (B, 1, T, H, W), in the target's units.

    Attributes:
        mean: The value that the satellite would have reported.
        std: Its standard deviation, retrieval noise included; None if the filler gives none, as for the fields below.
        lower: Lower bound of the interval.
        upper: Upper bound of the interval.
        epistemic: The part of the standard deviation that more knowledge would take away; the rest of the variance is
            aleatoric.
        distance: Dissimilarity of the covariates from those of the training values, "1"; above 1 they are unlike any.
    """

    mean: Tensor
    std: Tensor | None = None
    lower: Tensor | None = None
    upper: Tensor | None = None
    epistemic: Tensor | None = None
    distance: Tensor | None = None


@dataclass(kw_only=True)
class Scene:
    """A record ready to be cut into windows: covariates scaled once, and the masks and the climatology of one scenario.

    Args:
        record: The arrays of a cube.
        inputs: What the filler was fitted for, with its scalers.
        dynamic: Scaled covariates, 0 where missing, (C, T, H, W) float32.
        present: Where they have a value, (C, T, H, W) bool.
        static: Scaled maps, 0 where missing, (S, H, W) float32.
        seen: Values given to the filler, (T, H, W) bool.
        wanted: Values to estimate, (T, H, W) bool.
        gap_age: Days to the nearest seen value of the cell, (T, H, W) int16.
        climatology: Climatology of the cells.
        weight: Weights of the wanted values in training, (T, H, W) float32; None: 1.
    """

    record: Record
    inputs: Inputs
    dynamic: np.ndarray
    present: np.ndarray
    static: np.ndarray
    seen: np.ndarray
    wanted: np.ndarray
    gap_age: np.ndarray
    climatology: Climatology
    weight: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        record: Record,
        inputs: Inputs,
        seen: np.ndarray,
        wanted: np.ndarray,
        climatology: Climatology,
        gap_age: np.ndarray | None = None,
    ) -> Scene:
        """Scale the covariates of a record and apply one scenario to it.

        Args:
            record: The arrays of a cube.
            inputs: What the filler was fitted for, with its scalers.
            seen: Values given to the filler, (T, H, W) bool.
            wanted: Values to estimate, (T, H, W) bool.
            climatology: Climatology of the cells.
            gap_age: Days to the nearest seen value of the cell, (T, H, W) int16 (default: computed from `seen`).
        """
        dynamic, present = np.empty_like(record.dynamic), np.isfinite(record.dynamic)
        for c, name in enumerate(inputs.dynamic):
            dynamic[c] = np.where(present[c], inputs.scalers[name](record.dynamic[c]), np.float32(0))
        scaled = [inputs.scalers[name](record.static[c]) for c, name in enumerate(inputs.static)]
        static = np.nan_to_num(np.stack(scaled)) if scaled else np.zeros((0, *record.land.shape), np.float32)
        age = ages(seen, record.days, ahead=not inputs.causal) if gap_age is None else gap_age
        return cls(
            record=record,
            inputs=inputs,
            dynamic=dynamic,
            present=present,
            static=static,
            seen=seen,
            wanted=wanted,
            gap_age=age,
            climatology=climatology,
        )

    def again(self, seen: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> Scene:
        """Return the same record under another scenario.

        Args:
            seen: Values given to the filler, (T, H, W) bool.
            wanted: Values to estimate, (T, H, W) bool.
            known: Values that the climatology of the cells is taken from, (T, H, W) bool.
        """
        climatology = CellStatistics.of(self.record.values, known, self.record.days).solve()
        age = ages(seen, self.record.days, ahead=not self.inputs.causal)
        return replace(self, seen=seen, wanted=wanted, gap_age=age, climatology=climatology)

    def batch(self, windows: Sequence[tuple[int, int, int]], axes: Sequence[Axis], cores: bool = True) -> Batch:
        """Cut windows from the record.

        Args:
            windows: First day, row and column of each window, as indices of the record; may lie outside it.
            axes: Tiling, for the sizes of the windows.
            cores: Want only values in the cores of the windows.

        Returns:
            A batch of as many windows.
        """
        sizes = (axes[0].size, axes[1].size, axes[2].size)
        t, y, x = ((axis.taper() > 0) if cores else np.ones(axis.size, bool) for axis in axes)
        # in the margins of exact windows nothing is wanted: they have no weight in the blend
        core = t[:, None, None] & y[:, None] & x
        parts = [self._window(start, sizes, core) for start in windows]
        return Batch(*(torch.from_numpy(np.stack(field)) for field in zip(*parts, strict=True)))

    def _window(
        self, start: tuple[int, int, int], sizes: tuple[int, int, int], core: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        inputs, record, zero = self.inputs, self.record, np.float32(0)

        def crop(array: np.ndarray) -> np.ndarray:
            return cut(array, start, sizes, record.circular)

        def crop_map(array: np.ndarray) -> np.ndarray:
            return cut(array, start[1:], sizes[1:], record.circular)

        # windows that begin before the cube or end after it keep a calendar
        days = record.days[0] + inputs.step_days * np.arange(start[0], start[0] + sizes[0])
        # outside the cube coefficients are 0; land is False there
        coefficients, spread = crop_map(self.climatology.coefficients), crop_map(self.climatology.spread)
        climatology = Climatology(coefficients, spread).at(days)
        seen, wanted = crop(self.seen), crop(self.wanted) & core
        anomaly = (crop(record.values) - climatology) / np.float32(inputs.anomaly_scale)
        # the truth is given apart from `sm`, which holds seen values only
        truth = wanted & crop(record.observed)
        land = crop_map(record.land)
        within = (np.arange(sizes[0]) + start[0] >= 0) & (np.arange(sizes[0]) + start[0] < len(record.days))
        # mean and spread of a cell are given to the filler as two more static maps
        mean = (coefficients[:1] - np.float32(inputs.mean)) / np.float32(inputs.mean_spread)
        log_spread = np.log(np.maximum(spread[None], np.float32(1e-6)) / np.float32(inputs.anomaly_scale))
        return (
            np.where(seen, anomaly, zero)[None],
            seen[None],
            crop(self.gap_age).astype(np.float32)[None],
            crop(self.dynamic),
            crop(self.present),
            np.concatenate([crop_map(self.static), mean, log_spread]) * land,
            crop_map(record.place),
            season_basis(days)[:, 1:].T,
            climatology[None],
            (within[:, None, None] & land)[None],
            wanted[None],
            np.where(truth, anomaly, zero)[None],
            (wanted if self.weight is None else wanted * crop(self.weight)).astype(np.float32)[None],
        )


def check_cap(max_gap_days: int | None) -> None:
    """Raise ConfigError unless a cap on gap ages is None or a whole number of days below LONGEST_AGE."""
    if not fits(max_gap_days, int | None) or (max_gap_days is not None and not 1 <= max_gap_days < LONGEST_AGE):
        raise ConfigError(
            f"max_gap_days={max_gap_days}: expected whole days, 1 to {LONGEST_AGE - 1} (gap_age ends at {LONGEST_AGE})"
        )


def ages(
    seen: np.ndarray,
    days: np.ndarray,
    before: np.ndarray | None = None,
    after: np.ndarray | None = None,
    ahead: bool = True,
) -> np.ndarray:
    """Return the days to the nearest seen value of each cell, at most LONGEST_AGE.

    Args:
        seen: Seen values, (T, ...) bool: rows and columns, or cells.
        days: Days since some day, rising, (T,).
        before: For a part of a longer record: days from when the cell was last seen to the first day of the part, of
            the shape of a map.
        after: Likewise: days from the last day of the part to when the cell is next seen.
        ahead: False for the days since the last seen value alone.

    Returns:
        Ages in days, 0 where seen, (T, ...) int16.
    """
    far = LONGEST_AGE + 1
    number = np.asarray(days) - days[0]
    # 16 bits take half the time, and hold 88 years
    kind = np.int16 if number[-1] + 2 * far < np.iinfo(np.int16).max else np.int32
    number = number.astype(kind)
    shape = (-1, *(1,) * (seen.ndim - 1))
    # products instead of `where`, which is slow on masks without order; day by day, as it lies in memory
    last = seen * (number + kind(far)).reshape(shape) - kind(far)
    last[0] = np.where(seen[0], 0, np.multiply(far if before is None else before, -1).astype(kind))
    for k in range(1, len(last)):
        # forward in time: the last seen day so far
        np.maximum(last[k], last[k - 1], out=last[k])
    by_day = number.reshape(shape)
    if not ahead:
        np.subtract(by_day, last, out=last)
        return np.minimum(last, LONGEST_AGE, out=last).astype(np.int16, copy=False)
    end = number[-1] + kind(far)
    following = end - seen * (end - number).reshape(shape)
    following[-1] = np.where(seen[-1], number[-1], number[-1] + np.asarray(far if after is None else after, kind))
    for k in range(len(following) - 2, -1, -1):
        # and backward: the next seen day
        np.minimum(following[k], following[k + 1], out=following[k])
    np.subtract(by_day, last, out=last)
    np.subtract(following, by_day, out=following)
    return np.minimum(np.minimum(last, following, out=last), LONGEST_AGE, out=last).astype(np.int16, copy=False)
