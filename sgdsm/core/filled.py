"""The filled file: names of its variables and codes, and how its estimates and its observed values are found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import space_dims, suggest
from sgdsm.core.errors import CubeError

# variables of a filled file, beside the target under its own name; `sgdsm.inference.schema` describes them
SM_FILLED = "sm_filled"
SM_STD, SM_LOWER, SM_UPPER = "sm_std", "sm_lower", "sm_upper"
SM_STD_EPISTEMIC, SM_STD_ALEATORIC = "sm_std_epistemic", "sm_std_aleatoric"
SM_DISTANCE, SM_FLAG = "sm_distance", "sm_flag"
SM_SOURCE = "sm_source"
GAP_AGE = "gap_age"
LAND = "land"
SM_MEMBERS = "sm_members"  # of a file of ensemble members

NONE, OBSERVED, FILLED = 0, 1, 2  # codes of `sm_source`
COVARIATES = (
    "covariates"  # attribute of the file: JSON, dynamic covariates that the estimates rest on and their products
)
CAUSAL = "near_real_time"  # attribute of the file where nothing after a day was looked at, in words
OBSERVED_NAME = "observed_variable"  # attribute of `sm_filled`: what the variable of the observed values is called

VERSION, VERSIONS = "version", "versions"  # attributes of a file that was filled again: number; JSON, what changed


def versions_of(attrs: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Return what each filling again of the last days has changed, by the attributes of a filled file."""
    try:
        found = json.loads(str(attrs.get(VERSIONS, "[]")))
    except ValueError:
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def version_line(entry: Mapping[str, Any], units: str) -> str:
    """Return in words what filling the last days again has changed.

    Args:
        entry: Of `versions_of`.
        units: Of the target.
    """

    def number(name: str) -> str:
        value = entry.get(name)
        return f"{value:.3g}" if isinstance(value, int | float) else "?"

    words = (
        f"version {entry.get('version')}: {entry.get('days_again')} days from {entry.get('first_day')} filled again, "
        f"{entry.get('days_added')} added, to {entry.get('last_day')}; {entry.get('changed')} of {entry.get('filled')} "
        f"filled values changed, by {number('mean_change')} {units} on average, {number('largest_change')} at most"
    )
    if entry.get("now_observed"):
        words += f"; {entry['now_observed']} are observed now, RMSE {number('rmse_now_observed')} {units} before"
    return words


def maps_of(dataset: xr.Dataset) -> xr.DataArray:
    """Return `sm_filled` of a filled Dataset.

    Args:
        dataset: What `sgdsm.fill` returns or predict.py writes.

    Returns:
        The filled values, (T, H, W).

    Raises:
        CubeError: The variable is missing, empty, or has other dims than maps on days.
    """
    if SM_FILLED not in dataset:
        there = ", ".join(map(str, dataset.data_vars)) or "none"
        raise CubeError(f"not a filled Dataset: no variable 'sm_filled' among {there}; expected what predict.py writes")
    filled = dataset[SM_FILLED]
    if filled.ndim != 3 or set(filled.dims) != {"time", *space_dims(filled)}:
        raise CubeError(
            f"sm_filled has dims {filled.dims}: expected time and lat, lon (or time and y, x); select with slices"
        )
    if 0 in filled.shape:
        raise CubeError(f"sm_filled is empty: {dict(filled.sizes)}; latitudes go from north to south")
    # figures and scores select by coordinates
    for dim in space_dims(filled):
        if dim not in filled.coords or filled[dim].dtype.kind not in "fiu" or not np.isfinite(filled[dim].values).all():
            raise CubeError(f"sm_filled has no numbers as coordinate '{dim}': expected those that predict.py writes")
    if filled["time"].dtype.kind != "M":
        raise CubeError(f"time holds {filled['time'].dtype} values, expected dates")
    return filled


def observed_of(dataset: xr.Dataset, observed: str | None = None) -> xr.DataArray:
    """Return the observed values of a filled Dataset; their variable is never guessed.

    Args:
        dataset: What `sgdsm.fill` returns or predict.py writes.
        observed: Name of their variable. By default the one that `sm_filled` names, else the values of `sm_filled`
            where `sm_source` is 1.

    Returns:
        Observed values, (T, H, W) in the order of the dims of `sm_filled`, NaN elsewhere.

    Raises:
        CubeError: Neither attribute nor `sm_source` names them, or no variable of that name fits.
    """
    filled = dataset[SM_FILLED]
    name = filled.attrs.get(OBSERVED_NAME) if observed is None else observed
    # files of before `observed_variable` was written, or with the variable dropped
    if observed is None and name not in dataset.data_vars:
        if SM_SOURCE in dataset:
            return filled.where(dataset[SM_SOURCE] == OBSERVED).rename("observed")
        raise CubeError(
            f"no variable {name!r}, which sm_filled names as observed, and no sm_source: give observed='NAME'"
            if name
            else "nothing says which variable holds the observed values (no attribute "
            f"{OBSERVED_NAME} of sm_filled, no sm_source): give observed='NAME'"
        )
    known = [str(n) for n, v in dataset.data_vars.items() if set(v.dims) == set(filled.dims)]
    if name not in known:
        raise CubeError(
            f"observed={name!r}: expected a variable with the dims of sm_filled{suggest(str(name), known)}; "
            f"there are {', '.join(known)}"
        )
    return dataset[name].transpose(*filled.dims)


def level_of(attributes: Mapping[str, object]) -> float:
    """Return the probability that an interval is to hold the truth with, NaN where its attributes do not say one.

    Args:
        attributes: Of the bound of an interval.
    """
    try:
        level = float(str(attributes.get("level", np.nan)))
    except ValueError:
        return np.nan
    return level if 0 < level < 1 else np.nan
