"""Drought indicators of a filled Dataset with their attributes; what the command `drought` and `ds.sgdsm` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import ever_observed, space_dims
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import LAND, SM_SOURCE, SM_STD, maps_of
from sgdsm.core.io.hdf5 import with_places
from sgdsm.core.logging import log
from sgdsm.core.memory import check_fits
from sgdsm.core.region import period_of
from sgdsm.core.units import moisture_bounds
from sgdsm.core.words import counted
from sgdsm.evaluation.drought import CLASSES, Band, Bounds, Draw, Drought, EventRules, bounds_of, daily
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.standardized_index import DAYS, LARGEST, Fit, Standardization, lowest_empirical
from sgdsm.evaluation.strata import flag_names
from sgdsm.inference.members import members_of_rows
from sgdsm.inference.schema import coordinate, places

NAN = np.float32(np.nan)
MOST_REGIONS = 1000


@dataclass(frozen=True, kw_only=True)
class DroughtOptions:
    """The index, the classes, and what counts as an event.

    Args:
        fit: Distribution of each cell and day of the year.
        scale_days: The index is of the mean of so many days up to a day.
        half_window_days: Days before and after a day of the year that its fit takes too.
        reference: First and last day of the fits, like '1991:2020'; None for all.
        least_years: Years of values that a fit needs.
        classes: Bounds of the classes: an index of -0.5 to -2 ('ssi'), or percentiles of 30 to 2 ('percentile').
        threshold: An event has an index at or below it.
        least_days: A shorter event is none.
        join_days: Events at most so many days apart are one.
        regions: File or Dataset with a map of regions; None for one region of all land.
        regions_variable: Of `regions`, where it has several maps.
        members: For the probability of a drought, where the filled values have an uncertainty; None for none.
        seed: Of the members.
    """

    fit: Fit = "gamma"
    scale_days: int = 30
    half_window_days: int = 15
    reference: str | slice | None = None
    least_years: int = 10
    classes: Bounds = "ssi"
    threshold: float = -1.0
    least_days: int = 15
    join_days: int = 5
    regions: str | Path | xr.Dataset | None = None
    regions_variable: str | None = None
    members: int | None = 20
    seed: int = 0

    def __post_init__(self) -> None:
        period_of(self.reference, "reference")
        if self.threshold >= 0:
            raise ConfigError(f"threshold={self.threshold}: expected an index below 0, which is what is usual")
        if self.regions is None and self.regions_variable is not None:
            raise ConfigError(f"regions_variable={self.regions_variable}: only with regions=FILE")


def drought_maps(filled: xr.Dataset, options: DroughtOptions) -> xr.Dataset:
    """Return the indicators of a Dataset, in memory.

    Args:
        filled: With `sm_filled` of every day; all of its days and rows are read.
        options: The index and the classes.

    Returns:
        As in `sgdsm.api.drought.drought`.

    Raises:
        CubeError: The Dataset is not a filled one, lacks days, or no cell has values enough.
        ConfigError: Settings that do not go together.
    """
    maps = maps_of(filled)
    maps = maps.transpose("time", *space_dims(maps))
    drought, _ = drought_of(options, filled, maps, "the Dataset")
    advice = "select a region first, or write a file: python -m sgdsm drought"
    check_fits("drought()", 4 * maps.size, advice)
    draw = draw_of(options, filled)
    coords, fixed, described = layout(options, filled, drought, draw is not None)
    sizes = {str(name): len(values) for name, (values, _) in coords.items()}
    values = {
        name: np.zeros([sizes[dim] for dim in dims], kind)
        for name, (dims, kind, _) in described.items()
        if name not in fixed
    }
    for band in drought.bands(drought.rows_at_once(1.0), draw):
        for name, part in maps_of_band(band).items():
            values[name][:, band.rows] = part
    values["area_under_drought"] = area_of(options, drought)
    values[LAND] = drought.land.astype(np.int8)
    described["ssi"][2].update(reference_attributes(options, drought))
    raw = xr.Dataset(
        {
            name: (dims, fixed[name][1] if name in fixed else values[name], about)
            for name, (dims, _, about) in described.items()
        },
        {name: (name, array, about) for name, (array, about) in coords.items()},
        {"title": "drought indicators of soil moisture", "source": str(filled.attrs.get("source", "unknown"))},
    )
    # as a file is read: dates, and NaN where there is no value
    return xr.decode_cf(raw)


def draw_of(options: DroughtOptions, filled: xr.Dataset) -> Draw | None:
    """Return what draws members; None where none are wanted, or the file does not tell how errors are correlated."""
    if options.members is None or SM_STD not in filled:
        return None
    try:
        return members_of_rows(filled, options.members, options.seed)
    except CubeError as error:
        log.info("no probability of drought: %s", error)
        return None


def maps_of_band(band: Band) -> dict[str, np.ndarray]:
    """Return the maps of some rows by name, (T, rows, W)."""
    found = {"ssi": band.ssi, "percentile": band.percentile, "drought_class": band.drought_class}
    return found if band.probability is None else found | {"probability_moderate": band.probability}


def area_of(options: DroughtOptions, drought: Drought) -> np.ndarray:
    """Return the share of the area in each class or a worse one, (T, classes) float32, once all rows are done.

    Raises:
        CubeError: No cell has an index.
    """
    area = drought.area_under_drought().astype(np.float32)
    if not np.isfinite(area).any():
        raise CubeError(
            f"no cell has an index: none has values of least_years={options.least_years} years, or all of its "
            "values are alike"
        )
    return area


def layout(
    options: DroughtOptions, filled: xr.Dataset, drought: Drought, has_members: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return coordinates (values, attributes), what a grid has beside them, and dims, type, attributes of variables."""
    maps = drought.maps
    dims = tuple(str(d) for d in maps.dims)
    about_class = class_attributes("drought class, or a worse one", 1)
    coords = {
        **{dim: coordinate(filled, dim) for dim in dims},
        "class": (np.arange(1, len(CLASSES), dtype=np.int8), about_class),
    }
    fixed = places(maps.to_dataset(), dims)
    described = with_places(_variables(options, dims, drought, has_members), fixed)
    if maps.attrs.get("grid_mapping") in fixed:
        described = {
            name: (own, kind, {**about, "grid_mapping": maps.attrs["grid_mapping"]} if dims[1] in own else about)
            for name, (own, kind, about) in described.items()
        }
    return coords, fixed, described


