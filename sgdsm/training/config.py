"""Configurations: where they are, and the check that finds what is wrong before any data are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sgdsm.core.arguments import check_value, shown
from sgdsm.core.cube import ConfigError, suggest
from sgdsm.core.io.safety import refuse_irregular
from sgdsm.core.region import check_bbox, period_of
from sgdsm.core.specification import TARGET, build, check_spec

GROUPS = ("data", "model", "gaps", "splits", "trainer", "uncertainty")
OF_A_RUN = ("predict", "recalibrate")
PREDICT_IGNORES = ("max_epochs", "gradient_clip", "check_every", "accumulate", "memory_gib")
INFERENCE = {"memory_gib": float, "window_cells": int | None, "cluster": bool}
PRODUCT_OPTIONS = ("kind", "version", "variables", "bbox", "links", "base_url", "deadline_minutes")
SENSORS = ("source_cube", "variable", "reference", "reference_variable", "dynamic", "static")
FITTING = ("method", "period", "bins", "values_per_bin", "least_values")
KEYS = {
    "train": {*GROUPS, "seed", "compare", "chain"},
    "predict": {"data", "trainer", "run", "output", "time", "bbox", "max_gap_days", "inference"},
    "members": {"filled", "number", "output", "seed", "time", "bbox"},
    "recalibrate": {"data", "run", "output", "days", "half_life_days", "seed"},
    "evaluate": {"run", "filled", "truth", "visible", "precipitation", "temperature"},
    "compare": {*GROUPS, "seed", "compare", "runs", "reference", "output"},
    "chain": {*GROUPS, "seed", "chain", "output"},
    "prepare": {"data", "workers", "on_bad_file", "block_days", "cluster"},
    "correct fit": {*SENSORS, *FITTING, "output", "memory_gib", "trees"},
    "correct apply": {"correction", "source_cube", "output"},
    "describe": {"cube", "target", "figure"},
    "explain": {"run", "output", "block_days"},
    "select": {"data", "gaps", "splits", "output", "stratum"},
    "export": {"cube", "run", "output", "layout", "reasons"},
    "download": {"product", "start", "end", "output", "workers", *PRODUCT_OPTIONS},
}
PARTS: dict[str, dict[str, type]] = {
    "compare": {"models": dict},
    "chain": {"world": str, "steps": dict, "scores": dict},
}
TYPES: dict[str, Any] = {
    "seed": int,
    "days": int,
    "half_life_days": float,
    "number": int,
    "runs": list[str],
    "run": str | None,
    "filled": str | None,
    "truth": str | None,
    "visible": str | None,
    "precipitation": str | None,
    "temperature": str | None,
    "figure": str | None,
    "layout": str | None,
    "cube": str | None,
    "block_days": int | None,
    "on_bad_file": str,
    "output": str | None,
    "reference": str | None,
    "stratum": str | None,
    "time": str | None,
    "max_gap_days": int | None,
    "inference": dict[str, Any],
    "cluster": bool,
    "product": str,
    "start": str | None,
    "end": str | None,
    "workers": int | None,
    "kind": str | None,
    "version": str | float | None,
    "variables": list[str] | None,
    "links": str | None,
    "base_url": str | None,
    "deadline_minutes": float | None,
    "target": str | None,
    "correction": str | None,
    "source_cube": str | None,
    "variable": str | None,
    "reference_variable": str | None,
    "method": str,
    "period": str | None,
    "bins": int,
    "values_per_bin": int,
    "least_values": int,
    "dynamic": list[str] | None,
    "static": list[str] | None,
    "memory_gib": float,
    "trees": dict[str, Any],
    "reasons": str | None,
}
# what a command cannot do without, though null is a value that its settings may have
NEEDED = {
    "predict": ("run", "output"),
    "members": ("filled", "output"),
    "recalibrate": ("run", "output"),
    "correct fit": ("source_cube", "reference", "output"),
    "correct apply": ("source_cube", "correction", "output"),
    "describe": ("cube",),
    "explain": ("run", "block_days"),
    "select": ("output",),
    "export": ("output",),
}
FILES = (
    *("run", "output", "filled", "truth", "visible", "cube", "correction", "source_cube", "reference", "figure"),
    *("reasons", "links", "data.path"),
)


def config_folder() -> Path:
    """The folder of the YAML files: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_name(command: str) -> str:
    """Name of the YAML file of a command."""
    return command.replace(" ", "_")


