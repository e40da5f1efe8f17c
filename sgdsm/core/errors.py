"""The errors that a user can correct; their text is one line."""

from __future__ import annotations


class SgdsmError(Exception):
    """An error that a user can correct: its text is one line with the value found and the value expected."""


class CubeError(SgdsmError):
    """The data are not what a cube must be."""


class ConfigError(SgdsmError):
    """A configuration or a command line that cannot work."""
