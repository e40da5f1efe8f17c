"""Sources of predictors at 10 m: Sentinel-2, Sentinel-1, and any other map that is reprojected."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr
from scipy.ndimage import binary_dilation

from sgdsm.core.coordinates import days_along
from sgdsm.core.cube import suggest
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import open_dataset
from sgdsm.core.logging import log
from sgdsm.core.speckle import LOOKS, gaussian, lee
from sgdsm.core.units import same_units
from sgdsm.downscaling.dated_files import BAND, DATE, Scene, scenes
from sgdsm.downscaling.optical import (
    MASKED_CLASSES,
    NO_QA60,
    SCALE,
    check_reflectance,
    check_stored,
    clear_of_bits,
    clear_of_classes,
    evi,
    lai,
    ndvi,
    offset_of,
    reflectance,
)
from sgdsm.downscaling.raster_grid import IMAGES, RasterGrid, image_grid, map_grid, opened_image
from sgdsm.downscaling.warp import Resampling, band_number, check_overlap, offset_in, read_image, read_map
from sgdsm.sources.readers.packed import refuse_fills

INDICES = ("evi", "lai", "ndvi")
Maps: TypeAlias = dict[str, np.ndarray]


@dataclass(kw_only=True)
class FineSource(ABC):
    """Where predictors come from; the common part of all kinds.

    What a source reads of an image (`read`) is interpolated in time; from that come the values at 10 m (`fine`) and
    those whose means are the 1 km values (`summands`, `of_means`).

    Args:
        files: Pattern of the files; relative ones start at the recipe's folder.
        variables: Name of the predictor: what it is in the files.
        source: Where the values come from, for the attribute `source`; by default the name in the recipe.
        max_gap_days: Longest time between two images that is interpolated, days; None: each day must have its own map.
    """

    files: str
    variables: dict[str, Any]
    source: str = ""
    max_gap_days: int | None = None
    name: str = field(default="", init=False)
    folder: Path = field(default=Path(), init=False)
    days: np.ndarray = field(default_factory=lambda: np.empty(0, "datetime64[D]"), init=False)
    role: Literal["dynamic", "static", "target"] = field(default="dynamic", init=False)

    @property
    def halo(self) -> int:
        """Pixels around a part that its values depend on."""
        return 0

    @abstractmethod
    def units_of(self, variable: str) -> str:
        """Return the units of a predictor."""

    @abstractmethod
    def text_of(self, variable: str) -> str:
        """Return what a predictor is, for the attribute `long_name`."""

    @abstractmethod
    def open(self, name: str, folder: Path, grid: RasterGrid) -> None:
        """Find the files.

        Args:
            name: Of the source in the recipe.
            folder: Where relative paths start.
            grid: Of the fine maps.

        Raises:
            ConfigError: A setting does not fit the files.
            CubeError: There are no files, they cannot be used, or lie beside the grid.
        """

    @abstractmethod
    def read(self, k: int, part: RasterGrid) -> Maps:
        """Return what is known on day number k of `days` (of static maps 0), by name, each (H, W) float32."""

    def fine(self, maps: Maps) -> Maps:
        """Return the predictors at 10 m, by name, of what `read` returns, interpolated or not."""
        return maps

    def summands(self, maps: Maps) -> Maps:
        """Return the maps whose means over cells are the predictors at 1 km, by name of the predictor."""
        return self.fine(maps)

    def of_means(self, variable: str, means: np.ndarray) -> np.ndarray:
        """Return the predictor at 1 km of the means of its summands."""
        return means

    def provenance(self) -> dict[str, Any]:
        """Return files and days of the source, for the attributes."""
        days = [str(day) for day in self.days[[0, -1]]] if len(self.days) else []
        return {"source": self.source, "files": self.files, "maps": len(self.days) or 1, "days": days}

    @property
    def where(self) -> str:
        """Of messages."""
        return f"recipe: source '{self.name}'"


@dataclass(kw_only=True)
class ImageSource(FineSource):
    """Dated GeoTIFFs."""

    max_gap_days: int | None = 30
    scenes: list[Scene] = field(default_factory=list, init=False)
    by_day: list[list[Scene]] = field(default_factory=list, init=False)

    def _find(self, name: str, folder: Path, bands: Sequence[Any]) -> None:
        self.name, self.folder = name, folder
        if DATE not in self.files:
            raise ConfigError(f"{self.where}: files={self.files}: expected {DATE} in it, the day of the image")
        self.scenes = scenes(folder, self.files, self.where)
        if BAND in self.files:
            for scene in self.scenes:
                for band in bands:
                    if str(band) not in scene.bands:
                        there = ", ".join(sorted(scene.bands))
                        raise CubeError(f"{self.where}: {scene.name} of {scene.day}: no file of {band}; it has {there}")
        self.days = np.unique(np.array([scene.day for scene in self.scenes]))
        self.by_day = [[scene for scene in self.scenes if scene.day == day] for day in self.days]

    def _path(self, scene: Scene, band: Any) -> tuple[Path, Any]:
        """Return the file of a band, and the band in it."""
        return (scene.bands[str(band)], "") if BAND in self.files else (scene.bands[""], band)

    def _check_place(self, grid: RasterGrid, band: Any) -> None:
        near = None
        for scene in self.scenes:
            path, inside = self._path(scene, band)
            with opened_image(path) as file:
                band_number(file, inside, path)
                own = image_grid(file, path)
            try:
                check_overlap(own, grid, path)
                return
            except CubeError as error:
                near = near or error
        assert near is not None
        raise near


@dataclass(kw_only=True)
class Sentinel2(ImageSource):
    """Vegetation indices of Sentinel-2 images of level 2A, where a pixel is clear.

    Args:
        bands: Of blue, red, nir and mask the text that stands for {band}, or number or name of the band in the file.
        mask: SCL, the scene classification, or QA60.
        masked_classes: Of SCL: what cannot be used.
        baseline: Processing baseline; by default from the tag PROCESSING_BASELINE or `_N0509_` in the file's name.
        offset: Added to stored numbers; by default that of the baseline (-1000 from 04.00 on); 0 for harmonized data.
        scale: Stored numbers of a reflectance of 1; by default 10000.
    """

    bands: dict[str, Any] = field(default_factory=dict)
    mask: Literal["SCL", "QA60"] = "SCL"
    masked_classes: Sequence[int] = MASKED_CLASSES
    baseline: str | None = None
    offset: float | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        for name, index in self.variables.items():
            if index not in INDICES:
                raise ConfigError(f"variables: {name}: {index}: expected {', '.join(INDICES)}")
        defaults = {"blue": "B2", "red": "B4", "nir": "B8", "mask": self.mask}
        for band in self.bands:
            if band not in defaults:
                raise ConfigError(f"bands: unknown key '{band}'; known are {', '.join(defaults)}")
        self.bands = defaults | self.bands
        if self.baseline is not None and self.offset is not None:
            raise ConfigError("baseline and offset: give one of them")
        if self.baseline is not None:
            self.offset = offset_of(self.baseline)
        if self.scale is not None and self.scale <= 0:
            raise ConfigError(f"scale={self.scale}: expected more than 0; 10000 is that of Sentinel-2")

    @property
    def halo(self) -> int:
        return 1

    def units_of(self, variable: str) -> str:
        return "1"

    def text_of(self, variable: str) -> str:
        index = {"evi": "enhanced vegetation index", "lai": "leaf area index, 3.618 EVI - 0.118"}
        return index.get(self.variables[variable], "normalized difference vegetation index")

    def open(self, name: str, folder: Path, grid: RasterGrid) -> None:
        self._find(name, folder, list(self.bands.values()))
        self._check_place(grid, self.bands["nir"])
        for scene in self.scenes:
            self._check_declared(scene)
            self._offset(scene)

    def _check_declared(self, scene: Scene) -> None:
        """Raise ConfigError if a file declares a scale, which is applied as it is read, but the recipe gives none."""
        if self.scale is not None and self.offset is not None:
            return
        path, band = self._path(scene, self.bands["nir"])
        with opened_image(path) as file:
            number = band_number(file, band, path)
            scale, add = file.scales[number - 1], file.offsets[number - 1]
        if scale != 1.0 or add != 0.0:
            raise ConfigError(
                f"{self.where}: {path} declares the scale {scale:g} and the offset {add:g}, which are applied as it is "
                "read: give scale: and offset: of what comes out, scale: 1 and offset: 0 if it is reflectance"
            )

    def _offset(self, scene: Scene) -> float:
        if self.offset is not None:
            return self.offset
        path = self._path(scene, self.bands["nir"])[0]
        with opened_image(path) as file:
            tag = file.tags().get("PROCESSING_BASELINE")
        named = re.search(r"_N(\d{4})_", path.name)
        if tag or named:
            return offset_of(tag or named[1])  # type: ignore[index]
        raise ConfigError(
            f"{self.where}: {path} does not tell its processing baseline: give baseline:, like '05.09', or "
            "offset: 0 (below 04.00, or harmonized) or -1000"
        )

    def read(self, k: int, part: RasterGrid) -> Maps:
        found: Maps = {}
        wide = part.part(slice(-1, part.rows + 1), slice(-1, part.columns + 1))
        for scene in self.by_day[k]:
            maps = self._scene(scene, wide)
            found = {n: np.where(np.isfinite(found[n]), found[n], maps[n]) for n in maps} if found else maps
        return {name: values[1:-1, 1:-1] for name, values in found.items()}

    def _scene(self, scene: Scene, part: RasterGrid) -> Maps:
        path, band = self._path(scene, self.bands["mask"])
        # 0 of QA60 is clear, also where a file declares it as missing
        flags = read_image(path, band, part, "nearest", 65535 if self.mask == "QA60" else None)
        if self.mask == "SCL":
            clear = clear_of_classes(flags, self.masked_classes)
        else:
            clear = clear_of_bits(flags)
            if NO_QA60[0] <= scene.day <= NO_QA60[1] and not np.nan_to_num(flags).any():
                log.warning(
                    "%s: no cloud in QA60 of %s: scenes of that time have an empty one, use SCL", path, scene.day
                )
        path, _ = self._path(scene, self.bands["nir"])
        with opened_image(path) as file:
            aligned = offset_in(image_grid(file, path), part) is not None
        # interpolation mixes a pixel with its neighbours: they must be clear too
        if not aligned:
            clear = ~binary_dilation(~clear, np.ones((3, 3)))
        offset, reflectances = self._offset(scene), {}
        scale = SCALE if self.scale is None else self.scale
        for colour in ("nir", "red", "blue"):
            path, band = self._path(scene, self.bands[colour])
            stored = read_image(path, band, part, "bilinear", undeclared=0)
            stored[~clear] = np.nan
            check_stored(str(path), stored, scale)
            values = reflectance(stored, offset, scale)
            check_reflectance(str(path), values)
            reflectances[colour] = values
        maps = {}
        if {"evi", "lai"} & set(self.variables.values()):
            maps["evi"] = evi(**reflectances)
        if "ndvi" in self.variables.values():
            maps["ndvi"] = ndvi(reflectances["nir"], reflectances["red"])
        return maps

    def fine(self, maps: Maps) -> Maps:
        return {name: lai(maps["evi"]) if index == "lai" else maps[index] for name, index in self.variables.items()}


@dataclass(kw_only=True)
class Sentinel1(ImageSource):
    """Backscatter of Sentinel-1, filtered and averaged as power, given as dB.

    Args:
        units: Of the files, dB or 1 (power).
        speckle: Filter of the 10 m values; the 1 km ones are means of unfiltered power.
        speckle_pixels: Side of its window.
        looks: Equivalent number of looks, of Lee's filter.
    """

    max_gap_days: int | None = 12
    units: Literal["dB", "1"] = "dB"
    speckle: Literal["lee", "gaussian", "none"] = "lee"
    speckle_pixels: int = 5
    looks: float = LOOKS

    def __post_init__(self) -> None:
        if self.speckle_pixels % 2 == 0 or not 3 <= self.speckle_pixels <= 99:
            raise ConfigError(f"speckle_pixels={self.speckle_pixels}: expected an odd number from 3 to 99")
        if self.looks <= 0:
            raise ConfigError(f"looks={self.looks}: expected more than 0; 4.4 is that of Sentinel-1 GRD")

    @property
    def halo(self) -> int:
        return 0 if self.speckle == "none" else self.speckle_pixels // 2

    def units_of(self, variable: str) -> str:
        return "dB"

    def text_of(self, variable: str) -> str:
        kind = "no speckle filter" if self.speckle == "none" else f"speckle filter {self.speckle} {self.speckle_pixels}"
        band = self.variables[variable]
        named = f"{band} backscatter" if isinstance(band, str) else f"backscatter, band {band}"
        return f"{named}, {kind} at 10 m"

    def open(self, name: str, folder: Path, grid: RasterGrid) -> None:
        bands = list(self.variables.values())
        self._find(name, folder, bands)
        self._check_place(grid, bands[0])

    def read(self, k: int, part: RasterGrid) -> Maps:
        halo, found = self.halo, {}
        wide = part.part(slice(-halo, part.rows + halo), slice(-halo, part.columns + halo))
        inner = (slice(halo, halo + part.rows), slice(halo, halo + part.columns))
        for name, band in self.variables.items():
            power = np.full(wide.shape, np.nan)
            for scene in self.by_day[k]:
                power = np.where(np.isfinite(power), power, self._power(scene, band, wide))
            found[name] = power[inner].astype(np.float32)
            if self.speckle != "none":
                smooth = lee(power, self.speckle_pixels, self.looks)
                if self.speckle == "gaussian":
                    smooth = gaussian(power, self.speckle_pixels)
                found[f"{name} filtered"] = smooth[inner].astype(np.float32)
        return found

    def _power(self, scene: Scene, band: Any, part: RasterGrid) -> np.ndarray:
        path, inside = self._path(scene, band)
        # a border of zeros is no value, in dB and in power
        stored = read_image(path, inside, part, "nearest").astype(np.float64)
        stored[stored == 0] = np.nan
        known = stored[np.isfinite(stored)]
        # a part may hold a few pixels of the edge of a swath: ships and towers are above 0 dB
        middle = np.median(known) if known.size >= 100 else np.nan
        if self.units == "dB":
            if middle > 0:
                raise CubeError(f"{path}: {band}: most values are above 0 dB: is it power? give units: '1'")
            power: np.ndarray = 10 ** (stored / 10)
            return power
        if middle < 0:
            raise CubeError(f"{path}: {band}: power of {middle:g}: is it dB? give units: dB")
        return stored

    def fine(self, maps: Maps) -> Maps:
        end = "" if self.speckle == "none" else " filtered"
        return {name: decibel(maps[f"{name}{end}"]) for name in self.variables}

    def summands(self, maps: Maps) -> Maps:
        return {name: maps[name] for name in self.variables}

    def of_means(self, variable: str, means: np.ndarray) -> np.ndarray:
        return decibel(means)


@dataclass(kw_only=True)
class Raster(FineSource):
    """Maps that are reprojected: GeoTIFFs, one a day where {date} is in the pattern, or one NetCDF or Zarr file.

    Args:
        role: dynamic, static (one map), or target: soil moisture, averaged on the cells of 1 km.
        units: Of the values; by default those that the file tells.
        resampling: Onto the grid: nearest, bilinear or average; by default bilinear, of a target average.
        nodata: Stored number that stands for missing; by default as the file declares it.
        scale: Factor of stored numbers.
        add: Added to the scaled ones.
    """

    role: Literal["dynamic", "static", "target"] = "dynamic"
    units: str | None = None
    resampling: Resampling | None = None
    nodata: float | None = None
    scale: float = 1.0
    add: float = 0.0
    images: list[Scene] = field(default_factory=list, init=False)
    dataset: xr.Dataset | None = field(default=None, init=False)
    maps: dict[str, tuple[RasterGrid, xr.DataArray]] = field(default_factory=dict, init=False)
    told: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if self.role != "dynamic" and self.max_gap_days is not None:
            raise ConfigError(f"max_gap_days is of role: dynamic, found role: {self.role}")
        if self.role == "target" and len(self.variables) != 1:
            raise ConfigError(f"role: target: expected one variable, found {list(self.variables)}")
        if self.resampling is None:
            self.resampling = "average" if self.role == "target" else "bilinear"

    def units_of(self, variable: str) -> str:
        return self.told[variable]

    def text_of(self, variable: str) -> str:
        return variable.replace("_", " ")

    def open(self, name: str, folder: Path, grid: RasterGrid) -> None:
        self.name, self.folder = name, folder
        suffix = Path(self.files).suffix.lower()
        if suffix in IMAGES:
            self._open_images(grid)
        elif DATE in self.files or "*" in self.files:
            raise ConfigError(f"{self.where}: files={self.files}: expected one NetCDF or Zarr file, or GeoTIFFs")
        else:
            self._open_file(folder / self.files, grid)
        for variable in self.variables:
            stored, own = self.told.get(variable, ""), self.units
            if not stored and own is None:
                raise ConfigError(f"{self.where}: the files tell no units of '{variable}': give units:")
            if stored and own is not None and not same_units(stored, own):
                # of scaled values the file's units may be those of stored ones
                if self.scale == 1.0 and self.add == 0.0:
                    raise ConfigError(f"{self.where}: units: {own}, but the file says {stored} of '{variable}'")
                stored = ""
            self.told[variable] = own if own is not None else stored

    def _open_images(self, grid: RasterGrid) -> None:
        if (DATE in self.files) == (self.role == "static"):
            raise ConfigError(f"{self.where}: files={self.files}, role: {self.role}: {DATE} is for maps with a day")
        self.images = scenes(self.folder, self.files, self.where)
        if self.role != "static":
            self.days = np.array([scene.day for scene in self.images])
            day, count = Counter(self.days.tolist()).most_common(1)[0]
            if count > 1:
                names = [scene.name for scene in self.images if scene.day.tolist() == day]
                raise CubeError(f"{self.where}: {len(names)} files of {day}, {names[0]} and {names[1]}: expected one")
        elif len(self.images) > 1:
            raise CubeError(f"{self.where}: {len(self.images)} files for one map: expected one file")
        for variable, band in self.variables.items():
            path, inside = self._file(0, band)
            with opened_image(path) as file:
                number = band_number(file, inside, path)
                self.told[variable] = file.units[number - 1] or ""
                check_overlap(image_grid(file, path), grid, path)

    def _file(self, k: int, band: Any) -> tuple[Path, Any]:
        scene = self.images[k]
        if BAND not in self.files:
            return scene.bands[""], band
        if str(band) not in scene.bands:
            raise CubeError(f"{self.where}: {scene.name}: no file of {band}; it has {', '.join(scene.bands)}")
        return scene.bands[str(band)], ""

    def _open_file(self, path: Path, grid: RasterGrid) -> None:
        self.dataset = open_dataset(path)
        days = None
        for variable, stored in self.variables.items():
            if stored not in self.dataset.data_vars:
                known = [str(name) for name in self.dataset.data_vars]
                raise CubeError(f"{path}: no variable '{stored}'{suggest(str(stored), known)}; there are {known}")
            own, array = map_grid(self.dataset, stored, str(path))
            check_overlap(own, grid, path)
            if ("time" in array.dims) == (self.role == "static"):
                raise CubeError(f"{path}: '{stored}' has the dims {list(array.dims)}, its role is {self.role}")
            self.maps[variable] = own, array
            self.told[variable] = str(array.attrs.get("units", ""))
            if self.role != "static":
                try:
                    days = days_along(array.to_dataset(name="maps")).astype("datetime64[D]")
                except CubeError as error:
                    raise CubeError(f"{path}: {error}") from error
        if days is not None:
            if not (np.diff(days) > np.timedelta64(0, "D")).all():
                raise CubeError(f"{path}: its days do not rise, or one is there twice: expected one map a day")
            self.days = days

    def read(self, k: int, part: RasterGrid) -> Maps:
        found = {}
        assert self.resampling is not None
        for variable, band in self.variables.items():
            if self.dataset is None:
                path, inside = self._file(k, band)
                values = read_image(path, inside, part, self.resampling, self.nodata)
            else:
                path = Path(self.files)
                own, array = self.maps[variable]
                one = array.isel(time=k) if "time" in array.dims else array
                if self.nodata is not None:
                    one = one.where(one != self.nodata)
                values = read_map(one, own, part, self.resampling)
            try:
                refuse_fills(values, variable, {"units": self.told[variable]})
            except CubeError as error:
                raise CubeError(f"{path}: {error}, or say nodata: in the recipe") from error
            if self.scale != 1.0 or self.add != 0.0:
                values = values * np.float32(self.scale) + np.float32(self.add)
            found[variable] = values
        return found

    def same_files(self) -> dict[str, tuple[Any, ...]]:
        """Return for each variable what it is read from."""
        if self.dataset is not None:
            return {name: (str(self.folder / self.files), stored) for name, stored in self.variables.items()}
        return {name: tuple(map(str, self._file(0, band))) for name, band in self.variables.items()}


KINDS: Mapping[str, type[FineSource]] = {"sentinel2": Sentinel2, "sentinel1": Sentinel1, "raster": Raster}


def decibel(power: np.ndarray) -> np.ndarray:
    """Return 10 log10 of power; NaN where it is not above 0."""
    values: np.ndarray = 10 * np.log10(np.where(power > 0, power, np.nan))
    return values.astype(np.float32)