def renamed(command: str, words: Sequence[str]) -> list[str]:
    """Words as Hydra can read them: `source=` of correct would be its group of that name."""
    if not command.startswith("correct "):
        return list(words)
    return [f"source_cube={w.removeprefix('source=')}" if w.startswith("source=") else w for w in words]


def check_config(config: Mapping[str, Any], command: str) -> None:
    """Raise ConfigError for an unknown key, a missing or ill-typed value, or a combination that cannot work."""
    for key in config:
        if key not in KEYS[command]:
            known = sorted(KEYS[command])
            raise ConfigError(f"unknown key '{key}'{suggest(str(key), known)}; known are {', '.join(known)}")
    if command in OF_A_RUN and config.get("data") is not None and TARGET not in config["data"]:
        raise ConfigError(f"data={shown(dict(config['data']))}: say what kind of data too, like data=netcdf")
    # what these leave out of their data settings comes from the run
    config = {k: v for k, v in config.items() if k != "data" or command not in OF_A_RUN}
    _no_missing(config)
    for key, hint in TYPES.items():
        if key in config:
            check_value(_typed(key), config[key], hint)
    _check_given(config, command)
    if command == "correct fit":
        # here: a config can be looked at without it
        from sgdsm.preprocessing.bias_correction.fit import settings_of

        settings_of(config)
    for group in GROUPS:
        # prepare looks at its recipe itself, and has no use for what the others import
        if group not in KEYS[command] or (command in (*OF_A_RUN, "prepare") and group == "data"):
            continue
        spec = config.get(group)
        if not isinstance(spec, Mapping):
            raise ConfigError(f"{group}={spec!r}: expected settings with {TARGET}")
        if group == "uncertainty":
            _check_uncertainty(spec)
        else:
            check_spec(spec, kinds()[group], group)
    # constructors check ranges; only data are not made here, for that would read them
    made = {g: build(config[g], kinds()[g]) for g in ("gaps", "splits", "trainer", "model") if config.get(g)}
    if "model" in made and "trainer" in made:
        _check_epochs(made["model"], made["trainer"].max_epochs)
    if command == "predict":
        _check_predict(config, made["trainer"])
    for part, keys in PARTS.items():
        _check_part(part, config.get(part), keys)


def kinds() -> dict[str, Any]:
    """What the settings of each group make."""
    # here: a config can be looked at without them
    import xarray as xr

    from sgdsm.data.gaps import Gaps
    from sgdsm.data.splits import All, Blocks, Random
    from sgdsm.models.base import GapFiller
    from sgdsm.training.task import TrainerOptions

    return {
        "data": xr.Dataset,
        "model": GapFiller,
        "gaps": Gaps,
        "splits": All | Blocks | Random,
        "trainer": TrainerOptions,
    }


def load_config(path: Path) -> dict[str, Any]:
    """The configuration of a run. It is data from a stranger: plain values only, nothing is resolved.

    Raises ConfigError where it is missing or not such a file.
    """
    refuse_irregular(path, ConfigError)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected the folder of a run")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not a YAML file: {' '.join(str(error).split())[:150]}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected keys and values")
    _refuse_resolvers(config, str(path))
    for group in GROUPS:
        if not isinstance(config.get(group), dict):
            raise ConfigError(f"{path}: {group} is {shown(config.get(group))}, expected settings with {TARGET}")
    if "seed" not in config:
        raise ConfigError(f"{path}: seed is not there, expected a whole number")
    return config


