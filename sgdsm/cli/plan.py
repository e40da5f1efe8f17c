"""Trainings that experiments plan from overrides, each done once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sgdsm.cli.commands import load
from sgdsm.cli.overrides import as_hydra_reads
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.settings import made
from sgdsm.training.compose import compose_settings, problem_of
from sgdsm.training.config import EXPERIMENT_PARTS
from sgdsm.training.run import CONFIG, Run


def settings_of(place: str, command: str, overrides: Sequence[str]) -> Any:
    """Return the checked settings that the overrides of a command make.

    Args:
        place: What the overrides are part of, for messages.
        command: Its name.
        overrides: Its overrides.

    Raises:
        ConfigError: The overrides cannot work; the text begins with `place`.
    """
    kind = load(command).Settings
    try:
        values = compose_settings(command, kind, as_hydra_reads(kind, overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{place}: {problem_of(error)}") from error
    try:
        return made(kind, {k: v for k, v in values.items() if k not in EXPERIMENT_PARTS})
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error


def training_of(place: str, overrides: Sequence[str]) -> Any:
    """Return the checked settings of a training, see `settings_of`."""
    return settings_of(place, "train", overrides)


def check_same(run: Run, training: Any) -> None:
    """Raise ConfigError where a run's folder holds one with other settings."""
    if (run.folder / CONFIG).exists() and run.config() != training.training():
        raise ConfigError(f"{run.folder} holds a run with other settings: remove it, or choose another output")


def train_once(run: Run, training: Any, figures: bool = True) -> None:
    """Train in the folder of a run, or resume there; nothing is done where it is finished."""
    if run.finished():
        log.info("%s: finished already", run.folder)
    else:
        load("train").train_and_print(training, run, figures)
