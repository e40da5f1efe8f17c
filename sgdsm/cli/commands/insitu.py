"""Compare a filled file with stations, on observed and on filled days apart."""

from __future__ import annotations

import csv
import inspect
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from sgdsm.api.insitu import LEAST_FITTED, MAPS, projection_of, reader_of
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError, SgdsmError
from sgdsm.core.filled import SM_FILLED, observed_of
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.settings import setting
from sgdsm.evaluation.insitu import METRICS, WITH_INTERVAL, InSitu, compare, format_summary, left_out, summary
from sgdsm.evaluation.station_matching import matched, scaled, with_dense_cells
from sgdsm.report.insitu_figures import insitu_figures
from sgdsm.sources.readers.files import find_files, products
from sgdsm.training.run import file_stamp

USAGE = "filled=FILE stations=PATH|simulate output=FOLDER [reader=..] [reasons=CUBE] [scale=..]"
NOTE = "intervals are those of moving blocks of days; the table and all figures go to the folder"
SIMULATE = "simulate"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The filled file, the stations, and how they are compared."""

    filled: str = setting(help="a filled file, ours or of others", path=True)
    stations: str = setting(
        help="file or folder of stations, or simulate: a network in the built-in world that the file fills", path=True
    )
    output: str = setting(help="folder of the tables and figures", path=True)
    reader: str | None = setting(
        None, "ismn, station_csv, station_netcdf, uscrn or scan; by default by the ending of the file"
    )
    depth_m: list[float] | None = setting(None, "shallowest and deepest depth of a sensor, m, like [0,0.1]")
    flags: list[str] | None = setting(None, "of ISMN: quality flags of readings that are used, by default [G]")
    options: dict[str, Any] | None = setting(
        None, "others of the reader, like options={sm: theta} for the name of a column"
    )
    estimate: str = setting(SM_FILLED, "variable that is compared")
    observed: str | None = setting(
        None, "variable whose finite values say which days were observed, where there is no sm_source"
    )
    reasons: str | None = setting(None, "the cube that was filled, whose sm_reason splits the filled days", path=True)
    classes: str | None = setting(None, "FILE:VARIABLE, a map of classes (land cover, climate)", path=True)
    least: int = setting(100, "fewest pairs of a station in a subset of days; 10 is that of QA4SM")
    scale: Literal["none", "mean_std", "cdf"] = setting(
        "none", "of the product to each station, fitted on observed days only"
    )
    max_distance_km: float | None = setting(
        None, "largest distance to the centre of the nearest cell, in place of the cell that holds the station"
    )
    frozen_below: float | None = setting(None, "degC: colder soil is left out, where the station measures it")
    overpass_hour: float | None = setting(None, "local solar hour around which readings count; null: the UTC day")
    window_hours: float = setting(12.0, "length of the window around it")
    least_readings: int = setting(6, "fewest readings a day, of a station that reads every three hours or more often")
    dense: int = setting(5, "stations of a cell whose mean is compared too")
    anomaly_days: int = setting(35, "window of the mean that anomalies are counted from")
    block_days: int = setting(60, "length of the blocks of days that are resampled")
    draws: int = setting(500, "resampled series, for the intervals")
    seed: int = setting(0, "of the draws and of simulated stations")
    world_seed: int = setting(0, "stations=simulate: data.seed of the built-in world")
    figures: bool = setting(True, "draw the figures")

    def __post_init__(self) -> None:
        known = [name for name in products() if name in ("ismn", "scan", "uscrn") or name.startswith("station_")]
        if self.reader is not None and self.reader not in known:
            raise ConfigError(f"reader={self.reader}: expected one of {', '.join(known)}")
        if self.depth_m is not None and (len(self.depth_m) != 2 or not 0 <= self.depth_m[0] <= self.depth_m[1]):
            raise ConfigError(f"depth_m={self.depth_m}: expected two depths in m, the smaller one first")
        if self.classes is not None and not all(self.classes.rpartition(":")[::2]):
            raise ConfigError(f"classes={self.classes}: expected FILE:VARIABLE")
        if self.max_distance_km is not None and self.max_distance_km <= 0:
            raise ConfigError(f"max_distance_km={self.max_distance_km}: expected more than 0")
        for name, least in (("least", 3), ("dense", 2), ("anomaly_days", 3), ("draws", 20), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)}: expected at least {least}")


def run(settings: Settings) -> None:
    """Match, score, print, write and draw."""
    output = Path(settings.output)
    if output.is_file():
        raise ConfigError(f"output={output}: a file; expected a folder")
    with exclusive(output):
        _run(settings, output)


def _run(settings: Settings, output: Path) -> None:
    with open_dataset(settings.filled) as product:
        world = _world(settings, product) if settings.stations == SIMULATE else None
        stations = _stations(settings, world, output)
        result = _compared(settings, product, stations, world)
    rows = summary(result)
    lost = left_out(result)
    if not rows:
        raise CubeError(f"filled={settings.filled}: no station has {settings.least} pairs: {_lost(lost)}")
    output.mkdir(parents=True, exist_ok=True)
    write_table(result, output / "stations.csv")
    _write_rows(rows, output / "summary.csv")
    write_netcdf(result, output / "stations.nc", _about(settings))
    text = "\n".join([_head(settings, result), "", format_summary(rows)])
    if lost:
        text += f"\n\nleft out: {_lost(lost)}"
    _replace_text(output / "table.txt", text + "\n")
    print(text)
    print(f"\ntables: {output / 'stations.csv'}, {output / 'stations.nc'}, {output / 'summary.csv'}")
    if settings.figures:
        made = insitu_figures(result, output, str(result.pairs.attrs["units"]))
        print(f"figures: {', '.join(str(path) for path in made)}")


def _compared(settings: Settings, product: xr.Dataset, stations: xr.Dataset, world: xr.Dataset | None) -> InSitu:
    # of the built-in world the reasons are known
    reasons = world if settings.reasons is None else open_dataset(settings.reasons)
    if reasons is not None and "sm_reason" not in reasons:
        raise CubeError(f"reasons={settings.reasons}: no variable 'sm_reason', expected a cube of prepare or simulate")
    if settings.estimate not in product:
        there = ", ".join(map(str, product.data_vars)) or "none"
        raise CubeError(
            f"filled={settings.filled}: no variable '{settings.estimate}'; there are {there}: estimate=NAME"
        )
    frozen = settings.frozen_below
    if frozen is not None and "soil_temperature" not in stations:
        raise ConfigError(f"frozen_below={frozen:g}: the stations of {settings.stations} have no soil temperature")
    pairs = matched(
        product,
        stations,
        estimate=settings.estimate,
        observed=settings.observed,
        reasons=reasons,
        classes=_classes(settings.classes),
        max_distance_km=settings.max_distance_km,
        frozen_below=frozen,
        projection=projection_of(product),
        any_units=settings.scale != "none",
        name=f"filled={settings.filled}",
    )
    pairs = with_dense_cells(pairs, settings.dense)
    if settings.scale != "none":
        pairs = scaled(pairs, partial(MAPS[settings.scale], least_values=LEAST_FITTED))
    return compare(
        pairs,
        least=settings.least,
        anomaly_days=settings.anomaly_days,
        block_days=settings.block_days,
        draws=settings.draws,
        seed=settings.seed,
    )


def _stations(settings: Settings, world: xr.Dataset | None, output: Path) -> xr.Dataset:
    """Return the stations; simulated ones are written as files first, and read as any others."""
    path, reader = settings.stations, settings.reader
    if world is not None:
        if reader not in (None, "ismn", "station_csv"):
            raise ConfigError(f"reader={reader}: stations=simulate writes files for ismn and station_csv")
        path = str(_written(world, settings.seed, output / "stations", "csv" if reader == "station_csv" else "zip"))
    reader = reader or reader_of(path)
    parameters = inspect.signature(import_module(f"sgdsm.sources.products.{reader}").files).parameters
    options: dict[str, Any] = dict(settings.options or {})
    for name in ("depth_m", "flags", "overpass_hour"):
        if getattr(settings, name) is not None:
            options[name] = getattr(settings, name)
    # a product of days has no readings to choose from
    for name in ("window_hours", "least_readings"):
        if name in parameters:
            options.setdefault(name, getattr(settings, name))
    if reader == "station_csv" and isinstance(options.get("depth_m"), list):
        raise ConfigError("depth_m= chooses among depths, a table has one: options={depth_m: 0.05} says which")
    if settings.frozen_below is not None and "frozen_below" in parameters:
        # the one that is asked for, not the reader's own
        options["frozen_below"] = settings.frozen_below
    try:
        return find_files(reader, path, **options).open()
    except ImportError as error:
        raise ConfigError(f"reader={reader} needs more: pip install 'sgdsm[products]' ({error})") from error
    except SgdsmError as error:
        text = str(error)
        raise type(error)(text if text.startswith(("stations=", path)) else f"stations={path}: {text}") from error


def _world(settings: Settings, product: xr.Dataset) -> xr.Dataset:
    """Return the built-in world that the file fills, made again from its seed."""
    from sgdsm.sources.simulation.stations import world_like

    if not {"lat", "lon", "time"} <= set(product.dims) or SM_FILLED not in product:
        raise ConfigError(f"stations=simulate: filled={settings.filled} is no filled file of the built-in world")
    seed = settings.world_seed
    world = world_like(product["lat"].values, product["lon"].values, product["time"].values, seed)
    observed = observed_of(product, settings.observed).transpose("time", "lat", "lon").values
    if not np.array_equal(observed.astype(np.float32), world["sm"].values, equal_nan=True):
        raise ConfigError(
            f"stations=simulate: the observed values of filled={settings.filled} are not those of the built-in world "
            f"with data.seed={seed}: stations of another world would be compared with it (world_seed=)"
        )
    return world


def _written(world: xr.Dataset, seed: int, folder: Path, kind: str) -> Path:
    """Write simulated stations as archive and as table; return the one of a kind."""
    from sgdsm.sources.simulation.stations import simulated_stations, write_csv, write_ismn

    stations = simulated_stations(world, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_ismn(stations, folder / "simulated.zip")
    write_csv(stations, folder / "simulated.csv")
    log.info("simulated stations: %s and .csv", folder / "simulated.zip")
    return folder / f"simulated.{kind}"


def _classes(words: str | None) -> xr.DataArray | None:
    if words is None:
        return None
    path, _, name = words.rpartition(":")
    with open_dataset(path) as file:
        if name not in file:
            raise CubeError(f"classes={path}: no variable '{name}'; there are {', '.join(map(str, file.data_vars))}")
        return file[name].load()


def _head(settings: Settings, result: InSitu) -> str:
    scale = settings.scale
    fitted = (
        ""
        if scale == "none"
        else f"; the product is scaled to each station ({scale}), fitted on the scored observed days"
    )
    place = (
        "stations in their cell"
        if settings.max_distance_km is None
        else f"stations within {settings.max_distance_km:g} km of the centre of the nearest cell"
    )
    days = result.pairs["time"].values
    used = int((result.table["status"] == 0).any("subset").sum())
    frozen = "" if settings.frozen_below is None else f"; soil at or below {settings.frozen_below:g} degC left out"
    return (
        f"{settings.estimate} of {settings.filled}, {str(days[0])[:10]} to {str(days[-1])[:10]}: {used} series, "
        f"{place}, at least {settings.least} pairs{frozen}{fitted}\nintervals: 95 %, moving blocks of "
        f"{settings.block_days} days within stations, resampled stations for medians; N is the median of the stations"
    )


def _lost(lost: dict[str, list[str]]) -> str:
    return "; ".join(
        f"{reason.replace('_', ' ')} {len(names)} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for reason, names in lost.items()
    )


def _about(settings: Settings) -> dict[str, Any]:
    """Return the attributes of the file: what was compared, and how."""
    written = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about: dict[str, Any] = {
        "Conventions": "CF-1.10",
        "title": f"{settings.estimate} beside stations",
        "source": f"{settings.filled} ({file_stamp(settings.filled)}) and {settings.stations}",
        "history": f"{written} sgdsm insitu",
        "comment": "bias is product minus station; intervals are those of moving blocks of days within a station",
    }
    names = (
        "reader", "depth_m", "flags", "least", "scale", "max_distance_km", "frozen_below", "overpass_hour",
        "window_hours", "least_readings", "anomaly_days", "block_days", "draws", "seed",
    )  # fmt: skip
    given = {name: getattr(settings, name) for name in names}
    return about | {name: value for name, value in given.items() if value is not None}


def write_netcdf(result: InSitu, path: Path, about: dict[str, Any]) -> None:
    """Write the metrics of the stations, dims (station, subset); the file appears when it is complete."""
    partial_path = Path(f"{path}.partial")
    table = result.table.assign_attrs(about)
    units = result.pairs.attrs["units"]
    if units != "m3 m-3":
        for name in ("rmsd", "ubrmsd", "ubrmsd_anomaly", "mae", "bias"):
            table[name].attrs["units"] = units
    table.to_netcdf(partial_path, engine="netcdf4")
    partial_path.replace(path)


def write_table(result: InSitu, path: Path) -> None:
    """Write a line for each station and subset of days that has pairs, or a reason why not."""
    table = result.table
    places = [n for n in ("network", "lat", "lon", "depth_m", "cell_lat", "cell_lon", "distance_km", "class") if n in
              table.coords]  # fmt: skip
    metrics = [m for name in METRICS for m in ((name, f"{name}_lower", f"{name}_upper") if name in WITH_INTERVAL else
               (name,))]  # fmt: skip
    states = str(table["status"].attrs["flag_meanings"]).split()
    partial_path = Path(f"{path}.partial")
    with partial_path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["station", *places, "subset", "status", *metrics])
        values = {name: table[name].values for name in [*metrics, "status"]}
        for s, station in enumerate(table["station"].values):
            about = [_text(table[name].values[s]) for name in places]
            for k, subset in enumerate(table["subset"].values):
                writer.writerow(
                    [
                        station,
                        *about,
                        subset,
                        states[values["status"][s, k]],
                        *(_text(values[m][s, k]) for m in metrics),
                    ]
                )
    partial_path.replace(path)


def _write_rows(rows: list[dict[str, Any]], path: Path) -> None:
    partial_path = Path(f"{path}.partial")
    with partial_path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)
    partial_path.replace(path)


def _text(value: Any) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if not np.isfinite(value) else f"{value:.9g}"
    return str(value)


def _replace_text(path: Path, text: str) -> None:
    partial_path = Path(f"{path}.partial")
    partial_path.write_text(text)
    partial_path.replace(path)
