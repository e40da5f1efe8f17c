"""Opening of files, and of Zarr stores on this machine, on object stores (s3://, gs://) and web servers (https://).

Remote stores are reached by fsspec. Endpoint and credentials come from the environment, as the providers' own tools
read them, and never from a configuration, which may be a stranger's.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError, SgdsmError
from sgdsm.core.io.decoding import decode, zero_filled
from sgdsm.core.io.hdf5 import open_hdf5
from sgdsm.core.io.safety import refuse_unsafe
from sgdsm.core.logging import log

OPENED_HERE = "sgdsm_opened"  # key of the encoding of a Dataset
UNFINISHED = "sgdsm_unfinished"  # attribute of a store that is being made
EXTRAS = {"s3": "s3", "gs": "gcs", "https": "https", "http": "https"}  # what `pip install` must add for each
WRITABLE = ("s3", "gs")
VERSIONS = ("size", "ETag", "etag", "Last-Modified", "LastModified", "updated")  # keys that identify a version
COPY = "`python -m sgdsm export FILE output=s3://...` copies what is made there to an object store"
ANONYMOUS = {"s3": "FSSPEC_S3_ANON=true", "gs": "FSSPEC_GS_TOKEN=anon"}
CHUNK = 64  # days and rows of a chunk
LEAST_VALUES, MOST_VALUES = 2**20, 2**22  # in a chunk: 4 to 16 MiB of float32 before compression


def open_dataset(path: str | Path, group: str | None = None, zero_is_value: bool = False) -> xr.Dataset:
    """Open a NetCDF (.nc, .nc4), Zarr (.zarr) or HDF5 (.h5, .hdf5) file, or a Zarr store at a URL, lazily.

    Args:
        path: File, store or URL.
        group: Group of the file whose variables are taken.
        zero_is_value: Keep zeros of a Zarr v2 store with the fill value 0, which xarray reads as missing.

    Returns:
        The decoded Dataset.

    Raises:
        CubeError: The file is missing, not finished, truncated, of another kind or not safe to open (see
            `sgdsm.core.io.safety`).
        ConfigError: The URL cannot be read here.
    """
    raw = _open_remote(str(path), group) if is_remote(path) else _open_local(Path(path), group)
    zeros = [] if zero_is_value or not str(path).rstrip("/").endswith(".zarr") else zero_filled(raw)
    if zeros:
        log.info(
            "%s: zeros of %s are read as missing, as the fill value of the Zarr store is 0: data.zero_is_value=true "
            "keeps them", path, ", ".join(zeros),
        )  # fmt: skip
    with _unreadable(path):
        dataset = decode(raw, zero_is_value)
    # `as_cube` says the same of stores that xarray has opened
    dataset.encoding[OPENED_HERE] = True
    if UNFINISHED in dataset.attrs:
        raise CubeError(
            f"{path} is not finished: run `python -m sgdsm prepare` (or `export`) again with the same settings"
        )
    return dataset


def _open_local(path: Path, group: str | None) -> xr.Dataset:
    if not path.exists():
        raise CubeError(f"{path}: no such file (looked in {path.absolute().parent})")
    suffix = path.suffix.lower()
    if suffix not in {".nc", ".nc4", ".cdf", ".zarr", ".h5", ".hdf5"}:
        raise CubeError(f"{path}: expected a file ending in .nc, .nc4, .zarr, .h5 or .hdf5, found '{suffix}'")
    with _unreadable(path):
        refuse_unsafe(path)
        if suffix == ".zarr":
            # a cube in another format needs no zarr
            from sgdsm.core.io.zarr_reading import open_store

            return open_store(path, group=group)
        if suffix in {".h5", ".hdf5"} or group is not None or find_spec("netCDF4") is None:
            return open_hdf5(path, group)
        raw = xr.open_dataset(path, decode_cf=False)
        # with nothing at its root, a NetCDF file has groups
        return raw if raw.data_vars or not h5py.is_hdf5(path) else open_hdf5(path)


@contextmanager
def _unreadable(path: str | Path) -> Iterator[None]:
    """Turn errors of opening a file into a CubeError of one line."""
    try:
        yield
    except CubeError as error:
        raise error if str(error).startswith(str(path)) else CubeError(f"{path}: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        if "did not find a match in any of xarray's" in reason:
            reason = "it begins like no file of this kind"
        kind = Path(path).suffix.lower()
        raise CubeError(f"{path}: cannot be read as {kind} (truncated, or not such a file): {reason}") from error


def _open_remote(path: str, group: str | None) -> xr.Dataset:
    store = zarr_store(path)
    lists = scheme_of(path) in WRITABLE
    if lists and not is_there(path):
        raise CubeError(f"{path}: there is no such store")
    try:
        with one_line_errors(path), warnings.catch_warnings():
            # of stores without consolidated metadata, which are slower to open
            warnings.simplefilter("ignore", RuntimeWarning)
            # a web server cannot list what it has: there the metadata must be in one place
            from sgdsm.core.io.zarr_reading import open_store

            return open_store(path, store, group, consolidated=None if lists else True)
    except CubeError as error:
        if lists or not isinstance(error.__cause__, (FileNotFoundError, KeyError, ValueError)):
            raise
        raise CubeError(
            f"{path}: there is no Zarr store with consolidated metadata, which https:// needs "
            "(zarr.consolidate_metadata makes it)"
        ) from error


def is_remote(path: str | Path) -> bool:
    """Return True if a path is a URL.

    Args:
        path: Path or URL.
    """
    return "://" in str(path)


def local_only(key: str, path: str | Path, why: str = COPY) -> None:
    """Raise an error for a URL where a file of this machine is needed.

    Args:
        key: Setting that holds the path, for messages.
        path: Path or URL.
        why: What the user can do instead.

    Raises:
        ConfigError: It is a URL.
    """
    if is_remote(path):
        raise ConfigError(f"{key}={path}: expected a file on this machine: {why}")


def check_no_input(output: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Raise an error where an output is one of the files that it is made from.

    Args:
        output: Path.
        inputs: Paths; None for those that are not given.

    Raises:
        ConfigError: It would be overwritten.
    """
    if Path(output).resolve() in (Path(path).resolve() for path in inputs if path is not None):
        raise ConfigError(f"output={output}: is one of the inputs; expected another name")


