"""The notes of a run: what a command says on the screen while it trains, kept in the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.safety import refuse_irregular, refuse_leading_out
from sgdsm.core.logging import log
from sgdsm.training.run import CONFIG

NOTES = "notes.txt"  # one a line


class _Notes(logging.Handler):
    """Appends each note once, also where a run is resumed; a run that does not begin leaves nothing."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path, self.config = folder / NOTES, folder / CONFIG
        refuse_irregular(self.path, ConfigError)
        refuse_leading_out(self.path, folder, ConfigError)
        there = self.path.is_file()
        self.known = self.path.read_text(encoding="utf-8", errors="replace").splitlines() if there else []
        self.waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        note = " ".join(record.getMessage().split())
        if not getattr(record, "passing", False) and note not in self.known:
            self.known.append(note)
            self.waiting.append(note)
        self.write()

    def write(self) -> None:
        """Write what was said so far, once the run has begun: one that is killed has said it."""
        if self.waiting and self.config.is_file():
            with self.path.open("a", encoding="utf-8") as file:
                file.writelines(f"{note}\n" for note in self.waiting)
            self.waiting = []


@contextmanager
def keeping_notes(folder: Path) -> Iterator[None]:
    """Write what is logged within to NOTES in a run's folder, but for lines that only say how far it is.

    Args:
        folder: Of the run.
    """
    handler = _Notes(folder)
    log.addHandler(handler)
    try:
        yield
    finally:
        handler.write()
        log.removeHandler(handler)
