"""Public names of a package, each imported from its module at first use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any


def resolve(package: str, names: Mapping[str, str], name: str) -> Any:
    """Import a public name of a package.

    Args:
        package: Name of the package, such as 'sgdsm.models'.
        names: For each public name the module in the package that defines it.
        name: The name asked for.

    Returns:
        The class or function.

    Raises:
        AttributeError: The package has no such public name.
    """
    if name not in names:
        raise AttributeError(f"module '{package}' has no attribute '{name}'")
    return getattr(import_module(f"{package}.{names[name]}"), name)


def public_name(target: type) -> str:
    """Return the path by which specifications name a class: of the package that exports it, else of its module.

    Args:
        target: A class.
    """
    # only sgdsm and its direct packages export names
    package = ".".join(target.__module__.split(".")[:2])
    exported = getattr(sys.modules.get(package), "PUBLIC", {})
    if f"{package}.{exported.get(target.__qualname__)}" == target.__module__:
        return f"{package}.{target.__qualname__}"
    return f"{target.__module__}.{target.__qualname__}"