def check_url(path: str, write: bool = False) -> None:
    """Raise an error for a URL of a kind that cannot be read, or written.

    Args:
        path: URL.
        write: It is to be written.

    Raises:
        ConfigError: The scheme is not supported, or it is no Zarr store.
    """
    scheme = scheme_of(path)
    known = WRITABLE if write else tuple(EXTRAS)
    # fsspec would follow a chain of URLs to files of this machine
    if scheme not in known or "::" in path:
        expected = ", ".join(f"{name}://" for name in known)
        raise ConfigError(f"{path}: cannot be {'written' if write else 'read'}; expected {expected} or a local file")
    if not path.rstrip("/").endswith(".zarr"):
        raise ConfigError(f"{path}: expected a Zarr store, ending in .zarr; other files must be on this machine")


def scheme_of(path: str | Path) -> str:
    """Return the scheme of a URL: the part before ://.

    Args:
        path: URL.
    """
    return str(path).partition("://")[0]


def zarr_store(path: str | Path, write: bool = False) -> Any:
    """Return what zarr and xarray open: a local path as it is, for a URL zarr's own FsspecStore.

    Args:
        path: Path or URL.
        write: It is to be written.

    Raises:
        ConfigError: The URL is not supported, or a package is missing.
    """
    if not is_remote(path):
        return path
    check_url(str(path), write)
    from zarr.storage import FsspecStore

    with one_line_errors(path):
        # listings are not kept: other processes write there too
        return FsspecStore.from_url(str(path).rstrip("/"), {"use_listings_cache": False}, read_only=not write)


def check_folder(key: str, path: str | Path) -> None:
    """Raise an error where a file stands in the place of a folder of an output; a missing folder will be made.

    Args:
        key: Setting that holds the path, for messages.
        path: Of the output, on this machine.

    Raises:
        ConfigError: There is such a file.
    """
    above = next(folder for folder in Path(path).absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"{key}={path}: {above} is a file, expected a folder")


