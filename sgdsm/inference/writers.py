"""Destinations of filled slabs: one netCDF file (or one a year), a Zarr store, or memory.

Every writer stores a slab whole or not at all and records which slabs are finished, so that an interrupted run can be
resumed. It refuses to resume, or to overwrite, an output of another run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby, pairwise, product
from math import prod
from os import SEEK_END
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any, BinaryIO, Protocol
from uuid import uuid4

import h5py
import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.hdf5 import NetcdfWriter, join_packed, pack, require_space, with_places
from sgdsm.core.io.stores import check_folder, check_url, chunks, is_remote, is_there, one_line_errors, zarr_store
from sgdsm.inference.schema import Layout

PLAN = "sgdsm_plan"
# of a plan: what may differ where the values do not, so that an output begun on one machine goes on on another
NOTED = ("slabs", "precision")
LEAST_ROWS = 64  # of a chunk, where slabs have fewer: reading a map then needs few chunks
LENGTH = Struct("<Q")
PACKED = 2**18  # values that a thread packs at once


class CellMaps:
    """Maps of which some cells have values; others hold a fill value. They are made when they are asked for.

    Args:
        values: Values, (T, N).
        cells: Cells that have values, as positions in a flat map, (N,).
        space: Rows and columns.
        fill: Value of the other cells.
    """

    def __init__(self, values: np.ndarray, cells: np.ndarray, space: tuple[int, int], fill: Any) -> None:
        self.values, self.cells, self.fill = values, cells, fill
        self.shape = (len(values), *space)
        self.nbytes = prod(self.shape) * values.itemsize

    def __getitem__(self, days: slice) -> np.ndarray:
        some = self.values[days]
        maps = np.full((len(some), self.shape[1] * self.shape[2]), self.fill, self.values.dtype)
        maps[:, self.cells] = some
        return maps.reshape(-1, *self.shape[1:])


Maps = np.ndarray | CellMaps


class Writer(Protocol):
    """Destination of filled slabs."""

    def begun(self, plan: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the plan of an interrupted output says of `NOTED`; None where there is none of this plan.

        Args:
            plan: What identifies the output; it need not have the keys of `NOTED` yet.
        """

    def begin(self, layout: Layout, plan: dict[str, Any]) -> set[int]:
        """Prepare the output, or find an interrupted one of the same plan.

        Args:
            layout: Layout of the filled file.
            plan: What identifies the output, plain values; `plan["slabs"]` holds days and rows of each slab,
                [[first, after last], [first, after last]]. The keys of `NOTED` do not identify it: of an interrupted
                output they are those that `begun` returns.

        Returns:
            Numbers of the slabs that an interrupted run has finished.

        Raises:
            ConfigError: When the output belongs to another plan.
        """

    def write(self, slab: int, values: Mapping[str, Maps]) -> None:
        """Store one slab of the plan, whole or not at all.

        Args:
            slab: Its number.
            values: Its variables, (T, H, W) each (members: (T, M, H, W)).
        """

    def join(self, layout: Layout, plan: dict[str, Any]) -> None:
        """Use the output in a further process, after `begin` in the first one.

        Args:
            layout: Layout of the filled file.
            plan: As for `begin`.
        """

    def finish(self, land: np.ndarray) -> None:
        """Complete the output.

        Args:
            land: Land cells, (H, W) bool.
        """


def writer_for(path: str | Path) -> Writer:
    """Return a writer for a path that ends in .nc or .zarr; '{year}' in a .nc name makes one file a year.

    Args:
        path: File name, folder name of a store, or URL of a store.

    Returns:
        The writer; nothing is written yet.

    Raises:
        ConfigError: When the path has another ending, its folder is a file, or its bucket is missing.
        CubeError: When an object store cannot be reached.
    """
    if is_remote(path):
        check_url(str(path), write=True)
        is_there(path)  # fails early for a wrong bucket or missing credentials, before anything is read
        return ZarrOutput(path)
    path = Path(path)
    if path.suffix not in (".nc", ".zarr"):
        raise ConfigError(f"output={path}: expected a name ending in .nc or .zarr")
    check_folder("output", path)
    if path.suffix == ".zarr" and "{year}" in path.name:
        raise ConfigError(f"output={path}: '{{year}}' works for .nc; a .zarr store holds all years")
    return NetcdfOutput(path) if path.suffix == ".nc" else ZarrOutput(path)


