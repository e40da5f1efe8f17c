"""The fine stack: predictors on a fine grid, as `fine.zarr` or as a folder of GeoTIFFs, read window by window."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from sgdsm.core.coordinates import check_axes, check_text, days_along
from sgdsm.core.cube import open_dataset, suggest
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.safety import refuse_irregular
from sgdsm.core.io.stores import is_remote
from sgdsm.preprocessing.grid import crs_in

PATTERN, STATIC = "{variable}_{date}.tif", "{variable}.tif"
FORMS = ("%Y%m%d", "%Y-%m-%d", "%Y%j")  # of dates in names
DATED = r"(?P<date>\d{4}-\d{2}-\d{2}|\d{8}|\d{7})"
NAMED = r"(?P<variable>[A-Za-z]\w*?)"
TIME, ROWS, COLUMNS = "time", "y", "x"
MAPPING, TRANSFORM = "spatial_ref", "GeoTransform"
STAMP = "TIFFTAG_DATETIME"
EVEN = 1e-3  # of a pixel: how far centres may lie off an even grid


class FineGrid(NamedTuple):
    """Where the pixels of a stack lie.

    Attributes:
        crs: WKT.
        transform: As of GDAL: x of the west edge, width of a pixel, 0, y of the north edge, 0, minus its height.
        rows: Number of rows.
        columns: Number of columns.
    """

    crs: str
    transform: tuple[float, float, float, float, float, float]
    rows: int
    columns: int

    def part(self, rows: slice, columns: slice) -> FineGrid:
        """Return the grid of some rows and columns."""
        west, width, _, north, _, height = self.transform
        if rows.start == 0 and columns.start == 0:
            moved = self.transform
        else:
            moved = (west + columns.start * width, width, 0.0, north + rows.start * height, 0.0, height)
        return FineGrid(self.crs, moved, rows.stop - rows.start, columns.stop - columns.start)

    def centres(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return y of rows and x of columns, at centres of pixels."""
        west, width, _, north, _, height = self.transform
        y = north + (np.arange(rows.start, rows.stop) + 0.5) * height
        return y, west + (np.arange(columns.start, columns.stop) + 0.5) * width


def open_stack(
    path: str | Path,
    names: Sequence[str] | None = None,
    *,
    pattern: str = PATTERN,
    static: str = STATIC,
    time: tuple[str, str] | None = None,
) -> xr.Dataset:
    """Open a fine stack; no values are read yet.

    Args:
        path: A Zarr store (dims time, y, x, or y, x for what does not change; CRS in `spatial_ref`), or a folder of
            GeoTIFFs.
        names: Variables that are needed; None for all.
        pattern: Names of the files of days in a folder, with {date} (20210116, 2021-01-16 or 2021016) and {variable}.
            Without {variable} a file has several bands, each with the name of its variable as description.
        static: Names of the files without a date, with {variable}.
        time: First and last date, inclusive, '' for an open end, as from `core.region.period_of`.

    Returns:
        Variables (time, y, x) and (y, x), north first, with `units` (else `units_missing`) and `source`; the coordinate
        `spatial_ref` has `crs_wkt` and `GeoTransform`.

    Raises:
        CubeError: A variable, a file of a day, or the CRS is missing; grids or dates of files differ.
        ConfigError: The pattern cannot work, or rasterio is not installed.
    """
    where = Path(path)
    if is_remote(path) or where.suffix == ".zarr":
        stack = _of_store(str(path), names, time)
    elif where.is_dir():
        stack = _of_folder(where, names, pattern, static, time)
    else:
        kind = "expected a store ending in .zarr, or a folder of GeoTIFFs" if where.exists() else "no such file"
        raise CubeError(f"fine={path}: {kind}")
    return stack


def grid_of(stack: xr.Dataset) -> FineGrid:
    """Return the grid of what `open_stack` returns."""
    about = stack[MAPPING].attrs
    numbers = tuple(float(word) for word in about[TRANSFORM].split())
    return FineGrid(about["crs_wkt"], numbers, stack.sizes[ROWS], stack.sizes[COLUMNS])  # type: ignore[arg-type]


def days_of(stack: xr.Dataset) -> np.ndarray:
    """Return the days of a stack, datetime64[D], (T,)."""
    return stack[TIME].values.astype("datetime64[D]")


