"""Ensemble members: possible maps whose errors are correlated in space and time as those of the filled values are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.cube import space_dims
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import LAND, OBSERVED, SM_MEMBERS, SM_SOURCE, SM_STD, maps_of
from sgdsm.core.logging import log
from sgdsm.core.memory import check_fits
from sgdsm.core.region import Box
from sgdsm.data.record import day_numbers
from sgdsm.inference.schema import Layout, coordinate, places
from sgdsm.inference.writers import Writer
from sgdsm.models.uncertainty.correlation import Correlation, positions

TITLE = "possible values, the errors of filled ones correlated in space and time"
# in memory at once; many days to a cell, because the random waves of a cell are computed again for each part
CELLS, VALUES = 2**16, 2**26


@dataclass(frozen=True)
class _FilledMaps:
    """What members are drawn from.

    Args:
        estimate: Filled values, (T, H, W).
        std: Their standard deviations, (T, H, W).
        source: Codes of `sm_source`, (T, H, W); None if the file has none.
        correlation: Correlation of the errors in space and time.
        places: Positions of the cells, (H, W, 3), km or cells.
        days: Days since 1970-01-01, (T,).
    """

    estimate: xr.DataArray
    std: xr.DataArray
    source: xr.DataArray | None
    correlation: Correlation
    places: np.ndarray
    days: np.ndarray

    @classmethod
    def of(cls, filled: xr.Dataset) -> _FilledMaps:
        estimate = maps_of(filled)
        if SM_STD not in filled:
            raise CubeError("the Dataset has no sm_std: expected what predict.py writes, of a run with uncertainty")
        std = filled[SM_STD]
        if estimate.dims != ("time", *space_dims(estimate)) or std.dims != estimate.dims:
            raise CubeError(f"sm_filled has dims {estimate.dims}, sm_std {std.dims}: expected time, rows and columns")
        correlation = Correlation.of(std.attrs)
        source = filled.get(SM_SOURCE)
        return cls(estimate, std, source, correlation, positions(estimate), day_numbers(filled["time"]))

    def draw(self, days: slice, rows: slice, number: int, seed: int) -> np.ndarray:
        """Return members of a box of days and rows, (number, T, H, W) float32."""
        drawn = np.empty((number, *self.estimate[days, rows].shape), np.float32)
        for k, member in enumerate(self.one_by_one(days, rows, number, seed)):
            drawn[k] = member
        return drawn

    def one_by_one(self, days: slice, rows: slice, number: int, seed: int) -> Iterator[np.ndarray]:
        """Yield members of a box of days and rows, (T, H, W) float32 each."""
        estimate, std = (np.asarray(a[days, rows].values, np.float32) for a in (self.estimate, self.std))
        spread = np.nan_to_num(std)
        if self.source is not None:
            # members are of what the satellite would have reported: observed values are known
            spread[self.source[days, rows].values == OBSERVED] = 0
        cells = self.places[rows].reshape(-1, 3)
        # each member has a random stream of its own: more members leave the first ones unchanged
        for k in range(number):
            field = self.correlation.field(self.days[days], cells, seed, k)
            yield estimate + spread * field.reshape(estimate.shape)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the members."""
        kept = {k: v for k, v in self.estimate.attrs.items() if k in ("units", "standard_name", "grid_mapping")}
        return {**kept, "long_name": TITLE}


def members_of_rows(filled: xr.Dataset, number: int, seed: int) -> Callable[[slice], Iterator[np.ndarray]]:
    """Return a function that takes rows and yields the `members` of all days of these rows, one by one.

    Args:
        filled: What predict.py writes.
        number: Of members.
        seed: Of the random fields.

    Raises:
        CubeError: When the Dataset is not a filled file with an uncertainty.
    """
    source = _FilledMaps.of(filled)
    return lambda rows: source.one_by_one(slice(None), rows, number, seed)


