"""Tell droughts in a filled file: index, percentile, class, area, events, with figures."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.arguments import shown
from sgdsm.core.cube import open_dataset, space_dims
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import LAND, SM_SOURCE, SM_STD, maps_of
from sgdsm.core.io.hdf5 import NetcdfWriter, with_places
from sgdsm.core.io.stores import local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.region import period_of
from sgdsm.core.settings import setting
from sgdsm.core.units import moisture_bounds
from sgdsm.evaluation.drought import CLASSES, Drought, Event, EventRules, bounds_of, daily
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.standardized_index import DAYS, FITS, LARGEST, Standardization, lowest_empirical
from sgdsm.inference.members import members_of_rows
from sgdsm.inference.schema import coordinate, places
from sgdsm.inference.writers import PLAN
from sgdsm.report.drought_figures import drought_figures
from sgdsm.training.run import content_digest

USAGE = "filled=FILE output=FILE.nc [fit=gamma|beta|empirical] [reference=A:B]"
NOTE = "events go to FILE_events.csv, figures to FILE_classes.png, FILE_area.png and FILE_series.png"
BOUNDS = ("ssi", "percentile")
NAN = np.float32(np.nan)
MOST_REGIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The filled file, the index, and what counts as an event."""

    filled: str = setting(help="what predict has written, or any file with sm_filled for every day", path=True)
    output: str = setting(help="FILE.nc of the indicators", path=True)
    fit: str = setting("gamma", "distribution of each cell and day of the year: gamma, beta or empirical")
    scale_days: int = setting(30, "the index is of the mean of so many days up to a day")
    half_window_days: int = setting(15, "days before and after a day of the year that its fit takes too")
    reference: str | None = setting(None, "first and last day of the fits, like 1991:2020; by default all")
    least_years: int = setting(10, "of values, for a fit")
    classes: str = setting("ssi", "bounds of the classes: ssi (-0.5 to -2) or percentile (30 to 2)")
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
        for name, known in (("fit", FITS), ("classes", BOUNDS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"{name}={shown(getattr(self, name))}: expected {', '.join(known)}")
        period_of(self.reference, "reference")
        if self.threshold >= 0:
            raise ConfigError(f"threshold={self.threshold}: expected an index below 0, which is what is usual")
        if self.regions is None and self.regions_variable is not None:
            raise ConfigError(f"regions_variable={self.regions_variable}: only with regions=FILE")


def run(settings: Settings) -> None:
    """Compute the indicators, write them with the events, and draw them."""
    output = _output_of(settings.output)
    path = settings.filled
    with open_dataset(path) as filled, exclusive(output):
        try:
            maps = maps_of(filled)
            maps = maps.transpose("time", *space_dims(maps))
            filled = filled.assign(sm_filled=maps)
            drought, names = _prepared(settings, filled, maps)
            identity = _identity(settings)
            if output.exists():
                _check_same(output, identity)
                print(f"drought: {output} is finished already")
                return
            attributes = _attributes(settings, filled, identity)
            events, shares = _write(settings, filled, drought, names, output, attributes)
        except CubeError as error:
            raise error if str(error).startswith(path) else CubeError(f"filled={path}: {error}") from error
    print(f"indicators: {output}\nevents: {_beside(output, '_events.csv')} ({events})")
    for line in shares:
        print(line)
    for picture in drought_figures(output, _beside(output, "_events.csv"), settings.day):
        print(f"figure: {picture}")


def _output_of(named: str) -> Path:
    local_only("output", named)
    output = Path(named)
    if output.suffix != ".nc":
        raise ConfigError(f"output={output}: expected a name ending in .nc")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"output={output}: there is no folder {output.absolute().parent}")
    return output


