"""Where filled slabs go: one netCDF file (or one a year), a Zarr store, or memory.

Every writer stores a slab whole or not at all and remembers which are finished, so that an interrupted run goes on;
it refuses to go on with, or to overwrite, an output of another run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any
from uuid import uuid4

import h5py
import numpy as np
import xarray as xr

from sgdsm.cube import ConfigError
from sgdsm.hdf5 import NetcdfWriter, require_space, with_places
from sgdsm.inference.product import Layout
from sgdsm.inference.stream import Writer

PLAN = "sgdsm_plan"


def writer_for(path: str | Path) -> Writer:
    """A writer for a path that ends in .nc or .zarr; '{year}' in a .nc name makes one file a year.

    Raises ConfigError for any other ending and where the folder is missing.
    """
    path = Path(path)
    if path.suffix not in (".nc", ".zarr"):
        raise ConfigError(f"output={path}: expected a name ending in .nc or .zarr")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"output={path}: there is no folder {path.absolute().parent}")
    if path.suffix == ".zarr" and "{year}" in path.name:
        raise ConfigError(f"output={path}: '{{year}}' works for .nc; a .zarr store holds all years")
    return NetcdfOutput(path) if path.suffix == ".nc" else ZarrOutput(path)


class MemoryOutput:
    """Keeps the filled cube in memory; `dataset` holds it in the end."""

    def begin(self, shape: Layout, plan: dict[str, Any]) -> set[int]:
        self.shape, self.slabs = shape, plan["slabs"]
        sizes = {dim: len(values) for dim, (values, _) in shape.coords.items()}
        self.arrays = {n: _empty([sizes[d] for d in dims], dtype, a) for n, (dims, dtype, a) in shape.variables.items()}
        return set()

    def follow(self, shape: Layout, plan: dict[str, Any]) -> None:
        raise ConfigError("several processes cannot fill one Dataset in memory: give an output file, or one device")

    def write(self, slab: int, values: dict[str, np.ndarray]) -> None:
        for name, block in values.items():
            days, rows = self.slabs[slab]
            self.arrays[name][slice(*days), slice(*rows)] = block

    def finish(self, land: np.ndarray) -> None:
        self.arrays["land"][:] = land
        self.dataset = _dataset(self.shape, self.arrays)


class NetcdfOutput:
    """One netCDF-4 file. Slabs are kept in `FILE.nc.parts/` and joined at the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts = Path(f"{path}.parts")

    def begin(self, shape: Layout, plan: dict[str, Any]) -> set[int]:
        self.follow(shape, plan)
        finals = [path for path, _ in self._files()]
        self.complete = False
        if not self.parts.exists():
            existing = [path for path in finals if path.exists()]
            if existing:
                self.complete = len(existing) == len(finals) and all(_plan_of(p) == self.digest for p in existing)
                if not self.complete:
                    raise ConfigError(
                        f"{existing[0]} exists and is of another run or of other data: remove it, "
                        "or choose another output"
                    )
                return set(range(len(plan["slabs"])))
        note = self.parts / "plan.json"
        if not note.exists():
            # interrupted while it was made or removed: nothing tells whose slabs these are
            shutil.rmtree(self.parts, ignore_errors=True)
            self.parts.mkdir()
        elif json.loads(note.read_text())["digest"] != self.digest and any(self.parts.glob("slab-*.h5")):
            raise ConfigError(
                f"{self.parts} holds slabs of another run or of other data: remove it, or choose another output"
            )
        _replace(note, json.dumps({"digest": self.digest, "plan": plan}).encode())
        return {k for k in range(len(plan["slabs"])) if self._part(k).exists()}

    def follow(self, shape: Layout, plan: dict[str, Any]) -> None:
        self.shape, self.plan = shape, plan
        self.digest = _digest(plan)

    def write(self, slab: int, values: dict[str, np.ndarray]) -> None:
        final = self._part(slab)
        # a name of its own: a cluster may give the slab of a worker that it has lost sight of to another
        partial = final.with_suffix(f".{uuid4().hex}.partial")
        require_space(final, sum(block.nbytes for block in values.values()))
        with h5py.File(partial, "w") as file:
            for name, block in values.items():
                file.create_dataset(name, data=block, compression="lzf")
        partial.replace(final)

    def finish(self, land: np.ndarray) -> None:
        if self.complete:
            return
        for path, days in self._files():
            self._join(path, days, land)
        shutil.rmtree(self.parts)

    def remove(self) -> None:
        """Remove what is there, to write it anew."""
        shutil.rmtree(self.parts, ignore_errors=True)
        self.path.unlink(missing_ok=True)

    def _join(self, path: Path, days: slice, land: np.ndarray) -> None:
        time, attrs = self.shape.coords["time"]
        coords = {**self.shape.coords, "time": (time[days], attrs)}
        partial = Path(f"{path}.partial")
        variables = with_places(self.shape.variables, self.shape.fixed)
        output = NetcdfWriter(partial, coords, variables, {**self.shape.attrs, PLAN: self.digest})
        try:
            for name, (_, values, _) in self.shape.fixed.items():
                output.write(name, values, (slice(None),) * values.ndim)
            for number, ((t0, t1), (y0, y1)) in enumerate(self.plan["slabs"]):
                begin, end = max(t0, days.start), min(t1, days.stop)
                if begin >= end:
                    continue
                with h5py.File(self._part(number), "r") as part:
                    for name, block in part.items():
                        region = (slice(begin - days.start, end - days.start), slice(y0, y1))
                        output.write(name, block[begin - t0 : end - t0], region)
            output.write("land", land, (slice(None), slice(None)))
        finally:
            output.close()
        partial.replace(path)

    def _files(self) -> list[tuple[Path, slice]]:
        days = self.shape.coords["time"][0]
        if "{year}" not in self.path.name:
            return [(self.path, slice(0, len(days)))]
        years = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
        found = []
        for year in np.unique(years):
            which = np.flatnonzero(years == year)
            name = self.path.name.replace("{year}", str(year))
            found.append((self.path.with_name(name), slice(int(which[0]), int(which[-1]) + 1)))
        return found

    def _part(self, number: int) -> Path:
        return self.parts / f"slab-{number:05d}.h5"


