"""The logger of the package."""

from __future__ import annotations

import logging

log = logging.getLogger("sgdsm")
PASSING = {"passing": True}  # `extra` of a line that says how far a run is, and is not kept with it