def drought_of(options: DroughtOptions, filled: xr.Dataset, maps: xr.DataArray, name: str) -> tuple[Drought, list[str]]:
    """Return what computes the indicators, and the names of the regions.

    Args:
        options: The index, the classes and the regions.
        filled: The filled file.
        maps: Its filled values, (T, H, W).
        name: Of the file, for messages.

    Raises:
        CubeError: Days are missing, or there is no value.
        ConfigError: Settings that do not go together, or with the file.
    """
    days = daily(maps)
    period = period_of(options.reference, "reference")
    reference = np.ones(len(days), bool)
    if period is not None:
        reference[:] = False
        reference[filled.indexes["time"].slice_indexer(*(t or None for t in period))] = True
        if not reference.any():
            raise ConfigError(f"reference={options.reference}: the file has {days[0]} to {days[-1]}")
    limits = moisture_bounds(maps.attrs.get("units", "1"))
    if options.fit == "beta" and limits is None:
        raise ConfigError(
            f"fit=beta: sm_filled is in '{maps.attrs.get('units')}', which has no largest value: expected a share, "
            "like 'm3 m-3'; fit=gamma and fit=empirical take others"
        )
    try:
        asked = Standardization(
            days,
            reference,
            options.fit,
            options.scale_days,
            options.half_window_days,
            options.least_years,
            1.0 if limits is None else limits[1],
        )
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    land = filled[LAND].transpose(*maps.dims[1:]).values == 1 if LAND in filled else ever_observed(maps)
    if not land.any():
        raise CubeError("no cell has a value: expected a filled file")
    regions, names = _regions_of(options, maps, land)
    rules = EventRules(options.threshold, options.least_days, options.join_days)
    source = filled[SM_SOURCE].transpose(*maps.dims) if SM_SOURCE in filled else None
    return Drought(maps, land, asked, rules, bounds_of(options.classes), source, regions), names


