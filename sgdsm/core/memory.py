"""What fits into the memory of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sgdsm.core.errors import ConfigError

MEMINFO = Path("/proc/meminfo")


def free_gib() -> float:
    """Memory that is free on this machine, GiB; all that it has where the system does not tell."""
    if MEMINFO.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
        if found:
            return int(found[1]) / 2**20
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def check_fits(setting: str, values: int, cure: str, bytes_each: int = 4) -> None:
    """Raise ConfigError where so many values do not fit into the free memory.

    setting: what asks for them, like 'number=50'. cure: what to do then.
    """
    needed, free = values * bytes_each / 2**30, free_gib()
    if needed > free:
        raise ConfigError(f"{setting}: takes {needed:.3g} GiB of memory, {free:.3g} GiB are free: {cure}")
