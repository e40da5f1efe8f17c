"""What must be known of a whole record before parts of it are filled: one pass over the target, some rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from sgdsm.core.cube import target_of, time_chunks
from sgdsm.core.errors import CubeError
from sgdsm.core.validation import check_values
from sgdsm.data.batch import LONGEST_AGE
from sgdsm.data.normalization import CellStatistics, Climatology, Inputs, Prior
from sgdsm.data.record import Names, day_numbers

PRIOR_VALUES = 2**28  # a record with more values than this is sampled for the prior:
A_MONTH, STRIPES, STRIPE = 2, 6, 8  # days of each calendar month, stripes of rows, rows in each stripe


@dataclass
class Overview:
    """Results of one pass over the target of some rows.

    Args:
        climatology: Climatology of the cells, (H, W).
        before: For each day at which a box begins or ends, days since the cell was last seen before it, at most 366,
            (H, W) int16.
        after: For the same days, days until the cell is next seen, counted from the day before, at most 366, (H, W)
            int16.
    """

    climatology: Climatology
    before: dict[int, np.ndarray]
    after: dict[int, np.ndarray]


def land_of(cube: xr.Dataset, names: Names) -> np.ndarray:
    """Return the land cells of a cube, (H, W) bool."""
    land: np.ndarray = cube[names.land].values.astype(bool)
    return land


class Surveyor:
    """Makes the pass over the target for the rows of a slab, and keeps the result for the next slab of the same rows.

    Args:
        cube: Cube in the units that the filler was fitted in.
        names: Its variables.
        inputs: What the filler was fitted for.
        boxes: Days that slabs will be read with.
        climatology_from: A cube on the same grid whose values give the climatology (default: `cube`).
        climatology: That of all cells, in its place.

    Raises:
        CubeError: When the target has no value, or invalid values.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        names: Names,
        inputs: Inputs,
        boxes: Sequence[slice],
        climatology_from: xr.Dataset | None = None,
        climatology: Climatology | None = None,
    ) -> None:
        self.target, self.land, self.boxes = cube[names.target], land_of(cube, names), boxes
        self.known = self.target if climatology_from is None else target_of(climatology_from)
        self.prior = prior_of(self.known, self.land, inputs.anomaly_scale**2)
        self.climatology = climatology
        self.rows: slice | None = None

    def overview(self, rows: slice) -> Overview:
        """Return the overview of some rows."""
        # slabs of the same rows follow each other: one result is enough
        if rows != self.rows:
            self.rows, self.last = rows, self._survey(rows)
        return self.last

    def _survey(self, rows: slice) -> Overview:
        known = None if self.known is self.target else self.known[:, rows]
        found = survey(self.target[:, rows], self.land[rows], self.boxes, self.prior, known)
        if self.climatology is not None:
            coefficients, spread = self.climatology
            found.climatology = Climatology(coefficients[:, rows], spread[rows])
        return found


def prior_of(target: xr.DataArray, land: np.ndarray, variance: float) -> Prior:
    """Return the climatology towards which that of every cell is drawn.

    It comes from all values on land, or from a sample of days and rows if the record is large.

    Args:
        target: Target, (T, H, W).
        land: Land cells, (H, W) bool.
        variance: Variance of the anomalies, in squared units of the target.

    Returns:
        The prior.

    Raises:
        CubeError: When there is no value.
    """
    whole = [np.arange(length) for length in target.shape[:2]]
    some = [_days_of_all_months(day_numbers(target["time"])), _stripes(target.shape[1])]
    # the whole record if the sample happens to hold no value
    for chosen, rows in (some, whole) if target.size > PRIOR_VALUES else (whole,):
        part = target if len(chosen) == target.shape[0] else target[chosen, rows]
        count, total = (np.zeros(part.shape[0]) for _ in range(2))
        for days in time_chunks(part):
            values = np.asarray(part[days].values, np.float32)
            check_values(target, values)
            observed = np.isfinite(values) & land[rows]
            count[days] = observed.sum((1, 2))
            total[days] = np.where(observed, values, 0).sum((1, 2), dtype=np.float64)
        if count.any():
            return Prior.of(count, total, day_numbers(target["time"])[chosen], variance)
    raise CubeError(f"target '{target.name}' has no observed value: there is no climatology to start from")


