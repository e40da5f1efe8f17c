"""The filled file: its variables, their attributes, and their values for one slab."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sgdsm.core.cube import target_of, uncertainty_of
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import (
    CAUSAL,
    COVARIATES,
    FILLED,
    GAP_AGE,
    LAND,
    NONE,
    OBSERVED,
    OBSERVED_NAME,
    SM_DISTANCE,
    SM_FILLED,
    SM_FLAG,
    SM_LOWER,
    SM_SOURCE,
    SM_STD,
    SM_STD_ALEATORIC,
    SM_STD_EPISTEMIC,
    SM_UPPER,
)
from sgdsm.core.region import Box
from sgdsm.data.record import day_numbers
from sgdsm.models.uncertainty.error_bars import ErrorBars

BOUNDS = (SM_STD, SM_LOWER, SM_UPPER)
PARTS = (SM_STD_EPISTEMIC, SM_STD_ALEATORIC)
OURS = (SM_FILLED, *BOUNDS, *PARTS, SM_DISTANCE, SM_FLAG, SM_SOURCE, GAP_AGE, LAND)
UNLIKE, OLD = 1, 2  # bits of sm_flag
KEPT = ("units", "long_name", "standard_name", "comment")  # attributes of the target that the file keeps
NAN = np.float32(np.nan)

DECOMPOSED = {
    SM_STD_EPISTEMIC: "part of the standard deviation that more knowledge would take away,",
    SM_STD_ALEATORIC: "part of the standard deviation that no knowledge would take away,",
}

Variable = tuple[tuple[str, ...], Any, dict[str, Any]]  # dims, dtype, attributes


@dataclass(frozen=True)
class Layout:
    """Layout of a filled file.

    Args:
        coords: Dimension -> values and attributes.
        variables: Name -> dims, dtype and attributes.
        attrs: Attributes of the file.
        fixed: Name -> dims, values and attributes of the other coordinates: latitudes and longitudes of a projected
            grid, and its CRS.
    """

    coords: dict[str, tuple[np.ndarray, dict[str, Any]]]
    variables: dict[str, Variable]
    attrs: dict[str, Any]
    fixed: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]


def layout(
    cube: xr.Dataset,
    bars: ErrorBars | None,
    source: str,
    box: Box,
    max_gap_days: int | None = None,
    covariates: Mapping[str, str] | None = None,
    causal: bool = False,
) -> Layout:
    """Return the layout of the file that fills a box of a cube.

    Args:
        cube: The cube that is filled.
        bars: Uncertainties of the filler; None if it gives none, and then the file has no bounds.
        source: What filled the cube, for the attribute of that name.
        box: The part of the cube that is filled.
        max_gap_days: The cap on `gap_age` of filled values, days, if there is one.
        covariates: Names of the dynamic covariates that the filler used and their products, '' where not known.
        causal: True if nothing after a day was looked at.

    Returns:
        The layout; its coordinates are those of the box.

    Raises:
        CubeError: When the target has the name of one of our variables.
    """
    target = target_of(cube)
    name = str(target.name)
    # the target keeps its own name in the file
    if name in OURS:
        raise CubeError(f"target '{name}' has the name of a variable of the filled file ({', '.join(OURS)}): rename it")
    # time first, then rows and columns
    dims = tuple(str(d) for d in target.dims)
    kept = {k: target.attrs[k] for k in KEPT if k in target.attrs}
    long_name = kept.get("long_name", name)
    filled_attrs = {
        "_FillValue": NAN,
        **kept,
        "long_name": f"{long_name}, gaps filled",
        "ancillary_variables": f"{SM_SOURCE} {GAP_AGE}" + (f" {SM_STD}" if bars is not None else ""),
        OBSERVED_NAME: name,
    }
    variables: dict[str, Variable] = {
        name: (dims, np.float32, {"_FillValue": NAN, **kept}),
        SM_FILLED: (dims, np.float32, filled_attrs),
    }
    if bars is not None:
        units = target.attrs.get("units", "1")
        variables |= _uncertainty_variables(bars, dims, units, uncertainty_of(cube) is not None)
    variables |= _state_variables(dims)
    if causal:
        variables[GAP_AGE][2]["long_name"] = "time since the last observation of the cell, at most 365"
    # coordinates of the box; the cells around it are read but not written
    part = cube.isel(dict(zip(dims, box, strict=True)))
    coords = {dim: coordinate(part, dim) for dim in dims}
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attrs = {
        "Conventions": "CF-1.10",
        "title": f"{long_name} with filled gaps",
        "source": source,
        "history": f"{written} gaps filled by sgdsm",
        COVARIATES: json.dumps(dict(covariates or {})),
        **({} if max_gap_days is None else {"max_gap_days": max_gap_days}),
        **({CAUSAL: "each day from that day and earlier ones alone"} if causal else {}),
    }
    fixed = places(part, dims)
    mapping = target.attrs.get("grid_mapping")
    if mapping in fixed:
        for _, _, variable_attrs in variables.values():
            variable_attrs["grid_mapping"] = mapping
    return Layout(coords, variables, attrs, fixed)


def _uncertainty_variables(
    bars: ErrorBars, dims: tuple[str, ...], units: str, product_has_uncertainty: bool
) -> dict[str, Variable]:
    """Describe standard deviation, bounds and, where the filler gives them, their parts, distance and flag."""
    percent = f"{100 * bars.level:g} % interval"
    about = "of the value that the satellite would have reported, its noise included"
    missing = "missing where observed"
    observed = "where observed from the product's own uncertainty, or missing" if product_has_uncertainty else missing
    variables: dict[str, Variable] = {}
    for name, long_name in {
        SM_STD: "standard deviation",
        SM_LOWER: f"lower bound of the {percent}",
        SM_UPPER: f"upper bound of the {percent}",
        **(DECOMPOSED if bars.decomposes else {}),
    }.items():
        level = {"level": np.float32(bars.level)} if name in (SM_LOWER, SM_UPPER) else {}
        text = f"{long_name} {about}; {observed if name in BOUNDS else missing}"
        variables[name] = (dims, np.float32, {"_FillValue": NAN, "units": units, "long_name": text, **level})
    if bars.correlation is not None:
        # from these `sgdsm.members` draws maps whose errors are correlated
        variables[SM_STD][2].update(bars.correlation.attributes())
    if bars.oldest_gap is not None:
        distance = {
            "_FillValue": NAN,
            "units": "1",
            "long_name": "dissimilarity of the covariates from those of the training values, above 1 unlike them",
        }
        flag = {
            "long_name": "why a filled value should be doubted",
            "flag_masks": np.array([UNLIKE, OLD], np.int8),
            "flag_meanings": "covariates_unlike_training gap_older_than_any_tested",
            "comment": f"gaps were tested up to an age of {bars.oldest_gap:g} days",
            "oldest_gap_tested": np.float32(bars.oldest_gap),
        }
        variables |= {SM_DISTANCE: (dims, np.float32, distance), SM_FLAG: (dims, np.int8, flag)}
    return variables


def _state_variables(dims: tuple[str, ...]) -> dict[str, Variable]:
    """Describe the source of each value, the age of each gap, and land."""
    source = {
        "long_name": "where sm_filled comes from",
        "flag_values": np.array([NONE, OBSERVED, FILLED], np.int8),
        "flag_meanings": "none observed filled",
    }
    age = {
        "_FillValue": np.int16(-1),
        "units": "day",  # the plural would make xarray decode it as a timedelta
        "long_name": "time to the nearest observation of the cell, at most 365",
    }
    return {
        SM_SOURCE: (dims, np.int8, source),
        GAP_AGE: (dims, np.int16, age),
        LAND: (dims[1:], np.int8, {"units": "1", "long_name": "land cells, which are filled"}),
    }


def places(cube: xr.Dataset, dims: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
    """Return the coordinates that are no dimensions and have no time: latitudes, longitudes, the CRS.

    Args:
        cube: A cube.
        dims: Its dimensions, the time first.

    Returns:
        Name -> dims, values and attributes.
    """
    fixed = {}
    for name, variable in cube.coords.items():
        space = tuple(str(d) for d in variable.dims)
        if name not in dims and set(space) <= set(dims[1:]) and variable.dtype.kind in "fiu":
            fixed[str(name)] = space, variable.values, dict(variable.attrs)
    return fixed


def slab_values(
    variables: Mapping[str, Variable],
    target: str,
    *,
    values: Tensor,
    observed: Tensor,
    land: Tensor,
    gap_age: Tensor,
    filled: Mapping[str, Tensor],
    uncertainty: Tensor | None = None,
    level: float | None = None,
) -> dict[str, Tensor]:
    """Return the values of the variables of a filled file for some cells, on the device of the arguments.

    Args:
        variables: Variables of the layout.
        target: Name of the target.
        values: Values of the target, NaN where not observed, (T, N), in its units.
        observed: Where the target is observed, (T, N) bool.
        land: Land cells, (N,) bool.
        gap_age: Time to the nearest observation of the cell, (T, N) int16, days.
        filled: Fields of `Filled` that the filler gives, (T, N) each, NaN where not estimated.
        uncertainty: Standard deviation of the observed values by the product, (T, N), NaN where not known.
        level: Nominal coverage of the interval, "1".

    Returns:
        Name -> values, (T, N) each.
    """
    # a slab without a gap has no estimates
    nothing = torch.full_like(values, torch.nan)
    # observed values come through unchanged
    mean = torch.where(observed, values, filled.get("mean", nothing))
    known = mean.isfinite()
    slab = {
        target: values,
        SM_FILLED: mean,
        # observed is 1, filled 2, none 0
        SM_SOURCE: FILLED * known.to(torch.int8) - (FILLED - OBSERVED) * observed.to(torch.int8),
        # the age where nothing is seen off land is no age
        GAP_AGE: torch.where(observed, 0, torch.where(land, gap_age, -1)),
    }
    estimates = {f"sm_{name}": estimate for name, estimate in filled.items()}
    if "epistemic" in filled and "std" in filled:
        estimates[SM_STD_EPISTEMIC] = filled["epistemic"]
        # the variances of the two parts add up to the whole
        estimates[SM_STD_ALEATORIC] = (filled["std"] ** 2 - filled["epistemic"] ** 2).clamp_(min=0).sqrt_()
    of_product = {}
    if uncertainty is not None and level is not None:
        # the product gives a standard deviation alone: its interval is that of a Gaussian
        half_width = NormalDist().inv_cdf((1 + level) / 2) * uncertainty
        of_product = {SM_STD: uncertainty, SM_LOWER: values - half_width, SM_UPPER: values + half_width}
    for name in (*BOUNDS, *PARTS, SM_DISTANCE):
        if name in variables:
            # estimates are NaN where observed
            own, estimate = of_product.get(name), estimates.get(name, nothing)
            slab[name] = estimate if own is None else torch.where(observed, own, estimate)
    if SM_FLAG in variables and "distance" in filled:
        # flags are for estimates only
        estimated = known & ~observed
        unlike = estimated & (filled["distance"] > 1)
        old = estimated & (gap_age > float(variables[SM_FLAG][2]["oldest_gap_tested"]))
        slab[SM_FLAG] = UNLIKE * unlike.to(torch.int8) + OLD * old.to(torch.int8)
    return slab


def coordinate(cube: xr.Dataset, dim: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Return values and CF attributes of a dimension of a file.

    Args:
        cube: A cube.
        dim: 'time', 'lat', 'lon', 'y' or 'x'.

    Returns:
        Values, (N,): days since 1970-01-01 (int32) for the time, else float64; and attributes.
    """
    given = {k: v for k, v in cube[dim].attrs.items() if k in ("units", "long_name", "standard_name", "grid_mapping")}
    if dim == "time":
        attrs = {"standard_name": "time", "long_name": "day", "axis": "T"}
        return day_numbers(cube["time"]).astype(np.int32), {
            **attrs,
            "units": "days since 1970-01-01",
            "calendar": "proleptic_gregorian",
        }
    # names and units by the CF conventions, whatever the input file had
    standard = {
        "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
        "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
        "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
        "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
    }[dim]
    return cube[dim].values.astype(np.float64), {**standard, **given, "axis": standard["axis"]}
