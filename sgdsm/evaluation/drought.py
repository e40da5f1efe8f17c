"""Drought indicators of a filled file: index, percentile and class of each value, area under drought, and events.

Classes are those of the United States Drought Monitor (Svoboda et al., Bull. Amer. Meteor. Soc. 83, 1181, 2002). A file
is read some rows at a time; the result does not depend on how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtr, ndtri

from sgdsm.core.errors import CubeError
from sgdsm.core.filled import FILLED
from sgdsm.core.memory import check_fits
from sgdsm.core.validation import read_values
from sgdsm.evaluation.standardized_index import CELLS, Standardization
from sgdsm.evaluation.strata import cell_areas

Bounds = Literal["ssi", "percentile"]
CLASSES = ("none", "abnormally_dry", "moderate", "severe", "extreme", "exceptional")
INDEX_BOUNDS = (-0.5, -0.8, -1.3, -1.6, -2.0)  # at or below them a class begins
PERCENTILE_BOUNDS = (30.0, 20.0, 10.0, 5.0, 2.0)
MODERATE = CLASSES.index("moderate")
NO_CLASS = -1  # off land, and where the index is missing
BYTES = 64  # in memory for a value of a band of rows, members included
# takes rows; gives possible values of these rows, (T, rows, W) each
Draw = Callable[[slice], Iterable[np.ndarray]]


@dataclass(frozen=True)
class EventRules:
    """What counts as a drought.

    Args:
        threshold: The index is at or below it.
        least_days: A shorter drought is none.
        join_days: Two that are at most so many days apart are one.
    """

    threshold: float = -1.0
    least_days: int = 15
    join_days: int = 5


class Event(NamedTuple):
    """A drought of a cell or a region.

    Attributes:
        first: Number of its first day in the record.
        last: Of its last day.
        deficit: Sum of the index over its days, turned positive, day.
        peak: Smallest index.
    """

    first: int
    last: int
    deficit: float
    peak: float


class Band(NamedTuple):
    """Indicators of some rows.

    Attributes:
        rows: Which.
        ssi: The index, (T, rows, W) float32.
        percentile: (T, rows, W) float32, %.
        drought_class: Number of the class in CLASSES, or NO_CLASS, (T, rows, W) int8.
        probability: Share of the members in moderate drought or worse, (T, rows, W) float32; None without members.
        events: Row and column in the file, and the drought.
    """

    rows: slice
    ssi: np.ndarray
    percentile: np.ndarray
    drought_class: np.ndarray
    probability: np.ndarray | None
    events: list[tuple[int, int, Event]]


@dataclass
class Drought:
    """Computes the indicators of a filled file, and sums over its regions.

    Args:
        maps: Filled values, (T, H, W), a day after the other.
        land: Land cells, (H, W) bool.
        asked: The index, and the calendar of `maps`.
        rules: Of events.
        bounds: Index at or below which each class but the first begins.
        source: Codes of `sm_source`, (T, H, W); None where a file has none.
        regions: Number of the region of each cell, (H, W) int, negative for none; None for one region of all land.

    Attributes:
        reference_values: Number of values that the fits rest on.
        reference_filled: How many of these were filled, not observed.
    """

    maps: xr.DataArray
    land: np.ndarray
    asked: Standardization
    rules: EventRules = EventRules()
    bounds: Sequence[float] = INDEX_BOUNDS
    source: xr.DataArray | None = None
    regions: np.ndarray | None = None
    reference_values: int = field(default=0, init=False)
    reference_filled: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        regions = np.zeros(self.land.shape, int) if self.regions is None else self.regions
        self._regions = np.where(self.land, regions, -1)
        self._areas = cell_areas(self.maps[0])
        days, count = len(self.maps), max(int(self._regions.max(initial=0)) + 1, 1)
        # area with an index, index times area, area in drought by the rules
        self._area, self._index, self._dry = np.zeros((3, days, count))
        self._class_area, self._land_area = np.zeros((days, len(CLASSES) - 1)), np.zeros(days)

    def rows_at_once(self, memory_gib: float) -> int:
        """Return how many rows of the file fit into some memory.

        Args:
            memory_gib: The memory.

        Raises:
            ConfigError: A single row does not fit into what this machine has.
        """
        days, height, width = self.maps.shape
        check_fits(f"a row of {days} days and {width} cells", days * width, "give a file of a smaller region", BYTES)
        return min(height, max(1, int(memory_gib * 2**30 / (days * width * BYTES))))

    def bands(self, rows: int, draw: Draw | None = None) -> Iterator[Band]:
        """Yield the indicators of all rows, from the first to the last.

        Args:
            rows: Of a band.
            draw: Draws members; None for none.

        Raises:
            CubeError: Values that the distribution does not take, or that cannot be right.
        """
        height = self.maps.shape[1]
        for first in range(0, height, rows):
            yield self._band(slice(first, min(first + rows, height)), draw)

    def area_under_drought(self) -> np.ndarray:
        """Return the share of the area with an index that is in each class or a worse one, (T, classes) float64."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self._class_area / self._land_area[:, None])

    def region_index(self) -> np.ndarray:
        """Return the mean index of each region, weighted by area, (T, regions)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self._index / self._area)

    def region_events(self) -> list[tuple[int, Event, float]]:
        """Return number of the region, drought, and mean share of its area that was in drought meanwhile."""
        found = []
        index = self.region_index()
        for region in range(index.shape[1]):
            for event in events_of(index[:, region], self.rules):
                days = slice(event.first, event.last + 1)
                share = self._dry[days, region].sum() / self._area[days, region].sum()
                found.append((region, event, float(share)))
        return found

    def _band(self, rows: slice, draw: Draw | None) -> Band:
        days, _, width = self.maps.shape
        shape = (days, rows.stop - rows.start, width)
        values = read_values(self.maps[:, rows])
        cells = np.flatnonzero(self.land[rows])
        self._count_reference(rows, values, cells)
        flat = values.reshape(days, -1)
        index = np.full(flat.shape, np.nan, np.float32)
        batches = [cells[k : k + CELLS] for k in range(0, len(cells), CELLS)]
        bound = None if draw is None else self.bounds[MODERATE - 1]
        limits = []
        for some in batches:
            index[:, some], limit = self.asked.index(flat[:, some], bound)
            limits.append(limit)
        probability = None
        if draw is not None:
            dry, number = np.full(flat.shape, np.nan, np.float32), 0
            dry[:, cells] = 0
            for member in draw(rows):
                number += 1
                for some, limit in zip(batches, limits, strict=True):
                    dry[:, some] += self.asked.at_or_below(member.reshape(flat.shape)[:, some], limit)
            probability = (dry / np.float32(number)).reshape(shape)
        events = [
            (rows.start + int(cell) // width, int(cell) % width, event)
            for cell in cells
            for event in events_of(index[:, cell], self.rules)
        ]
        index = index.reshape(shape)
        classes = np.where(np.isfinite(index), np.int8(0), np.int8(NO_CLASS))
        for bound in self.bounds:
            classes += index <= bound
        self._add(rows, index)
        return Band(rows, index, 100 * ndtr(index), classes, probability, events)

    def _count_reference(self, rows: slice, values: np.ndarray, cells: np.ndarray) -> None:
        days = self.asked.reference
        used = np.isfinite(values.reshape(len(values), -1)[:, cells][days])
        self.reference_values += int(used.sum())
        if self.source is not None:
            source = self.source[:, rows].values.reshape(len(values), -1)[:, cells][days]
            self.reference_filled += int((used & (source == FILLED)).sum())

    def _add(self, rows: slice, index: np.ndarray) -> None:
        """Add a band to the sums; row by row, so that rounding does not depend on the bands."""
        for k, row in enumerate(range(rows.start, rows.stop)):
            whole, weights = index[:, k], self._areas[row]
            known = np.isfinite(whole) * weights
            self._land_area += known.sum(1)
            for number, bound in enumerate(self.bounds):
                self._class_area[:, number] += ((whole <= bound) * weights).sum(1)
            products, dry = np.nan_to_num(whole) * weights, (whole <= self.rules.threshold) * weights
            for region in np.unique(self._regions[row][self.land[row]]):
                if region >= 0:
                    some = self._regions[row] == region
                    for total, part in ((self._area, known), (self._index, products), (self._dry, dry)):
                        total[:, region] += np.ascontiguousarray(part[:, some]).sum(1)


def events_of(index: np.ndarray, rules: EventRules) -> list[Event]:
    """Return the droughts of a series.

    Args:
        index: (T,); a missing value is no drought.
        rules: What counts as one.
    """
    with np.errstate(invalid="ignore"):
        dry = index <= rules.threshold
    edges = np.flatnonzero(np.diff(np.concatenate([[False], dry, [False]]).astype(np.int8)))
    begins, ends = edges[::2], edges[1::2] - 1
    if not len(begins):
        return []
    apart = begins[1:] - ends[:-1] - 1 > rules.join_days
    begins, ends = begins[np.concatenate([[True], apart])], ends[np.concatenate([apart, [True]])]
    found = []
    deficit, low = np.where(np.isnan(index), 0, -index.astype(np.float64)), np.where(np.isnan(index), np.inf, index)
    for first, last in zip(begins.tolist(), ends.tolist(), strict=True):
        if last - first + 1 >= rules.least_days:
            part = slice(first, last + 1)
            found.append(Event(first, last, float(deficit[part].sum()), float(low[part].min())))
    return found


def bounds_of(classes: Bounds) -> tuple[float, ...]:
    """Return the index at or below which each class begins.

    Args:
        classes: 'ssi', or 'percentile' for the bounds that the Drought Monitor gives in percentiles.
    """
    return INDEX_BOUNDS if classes == "ssi" else tuple(float(ndtri(p / 100)) for p in PERCENTILE_BOUNDS)


def daily(maps: xr.DataArray) -> np.ndarray:
    """Return the days of maps, (T,) datetime64[D].

    Args:
        maps: (T, H, W).

    Raises:
        CubeError: They do not follow each other day by day.
    """
    days = maps["time"].values.astype("datetime64[D]")
    steps = np.diff(days).astype(int)
    if (steps != 1).any():
        k = int(np.flatnonzero(steps != 1)[0])
        raise CubeError(f"{days[k + 1]} follows {days[k]}: expected maps of every day, in order")
    return days
