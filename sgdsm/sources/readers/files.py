"""Folders of product files as one lazy Dataset: dates from the names, the same grid in each, what is broken named.

A product is a module of this folder with the function `files(paths, **options) -> Files`. Names of variables, their
units and their masks are the same whatever the product: see `sgdsm.sources.readers.names`.
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
from glob import has_magic
from pathlib import Path
from time import sleep
from typing import Any, Literal

import numpy as np
import xarray as xr

from sgdsm.core.arguments import check_value, checked, hints_of
from sgdsm.core.cube import CubeError, SgdsmError, log, suggest
from sgdsm.core.io.safety import refuse_unsafe
from sgdsm.core.validation import check_values
from sgdsm.sources.readers.broken import why

OnBadFile = Literal["fail", "skip"]
READING_ERRORS = (OSError, KeyError, ValueError, IndexError, RuntimeError, TypeError, AttributeError)
# the NetCDF library may not be used by two threads at once: that ends the process
ONE_READER = threading.RLock()


class SourceError(SgdsmError):
    """A product's file, or folder of files, that cannot be used: the text names it."""


class Unfit(ValueError):
    """What a file holds and cannot be used as it is; the text says what was expected, and whoever knows the file puts
    its name before it."""


class _Together:
    """Chunks that dask's threads load, of all products.

    dask does not wait for its other threads when one has failed, and these would read beside whatever the caller does
    next. So who fails waits for those that load, others are refused meanwhile, and then all of them tell the error.
    """

    BEGUN = 0.1  # seconds in which every thread that was given work has begun

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.busy = 0
        self.failed: BaseException | None = None

    @contextmanager
    def loading(self) -> Iterator[None]:
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
        if (error := self.failed) is not None:
            self.changed.wait_for(lambda: self.failed is not error)
            raise error

    def _settle(self, error: BaseException) -> None:
        with self.changed:
            self._refuse()
            self.failed = error
        try:
            with self.changed:
                self.changed.wait_for(lambda: self.busy == 0)
            sleep(self.BEGUN)
        finally:
            with self.changed:
                self.failed = None
                self.changed.notify_all()


TOGETHER = _Together()


@dataclass(frozen=True)
class File:
    """A product file and the times of the maps in it (datetime64[ns], rising; empty: a map without a time)."""

    path: Path
    times: np.ndarray


