"""The Zarr store of a cube that is being made, in blocks of days.

Each block is written whole, noted, and not written again.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import UNFINISHED, chunks

PLAN = "sgdsm_recipe"
BLOCK = "sgdsm_block_days"
FIRST_STAGE = "maps"
NOTES = "sgdsm_notes"  # group of a finished store, and its attribute: its notes


@dataclass
class Store:
    """A cube in the making, in blocks of days.

    A note for each finished block is kept in `PATH.notes/`, so that an interrupted cube can be resumed. When all blocks
    are there, the notes are kept in the store itself, so that the cube can be extended later.

    Args:
        path: Folder of the store.
        block_days: Maps in a block.
    """

    path: Path
    block_days: int

    @classmethod
    def at(cls, path: Path, block_days: int | None, most: int) -> Store:
        """Return the store at a path.

        Args:
            path: Folder of the store, which may not exist yet.
            block_days: Maps in a block; None: as the store has them.
            most: Maps in a block of a new store without `block_days`.

        Raises:
            ConfigError: When the store has other blocks than asked for.
        """
        existing = _attrs(path).get(BLOCK)
        if existing is None:
            return cls(path, block_days or most)
        if block_days not in (None, existing):
            raise ConfigError(f"block_days={block_days}: {path} was begun with {existing}")
        return cls(path, existing)

    def begin(self, template: xr.Dataset, plan: dict[str, Any], redo_days: int) -> None:
        """Make the store, or resume it.

        Args:
            template: Coordinates, static variables and lazy arrays of the others.
            plan: What the cube is made of. A plan that differs only in a later `end` appends.
            redo_days: When appending, the last maps that are made again, because they depend on days that were not
                there yet.

        Raises:
            ConfigError: When the store holds something else.
        """
        if not self.path.exists():
            # made under another name and renamed, so that a store at this path has all its arrays
            partial = Path(f"{self.path}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            encoding: dict[str, Any] = {str(name): {"_FillValue": None} for name in template.coords}
            for name, variable in template.data_vars.items():
                # codes and land have no missing value
                fill = np.float32(np.nan) if variable.dtype.kind == "f" else None
                encoding[str(name)] = {"chunks": self._chunks(variable), "_FillValue": fill}
            shutil.rmtree(self.notes, ignore_errors=True)
            template.attrs |= {PLAN: json.dumps(plan, sort_keys=True), UNFINISHED: 1, BLOCK: self.block_days}
            template.to_zarr(partial, mode="w", compute=False, encoding=encoding, consolidated=False)
            partial.replace(self.path)
            return
        before = json.loads(str(_attrs(self.path).get(PLAN, "null")))
        if before is None:
            raise ConfigError(f"{self.path} exists and is no cube that was made here: choose another output")
        # only a later end can be added to what is there
        if {**before, "end": None} != {**plan, "end": None} or before["end"] > plan["end"]:
            other = [key for key in plan if before.get(key) != plan[key]]
            raise ConfigError(
                f"{self.path} exists and was made otherwise ({', '.join(other)} differ): "
                "remove it, or choose another output"
            )
        self._unpack()
        if before["end"] < plan["end"]:
            self._append(template, plan, redo_days)

    def again(self, plan: dict[str, Any], redo_days: int) -> list[int]:
        """Return the finished blocks that `begin` will make again because this plan is longer."""
        before = json.loads(str(_attrs(self.path).get(PLAN, "null")))
        if before is None or {**before, "end": plan["end"]} != plan or before["end"] >= plan["end"]:
            return []
        length = zarr.open_group(self.path, mode="r", use_consolidated=False)["time"].shape[0]  # type: ignore[union-attr]
        return [k for k in self.blocks(length) if (k + 1) * self.block_days > length - redo_days]

    def _append(self, template: xr.Dataset, plan: dict[str, Any], redo_days: int) -> None:
        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        group.attrs[UNFINISHED] = 1
        self.drop(self.again(plan, redo_days))
        for name, variable in [*template.data_vars.items(), ("time", template["time"])]:
            if "time" in variable.dims:
                group[name].resize(variable.shape)
        first = template["time"].values[0]
        # the new days in the units of the first map, as the store has them
        group["time"][:] = ((template["time"].values - first) / np.timedelta64(1, "D")).astype(group["time"].dtype)
        # last: an interrupted extension is begun again
        group.attrs[PLAN] = json.dumps(plan, sort_keys=True)

    def drop(self, blocks: list[int]) -> None:
        """Mark blocks, and what was made from them, as not finished, so that they are made again."""
        if not blocks:
            return
        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        group.attrs[UNFINISHED] = 1
        for note in self.notes.glob("*.json"):
            stage, _, number = note.stem.rpartition("-")
            # features of a block may depend on maps of earlier blocks
            if int(number) in blocks or (stage != FIRST_STAGE and int(number) >= min(blocks)):
                note.unlink()

    def attrs(self) -> dict[str, Any]:
        """Return the attributes of the store; none if it does not exist yet."""
        return _attrs(self.path)

    @property
    def notes(self) -> Path:
        """The folder of the notes."""
        return Path(f"{self.path}.notes")

    def days(self, block: int) -> slice:
        """Return the maps of a block, as a slice."""
        return slice(block * self.block_days, (block + 1) * self.block_days)

    def blocks(self, length: int) -> range:
        """Return the numbers of the blocks of `length` maps."""
        return range(-(-length // self.block_days))

    def note(self, stage: str, block: int) -> dict[str, Any] | None:
        """Return what was noted when a block was finished; None if it is not finished."""
        path = self._note(stage, block)
        if not self.notes.exists():
            note: dict[str, Any] | None = self._packed().get(path.stem)
            return note
        return json.loads(path.read_text()) if path.is_file() else None

    def write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        """Store one block.

        Args:
            block: Number of the block.
            values: Name -> maps, (days, rows, columns).
        """
        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        for name, array in values.items():
            # blocks are whole chunks, so processes never write to the same chunk
            start = block * self.block_days
            group[name][start : start + len(array)] = array

    def keep(self, stage: str, block: int, note: dict[str, Any]) -> None:
        """Note that a block is finished.

        Args:
            stage: Name of the stage.
            block: Number of the block.
            note: Plain values.
        """
        final = self._note(stage, block)
        self.notes.mkdir(exist_ok=True)
        partial = final.with_suffix(".partial")
        partial.write_text(json.dumps(note))
        partial.replace(final)

    def read(self, names: list[str], days: slice) -> dict[str, np.ndarray]:
        """Return maps of some variables, by name."""
        group: Any = zarr.open_group(self.path, mode="r", use_consolidated=False)
        return {name: np.asarray(group[name][days]) for name in names}

    def finish(self, static: Mapping[str, np.ndarray], attrs: Mapping[str, Any]) -> None:
        """Write maps without time and attributes of the whole cube, and mark it as finished.

        Args:
            static: Name -> map, (rows, columns).
            attrs: Attributes of the cube.
        """
        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        for name, values in static.items():
            group[name][:] = values
        group.attrs.update(attrs)
        notes = {path.stem: json.loads(path.read_text()) for path in sorted(self.notes.glob("*.json"))}
        group.require_group(NOTES).attrs[NOTES] = notes
        # a finished store that is finished again does not have it
        group.attrs.pop(UNFINISHED, None)
        with warnings.catch_warnings():
            # zarr warns that it is not in the specification yet; xarray opens such stores faster
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(self.path)
        # by one renaming: a folder with half of the notes would make finished blocks look unfinished
        gone = Path(f"{self.notes}.partial")
        shutil.rmtree(gone, ignore_errors=True)
        self.notes.replace(gone)
        shutil.rmtree(gone)

    def _packed(self) -> dict[str, Any]:
        """Return the notes of a finished store, by the names of their files."""
        notes: dict[str, Any] = _attrs(self.path / NOTES).get(NOTES, {})
        return notes

    def _unpack(self) -> None:
        """Write the notes of a finished store to the folder where those of an unfinished one are."""
        if self.notes.exists():
            return
        partial = Path(f"{self.notes}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for name, note in self._packed().items():
            (partial / f"{name}.json").write_text(json.dumps(note))
        partial.replace(self.notes)

    def _note(self, stage: str, block: int) -> Path:
        return self.notes / f"{stage}-{block:05d}.json"

    def _chunks(self, variable: xr.DataArray) -> tuple[int, ...]:
        rows, columns = variable.shape[-2:]
        with_time = chunks((self.block_days, rows, columns), days=self.block_days)
        return with_time if "time" in variable.dims else with_time[1:]


def _attrs(path: Path) -> dict[str, Any]:
    """Return the attributes of a store; none if there is no such store."""
    try:
        return dict(zarr.open_group(path, mode="r", use_consolidated=False).attrs)
    except (OSError, ValueError, KeyError):
        return {}
