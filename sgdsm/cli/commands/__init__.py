"""One file a command: `Settings`, a dataclass of its settings, and `run(settings)`.

May import everything. A new file here is a new command; `sgdsm NAME --help` is made of its `Settings`. The file of a
command of two words, like `correct fit`, has `_` in its name.
"""

from __future__ import annotations

import ast
import pkgutil
from importlib import import_module
from pathlib import Path
from typing import Any

from sgdsm.core.imports import without_collection


def command_names() -> list[str]:
    """Return the names of all commands."""
    return sorted(module.name.replace("_", " ") for module in pkgutil.iter_modules(__path__))


def summary_of(command: str) -> str:
    """Return the first line of a command's module docstring, without importing the module."""
    source = Path(__path__[0], f"{command.replace(' ', '_')}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def load(command: str) -> Any:
    """Import and return the module of a command."""
    with without_collection():
        return import_module(f"{__name__}.{command.replace(' ', '_')}")
