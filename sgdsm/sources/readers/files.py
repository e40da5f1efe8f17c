"""Folders of product files as one lazy Dataset: dates from file names, one grid, and errors that name the broken file.

A product is a module of `sgdsm.sources.products` with the function `files(paths, **options) -> Files`. Names of
variables, units and masks are the same for all products: see `sgdsm.sources.readers.names`.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from glob import has_magic
from pathlib import Path
from time import sleep
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from sgdsm.core.arguments import check_value, checked, hints_of
from sgdsm.core.cube import suggest
from sgdsm.core.errors import CubeError, SgdsmError
from sgdsm.core.extras import need
from sgdsm.core.io.safety import refuse_unsafe
from sgdsm.core.logging import log
from sgdsm.core.validation import check_values
from sgdsm.sources.readers.broken import why

OnBadFile = Literal["fail", "skip"]
READING_ERRORS = (OSError, KeyError, ValueError, IndexError, RuntimeError, TypeError, AttributeError)
# packages of the extra `products`, and the files that they read
OPTIONAL = {"rasterio": (".tif", ".tiff", ".jp2", ".vrt", ".bil", ".img"), "pyhdf": (".hdf",)}
# the NetCDF library may not be used by two threads at once: that ends the process
ONE_READER = threading.RLock()


class SourceError(SgdsmError):
    """A product's file, or folder of files, cannot be used: the text names it."""


class Unfit(ValueError):
    """The contents of a file cannot be used as they are.

    The text says what was expected; the caller, who knows the file, puts its name before it.
    """


