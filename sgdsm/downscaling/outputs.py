"""Where fine maps go: a GeoTIFF a day, or a Zarr store; written window by window, whole days at a time."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import xarray as xr

from sgdsm.core.arguments import shown
from sgdsm.core.errors import ConfigError
from sgdsm.core.filled import FILLED, NONE, SM_DISTANCE, SM_FILLED, SM_LOWER, SM_SOURCE, SM_UPPER
from sgdsm.core.io.hdf5 import require_space
from sgdsm.core.units import normal
from sgdsm.downscaling.raster_grid import RasterGrid
from sgdsm.downscaling.stack import COLUMNS, MAPPING, ROWS, STAMP, TIME, FineGrid
from sgdsm.inference.writers import PLAN

NOTE = f"{PLAN}.json"
TILE = 512  # pixels; the largest side of a tile
CACHE_MIB = 64  # of GDAL's own; its default is a share of the machine's memory
MISSING = -32768  # in packed files
PACKED_BY = {"1": 1e-4, "percent": 1e-2}  # by the units of the target
PACKED_DISTANCE = 1e-3
LARGEST = 32767
# what a plan knows by a digest, which says nothing to a reader
BY_DIGEST = {"run": "another run", "coarse": "other coarse maps"}
ERRORS_OF_1_KM = (
    "describes errors of estimates of the resolution that the run was trained on (1 km), not of single pixels"
)

Write = Callable[[slice, slice, Mapping[str, np.ndarray]], None]


class Band(NamedTuple):
    """A variable of the output.

    Attributes:
        name: Of a variable of a store, and the description of a band.
        units: Of its values.
        about: Attributes.
        scale: Of packed values; 1 for float32.
    """

    name: str
    units: str
    about: dict[str, Any]
    scale: float

    @property
    def dtype(self) -> str:
        """Type of the stored values."""
        return "float32" if self.scale == 1 else "int16"

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Return values (float32, NaN where missing) as they are stored."""
        if self.scale == 1:
            return values
        whole = np.clip(np.rint(values / np.float32(self.scale)), MISSING + 1, LARGEST)
        return np.where(np.isfinite(values), whole, MISSING).astype(np.int16)


def bands_of(units: str, level: float | None, has_distance: bool, packed: bool) -> list[Band]:
    """Return the variables of the output.

    Args:
        units: Of the target.
        level: Of the intervals; None for none.
        has_distance: Whether the distance is written.
        packed: Whether values are stored as int16.

    Raises:
        ConfigError: Packed values have no scale for these units.
    """
    scale = 1.0
    if packed:
        kind = normal(units)
        if kind not in PACKED_BY:
            raise ConfigError(f"packed=true: expected a target in m3 m-3 or percent, found '{units}'")
        scale = PACKED_BY[kind]
    bands = [Band(SM_FILLED, units, {"long_name": "soil moisture, downscaled"}, scale)]
    if level is not None:
        for name, side in ((SM_LOWER, "lower"), (SM_UPPER, "upper")):
            about = {"long_name": f"{side} bound of the {100 * level:g} % interval", "level": level}
            bands.append(Band(name, units, {**about, "comment": ERRORS_OF_1_KM}, scale))
    if has_distance:
        about = {
            "long_name": "distance of the predictors from those of training",
            "comment": "above 1: unlike training",
        }
        bands.append(Band(SM_DISTANCE, "1", about, PACKED_DISTANCE if packed else 1.0))
    return bands