@dataclass
class Files:
    """The files of a product, in the order of their times.

    read: the maps `steps` of a file, in memory, as a Dataset with our names; dims (time, lat, lon) or (time, y, x), or
    without time. merge: how files that share a time become one Dataset (half orbits, tiles); None: that is an error.
    also: files with other variables of these times, which `read` finds by itself.
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
        self.files = sorted(self.files, key=lambda file: (*file.times[:1].astype("int64"), str(file.path)))
        if self.merge is None:
            self._refuse_duplicates()

    @property
    def times(self) -> np.ndarray:
        """All times, rising, each once; empty for maps without a time."""
        return np.unique(np.concatenate([file.times for file in self.files]))

    def example(self) -> xr.Dataset:
        """The first map that can be read: its grid and its variables are those of all.

        Raises SourceError where none of the first ten files can be.
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
        """The maps of these times, in memory; those that no file holds are left out.

        on_bad_file: 'skip' leaves out what cannot be read too, and adds a line on it to `bad`.

        Raises SourceError naming the file, what was found and what was expected.
        """
        parts: dict[Any, list[xr.Dataset]] = {}
        for file in self.files:
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
            found = maps[0]
        else:
            found = xr.concat(maps, "time", data_vars="minimal", coords="minimal", compat="override", join="override")
        return found.sel(time=np.isin(found["time"].values, times)).sortby("time")

    def map(self) -> xr.Dataset:
        """A product without time: its one map, in memory."""
        maps = [self._read(file, slice(0, 1)) for file in self.files]
        if len(maps) > 1 and self.merge is None:
            raise SourceError(f"{self.product}: {len(maps)} files, expected one map: {self.files[1].path}")
        return maps[0] if len(maps) == 1 or self.merge is None else self.merge(maps)

    def open(self, on_bad_file: OnBadFile = "fail") -> xr.Dataset:
        """All maps as one lazy Dataset, a dask chunk for each time or each file; nothing but the first is read yet."""
        import dask.array as da
        from dask.delayed import delayed

        example = self.example()
        if "time" not in example.dims:
            return self.map()
        # as many times as chunks, where files share them
        chunks = [file.times for file in self.files] if self.merge is None else list(self.times[:, None])
        lazy: dict[str, list[Any]] = {str(n): [] for n, v in example.data_vars.items() if "time" in v.dims}
        for times in chunks:
            part = delayed(self._chunk)(times, on_bad_file)
            for name, blocks in lazy.items():
                variable = example[name]
                shape = (len(times), *variable.shape[1:])
                blocks.append(da.from_delayed(part[name].data, shape, variable.dtype))
        dataset = example.drop_dims("time").assign_coords(time=("time", np.concatenate(chunks)))
        variables = {n: (example[n].dims, da.concatenate(b), example[n].attrs) for n, b in lazy.items()}
        order = [str(n) for n in example.data_vars]
        return dataset.assign(variables)[order].assign_attrs(example.attrs)

    def digest(self, file: File) -> str:
        """BLAKE2 digest of the bytes of a file."""
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def _chunk(self, times: np.ndarray, on_bad_file: OnBadFile) -> xr.Dataset:
        with TOGETHER.loading():
            found = self.load(times, on_bad_file)
        # what was skipped stays without values
        return found if found.sizes["time"] == len(times) else found.reindex(time=times, fill_value=_empty(found))

    def _checked(self, file: File, steps: slice) -> xr.Dataset:
        found = self._read(file, steps)
        expected = file.times[steps]
        if "time" in found.dims:
            inside = found["time"].values
            # dates are kept in files with rounding errors
            if inside.shape != expected.shape or (np.abs(inside - expected) > np.timedelta64(1, "m")).any():
                told = [str(t[0])[:16] if t.size else "nothing" for t in (inside, expected)]
                raise SourceError(f"{file.path}: holds {told[0]}, expected {told[1]} by its name or its time axis")
            found = found.assign_coords(time=expected)
        example = self.example()
        for dim in ("lat", "lon", "y", "x"):
            if dim in example.dims and not _same(example[dim], found.get(dim)):
                grid = dict(found.sizes)
                raise SourceError(
                    f"{file.path}: another grid ({grid}) than that of {self.files[0].path} ({dict(example.sizes)})"
                )
        missing = [str(n) for n in example.data_vars if n not in found]
        if missing:
            raise SourceError(f"{file.path}: no variable {missing}, which the other files have")
        versions = [str(d.attrs.get("product_version", "")) for d in (example, found)]
        if versions[0] != versions[1]:
            raise SourceError(f"{file.path}: version '{versions[1]}', the others are of version '{versions[0]}'")
        return found

    def _read(self, file: File, steps: slice) -> xr.Dataset:
        try:
            if file.path.stat().st_size == 0:
                raise SourceError(f"{file.path}: is empty")
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
    """A product's files as one lazy Dataset with our names, units and flags, on the product's own grid and times.

    name: of the product, a module of `sgdsm.sources`. paths: files, folders (searched with all below) or patterns.
    on_bad_file: 'fail', or 'skip', which leaves the maps of a broken file without values and logs a line. options:
    those of the product, see its module.

    Raises SourceError for an unknown product, where there are no files, and naming the file where one is broken.
    """
    return find_files(name, paths, **options).open(on_bad_file)


def find_files(name: str, paths: str | Path | Sequence[str | Path], **options: Any) -> Files:
    """The files of a product, looked at by name only where the names tell their dates."""
    if name not in products():
        raise SourceError(f"product '{name}'{suggest(name, products())}: expected one of {', '.join(products())}")
    module = importlib.import_module(f"sgdsm.sources.products.{name}")
    parameters = dict(list(inspect.signature(module.files).parameters.items())[1:])
    told = f"its options are {', '.join(parameters) or 'none'}"
    for option in options:
        if option not in parameters:
            raise SourceError(f"product '{name}': no option '{option}'{suggest(option, list(parameters))}; {told}")
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise SourceError(f"product '{name}': needs the option '{option}'; {told}")
    hints = hints_of(module.files)
    for option, value in options.items():
        if not isinstance(value, float):  # NaN may be what a product has for 'missing'
            check_value(f"product '{name}': {option}", value, hints.get(option, Any))
    found: Files = module.files(listed(paths, module.PATTERNS), **options)
    return found