def is_there(path: str | Path) -> bool:
    """Return True if something exists at a path; an empty folder is nothing.

    Args:
        path: Path or URL.

    Raises:
        CubeError: The store cannot be reached.
        ConfigError: There is no such bucket.
    """
    if not is_remote(path):
        return Path(path).is_file() or any(Path(path).glob("*"))
    with one_line_errors(path):
        files, key = _filesystem(path)
        try:
            files.info(key)
            return True
        except FileNotFoundError:
            pass
        bucket = key.partition("/")[0]
        try:
            files.info(bucket)
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: there is no bucket '{bucket}'") from error
        except OSError:
            pass  # who may write objects may not look at the bucket
    return False


def stamp(path: str) -> str:
    """Return a digest of the sizes and versions of all objects of a remote store.

    Only its metadata count where objects cannot be listed (https://).

    Args:
        path: URL.
    """
    with one_line_errors(path):
        files, key = _filesystem(path)
        if scheme_of(path) in WRITABLE:
            objects = files.find(key, detail=True)
        else:
            objects = {name: files.info(f"{key}/{name}") for name in _metadata_of(files, key)}
    lines = [f"{name} {[str(objects[name].get(k)) for k in VERSIONS]}" for name in sorted(objects)]
    return f"{len(objects)} {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:16]}"


@contextmanager
def one_line_errors(path: str | Path) -> Iterator[None]:
    """Turn errors of a store at a URL into errors of one line.

    Args:
        path: Path or URL; errors of local paths are raised as they are.

    Raises:
        CubeError: The store cannot be read or written.
        ConfigError: A package is missing.
    """
    try:
        yield
    except SgdsmError:
        raise
    except Exception as error:  # every store has errors of its own kind
        if not is_remote(path):
            raise
        scheme = scheme_of(path)
        if isinstance(error, ImportError):
            raise ConfigError(f"{path}: {scheme}:// needs more: pip install 'sgdsm[{EXTRAS[scheme]}]'") from error
        raise CubeError(f"{path}: {_reason(path, error)}") from error


def chunks(shape: tuple[int, int, int], days: int | None = None, rows: int | None = None) -> tuple[int, int, int]:
    """Return the chunk of a variable (time, row, column) that makes objects of some MiB.

    It has about 64 rows and days, and more days where there are few cells.

    Args:
        shape: Days, rows and columns of the variable.
        days: Days that are written at once, which become a whole number of chunks; None for all.
        rows: Rows that are written at once, which become a whole number of chunks; None for all. Columns are always
            written all at once.
    """
    row = _along(shape[1], rows, CHUNK)
    time = _along(shape[0], days, max(CHUNK, LEAST_VALUES // (row * shape[2])))
    # columns are cut last: reading a row band needs few objects
    parts = -(-shape[2] * time * row // MOST_VALUES)
    return time, row, -(-shape[2] // parts)


def _along(length: int, step: int | None, wanted: int) -> int:
    if step is None:
        return -(-length // -(-length // wanted))
    divisors = [d for d in range(1, step + 1) if step % d == 0]
    return min(divisors, key=lambda d: max(d, wanted) / min(d, wanted))


def _filesystem(path: str | Path) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    check_url(str(path))
    # listings are not cached: other processes write to the store
    files, key = url_to_fs(str(path).rstrip("/"), use_listings_cache=False)
    return files, str(key)


def _metadata_of(files: Any, key: str) -> list[str]:
    return [name for name in ("zarr.json", ".zmetadata", ".zgroup") if files.exists(f"{key}/{name}")]


def _reason(path: str | Path, error: Exception) -> str:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    scheme = scheme_of(path)
    refused = isinstance(error, PermissionError) or "credentials" in text.lower() or "Forbidden" in text
    if refused and scheme in ANONYMOUS:
        return f"{text}: set the credentials in the environment ({ANONYMOUS[scheme]} for a public bucket)"
    return f"cannot be read or written: {text}"