class Output(Protocol):
    """Destination of fine maps."""

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Prepare the output; ConfigError where it is of another plan."""

    def is_made(self, number: int, day: np.datetime64, digest: str) -> bool:
        """Return True if a day is there already; ConfigError where it was made of other predictors."""

    def day(self, number: int, day: np.datetime64, digest: str) -> Any:
        """Return a context that gives the function which writes a window; leaving it ends the day.

        Args:
            number: Of the day, from 0.
            day: The day.
            digest: Of its predictors.
        """

    def scratch(self) -> Path:
        """Return the name of a file for what is kept while a day is made."""

    def finish(self) -> None:
        """Complete the output."""


def digest_of(plan: Mapping[str, Any]) -> str:
    """Return a digest of plain values."""
    return hashlib.sha256(json.dumps(plan, sort_keys=True, default=str).encode()).hexdigest()[:16]


def check_plan(text: str, plan: Mapping[str, Any], output: Path) -> None:
    """Raise ConfigError where a note of an output tells of another plan; naming what differs.

    Args:
        text: Of the note, JSON.
        plan: Plain values.
        output: For messages.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"output={output}: its {NOTE} is damaged: remove it, or choose another output")
    wanted = json.loads(json.dumps(dict(plan), default=str))
    if found != wanted:
        key = next((key for key in wanted if found.get(key) != wanted[key]), "more")
        if key in BY_DIGEST and found.get(key) is not None and wanted[key] is not None:
            raise ConfigError(
                f"output={output} was begun with {BY_DIGEST[key]}, or {key}= has changed since: remove it, or choose "
                "another output"
            )
        raise ConfigError(
            f"output={output} was begun with other words: {key} was {shown(found.get(key))}, now "
            f"{shown(wanted.get(key))}: remove it, or choose another output"
        )


def _write_note(note: Path, plan: Mapping[str, Any]) -> None:
    partial = note.with_name(f"{note.name}.partial")
    partial.write_text(json.dumps(dict(plan), indent=1, default=str) + "\n", encoding="utf-8")
    partial.replace(note)


