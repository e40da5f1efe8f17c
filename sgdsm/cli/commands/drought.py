"""Tell droughts in a filled file: index, percentile, class, area, events, with figures."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import ever_observed, open_dataset, space_dims
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import LAND, SM_SOURCE, SM_STD, maps_of
from sgdsm.core.io.hdf5 import NetcdfWriter, with_places
from sgdsm.core.io.stores import check_no_input, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.region import period_of
from sgdsm.core.settings import setting
from sgdsm.core.units import moisture_bounds
from sgdsm.evaluation.drought import CLASSES, Bounds, Drought, Event, EventRules, bounds_of, daily
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.standardized_index import DAYS, LARGEST, Fit, Standardization, lowest_empirical
from sgdsm.evaluation.strata import flag_names
from sgdsm.inference.members import members_of_rows
from sgdsm.inference.schema import coordinate, places
from sgdsm.inference.writers import PLAN
from sgdsm.report.drought_figures import drought_figures
from sgdsm.training.run import content_digest

USAGE = "filled=FILE output=FILE.nc [fit=gamma|beta|empirical] [reference=A:B]"
NOTE = "events go to FILE_events.csv, figures to FILE_classes.png, FILE_area.png and FILE_series.png"
NAN = np.float32(np.nan)
MOST_REGIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The filled file, the index, and what counts as an event."""

    filled: str = setting(help="what predict has written, or any file with sm_filled for every day", path=True)
    output: str = setting(help="FILE.nc of the indicators", path=True)
    fit: Fit = setting("gamma", "distribution of each cell and day of the year")
    scale_days: int = setting(30, "the index is of the mean of so many days up to a day")
    half_window_days: int = setting(15, "days before and after a day of the year that its fit takes too")
    reference: str | None = setting(None, "first and last day of the fits, like 1991:2020; by default all")
    least_years: int = setting(10, "of values, for a fit")
    classes: Bounds = setting("ssi", "bounds of the classes: an index of -0.5 to -2, or percentiles of 30 to 2")
    threshold: float = setting(-1.0, "an event has an index at or below it")
    least_days: int = setting(15, "a shorter event is none")
    join_days: int = setting(5, "events at most so many days apart are one")
    regions: str | None = setting(None, "file of a map of regions, for events of each; by default all land", path=True)
    regions_variable: str | None = setting(None, "of regions=, where it has several")
    members: int | None = setting(20, "for the probability of a drought, where the file has uncertainty; null for none")
    seed: int = setting(0, "of the members")
    day: str | None = setting(None, "of the map of classes; by default the driest")
    memory_gib: float = setting(1.0, "for some rows of the file")

    def __post_init__(self) -> None:
        local_only("output", self.output)
        if Path(self.output).suffix != ".nc":
            raise ConfigError(f"output={self.output}: expected a name that ends in .nc")
        check_no_input(self.output, (self.filled, self.regions))
        period_of(self.reference, "reference")
        if self.threshold >= 0:
            raise ConfigError(f"threshold={self.threshold}: expected an index below 0, which is what is usual")
        if self.regions is None and self.regions_variable is not None:
            raise ConfigError(f"regions_variable={self.regions_variable}: only with regions=FILE")


def run(settings: Settings) -> None:
    """Compute the indicators, write them with the events, and draw them."""
    path, output = settings.filled, Path(settings.output)
    with open_dataset(path) as filled:
        try:
            maps = maps_of(filled)
            maps = maps.transpose("time", *space_dims(maps))
            drought, names = _prepared(settings, filled, maps)
            with exclusive(output):
                identity = _identity(settings)
                if output.exists():
                    _check_same(output, identity)
                    print(f"drought: {output} is finished already")
                else:
                    _write(settings, filled, drought, names, identity)
        except CubeError as error:
            raise error if path in str(error) else CubeError(f"filled={path}: {error}") from error
    print(f"indicators: {output}\nevents: {_table(output)}")
    for line in _lines(output):
        print(line)
    for picture in drought_figures(output, _table(output), settings.day):
        print(f"figure: {picture}")


def _table(output: Path) -> Path:
    return output.with_name(f"{output.stem}_events.csv")


def _identity(settings: Settings) -> str:
    """Digest of the settings and of the files that are read."""
    known = {k: v for k, v in asdict(settings).items() if k not in ("output", "memory_gib", "day")}
    files = [content_digest(name) for name in (settings.filled, settings.regions) if name is not None]
    return hashlib.sha256(json.dumps([known, files], sort_keys=True).encode()).hexdigest()[:16]