def _beside(output: Path, ending: str) -> Path:
    return output.with_name(output.stem + ending)


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
        chosen = filled.indexes["time"].slice_indexer(*(t or None for t in period))
        reference[:] = False
        reference[chosen] = True
        if not reference.any():
            raise ConfigError(f"reference={settings.reference}: the file has {days[0]} to {days[-1]}")
    limits = moisture_bounds(maps.attrs.get("units", "1"))
    if settings.fit == "beta" and limits is None:
        raise ConfigError(
            f"fit=beta: sm_filled is in '{maps.attrs.get('units')}', which has no largest value: expected a share, like "
            "'m3 m-3'; fit=gamma and fit=empirical take others"
        )
    try:
        asked = Standardization(
            days,
            reference,
            settings.fit,  # type: ignore[arg-type]
            settings.scale_days,
            settings.half_window_days,
            settings.least_years,
            1.0 if limits is None else limits[1],
        )
    except ConfigError as error:
        raise ConfigError(f"filled={settings.filled}: {error}") from error
    land = filled[LAND].transpose(*maps.dims[1:]).values.astype(bool) if LAND in filled else _ever(maps)
    regions, names = _regions_of(settings, maps, land)
    rules = EventRules(settings.threshold, settings.least_days, settings.join_days)
    source = filled[SM_SOURCE].transpose(*maps.dims) if SM_SOURCE in filled else None
    return Drought(maps, land, asked, rules, bounds_of(settings.classes), source, regions), names


def _ever(maps: xr.DataArray) -> np.ndarray:
    """Return the cells with a value on the last day, (H, W) bool: the file is filled, but does not say what is land."""
    return np.isfinite(maps[-1].values)


def _regions_of(settings: Settings, maps: xr.DataArray, land: np.ndarray) -> tuple[np.ndarray | None, list[str]]:
    """Return the number of the region of each cell, (H, W), and the names of the regions."""
    if settings.regions is None:
        return None, ["all"]
    file = ScoredFile.of(settings.regions)
    space = [str(d) for d in maps.dims[1:]]
    named = settings.regions_variable
    if named is None:
        fitting = [str(n) for n, v in file.dataset.data_vars.items() if v.ndim == 2]
        if len(fitting) != 1:
            raise ConfigError(
                f"regions={settings.regions}: has the maps {', '.join(fitting) or 'none'}: say regions_variable=NAME"
            )
        named = fitting[0]
    found = aligned(file.variable(named), maps[0].drop_vars("time"), settings.regions)
    values = found.transpose(*space).values.astype(np.float64)
    classes = np.unique(values[land & np.isfinite(values)])
    if not 1 <= len(classes) <= MOST_REGIONS:
        raise ConfigError(
            f"regions={settings.regions}: '{named}' has {len(classes)} different values on land, expected 1 to "
            f"{MOST_REGIONS} regions"
        )
    numbers = np.where(np.isin(values, classes), np.searchsorted(classes, values), -1)
    meanings = str(found.attrs.get("flag_meanings", "")).split()
    said = dict(zip(np.atleast_1d(found.attrs.get("flag_values", [])).tolist(), meanings, strict=False))
    return numbers, [said.get(one, f"{one:g}") for one in classes.tolist()]


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


