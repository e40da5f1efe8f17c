"""Composition of settings by Hydra: defaults of a dataclass, YAML files, overrides."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from sgdsm.core.settings import hydra_node


def config_folder() -> Path:
    """Return the folder of the YAML files: in the installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def register(command: str, settings: type, hydra: Mapping[str, Any] | None = None) -> str:
    """Store the defaults of a command in Hydra's ConfigStore.

    Args:
        command: Its name; blanks become `_`.
        settings: Its dataclass.
        hydra: Settings of Hydra itself that differ from those of other commands.

    Returns:
        The name of the stored configuration.
    """
    name = command.replace(" ", "_")
    ConfigStore.instance().store(name, hydra_node(settings, command, hydra))
    return name


def compose_settings(command: str, settings: type, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Compose the settings of a command from its defaults, the YAML files and overrides, as plain values.

    Hydra's own state is as before afterwards.

    Args:
        command: Its name.
        settings: Its dataclass.
        overrides: Like 'model=xgboost' and 'model.rounds=200'.

    Raises:
        HydraException: An override that cannot be read, or names nothing.
    """
    name = register(command, settings)
    if GlobalHydra.instance().is_initialized():  # in a command: with the folders of its --config-dir
        return _as_dict(OmegaConf.to_container(compose(name, list(overrides)), resolve=True))
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return _as_dict(OmegaConf.to_container(compose(name, list(overrides)), resolve=True))


def _as_dict(config: Any) -> dict[str, Any]:
    return {str(key): value for key, value in config.items()}


def problem_of(error: Exception) -> str:
    """Return in one line why settings could not be composed.

    Args:
        error: HydraException, or an error of OmegaConf.
    """
    unknown = re.search(r"Could not override '([^']+)'", str(error))
    if unknown:
        return f"there is no setting {unknown[1]!r} here"
    return " ".join(str(error).split()).partition(" Config search path")[0].partition(" See https")[0]
