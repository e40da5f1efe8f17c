"""Write a cube with its target corrected, of any years."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import dask
import xarray as xr

from sgdsm.cli.commands.correct_fit import all_covariates, identity_of, is_made, opened, output_of
from sgdsm.core.errors import CubeError
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.inference.writers import PLAN
from sgdsm.preprocessing.bias_correction.correction import Correction
from sgdsm.preprocessing.export import write_netcdf

USAGE = "correction=FILE source=CUBE output=CUBE.nc|CUBE.zarr"
CHUNK_DAYS = 16  # of a Zarr store


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The correction, and the cube."""

    correction: str = setting(help="what correct fit has written", path=True)
    source_cube: str = setting(help="cube of any years, on the grid of the correction", path=True, typed="source")
    output: str = setting(help="CUBE.nc or CUBE.zarr", path=True)


def run(settings: Settings) -> None:
    """Write the corrected cube, a few days at a time."""
    output = output_of(settings.output)
    correction = Correction.load(settings.correction)
    identity = identity_of(asdict(settings), "correction", "source_cube")
    with exclusive(output):
        if is_made(output, identity):
            return
        path, variable = settings.source_cube, correction.about["source_variable"]
        source = opened(path, variable, *all_covariates(path, variable, correction.covariates))
        try:
            corrected = correction.corrected(source)
        except CubeError as error:
            raise CubeError(f"{path}: {error}") from error
        corrected.attrs |= {
            "correction_file": settings.correction,
            "history": f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} sgdsm correct apply",
            PLAN: identity,
        }
        write_cube(corrected, output)
    print(f"corrected: {output}")


def write_cube(cube: xr.Dataset, output: Path) -> None:
    """Write a lazy cube as NetCDF or Zarr, a few days at a time."""
    if output.suffix == ".nc":
        write_netcdf(cube, output)
        return

    partial = Path(f"{output}.partial")
    moving = [n for n in cube.data_vars if "time" in cube[n].dims]
    lazy = cube.drop_encoding().assign({n: cube[n].drop_encoding().chunk(time=CHUNK_DAYS) for n in moving})
    # one chunk after another: memory stays bounded
    with dask.config.set(scheduler="synchronous"):
        lazy.to_zarr(partial, mode="w", consolidated=False)
    partial.replace(output)
