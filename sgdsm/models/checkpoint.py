"""Saving and loading of fitted fillers: tensors and plain built-ins only, loaded with `weights_only=True`."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError  # torch raises it for a file that would run code
from typing import Any

import torch

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build, check_spec
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.base import Network
from sgdsm.models.uncertainty.wrappers import innermost

FORMAT = "sgdsm filler 1"


def save_filler(filler: GapFiller, path: str | Path) -> None:
    """Write a filler atomically: the file is complete or does not exist.

    Of a network, also of one with an uncertainty around it, Lightning's `load_from_checkpoint` reads the file too.

    Args:
        filler: Configured, usually fitted.
        path: Of the file.

    Raises:
        ConfigError: If the filler is not configured, or could not be built again from its specification.
    """
    check_spec(filler.spec, GapFiller, type(filler).__name__)
    if not filler.configured:
        raise ConfigError(f"{path}: {type(filler).__name__} knows no variables yet: call configure(inputs) before")
    content: dict[str, Any] = {"spec": filler.spec, "inputs": filler.inputs.to_dict(), "state": filler.state_dict()}
    network = innermost(filler)
    if isinstance(network, Network):
        # for Lightning's own load_from_checkpoint; the file hardly grows: a tensor that is there twice is kept once
        content |= network.for_lightning() | {"state_dict": network.state_dict()}
    content["format"] = FORMAT
    save_whole(content, Path(path))


def save_whole(content: dict[str, Any], path: Path) -> None:
    """Write a file for `torch.load` atomically: it is complete or does not exist.

    Args:
        content: Tensors and plain built-ins.
        path: Of the file.
    """
    partial = Path(f"{path}.partial")
    torch.save(content, partial)
    # renaming is atomic: an interrupted run leaves the old file or the new one
    partial.replace(path)


def load_filler(path: str | Path) -> GapFiller:
    """Read a filler written by `save_filler`, ready to fill.

    Args:
        path: Of the file.

    Raises:
        ConfigError: If the file is missing, damaged, or no checkpoint of a filler.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such checkpoint")
    try:
        # weights_only: a checkpoint is data, no code from it is run
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, UnpicklingError) as error:
        raise ConfigError(
            f"{path}: not a checkpoint of a filler (damaged, or something else): {first_line(error)}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        kind = content.get("format", "no format") if isinstance(content, dict) else type(content).__name__
        raise ConfigError(f"{path}: expected a checkpoint of the format '{FORMAT}', found {kind}")
    lacking = [key for key in ("spec", "inputs", "state") if not isinstance(content.get(key), dict)]
    if lacking:
        raise ConfigError(
            f"{path}: '{lacking[0]}' is {content.get(lacking[0])!r:.60}, expected a checkpoint of a filler"
        )
    try:
        filler: GapFiller = build(content["spec"], GapFiller)
        inputs = Inputs.from_dict(content["inputs"])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    # the modules that the weights belong to depend on the variables
    filler.configure(inputs)
    try:
        filler.load_state_dict(content["state"])
    except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:  # XGBoost's own is a ValueError
        raise ConfigError(f"{path}: weights do not fit the model: {first_line(error)}") from error
    return filler.eval()


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, at most 200 characters.

    Args:
        error: Any.
    """
    return next(iter(str(error).strip().splitlines()), "it ends too early")[:200]
