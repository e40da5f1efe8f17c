"""The notes of a run: what a command says on the screen while it trains, kept in the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.safety import refuse_irregular
from sgdsm.core.logging import log

NOTES = "notes.txt"  # one a line


class _Notes(logging.Handler):
    """Appends each note once, also where a run is resumed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        refuse_irregular(path, ConfigError)
        self.path = path
        self.known = set(path.read_text(encoding="utf-8", errors="replace").splitlines()) if path.is_file() else set()

    def emit(self, record: logging.LogRecord) -> None:
        note = " ".join(record.getMessage().split())
        if note in self.known or getattr(record, "passing", False):
            return
        self.known.add(note)
        # at once: a run that is killed has said it
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{note}\n")


@contextmanager
def keeping_notes(folder: Path) -> Iterator[None]:
    """Write what is logged within to NOTES in a run's folder, but for lines that only say how far it is.

    Args:
        folder: Of the run.
    """
    handler = _Notes(folder / NOTES)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