def _regions_of(options: DroughtOptions, maps: xr.DataArray, land: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """Return the number of the region of each cell, (H, W), and the names of the regions."""
    name = options.regions_variable
    if options.regions is None:
        return None, ["all"]
    file = ScoredFile.of(options.regions)
    path = file.name
    if name is None:
        fitting = [str(n) for n, v in file.dataset.data_vars.items() if v.ndim == 2]
        if len(fitting) != 1:
            raise ConfigError(f"regions={path}: has the maps {', '.join(fitting) or 'none'}: say regions_variable=NAME")
        name = fitting[0]
    found = aligned(file.variable(name), maps.isel(time=0, drop=True), path)
    values = found.values.astype(np.float64)
    classes = np.unique(values[land & np.isfinite(values)])
    if not 1 <= len(classes) <= MOST_REGIONS:
        raise ConfigError(
            f"regions={path}: '{name}' has {len(classes)} different values on land, expected 1 to {MOST_REGIONS} "
            "regions"
        )
    numbers = np.where(np.isin(values, classes), np.searchsorted(classes, values), -1)
    said = flag_names(found.attrs)
    return numbers, [said.get(int(one), f"{one:g}") for one in classes]


def class_attributes(long_name: str, first: int) -> dict[str, Any]:
    """Return attributes that name the classes from a first one on."""
    return {
        "long_name": long_name,
        "flag_values": np.arange(first, len(CLASSES), dtype=np.int8),
        "flag_meanings": " ".join(CLASSES[first:]),
    }


def _variables(options: DroughtOptions, dims: tuple[str, ...], drought: Drought, has_members: bool) -> dict[str, Any]:
    """Return dims, type and attributes of each variable."""
    index = {
        "_FillValue": NAN,
        "units": "1",
        "long_name": f"standardised soil moisture index, {options.scale_days} days",
        "fit": options.fit,
        "scale_days": np.int32(options.scale_days),
        "half_window_days": np.int32(options.half_window_days),
        "least_years": np.int32(options.least_years),
        "comment": f"within {-LARGEST:g} and {LARGEST:g}; 29 February takes the fit of 28 February",
    }
    percentile = {"_FillValue": NAN, "units": "%", "long_name": "percentile of soil moisture for the day of the year"}
    bounds = ", ".join(f"{bound:.3g}" for bound in drought.bounds)
    classes = {
        "_FillValue": np.int8(-1),
        **class_attributes("drought class", 0),
        "comment": f"index at or below {bounds}",
    }
    share = {"_FillValue": NAN, "units": "1", "long_name": "share of the area in a drought class or a worse one"}
    variables: dict[str, Any] = {
        "ssi": (dims, np.float32, index),
        "percentile": (dims, np.float32, percentile),
        "drought_class": (dims, np.int8, classes),
        "area_under_drought": ((dims[0], "class"), np.float32, share),
        LAND: (dims[1:], np.int8, {"units": "1", "long_name": "land cells"}),
    }
    if has_members:
        about = {"_FillValue": NAN, "units": "1", "long_name": "probability of moderate drought or worse"}
        about["comment"] = f"share of {options.members} members, seed {options.seed}; fits are those of sm_filled"
        variables["probability_moderate"] = (dims, np.float32, about)
    return variables


def reference_attributes(options: DroughtOptions, drought: Drought) -> dict[str, Any]:
    """Return what the fits rest on, as attributes."""
    days = drought.asked.days[drought.asked.reference]
    about: dict[str, Any] = {"reference": f"{days[0]}:{days[-1]}", "reference_values": drought.reference_values}
    if drought.source is not None:
        about["reference_values_filled"] = drought.reference_filled
    if options.fit == "empirical":
        years, window = round(len(days) / DAYS), 2 * options.half_window_days + 1
        lowest = lowest_empirical(years * window)
        about["lowest_possible"] = np.float32(lowest)
        about["comment"] = (
            f"ranks of {years * window} values ({counted(years, 'year')}, {counted(window, 'day')} of each): the "
            f"index cannot go below {lowest:.2f}; 29 February takes the ranks of 28 February"
        )
    return about