@checked
def members(filled: xr.Dataset, count: int = 20, seed: int = 0) -> xr.DataArray:
    """Draw possible maps from a filled file, from which means over cells and days get correct error bars.

    A member is `sm_filled` plus `sm_std` times a Gaussian field with the correlation of the errors in space and time
    that the file holds. Observed values are the same in all members. Parts of a file that are drawn separately with the
    same seed fit together. Values below 0 are kept, so that means are not biased.

    Args:
        filled: What predict.py or `sgdsm.fill` gives, or a part of it.
        count: Number of members.
        seed: Of the random fields.

    Returns:
        Members, (member, time, rows, columns) float32, in the target's units; NaN where nothing is filled. All of
        it is in memory: select a region first, or use `write_members`.

    Raises:
        CubeError: When the Dataset is not a filled file with an uncertainty.
        ConfigError: When count is below 1, or the members do not fit into memory.
    """
    if count < 1:
        raise ConfigError(f"members: count={count}: expected at least 1")
    source = _FilledMaps.of(filled)
    advice = "ask for fewer, select a region or a period first, or write them to a file (python -m sgdsm members)"
    check_fits(f"members: count={count}", int(count) * source.estimate.size, advice)
    drawn = source.draw(slice(None), slice(None), count, seed)
    coords = {**source.estimate.coords, "member": np.arange(count)}
    return xr.DataArray(drawn, coords, ("member", *source.estimate.dims), SM_MEMBERS, source.attributes())


def write_members(filled: xr.Dataset, writer: Writer, box: Box, number: int, seed: int = 0, identity: str = "") -> None:
    """Draw the `members` of a box of a filled file and hand them to a writer.

    A part of the days and rows is in memory at a time; parts are (time, member, rows, columns).

    Args:
        filled: What predict.py or `sgdsm.fill` gives.
        writer: Destination of the members.
        box: Days, rows and columns.
        number: Number of members.
        seed: Of the random fields.
        identity: Identifies the file; an interrupted output is resumed only if it is the same.

    Raises:
        CubeError: When the Dataset is not a filled file with an uncertainty.
        ConfigError: When number is below 1, or the members of one part do not fit into memory.
    """
    if number < 1:
        raise ConfigError(f"number={number}: expected at least 1")
    source = _FilledMaps.of(filled)
    if LAND not in filled:
        raise CubeError("the Dataset has no land: expected what predict.py writes")
    # first checks of the whole file, then of the box
    part = filled.isel(dict(zip(source.estimate.dims, box, strict=True)))
    source = _FilledMaps.of(part)
    slabs = _slabs(source.estimate.shape, number)
    largest = max((days.stop - days.start) * (rows.stop - rows.start) for days, rows in slabs)
    check_fits(f"number={number}", number * largest * source.estimate.shape[2], "ask for fewer, or for a smaller bbox=")
    plan = {"identity": identity, "seed": seed, "number": number, "box": [[s.start, s.stop] for s in box]}
    plan["slabs"] = [[[s.start, s.stop] for s in slab] for slab in slabs]
    done = writer.begin(_layout(part, source, number, seed), plan)
    if done:
        log.info("resuming: %d of %d parts are finished", len(done), len(slabs))
    for k, (days, rows) in enumerate(slabs):
        if k not in done:
            writer.write(k, {SM_MEMBERS: source.draw(days, rows, number, seed).swapaxes(0, 1)})
    writer.finish(part[LAND].values.astype(bool))


def _slabs(shape: tuple[int, ...], number: int) -> list[tuple[slice, slice]]:
    """Return boxes of days and rows that hold few cells but many days."""
    days, rows, columns = shape
    height = min(rows, max(1, CELLS // columns))
    length = min(days, max(1, VALUES // (number * height * columns)))
    return [
        (slice(t, min(t + length, days)), slice(y, min(y + height, rows)))
        for t in range(0, days, length)
        for y in range(0, rows, height)
    ]


def _layout(part: xr.Dataset, source: _FilledMaps, number: int, seed: int) -> Layout:
    time, *space = (str(dim) for dim in source.estimate.dims)
    # CF: 'realization' marks an ensemble
    member = np.arange(number, dtype=np.int32), {"standard_name": "realization", "units": "1"}
    coords = {time: coordinate(part, time), "member": member, **{dim: coordinate(part, dim) for dim in space}}
    fixed = places(part, (time, *space))
    attrs = {"_FillValue": np.float32(np.nan), **source.attributes()}
    land = {k: v for k, v in part[LAND].attrs.items() if k in ("units", "long_name", "grid_mapping")}
    variables = {SM_MEMBERS: ((*coords,), np.float32, attrs), LAND: ((*space,), np.int8, land)}
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attributes = {
        "Conventions": "CF-1.10",
        "title": f"{number} possible maps",
        "source": str(part.attrs.get("source", "")),
        "history": f"{written} members drawn by sgdsm with seed {seed}",
    }
    return Layout(coords, variables, attributes, fixed)
