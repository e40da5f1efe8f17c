"""DISPATCH of files: a filled file, and maps of temperature and NDVI on a fine grid, day by day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.axes import DAY, SPACE_DIMS
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.hdf5 import NetcdfWriter, with_places
from sgdsm.core.memory import check_fits
from sgdsm.core.units import conversion, moisture_bounds
from sgdsm.core.validation import read_values
from sgdsm.downscaling.dispatch import Inverse, disaggregated, scene_efficiency, vegetation_cover
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.inference.schema import coordinate, places
from sgdsm.preprocessing.grid import Grid, crs_in
from sgdsm.preprocessing.overlaps import cell_of

NAME, EFFICIENCY = "sm_dispatch", "evaporative_efficiency"
POSSIBLE_K = (200.0, 360.0)  # of a land surface
KM_PER_DEGREE = 111.2
LEAST_IN_CELL = 4  # fine pixels
AT_ONCE = 12  # arrays of a fine map in memory


@dataclass
class Counts:
    """What became of the fine pixels of land that the coarse grid holds, all days together.

    Attributes:
        pixels: With a coarse value.
        clear: Of these, with temperature and NDVI.
        told: Of these, with soil moisture.
        impossible: Of these, with a value that soil moisture cannot have; they are missing.
        scenes: Scenes of days with clear pixels.
        without_edges: Of these, without edges.
    """

    pixels: int = 0
    clear: int = 0
    told: int = 0
    impossible: int = 0
    scenes: int = 0
    without_edges: int = 0

    def text(self) -> str:
        """Return the counts as text."""
        of = max(self.pixels, 1)
        lines = [
            f"{self.pixels} fine values have a coarse one; {self.clear / of:.1%} of them are clear, "
            f"{self.told / of:.1%} are disaggregated"
        ]
        if self.impossible:
            lines.append(f"{self.impossible} more came out beyond what soil moisture can be, and are missing")
        if self.without_edges:
            lines.append(
                f"{self.without_edges} of {self.scenes} scenes have no edges: few clear pixels, or none hotter"
            )
        return "\n".join(lines)


class Options(NamedTuple):
    """What is chosen.

    Attributes:
        inverse: See `sgdsm.downscaling.dispatch.disaggregated`.
        scene_km: Side of a scene, for which edges are fitted.
        largest_fvc: Largest fraction of vegetation.
        least_share: See `sgdsm.downscaling.dispatch.disaggregated`.
        edge_share: See `sgdsm.downscaling.dispatch.fitted_edges`.
        ndvi_days: Largest distance in time of a map of NDVI, days.
    """

    inverse: Inverse = "line"
    scene_km: float = 100.0
    largest_fvc: float = 0.9
    least_share: float = 0.5
    edge_share: float = 0.02
    ndvi_days: int = 16


class DispatchFiles:
    """A filled file with fine temperatures and NDVI, as far as their days go together.

    Args:
        filled: File of coarse soil moisture and its variable, (T, H, W).
        lst: File of temperatures of the land surface by day and its variable with `units`, on a finer grid, (T, h, w).
        ndvi: File of NDVI on the grid of `lst` and its variable, with or without a time.
        options: What is chosen.

    Raises:
        CubeError: Days, grids or units do not go together.
        ConfigError: A grid cannot be told, or a day does not fit into the memory.
    """

    def __init__(
        self,
        filled: tuple[ScoredFile, str],
        lst: tuple[ScoredFile, str],
        ndvi: tuple[ScoredFile, str],
        options: Options,
    ) -> None:
        self.options, self.counts = options, Counts()
        self.names = {"filled": filled[0].name, "lst": lst[0].name, "ndvi": ndvi[0].name}
        self.filled, self.lst = (_maps(*one) for one in (filled, lst))
        self.is_ndvi_dated = "time" in ndvi[0].variable(ndvi[1]).dims
        self.ndvi = _maps(*ndvi, timeless=self.lst["time"].values[:1])
        self.place = self.lst.isel(time=0, drop=True)
        aligned(self.ndvi.isel(time=0, drop=True), self.place, self.names["ndvi"])
        self.to_kelvin = self._kelvin()
        check_fits(f"lst={self.names['lst']}", AT_ONCE * self.place.size, "select a smaller region with a copy", 8)
        self.coarse_grid, self.grid = _grid(self.filled, filled[0]), _grid(self.lst, lst[0])
        self.mapping = _mapping(lst[0].dataset)
        self.cell = self._cells()
        self.scene = np.where(self.cell < 0, -1, _scenes(self.coarse_grid, options.scene_km)[self.cell])
        self.days = np.intersect1d(self.filled["time"].values, self.lst["time"].values)
        if not self.days.size:
            ours, theirs = (
                " to ".join(str(a["time"].values[k])[:10] for k in (0, -1)) for a in (self.lst, self.filled)
            )
            raise CubeError(f"{self.names['lst']}: has {ours}, and no day of {self.names['filled']}, {theirs}")

    def of(self, day: np.datetime64) -> dict[str, np.ndarray]:
        """Return soil moisture [units of the filled file] and evaporative efficiency [1] of a day, (h, w) float32."""
        options = self.options
        temperature, cover = self._temperature(day).reshape(-1), vegetation_cover(self._ndvi(day)).reshape(-1)
        coarse = read_values(_on(self.filled, day)).reshape(-1).astype(np.float64)
        efficiency, edges = scene_efficiency(temperature, cover, self.scene, options.edge_share, options.largest_fvc)
        moisture = disaggregated(coarse, efficiency, self.cell, options.inverse, options.least_share)
        lowest, highest = moisture_bounds(self.filled.attrs.get("units")) or (0.0, np.inf)
        beyond = (moisture < lowest) | (moisture > highest)
        moisture[beyond] = np.nan
        known = (self.cell >= 0) & np.isfinite(coarse)[self.cell]
        clear = known & np.isfinite(temperature) & np.isfinite(cover)
        scenes = np.unique(self.scene[clear])
        self.counts.pixels += int(known.sum())
        self.counts.clear += int(clear.sum())
        self.counts.told += int(np.isfinite(moisture).sum())
        self.counts.impossible += int(beyond.sum())
        self.counts.scenes += scenes.size
        self.counts.without_edges += int((~np.isin(scenes, list(edges))).sum())
        maps = {NAME: moisture, EFFICIENCY: efficiency}
        return {name: values.reshape(self.place.shape).astype(np.float32) for name, values in maps.items()}

    def _temperature(self, day: np.datetime64) -> np.ndarray:
        """Return the temperatures of a day, K, float64."""
        values = read_values(_on(self.lst, day)).astype(np.float64) * self.to_kelvin[0] + self.to_kelvin[1]
        self._refuse_beyond(values, POSSIBLE_K, "lst", self.lst, day, "K", "are they packed numbers?")
        return values

    def _ndvi(self, day: np.datetime64) -> np.ndarray:
        """Return the nearest NDVI in time; NaN where none is near."""
        days = self.ndvi["time"].values
        nearest = int(np.abs(days - day).argmin())
        if self.is_ndvi_dated and abs(days[nearest] - day) > self.options.ndvi_days * DAY:
            return np.full(self.place.shape, np.nan)
        one = aligned(self.ndvi.isel(time=nearest, drop=True), self.place, self.names["ndvi"])
        values = read_values(one)
        self._refuse_beyond(values, (-1.0, 1.0), "ndvi", self.ndvi, days[nearest], "1", "divide by the scale factor")
        return values

    def _refuse_beyond(
        self,
        values: np.ndarray,
        limits: tuple[float, float],
        key: str,
        of: xr.DataArray,
        day: Any,
        units: str,
        cure: str,
    ) -> None:
        known = values[np.isfinite(values)]
        if known.size and (known.min() < limits[0] or known.max() > limits[1]):
            raise CubeError(
                f"{self.names[key]}: '{of.name}' has values from {known.min():.6g} to {known.max():.6g} {units} on "
                f"{str(day)[:10]}, expected {limits[0]:g} to {limits[1]:g} {units}: {cure}"
            )

    def _kelvin(self) -> tuple[float, float]:
        where = f"{self.names['lst']}: '{self.lst.name}'"
        if "units" not in self.lst.attrs:
            raise CubeError(f"{where} has no units, expected K or degC: write them into the attribute units")
        try:
            return conversion(self.lst.attrs["units"], "K")
        except CubeError as error:
            raise CubeError(f"{where} is no temperature: {error}") from error

    def _cells(self) -> np.ndarray:
        """Return the coarse cell that holds the centre of each fine pixel, (h * w,); -1 for none."""
        coarse, fine = self.coarse_grid, self.grid
        if fine.crs is not None and fine.crs == coarse.crs:
            row, column = cell_of(coarse.row_edges, fine.rows)[:, None], cell_of(coarse.column_edges, fine.columns)
        else:
            lat, lon = fine.lat(), fine.lon()
            row, column = coarse.find(*(np.broadcast_arrays(lat[:, None], lon) if lat.ndim == 1 else (lat, lon)))
        cell: np.ndarray = np.where((row < 0) | (column < 0), -1, row * coarse.shape[1] + column).reshape(-1)
        if (cell < 0).all():
            raise CubeError(f"{self.names['lst']}: no pixel lies in a cell of {self.names['filled']}")
        if (most := int(np.bincount(cell[cell >= 0]).max())) < LEAST_IN_CELL:
            raise CubeError(
                f"{self.names['lst']}: a cell of {self.names['filled']} holds at most {most} of its pixels, expected a "
                "grid that is at least twice as fine"
            )
        return cell

    def write(self, output: Path, about: Mapping[str, str]) -> Counts:
        """Write a file of all days, a day in memory at a time, whole or not at all.

        Args:
            output: FILE.nc.
            about: Further attributes of the file.

        Returns:
            What became of the values.
        """
        dims = tuple(str(dim) for dim in self.lst.dims)
        days = self.lst.sel(time=self.days)
        coords = {dim: coordinate(days.to_dataset(), dim) for dim in dims}
        variables: dict[str, tuple[tuple[str, ...], Any, dict[str, Any]]] = {
            NAME: (dims, np.float32, self._attributes()),
            EFFICIENCY: (
                dims,
                np.float32,
                {"_FillValue": np.float32(np.nan), "units": "1", "long_name": "evaporative efficiency of the soil"},
            ),
        }
        fixed = places(days.to_dataset(), dims) | self.mapping
        for name in self.mapping:
            for _, _, attrs in variables.values():
                attrs["grid_mapping"] = name
        attrs = {
            "Conventions": "CF-1.10",
            "title": "soil moisture disaggregated by DISPATCH, after Merlin et al. (2012, 2013)",
            "history": f"{datetime.now(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')} sgdsm downscale dispatch",
            "source": "; ".join(self.names.values()),
            "references": "Merlin et al., IEEE TGRS 50, 1556, 2012; Merlin et al., Remote Sens. Environ. 130, 25, 2013",
            **about,
        }
        partial = Path(f"{output}.partial")
        writer = NetcdfWriter(partial, coords, with_places(variables, fixed), attrs)
        try:
            for name, (_, values, _) in fixed.items():
                writer.write(name, values, (slice(None),) * values.ndim)
            for number, day in enumerate(self.days):
                for name, values in self.of(day).items():
                    writer.write(name, values[None], (slice(number, number + 1), slice(None), slice(None)))
        finally:
            writer.close()
        partial.replace(output)
        return self.counts

    def _attributes(self) -> dict[str, Any]:
        given = {k: v for k, v in self.filled.attrs.items() if k in ("units", "standard_name")}
        return {
            "_FillValue": np.float32(np.nan),
            "long_name": "soil moisture of fine pixels, disaggregated by the evaporative efficiency of the soil",
            **given,
            "comment": "the mean over the clear pixels of a coarse cell is the coarse value, but for impossible values",
            "inverse": self.options.inverse,
        }


def _maps(file: ScoredFile, name: str, timeless: np.ndarray | None = None) -> xr.DataArray:
    """Return a variable of maps on days, (time, rows, columns); of one without a time its only map, on `timeless`."""
    array = file.variable(name)
    if timeless is not None and "time" not in array.dims:
        array = array.expand_dims(time=timeless)
    space = next((dims for dims in SPACE_DIMS if set(dims) <= set(array.dims)), None)
    if space is None or set(array.dims) != {"time", *space}:
        raise CubeError(f"{file.name}: '{name}' has dims {array.dims}, expected time and lat, lon (or time and y, x)")
    return array.transpose("time", *space)


def _mapping(dataset: xr.Dataset) -> dict[str, tuple[tuple[str, ...], np.ndarray, dict[str, Any]]]:
    """Return the grid mapping variable of a file, by its name; empty if it has none."""
    for name, variable in dataset.variables.items():
        if {"crs_wkt", "spatial_ref", "grid_mapping_name"} & set(variable.attrs):
            return {str(name): ((), np.asarray(0, np.int32), dict(variable.attrs))}
    return {}


def _on(array: xr.DataArray, day: np.datetime64) -> xr.DataArray:
    return array.isel(time=int(np.flatnonzero(array["time"].values == day)[0]))


def _grid(array: xr.DataArray, file: ScoredFile) -> Grid:
    place = array.isel(time=0, drop=True).to_dataset(name="map")
    try:
        # a file may keep its CRS beside the variable
        crs = crs_in(file.dataset)
        return Grid.of(place if crs is None else place.assign_attrs(crs=crs))
    except ConfigError as error:
        raise ConfigError(f"{file.name}: {error}") from error


def _scenes(grid: Grid, scene_km: float) -> np.ndarray:
    """Return the number of the scene of each cell, (H * W,)."""
    along = KM_PER_DEGREE * np.cos(np.deg2rad(grid.rows.mean()))
    rows, columns = (
        (grid.rows * KM_PER_DEGREE, grid.columns * along) if grid.crs is None else (grid.rows / 1e3, grid.columns / 1e3)
    )
    (down, _), (across, count) = (_parts(axis, scene_km) for axis in (rows, columns))
    numbers: np.ndarray = (down[:, None] * count + across).reshape(-1)
    return numbers


def _parts(axis: np.ndarray, length: float) -> tuple[np.ndarray, int]:
    """Return which of equal parts of about a length each centre of an axis lies in, and the number of parts."""
    width = abs(axis[-1] - axis[0]) * axis.size / (axis.size - 1)
    count = max(1, round(width / length))
    return (np.arange(axis.size) * count // axis.size), min(count, axis.size)
