"""The Zarr store of a cube that is being made: blocks of days, each written whole, noted, and never written twice."""

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

from sgdsm.core.cube import ConfigError
from sgdsm.core.io.stores import UNFINISHED, chunks

PLAN = "sgdsm_recipe"
BLOCK = "sgdsm_block_days"
FIRST_STAGE = "maps"
NOTES = "sgdsm_notes"  # group of a finished store, and its attribute: its notes


@dataclass
class Store:
    """A cube in the making at `path`, in blocks of `block_days` maps.

    A note for each finished block is kept in `PATH.notes/`, so that an interrupted one goes on; when all are there, in
    the store itself, so that a longer one goes on.
    """

    path: Path
    block_days: int

    @classmethod
    def at(cls, path: Path, block_days: int | None, most: int) -> Store:
        """The store at a path: blocks as it has them, or of `block_days`, by default `most`.

        Raises ConfigError where it has others than asked for.
        """
        found = _attrs(path).get(BLOCK)
        if found is None:
            return cls(path, block_days or most)
        if block_days not in (None, found):
            raise ConfigError(f"block_days={block_days}: {path} was begun with {found}")
        return cls(path, found)

    def begin(self, template: xr.Dataset, plan: dict[str, Any], redo_days: int) -> None:
        """Make the store, or go on with it.

        template: coordinates, static variables and lazy arrays of the others. plan: what the cube is made of; a plan
        that differs in nothing but a later `end` appends, and makes the last `redo_days` maps anew, which looked at
        days that were not there yet.

        Raises ConfigError where the store holds something else.
        """

        if not self.path.exists():
            # made beside it and renamed: a store that is there has all its arrays
            partial = Path(f"{self.path}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            encoding: dict[str, Any] = {str(name): {"_FillValue": None} for name in template.coords}
            for name, variable in template.data_vars.items():
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
        """The finished blocks that `begin` will make anew, as this plan is longer."""
        import zarr

        before = json.loads(str(_attrs(self.path).get(PLAN, "null")))
        if before is None or {**before, "end": plan["end"]} != plan or before["end"] >= plan["end"]:
            return []
        length = zarr.open_group(self.path, mode="r", use_consolidated=False)["time"].shape[0]  # type: ignore[union-attr]
        return [k for k in self.blocks(length) if (k + 1) * self.block_days > length - redo_days]

    def _append(self, template: xr.Dataset, plan: dict[str, Any], redo_days: int) -> None:
        import zarr

        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        group.attrs[UNFINISHED] = 1
        self.drop(self.again(plan, redo_days))
        for name, variable in [*template.data_vars.items(), ("time", template["time"])]:
            if "time" in variable.dims:
                group[name].resize(variable.shape)
        first = template["time"].values[0]
        group["time"][:] = ((template["time"].values - first) / np.timedelta64(1, "D")).astype(group["time"].dtype)
        # last: an interrupted extension is begun again
        group.attrs[PLAN] = json.dumps(plan, sort_keys=True)

    def drop(self, blocks: list[int]) -> None:
        """Let blocks be made anew, and what was made of them."""
        import zarr

        if not blocks:
            return
        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        group.attrs[UNFINISHED] = 1
        for note in self.notes.glob("*.json"):
            stage, _, number = note.stem.rpartition("-")
            if int(number) in blocks or (stage != FIRST_STAGE and int(number) >= min(blocks)):
                note.unlink()

    def attrs(self) -> dict[str, Any]:
        """Attributes of the store; none where it is not there yet."""
        return _attrs(self.path)

    @property
    def notes(self) -> Path:
        """The folder of the notes."""
        return Path(f"{self.path}.notes")

    def days(self, block: int) -> slice:
        """Maps of a block."""
        return slice(block * self.block_days, (block + 1) * self.block_days)

    def blocks(self, length: int) -> range:
        """Numbers of the blocks of `length` maps."""
        return range(-(-length // self.block_days))

    def note(self, stage: str, block: int) -> dict[str, Any] | None:
        """What was noted when a block was finished; None where it is not."""
        path = self._note(stage, block)
        if not self.notes.exists():
            found: dict[str, Any] | None = self._packed().get(path.stem)
            return found
        return json.loads(path.read_text()) if path.is_file() else None

    def write(self, block: int, values: Mapping[str, np.ndarray]) -> None:
        """Store a block of the variables, (days, rows, columns)."""
        import zarr

        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        for name, array in values.items():
            start = block * self.block_days
            group[name][start : start + len(array)] = array

    def keep(self, stage: str, block: int, note: dict[str, Any]) -> None:
        """Note that a block is finished."""
        final = self._note(stage, block)
        self.notes.mkdir(exist_ok=True)
        partial = final.with_suffix(".partial")
        partial.write_text(json.dumps(note))
        partial.replace(final)

    def read(self, names: list[str], days: slice) -> dict[str, np.ndarray]:
        """Maps of some variables."""
        import zarr

        group: Any = zarr.open_group(self.path, mode="r", use_consolidated=False)
        return {name: np.asarray(group[name][days]) for name in names}

    def finish(self, static: Mapping[str, np.ndarray], attrs: Mapping[str, Any]) -> None:
        """Write maps without time and attributes of the whole, and mark it as finished."""
        import zarr

        group: Any = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        for name, values in static.items():
            group[name][:] = values
        group.attrs.update(attrs)
        notes = {path.stem: json.loads(path.read_text()) for path in sorted(self.notes.glob("*.json"))}
        group.require_group(NOTES).attrs[NOTES] = notes
        # not there, where a finished one is finished again
        group.attrs.pop(UNFINISHED, None)
        with warnings.catch_warnings():
            # not in the specification yet, but what xarray looks for first
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            zarr.consolidate_metadata(self.path)
        # by one renaming: a folder with half of them would tell of blocks that are not there
        gone = Path(f"{self.notes}.partial")
        shutil.rmtree(gone, ignore_errors=True)
        self.notes.replace(gone)
        shutil.rmtree(gone)

    def _packed(self) -> dict[str, Any]:
        """The notes of a finished store, by the names of their files."""
        found: dict[str, Any] = _attrs(self.path / NOTES).get(NOTES, {})
        return found

    def _unpack(self) -> None:
        """Put the notes of a finished store beside it, where those of one in the making are."""
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
        found = chunks((self.block_days, rows, columns), days=self.block_days)
        return found if "time" in variable.dims else found[1:]


def _attrs(path: Path) -> dict[str, Any]:
    """Attributes of a store; none where there is no such store."""
    import zarr

    try:
        return dict(zarr.open_group(path, mode="r", use_consolidated=False).attrs)
    except (OSError, ValueError, KeyError):
        return {}
