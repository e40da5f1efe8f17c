"""Where and when a cube or a filled Dataset is observed, from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from sgdsm.core.cube import as_cube, by_role, checked_cube, space_dims, step_days, target_of
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import LAND, SM_FILLED, maps_of, observed_of
from sgdsm.report import coverage as described


def cube_of(dataset: xr.Dataset, **roles: Any) -> xr.Dataset:
    """Return the cube whose observed values are counted.

    Args:
        dataset: A cube, a filled Dataset (its observed values count), or any Dataset together with `target=`.
        **roles: Arguments of `sgdsm.as_cube`; days that the time axis lacks count as days without observations.

    Raises:
        CubeError: Nothing says which variable is the target.
    """
    if roles:
        if "target" not in roles:
            raise CubeError("target= is not given: the name of the soil-moisture variable")
        return as_cube(dataset, **{"missing_days": "insert", **roles})
    if SM_FILLED in dataset:
        filled, seen = maps_of(dataset), observed_of(dataset)
        name = str(seen.name)
        cube = seen.assign_attrs(units=filled.attrs.get("units", "1")).to_dataset(name=name)
        if LAND in dataset:
            cube[LAND] = dataset[LAND].transpose(*space_dims(filled))
        return as_cube(cube, name, land=LAND if LAND in dataset else None, missing_days="insert", uncertainty="none")
    if by_role(dataset, "target") and by_role(dataset, "land"):
        return checked_cube(dataset)
    there = ", ".join(map(str, dataset.data_vars)) or "none"
    raise CubeError(f"nothing says which variable holds soil moisture among {there}: give target='NAME'")


def coverage(dataset: xr.Dataset, **roles: Any) -> xr.Dataset:
    """Return the share of the land values that are observed: by cell, by season and by month.

    Args:
        dataset: See `cube_of`.
        **roles: See `cube_of`.

    Returns:
        `coverage` (H, W), NaN off land; `coverage_by_season` (season) and `coverage_by_month` (month); 0 to 1.
    """
    cube = cube_of(dataset, **roles)
    found = described.coverage(cube)
    rows, columns = space_dims(target_of(cube))
    about = {"units": "1", "long_name": "share of the days that are observed"}
    land = {"units": "1", "long_name": "share of the land values that are observed"}
    months = np.array(list(found.by_month), "datetime64[M]").astype("datetime64[ns]")
    return xr.Dataset(
        {
            "coverage": ((rows, columns), found.share, about),
            "coverage_by_season": ("season", list(found.by_season.values()), land),
            "coverage_by_month": ("month", list(found.by_month.values()), land),
        },
        {rows: cube[rows], columns: cube[columns], "season": list(found.by_season), "month": months},
    )


def gaps(dataset: xr.Dataset, **roles: Any) -> pd.DataFrame:
    """Return the lengths of the gaps of the land cells.

    Args:
        dataset: See `cube_of`.
        **roles: See `cube_of`.

    Returns:
        Indexed by `days`, the length; `gaps`, their number; `share`, of the missing values that lie in them, 0 to 1. A
        gap at the ends of the record has the length that lies in it.
    """
    cube = cube_of(dataset, **roles)
    found = described.coverage(cube).gaps
    maps = np.array(sorted(found), np.int64)
    number = np.array([found[length] for length in maps], np.int64)
    missing = maps * number
    days = pd.Index(maps * step_days(target_of(cube)["time"]), name="days")
    return pd.DataFrame({"gaps": number, "share": missing / max(1, missing.sum())}, index=days)


def plot_coverage(dataset: xr.Dataset, **roles: Any) -> Figure:
    """Draw where and when a Dataset is observed, lengths of gaps, and the availability of covariates.

    Args:
        dataset: See `cube_of`.
        **roles: See `cube_of`.

    Returns:
        The Figure, not saved.
    """
    cube = cube_of(dataset, **roles)
    return described.draw(cube, described.coverage(cube), described.availability(cube))
