"""Checks before a file is opened.

Files come from strangers: opening one must not run code, read other files, wait for ever or fill the memory.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
from xarray.backends.locks import HDF5_LOCK

from sgdsm.core.errors import CubeError, SgdsmError

GIB = 2**30
LARGEST_CHUNK = GIB  # bytes: it is in memory as a whole, whatever part of it is asked for
LONGEST_AXIS = 2**24  # values: coordinates are in memory as a whole
# an array may be larger than memory, but no honest file is so much smaller than what is in it
BOMB_BYTES, BOMB_RATIO = 4 * GIB, 10_000
LEADS_OUT = "has its values in other files, which a file from elsewhere may not read: copy them into it"
AXES = ("time", "lat", "lon", "latitude", "longitude", "y", "x")
# of Zarr, without "numcodecs.": numbers and texts, none runs what it finds. `pickle` does
CODECS = {"bytes", "endian", "transpose", "sharding_indexed", "vlen-utf8"}
CODECS |= {"blosc", "gzip", "zlib", "zstd", "bz2", "lzma", "lz4", "zfpy", "pcodec"}
CODECS |= {"crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3"}
CODECS |= {"delta", "shuffle", "bitround", "fixedscaleoffset", "quantize", "packbits", "astype", "base64"}
CODECS |= {"scale_offset", "cast_value"}


def refuse_unsafe(path: str | Path) -> None:
    """Raise an error for a file or store that must not be opened; to be called before opening any file of others.

    Refused are: a named pipe, socket or device; HDF5 (netCDF-4 is HDF5) whose values lie in other files; a Zarr store
    with a codec that may run code; chunks, coordinates or whole files that unpack to more than the limits above. A
    missing file, and a file of another kind, pass.

    Args:
        path: File or folder.

    Raises:
        CubeError: It must not be opened.
        OSError: The file is damaged.
    """
    path = Path(path)
    refuse_irregular(path)
    if path.is_dir():
        for name, described in _zarr_arrays(path):
            check_codecs(f"{path}: array '{name}'", described)
    elif path.exists():
        state = path.stat()
        _check_file(path, state.st_size, state.st_mtime_ns)


def refuse_irregular(path: str | Path, error: type[SgdsmError] = CubeError) -> None:
    """Raise an error for what exists, but is no file and no folder: opening a named pipe waits for ever.

    Args:
        path: Any path.
        error: Class of the error.

    Raises:
        SgdsmError: Of the class `error`.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):
        return  # whoever opens it says so
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise error(f"{path}: is {kinds.get(stat.S_IFMT(mode), 'a device')}, expected a file: copy it into one")


def refuse_leading_out(path: Path, folder: Path, error: type[SgdsmError] = CubeError) -> None:
    """Raise an error for a file of a folder that is a link to somewhere else.

    Args:
        path: File in the folder, or where one may be written.
        folder: A folder that somebody else may have made.
        error: Class of the error.

    Raises:
        SgdsmError: Of the class `error`.
    """
    if not path.resolve().is_relative_to(folder.resolve()):
        raise error(f"{path}: leads out of its folder, which a file from elsewhere may not: copy the file into it")


def check_codecs(where: str, described: Mapping[str, Any]) -> None:
    """Raise an error if the metadata of a Zarr array name a codec that is not in `CODECS`.

    Args:
        where: File and array, for messages.
        described: Metadata of version 2 or 3.

    Raises:
        CubeError: Naming the codec.
    """
    listed = [described.get("compressor"), described.get("filters"), described.get("codecs")]
    for codec in _codecs(listed):
        if codec.removeprefix("numcodecs.") not in CODECS:
            why = "runs code that is in the data" if codec.endswith("pickle") else "is not one of those that are known"
            raise CubeError(f"{where} is packed by '{codec}', which {why}: write it again with zstd, blosc or gzip")


def check_array(where: str, dims: Mapping[str, int], chunk: int, is_axis: bool) -> None:
    """Raise an error for an array that cannot be read piece by piece.

    Args:
        where: File and array, for messages.
        dims: Name -> length.
        chunk: Bytes of a chunk, unpacked.
        is_axis: The array is a coordinate.

    Raises:
        CubeError: The chunk or the coordinate is too large.
    """
    if chunk > LARGEST_CHUNK:
        raise CubeError(
            f"{where} has chunks of {size_of(chunk)}, expected at most {size_of(LARGEST_CHUNK)}: write it again in "
            f"smaller ones"
        )
    for name, length in dims.items():
        if is_axis and length > LONGEST_AXIS:
            raise CubeError(f"{where}: '{name}' is {length:,} long, expected a coordinate of at most {LONGEST_AXIS:,}")


