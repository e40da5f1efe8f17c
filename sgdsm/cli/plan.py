"""What compare and chain share: trainings planned from words, and done once; part of the composition root."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sgdsm.core.cube import ConfigError, log
from sgdsm.training.config import check_config, config_name, renamed
from sgdsm.training.run import CONFIG, Run


def settings_of(place: str, command: str, words: Sequence[str]) -> dict[str, Any]:
    """The checked settings that the words of a command make.

    Raises ConfigError, which begins with `place`, for words that cannot work.
    """
    try:
        plain = OmegaConf.to_container(compose(config_name(command), renamed(command, words)), resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        unknown = re.search(r"Could not override '([^']+)'", str(error))
        text = " ".join(str(error).split()).partition(" Config search path")[0].partition(" See https")[0]
        raise ConfigError(f"{place}: {f'there is no setting {unknown[1]!r} here' if unknown else text}") from error
    assert isinstance(plain, dict)
    settings = {str(k): v for k, v in plain.items() if k not in ("compare", "chain")}
    try:
        check_config(settings, command)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    return settings


def check_same(run: Run, settings: dict[str, Any]) -> None:
    """Raise ConfigError where a run's folder holds one with other settings."""
    if (run.folder / CONFIG).exists() and run.config() != settings:
        raise ConfigError(f"{run.folder} holds a run with other settings: remove it, or choose another output")


def train_once(run: Run, settings: dict[str, Any], train: Callable[[dict[str, Any], Path], Path]) -> None:
    """Train, or go on with an interrupted training; nothing where it is finished."""
    if run.finished():
        log.info("%s: finished already", run.folder)
    else:
        train(settings, run.folder)