class GeoTiffs:
    """A folder with a GeoTIFF a day, `SM_10m_YYYYMMDD.tif`, of which the bands are the variables.

    Each is tiled and packed by deflate, and has CRS and transform of the stack, nodata, units, descriptions, date and
    origin; nothing in it depends on when it was made, so that the same words give the same bytes.

    Args:
        folder: Of the files.
        grid: Of the maps.
        bands: Of each file.
        tags: Further tags of each file.
        window_pixels: Side of a window.
        cog: Whether files are cloud-optimised, with overviews, by GDAL's own driver.
    """

    def __init__(
        self,
        folder: Path,
        grid: FineGrid,
        bands: Sequence[Band],
        tags: Mapping[str, str],
        window_pixels: int,
        cog: bool,
    ) -> None:
        try:
            import rasterio  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "GeoTIFFs need rasterio: pip install 'sgdsm[downscale]', or write output=FILE.zarr"
            ) from error
        self.folder, self.grid, self.bands, self.tags, self.cog = folder, grid, list(bands), dict(tags), cog
        # a window holds whole tiles: each is packed once
        self.tile = math.gcd(window_pixels, TILE)
        self.digest = ""

    def begin(self, plan: Mapping[str, Any]) -> None:
        note = self.folder / NOTE
        self.digest = digest_of(plan)
        if note.exists():
            check_plan(note.read_text(encoding="utf-8"), plan, self.folder)
            return
        made = sorted(self.folder.glob(f"{self._name('*')}")) if self.folder.is_dir() else []
        if made:
            raise ConfigError(f"output={self.folder}: {made[0].name} is there without {NOTE}: choose another output")
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_note(note, plan)

    def path(self, day: np.datetime64) -> Path:
        """Return the name of a day's file."""
        return self.folder / self._name(str(day).replace("-", ""))

    def _name(self, day: str) -> str:
        from rasterio.crs import CRS

        width = self.grid.transform[1]
        unit = "deg" if CRS.from_user_input(self.grid.crs).is_geographic else "m"
        return f"SM_{width:g}{unit}_{day}.tif"

    def is_made(self, number: int, day: np.datetime64, digest: str) -> bool:
        import rasterio
        from rasterio.errors import RasterioError

        path = self.path(day)
        if not path.exists():
            return False
        try:
            with rasterio.open(path, driver="GTiff") as file:
                found = file.tags().get("sgdsm_day")
        except RasterioError:
            found = None
        if found != self._stamp(digest):
            raise ConfigError(f"{path} is of another run, or of other predictors of that day: remove it, or its folder")
        return True

    def _stamp(self, digest: str) -> str:
        return f"{self.digest} {digest}"

    def scratch(self) -> Path:
        return self.folder / "estimates.partial"

    @contextmanager
    def day(self, number: int, day: np.datetime64, digest: str) -> Iterator[Write]:
        import rasterio
        from rasterio.crs import CRS
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        final = self.path(day)
        partial = final.with_name(f"{final.name}.partial")
        partial.unlink(missing_ok=True)
        kind = {"float32": ("float32", np.nan, 3), "int16": ("int16", MISSING, 2)}
        dtype, nodata, predictor = kind[self.bands[0].dtype]
        profile = {
            "driver": "GTiff",
            "height": self.grid.rows,
            "width": self.grid.columns,
            "count": len(self.bands),
            "dtype": dtype,
            "nodata": nodata,
            "crs": CRS.from_user_input(self.grid.crs),
            "transform": rasterio.Affine.from_gdal(*self.grid.transform),
            "tiled": True,
            "blockxsize": self.tile,
            "blockysize": self.tile,
            "compress": "deflate",
            "predictor": predictor,
            "interleave": "band",
            "BIGTIFF": "IF_SAFER",
        }
        last: list[tuple[Window, np.ndarray]] = []
        try:
            with rasterio.Env(GDAL_CACHEMAX=CACHE_MIB):
                with rasterio.open(partial, "w", **profile) as file:
                    self._describe(file, day, digest)

                    def write(rows: slice, columns: slice, values: Mapping[str, np.ndarray]) -> None:
                        stored = np.stack([band.stored(values[band.name]) for band in self.bands])
                        # GDAL itself may find out that the disk is full only as it closes the file, and say nothing
                        require_space(partial, stored.nbytes)
                        window = Window(columns.start, rows.start, stored.shape[2], stored.shape[1])
                        file.write(stored, window=window)
                        last[:] = [(window, stored)]

                    yield write
                with rasterio.open(partial, driver="GTiff") as file:
                    window, stored = last[0]
                    same = np.array_equal(file.read(window=window), stored, equal_nan=stored.dtype.kind == "f")
                if not same:
                    raise ConfigError(f"{partial}: what was written cannot be read back: is the disk full?")
                if self.cog:
                    self._copy_as_cog(partial)
        except RasterioError as error:
            raise ConfigError(f"{partial}: cannot be written: {' '.join(str(error).split())[:200]}") from error
        partial.replace(final)

    def _copy_as_cog(self, partial: Path) -> None:
        from rasterio import shutil as raster_copies

        copy = partial.with_name(f"{partial.name}.cog")
        require_space(copy, 2 * partial.stat().st_size)
        raster_copies.copy(
            partial,
            copy,
            driver="COG",
            COMPRESS="DEFLATE",
            PREDICTOR="YES",
            BLOCKSIZE=self.tile,
            OVERVIEWS="AUTO",
            RESAMPLING="AVERAGE",
            BIGTIFF="IF_SAFER",
        )
        copy.replace(partial)

    def _describe(self, file: Any, day: np.datetime64, digest: str) -> None:
        file.descriptions = tuple(band.name for band in self.bands)
        file.units = tuple(band.units for band in self.bands)
        file.scales = tuple(band.scale for band in self.bands)
        file.update_tags(
            **{
                STAMP: f"{str(day).replace('-', ':')} 00:00:00",
                "TIFFTAG_SOFTWARE": f"sgdsm {version('sgdsm')}",
                "TIFFTAG_IMAGEDESCRIPTION": f"soil moisture of {day}, downscaled",
                "AREA_OR_POINT": "Area",
                "sgdsm_day": self._stamp(digest),
                **self.tags,
            }
        )
        for k, band in enumerate(self.bands, 1):
            file.update_tags(k, **{key: str(value) for key, value in band.about.items()})

    def finish(self) -> None:
        self.scratch().unlink(missing_ok=True)


