"""HDF5 without the netCDF library: a lazy reader, and a writer of files that every netCDF-4 reader opens.

netCDF-4 files are HDF5 files whose dimensions are dimension scales. This module needs h5py alone, so that filling runs
on machines that have no netCDF4.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from struct import Struct
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from sgdsm.core.errors import CubeError
from sgdsm.core.logging import log

HDF5_OWN = 8 * 2**20
# of a stream of zlib: its head for windows of 32 KiB, an empty last block, and the modulus of its checksum
ZLIB_BEGIN, ZLIB_END, ADLER = b"\x78\x01", b"\x03\x00", 65521
CHECKSUM = Struct(">I")
COORDINATES = ("time", "lat", "lon", "latitude", "longitude", "y", "x")
BY_MAP = ("time", "member", "product", "kind", "subset")  # dimensions along which each map is a chunk
INTERNAL = {
    "CLASS",
    "NAME",
    "REFERENCE_LIST",
    "DIMENSION_LIST",
    "_Netcdf4Dimid",
    "_Netcdf4Coordinates",
    "_NCProperties",
}


def open_hdf5(path: str | Path, group: str | None = None) -> xr.Dataset:
    """Open all numeric arrays of an HDF5 file, those in groups included, as a lazy Dataset that is not decoded yet.

    Dimensions come from the dimension scales (as in netCDF-4) or, without them, from DIMENSION_LABELS, or from the
    lengths of the coordinates called time, lat / y, lon / x. An array of unknown dimensions is left out; the second of
    two arrays of one name is called by its whole path; both are logged.

    Args:
        path: The file.
        group: Take only the arrays below it, and the coordinates of their dimensions wherever these are.

    Returns:
        Dataset for `decoding.decode`; each variable has its whole path in the file in `encoding['inside']`.

    Raises:
        OSError: It is no HDF5 file, or has no such group.
    """
    file = h5py.File(path, "r")
    variables = _variables(_numeric_arrays(file, group))
    attrs = {k: _plain(v) for k, v in file.attrs.items() if k not in INTERNAL}
    dataset = xr.Dataset(variables, attrs=attrs)
    dataset.set_close(file.close)
    return dataset


def _numeric_arrays(file: h5py.File, group: str | None) -> dict[str, h5py.Dataset]:
    """Return the numeric arrays below a group, and all coordinates, by their short names."""
    arrays: dict[str, h5py.Dataset] = {}
    inside = f"{group.strip('/')}/" if group is not None and group.strip("/") else None
    if inside is not None and not isinstance(file.get(inside), h5py.Group):
        groups: list[str] = []
        file.visititems(lambda name, node: groups.append(name) if isinstance(node, h5py.Group) else None)
        raise OSError(f"no group '{group}'; there are {', '.join(groups[:20]) or 'none'}")

    def collect(name: str, node: Any) -> None:
        short = name.rsplit("/", 1)[-1]
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "fiub":
            if inside is not None and not name.startswith(inside) and not _is_axis(node, short):
                return
            if short in arrays:
                log.info("two arrays are called '%s': %s goes by its whole path", short, name)
                short = name
            arrays[short] = node

    file.visititems(collect)
    return arrays


def _variables(arrays: Mapping[str, h5py.Dataset]) -> dict[str, xr.Variable]:
    """Return lazy variables of arrays whose dimensions are known; others are logged."""
    # arrays without dimension scales take their dims from the lengths of these coordinates
    lengths = {name: arrays[name].shape[0] for name in COORDINATES if name in arrays and arrays[name].ndim == 1}
    variables = {}
    for name, node in arrays.items():
        # netCDF writes an array of zeros for a dimension without coordinate values
        if _is_bare_dimension(node):
            continue
        try:
            dims = (name,) if name in lengths else _dims(node, lengths)
        except ValueError as error:
            log.info("left out: %s", error)
            continue
        data = indexing.LazilyIndexedArray(_LazyArray(node))
        attrs = {k: _plain(v) for k, v in node.attrs.items() if k not in INTERNAL}
        variables[name] = xr.Variable(dims, data, attrs, {"inside": node.name.strip("/")})
    return variables


def with_places(
    variables: Mapping[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]],
    fixed: Mapping[str, tuple[tuple[str, ...], np.ndarray, Mapping[str, Any]]],
) -> dict[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]]:
    """Return the variables of a `NetcdfWriter` together with fixed ones that give places.

    Latitudes and longitudes that are no dimensions are named in the attribute `coordinates`, as in CF.

    Args:
        variables: Name -> (dims, dtype, attributes).
        fixed: Name -> (dims, values, attributes), like 'lat' and 'lon' of a projected grid.
    """
    places = {name: (dims, values.dtype, attrs) for name, (dims, values, attrs) in fixed.items()}
    names = " ".join(name for name in ("lat", "lon") if name in fixed)
    if not names:
        return {**variables, **places}
    space = {dim for name in names.split() for dim in fixed[name][0]}
    pointing = {
        name: (dims, dtype, {**attrs, "coordinates": names} if space <= set(dims) else attrs)
        for name, (dims, dtype, attrs) in variables.items()
    }
    return {**pointing, **places}


def require_space(path: str | Path, size: int) -> None:
    """Raise an error if a disk has no room for a number of bytes and some MiB of HDF5's own.

    HDF5 must not find out itself: a write that fails for lack of space ends the process.

    Args:
        path: File on this disk.
        size: Bytes to write.

    Raises:
        OSError: ENOSPC.
    """
    # checked before every write: other programs use the disk too
    free = shutil.disk_usage(Path(path).absolute().parent).free
    if free < size + HDF5_OWN:
        message = f"{os.strerror(errno.ENOSPC)} ({free / 2**20:.0f} MiB free, {(size + HDF5_OWN) / 2**20:.0f} needed)"
        raise OSError(errno.ENOSPC, message, str(path))


class NetcdfWriter:
    """Writer of a netCDF-4 file of fixed dims and variables, region by region.

    Arrays are chunked by map, or by some rows of a map, and compressed; a float array that is never written reads as
    its `_FillValue`.

    Args:
        path: File to create.
        coords: Name -> one-dimensional values and attributes; each is a dimension.
        variables: Name -> (dims, dtype, attributes).
        attrs: Attributes of the file.
        rows: Rows of a chunk of a variable with a time; None: all.
    """

    def __init__(
        self,
        path: str | Path,
        coords: Mapping[str, tuple[np.ndarray, Mapping[str, Any]]],
        variables: Mapping[str, tuple[tuple[str, ...], Any, Mapping[str, Any]]],
        attrs: Mapping[str, Any],
        rows: int | None = None,
    ) -> None:
        self.path = path
        self.arrays: dict[str, Any] = {}
        require_space(path, 0)
        self.file = h5py.File(path, "w", track_order=True)
        for name, value in attrs.items():
            self.file.attrs[name] = value
        for number, (name, (values, coord_attrs)) in enumerate(coords.items()):
            scale = self.file.create_dataset(name, data=values)
            scale.make_scale(name)
            # the netCDF library orders dimensions by this number
            scale.attrs["_Netcdf4Dimid"] = np.int32(number)
            _set_attrs(scale, coord_attrs)
        for name, (dims, dtype, variable_attrs) in variables.items():
            shape = tuple(len(coords[d][0]) for d in dims)
            packing: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True} if shape else {}
            if shape:
                # one map a chunk: written day by day, read as maps
                chunk = [1 if d in BY_MAP else n for d, n in zip(dims, shape, strict=True)]
                if rows is not None and "time" in dims and len(dims) > 2:
                    chunk[-2] = rows
                packing["chunks"] = tuple(chunk)
            array = self.file.create_dataset(name, shape, dtype, fillvalue=variable_attrs.get("_FillValue"), **packing)
            for axis, dim in enumerate(dims):
                array.dims[axis].attach_scale(self.file[dim])
            _set_attrs(array, variable_attrs)

    def write(self, name: str, values: np.ndarray, region: tuple[slice, ...]) -> None:
        """Write one block of a variable.

        Args:
            name: Name of the variable.
            values: Values of the block.
            region: Slice of each axis; empty for a scalar.

        Raises:
            OSError: The disk is full.
        """
        require_space(self.path, values.nbytes)
        self.file[name][region if region else ()] = values

    def write_packed(self, name: str, packed: bytes, place: tuple[int, ...]) -> None:
        """Write a whole chunk that `join_packed` has made; there must be room for it on the disk.

        Args:
            name: Name of the variable.
            packed: The chunk.
            place: Its first index on each axis.
        """
        # looking a variable up takes longer than writing a chunk
        if name not in self.arrays:
            self.arrays[name] = self.file[name].id
        self.arrays[name].write_direct_chunk(place, packed)

    def close(self) -> None:
        """Flush to disk and close."""
        self.arrays.clear()
        self.file.close()


def pack(values: np.ndarray) -> list[bytes]:
    """Return rows of a chunk, packed, in pieces that `join_packed` puts together. Threads may do it.

    Args:
        values: Rows of the chunk, of the type of its variable.

    Returns:
        The first bytes of all values, then their second bytes, ...: deflated, after their checksum.
    """
    by_value = np.ascontiguousarray(values).view(np.uint8).reshape(-1, values.itemsize)
    # only runs of equal bytes are looked for: shuffled maps have few other repeats, and it takes half the time
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    # each piece ends at a whole byte and does not refer to those before it
    return [
        CHECKSUM.pack(zlib.adler32(plane.data)) + packer.compress(plane.data) + packer.flush(zlib.Z_FULL_FLUSH)
        for plane in np.ascontiguousarray(by_value.T)
    ]


def join_packed(parts: Sequence[Sequence[bytes]], sizes: Sequence[int]) -> bytes:
    """Return a chunk as the filters of `NetcdfWriter` read it: bytes shuffled, then deflated.

    Nothing is unpacked: a stream of zlib (RFC 1950) is made of the pieces.

    Args:
        parts: Results of `pack` for the rows of the chunk, in their order.
        sizes: Number of values of each.
    """
    pieces, low, high = [ZLIB_BEGIN], 1, 0
    # the shuffle filter of HDF5: first bytes of all values, then second bytes, ...
    for planes in zip(*parts, strict=True):
        for plane, size in zip(planes, sizes, strict=True):
            (checksum,) = CHECKSUM.unpack_from(plane)
            # Adler-32 of what is joined, from those of its parts
            high = (high + (checksum >> 16) + size * (low - 1)) % ADLER
            low = (low + (checksum & 0xFFFF) - 1) % ADLER
            pieces.append(plane[CHECKSUM.size :])
    return b"".join([*pieces, ZLIB_END, CHECKSUM.pack(high << 16 | low)])


class _LazyArray(BackendArray):
    """An HDF5 array that xarray reads piece by piece."""

    lock = threading.Lock()

    def __init__(self, node: h5py.Dataset) -> None:
        self.node = node
        self.shape = node.shape
        self.dtype = node.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        # h5py reads slices with a positive step and sorted lists: turn what runs backwards after reading
        forward: list[Any] = []
        turn: list[Any] = []
        for index, length in zip(key, self.shape, strict=True):
            if isinstance(index, slice):
                chosen = range(*index.indices(length))
                back = chosen.step < 0 and len(chosen) > 0
                chosen = chosen[::-1] if back else chosen
                forward.append(slice(chosen.start, chosen.stop, chosen.step))
                turn.append(slice(None, None, -1 if back else 1))
            elif isinstance(index, np.ndarray):
                order = np.unique(index, return_inverse=True)
                forward.append(order[0])
                turn.append(order[1])
            else:
                forward.append(int(index))
        # HDF5 is not thread-safe
        with self.lock:
            try:
                values = self.node[tuple(forward)]
            except OSError as error:
                where = f"{self.node.file.filename}: array '{self.node.name}' at {tuple(forward)}"
                raise CubeError(f"{where} cannot be read ({error}): copy the file anew") from error
        return values[tuple(turn)]


def _is_axis(node: h5py.Dataset, name: str) -> bool:
    return node.ndim == 1 and (bool(node.is_scale) or name in COORDINATES)


def _is_bare_dimension(node: h5py.Dataset) -> bool:
    name = node.attrs.get("NAME", b"")
    return bytes(name if isinstance(name, bytes) else str(name).encode()).startswith(b"This is a netCDF dimension")


def _dims(node: h5py.Dataset, lengths: Mapping[str, int]) -> tuple[str, ...]:
    dims = []
    for axis in range(node.ndim):
        scales = node.dims[axis]
        label = scales.label
        if len(scales):
            dims.append(scales[0].name.rsplit("/", 1)[-1])
        elif label:
            dims.append(label)
        else:
            # the length does not identify one of two axes of the same length
            fitting = [n for n, length in lengths.items() if length == node.shape[axis] and n not in dims]
            if len(fitting) != 1:
                which = f"dimension {axis} of length {node.shape[axis]}"
                raise ValueError(f"array '{node.name}': {which} fits {fitting or 'no coordinate'}; expected scales")
            dims.append(fitting[0])
    return tuple(dims)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    if isinstance(value, np.ndarray) and value.dtype.kind in "OS":
        return " ".join(v.decode() if isinstance(v, bytes) else str(v) for v in value.ravel())
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _set_attrs(node: h5py.Dataset, attrs: Mapping[str, Any]) -> None:
    for name, value in attrs.items():
        if name == "_FillValue":
            value = np.asarray(value, node.dtype).reshape(1)
        # netCDF expects an array of one value, of the type of the variable
        node.attrs[name] = value
