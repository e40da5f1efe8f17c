"""The errors that a user can mend; their text is one line."""

from __future__ import annotations


class SgdsmError(Exception):
    """What a user can mend: its text is one line with what was found and what was expected."""


class CubeError(SgdsmError):
    """The data are not what a cube must be."""


class ConfigError(SgdsmError):
    """A configuration or a command line that cannot work."""