def cut_to(stack: xr.Dataset, bbox: Sequence[float]) -> xr.Dataset:
    """Return the part of a stack whose pixels have their centres in a box of latitude and longitude.

    Args:
        stack: As from `open_stack`.
        bbox: [west, south, east, north], degrees. In a projection what is cut is the rectangle around the box.

    Raises:
        CubeError: There is no such pixel.
    """
    from rasterio.crs import CRS
    from rasterio.warp import transform_bounds

    grid = grid_of(stack)
    bounds = transform_bounds(CRS.from_epsg(4326), CRS.from_user_input(grid.crs), *map(float, bbox))
    west, south, east, north = bounds
    parts = {}
    for dim, low, high in ((ROWS, south, north), (COLUMNS, west, east)):
        values = stack[dim].values
        inside = np.flatnonzero((values >= low) & (values <= high))
        if not inside.size:
            raise CubeError(
                f"bbox={list(bbox)} holds no pixel: its {dim} is {low:.10g} to {high:.10g}, that of the stack "
                f"{values.min():.10g} to {values.max():.10g}"
            )
        parts[dim] = slice(int(inside[0]), int(inside[-1]) + 1)
    part = grid.part(parts[ROWS], parts[COLUMNS])
    about = {**stack[MAPPING].attrs, TRANSFORM: _text(part.transform)}
    return stack.isel(parts).assign_coords({MAPPING: ((), np.int32(0), about)})


def windows_of(rows: int, columns: int, pixels: int) -> list[tuple[slice, slice]]:
    """Return windows that cover a grid, row by row.

    Args:
        rows: Of the grid.
        columns: Of the grid.
        pixels: Side of a window; at the south and east edges they are smaller.
    """
    downs, acrosses = ([slice(k, min(k + pixels, size)) for k in range(0, size, pixels)] for size in (rows, columns))
    return [(down, across) for down in downs for across in acrosses]


def chosen_days(days: np.ndarray, time: tuple[str, str] | None, where: object) -> slice:
    """Return the slice of sorted days that a period holds; CubeError where it holds none.

    Args:
        days: Sorted, datetime64, (T,).
        time: As in `open_stack`.
        where: Name of the stack, for messages.
    """
    if time is None:
        return slice(0, len(days))
    index = xr.Dataset(coords={TIME: days.astype("datetime64[ns]")}).indexes[TIME]
    try:
        found = index.slice_indexer(*(end or None for end in time))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"time={time[0]}:{time[1]}: expected dates like 2021-01-01:2021-06-30") from error
    if found.start >= found.stop:
        raise CubeError(f"time={time[0]}:{time[1]} holds no day: {where} has {days[0]} to {days[-1]}")
    return slice(int(found.start), int(found.stop))


def _of_store(path: str, names: Sequence[str] | None, time: tuple[str, str] | None) -> xr.Dataset:
    stack = open_dataset(path)
    maps = [str(n) for n, v in stack.data_vars.items() if {ROWS, COLUMNS} <= set(v.dims)]
    chosen = maps if names is None else list(names)
    for name in chosen:
        if name not in stack:
            raise _absent(path, name, maps)
        dims = stack[name].dims
        if set(dims) not in ({ROWS, COLUMNS}, {TIME, ROWS, COLUMNS}):
            raise CubeError(f"fine={path}: '{name}' has dims {dims}, expected time, y and x, or y and x")
    crs = crs_in(stack)
    if crs is None:
        raise CubeError(f"fine={path}: no CRS: expected a variable {MAPPING} with crs_wkt")
    transform = next((str(v.attrs[TRANSFORM]) for v in stack.variables.values() if TRANSFORM in v.attrs), None)
    stack = stack[chosen].transpose(TIME, ROWS, COLUMNS, missing_dims="ignore")
    try:
        check_text(stack)
        check_axes(stack, [ROWS, COLUMNS])
        found = _even_grid(stack[ROWS].values, stack[COLUMNS].values)
    except CubeError as error:
        raise CubeError(f"fine={path}: {error}") from error
    if transform is not None and not _is_close(transform, found):
        raise CubeError(
            f"fine={path}: {TRANSFORM} {transform} is not that of y and x, {_text(found)}: centres or corners?"
        )
    if TIME in stack.dims:
        try:
            days = days_along(stack)
        except CubeError as error:
            raise CubeError(f"fine={path}: {error}") from error
        stack = _sorted_days(stack.assign_coords({TIME: days}), time, path)
    return _finished(stack, crs, transform or _text(found))