class _Together:
    """Coordinates the threads of dask that load chunks, of all products, when one of them fails.

    dask does not wait for its other threads after a failure, so they would read files at the same time as the next
    thing that the caller does. Therefore a thread that fails waits until the others have finished, new loads are
    refused meanwhile, and all of them raise the first error.
    """

    BEGUN = 0.1  # seconds in which every thread that was given work has begun

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.busy = 0
        self.failed: BaseException | None = None

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Count a load as running; if it fails, wait for the others before the error is raised."""
        with self.changed:
            self._refuse()
            self.busy += 1
        try:
            try:
                yield
            finally:
                with self.changed:
                    self.busy -= 1
                    self.changed.notify_all()
        except BaseException as error:
            self._settle(error)
            raise

    def _refuse(self) -> None:
        """Raise the error of another load, if there is one, after all have finished."""
        if (error := self.failed) is not None:
            self.changed.wait_for(lambda: self.failed is not error)
            raise error

    def _settle(self, error: BaseException) -> None:
        """Register an error and wait until no load is running."""
        with self.changed:
            self._refuse()
            self.failed = error
        try:
            with self.changed:
                self.changed.wait_for(lambda: self.busy == 0)
            # threads that were given work but have not begun would otherwise not see the error
            sleep(self.BEGUN)
        finally:
            with self.changed:
                self.failed = None
                self.changed.notify_all()


TOGETHER = _Together()


@dataclass(frozen=True)
class File:
    """A product file.

    Args:
        path: The file.
        times: Times (N,) of its maps, datetime64[ns], rising; empty: one map without a time.
    """

    path: Path
    times: np.ndarray


@dataclass
class Files:
    """The files of a product, in the order of their times.

    Args:
        product: Name of the product.
        files: The files.
        read: Function of a path and of positions `steps` on its time axis, that returns these maps in memory: a Dataset
            with our names, dims (time, lat, lon) or (time, y, x), or without time.
        merge: Function that makes one Dataset of files that share a time (half orbits, tiles); None: shared times are
            an error.
        also: Files with other variables of these times, which `read` opens by itself.
    """

    product: str
    files: list[File]
    read: Callable[[Path, slice], xr.Dataset]
    merge: Callable[[list[xr.Dataset]], xr.Dataset] | None = None
    also: list[File] = field(default_factory=list)
    _first: xr.Dataset | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.files:
            raise SourceError(f"{self.product}: no files")
        # files without a time sort by path alone
        self.files = sorted(self.files, key=lambda file: (*file.times[:1].astype("int64"), str(file.path)))
        if self.merge is None:
            self._refuse_duplicates()

    @property
    def times(self) -> np.ndarray:
        """Return all times, datetime64[ns], rising, each once; empty for maps without a time."""
        return np.unique(np.concatenate([file.times for file in self.files]))

    def example(self) -> xr.Dataset:
        """Return the first map that can be read; its grid and its variables are those of all.

        Raises:
            SourceError: If none of the first ten files can be read.
        """
        if self._first is None:
            for number, file in enumerate(self.files):
                try:
                    self._first = self._read(file, slice(0, 1))
                    break
                except SourceError:
                    if number == min(9, len(self.files) - 1):
                        raise
        assert self._first is not None
        return self._first

    def load(self, times: np.ndarray, on_bad_file: OnBadFile = "fail", bad: list[str] | None = None) -> xr.Dataset:
        """Return the maps of some times, in memory; times that no file has are omitted.

        Args:
            times: Times (N,), datetime64[ns].
            on_bad_file: 'fail', or 'skip' to omit maps of files that cannot be used.
            bad: A line on each skipped file is added to this list.

        Returns:
            Dims (time, lat, lon) or (time, y, x), rising times.

        Raises:
            SourceError: If a file cannot be read, or has another grid, other variables, another version, another time
                than its name, or an undeclared fill value.
        """
        parts: dict[Any, list[xr.Dataset]] = {}
        for file in self.files:
            # one slice for each file: gaps within it are dropped at the end
            wanted = np.flatnonzero(np.isin(file.times, times))
            if not wanted.size:
                continue
            try:
                part = self._checked(file, slice(int(wanted[0]), int(wanted[-1]) + 1))
            except SourceError as error:
                if on_bad_file == "fail":
                    raise
                log.info("skipped: %s", error)
                if bad is not None:
                    bad.append(str(error))
                continue
            parts.setdefault(tuple(part["time"].values) if "time" in part.dims else None, []).append(part)
        if not parts:
            return self.example().isel(time=slice(0, 0))
        maps = [same[0] if len(same) == 1 or self.merge is None else self.merge(same) for same in parts.values()]
        if len(maps) == 1:
            series = maps[0]
        else:
            # grids were compared before, so nothing has to be aligned
            series = xr.concat(maps, "time", data_vars="minimal", coords="minimal", compat="override", join="override")
        return series.sel(time=np.isin(series["time"].values, times)).sortby("time")

    def map(self) -> xr.Dataset:
        """Return the one map of a product without time, in memory.

        Raises:
            SourceError: If there are several files that cannot be merged, a file cannot be read, or it holds an
                undeclared fill value.
        """
        maps = [self._read(file, slice(0, 1)) for file in self.files]
        if len(maps) > 1 and self.merge is None:
            raise SourceError(f"{self.product}: {len(maps)} files, expected one map: {self.files[1].path}")
        return maps[0] if len(maps) == 1 or self.merge is None else self.merge(maps)

    def open(self, on_bad_file: OnBadFile = "fail") -> xr.Dataset:
        """Return all maps as one lazy Dataset with a dask chunk for each time or each file.

        Only the first map is read now; a product without time is read completely.

        Args:
            on_bad_file: 'fail', or 'skip' to leave maps of broken files without values.

        Returns:
            Dims (time, lat, lon) or (time, y, x).

        Raises:
            SourceError: If the first map cannot be read; computing the Dataset raises it for the others.
        """
        example = self.example()
        # without time there is nothing to split into chunks
        if "time" not in example.dims:
            return self.map()
        # where files share a time, each time is a chunk, so that all its files are merged together
        chunks = [file.times for file in self.files] if self.merge is None else list(self.times[:, None])
        lazy: dict[str, list[Any]] = {str(n): [] for n, v in example.data_vars.items() if "time" in v.dims}
        for times in chunks:
            part = delayed(self._chunk)(times, on_bad_file)
            for name, blocks in lazy.items():
                variable = example[name]
                # the first map tells the size and the type of all blocks, none of which is read
                shape = (len(times), *variable.shape[1:])
                blocks.append(da.from_delayed(part[name].data, shape, variable.dtype))
        # static variables of a product are those of the first file
        dataset = example.drop_dims("time").assign_coords(time=("time", np.concatenate(chunks)))
        variables = {n: (example[n].dims, da.concatenate(b), example[n].attrs) for n, b in lazy.items()}
        order = [str(n) for n in example.data_vars]
        return dataset.assign(variables)[order].assign_attrs(example.attrs)

    def digest(self, file: File) -> str:
        """Return the BLAKE2 digest (128 bits, hexadecimal) of the bytes of a file."""
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def _chunk(self, times: np.ndarray, on_bad_file: OnBadFile) -> xr.Dataset:
        """Load the maps of a chunk; skipped maps have no values."""
        with TOGETHER.loading():
            maps = self.load(times, on_bad_file)
        # what was skipped stays without values
        return maps if maps.sizes["time"] == len(times) else maps.reindex(time=times, fill_value=_empty(maps))

    def _checked(self, file: File, steps: slice) -> xr.Dataset:
        """Return maps of a file after comparing times, grid, variables and version with those of the first file.

        Raises:
            SourceError: If they differ.
        """
        maps = self._read(file, steps)
        expected = file.times[steps]
        if "time" in maps.dims:
            inside = maps["time"].values
            # dates are kept in files with rounding errors
            if inside.shape != expected.shape or (np.abs(inside - expected) > np.timedelta64(1, "m")).any():
                dates = [str(t[0])[:16] if t.size else "nothing" for t in (inside, expected)]
                raise SourceError(f"{file.path}: holds {dates[0]}, expected {dates[1]} by its name or its time axis")
            maps = maps.assign_coords(time=expected)
        example = self.example()
        for dim in ("lat", "lon", "y", "x"):
            if dim in example.dims and not _same(example[dim], maps.get(dim)):
                grid = dict(maps.sizes)
                raise SourceError(
                    f"{file.path}: another grid ({grid}) than that of {self.files[0].path} ({dict(example.sizes)})"
                )
        missing = [str(n) for n in example.data_vars if n not in maps]
        if missing:
            raise SourceError(f"{file.path}: no variable {missing}, which the other files have")
        # values of different versions of a product are not comparable
        versions = [str(d.attrs.get("product_version", "")) for d in (example, maps)]
        if versions[0] != versions[1]:
            raise SourceError(f"{file.path}: version '{versions[1]}', the others are of version '{versions[0]}'")
        return maps

    def _read(self, file: File, steps: slice) -> xr.Dataset:
        """Return maps of a file that hold no undeclared fill values.

        Raises:
            SourceError: If the file cannot be read, or its contents cannot be used.
        """
        try:
            if file.path.stat().st_size == 0:
                raise SourceError(f"{file.path}: is empty")
            # damaged or hostile files can crash the libraries, which no exception catches
            refuse_unsafe(file.path)
            with ONE_READER:
                maps = self.read(file.path, steps)
            _refuse_fills(maps)
            return maps
        except (Unfit, CubeError) as error:
            raise SourceError(headed(file.path, error)) from error
        except READING_ERRORS as error:
            raise SourceError(
                f"{file.path}: cannot be read as {self.product} (truncated, another layout, or an option that does not "
                f"fit): {why(file.path, error)}"
            ) from error

    def _refuse_duplicates(self) -> None:
        """Raise SourceError if two files hold the same time."""
        seen: dict[Any, Path] = {}
        for file in self.files:
            for time in file.times:
                if time in seen:
                    raise SourceError(f"{file.path} and {seen[time]}: both hold {str(time)[:16]}, expected one file")
                seen[time] = file.path


@checked
def open_product(
    name: str, paths: str | Path | Sequence[str | Path], on_bad_file: OnBadFile = "fail", **options: Any
) -> xr.Dataset:
    """Open a product's files as one lazy Dataset with our names, units and flags, on the product's own grid and times.

    Args:
        name: Name of the product, a module of `sgdsm.sources.products`.
        paths: Files, folders (searched with all subfolders) or patterns.
        on_bad_file: 'fail', or 'skip' to leave the maps of a broken file without values and log a line.
        **options: Options of the product, the arguments of its function `files`.

    Returns:
        Dims (time, lat, lon) or (time, y, x), or without time; of stations (time, station).

    Raises:
        SourceError: If the product or an option is unknown, there are no files, or a file cannot be read.
    """
    return find_files(name, paths, **options).open(on_bad_file)


def find_files(name: str, paths: str | Path | Sequence[str | Path], **options: Any) -> Files:
    """Return the files of a product; they are opened only if their names do not contain their dates.

    Args:
        name: Name of the product, a module of `sgdsm.sources.products`.
        paths: Files, folders (searched with all subfolders) or patterns.
        **options: Options of the product, the arguments of its function `files`.

    Raises:
        SourceError: If the product or an option is unknown, an option is missing, or there are no files.
        ConfigError: If the value of an option is of a wrong type.
    """
    if name not in products():
        raise SourceError(f"product '{name}'{suggest(name, products())}: expected one of {', '.join(products())}")
    # imported when it is asked for: products need libraries that may not be installed
    module = importlib.import_module(f"sgdsm.sources.products.{name}")
    # the first parameter is the paths
    parameters = dict(list(inspect.signature(module.files).parameters.items())[1:])
    known = f"its options are {', '.join(parameters) or 'none'}"
    for option in options:
        if option not in parameters:
            raise SourceError(f"product '{name}': no option '{option}'{suggest(option, list(parameters))}; {known}")
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise SourceError(f"product '{name}': needs the option '{option}'; {known}")
    hints = hints_of(module.files)
    for option, value in options.items():
        # options are checked against the type hints of the product's function
        if not isinstance(value, float):  # NaN may be the value that means missing
            check_value(f"product '{name}': {option}", value, hints.get(option, Any))
    found = listed(paths, module.PATTERNS)
    for package, endings in OPTIONAL.items():
        if (of_it := next((path for path in found if path.suffix.lower() in endings), None)) is not None:
            need(package, "products", f"product '{name}': {of_it}")
    files: Files = module.files(found, **options)
    return files


def headed(path: Path, error: Exception) -> str:
    """Return the text of an error, with the path of the file before it if it does not begin with it."""
    return str(error) if str(error).startswith(str(path)) else f"{path}: {error}"


def products() -> list[str]:
    """Return the names that `open_product` accepts."""
    folder = [str(Path(__file__).parents[1] / "products")]
    return sorted(m.name for m in pkgutil.iter_modules(folder))


def listed(paths: str | Path | Sequence[str | Path], patterns: Sequence[str]) -> list[Path]:
    """Return the files of paths that are files, folders or patterns.

    Args:
        paths: Files, folders or patterns.
        patterns: File names to look for below a folder.

    Returns:
        The files, each once.

    Raises:
        SourceError: If a path leads to no file, or to a pipe, a socket or a device: opening one would wait for ever.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        whole = Path(path).expanduser()
        # a name with brackets that exists is a file, not a pattern
        if whole.is_dir():
            here = _regular(sorted({file for pattern in patterns for file in whole.rglob(pattern)}))
            problem = f"a folder without files {' or '.join(patterns)}{_others(whole)}"
        elif whole.exists() or not has_magic(str(whole)):
            here, problem = _regular([whole]), "no such file or folder"
        else:
            here, problem = _matching(whole), "no file matches this pattern"
        if not here:
            raise SourceError(f"{path or repr(path)}: {problem}")
        found += here
    if not found:
        raise SourceError(f"paths={paths}: expected at least one file, folder or pattern")
    return list(dict.fromkeys(found))