def headed(path: Path, error: Exception) -> str:
    """The text of an error, headed by the file that it is about."""
    return str(error) if str(error).startswith(str(path)) else f"{path}: {error}"


def products() -> list[str]:
    """Names that `open_product` knows."""
    folder = [str(Path(__file__).parents[1] / "products")]
    return sorted(m.name for m in pkgutil.iter_modules(folder))


def listed(paths: str | Path | Sequence[str | Path], patterns: Sequence[str]) -> list[Path]:
    """The files of paths that are files, folders or patterns; of a folder, those below it that match `patterns`.

    Raises SourceError for a path that leads to no file, and for what is no regular file: to open a named pipe would
    wait for ever.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, (str, Path)) else paths:
        whole = Path(path).expanduser()
        if whole.is_dir():
            here = _regular(sorted({file for pattern in patterns for file in whole.rglob(pattern)}))
            told = f"a folder without files {' or '.join(patterns)}{_others(whole)}"
        elif whole.exists() or not has_magic(str(whole)):
            here, told = _regular([whole]), "no such file or folder"
        else:
            here, told = _matching(whole), "no file matches this pattern"
        if not here:
            raise SourceError(f"{path or repr(path)}: {told}")
        found += here
    if not found:
        raise SourceError(f"paths={paths}: expected at least one file, folder or pattern")
    return list(dict.fromkeys(found))


def _regular(paths: list[Path]) -> list[Path]:
    """The files among paths: folders are left out, and links that lead nowhere are kept, to be told of when they are
    read. Raises SourceError for a pipe, a socket or a device."""
    found = [path for path in paths if path.is_file() or (path.is_symlink() and not path.exists())]
    for path in paths:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise SourceError(f"{path}: is a pipe, a socket or a device, expected a regular file")
    return found


def _others(folder: Path) -> str:
    """What a folder holds instead, for a message."""
    try:
        names = sorted(path.name for path in folder.iterdir())[:3]
    except OSError as error:
        return f", it cannot be read: {error.strerror}"
    return f", it holds {', '.join(names)}" if names else ", it is empty"


def dated(paths: Sequence[Path], pattern: str, form: str = "%Y%m%d") -> list[File]:
    """Files with one map each, at the day that a regular expression's first group finds in the name.

    Raises SourceError naming the file whose name has no such date.
    """
    from datetime import datetime

    found = []
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
        found.append(File(path, np.array([when], "datetime64[ns]")))
    return found


def _refuse_fills(maps: xr.Dataset) -> None:
    """Raise CubeError if a map holds an undeclared fill value.

    Readers that do arithmetic refuse them before it; this is for all the others.
    """
    for variable in maps.data_vars.values():
        # whole numbers are flags and classes, and so are those that have meanings
        if variable.dtype.kind == "f" and "flag_meanings" not in variable.attrs:
            check_values(variable, variable.values)


def _matching(pattern: Path) -> list[Path]:
    parts = pattern.parts
    first = next(k for k, part in enumerate(parts) if has_magic(part))
    return _regular(sorted(Path(*parts[:first]).glob("/".join(parts[first:]))))


def _same(a: xr.DataArray, b: xr.DataArray | None) -> bool:
    return b is not None and a.shape == b.shape and bool(np.allclose(a.values, b.values, atol=1e-4))


def _empty(dataset: xr.Dataset) -> dict[str, Any]:
    """What stands for no value in each variable: NaN, or for masks and flags what the attribute `missing` says."""
    return {str(n): v.attrs.get("missing", np.nan if v.dtype.kind == "f" else 0) for n, v in dataset.data_vars.items()}