def _sorted_days(stack: xr.Dataset, time: tuple[str, str] | None, path: object) -> xr.Dataset:
    days = stack[TIME].values.astype("datetime64[D]")
    if not len(days):
        raise CubeError(f"fine={path}: no day is in it")
    steps = np.diff(days).astype(int)
    if (steps <= 0).any():
        bad = int(np.flatnonzero(steps <= 0)[0])
        raise CubeError(f"fine={path}: the days are not in order, or twice: {days[bad]}, then {days[bad + 1]}")
    return stack.isel({TIME: chosen_days(days, time, f"fine={path}")})


def _finished(stack: xr.Dataset, crs: str, transform: str) -> xr.Dataset:
    """Give variables `units` or `units_missing`, and the stack its CRS and transform."""
    for variable in stack.data_vars.values():
        if not str(variable.attrs.get("units", "")):
            variable.attrs |= {"units": "1", "units_missing": 1}
        variable.attrs["grid_mapping"] = MAPPING
    stack = stack.drop_vars([name for name in stack.coords if name not in (TIME, ROWS, COLUMNS)])
    return stack.assign_coords({MAPPING: ((), np.int32(0), {"crs_wkt": crs, TRANSFORM: transform})})


def _even_grid(y: np.ndarray, x: np.ndarray) -> tuple[float, ...]:
    """Return the transform of centres of pixels; CubeError where they are no even grid with the north first."""
    if min(len(y), len(x)) < 2:
        raise CubeError(f"{len(y)} rows and {len(x)} columns: expected at least two of each")
    steps = []
    for name, values in (("y", y.astype(np.float64)), ("x", x.astype(np.float64))):
        # of n centres there are n - 1 steps
        step = (values[-1] - values[0]) / (len(values) - 1)
        even = values[0] + step * np.arange(len(values))
        if abs(values - even).max() > EVEN * abs(step):
            raise CubeError(f"'{name}' has uneven steps: expected those of one grid")
        steps.append(float(step))
    down, across = steps
    if down > 0 or across < 0:
        raise CubeError("'y' must fall and 'x' rise (north first, west first): turn the stack")
    return float(x[0]) - across / 2, across, 0.0, float(y[0]) - down / 2, 0.0, down


def _text(transform: Sequence[float]) -> str:
    return " ".join(repr(float(number)) for number in transform)


def _is_close(transform: str, found: Sequence[float]) -> bool:
    try:
        given = np.array([float(word) for word in transform.split()])
    except ValueError:
        return False
    return given.shape == (6,) and bool((abs(given - found) <= EVEN * abs(found[1])).all())


def _absent(path: object, name: str, known: Sequence[str]) -> CubeError:
    return CubeError(f"fine={path}: no variable '{name}'{suggest(name, known)}; there are {', '.join(known) or 'none'}")


# a folder of GeoTIFFs


