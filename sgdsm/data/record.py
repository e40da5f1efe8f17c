"""A record: the arrays of a cube, or of a box of it, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from sgdsm.core.cube import (
    CubeError,
    by_role,
    checked_cube,
    log,
    precipitation_of,
    target_of,
    time_chunks,
    uncertainty_of,
)
from sgdsm.core.matching import units_of
from sgdsm.core.validation import file_of, read_values


@dataclass
class Record:
    """Arrays of a box of a cube; T days (steps), H rows, W columns.

    days: days since 1970-01-01, (T,) int64. values: target, 0 where not observed, (T, H, W) float32. observed:
    (T, H, W) bool. dynamic: NaN where missing, (C, T, H, W) float32. static: NaN where missing, (S, H, W) float32.
    land: (H, W) bool. place: unit vector from the Earth's centre to each cell, 0 where the cube has no latitude and
    longitude (y, x), (3, H, W) float32. start: position of the box in the cube, (time, row, column); circular: the
    whole cube's last column touches its first. uncertainty: standard deviations of the observed values, NaN where not
    known, (T, H, W) float32; None where the cube has none. No filler looks at it.
    """

    days: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    dynamic: np.ndarray
    static: np.ndarray
    land: np.ndarray
    place: np.ndarray
    start: tuple[int, int, int] = (0, 0, 0)
    circular: bool = False
    uncertainty: np.ndarray | None = None


@dataclass(frozen=True)
class Names:
    """Which variables a record is read from, in the order of its channels; units: of the target and the
    covariates, None where they are not known."""

    target: str
    dynamic: tuple[str, ...]
    static: tuple[str, ...]
    land: str
    precipitation: str | None
    uncertainty: str | None = None
    units: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, cube: xr.Dataset) -> Names:
        """The names that a cube gives its roles."""
        return cls(
            str(target_of(cube).name),
            tuple(by_role(cube, "dynamic")),
            tuple(by_role(cube, "static")),
            by_role(cube, "land")[0],
            precipitation_of(cube),
            uncertainty_of(cube),
            {n: units_of(cube[n]) for role in ("target", "dynamic", "static") for n in by_role(cube, role)},
        )


def read_record(
    cube: xr.Dataset,
    names: Names | None = None,
    days: slice = slice(None),
    rows: slice = slice(None),
    columns: slice = slice(None),
) -> Record:
    """Read a box of days, rows and columns into memory.

    Raises CubeError where a value is infinite, or an uncertainty negative.
    """
    names = names or Names.of(cube)
    target = cube[names.target]
    box = cube.isel(dict(zip(target.dims, (days, rows, columns), strict=True)))
    values = read_values(box[names.target])
    observed = np.isfinite(values)
    shape = values.shape
    begin = [part.indices(n)[0] for part, n in zip((days, rows, columns), target.shape, strict=True)]
    dynamic = np.empty((len(names.dynamic), *shape), np.float32)
    for channel, name in enumerate(names.dynamic):
        dynamic[channel] = read_values(box[name])
    static = np.empty((len(names.static), *shape[1:]), np.float32)
    for channel, name in enumerate(names.static):
        static[channel] = read_values(box[name])
    return Record(
        days=day_numbers(box["time"]),
        values=np.where(observed, values, np.float32(0)),
        observed=observed,
        dynamic=dynamic,
        static=static,
        land=box[names.land].values.astype(bool),
        place=_place(box, shape[1:]),
        start=(begin[0], begin[1], begin[2]),
        circular=bool(cube.attrs.get("circular_longitude", 0)) and shape[2] == target.shape[2],
        uncertainty=None if names.uncertainty is None else _uncertainty(box[names.uncertainty], observed),
    )


def _uncertainty(variable: xr.DataArray, observed: np.ndarray) -> np.ndarray:
    values = np.where(observed, read_values(variable), np.float32(np.nan))
    negative = values < 0
    if negative.any():
        raise CubeError(
            f"{file_of(variable)}uncertainty '{variable.name}' has {int(negative.sum())} negative values, the smallest "
            f"{float(values[negative].min()):g}: expected standard deviations"
        )
    return values


def _place(box: xr.Dataset, shape: tuple[int, ...]) -> np.ndarray:
    if "lat" not in box.dims:
        return np.zeros((3, *shape), np.float32)
    lat, lon = (np.deg2rad(box[name].values.astype(np.float64)) for name in ("lat", "lon"))
    cosine, sine = np.cos(lat)[:, None], np.sin(lat)[:, None] + 0 * lon
    return np.stack([cosine * np.cos(lon), cosine * np.sin(lon), sine]).astype(np.float32)


def day_numbers(time: xr.DataArray) -> np.ndarray:
    """Days since 1970-01-01, int64."""
    return time.values.astype("datetime64[D]").astype(np.int64)


def usable(cube: xr.Dataset) -> xr.Dataset:
    """The cube without covariates that are missing everywhere on land, which are named in the log.

    Raises CubeError where the target is never observed on land.
    """
    cube = checked_cube(cube)
    land, target = cube[by_role(cube, "land")[0]].values.astype(bool), target_of(cube)
    if not _any_value(target, land):
        told = f"{file_of(target)}target '{target.name}' has no observed value on land"
        raise CubeError(f"{told} ({int(land.sum())} of {land.size} cells): there is nothing to learn from")
    empty = [n for n in [*by_role(cube, "dynamic"), *by_role(cube, "static")] if not _any_value(cube[n], land)]
    for name in empty:
        log.info("covariate '%s' is missing everywhere on land: dropped", name)
    return cube.drop_vars(empty)


def warn_unusual(cube: xr.Dataset) -> None:
    """Name in the log what works but is unusual."""
    target = target_of(cube)
    if "correction_fitted_days" in cube.attrs:
        days = " to ".join(str(cube.attrs["correction_fitted_days"]).split())
        log.info(
            "%s was corrected by what the reference had from %s, days that are scored too: scores are of the corrected "
            "record, not of the reference", target.name, days,
        )  # fmt: skip
    if not by_role(cube, "dynamic"):
        log.info("no dynamic covariates: the gaps are filled from the observations alone")
    if target.sizes["time"] == 1:
        log.info("a single day: there is nothing before or after its gaps")
    if target[0].size == 1:
        log.info("a single cell: it has no neighbours")


def _any_value(variable: xr.DataArray, land: np.ndarray) -> bool:
    if "time" not in variable.dims:
        return bool(np.isfinite(variable.values[land]).any())
    return any(bool(np.isfinite(variable[days].values[:, land]).any()) for days in time_chunks(variable))
