"""What a filled file holds: its variables, their attributes, and their values for one slab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import CubeError, target_of, uncertainty_of
from sgdsm.core.filled import OBSERVED, OBSERVED_NAME
from sgdsm.core.region import Box
from sgdsm.data.record import day_numbers
from sgdsm.models.uncertainty.error_bars import ErrorBars

NONE, FILLED = 0, 2
BOUNDS = ("sm_std", "sm_lower", "sm_upper")
PARTS = ("sm_std_epistemic", "sm_std_aleatoric")
JUDGED = ("sm_distance", "sm_flag")
OURS = ("sm_filled", *BOUNDS, *PARTS, *JUDGED, "sm_source", "gap_age", "land")
UNLIKE, OLD = 1, 2  # bits of sm_flag

DECOMPOSED = {
    "sm_std_epistemic": "part of the standard deviation that more knowledge would take away,",
    "sm_std_aleatoric": "part of the standard deviation that no knowledge would take away,",
}


@dataclass(frozen=True)
class Layout:
    """Coordinates (values, attributes), variables (dims, dtype, attributes) and attributes of a filled file.

    fixed: what else tells the places, latitudes and longitudes of a projected grid and its CRS (dims, values, attrs).
    """

    coords: dict[str, tuple[np.ndarray, dict[str, Any]]]
    variables: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]]
    attrs: dict[str, Any]
    fixed: dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]


def layout(
    cube: xr.Dataset,
    bars: ErrorBars | None,
    source: str,
    box: Box,
    max_gap_days: int | None = None,
) -> Layout:
    """The layout of the file that fills a box of a cube.

    bars: None where the filler has no uncertainty, and then there are no bounds. source: what filled it, for the
    attribute of that name. max_gap_days: the cap on `gap_age` of what is filled, if there is one.

    Raises CubeError where the target has the name of one of our variables.
    """
    target = target_of(cube)
    name, units = str(target.name), target.attrs.get("units", "1")
    if name in OURS:
        raise CubeError(f"target '{name}' has the name of a variable of the filled file ({', '.join(OURS)}): rename it")
    dims = tuple(str(d) for d in target.dims)
    keep = ("units", "long_name", "standard_name", "comment")
    described = {k: target.attrs[k] for k in keep if k in target.attrs}
    nan = np.float32(np.nan)
    ancillary = "sm_source gap_age" + (" sm_std" if bars is not None else "")
    variables: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {
        name: (dims, np.float32, {"_FillValue": nan, **described}),
        "sm_filled": (
            dims,
            np.float32,
            {
                "_FillValue": nan,
                **described,
                "long_name": f"{described.get('long_name', name)}, gaps filled",
                "ancillary_variables": ancillary,
                OBSERVED_NAME: name,
            },
        ),
    }
    if bars is not None:
        percent = f"{100 * bars.level:g} % interval"
        about = "of the value that the satellite would have reported, its noise included"
        missing = "missing where observed"
        own = (
            missing if uncertainty_of(cube) is None else "where observed from the product's own uncertainty, or missing"
        )
        for bound, long_name in {
            "sm_std": "standard deviation",
            "sm_lower": f"lower bound of the {percent}",
            "sm_upper": f"upper bound of the {percent}",
            **(DECOMPOSED if bars.decomposes else {}),
        }.items():
            extra = {} if bound.startswith("sm_std") else {"level": np.float32(bars.level)}
            told = f"{long_name} {about}; {own if bound in BOUNDS else missing}"
            attrs = {"_FillValue": nan, "units": units, "long_name": told, **extra}
            variables[bound] = (dims, np.float32, attrs)
        if bars.correlation is not None:
            variables["sm_std"][2].update(bars.correlation.attributes())
    if bars is not None and bars.oldest_gap is not None:
        variables["sm_distance"] = (
            dims,
            np.float32,
            {
                "_FillValue": nan,
                "units": "1",
                "long_name": "dissimilarity of the covariates from those of the training values, above 1 unlike them",
            },
        )
        variables["sm_flag"] = (
            dims,
            np.int8,
            {
                "long_name": "why a filled value should be doubted",
                "flag_masks": np.array([UNLIKE, OLD], np.int8),
                "flag_meanings": "covariates_unlike_training gap_older_than_any_tested",
                "comment": f"gaps were tested up to an age of {bars.oldest_gap:g} days",
                "oldest_gap_tested": np.float32(bars.oldest_gap),
            },
        )
    variables["sm_source"] = (
        dims,
        np.int8,
        {
            "long_name": "where sm_filled comes from",
            "flag_values": np.array([NONE, OBSERVED, FILLED], np.int8),
            "flag_meanings": "none observed filled",
        },
    )
    variables["gap_age"] = (
        dims,
        np.int16,
        {
            "_FillValue": np.int16(-1),
            "units": "day",  # the plural would make xarray decode it as a timedelta
            "long_name": "time to the nearest observation of the cell, at most 365",
        },
    )
    variables["land"] = (dims[1:], np.int8, {"units": "1", "long_name": "land cells, which are filled"})
    part = cube.isel(dict(zip(dims, box, strict=True)))
    coords = {dim: coordinate(part, dim) for dim in dims}
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    attrs = {
        "Conventions": "CF-1.10",
        "title": f"{described.get('long_name', name)} with filled gaps",
        "source": source,
        "history": f"{written} gaps filled by sgdsm",
        **({} if max_gap_days is None else {"max_gap_days": max_gap_days}),
    }
    fixed = places(part, dims)
    mapping = target.attrs.get("grid_mapping")
    if mapping in fixed:
        for _, _, described in variables.values():
            described["grid_mapping"] = mapping
    return Layout(coords, variables, attrs, fixed)


def places(cube: xr.Dataset, dims: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
    """Coordinates that are no dimensions and have no time: latitudes, longitudes, the CRS."""
    found = {}
    for name, variable in cube.coords.items():
        space = tuple(str(d) for d in variable.dims)
        if name not in dims and set(space) <= set(dims[1:]) and variable.dtype.kind in "fiu":
            found[str(name)] = space, variable.values, dict(variable.attrs)
    return found


def slab_values(
    names: Mapping[str, Any],
    target: str,
    values: np.ndarray,
    observed: np.ndarray,
    land: np.ndarray,
    gap_age: np.ndarray,
    filled: Mapping[str, np.ndarray],
    uncertainty: np.ndarray | None = None,
    level: float | None = None,
) -> dict[str, np.ndarray]:
    """Values of the variables of a filled file for one box, (T, H, W) each.

    values, observed: of the target. filled: fields of `Filled` that the filler gives, NaN where not estimated.
    uncertainty: of the observed values, NaN where not known. level: of the interval.
    """
    nan = np.float32(np.nan)
    mean = np.where(observed, values, filled.get("mean", nan))
    found = {
        target: np.where(observed, values, nan),
        "sm_filled": mean,
        "sm_source": np.where(observed, OBSERVED, np.where(np.isfinite(mean), FILLED, NONE)).astype(np.int8),
        "gap_age": np.where(observed, np.int16(0), np.where(land, gap_age, np.int16(-1))).astype(np.int16),
    }
    estimates = {f"sm_{name}": values for name, values in filled.items()}
    if "epistemic" in filled and "std" in filled:
        estimates["sm_std_epistemic"] = filled["epistemic"]
        estimates["sm_std_aleatoric"] = np.sqrt(np.maximum(filled["std"] ** 2 - filled["epistemic"] ** 2, 0))
    own = {}
    if uncertainty is not None and level is not None:
        half_width = np.float32(NormalDist().inv_cdf((1 + level) / 2)) * uncertainty
        own = {"sm_std": uncertainty, "sm_lower": values - half_width, "sm_upper": values + half_width}
    for bound in (*BOUNDS, *PARTS, "sm_distance"):
        if bound in names:
            found[bound] = np.where(observed, own.get(bound, nan), estimates.get(bound, nan)).astype(np.float32)
    if "sm_flag" in names and "distance" in filled:
        estimated = ~observed & np.isfinite(mean)
        unlike = estimated & (filled["distance"] > 1)
        old = estimated & (gap_age > names["sm_flag"][2]["oldest_gap_tested"])
        found["sm_flag"] = (UNLIKE * unlike + OLD * old).astype(np.int8)
    return found


def coordinate(cube: xr.Dataset, dim: str) -> tuple[np.ndarray, dict[str, Any]]:
    """Values and CF attributes of a dimension of a file; days since 1970-01-01 for the time."""
    given = {k: v for k, v in cube[dim].attrs.items() if k in ("units", "long_name", "standard_name", "grid_mapping")}
    if dim == "time":
        attrs = {"standard_name": "time", "long_name": "day", "axis": "T"}
        return day_numbers(cube["time"]).astype(np.int32), {
            **attrs,
            "units": "days since 1970-01-01",
            "calendar": "proleptic_gregorian",
        }
    standard = {
        "lat": {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"},
        "lon": {"standard_name": "longitude", "units": "degrees_east", "axis": "X"},
        "y": {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"},
        "x": {"standard_name": "projection_x_coordinate", "units": "m", "axis": "X"},
    }[dim]
    return cube[dim].values.astype(np.float64), {**standard, **given, "axis": standard["axis"]}
