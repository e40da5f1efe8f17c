"""Possible maps: members whose errors hang together as those of the filled values do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.cube import ConfigError, CubeError, log, space_dims
from sgdsm.core.filled import OBSERVED, maps_of
from sgdsm.core.memory import check_fits
from sgdsm.core.region import Box
from sgdsm.data.record import day_numbers
from sgdsm.inference.fill import Writer
from sgdsm.inference.schema import Layout, coordinate, places
from sgdsm.models.uncertainty.correlation import Correlation, positions

NAME = "sm_members"
TITLE = "possible values, the errors of filled ones correlated in space and time"
CELLS, VALUES = 2**16, 2**26  # in memory at once; many days a cell, for its waves are worked out again in each part


@dataclass(frozen=True)
class _Filled:
    """What members are drawn from: estimates, deviations, where they were observed, how their errors hang together.

    places: (H, W, 3). days: (T,).
    """

    estimate: xr.DataArray
    std: xr.DataArray
    source: xr.DataArray | None
    correlation: Correlation
    places: np.ndarray
    days: np.ndarray

    @classmethod
    def of(cls, filled: xr.Dataset) -> _Filled:
        estimate = maps_of(filled)
        if "sm_std" not in filled:
            raise CubeError("the Dataset has no sm_std: expected what predict.py writes, of a run with uncertainty")
        std = filled["sm_std"]
        if estimate.dims != ("time", *space_dims(estimate)) or std.dims != estimate.dims:
            raise CubeError(f"sm_filled has dims {estimate.dims}, sm_std {std.dims}: expected time, rows and columns")
        correlation = Correlation.of(std.attrs)
        source = filled.get("sm_source")
        return cls(estimate, std, source, correlation, positions(estimate), day_numbers(filled["time"]))

    def draw(self, days: slice, rows: slice, number: int, seed: int) -> np.ndarray:
        """Members of a box of days and rows, (number, T, H, W) float32."""
        estimate, std = (np.asarray(a[days, rows].values, np.float32) for a in (self.estimate, self.std))
        spread = np.nan_to_num(std)
        if self.source is not None:
            # what was observed is what the satellite reported
            spread[self.source[days, rows].values == OBSERVED] = 0
        cells = self.places[rows].reshape(-1, 3)
        drawn = np.empty((number, *estimate.shape), np.float32)
        for k in range(number):
            field = self.correlation.field(self.days[days], cells, seed, k)
            drawn[k] = estimate + spread * field.reshape(estimate.shape)
        return drawn

    def attributes(self) -> dict[str, Any]:
        """Of the members."""
        keep = {k: v for k, v in self.estimate.attrs.items() if k in ("units", "standard_name", "grid_mapping")}
        return {**keep, "long_name": TITLE}


@checked
def members(filled: xr.Dataset, count: int = 20, seed: int = 0) -> xr.DataArray:
    """Draw possible maps from a filled file, so that means over cells and days get a right error bar.

    A member is `sm_filled` plus `sm_std` times a Gaussian field with the correlation of the errors in space and time,
    which the file tells; observed values are the same in all. Parts of a file that are drawn apart with the same seed
    fit together. Values below 0 are left, so that means are not biased.

    filled: what predict.py or `sgdsm.fill` gives, or a part of it. count: of members. Returns (member, time, rows,
    columns), float32, in the target's units; NaN where nothing is filled. All is in memory: select a region first, or
    see `write_members`.

    Raises CubeError where the Dataset is no filled file with an uncertainty, ConfigError for a count below 1, or of
    more than the memory holds.
    """
    if count < 1:
        raise ConfigError(f"members: count={count}: expected at least 1")
    source = _Filled.of(filled)
    cure = "ask for fewer, select a region or a period first, or write them to a file (python -m sgdsm members)"
    check_fits(f"members: count={count}", int(count) * source.estimate.size, cure)
    drawn = source.draw(slice(None), slice(None), count, seed)
    coords = {**source.estimate.coords, "member": np.arange(count)}
    return xr.DataArray(drawn, coords, ("member", *source.estimate.dims), NAME, source.attributes())


def write_members(filled: xr.Dataset, writer: Writer, box: Box, number: int, seed: int = 0, identity: str = "") -> None:
    """Draw the `members` of a box of a filled file and hand them to a writer, (time, member, rows, columns).

    A box of days and rows is in memory at a time. identity: of the file; an interrupted output goes on only where it
    is the same.

    Raises CubeError where the Dataset is no filled file with an uncertainty, ConfigError for a number below 1, or of
    more than the memory holds of a part.
    """
    if number < 1:
        raise ConfigError(f"number={number}: expected at least 1")
    source = _Filled.of(filled)
    if "land" not in filled:
        raise CubeError("the Dataset has no land: expected what predict.py writes")
    part = filled.isel(dict(zip(source.estimate.dims, box, strict=True)))
    source = _Filled.of(part)
    slabs = _slabs(source.estimate.shape, number)
    largest = max((days.stop - days.start) * (rows.stop - rows.start) for days, rows in slabs)
    check_fits(f"number={number}", number * largest * source.estimate.shape[2], "ask for fewer, or for a smaller bbox=")
    plan = {"identity": identity, "seed": seed, "number": number, "box": [[s.start, s.stop] for s in box]}
    plan["slabs"] = [[[s.start, s.stop] for s in slab] for slab in slabs]
    done = writer.begin(_layout(part, source, number, seed), plan)
    if done:
        log.info("going on: %d of %d parts are finished", len(done), len(slabs))
    for k, (days, rows) in enumerate(slabs):
        if k not in done:
            writer.write(k, {NAME: source.draw(days, rows, number, seed).swapaxes(0, 1)})
    writer.finish(part["land"].values.astype(bool))


def _slabs(shape: tuple[int, ...], number: int) -> list[tuple[slice, slice]]:
    days, rows, columns = shape
    height = min(rows, max(1, CELLS // columns))
    length = min(days, max(1, VALUES // (number * height * columns)))
    return [
        (slice(t, min(t + length, days)), slice(y, min(y + height, rows)))
        for t in range(0, days, length)
        for y in range(0, rows, height)
    ]


def _layout(part: xr.Dataset, source: _Filled, number: int, seed: int) -> Layout:
    time, *space = (str(dim) for dim in source.estimate.dims)
    member = np.arange(number, dtype=np.int32), {"standard_name": "realization", "units": "1"}
    coords = {time: coordinate(part, time), "member": member, **{dim: coordinate(part, dim) for dim in space}}
    fixed = places(part, (time, *space))
    attrs = {"_FillValue": np.float32(np.nan), **source.attributes()}
    land = {k: v for k, v in part["land"].attrs.items() if k in ("units", "long_name", "grid_mapping")}
    variables = {NAME: ((*coords,), np.float32, attrs), "land": ((*space,), np.int8, land)}
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = {
        "Conventions": "CF-1.10",
        "title": f"{number} possible maps",
        "source": str(part.attrs.get("source", "")),
        "history": f"{written} members drawn by sgdsm with seed {seed}",
    }
    return Layout(coords, variables, told, fixed)
