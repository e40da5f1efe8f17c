"""Errors of a command as one line each, and its log on the screen."""

from __future__ import annotations

import logging
import re

from hydra.errors import OverrideParseException

from sgdsm.core.errors import SgdsmError
from sgdsm.core.logging import log


def one_line(error: Exception, command: str) -> str:
    """Return what to print of an error.

    Args:
        error: Any.
        command: The command that met it.
    """
    if isinstance(error, SgdsmError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        cure = ": expected the name of a folder" if isinstance(error, FileExistsError | NotADirectoryError) else ""
        return f"{error.filename}: {error.strerror}{cure}" if error.filename else error.strerror
    text = " ".join(str(error).split())
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"cannot read '{error.override}'; a value with special characters goes in quotes: \"{key}='{value}'\""
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return f"{command}: the memory of this machine does not suffice: ask for less at once ({text[:150]})"
    if type(error).__module__.startswith(("hydra.", "omegaconf.")):
        return _of_hydra(error, text)
    return f"unexpected error while running {command}: {text or type(error).__name__}; please report it; " + (
        "HYDRA_FULL_ERROR=1 shows where"
    )


def _of_hydra(error: Exception, text: str) -> str:
    text = re.sub(r"^\w+Error raised while resolving interpolation: ", "", text).partition(" full_key:")[0]
    key = str(getattr(error, "full_key", None) or "")
    text = f"{key}: {text}" if key and not text.startswith(key) else text
    cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ is not None else ""
    return text.partition(" Config search path")[0] + cause


def log_to_screen() -> None:
    """Send the log to the screen, without the names of modules."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("note: %(message)s"))
    log.handlers = [handler]
    log.setLevel(logging.INFO)
    log.propagate = False