def _write(
    settings: Settings,
    filled: xr.Dataset,
    drought: Drought,
    names: list[str],
    output: Path,
    attributes: Mapping[str, Any],
) -> tuple[str, list[str]]:
    """Write indicators and events beside their places, then rename them; return the numbers of both in words."""
    maps = drought.maps
    dims = tuple(str(d) for d in maps.dims)
    draw = None
    if settings.members is not None and SM_STD in filled:
        try:
            draw = members_of_rows(filled, settings.members, settings.seed)
        except CubeError as error:
            log.info("no probability of drought: %s", error)
    coords = {dim: coordinate(filled, dim) for dim in dims}
    coords["class"] = np.arange(1, len(CLASSES), dtype=np.int8), _class_attributes("drought class, or a worse one", 1)
    fixed = places(filled[["sm_filled"]], dims)
    variables = with_places(_variables(settings, dims, drought, draw is not None), fixed)
    mapping = maps.attrs.get("grid_mapping")
    if mapping in fixed:
        for _, _, about in variables.values():
            about["grid_mapping"] = mapping  # type: ignore[index]
    partial, table = Path(f"{output}.partial"), _beside(output, "_events.csv")
    cells = Path(f"{table}.cells.partial")
    count = 0
    try:
        writer = NetcdfWriter(partial, coords, variables, attributes)
        with cells.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            for name, (_, values, _) in fixed.items():
                writer.write(name, values, (slice(None),) * values.ndim)
            for band in drought.bands(settings.memory_gib, draw):
                region = (slice(None), band.rows, slice(None))
                found = {"ssi": band.index, "percentile": band.percentile, "drought_class": band.drought_class}
                if band.probability is not None:
                    found["probability_moderate"] = band.probability
                for name, values in found.items():
                    writer.write(name, values, region)
                for row, column, event in band.events:
                    rows.writerow(_event_row("cell", _place(maps, row, column), event, drought.asked.days))
                    count += 1
            area = drought.area_under_drought()
            writer.write("area_under_drought", area.astype(np.float32), (slice(None), slice(None)))
            writer.write(LAND, drought.land.astype(np.int8), (slice(None), slice(None)))
            for name, value in _reference_attributes(settings, drought).items():
                writer.file["ssi"].attrs[name] = value
        writer.close()
        of_regions = drought.region_events()
        _join_events(table, cells, maps, [
            _event_row(names[k], ("", ""), event, drought.asked.days, share) for k, event, share in of_regions
        ])  # fmt: skip
        partial.replace(output)
    finally:
        for left in (partial, cells):
            left.unlink(missing_ok=True)
    return f"{len(of_regions)} of regions, {count} of cells", list(_area_lines(area))


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
    bounds = ", ".join(f"{bound:.3g}" for bound in drought.bounds)
    classes = {
        "_FillValue": np.int8(-1),
        **_class_attributes("drought class", 0),
        "comment": f"index at or below {bounds}",
    }
    variables: dict[str, Any] = {
        "ssi": (dims, np.float32, index),
        "percentile": (
            dims,
            np.float32,
            {"_FillValue": NAN, "units": "%", "long_name": "percentile of soil moisture for the day of the year"},
        ),
        "drought_class": (dims, np.int8, classes),
    }
    if has_members:
        about = {"_FillValue": NAN, "units": "1", "long_name": "probability of moderate drought or worse"}
        about["comment"] = f"share of {settings.members} members, seed {settings.seed}; fits are those of sm_filled"
        variables["probability_moderate"] = (dims, np.float32, about)
    share = {"_FillValue": NAN, "units": "1", "long_name": "share of the area in a drought class or a worse one"}
    variables["area_under_drought"] = ((dims[0], "class"), np.float32, share)
    variables[LAND] = (dims[1:], np.int8, {"units": "1", "long_name": "land cells"})
    return variables


def _reference_attributes(settings: Settings, drought: Drought) -> dict[str, Any]:
    """Return what the fits rest on, as attributes."""
    days = drought.asked.days[drought.asked.reference]
    about: dict[str, Any] = {
        "reference": f"{days[0]}:{days[-1]}",
        "reference_values": drought.reference_values,
    }
    if drought.source is not None:
        about["reference_values_filled"] = drought.reference_filled
    if settings.fit == "empirical":
        years = round(len(days) / DAYS)
        number = years * (2 * settings.half_window_days + 1)
        about["lowest_possible"] = np.float32(lowest_empirical(number))
        about["comment"] = (
            f"ranks of {number} values ({years} years, {2 * settings.half_window_days + 1} days of each): the index "
            f"cannot go below {lowest_empirical(number):.2f}; 29 February takes the ranks of 28 February"
        )
    return about


def _place(maps: xr.DataArray, row: int, column: int) -> tuple[str, str]:
    return tuple(f"{maps[d].values[k]:.6g}" for d, k in zip(maps.dims[1:], (row, column), strict=True))  # type: ignore[return-value]


def _event_row(
    where: str, place: tuple[str, str], event: Event, days: np.ndarray, share: float | None = None
) -> tuple[Any, ...]:
    begin, end = days[event.first], days[event.last]
    numbers = f"{event.deficit:.3f}", f"{event.peak:.3f}", "" if share is None else f"{share:.4f}"
    return (where, *place, begin, end, event.last - event.first + 1, *numbers)


def _join_events(table: Path, cells: Path, maps: xr.DataArray, of_regions: list[tuple[Any, ...]]) -> None:
    """Write the table: events of regions first, then those of cells."""
    partial = Path(f"{table}.partial")
    try:
        with partial.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(("where", *maps.dims[1:], "begin", "end", "days", "deficit", "peak", "mean_area"))
            rows.writerows(of_regions)
            with cells.open(newline="") as others:
                shutil.copyfileobj(others, file)
        partial.replace(table)
    finally:
        partial.unlink(missing_ok=True)


def _area_lines(area: np.ndarray) -> Iterator[str]:
    """Yield the mean and the largest share of the area for each class."""
    known = area[np.isfinite(area).all(1)]
    for k, name in enumerate(CLASSES[1:]):
        if len(known):
            yield f"{name:15} or worse: mean {known[:, k].mean():6.1%} of the area, at most {known[:, k].max():6.1%}"