class MemoryOutput:
    """Keeps the filled cube in memory.

    Attributes:
        dataset: The filled cube, once `finish` has been called.
    """

    def begun(self, plan: dict[str, Any]) -> None:
        return None

    def begin(self, layout: Layout, plan: dict[str, Any]) -> set[int]:
        self.layout, self.slabs = layout, plan["slabs"]
        sizes = {dim: len(values) for dim, (values, _) in layout.coords.items()}
        self.arrays = {
            n: _empty([sizes[d] for d in dims], dtype, a) for n, (dims, dtype, a) in layout.variables.items()
        }
        return set()

    def join(self, layout: Layout, plan: dict[str, Any]) -> None:
        raise ConfigError("several processes cannot fill one Dataset in memory: give an output file, or one device")

    def write(self, slab: int, values: Mapping[str, Maps]) -> None:
        for name, block in values.items():
            region = _region(self.layout, name, *self.slabs[slab])
            self.arrays[name][tuple(region.values())] = block[:]

    def finish(self, land: np.ndarray) -> None:
        self.arrays["land"][:] = land
        self.dataset = _dataset(self.layout, self.arrays)


class NetcdfOutput:
    """One netCDF-4 file. Slabs are kept in `FILE.nc.parts/`, as the chunks that the file takes over as they are.

    A chunk holds one day, of the rows of a slab, or of several slabs where these have fewer than LEAST_ROWS. HDF5
    itself would not survive a kill, nor several processes that write.

    Args:
        path: Name of the file; '{year}' in it makes one file a year.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts = Path(f"{path}.parts")

    def begun(self, plan: dict[str, Any]) -> dict[str, Any] | None:
        note = self.parts / "plan.json"
        if not note.exists() or not any(self.parts.glob("slab-*.chunks")):
            return None
        found = json.loads(note.read_text())
        return _noted(found["plan"]) if found["digest"] == _digest(plan) else None

    def begin(self, layout: Layout, plan: dict[str, Any]) -> set[int]:
        self.join(layout, plan)
        finals = [path for path, _ in self._files()]
        existing = [path for path in finals if path.exists()]
        # while the files of several years are made, some are there and so are the parts
        whole = len(existing) == len(finals) or self.parts.exists()
        foreign = [path for path in existing if not whole or _plan_of(path) != self.digest]
        if foreign:
            raise ConfigError(
                f"{foreign[0]} exists and is of another run or of other data: remove it, or choose another output"
            )
        self.complete = len(existing) == len(finals)
        if self.complete:
            shutil.rmtree(self.parts, ignore_errors=True)
            return set(range(len(plan["slabs"])))
        note = self.parts / "plan.json"
        if not note.exists():
            # interrupted while it was made or removed: the slabs in it cannot be assigned to a run
            shutil.rmtree(self.parts, ignore_errors=True)
            self.parts.mkdir(parents=True)
        elif any(self.parts.glob("slab-*.chunks")) and self.begun(plan) != _noted(plan):
            raise ConfigError(
                f"{self.parts} holds slabs of another run or of other data: remove it, or choose another output"
            )
        for left in self.parts.glob("*.partial"):
            left.unlink()
        _replace(note, json.dumps({"digest": self.digest, "plan": plan}).encode())
        return {k for k in range(len(plan["slabs"])) if _Part.is_whole(self._part(k))}

    def join(self, layout: Layout, plan: dict[str, Any]) -> None:
        self.layout, self.slabs = layout, plan["slabs"]
        self.rows = max(end - begin for _, (begin, end) in self.slabs)
        whole = max(end for _, (_, end) in self.slabs)
        self.chunk_rows = min(whole, self.rows * -(-LEAST_ROWS // self.rows))
        self.digest = _digest(plan)

    def write(self, slab: int, values: Mapping[str, Maps]) -> None:
        final = self._part(slab)
        # a unique name: when a cluster loses a worker it gives the slab to another, and both may write
        unfinished = final.with_suffix(f".{uuid4().hex}.partial")
        require_space(final, sum(block.nbytes for block in values.values()))
        lengths: dict[str, list[int]] = {}
        with unfinished.open("wb") as file, ThreadPoolExecutor() as threads:
            for name, block in values.items():
                # some days at a time: each call of a thread takes as long as a thousand values
                step = max(1, PACKED // prod(block.shape[1:]))
                days = [slice(k, k + step) for k in range(0, block.shape[0], step)]
                groups = threads.map(partial(self._packed, name, block, self._height(slab)), days)
                lengths[name] = [file.write(plane) for group in groups for chunk in group for plane in chunk]
            _Part.end(file, lengths)
        unfinished.replace(final)

    def _height(self, slab: int) -> int:
        """Return how many rows of a chunk a slab takes: chunks at the edge of an array are whole too."""
        return min(self.rows, self.chunk_rows - self.slabs[slab][1][0] % self.chunk_rows)

    def _packed(self, name: str, block: Maps, height: int, days: slice) -> list[list[bytes]]:
        """Return the packed rows of a slab on some days."""
        _, dtype, attrs = self.layout.variables[name]
        maps = block[days].astype(dtype, copy=False)
        maps = maps.reshape(-1, *maps.shape[-2:])
        if maps.shape[1] < height:
            rest = _empty([len(maps), height - maps.shape[1], maps.shape[2]], dtype, attrs)
            maps = np.concatenate([maps, rest], 1)
        return [pack(one) for one in maps]

    def finish(self, land: np.ndarray) -> None:
        if self.complete:
            return
        for path, days in self._files():
            self._assemble(path, days, land)
        shutil.rmtree(self.parts)

    def remove(self) -> None:
        """Remove an existing output and its parts, to write it again."""
        shutil.rmtree(self.parts, ignore_errors=True)
        self.path.unlink(missing_ok=True)

    def _assemble(self, path: Path, days: slice, land: np.ndarray) -> None:
        """Make the file of some days: chunks are copied as they are."""
        time, attrs = self.layout.coords["time"]
        # one year of the record, where the name has '{year}'
        coords = {**self.layout.coords, "time": (time[days], attrs)}
        partial = Path(f"{path}.partial")
        # latitudes and longitudes of a projected grid are variables too
        variables = with_places(self.layout.variables, self.layout.fixed)
        output = NetcdfWriter(partial, coords, variables, {**self.layout.attrs, PLAN: self.digest}, self.chunk_rows)
        try:
            for name, (_, values, _) in self.layout.fixed.items():
                output.write(name, values, (slice(None),) * values.ndim)
            for (t0, t1), bands in self._bands(days):
                parts = {number: _Part(self._part(number)) for _, number in bands}
                require_space(partial, sum(part.size for part in parts.values()))
                # the slabs of each chunk, from the top of the map down
                groups = groupby(bands, lambda band: band[0] // self.chunk_rows * self.chunk_rows)
                stacks = [(row, [number for _, number in group]) for row, group in groups]
                inside = range(max(t0, days.start), min(t1, days.stop))
                for name, (dims, dtype, attrs) in self.layout.variables.items():
                    if not all(name in part for part in parts.values()):
                        continue
                    # of maps one, of members several
                    others = list(np.ndindex(*(len(coords[dim][0]) for dim in dims[1:-2])))
                    columns = len(coords[dims[-1]][0])
                    rest = self.chunk_rows - sum(self._height(number) for number in stacks[-1][1])
                    end = pack(_empty([rest, columns], dtype, attrs)) if rest else []
                    # in the order in which HDF5 keeps them
                    for day, (k, other), (row, numbers) in product(inside, enumerate(others), stacks):
                        at = (day - t0) * len(others) + k
                        rows = [parts[number].rows(name, at, np.dtype(dtype).itemsize) for number in numbers]
                        sizes = [self._height(number) * columns for number in numbers]
                        if rest and row == stacks[-1][0]:
                            rows, sizes = [*rows, end], [*sizes, rest * columns]
                        chunk = join_packed(rows, sizes)
                        output.write_packed(name, chunk, (day - days.start, *other, row, 0))
            output.write("land", land, (slice(None), slice(None)))
        finally:
            output.close()
        partial.replace(path)

    def _bands(self, days: slice) -> list[tuple[tuple[int, int], list[tuple[int, int]]]]:
        """Return the spans of days of the slabs that reach into some days, with first rows and numbers of the slabs."""
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for number, ((t0, t1), (row, _)) in enumerate(self.slabs):
            if t0 < days.stop and t1 > days.start:
                found.setdefault((t0, t1), []).append((row, number))
        return sorted((span, sorted(bands)) for span, bands in found.items())

    def _files(self) -> list[tuple[Path, slice]]:
        days = self.layout.coords["time"][0]
        if "{year}" not in self.path.name:
            return [(self.path, slice(0, len(days)))]
        years = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
        files = []
        for year in np.unique(years):
            which = np.flatnonzero(years == year)
            name = self.path.name.replace("{year}", str(year))
            files.append((self.path.with_name(name), slice(int(which[0]), int(which[-1]) + 1)))
        return files

    def _part(self, number: int) -> Path:
        return self.parts / f"slab-{number:05d}.chunks"


class _Part:
    """The packed maps of a slab, one after the other, then the lengths of their pieces as JSON, and its length.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        # not held open: a large cube has more slabs than a process may have files
        self.path, self.size = path, path.stat().st_size
        with path.open("rb") as file:
            file.seek(-LENGTH.size, SEEK_END)
            (length,) = LENGTH.unpack(file.read())
            file.seek(-LENGTH.size - length, SEEK_END)
            lengths: dict[str, list[int]] = json.loads(file.read(length))
        self.ends: dict[str, np.ndarray] = {}
        begin = 0
        for name, sizes in lengths.items():
            self.ends[name] = begin + np.concatenate([[0], np.cumsum(sizes)])
            begin = int(self.ends[name][-1])
        if begin + length + LENGTH.size != self.size:
            raise ValueError(f"{path}: {self.size} bytes, expected {begin + length + LENGTH.size}")

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Return True if the file is there and whole; one that is damaged, as by a loss of power, is removed."""
        try:
            _Part(path)
        except FileNotFoundError:
            return False
        except (OSError, ValueError, StructError):
            path.unlink()
            return False
        return True

    @staticmethod
    def end(file: BinaryIO, lengths: dict[str, list[int]]) -> None:
        """Write what follows the maps."""
        text = json.dumps(lengths).encode()
        file.write(text + LENGTH.pack(len(text)))

    def __contains__(self, name: str) -> bool:
        return name in self.ends

    def rows(self, name: str, number: int, planes: int) -> list[bytes]:
        """Return the packed rows of a map of a variable, which has so many bytes a value."""
        ends = self.ends[name][number * planes : (number + 1) * planes + 1].tolist()
        with self.path.open("rb") as file:
            file.seek(ends[0])
            return [file.read(end - begin) for begin, end in pairwise(ends)]


class ZarrOutput:
    """A Zarr store, local or on an object store, written region by region.

    A local folder is made under another name and renamed, so that a folder under the final name has all its arrays. An
    object store cannot rename: there the attribute that names the plan is written after all arrays. The array
    `finished_slabs` marks finished slabs and is deleted when all are. Processes write chunks of their own: a
    chunk has no more rows than a slab.

    Args:
        path: Folder or URL.
    """

    DONE = "finished_slabs"
    BEGUN = "sgdsm_begun"

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def begun(self, plan: dict[str, Any]) -> dict[str, Any] | None:
        with one_line_errors(self.path):
            self.store = zarr_store(self.path, write=True)
            if not is_there(self.path) or self._attrs().get(PLAN) != _digest(plan):
                return None
            group = _open_group(self.store)
            return _noted(group[self.DONE].attrs) if self.DONE in group else None

    def begin(self, layout: Layout, plan: dict[str, Any]) -> set[int]:
        digest = _digest(plan)
        count = len(plan["slabs"])
        self.complete = False
        with one_line_errors(self.path):
            self.join(layout, plan)
            if is_there(self.path):
                attrs = self._attrs()
                if attrs.get(PLAN) == digest:
                    group = _open_group(self.store)
                    # the array of finished slabs is deleted when all are
                    self.complete = self.DONE not in group
                    if self.complete:
                        return set(range(count))
                    if self.begun(plan) == _noted(plan):
                        return set(np.flatnonzero(group[self.DONE][:]).tolist())
                # at a URL, interrupted before all arrays were there: it is made again
                if not is_remote(self.path) or attrs.get(self.BEGUN) != digest:
                    raise ConfigError(
                        f"{self.path} exists and is of another run or of other data: remove it, "
                        "or choose another output"
                    )
            if is_remote(self.path):
                self._make(self.store, plan)
            else:
                partial = Path(f"{self.path}.partial")
                self._make(partial, plan)
                partial.replace(self.path)
        return set()

    def join(self, layout: Layout, plan: dict[str, Any]) -> None:
        self.layout, self.slabs = layout, plan["slabs"]
        self.store = zarr_store(self.path, write=True)

    def write(self, slab: int, values: Mapping[str, Maps]) -> None:
        with one_line_errors(self.path):
            group = _open_group(self.store)
            for name, block in values.items():
                group[name][tuple(_region(self.layout, name, *self.slabs[slab]).values())] = block[:]
            group[self.DONE][slab] = 1

    def finish(self, land: np.ndarray) -> None:
        import zarr

        with one_line_errors(self.path), warnings.catch_warnings():
            # zarr warns that it is not in the specification yet; xarray opens such stores faster
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            group = _open_group(self.store)
            if not self.complete:
                group["land"][:] = land.astype(np.int8)
                del group[self.DONE]
            # also for a store that was interrupted just before this line
            if zarr.open_group(self.store, mode="r").metadata.consolidated_metadata is None:
                zarr.consolidate_metadata(self.store)

    def _make(self, store: Any, plan: dict[str, Any]) -> None:
        import dask.array
        import zarr

        digest = _digest(plan)
        zarr.create_group(store, attributes={self.BEGUN: digest}, overwrite=True)
        sizes = {dim: len(values) for dim, (values, _) in self.layout.coords.items()}
        rows_dim = _rows_dim(self.layout)
        days, rows = (_step([s[k] for s in self.slabs], sizes[dim]) for k, dim in enumerate(("time", rows_dim)))
        maps = [dim for dim in sizes if dim != "member"]
        chunk = dict(zip(maps, chunks(tuple(sizes[dim] for dim in maps), days, rows), strict=True))  # type: ignore[arg-type]
        # members are read one by one
        chunk["member"] = 1
        variables, encoding = {}, {}
        for name, (dims, dtype, attrs) in self.layout.variables.items():
            fill = attrs.get("_FillValue", 0)
            pieces = tuple(chunk[d] for d in dims)
            data = dask.array.full([sizes[d] for d in dims], fill, dtype=dtype, chunks=pieces)
            variables[name] = xr.Variable(dims, data, _no_fill(attrs))
            encoding[name] = {"chunks": pieces, "_FillValue": attrs.get("_FillValue")}
        coords = _coords(self.layout)
        # coordinates have no missing values
        encoding |= {dim: {"_FillValue": None} for dim in coords}
        dataset = xr.Dataset(variables, coords, {**self.layout.attrs, self.BEGUN: digest})
        dataset.to_zarr(store, mode="a", compute=False, encoding=encoding, consolidated=False)
        group = _open_group(store)
        group.create_array(
            self.DONE,
            shape=(len(plan["slabs"]),),
            chunks=(1,),
            dtype="int8",
            fill_value=0,
            dimension_names=("slab",),
            attributes=_noted(plan),
        )
        group.attrs.put({**{k: v for k, v in group.attrs.items() if k != self.BEGUN}, PLAN: digest})

    def _attrs(self) -> dict[str, Any]:
        """Return the attributes of the store; none if there is no such store."""
        try:
            return dict(_open_group(self.store).attrs)
        except (FileNotFoundError, ValueError, KeyError):
            return {}


def _open_group(store: Any) -> Any:
    import zarr

    return zarr.open_group(store, mode="r+", use_consolidated=False)


def _rows_dim(layout: Layout) -> str:
    return next(dim for dim in layout.coords if dim in ("lat", "y"))


def _region(layout: Layout, name: str, days: Sequence[int], rows: Sequence[int]) -> dict[str, slice]:
    """Return where a slab lies in a variable: a slice for each dimension, in their order."""
    part = {"time": slice(*days), _rows_dim(layout): slice(*rows)}
    return {dim: part.get(dim, slice(None)) for dim in layout.variables[name][0]}


def _step(edges: list[list[int]], length: int) -> int | None:
    """Return the step of the slabs along an axis; None if there is only one."""
    step = max(end - begin for begin, end in edges)
    return None if step >= length else step


def _dataset(layout: Layout, arrays: dict[str, np.ndarray]) -> xr.Dataset:
    variables = {n: xr.Variable(dims, arrays[n], a) for n, (dims, _, a) in layout.variables.items()}
    return xr.decode_cf(xr.Dataset(variables, _coords(layout), layout.attrs))


def _coords(layout: Layout) -> dict[str, xr.Variable]:
    dims = {dim: xr.Variable(dim, values, attrs) for dim, (values, attrs) in layout.coords.items()}
    return {**dims, **{name: xr.Variable(*parts) for name, parts in layout.fixed.items()}}


def _empty(shape: list[int], dtype: Any, attrs: dict[str, Any]) -> np.ndarray:
    return np.full(shape, attrs.get("_FillValue", 0), dtype)


def _no_fill(attrs: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in attrs.items() if k != "_FillValue"}


def _digest(plan: dict[str, Any]) -> str:
    # short, but long enough that two plans do not collide
    identity = {key: value for key, value in plan.items() if key not in NOTED}
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _noted(plan: Mapping[str, Any]) -> dict[str, Any]:
    return {key: plan[key] for key in NOTED if key in plan}


def _plan_of(path: Path) -> str | None:
    try:
        with h5py.File(path, "r") as file:
            digest = file.attrs.get(PLAN)
            return None if digest is None else str(digest)
    except OSError:
        return None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
