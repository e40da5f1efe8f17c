"""Join filled files of several sensors into one product, with a flag of where each value comes from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.cli.commands.correct_apply import write_cube
from sgdsm.cli.commands.correct_fit import identity_of, is_made, output_of
from sgdsm.core.cube import open_dataset, time_chunks
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import LAND, maps_of
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.inference.join import SM_PART, joined
from sgdsm.inference.writers import PLAN

USAGE = "FILE FILE ... names=[NAME,NAME] output=FILE [passes=CUBE where=[VARIABLE,VARIABLE]]"
POSITIONAL = "parts"
NOTE = "the file that is named first is preferred; observed values come before all"
CHUNK_DAYS = 64


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The filled files, and what tells where the sensor of each had a pass."""

    parts: list[str] = setting([], "what predict has written, on one grid; the preferred file first")
    names: list[str] = setting([], "of the parts, for the flag, like [smos,amsr]")
    passes: str | None = setting(None, "the cube that the parts were made from", path=True)
    where: list[str] | None = setting(
        None, "a variable of passes= for each part: its values count first where that has one, like [tb_1h,tb_10h]"
    )
    without_pass: bool = setting(
        False, "with passes=: keep values where no sensor had a pass; of a network on brightness temperatures the cycle"
    )
    output: str = setting(help="FILE.nc or FILE.zarr", path=True)

    def __post_init__(self) -> None:
        if len(self.parts) < 2:
            raise ConfigError(f"join: found {len(self.parts)} files, expected two or more")
        words = [name for name in self.names if name.isidentifier() and name not in ("none", "observed")]
        if len(self.names) != len(self.parts) or len(set(words)) < len(self.parts):
            raise ConfigError(
                f"names=[{','.join(self.names)}]: expected a word of its own for each of the {len(self.parts)} parts"
            )
        if (self.passes is None) != (self.where is None):
            raise ConfigError("join: give passes= and where= together, or neither")
        if self.without_pass and self.passes is None:
            raise ConfigError("without_pass=true: only with passes=")
        if self.where is not None and len(self.where) != len(self.parts):
            raise ConfigError(
                f"where=[{','.join(self.where)}]: expected a variable for each of {len(self.parts)} parts"
            )


def run(settings: Settings) -> None:
    """Write the joined file, a few days at a time, and print the share of each part."""
    output = output_of(settings.output)
    files = {f"part {name}": path for name, path in zip(settings.names, settings.parts, strict=True)}
    files |= {} if settings.passes is None else {"passes": settings.passes}
    identity = identity_of({**files, "where": settings.where, "without_pass": settings.without_pass}, *files)
    with exclusive(output):
        if is_made(output, identity):
            return
        opened = {
            name: open_dataset(path).chunk(time=CHUNK_DAYS)
            for name, path in zip(settings.names, settings.parts, strict=True)
        }
        passes = None
        if settings.passes is not None and settings.where is not None:
            cube = ScoredFile.of(settings.passes)
            grid = maps_of(next(iter(opened.values())))
            passes = {
                name: _on_grid(cube.variable(variable), grid, settings.passes)
                for name, variable in zip(settings.names, settings.where, strict=True)
            }
        try:
            product = joined(opened, passes, settings.without_pass)
        except CubeError as error:
            raise CubeError(f"join: {error}") from error
        made = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        product.attrs |= {
            "source": "; ".join(f"{name}: {part.attrs.get('source', 'unknown')}" for name, part in opened.items()),
            "history": f"{made} sgdsm join",
            PLAN: identity,
        }
        write_cube(product, output)
    print(_shares(output))
    print(f"joined: {output}")


def _on_grid(variable: xr.DataArray, grid: xr.DataArray, path: str) -> xr.DataArray:
    """Return a variable of the cube at the cells of the parts, on its own days, lazily."""
    variable = variable.chunk(time=CHUNK_DAYS)
    like = grid.isel(time=0, drop=True).expand_dims(time=variable["time"])
    return aligned(variable, like, path).assign_coords({dim: grid[dim] for dim in grid.dims[1:]})


def _shares(output: Path) -> str:
    """Return a line for each part with its share of the values on land."""
    with open_dataset(output) as product:
        part = product[SM_PART]
        meanings = str(part.attrs["flag_meanings"]).split()
        land = product[LAND].values > 0 if LAND in product else np.ones(part.shape[1:], bool)
        counts = np.zeros(len(meanings), np.int64)
        for days in time_chunks(part):
            counts += np.bincount(part[days].values[:, land].astype(np.int64).ravel(), minlength=len(meanings))
    return "\n".join(
        f"{name:24} {count / max(1, counts.sum()):6.1%} of the values on land"
        for name, count in zip(meanings, counts, strict=True)
    )
