"""The free memory of this machine, and checks that arrays fit into it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sgdsm.core.errors import ConfigError

MEMINFO = Path("/proc/meminfo")


def free_gib() -> float:
    """Return the free memory of this machine, GiB; all of its memory where the system does not report it."""
    # Linux: counts caches that can be freed, which "free" memory does not
    if MEMINFO.is_file():
        available = re.search(r"MemAvailable:\s+(\d+) kB", MEMINFO.read_text())
        if available:
            return int(available[1]) / 2**20
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def check_fits(setting: str, values: int, cure: str, bytes_each: int = 4) -> None:
    """Raise an error if an array does not fit into the free memory.

    Args:
        setting: Setting that asks for the array, like 'number=50'.
        values: Number of values of the array.
        cure: What the user can do, for the message.
        bytes_each: Size of a value in bytes.

    Raises:
        ConfigError: The array is larger than the free memory.
    """
    needed, free = values * bytes_each / 2**30, free_gib()
    if needed > free:
        raise ConfigError(f"{setting}: takes {needed:.3g} GiB of memory, {free:.3g} GiB are free: {cure}")
