"""Lazy reading of Zarr stores: links that lead out of a store are refused, damaged chunks are named."""

from __future__ import annotations

import itertools
import lzma
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray, ZarrStore
from xarray.core import indexing
from zarr import Array
from zarr.storage import LocalStore

from sgdsm.core.errors import CubeError
from sgdsm.core.io.safety import BOMB_RATIO, check_array, check_codecs, check_total, refuse_irregular, stored_bytes

# what codecs raise; bz2, gzip and the file system raise OSError
FAILURES = (RuntimeError, ValueError, EOFError, OSError, zlib.error, lzma.LZMAError)


def open_store(
    path: str | Path, store: Any = None, group: str | None = None, consolidated: bool | None = False
) -> xr.Dataset:
    """Open a Zarr store as a lazy Dataset that is not decoded yet (`sgdsm.core.io.decoding.decode`).

    Args:
        path: Local store, or its URL for messages.
        store: Store object of zarr, for a URL.
        group: Group whose arrays are taken.
        consolidated: Use consolidated metadata; None to try.

    Raises:
        CubeError: `safety` refuses the store, before anything is decoded. Later, reading raises a CubeError that names
            array and chunk.
    """
    opened = _Store.open_group(
        _Within(path) if store is None else store, mode="r", consolidated=consolidated, group=group
    )
    opened.shown = str(path)
    arrays = [member for member in opened.members.values() if isinstance(member, Array)]  # others are groups
    for array in arrays:
        name = array.path.rpartition("/")[2]
        where = f"{path}: array '{name}'"
        # before any chunk is read: a codec may run code
        check_codecs(where, array.metadata.to_dict())
        is_axis = array.ndim == 1
        check_array(
            where, {name: array.shape[0]} if is_axis else {}, prod(array.chunks) * array.dtype.itemsize, is_axis
        )
    if store is None:
        unpacked = sum(array.nbytes for array in arrays)
        check_total(path, unpacked, stored_bytes(Path(path), -(-unpacked // BOMB_RATIO)))
    return xr.open_dataset(opened, engine="store", decode_cf=False)


class _Within(LocalStore):
    """A local store that reads only regular files below its folder: a chunk may be a pipe, or a link to anything."""

    async def get(self, key: str, *args: Any, **options: Any) -> Any:
        self._check(key)
        return await super().get(key, *args, **options)

    def get_sync(self, key: str, **options: Any) -> Any:
        self._check(key)
        return super().get_sync(key, **options)

    def _check(self, key: str) -> None:
        # links inside the store are allowed
        path = self.root / key
        refuse_irregular(path)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise CubeError(f"{path}: leads out of its store, expected a file within it: copy it there")


class _Store(ZarrStore):
    shown = ""

    def open_store_variable(self, name: str) -> xr.Variable:
        variable = super().open_store_variable(name)
        array = _NamedArray(variable._data.array, self.members[name], self.shown)
        return xr.Variable(variable.dims, indexing.LazilyIndexedArray(array), variable.attrs, variable.encoding)


class _NamedArray(BackendArray):
    """An array whose errors name the chunk that cannot be read."""

    def __init__(self, inner: Any, array: Any, store: str) -> None:
        self.inner, self.array, self.store = inner, array, store
        self.shape, self.dtype = inner.shape, inner.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        try:
            return self.inner[key]
        except FAILURES as error:
            raise CubeError(self._message(key.tuple, error)) from error

    def _message(self, key: tuple[Any, ...], error: Exception) -> str:
        name = self.array.path.rpartition("/")[2]
        where, reason = "", str(error) or type(error).__name__
        # elsewhere, the chunks would have to be fetched once more
        for block, place in self._chunks(key) if "://" not in self.store else ():
            try:
                self.array[place]
            except FAILURES as its:
                where = f", chunk {self.array.metadata.encode_chunk_key(block)}, {_spans(place)}"
                reason = str(its) or type(its).__name__
                break
        where = where or f", part {_spans(self._bounds(key))}"
        return f"{self.store}: array '{name}'{where}, cannot be read ({' '.join(reason.split())[:120]}): copy it anew"

    def _bounds(self, key: tuple[Any, ...]) -> tuple[slice, ...]:
        """Return the box around the cells that a key asks for."""
        spans = []
        for index, length in zip(key, self.shape, strict=True):
            chosen = np.arange(length)[index] if isinstance(index, slice) else np.atleast_1d(index) % max(1, length)
            spans.append(slice(int(chosen.min()), int(chosen.max()) + 1) if chosen.size else slice(0, 0))
        return tuple(spans)

    def _chunks(self, key: tuple[Any, ...]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Yield numbers and places of the chunks that a key touches (of a sharded array: of the shards, its files)."""
        sizes = self.array.shards or self.array.chunks
        numbers = [range(b.start // n, -(-b.stop // n)) for b, n in zip(self._bounds(key), sizes, strict=True)]
        for block in itertools.product(*numbers):
            yield (
                block,
                tuple(
                    slice(b * n, min((b + 1) * n, length))
                    for b, n, length in zip(block, sizes, self.shape, strict=True)
                ),
            )


def _spans(place: tuple[slice, ...]) -> str:
    return f"[{', '.join(f'{one.start}:{one.stop}' for one in place)}]"
