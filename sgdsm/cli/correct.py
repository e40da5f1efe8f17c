"""The command `correct`: a sensor towards another, fitted once and applied to any years."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.core.cube import ConfigError, CubeError, as_cube, by_role, log, open_dataset
from sgdsm.core.io.stores import local_only
from sgdsm.core.lock import exclusive
from sgdsm.inference.writers import PLAN
from sgdsm.preprocessing.bias_correction.correction import Correction
from sgdsm.preprocessing.bias_correction.fit import fit_correction, format_table, period_of, settings_of
from sgdsm.preprocessing.export import write_netcdf
from sgdsm.training.run import content_digest

SUFFIXES = (".nc", ".zarr")
SOURCE = "source_cube"  # the word is `source=`
CHUNK_DAYS = 16  # of a Zarr store


def correct_fit(config: dict[str, Any]) -> None:
    """Fit a correction, print its scores in cross-validation, and save it."""
    output, settings = _output(config), settings_of(config)
    variable = config["variable"] or _target(config[SOURCE], "variable")
    wanted = config["reference_variable"] or _target(config["reference"], "reference_variable")
    identity = _identity(config, SOURCE, "reference")
    with exclusive(output):
        if _is_made(output, identity):
            return
        covariates = _covariates(config, variable, wanted) if settings.method == "cdf_xgboost" else ([], [])
        source = _opened(config[SOURCE], variable, *covariates)
        reference = _opened(config["reference"], wanted)
        first, last = period_of(config["period"])
        source, reference = (cube.sel(time=slice(first, last)) for cube in (source, reference))
        for name, cube in ((SOURCE, source), ("reference", reference)):
            if not cube.sizes["time"]:
                raise CubeError(f"{config[name]}: no day in period={config['period']}")
        units = [str(cube[name].attrs.get("units", "1")) for cube, name in ((source, variable), (reference, wanted))]
        if units[0] != units[1]:
            log.info(
                "the source is in '%s', the reference in '%s': the maps convert, 'before' is not comparable", *units
            )
        correction, scores = fit_correction(source, reference, [n for names in covariates for n in names], settings)
        correction.about |= {
            "Conventions": "CF-1.10",
            "source": str(config[SOURCE]),
            "reference": str(config["reference"]),
            "source_digest": content_digest(config[SOURCE]),
            "reference_digest": content_digest(config["reference"]),
            "cross_validation": json.dumps(scores),
            "history": f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} python -m sgdsm correct fit",
            PLAN: identity,
        }
        correction.save(output)
    print(f"on days that nothing was fitted to ({settings.trees.folds} folds)\n{format_table(scores)}")
    print(f"correction: {output}")


def correct_apply(config: dict[str, Any]) -> None:
    """Write a cube with its target corrected, a few days at a time."""
    output = _output(config)
    correction = Correction.load(config["correction"])
    identity = _identity(config, "correction", SOURCE)
    with exclusive(output):
        if _is_made(output, identity):
            return
        path, variable = config[SOURCE], correction.about["source_variable"]
        source = _opened(path, variable, *_all_covariates(path, variable, correction.covariates))
        try:
            corrected = correction.corrected(source)
        except CubeError as error:
            raise CubeError(f"{path}: {error}") from error
        corrected.attrs |= {
            "correction_file": str(config["correction"]),
            "history": f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} python -m sgdsm correct apply",
            PLAN: identity,
        }
        _write(corrected, output)
    print(f"corrected: {output}")


def _output(config: dict[str, Any]) -> Path:
    local_only("output", str(config["output"]))
    output = Path(str(config["output"]))
    if output.suffix not in SUFFIXES:
        raise ConfigError(f"output={output}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"output={output}: there is no folder {output.absolute().parent}")
    return output


def _identity(config: dict[str, Any], *files: str) -> str:
    """Digest of the settings and of the files that are read."""
    known = {k: v for k, v in config.items() if k not in ("output", "memory_gib")}
    text = json.dumps([known, [content_digest(config[name]) for name in files]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_made(output: Path, identity: str) -> bool:
    """Whether the output is there already; ConfigError where it comes of other settings or files."""
    if not output.exists():
        return False
    with open_dataset(output) as dataset:
        found = dataset.attrs.get(PLAN)
    if found != identity:
        raise ConfigError(f"output={output} exists and is of other settings or files: remove it, or choose another")
    log.info("%s: finished already", output)
    return True


def _target(path: str, key: str) -> str:
    with open_dataset(path) as dataset:
        found = by_role(dataset, "target")
    if len(found) != 1:
        raise ConfigError(f"{path}: no variable has the role of the target: name it with {key}=")
    return found[0]


def _covariates(config: dict[str, Any], variable: str, wanted: str) -> tuple[list[str], list[str]]:
    """Names that are given, or those with the roles; never one of the two sensors."""
    with open_dataset(config[SOURCE]) as dataset:
        found = [config[role] if config[role] is not None else by_role(dataset, role) for role in ("dynamic", "static")]
    sensors = {variable, wanted} if config["reference"] == config[SOURCE] else {variable}
    given = [n for role in ("dynamic", "static") for n in config[role] or () if n in sensors]
    if given:
        raise ConfigError(f"covariate '{given[0]}' is one of the two sensors: it cannot explain what they differ by")
    dynamic, static = ([n for n in names if n not in sensors] for names in found)
    if not dynamic and not static:
        raise ConfigError(f"{config[SOURCE]}: no covariates: name them with dynamic=[..] static=[..]")
    return dynamic, static


def _all_covariates(path: str, variable: str, needed: list[str]) -> tuple[list[str], list[str]]:
    """Of the cube that is written: those with the roles, and those that the trees need."""
    with open_dataset(path) as dataset:
        lacking = [n for n in needed if n not in dataset]
        if lacking:
            raise CubeError(f"{path}: no variable '{lacking[0]}': the trees need {', '.join(needed)}")
        known = {n: dataset[n].ndim for n in needed if not dataset[n].attrs.get("role")}
        found = [[n for n in by_role(dataset, role) if n != variable] for role in ("dynamic", "static")]
    return [*found[0], *(n for n in known if known[n] == 3)], [*found[1], *(n for n in known if known[n] == 2)]


def _opened(path: str, variable: str, dynamic: list[str] | None = None, static: list[str] | None = None) -> xr.Dataset:
    """A cube of the file with `variable` as its target; flags and land by their roles."""
    dataset = open_dataset(path)
    flags, land = (by_role(dataset, role) for role in ("flag", "land"))
    try:
        return as_cube(
            dataset,
            variable,
            dynamic or [],
            static or [],
            flags,
            land[0] if land else None,
            missing_days="insert",
        )
    except CubeError as error:
        raise CubeError(f"{path}: {error}") from error


def _write(cube: xr.Dataset, output: Path) -> None:
    if output.suffix == ".nc":
        write_netcdf(cube, output)
        return
    import dask

    partial = Path(f"{output}.partial")
    moving = [n for n in cube.data_vars if "time" in cube[n].dims]
    lazy = cube.drop_encoding().assign({n: cube[n].drop_encoding().chunk(time=CHUNK_DAYS) for n in moving})
    # one chunk after another: memory stays bounded
    with dask.config.set(scheduler="synchronous"):
        lazy.to_zarr(partial, mode="w", consolidated=False)
    partial.replace(output)