def _regular(paths: list[Path]) -> list[Path]:
    """Return the files among paths.

    Folders are omitted. Links to nothing are kept: reading them raises an error that names them.

    Raises:
        SourceError: If a path is a pipe, a socket or a device.
    """
    kept = [path for path in paths if path.is_file() or (path.is_symlink() and not path.exists())]
    for path in paths:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise SourceError(f"{path}: is a pipe, a socket or a device, expected a regular file")
    return kept


def _others(folder: Path) -> str:
    """Return what a folder holds instead of the files that were looked for, for a message."""
    try:
        names = sorted(path.name for path in folder.iterdir())[:3]
    except OSError as error:
        return f", it cannot be read: {error.strerror}"
    return f", it holds {', '.join(names)}" if names else ", it is empty"


def dated(paths: Sequence[Path], pattern: str, form: str = "%Y%m%d") -> list[File]:
    """Return files with one map each, at the time in their names.

    Args:
        paths: The files.
        pattern: Regular expression whose first group is the date in the name.
        form: Format of the date, as for `strptime`.

    Raises:
        SourceError: If a name has no such date.
    """
    files = []
    for path in paths:
        match = re.search(pattern, path.name)
        try:
            when = datetime.strptime(match[1], form) if match else None
        except ValueError:
            when = None
        if when is None:
            raise SourceError(
                f"{path}: no date in its name, expected one as in '{datetime(2015, 12, 31).strftime(form)}'"
            )
        files.append(File(path, np.array([when], "datetime64[ns]")))
    return files


def _refuse_fills(maps: xr.Dataset) -> None:
    """Raise CubeError if a map holds an undeclared fill value.

    Readers that do arithmetic refuse them before it; this is for all the others.
    """
    for variable in maps.data_vars.values():
        # whole numbers are flags and classes, and so are those that have meanings
        if variable.dtype.kind == "f" and "flag_meanings" not in variable.attrs:
            check_values(variable, variable.values)


def _matching(pattern: Path) -> list[Path]:
    """Return the files that match a pattern."""
    parts = pattern.parts
    first = next(k for k, part in enumerate(parts) if has_magic(part))
    return _regular(sorted(Path(*parts[:first]).glob("/".join(parts[first:]))))


def _same(a: xr.DataArray, b: xr.DataArray | None) -> bool:
    """Return True if two coordinates are equal to 1e-4."""
    return b is not None and a.shape == b.shape and bool(np.allclose(a.values, b.values, atol=1e-4))


def _empty(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the value that means missing, by variable.

    That is NaN, or for masks and flags the attribute `missing`.
    """
    return {str(n): v.attrs.get("missing", np.nan if v.dtype.kind == "f" else 0) for n, v in dataset.data_vars.items()}
