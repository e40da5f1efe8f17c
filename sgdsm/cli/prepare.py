"""The commands around the cube: make one of product files, look at one, write one in another layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.core.coordinates import LIMITS, check_axes, check_text, days_along
from sgdsm.core.cube import ConfigError, CubeError, by_role, checked_cube, log, open_cube, open_dataset
from sgdsm.core.io.stores import check_url, is_remote, is_there, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.specification import TARGET, build, check_spec, fits
from sgdsm.training.run import file_stamp

PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".eps", ".ps")
PREPARED = "sgdsm.preprocessing.open_prepared"


def prepare(config: dict[str, Any]) -> None:
    """Make the cube of a recipe, and print what was rejected and why."""
    from sgdsm.preprocessing.pipeline import assemble
    from sgdsm.preprocessing.recipe import Recipe

    data = config["data"]
    if not isinstance(data, dict) or data.get(TARGET) != PREPARED or not data.get("recipe"):
        raise ConfigError("prepare: give data=RECIPE, one with a recipe, like data=cci_era5_025")
    check_spec(data, xr.Dataset, "data")
    for key, least in (("workers", 1), ("block_days", 1)):
        value = config[key]
        if value is not None and (not fits(value, int) or value < least):
            raise ConfigError(f"{key}={value!r}: expected a whole number of at least {least}")
    if config["on_bad_file"] not in ("fail", "skip"):
        raise ConfigError(f"on_bad_file={config['on_bad_file']!r}: expected fail or skip")
    recipe: Recipe = build(data["recipe"], Recipe)
    local_only("data.path", data["path"])
    output = Path(data["path"])
    if output.suffix != ".zarr":
        raise ConfigError(f"data.path={output}: expected a name ending in .zarr; `export` writes it as .nc or .h5")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"data.path={output}: there is no folder {output.absolute().parent}")
    told = assemble(recipe, output, config["workers"], config["on_bad_file"], config["block_days"], config["cluster"])
    print(f"{told}\ncube: {output}")


def describe(config: dict[str, Any]) -> None:
    """Print what is in a cube, and draw it."""
    from sgdsm.report.coverage import coverage, figure, ranges
    from sgdsm.report.coverage import describe as lines

    path = str(config["cube"])
    # of a cube elsewhere, the figure lies here
    picture = _picture(config["figure"] or f"{path.rstrip('/').rpartition('/')[2] if is_remote(path) else path}.png")
    # of a file of the user's own, its soil moisture alone
    own = config["target"] is not None
    cube = open_cube(path, config["target"], missing_days="insert") if own else open_dataset(path)
    for role in ("target", "land"):
        if len(by_role(cube, role)) != 1:
            raise CubeError(
                f"{path}: expected a cube, with one variable of the attribute role='{role}', as prepare writes it; "
                "of a file of your own say target=NAME"
            )
    if not own:
        try:
            cube = checked_cube(cube)
        except CubeError as error:
            raise CubeError(f"{path}: {error}") from error
    if own and not cube["land"].values.any():
        raise CubeError(f"{path}: '{config['target']}' has no value anywhere")
    told, problem = ranges(cube)
    print(told)
    if problem is not None:
        # the values of a file know its name
        raise problem if Path(path).name in str(problem) else CubeError(f"{path}: {problem}")
    found = coverage(cube)
    print(lines(cube, found))
    print(f"figure: {figure(cube, found, picture)}")


def _picture(named: str) -> Path:
    """Where a figure is drawn; ConfigError where matplotlib cannot, or there is no such folder."""
    path = Path(named)
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"figure={path}: expected a name ending in {', '.join(PICTURES)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigError(f"figure={path}: a folder, or one that is not there; expected the name of a file")
    return path


def export(config: dict[str, Any]) -> None:
    """Write a cube or a filled file in another layout, or the network of a run for other programs."""
    from sgdsm.preprocessing.export import DAILY, LAYOUTS, layout_of

    named, run, reasons = str(config["output"]), config["run"], config["reasons"]
    if (config["cube"] is None) == (run is None):
        raise ConfigError("export: give a cube or a filled file, or run=PATH for its network")
    if run is not None:
        if not reasons is config["layout"] is None:
            raise ConfigError("export: layout= and reasons= are for cubes, run= has no use for them")
        # here: it needs torch
        from sgdsm.models.checkpoint import load_filler
        from sgdsm.models.export import export_network
        from sgdsm.training.run import Run

        export_network(load_filler(Run(str(run)).model), Path(_output(named, "network")))
        print(f"written: {named}")
        return
    layout = layout_of(named, config["layout"])
    if reasons is not None and layout != "cci_gapfilled":
        raise ConfigError(f"reasons={reasons}: only layout=cci_gapfilled has a use for it, found layout={layout}")
    output: Any = _output(named, layout)
    path = str(config["cube"])
    dataset = open_dataset(path)
    if reasons is not None:
        dataset["sm_reason"] = _reasons(Path(str(reasons)), dataset)
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
    print(f"written: {named}")


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
    from sgdsm.preprocessing.export import DAILY, is_begun

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
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"output={output}: there is no folder {output.absolute().parent}")
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