def check_total(path: str | Path, unpacked: int, stored: int) -> None:
    """Raise an error if a file or store unpacks to so many bytes that there can be nearly nothing in it.

    Args:
        path: File or store.
        unpacked: Bytes of its arrays, unpacked.
        stored: Bytes that it has.

    Raises:
        CubeError: It unpacks to more than BOMB_RATIO times its size.
    """
    # small files of zeros are common and harmless
    if unpacked > BOMB_BYTES and unpacked > BOMB_RATIO * stored:
        raise CubeError(
            f"{path}: unpacks to {size_of(unpacked)}, expected at most {BOMB_RATIO:,} times its {size_of(stored)}: "
            "nearly nothing is in it; cut it to the days and cells that have values"
        )


def stored_bytes(folder: Path, enough: int) -> int:
    """Return the bytes of the files of a store; counting stops at `enough`, for there may be millions of files.

    Args:
        folder: The store.
        enough: Bytes at which the counting stops.
    """
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118, a Path for each would take long
        if total >= enough:
            break
    return total


def size_of(count: int) -> str:
    """Return a number of bytes in words, like '1.5 GiB'.

    Args:
        count: Number of bytes.
    """
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if count >= 2 ** (10 * power):
            return f"{count / 2 ** (10 * power):,.1f} {unit}"
    return f"{count} bytes"


@lru_cache(4096)
def _check_file(path: Path, size: int, changed: int) -> None:
    """Check one state of a file.

    Args:
        path: The file.
        size: Size in bytes. With `changed` it identifies the state, for product files are opened many times.
        changed: Time of the last change.
    """
    with HDF5_LOCK:  # the netCDF library may be at work with the HDF5 library of ours
        if h5py.is_hdf5(path):
            _check_hdf5(path, size)
            return
    with path.open("rb") as stream:
        classic = stream.read(3) == b"CDF"
    if classic and find_spec("netCDF4") is not None:
        _check_netcdf3(path)


def _check_hdf5(path: Path, size: int) -> None:
    total = 0
    with h5py.File(path, "r") as file:
        for name, array in _hdf5_arrays(path, file.id):
            where = f"{path}: array '{name}'"
            made = array.get_create_plist()
            layout, item = made.get_layout(), array.get_type().get_size()
            if made.get_external_count() or layout == h5py.h5d.VIRTUAL:
                # a virtual array of the same file may name itself, which ends the process
                raise CubeError(f"{where} {LEADS_OUT}")
            shape: tuple[int, ...] = array.shape or ()
            count = 1
            for length in made.get_chunk() if layout == h5py.h5d.CHUNKED else ():
                count *= length
            short = name.rpartition("/")[2]
            is_axis = len(shape) == 1 and (h5py.h5ds.is_scale(array) or short in AXES)
            check_array(where, {short: shape[0]} if is_axis else {}, count * item, is_axis)
            for length in shape:
                item *= length
            total += item
    check_total(path, total, size)


def _hdf5_arrays(path: Path, root: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and low-level identifiers of all arrays, each once.

    A soft link is skipped, as it leads to a name within the file.

    Raises:
        CubeError: A link leads out of the file.
    """
    waiting, seen = [("", root)], set()
    while waiting:
        above, group = waiting.pop()
        for short in group:
            name = f"{above}/{short.decode('utf-8', 'replace')}"
            kind = group.links.get_info(short).type
            # its target, if inside, is met by its own name
            if kind == h5py.h5l.TYPE_SOFT:
                continue
            if kind != h5py.h5l.TYPE_HARD:
                raise CubeError(f"{path}: '{name}' {LEADS_OUT}")
            address = h5py.h5o.get_info(group, short).addr
            # hard links may form a cycle
            if address in seen:
                continue
            seen.add(address)
            node = h5py.h5o.open(group, short)
            if isinstance(node, h5py.h5g.GroupID):
                waiting.append((name, node))
            elif isinstance(node, h5py.h5d.DatasetID):
                yield name, node


def _check_netcdf3(path: Path) -> None:
    import netCDF4
    from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

    with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path) as file:
        for name, dimension in file.dimensions.items():
            check_array(f"{path}: array '{name}'", {name: len(dimension)}, 0, name in file.variables)


def _zarr_arrays(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and metadata of the arrays of all groups of a local Zarr store; nothing is decoded."""
    waiting = [(folder, "")]
    while waiting:
        here, name = waiting.pop()
        metadata = [_json(here / file) for file in (".zarray", "zarr.json")]
        arrays = [one for one in metadata if one is not None and one.get("node_type", "array") == "array"]
        if arrays:
            yield from ((name, one) for one in arrays)
            continue  # its chunks may be many
        with os.scandir(here) as entries:
            inner = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        waiting += [(here / one, f"{name}/{one}") for one in inner]


def _json(path: Path) -> dict[str, Any] | None:
    refuse_irregular(path)
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None  # not there, or damaged: whoever opens the store says so
    return content if isinstance(content, dict) else None


def _codecs(value: Any) -> Iterator[str]:
    """Yield the names of codecs, those inside others too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _codecs(one)
    elif isinstance(value, Mapping):
        yield str(value.get("id", value.get("name")))
        inner = value.get("configuration")
        if isinstance(inner, Mapping):
            yield from _codecs([inner.get("codecs"), inner.get("index_codecs")])