class Store:
    """A Zarr store with all days: `sm_filled`, `sm_source` and what else there is, dims (time, y, x), a chunk a window.

    Args:
        path: Of the store; it is made as `PATH.partial` and renamed.
        grid: Of the maps.
        days: All days, datetime64[D].
        bands: Variables.
        tags: Attributes of the store.
        window_pixels: Side of a window, and of a chunk.
    """

    PLAN, DAYS = "sgdsm_words", "sgdsm_days"  # attributes of the store: JSON

    def __init__(
        self,
        path: Path,
        grid: FineGrid,
        days: np.ndarray,
        bands: Sequence[Band],
        tags: Mapping[str, str],
        window_pixels: int,
    ) -> None:
        self.path, self.partial = path, Path(f"{path}.partial")
        self.grid, self.days, self.bands = grid, days, list(bands)
        self.tags, self.pixels = dict(tags), window_pixels

    def begin(self, plan: Mapping[str, Any]) -> None:
        import zarr

        whole = {**plan, "days": [str(day) for day in self.days]}
        self.complete = self.path.exists()
        if not self.complete and self.PLAN not in self._attributes(self.partial):
            # nothing is there, or it was interrupted while it was made
            shutil.rmtree(self.partial, ignore_errors=True)
            self._make()
            attributes = {PLAN: digest_of(whole), self.DAYS: "{}", self.PLAN: json.dumps(whole, default=str)}
            zarr.open_group(self.partial, mode="r+").attrs.update(attributes)
        where = self.path if self.complete else self.partial
        if self.PLAN not in self._attributes(where):
            raise ConfigError(f"output={self.path} is there, and not of this command: choose another output")
        self.group: Any = zarr.open_group(where, mode="r" if self.complete else "r+")
        check_plan(str(self.group.attrs[self.PLAN]), whole, self.path)

    @staticmethod
    def _attributes(where: Path) -> dict[str, Any]:
        try:
            found = json.loads((where / ".zattrs").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _make(self) -> None:
        west, width, _, north, _, height = self.grid.transform
        grid = RasterGrid(self.grid.crs, west, north, width, -height, self.grid.rows, self.grid.columns)
        coords: dict[str, Any] = {
            TIME: (TIME, self.days.astype("datetime64[ns]"), {"standard_name": "time", "axis": "T"}),
            **grid.coords(),
        }
        about = {"Conventions": "CF-1.10", "title": "soil moisture, downscaled", "source": f"sgdsm {version('sgdsm')}"}
        xr.Dataset(coords=coords, attrs={**about, **self.tags}).to_zarr(self.partial, zarr_format=2, consolidated=False)
        import zarr

        group = zarr.open_group(self.partial, mode="r+")
        shape = (len(self.days), self.grid.rows, self.grid.columns)
        chunks = (1, min(self.pixels, self.grid.rows), min(self.pixels, self.grid.columns))

        def add(name: str, dtype: str, missing: Any, attrs: dict[str, Any]) -> None:
            made = group.create_array(name, shape=shape, chunks=chunks, dtype=dtype, fill_value=missing)
            made.attrs.update({"_ARRAY_DIMENSIONS": [TIME, ROWS, COLUMNS], "grid_mapping": MAPPING, **attrs})

        for band in self.bands:
            scale = {} if band.scale == 1 else {"scale_factor": band.scale}
            missing = np.nan if band.scale == 1 else MISSING
            add(band.name, band.dtype, missing, {"units": band.units, **band.about, **scale})
        codes = {
            "flag_values": [NONE, FILLED],
            "flag_meanings": "none filled",
            "long_name": "where sm_filled comes from",
        }
        add(SM_SOURCE, "int8", None, codes)

    def _made(self) -> dict[str, str]:
        found: dict[str, str] = json.loads(str(self.group.attrs[self.DAYS]))
        return found

    def is_made(self, number: int, day: np.datetime64, digest: str) -> bool:
        found = self._made().get(str(day))
        if found is not None and found != digest:
            raise ConfigError(f"output={self.path}: {day} was made of other predictors: remove it, or choose another")
        return found is not None

    def scratch(self) -> Path:
        return self.path.with_name(f"{self.path.name}.estimates.partial")

    @contextmanager
    def day(self, number: int, day: np.datetime64, digest: str) -> Iterator[Write]:
        def write(rows: slice, columns: slice, values: Mapping[str, np.ndarray]) -> None:
            for band in self.bands:
                self.group[band.name][number, rows, columns] = band.stored(values[band.name])
            known = np.isfinite(values[SM_FILLED])
            self.group[SM_SOURCE][number, rows, columns] = np.where(known, FILLED, NONE).astype(np.int8)

        require_space(self.partial, self.grid.rows * self.grid.columns * (4 * len(self.bands) + 1))
        yield write
        self.group.attrs[self.DAYS] = json.dumps({**self._made(), str(day): digest})

    def finish(self) -> None:
        import zarr

        self.scratch().unlink(missing_ok=True)
        if not self.complete:
            zarr.consolidate_metadata(self.partial)
            self.partial.replace(self.path)
