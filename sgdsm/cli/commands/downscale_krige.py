"""Make daily maps of values that are known at points, like groundwater levels of wells, by ordinary kriging."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.core.words import counted
from sgdsm.downscaling.kriging import Variogram, krige, read_points
from sgdsm.downscaling.raster_grid import grid_of, need_packages

USAGE = "points=WELLS.csv value=COLUMN like=GRID output=FILE.nc"
NOTE = (
    "a grid of 1 km is enough for most networks of wells: downscale prepare puts the maps on 10 m; points in degrees: "
    "crs=EPSG:4326 x=lon y=lat"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The points, the grid, and the variogram."""

    points: str = setting(help="CSV or Parquet file with a row for each value", path=True)
    value: str = setting(help="column of the values")
    like: str = setting(help="GeoTIFF, NetCDF or Zarr file on the grid of the maps", path=True)
    output: str = setting(help="FILE.nc", path=True)
    date: str = setting("date", "column of the dates")
    x: str = setting("x", "column of x or longitudes")
    y: str = setting("y", "column of y or latitudes")
    crs: str | None = setting(None, "of x and y, like EPSG:28992; default: that of the grid")
    time: str | None = setting(None, "FIRST:LAST day, like 2019-01-01:2019-12-31; default: all")
    variogram: Variogram = setting("linear", "model that is fitted to the points of each day")
    lags: int = setting(6, "classes of distance of that fit")
    name: str = setting("groundwater_level", "of the variable; its standard error is NAME_std")
    units: str = setting("m", "of the values")

    def __post_init__(self) -> None:
        local_only("output", self.output)
        if Path(self.output).suffix != ".nc":
            raise ConfigError(f"output={self.output}: expected a name that ends in .nc")
        if not 2 <= self.lags <= 1000:
            raise ConfigError(f"lags={self.lags}: expected 2 to 1000")
        first_and_last(self.time)


def first_and_last(time: str | None) -> tuple[np.datetime64, np.datetime64] | None:
    """Return the days of the setting time=FIRST:LAST; None if it is not given."""
    if time is None:
        return None
    first, _, last = time.partition(":")
    wrong = ConfigError(f"time={time}: expected FIRST:LAST, like 2019-01-01:2019-12-31")
    try:
        days = np.datetime64(first, "D"), np.datetime64(last or first, "D")
    except ValueError:
        raise wrong from None
    # an empty text is NaT, which is less than nothing
    if not days[0] <= days[1]:
        raise wrong
    return days


def run(settings: Settings) -> None:
    """Read the points, make the maps, and write them."""
    output = Path(settings.output)
    if output.resolve() in (Path(path).resolve() for path in (settings.points, settings.like)):
        raise ConfigError(f"output={output}: is one of the inputs; expected another name")
    need_packages("rasterio", "pyproj", "pykrige")
    grid = grid_of(settings.like)
    columns = (settings.date, settings.x, settings.y)
    points = read_points(settings.points, settings.value, grid, columns, settings.crs)
    days = first_and_last(settings.time)
    if days is not None:
        inside = (points.days >= days[0]) & (points.days <= days[1])
        if not inside.any():
            there = f"{str(points.days.min())[:10]} to {str(points.days.max())[:10]}"
            raise ConfigError(f"time={settings.time}: {settings.points} holds {there}")
        points = type(points)(*(array[inside] for array in points))
    with exclusive(output):
        try:
            maps = krige(points, grid, settings.name, settings.units, settings.variogram, settings.lags)
        except CubeError as error:
            raise CubeError(f"{settings.points}: {error}") from error
        made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        maps.attrs = {
            "Conventions": "CF-1.8",
            "title": f"{settings.name} by ordinary kriging",
            "source": f"{Path(settings.points).name}, column {settings.value}",
            "history": f"{made} sgdsm downscale krige variogram={settings.variogram} lags={settings.lags}",
        }
        partial = Path(f"{output}.partial")
        maps.to_netcdf(partial, engine="netcdf4", encoding={str(n): {"zlib": True} for n in maps.data_vars})
        partial.replace(output)
    print(f"{counted(len(maps['time']), 'day')} of {grid.rows} x {grid.columns} cells: {output}")