class ZarrOutput:
    """A Zarr store, written region by region; the array `finished_slabs` is there until the end."""

    DONE = "finished_slabs"

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, shape: Layout, plan: dict[str, Any]) -> set[int]:
        import zarr

        self.follow(shape, plan)
        digest = _digest(plan)
        self.complete = False
        count = len(plan["slabs"])
        if self.path.exists():
            group = self._open_group()
            if group is None or group.attrs.get(PLAN) != digest:
                raise ConfigError(
                    f"{self.path} exists and is of another run or of other data: remove it, or choose another output"
                )
            self.complete = self.DONE not in group
            return set(range(count)) if self.complete else set(np.flatnonzero(group[self.DONE][:]).tolist())
        # made beside it and renamed: a store that is there has all its arrays
        partial = Path(f"{self.path}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        self._template(partial, plan, digest)
        group = zarr.open_group(partial, mode="r+")
        group.create_array(
            self.DONE, shape=(count,), chunks=(1,), dtype="int8", fill_value=0, dimension_names=("slab",)
        )
        partial.replace(self.path)
        return set()

    def follow(self, shape: Layout, plan: dict[str, Any]) -> None:
        self.shape, self.slabs = shape, plan["slabs"]

    def write(self, slab: int, values: dict[str, np.ndarray]) -> None:
        dims = next(iter(self.shape.variables.values()))[0]
        block = xr.Dataset({name: (dims, array) for name, array in values.items()})
        block = block.assign({n: v.assign_attrs(_no_fill(self.shape.variables[n][2])) for n, v in block.items()})  # type: ignore[index]
        days, rows = self.slabs[slab]
        region = {dims[0]: slice(*days), dims[1]: slice(*rows), dims[2]: slice(None)}
        block.to_zarr(self.path, region=region, consolidated=False)
        group = self._open_group()
        assert group is not None
        group[self.DONE][slab] = 1

    def finish(self, land: np.ndarray) -> None:
        import zarr

        if self.complete:
            return
        group = self._open_group()
        assert group is not None
        group["land"][:] = land.astype(np.int8)
        del group[self.DONE]
        with warnings.catch_warnings():
            # not in the specification yet, but what xarray looks for first
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(self.path)

    def _template(self, path: Path, plan: dict[str, Any], digest: str) -> None:
        import dask.array

        sizes = {dim: len(values) for dim, (values, _) in self.shape.coords.items()}
        days, rows = ([s[k] for s in plan["slabs"]] for k in (0, 1))
        chunk = {dim: _chunk(edges, sizes[dim]) for dim, edges in zip(sizes, (days, rows), strict=False)}
        variables, encoding = {}, {}
        for name, (dims, dtype, attrs) in self.shape.variables.items():
            chunks = tuple(chunk.get(d, sizes[d]) for d in dims)
            fill = attrs.get("_FillValue", 0)
            data = dask.array.full([sizes[d] for d in dims], fill, dtype=dtype, chunks=chunks)
            variables[name] = xr.Variable(dims, data, _no_fill(attrs))
            encoding[name] = {"chunks": chunks, "_FillValue": attrs.get("_FillValue")}
        coords = _coords(self.shape)
        encoding |= {dim: {"_FillValue": None} for dim in coords}
        dataset = xr.Dataset(variables, coords, {**self.shape.attrs, PLAN: digest})
        dataset.to_zarr(path, mode="w", compute=False, encoding=encoding, consolidated=False)

    def _open_group(self) -> Any:
        import zarr

        try:
            return zarr.open_group(self.path, mode="r+")
        except (FileNotFoundError, ValueError, KeyError):
            return None


def _chunk(edges: list[list[int]], length: int) -> int:
    """A chunk length that slabs are multiples of, at most 64 where there are several."""
    step = max(end - begin for begin, end in edges)
    if step >= length:
        return min(length, 64)
    return max(d for d in range(1, 65) if step % d == 0)


def _dataset(shape: Layout, arrays: dict[str, np.ndarray]) -> xr.Dataset:
    variables = {n: xr.Variable(dims, arrays[n], a) for n, (dims, _, a) in shape.variables.items()}
    return xr.decode_cf(xr.Dataset(variables, _coords(shape), shape.attrs))


def _coords(shape: Layout) -> dict[str, xr.Variable]:
    dims = {dim: xr.Variable(dim, values, attrs) for dim, (values, attrs) in shape.coords.items()}
    return {**dims, **{name: xr.Variable(*parts) for name, parts in shape.fixed.items()}}


def _empty(shape: list[int], dtype: Any, attrs: dict[str, Any]) -> np.ndarray:
    return np.full(shape, attrs.get("_FillValue", 0), dtype)


def _no_fill(attrs: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in attrs.items() if k != "_FillValue"}


def _digest(plan: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()[:16]


def _plan_of(path: Path) -> str | None:
    try:
        with h5py.File(path, "r") as file:
            found = file.attrs.get(PLAN)
            return None if found is None else str(found)
    except OSError:
        return None


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