def _check_same(output: Path, identity: str) -> None:
    with open_dataset(output) as dataset:
        if dataset.attrs.get(PLAN) != identity:
            raise ConfigError(f"output={output} exists and is of other settings or files: remove it, or choose another")


def _prepared(settings: Settings, filled: xr.Dataset, maps: xr.DataArray) -> tuple[Drought, list[str]]:
    """Return what computes the indicators, and the names of the regions."""
    days = daily(maps)
    period = period_of(settings.reference, "reference")
    reference = np.ones(len(days), bool)
    if period is not None:
        reference[:] = False
        reference[filled.indexes["time"].slice_indexer(*(t or None for t in period))] = True
        if not reference.any():
            raise ConfigError(f"reference={settings.reference}: the file has {days[0]} to {days[-1]}")
    if settings.day is not None and settings.day not in days.astype(str):
        raise ConfigError(f"day={settings.day}: expected a day of {days[0]} to {days[-1]}")
    limits = moisture_bounds(maps.attrs.get("units", "1"))
    if settings.fit == "beta" and limits is None:
        raise ConfigError(
            f"fit=beta: sm_filled is in '{maps.attrs.get('units')}', which has no largest value: expected a share, "
            "like 'm3 m-3'; fit=gamma and fit=empirical take others"
        )
    try:
        asked = Standardization(
            days,
            reference,
            settings.fit,
            settings.scale_days,
            settings.half_window_days,
            settings.least_years,
            1.0 if limits is None else limits[1],
        )
    except ConfigError as error:
        raise ConfigError(f"filled={settings.filled}: {error}") from error
    land = filled[LAND].transpose(*maps.dims[1:]).values == 1 if LAND in filled else ever_observed(maps)
    if not land.any():
        raise CubeError("no cell has a value: expected a filled file")
    regions, names = _regions_of(settings, maps, land)
    rules = EventRules(settings.threshold, settings.least_days, settings.join_days)
    source = filled[SM_SOURCE].transpose(*maps.dims) if SM_SOURCE in filled else None
    return Drought(maps, land, asked, rules, bounds_of(settings.classes), source, regions), names


