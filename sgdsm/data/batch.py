"""What a gap-filler gets and what it gives back.

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

from sgdsm.core.cube import ConfigError
from sgdsm.core.specification import fits
from sgdsm.core.tiling import Axis, cut
from sgdsm.data.normalization import CellStatistics, Climatology, Inputs, season_basis
from sgdsm.data.record import Record

LONGEST_AGE = 365


class Batch(NamedTuple):
    """Windows of a cube, cells outside it filled with 0 and False.

    sm: seen values as anomalies from the climatology over `Inputs.anomaly_scale`, (B, 1, T, H, W).
    seen: (B, 1, T, H, W) bool.
    gap_age: days to the nearest seen value of the cell, at most 365; 0 where seen; (B, 1, T, H, W).
    dynamic: scaled covariates, (B, C, T, H, W). present: where they have a value, same shape, bool.
    static: scaled maps, then mean and log spread of the cell's seen values, (B, S + 2, H, W).
    place: unit vector from the centre of the Earth to each cell, 0 where unknown, (B, 3, H, W).
    season: cosine and sine of the year and its half, (B, 4, T).
    climatology: in the target's units, (B, 1, T, H, W).
    land: land cells on days that the cube has, (B, 1, T, H, W) bool.
    wanted: (B, 1, T, H, W) bool; what a filler gives elsewhere is not used.
    truth: anomalies at the hidden values, (B, 1, T, H, W); 0 when there are none.
    weight: of each wanted value in training, from 0 to 1, (B, 1, T, H, W); 0 elsewhere. Alone in knowing the product's
        own uncertainty.
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
    """What `GapFiller.fill` gives for each value of a window, (B, 1, T, H, W), in the target's units.

    mean: the value the satellite would have reported. std: its standard deviation, retrieval noise included. lower,
    upper: bounds of the interval. epistemic: the part of the standard deviation that more knowledge would take away;
    the aleatoric part is what is left of the variance. distance: of the covariates from those of the training values,
    above 1 they are unlike any. None where a filler does not know.
    """

    mean: Tensor
    std: Tensor | None = None
    lower: Tensor | None = None
    upper: Tensor | None = None
    epistemic: Tensor | None = None
    distance: Tensor | None = None


@dataclass
class Scene:
    """A record made ready for windows: covariates scaled once, and the masks and the climatology of one scenario.

    dynamic, static: scaled, 0 where missing; present: mask of `dynamic`. seen, wanted: (T, H, W) bool. gap_age:
    (T, H, W) int16. weight: of the wanted values in training, (T, H, W) float32; None: 1.
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
        """Scale a record's covariates and put one scenario on it."""
        dynamic, present = np.empty_like(record.dynamic), np.isfinite(record.dynamic)
        for c, name in enumerate(inputs.dynamic):
            dynamic[c] = np.where(present[c], inputs.scalers[name](record.dynamic[c]), np.float32(0))
        scaled = [inputs.scalers[name](record.static[c]) for c, name in enumerate(inputs.static)]
        static = np.nan_to_num(np.stack(scaled)) if scaled else np.zeros((0, *record.land.shape), np.float32)
        age = ages(seen, record.days) if gap_age is None else gap_age
        return cls(record, inputs, dynamic, present, static, seen, wanted, age, climatology)

    def again(self, seen: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> Scene:
        """The same record under another scenario, with the climatology of the values `known`."""
        climatology = CellStatistics.of(self.record.values, known, self.record.days).solve()
        age = ages(seen, self.record.days)
        return replace(self, seen=seen, wanted=wanted, gap_age=age, climatology=climatology)

    def batch(self, windows: Sequence[tuple[int, int, int]], axes: Sequence[Axis], cores: bool = True) -> Batch:
        """Cut windows that start at (day, row, column) of the record.

        axes: the tiling, for the sizes; cores: want only values in the cores of the windows.
        """
        sizes = (axes[0].size, axes[1].size, axes[2].size)
        t, y, x = ((axis.taper() > 0) if cores else np.ones(axis.size, bool) for axis in axes)
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
        coefficients, spread = crop_map(self.climatology.coefficients), crop_map(self.climatology.spread)
        climatology = Climatology(coefficients, spread).at(days)
        seen, wanted = crop(self.seen), crop(self.wanted) & core
        anomaly = (crop(record.values) - climatology) / np.float32(inputs.anomaly_scale)
        truth = wanted & crop(record.observed)
        land = crop_map(record.land)
        within = (np.arange(sizes[0]) + start[0] >= 0) & (np.arange(sizes[0]) + start[0] < len(record.days))
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
    """Raise ConfigError where a cap on ages is no whole number, or one that ages do not tell from longer gaps."""
    if not fits(max_gap_days, int | None) or (max_gap_days is not None and not 1 <= max_gap_days < LONGEST_AGE):
        raise ConfigError(
            f"max_gap_days={max_gap_days}: expected whole days, 1 to {LONGEST_AGE - 1} (gap_age ends at {LONGEST_AGE})"
        )


def ages(
    seen: np.ndarray, days: np.ndarray, before: np.ndarray | None = None, after: np.ndarray | None = None
) -> np.ndarray:
    """Days to the nearest seen value of each cell, at most LONGEST_AGE; (T, H, W) int16.

    seen: (T, H, W) bool. days: (T,). before, after: where the array is part of a longer record, how many days before
    its first day the cell was last seen and after its last day it is next seen, (H, W).
    """
    far = LONGEST_AGE + 1
    number = (np.asarray(days) - days[0]).astype(np.int32)[:, None, None]
    last = np.where(seen, number, np.int32(-far))
    last[0] = np.where(seen[0], 0, -np.asarray(far if before is None else before, np.int32))
    last = np.maximum.accumulate(last, axis=0)
    following = np.where(seen, number, number[-1] + np.int32(far))
    edge = number[-1] + np.asarray(far if after is None else after, np.int32)
    following[-1] = np.where(seen[-1], following[-1], edge)
    following = np.minimum.accumulate(following[::-1], axis=0)[::-1]
    return np.minimum(np.minimum(number - last, following - number), LONGEST_AGE).astype(np.int16)
