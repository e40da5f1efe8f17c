"""The configuration of a training: its settings, and their checks before any data are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import xarray as xr
import yaml

from sgdsm.core.arguments import shown
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.safety import refuse_irregular
from sgdsm.core.settings import check_part, made, setting
from sgdsm.core.specification import TARGET, build, check_spec
from sgdsm.data.gaps import Gaps
from sgdsm.data.held_out import AnySplits
from sgdsm.models.auto import AnyModel, Auto
from sgdsm.models.uncertainty.wrappers import check_wrappers
from sgdsm.training.callbacks import LearningRates
from sgdsm.training.loggers import CSV, RunLogger
from sgdsm.training.task import TrainerOptions

# what the specification of each group makes
KINDS: dict[str, Any] = {
    "data": xr.Dataset,
    "model": AnyModel,
    "gaps": Gaps,
    "splits": AnySplits,
    "trainer": TrainerOptions,
    "logger": RunLogger,
    "callbacks": pl.Callback,
}
GROUPS = ("data", "model", "gaps", "splits", "trainer", "uncertainty", "logger", "callbacks")
OF_TRAINING = {"causal": False, "logger": CSV, "callbacks": {}}  # runs of before these settings came lack them
# what an experiment file may say for the commands `compare`, `chain` and `tune`
EXPERIMENT_PARTS: dict[str, dict[str, type]] = {
    "compare": {"models": dict, "repeats": int, "repeated": str, "beside": str},
    "chain": {"world": str, "steps": dict, "scores": dict},
    "tune": {"space": dict},
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Fit a gap-filler, calibrate and score it, and print the folder of the run."""

    data: dict[str, Any] = setting("simulate", "the cube: data=netcdf for a file of your own", group=True)
    model: dict[str, Any] = setting("pconv3d", "the gap-filler", group=True)
    gaps: dict[str, Any] = setting("transplant", "how observed values are hidden", group=True)
    splits: dict[str, Any] = setting(
        "all", "what is held out for the scores: all, blocks, years, regions, protocol", group=True
    )
    trainer: dict[str, Any] = setting("default", "devices, precision, epochs", group=True)
    uncertainty: dict[str, Any] = setting("conformal", "how the error bars are made", group=True)
    logger: dict[str, Any] = setting("csv", "where the course of the training is written", group=True)
    callbacks: dict[str, Any] = setting(
        "none", "what is done after each epoch of a network; several: callbacks=[early_stopping,lr_monitor]", group=True
    )
    causal: bool = setting(False, "for near real time: learn to fill each day from that day and earlier ones alone")
    seed: int = setting(0, "of training: weights, order, gaps of each epoch, rows of trees")
    compare: dict[str, Any] | None = setting(help="models of an experiment", from_experiment=True)
    chain: dict[str, Any] | None = setting(help="steps of an experiment", from_experiment=True)
    tune: dict[str, Any] | None = setting(help="search space of an experiment", from_experiment=True)

    def __post_init__(self) -> None:
        for part, known in EXPERIMENT_PARTS.items():
            check_part(part, getattr(self, part), known)
        objects = check_groups(self.training())
        if self.causal:
            model = objects["model"]
            for filler in (model.many, model.few) if isinstance(model, Auto) else (model,):
                filler.check_causal()

    def training(self) -> dict[str, Any]:
        """Return the groups, the seed and `causal` as plain values: what a run folder keeps in config.yaml."""
        groups = {group: getattr(self, group) for group in GROUPS}
        return {**groups, "causal": self.causal, "seed": self.seed}


def check_training(config: Mapping[str, Any]) -> None:
    """Raise ConfigError where the configuration of a run cannot work."""
    made(TrainingConfig, config)


def check_groups(config: Mapping[str, Any], groups: Sequence[str] = GROUPS) -> dict[str, Any]:
    """Check the specifications of groups of settings.

    Args:
        config: For each group its specification.
        groups: Those to check.

    Returns:
        The objects of all groups but `data` and `uncertainty`: making these would read the data.

    Raises:
        ConfigError: A specification is none, makes something else, or has arguments that cannot work.
    """
    for group in groups:
        spec = config.get(group)
        if not isinstance(spec, Mapping):
            raise ConfigError(f"{group}={spec!r}: expected settings with {TARGET}")
        if group == "uncertainty":
            _check_uncertainty(spec)
        elif group == "callbacks":
            for name, inner in spec.items():
                check_spec(inner, KINDS[group], f"{group}.{name}")
        else:
            check_spec(spec, KINDS[group], group)
    objects = {g: build(config[g], KINDS[g]) for g in groups if g not in ("data", "uncertainty", "callbacks")}
    if "model" in objects and "trainer" in objects:
        model = objects["model"]
        model = model.many if isinstance(model, Auto) else model
        _check_epochs(model, objects["trainer"].max_epochs)
        _check_callbacks(model, config.get("callbacks", {}), objects.get("logger", RunLogger()))
    return objects


def load_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a run. It may come from a stranger: plain values only, nothing is resolved.

    Args:
        path: Of its config.yaml.

    Raises:
        ConfigError: The file is missing or not such a file.
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
    config = {**OF_TRAINING, **config}
    for group in GROUPS:
        if not isinstance(config.get(group), dict):
            raise ConfigError(f"{path}: {group} is {shown(config.get(group))}, expected settings with {TARGET}")
    if "seed" not in config:
        raise ConfigError(f"{path}: seed is not there, expected a whole number")
    return config


def _refuse_resolvers(value: Any, where: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_resolvers(item, f"{where}: {key}")
    elif isinstance(value, list):
        for item in value:
            _refuse_resolvers(item, where)
    elif isinstance(value, str) and "${" in value:
        raise ConfigError(f"{where}: '{value}': a run's configuration holds plain values, no interpolation")


def _check_uncertainty(spec: Mapping[str, Any]) -> None:
    if spec.get(TARGET) is not None:
        check_wrappers(spec)


def _check_callbacks(model: Any, callbacks: Mapping[str, Any], logger: RunLogger) -> None:
    trained = [model, *getattr(model, "fillers", [])]
    networks = [one for one in trained if one.epochs and one.automatic_optimization]
    for name, spec in callbacks.items():
        if not networks:
            raise ConfigError(f"callbacks={name}: {type(model).__name__} has no epochs that it could act on")
        if isinstance(build(spec, KINDS["callbacks"]), LearningRates) and not logger.curve:
            raise ConfigError(f"callbacks={name}: logger={logger.kind} writes nothing; expected logger=csv or another")


def _check_epochs(model: Any, epochs: int | None) -> None:
    if epochs is None:
        return
    name = type(model).__name__
    if not model.epochs:
        raise ConfigError(f"trainer.max_epochs={epochs}: {name} learns nothing, it has no epochs")
    if not model.automatic_optimization:
        raise ConfigError(
            f"trainer.max_epochs={epochs}: epochs mean nothing for the trees of {name}; "
            "set model.gap_draws (how often gaps are drawn, to take rows from) and model.rounds or model.trees instead"
        )
