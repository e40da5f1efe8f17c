"""Optional packages: a missing one is named, with its extra, before the work begins."""

from __future__ import annotations

from importlib.util import find_spec

from sgdsm.core.errors import ConfigError


def need(package: str, extra: str, why: str) -> None:
    """Raise an error unless a package is installed.

    Args:
        package: Name that is imported.
        extra: Extra of sgdsm that installs it.
        why: What needs it, the beginning of the message.

    Raises:
        ConfigError: It is not there.
    """
    if find_spec(package) is None:
        raise ConfigError(f"{why} needs {package}: pip install 'sgdsm[{extra}]'")