def _days_of_all_months(numbers: np.ndarray) -> np.ndarray:
    """Return indices of some days of each calendar month, far apart in the record."""
    months = numbers.astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12
    chosen = []
    for month in np.unique(months):
        of_month = np.flatnonzero(months == month)
        # far apart, so that they are of different years
        chosen.append(of_month[(np.arange(1, A_MONTH + 1) * len(of_month)) // (A_MONTH + 1)])
    return np.unique(np.concatenate(chosen))


def _stripes(rows: int) -> np.ndarray:
    """Return indices of the rows of some stripes."""
    # stripes spread from north to south, so that every climate takes part
    starts = (np.arange(STRIPES) + 0.5) * rows / STRIPES
    return np.unique(np.minimum(starts.astype(int)[:, None] + np.arange(STRIPE), rows - 1))


def survey(
    target: xr.DataArray, land: np.ndarray, boxes: Sequence[slice], prior: Prior, known: xr.DataArray | None = None
) -> Overview:
    """Make one pass over the target on land.

    Args:
        target: Target, (T, H, W).
        land: Land cells, (H, W) bool.
        boxes: Days that slabs will be read with.
        prior: Climatology towards which that of every cell is drawn.
        known: Values that give the climatology, (T', H, W) (default: the target).

    Returns:
        The overview of these rows.
    """
    space = target.shape[1:]
    numbers = day_numbers(target["time"])
    length, far = len(numbers), LONGEST_AGE + 1
    # days at which some box begins or ends; between two of them first and last seen days are gathered
    cuts = sorted({0, length, *(box.start for box in boxes), *(box.stop for box in boxes)})
    # values of first and last where nothing was seen: farther away than any age
    never, always = numbers[-1] + far, numbers[0] - far
    cells = np.flatnonzero(land)
    first, last = (np.full((len(cuts), len(cells)), day, np.int32) for day in (never, always))
    statistics = None if known is None else _statistics(known, cells)
    for k, (begin, end) in enumerate(pairwise(cuts)):
        for part in time_chunks(target[begin:end]):
            days = slice(begin + part.start, begin + part.stop)
            values = np.asarray(target[days].values, np.float32)
            check_values(target, values)
            values = values.reshape(len(values), -1).take(cells, 1)
            observed = np.isfinite(values)
            if known is None:
                added = CellStatistics.of(values, observed, numbers[days])
                statistics = added if statistics is None else statistics + added
            number = numbers[days].astype(np.int32)[:, None]
            # products instead of `where`, which is slow on masks without order
            first[k] = np.minimum(first[k], never - (observed * (never - number).astype(np.int32)).max(0))
            last[k + 1] = np.maximum(last[k + 1], always + (observed * (number - always).astype(np.int32)).max(0))
    assert statistics is not None
    # from the pieces between the cuts to the whole record before and after each cut; off land nothing is seen
    before, after = (np.full((len(cuts), *space), far, np.int16) for _ in range(2))
    for k in range(len(cuts) - 1):
        last[k] = np.maximum(last[k], last[max(k - 1, 0)])
        before[k].reshape(-1)[cells] = np.minimum(numbers[cuts[k]] - last[k], far)
    for k in range(len(cuts) - 1, 0, -1):
        first[k] = np.minimum(first[k], first[min(k + 1, len(cuts) - 1)])
        after[k].reshape(-1)[cells] = np.minimum(first[k] - numbers[cuts[k] - 1], far)
    return Overview(
        _off_land(statistics.solve(prior), prior, cells, space),
        {c: before[k] for k, c in enumerate(cuts)},
        {c: after[k] for k, c in enumerate(cuts)},
    )


def _off_land(climatology: Climatology, prior: Prior, cells: np.ndarray, space: tuple[int, ...]) -> Climatology:
    """Return the climatology of some cells as maps; elsewhere, where nothing is seen, it is that of the domain."""
    coefficients = np.empty((len(prior.coefficients), *space), np.float32)
    coefficients[:] = prior.coefficients[:, None, None]
    spread = np.full(space, np.sqrt(max(prior.variance, 1e-12)), np.float32)
    coefficients.reshape(len(coefficients), -1)[:, cells] = climatology.coefficients
    spread.reshape(-1)[cells] = climatology.spread
    return Climatology(coefficients, spread)


def _statistics(target: xr.DataArray, cells: np.ndarray) -> CellStatistics:
    numbers = day_numbers(target["time"])
    total = None
    for days in time_chunks(target):
        values = np.asarray(target[days].values, np.float32)
        values = values.reshape(len(values), -1).take(cells, 1)
        added = CellStatistics.of(values, np.isfinite(values), numbers[days])
        total = added if total is None else total + added
    assert total is not None
    return total
