"""Tell droughts in a filled file: index, percentile, class, area, events, with figures."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import open_dataset, space_dims
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import LAND, maps_of
from sgdsm.core.io.hdf5 import NetcdfWriter
from sgdsm.core.io.stores import check_no_input, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.evaluation.drought import CLASSES, Bounds, Drought, Event
from sgdsm.evaluation.standardized_index import Fit
from sgdsm.inference.drought_maps import (
    DroughtOptions,
    area_of,
    draw_of,
    drought_of,
    layout,
    maps_of_band,
    reference_attributes,
)
from sgdsm.inference.writers import PLAN
from sgdsm.report.drought_figures import drought_figures
from sgdsm.training.run import content_digest

USAGE = "filled=FILE output=FILE.nc [fit=gamma|beta|empirical] [reference=A:B]"
NOTE = "events go to FILE_events.csv, figures to FILE_classes.png, FILE_area.png and FILE_series.png"


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
        self.options()

    def options(self) -> DroughtOptions:
        """Return the settings that are not about files; ConfigError where they do not go together."""
        return DroughtOptions(**{field.name: getattr(self, field.name) for field in fields(DroughtOptions)})


def run(settings: Settings) -> None:
    """Compute the indicators, write them with the events, and draw them."""
    path, output = settings.filled, Path(settings.output)
    with open_dataset(path) as filled:
        try:
            maps = maps_of(filled)
            maps = maps.transpose("time", *space_dims(maps))
            drought, names = drought_of(settings.options(), filled, maps, f"filled={path}")
            days = drought.asked.days
            if settings.day is not None and settings.day not in days.astype(str):
                raise ConfigError(f"day={settings.day}: expected a day of {days[0]} to {days[-1]}")
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


def _write(settings: Settings, filled: xr.Dataset, drought: Drought, names: list[str], identity: str) -> None:
    """Write indicators and events beside their places, then rename them."""
    maps, output, days = drought.maps, Path(settings.output), drought.asked.days
    options = settings.options()
    draw = draw_of(options, filled)
    coords, fixed, variables = layout(options, filled, drought, draw is not None)
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
                for name, values in maps_of_band(band).items():
                    writer.write(name, values, (slice(None), band.rows, slice(None)))
                for *cell, event in band.events:
                    place = [f"{maps[d].values[k]:.6g}" for d, k in zip(maps.dims[1:], cell, strict=True)]
                    lines.writerow(("cell", *place, *_event_row(event, days), ""))
        with joined.open("w", newline="") as file, cells.open(newline="") as others:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(("where", *maps.dims[1:], "begin", "end", "days", "deficit", "peak", "mean_area"))
            for k, event, share in drought.region_events():
                lines.writerow((names[k], "", "", *_event_row(event, days), f"{share:.4f}"))
            shutil.copyfileobj(others, file)
        writer.write("area_under_drought", area_of(options, drought), (slice(None), slice(None)))
        writer.write(LAND, drought.land.astype(np.int8), (slice(None), slice(None)))
        for name, value in reference_attributes(options, drought).items():
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