def _check_given(config: Mapping[str, Any], command: str) -> None:
    lacking = sorted(KEYS[command] - {*config, *PARTS, "data"})
    if lacking:
        raise ConfigError(f"{_typed(lacking[0])} is not given: pass {_typed(lacking[0])}=...")
    if config.get("bbox") is not None:
        check_bbox(config["bbox"])
    period_of(config.get("time"))
    for key in NEEDED.get(command, ()):
        if config[key] is None:
            raise ConfigError(f"{_typed(key)}=null: pass {_typed(key)}=...")
    data = config.get("data")
    given = {**config, **({"data.path": data.get("path")} if isinstance(data, Mapping) else {})}
    for key in FILES:
        if given.get(key) == "":
            raise ConfigError(f"{_typed(key)}= is empty: expected the name of a file or a folder")
    url = config.get("base_url")
    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(f"base_url={url}: expected an address that begins with https:// or http://")


def _typed(key: str) -> str:
    """A setting as it is typed, see `renamed`."""
    return "source" if key == "source_cube" else key


def _no_missing(value: Any, where: str = "") -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _no_missing(item, f"{where}.{key}" if where else str(key))
    elif value == "???":
        raise ConfigError(f"{_typed(where)} is not given: pass {_typed(where)}=...")


def _refuse_resolvers(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_resolvers(item, f"{where}: {key}")
    elif isinstance(value, list):
        for item in value:
            _refuse_resolvers(item, where)
    elif isinstance(value, str) and "${" in value:
        raise ConfigError(f"{where}: '{value}': a run's configuration holds plain values, no interpolation")


def _check_part(part: str, given: Any, known: Mapping[str, type]) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise ConfigError(f"{part}={shown(given)}: expected {', '.join(f'{part}.{key}' for key in known)}")
    for key, value in given.items():
        if key not in known:
            raise ConfigError(
                f"{part}: unknown key '{key}'{suggest(str(key), list(known))}; known are {', '.join(known)}"
            )
        if value is not None and not isinstance(value, known[key]):
            raise ConfigError(f"{part}.{key}={shown(value)}: expected {known[key].__name__}")


def _check_uncertainty(spec: Mapping[str, Any]) -> None:
    # here: a config can be looked at without it
    from sgdsm.models.uncertainty.wrappers import check_wrappers

    if spec.get(TARGET) is not None:
        check_wrappers(spec)


def _check_predict(config: Mapping[str, Any], options: Any) -> None:
    from sgdsm.data.batch import check_cap

    check_cap(config["max_gap_days"])
    for key in PREDICT_IGNORES:
        if getattr(options, key) != getattr(type(options), key):
            raise ConfigError(
                f"trainer.{key}={getattr(options, key)}: it belongs to training, predict has no use for it"
            )
    inference = config["inference"]
    for key, kind in INFERENCE.items():
        check_value(f"inference.{key}", inference.get(key), kind)
    for key in inference:
        if key not in INFERENCE:
            raise ConfigError(f"inference: unknown key '{key}'; known are {', '.join(INFERENCE)}")
    if inference["memory_gib"] <= 0:
        raise ConfigError(f"inference.memory_gib={inference['memory_gib']}: expected more than 0")
    if inference["window_cells"] is not None and inference["window_cells"] < 1:
        raise ConfigError(f"inference.window_cells={inference['window_cells']}: expected at least 1, or null")
    if inference["cluster"]:
        _check_no_device(options)


def _check_no_device(options: Any) -> None:
    for key in ("devices", "num_nodes", "precision", "accelerator"):
        value, default = getattr(options, key), getattr(type(options), key)
        if value != default and (key, value) != ("accelerator", "cpu"):
            raise ConfigError(f"trainer.{key}={value}: inference.cluster=true fills on the CPUs of dask's workers")


def _check_epochs(model: Any, epochs: int | None) -> None:
    if epochs is None:
        return
    name = type(model).__name__
    if not model.epochs:
        raise ConfigError(f"trainer.max_epochs={epochs}: {name} learns nothing, it has no epochs")
    if not model.automatic_optimization:
        raise ConfigError(
            f"trainer.max_epochs={epochs}: epochs mean nothing for the trees of {name}; "
            "set model.gap_draws (gap draws to take rows from) and the number of trees instead"
        )
