"""A record: the arrays of a cube, or of a box of it, in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from sgdsm.core.cube import by_role, checked_cube, precipitation_of, target_of, time_chunks, uncertainty_of
from sgdsm.core.errors import CubeError
from sgdsm.core.logging import log
from sgdsm.core.matching import units_of
from sgdsm.core.validation import file_of, read_values


@dataclass(kw_only=True)
class Record:
    """Arrays of a box of a cube; T days (steps), H rows, W columns.

    Args:
        days: Days since 1970-01-01, (T,) int64.
        values: Target in its units, 0 where not observed, (T, H, W) float32.
        observed: Where the target is observed, (T, H, W) bool.
        dynamic: Dynamic covariates, NaN where missing, (C, T, H, W) float32.
        static: Static covariates, NaN where missing, (S, H, W) float32.
        land: Land cells, (H, W) bool.
        place: Unit vector from the Earth's centre to each cell, 0 if the cube has no latitude and longitude as
            dimensions, (3, H, W) float32.
        start: Position of the box in the cube: first day, row and column.
        circular: True if the whole cube's last column touches its first.
        uncertainty: Standard deviations of the observed values, NaN where not known, (T, H, W) float32; None if the
            cube has none. It is no input of any filler.
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
    """The variables that a record is read from, in the order of its channels.

    Args:
        target: Name of the target.
        dynamic: Names of the dynamic covariates.
        static: Names of the static covariates.
        land: Name of the land mask.
        precipitation: Name of the dynamic covariate that is precipitation, if there is one.
        uncertainty: Name of the target's standard deviation, if there is one.
        units: Units of the target and of the covariates, None where they are not known.
    """

    target: str
    dynamic: tuple[str, ...]
    static: tuple[str, ...]
    land: str
    precipitation: str | None
    uncertainty: str | None = None
    units: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, cube: xr.Dataset) -> Names:
        """Return the names of a cube's variables by their roles."""
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

    Args:
        cube: A cube.
        names: Variables to read (default: those of the cube's roles).
        days: Days of the box.
        rows: Rows of the box.
        columns: Columns of the box.

    Returns:
        The arrays of the box.

    Raises:
        CubeError: When a value is infinite, or an uncertainty negative.
    """
    names = names or Names.of(cube)
    target = cube[names.target]
    box = cube.isel(dict(zip(target.dims, (days, rows, columns), strict=True)))
    values = read_values(box[names.target])
    observed = np.isfinite(values)
    shape = values.shape
    # open slices start at 0
    begin = [part.indices(n)[0] for part, n in zip((days, rows, columns), target.shape, strict=True)]
    dynamic = np.empty((len(names.dynamic), *shape), np.float32)
    for channel, name in enumerate(names.dynamic):
        dynamic[channel] = read_values(box[name])
    static = np.empty((len(names.static), *shape[1:]), np.float32)
    for channel, name in enumerate(names.static):
        static[channel] = read_values(box[name])
    return Record(
        days=day_numbers(box["time"]),
        # no NaN from here on: masks say what is missing
        values=np.where(observed, values, np.float32(0)),
        observed=observed,
        dynamic=dynamic,
        static=static,
        land=box[names.land].values.astype(bool),
        place=places_of(box, shape[1:]),
        start=(begin[0], begin[1], begin[2]),
        circular=bool(cube.attrs.get("circular_longitude", 0)) and shape[2] == target.shape[2],
        uncertainty=None if names.uncertainty is None else read_uncertainty(box[names.uncertainty], observed),
    )


def read_uncertainty(variable: xr.DataArray, observed: np.ndarray) -> np.ndarray:
    """Read the uncertainty of the target.

    Args:
        variable: Standard deviations, (T, H, W).
        observed: Where the target is observed, (T, H, W) bool.

    Returns:
        Standard deviations where observed, NaN elsewhere, (T, H, W) float32.

    Raises:
        CubeError: When one is negative.
    """
    values = np.where(observed, read_values(variable), np.float32(np.nan))
    negative = values < 0
    if negative.any():
        raise CubeError(
            f"{file_of(variable)}uncertainty '{variable.name}' has {int(negative.sum())} negative values, the smallest "
            f"{float(values[negative].min()):g}: expected standard deviations"
        )
    return values


def places_of(box: xr.Dataset, shape: tuple[int, ...]) -> np.ndarray:
    """Return a unit vector from the Earth's centre to each cell, (3, H, W) float32; 0 on a projected grid.

    Args:
        box: A cube or a part of it.
        shape: Rows and columns.
    """
    # a projected grid gives no place: distances on the map are not those on the sphere
    if "lat" not in box.dims:
        return np.zeros((3, *shape), np.float32)
    lat, lon = (np.deg2rad(box[name].values.astype(np.float64)) for name in ("lat", "lon"))
    # a unit vector has no jump at the date line or the poles, as degrees have
    cosine, sine = np.cos(lat)[:, None], np.sin(lat)[:, None] + 0 * lon
    return np.stack([cosine * np.cos(lon), cosine * np.sin(lon), sine]).astype(np.float32)


def day_numbers(time: xr.DataArray) -> np.ndarray:
    """Return days since 1970-01-01, (T,) int64."""
    return time.values.astype("datetime64[D]").astype(np.int64)


def usable(cube: xr.Dataset) -> xr.Dataset:
    """Drop covariates that are missing everywhere on land, and log their names.

    Args:
        cube: A cube.

    Returns:
        The cube without them.

    Raises:
        CubeError: When the target is never observed on land.
    """
    cube = checked_cube(cube)
    land, target = cube[by_role(cube, "land")[0]].values.astype(bool), target_of(cube)
    if not _any_value(target, land):
        problem = f"{file_of(target)}target '{target.name}' has no observed value on land"
        raise CubeError(f"{problem} ({int(land.sum())} of {land.size} cells): there is nothing to learn from")
    empty = [n for n in [*by_role(cube, "dynamic"), *by_role(cube, "static")] if not _any_value(cube[n], land)]
    for name in empty:
        log.info("covariate '%s' is missing everywhere on land: dropped", name)
    return cube.drop_vars(empty)


def warn_unusual(cube: xr.Dataset) -> None:
    """Log a message for inputs that are valid but unusual."""
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
        log.info(
            "a single day: nothing can be learned of changes in time; its gaps are filled from its other cells, and "
            "error bars are a guess: give more days"
        )
    if target[0].size == 1:
        log.info("a single cell: it has no neighbours")


def _any_value(variable: xr.DataArray, land: np.ndarray) -> bool:
    if "time" not in variable.dims:
        return bool(np.isfinite(variable.values[land]).any())
    # some days at a time, and only until a value is found
    return any(bool(np.isfinite(variable[days].values[:, land]).any()) for days in time_chunks(variable))