def _regions_of(settings: Settings, maps: xr.DataArray, land: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """Return the number of the region of each cell, (H, W), and the names of the regions."""
    path, name = settings.regions, settings.regions_variable
    if path is None:
        return None, ["all"]
    file = ScoredFile.of(path)
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


def _write(settings: Settings, filled: xr.Dataset, drought: Drought, names: list[str], identity: str) -> None:
    """Write indicators and events beside their places, then rename them."""
    maps, output, days = drought.maps, Path(settings.output), drought.asked.days
    dims = tuple(str(d) for d in maps.dims)
    draw = None
    if settings.members is not None and SM_STD in filled:
        try:
            draw = members_of_rows(filled, settings.members, settings.seed)
        except CubeError as error:
            log.info("no probability of drought: %s", error)
    about_class = _class_attributes("drought class, or a worse one", 1)
    coords = {
        **{dim: coordinate(filled, dim) for dim in dims},
        "class": (np.arange(1, len(CLASSES), dtype=np.int8), about_class),
    }
    fixed = places(maps.to_dataset(), dims)
    variables = with_places(_variables(settings, dims, drought, draw is not None), fixed)
    if maps.attrs.get("grid_mapping") in fixed:
        variables = {
            name: (own, kind, {**about, "grid_mapping": maps.attrs["grid_mapping"]} if dims[1] in own else about)
            for name, (own, kind, about) in variables.items()
        }
    table = _table(output)
    partial, cells, joined = (Path(f"{p}.partial") for p in (output, f"{table}.cells", table))
    try:
        rows = drought.rows_at_once(settings.memory_gib)
        writer = NetcdfWriter(partial, coords, variables, _attributes(settings, filled, identity), rows)
        for name, (_, values, _) in fixed.items():
            writer.write(name, values, (slice(None),) * values.ndim)
        with cells.open("w", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            for band in drought.bands(rows, draw):
                found = {"ssi": band.ssi, "percentile": band.percentile, "drought_class": band.drought_class}
                if band.probability is not None:
                    found["probability_moderate"] = band.probability
                for name, values in found.items():
                    writer.write(name, values, (slice(None), band.rows, slice(None)))
                for *cell, event in band.events:
                    place = [f"{maps[d].values[k]:.6g}" for d, k in zip(dims[1:], cell, strict=True)]
                    lines.writerow(("cell", *place, *_event_row(event, days), ""))
        with joined.open("w", newline="") as file, cells.open(newline="") as others:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(("where", *dims[1:], "begin", "end", "days", "deficit", "peak", "mean_area"))
            for k, event, share in drought.region_events():
                lines.writerow((names[k], "", "", *_event_row(event, days), f"{share:.4f}"))
            shutil.copyfileobj(others, file)
        area = drought.area_under_drought().astype(np.float32)
        if not np.isfinite(area).any():
            raise CubeError(
                f"no cell has an index: none has values of least_years={settings.least_years} years, or all of its "
                "values are alike"
            )
        writer.write("area_under_drought", area, (slice(None), slice(None)))
        writer.write(LAND, drought.land.astype(np.int8), (slice(None), slice(None)))
        for name, value in _reference_attributes(settings, drought).items():
            writer.file["ssi"].attrs[name] = value
        writer.close()
        # the output last: where it is, all is there
        joined.replace(table)
        partial.replace(output)
    finally:
        for left in (partial, cells, joined):
            left.unlink(missing_ok=True)


def _attributes(settings: Settings, filled: xr.Dataset, identity: str) -> dict[str, Any]:
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = str(filled.attrs.get("history", ""))
    return {
        "Conventions": "CF-1.10",
        "title": "drought indicators of soil moisture",
        "source": f"{settings.filled} ({filled.attrs.get('source', 'unknown')})",
        "history": f"{written} sgdsm drought" + (f"\n{before}" if before else ""),
        PLAN: identity,
    }


def _class_attributes(long_name: str, first: int) -> dict[str, Any]:
    return {
        "long_name": long_name,
        "flag_values": np.arange(first, len(CLASSES), dtype=np.int8),
        "flag_meanings": " ".join(CLASSES[first:]),
    }


def _variables(settings: Settings, dims: tuple[str, ...], drought: Drought, has_members: bool) -> dict[str, Any]:
    """Return dims, type and attributes of each variable."""
    index = {
        "_FillValue": NAN,
        "units": "1",
        "long_name": f"standardised soil moisture index, {settings.scale_days} days",
        "fit": settings.fit,
        "scale_days": np.int32(settings.scale_days),
        "half_window_days": np.int32(settings.half_window_days),
        "least_years": np.int32(settings.least_years),
        "comment": f"within {-LARGEST:g} and {LARGEST:g}; 29 February takes the fit of 28 February",
    }
    percentile = {"_FillValue": NAN, "units": "%", "long_name": "percentile of soil moisture for the day of the year"}
    bounds = ", ".join(f"{bound:.3g}" for bound in drought.bounds)
    classes = {
        "_FillValue": np.int8(-1),
        **_class_attributes("drought class", 0),
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
        about["comment"] = f"share of {settings.members} members, seed {settings.seed}; fits are those of sm_filled"
        variables["probability_moderate"] = (dims, np.float32, about)
    return variables


def _reference_attributes(settings: Settings, drought: Drought) -> dict[str, Any]:
    """Return what the fits rest on, as attributes."""
    days = drought.asked.days[drought.asked.reference]
    about: dict[str, Any] = {"reference": f"{days[0]}:{days[-1]}", "reference_values": drought.reference_values}
    if drought.source is not None:
        about["reference_values_filled"] = drought.reference_filled
    if settings.fit == "empirical":
        years, window = round(len(days) / DAYS), 2 * settings.half_window_days + 1
        lowest = lowest_empirical(years * window)
        about["lowest_possible"] = np.float32(lowest)
        about["comment"] = (
            f"ranks of {years * window} values ({years} years, {window} days of each): the index cannot go below "
            f"{lowest:.2f}; 29 February takes the ranks of 28 February"
        )
    return about


def _event_row(event: Event, days: np.ndarray) -> tuple[Any, ...]:
    length = event.last - event.first + 1
    return days[event.first], days[event.last], length, f"{event.deficit:.3f}", f"{event.peak:.3f}"


def _lines(output: Path) -> Iterator[str]:
    """Yield the mean and the largest share of the area for each class."""
    with open_dataset(output) as dataset:
        area = dataset["area_under_drought"].values
    known = area[np.isfinite(area).all(1)]
    for k, name in enumerate(CLASSES[1:]):
        yield f"{name:15} or worse: mean {known[:, k].mean():6.1%} of the area, at most {known[:, k].max():6.1%}"
