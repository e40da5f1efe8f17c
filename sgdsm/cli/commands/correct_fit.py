"""Fit the correction of one sensor towards another, on the days that both have."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.core.cube import as_cube, by_role, open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import check_folder, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.settings import setting
from sgdsm.core.specification import default_spec
from sgdsm.inference.writers import PLAN
from sgdsm.preprocessing.bias_correction.fit import fit_correction, format_table, period_of, settings_of
from sgdsm.preprocessing.bias_correction.residual_trees import ResidualTrees
from sgdsm.training.run import content_digest

USAGE = "source=CUBE reference=CUBE output=FILE.nc|FILE.zarr"
SUFFIXES = (".nc", ".zarr")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The two sensors, and the method."""

    source_cube: str = setting(help="cube of the sensor that is corrected", path=True, typed="source")
    variable: str | None = setting(None, "of it; by default its target")
    reference: str = setting(help="cube of the sensor taken for true, same grid; may be the same file", path=True)
    reference_variable: str | None = setting(None, "of it; by default its target")
    method: str = setting("cdf", "cdf, moments, or cdf_xgboost: trees on what the maps leave")
    period: str | None = setting(None, "first and last day to fit to; by default all common days")
    output: str = setting(help="file of the correction", path=True)
    bins: int = setting(100, "most pieces of a cell's map")
    values_per_bin: int = setting(20, "fewest values in a piece")
    least_values: int = setting(20, "a cell with fewer common days gets no map")
    dynamic: list[str] | None = setting(None, "covariates of the trees; by default those with the role")
    static: list[str] | None = setting(None, "the same, without time")
    memory_gib: float = setting(1.0, "for one slab of rows")
    trees: dict[str, Any] = setting(default_spec(ResidualTrees), "of method=cdf_xgboost")

    def __post_init__(self) -> None:
        settings_of(asdict(self))


def run(settings: Settings) -> None:
    """Fit the correction, print its scores in cross-validation, and save it."""
    config = asdict(settings)
    path, reference_path = settings.source_cube, settings.reference
    output, how = output_of(settings.output), settings_of(config)
    variable = settings.variable or _target(path, "variable")
    wanted = settings.reference_variable or _target(reference_path, "reference_variable")
    identity = identity_of(config, "source_cube", "reference")
    with exclusive(output):
        if is_made(output, identity):
            return
        covariates = _covariates(config, variable, wanted) if how.method == "cdf_xgboost" else ([], [])
        source, reference = _common_period(settings, variable, wanted, covariates)
        units = [str(cube[name].attrs.get("units", "1")) for cube, name in ((source, variable), (reference, wanted))]
        if units[0] != units[1]:
            log.info(
                "the source is in '%s', the reference in '%s': the maps convert, 'before' is not comparable", *units
            )
        correction, scores = fit_correction(source, reference, [n for names in covariates for n in names], how)
        correction.about |= {
            "Conventions": "CF-1.10",
            "source": path,
            "reference": reference_path,
            "source_digest": content_digest(path),
            "reference_digest": content_digest(reference_path),
            "cross_validation": json.dumps(scores),
            "history": f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} sgdsm correct fit",
            PLAN: identity,
        }
        correction.save(output)
    print(f"on days that nothing was fitted to ({how.trees.folds} folds)\n{format_table(scores)}")
    print(f"correction: {output}")


def _common_period(
    settings: Settings, variable: str, wanted: str, covariates: tuple[list[str], list[str]]
) -> tuple[xr.Dataset, xr.Dataset]:
    source = opened(settings.source_cube, variable, *covariates)
    reference = opened(settings.reference, wanted)
    first, last = period_of(settings.period)
    source, reference = (cube.sel(time=slice(first, last)) for cube in (source, reference))
    for path, cube in ((settings.source_cube, source), (settings.reference, reference)):
        if not cube.sizes["time"]:
            raise CubeError(f"{path}: no day in period={settings.period}")
    return source, reference


def output_of(named: str) -> Path:
    """Return the path of an output; ConfigError where nothing can be written there."""
    local_only("output", named)
    output = Path(named)
    if output.suffix not in SUFFIXES:
        raise ConfigError(f"output={output}: expected a name that ends in {' or '.join(SUFFIXES)}")
    check_folder("output", output)
    return output


def identity_of(config: Mapping[str, Any], *files: str) -> str:
    """Digest of the settings and of the files that are read."""
    known = {k: v for k, v in config.items() if k not in ("output", "memory_gib")}
    text = json.dumps([known, [content_digest(config[name]) for name in files]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_made(output: Path, identity: str) -> bool:
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
    with open_dataset(config["source_cube"]) as dataset:
        found = [config[role] if config[role] is not None else by_role(dataset, role) for role in ("dynamic", "static")]
    sensors = {variable, wanted} if config["reference"] == config["source_cube"] else {variable}
    given = [n for role in ("dynamic", "static") for n in config[role] or () if n in sensors]
    if given:
        raise ConfigError(f"covariate '{given[0]}' is one of the two sensors: it cannot explain what they differ by")
    dynamic, static = ([n for n in names if n not in sensors] for names in found)
    if not dynamic and not static:
        raise ConfigError(f"{config['source_cube']}: no covariates: name them with dynamic=[..] static=[..]")
    return dynamic, static


def all_covariates(path: str, variable: str, needed: list[str]) -> tuple[list[str], list[str]]:
    """Of the cube that is written: those with the roles, and those that the trees need."""
    with open_dataset(path) as dataset:
        lacking = [n for n in needed if n not in dataset]
        if lacking:
            raise CubeError(f"{path}: no variable '{lacking[0]}': the trees need {', '.join(needed)}")
        known = {n: dataset[n].ndim for n in needed if not dataset[n].attrs.get("role")}
        found = [[n for n in by_role(dataset, role) if n != variable] for role in ("dynamic", "static")]
    return [*found[0], *(n for n in known if known[n] == 3)], [*found[1], *(n for n in known if known[n] == 2)]


def opened(path: str, variable: str, dynamic: list[str] | None = None, static: list[str] | None = None) -> xr.Dataset:
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
