"""Write a cube or a filled file in another layout, or the network of a run for other programs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.core.coordinates import LIMITS, check_axes, check_text, days_along
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import check_folder, check_url, is_remote, is_there
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.settings import setting
from sgdsm.preprocessing.export import DAILY, LAYOUTS, is_begun, layout_of
from sgdsm.training.run import Run, file_stamp

USAGE = "CUBE output=FILE.nc|.h5|.zarr|FOLDER | run=PATH output=FILE.pt2|FILE.onnx"
POSITIONAL = "cube"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to write, where, and in which layout."""

    cube: str | None = setting(None, "a cube or a filled file", path=True)
    run: str | None = setting(None, "folder of a run of pconv3d or seamless, in place of a cube", path=True)
    output: str = setting(help="file or folder to write", path=True)
    layout: str | None = setting(
        None,
        "netcdf, hdf5, zarr, or, a file for each day in a folder, sgd_sm or cci_gapfilled; by default from the output",
    )
    reasons: str | None = setting(
        None, "cci_gapfilled: the prepared cube that was filled, whose sm_reason says which days were frozen", path=True
    )

    def __post_init__(self) -> None:
        if (self.cube is None) == (self.run is None):
            raise ConfigError("export: give a cube or a filled file, or run=PATH for its network")
        if self.run is not None and not self.reasons is self.layout is None:
            raise ConfigError("export: layout= and reasons= are for cubes, run= has no use for them")


def run(settings: Settings) -> None:
    """Write the file."""
    if settings.run is not None:
        _export_network(settings.run, settings.output)
    else:
        _export_cube(str(settings.cube), settings)
    print(f"written: {settings.output}")


def _export_network(run: str, output: str) -> None:
    # here: torch is not needed to write a cube
    from sgdsm.models.checkpoint import load_filler
    from sgdsm.models.export import export_network

    export_network(load_filler(Run(run).model), Path(_output(output, "network")))


def _export_cube(path: str, settings: Settings) -> None:
    layout, reasons = layout_of(settings.output, settings.layout), settings.reasons
    if reasons is not None and layout != "cci_gapfilled":
        raise ConfigError(f"reasons={reasons}: only layout=cci_gapfilled has a use for it, found layout={layout}")
    output: Any = _output(settings.output, layout)
    dataset = open_dataset(path)
    if reasons is not None:
        dataset["sm_reason"] = _reasons(Path(reasons), dataset)
    more = {}
    try:
        _check_exported(dataset)
        if layout in DAILY:
            # not the time of the files alone: they may be copies
            more["plan"] = json.dumps([layout, path, file_stamp(path), reasons, file_stamp(reasons)])
        with exclusive(output):
            LAYOUTS[layout](dataset, output, **more)
    except CubeError as error:
        raise CubeError(f"{path}: {error}") from error
    if layout == "sgd_sm":
        log.info("rounded to whole percent, with the names of SGD-SM's files and variables")


def _check_exported(dataset: xr.Dataset) -> None:
    """Raise CubeError for what no layout can hold."""
    if not any(variable.dtype.kind in "fiub" for variable in dataset.data_vars.values()):
        raise CubeError(f"no variable of numbers to write, there are {', '.join(map(str, dataset)) or 'none'}")
    check_text(dataset)
    check_axes(dataset, [dim for dim in dataset.dims if dim in LIMITS and dim in dataset.coords])
    for dim, size in dataset.sizes.items():
        if not size:
            raise CubeError(f"dimension '{dim}' is empty: {dict(dataset.sizes)}")
        kind = dataset[dim].dtype
        if kind.kind == "O" and dim == "time":
            days_along(dataset)
        if kind.kind not in "fiubM":
            raise CubeError(f"coordinate '{dim}' holds {kind} values: expected numbers or dates")


def _output(named: str, layout: str) -> str | Path:
    """Where `export` writes; ConfigError where something is there, or nothing can be."""
    if is_remote(named):
        if layout != "zarr":
            raise ConfigError(f"output={named}: expected a Zarr store, ending in .zarr, or a name on this machine")
        check_url(named, write=True)
        if is_there(named) and not is_begun(named):
            raise ConfigError(f"output={named} exists: remove it, or choose another")
        return named
    output = Path(named)
    if output.exists() and layout not in DAILY:
        raise ConfigError(f"output={output} exists: remove it, or choose another")
    check_folder("output", output)
    return output


def _reasons(path: Path, filled: xr.Dataset) -> xr.DataArray:
    """`sm_reason` of the cube that was filled, on the days and cells of the filled file."""
    cube = open_dataset(path)
    if "sm_reason" not in cube:
        raise CubeError(
            f"reasons={path}: expected a prepared cube, with 'sm_reason', found {', '.join(map(str, cube))}"
        )
    places = {dim: filled[dim] for dim in filled.dims if dim != "time"}
    try:
        found = cube["sm_reason"].sel(time=filled["time"]).sel(places, method="nearest", tolerance=1e-4)
    except KeyError as error:
        raise CubeError(f"reasons={path}: lacks days or cells of the filled file") from error
    return found.assign_coords({dim: filled[dim] for dim in filled.dims})