class _Maps(BackendArray):
    """A band of files of one grid, each of one day, or of one file (then without time); opened for each window.

    Args:
        paths: Of the days in their order.
        bands: Number of the band in each file.
        shape: (T, H, W), or (H, W) of a single file.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, paths: Sequence[Path], bands: Sequence[int], shape: tuple[int, ...]) -> None:
        self.paths, self.bands, self.shape = paths, bands, shape

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        if len(self.shape) == 2:
            return self._window(0, *key)
        day, *place = key
        if isinstance(day, slice):
            found = [self._window(k, *place) for k in range(*day.indices(self.shape[0]))]
            empty = np.empty((0, *self._window(0, *place).shape), self.dtype) if not found else None
            return np.stack(found) if empty is None else empty
        return self._window(int(day) % self.shape[0], *place)

    def _window(self, number: int, rows: slice | int, columns: slice | int) -> np.ndarray:
        import rasterio
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        path, band = self.paths[number], self.bands[number]
        chosen = [np.arange(size)[key] for size, key in zip(self.shape[-2:], (rows, columns), strict=True)]
        spans = [(int(a.min()), int(a.max()) + 1) if a.size else (0, 0) for a in map(np.atleast_1d, chosen)]
        (top, bottom), (left, right) = spans
        try:
            with rasterio.open(path, driver="GTiff") as file:
                raw = file.read(band, window=Window(left, top, right - left, bottom - top))
                scale, offset, nodata = file.scales[band - 1], file.offsets[band - 1], file.nodatavals[band - 1]
        except RasterioError as error:
            why = " ".join(str(error).split())[:150]
            raise CubeError(f"{path}: band {band} cannot be read (truncated, or no GeoTIFF): {why}") from error
        values = raw.astype(np.float32) if (scale, offset) == (1, 0) else (raw * scale + offset).astype(np.float32)
        if nodata is not None and not np.isnan(nodata):
            # -3.4e38 is declared with fewer digits than the values have
            values[np.isclose(raw, nodata, rtol=1e-6, atol=0)] = np.nan
        # once more what the window was asked for: single rows, steps
        inner = np.ix_(*(np.atleast_1d(a) - low for a, (low, _) in zip(chosen, spans, strict=True)))
        cut: np.ndarray = values[inner].reshape(tuple(a.size for a in chosen if a.ndim))
        return cut


class _File(NamedTuple):
    """What the head of a GeoTIFF says."""

    crs: str
    transform: tuple[float, ...]
    shape: tuple[int, int]
    bands: dict[str, int]
    about: dict[str, dict[str, Any]]


def _of_folder(
    folder: Path, names: Sequence[str] | None, pattern: str, static: str, time: tuple[str, str] | None
) -> xr.Dataset:
    try:
        import rasterio  # noqa: F401
    except ImportError as error:
        raise ConfigError("a folder of GeoTIFFs needs rasterio: pip install 'sgdsm[downscale]'") from error
    dated, fixed = _listed(folder, pattern, static)
    if not dated:
        raise CubeError(f"fine={folder}: no file is named like pattern={pattern}")
    single = "{variable}" not in pattern
    days = np.unique(np.array([d for by_day in dated.values() for d in by_day], "datetime64[D]"))
    days = days[chosen_days(days, time, f"fine={folder}")]
    if single:
        first = _head(dated[""][_date(days[0])], None)
        known = list(first.bands)
    else:
        known = [*dated, *(n for n in fixed if n not in dated)]
    heads = _Heads(single)
    arrays: dict[str, xr.Variable] = {}
    for name in list(names) if names is not None else known:
        by_day = dated.get("" if single and name not in fixed else name)
        if by_day is None and name not in fixed:
            raise _absent(folder, name, known)
        if by_day is None:
            paths, told = [fixed[name]], [heads.of(fixed[name], name, None)]
        else:
            _refuse_lacking(folder, name, days, by_day, pattern)
            paths = [by_day[_date(day)] for day in days]
            told = [heads.of(path, name, _date(day)) for path, day in zip(paths, days, strict=True)]
        about = told[0][1]
        for path, (_, other) in zip(paths, told, strict=True):
            if other != about:
                raise CubeError(f"{path}: {_difference(other, about)} of '{name}', in {paths[0].name} it is otherwise")
        moves = by_day is not None
        shape = (len(days), *heads.first.shape) if moves else heads.first.shape
        data = indexing.LazilyIndexedArray(_Maps(paths, [band for band, _ in told], shape))
        dims = (TIME, ROWS, COLUMNS) if moves else (ROWS, COLUMNS)
        arrays[name] = xr.Variable(dims, data, dict(about), {"source": str(paths[0])})
    west, width, _, north, _, height = heads.first.transform
    coords = {
        TIME: days.astype("datetime64[ns]"),
        ROWS: north + (np.arange(heads.first.shape[0]) + 0.5) * height,
        COLUMNS: west + (np.arange(heads.first.shape[1]) + 0.5) * width,
    }
    return _finished(xr.Dataset(arrays, coords), heads.first.crs, _text(heads.first.transform))


def _refuse_lacking(folder: Path, name: str, days: np.ndarray, by_day: dict[date, Path], pattern: str) -> None:
    lacking = [str(day) for day in days if _date(day) not in by_day]
    if lacking:
        expected = pattern.replace("{variable}", name).replace("{date}", lacking[0].replace("-", ""))
        raise CubeError(
            f"fine={folder}: no file of '{name}' on {len(lacking)} of {len(days)} days, the first is "
            f"{lacking[0]} (like {expected}): add it, or choose other days by time="
        )


class _Heads:
    """The heads of the files of a folder, each read once; all must have the grid of the first one.

    Args:
        single: Whether the file of a day has a band for each variable.
    """

    first: _File

    def __init__(self, single: bool) -> None:
        self.single = single
        self.read: dict[Path, _File] = {}

    def of(self, path: Path, name: str, day: date | None) -> tuple[int, dict[str, Any]]:
        """Return the band of a variable in a file, and its attributes."""
        if path not in self.read:
            head = _head(path, None if self.single and day is not None else name, day)
            if self.read:
                _same_grid(path, head, next(iter(self.read)), self.first)
            else:
                self.first = head
            self.read[path] = head
        found = self.read[path]
        if name not in found.bands:
            raise _absent(path, name, list(found.bands))
        return found.bands[name], found.about[name]


def _listed(folder: Path, pattern: str, static: str) -> tuple[dict[str, dict[date, Path]], dict[str, Path]]:
    """Return the files of days by variable ('' where a file has several) and day, and those without a date."""
    for key, words, needed in (("pattern", pattern, "{date}"), ("static", static, "{variable}")):
        if words.count(needed) != 1:
            raise ConfigError(
                f"{key}={words}: expected a name with {needed}, like {PATTERN if key == 'pattern' else STATIC}"
            )
    of_day, of_map = (
        re.compile(re.escape(words).replace(r"\{variable\}", NAMED).replace(r"\{date\}", DATED))
        for words in (pattern, static)
    )
    dated: dict[str, dict[date, Path]] = {}
    fixed: dict[str, Path] = {}
    for path in sorted(folder.rglob("*") if "/" in pattern + static else folder.glob("*")):
        name = path.relative_to(folder).as_posix()
        if found := of_day.fullmatch(name):
            variable, day = found.groupdict().get("variable", ""), _day_of(path, found["date"])
            if day in dated.setdefault(variable, {}):
                raise CubeError(f"{path}: {day} has another file: {dated[variable][day].name}")
            dated[variable][day] = path
        elif found := of_map.fullmatch(name):
            fixed[found["variable"]] = path
    return dated, fixed


def _day_of(path: Path, words: str) -> date:
    form = FORMS[{8: 0, 10: 1, 7: 2}[len(words)]]
    try:
        day = datetime.strptime(words, form).date()
        # day 366 of any year is read as one of the next year
        if day.year != int(words[:4]):
            raise ValueError
        return day
    except ValueError:
        raise CubeError(f"{path}: {words} in its name is no day of the calendar") from None


def _date(day: np.datetime64) -> date:
    found: date = day.astype(date)
    return found


def _head(path: Path, name: str | None, day: date | None = None) -> _File:
    """Return what a file says of itself.

    Args:
        path: The file.
        name: Of its only variable; None where the descriptions of the bands are the names.
        day: That its name tells; the file's own date, if it has one, must be the same.
    """
    import rasterio
    from rasterio.errors import RasterioError

    refuse_irregular(path)
    try:
        with rasterio.open(path, driver="GTiff") as file:
            crs, move, tags = file.crs, file.transform, file.tags()
            shape, units, descriptions = (file.height, file.width), file.units, file.descriptions
            sources = [file.tags(k + 1).get("source", tags.get("source", "")) for k in range(file.count)]
    except RasterioError as error:
        raise CubeError(f"{path}: cannot be read as a GeoTIFF: {' '.join(str(error).split())[:150]}") from error
    if crs is None or move.b or move.d or move.e > 0:
        raise CubeError(f"{path}: no CRS, or its grid is turned: expected a georeferenced map, north first")
    own = _stamped(tags.get(STAMP))
    if day is not None and own is not None and own != day:
        raise CubeError(f"{path}: its name says {day}, its tag {STAMP} {own}: which is it?")
    if name is None and not all(descriptions):
        raise CubeError(
            f"{path}: a band has no description: expected the names of variables, or {{variable}} in pattern="
        )
    if name is not None and len(descriptions) > 1:
        raise CubeError(
            f"{path}: {len(descriptions)} bands, expected one with '{name}' (or pattern= without {{variable}})"
        )
    bands = {name: 1} if name is not None else {str(text): k + 1 for k, text in enumerate(descriptions)}
    about = {
        n: ({"units": units[k - 1]} if units[k - 1] else {}) | ({"source": sources[k - 1]} if sources[k - 1] else {})
        for n, k in bands.items()
    }
    return _File(crs.to_wkt(), tuple(float(v) for v in move.to_gdal()), shape, bands, about)


def _stamped(words: str | None) -> date | None:
    try:
        return None if words is None else datetime.strptime(words[:10].replace("-", ":"), "%Y:%m:%d").date()
    except ValueError:
        return None


def _same_grid(path: Path, head: _File, other: Path, expected: _File) -> None:
    for what, found, wanted in (
        ("CRS", head.crs, expected.crs),
        ("transform", head.transform, expected.transform),
        ("shape", head.shape, expected.shape),
    ):
        if found != wanted:
            short = "" if what == "CRS" else f" {found}"
            why = f"the {what}{short} is not that of {other.name}{'' if what == 'CRS' else f', {wanted}'}"
            raise CubeError(f"{path}: {why}: bring all files to one grid")


def _difference(one: dict[str, Any], other: dict[str, Any]) -> str:
    key = next(k for k in ("units", "source") if one.get(k) != other.get(k))
    return f"{key} '{one.get(key, '')}'"
