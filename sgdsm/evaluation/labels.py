"""Short names of runs for tables and figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sgdsm.core.errors import ConfigError

# the folder of a run that nobody named: date, time and model
UNNAMED = re.compile(r"\d{4}-(\d\d-\d\d)_(\d\d)-(\d\d)-\d\d_(.+)")


def run_labels(folders: Sequence[Path]) -> list[str]:
    """Return for each run the name of its folder, of one that nobody named the model alone.

    Where two would be the same, unnamed runs have month, day and time too, and after that as much of their paths as it
    takes.

    Args:
        folders: Of runs.

    Raises:
        ConfigError: A run is there twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    unnamed = [UNNAMED.fullmatch(p[-1]) for p in parts]
    labels = [m[4] if m else p[-1] for m, p in zip(unnamed, parts, strict=True)]
    count = Counter(labels)
    labels = [
        f"{label} {m[1]} {m[2]}:{m[3]}" if m and count[label] > 1 else label
        for m, label in zip(unnamed, labels, strict=True)
    ]
    if len(set(labels)) == len(labels):
        return labels
    for length in range(1, max(map(len, parts), default=1) + 1):
        labels = ["/".join(p[-length:]) for p in parts]
        if len(set(labels)) == len(labels):
            return labels
    raise ConfigError("a run is named twice")
