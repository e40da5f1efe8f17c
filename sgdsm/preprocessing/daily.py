"""Files of single days in a folder, each whole or not there: what was interrupted goes on with the same words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sgdsm.core.cube import ConfigError

BEGUN = ".sgdsm_export"  # in the folder, until all files are there: what they are made of


@dataclass
class DailyFiles:
    """The files of a layout. name: of a file, with {} for its date. dates: like 20150401. plan: what they are made of;
    a folder that was begun with another is refused."""

    folder: Path
    name: str
    dates: Sequence[str]
    plan: str

    def begin(self) -> None:
        """Make the folder, or go on with it; ConfigError where it holds other files of these names."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / BEGUN
        if note.is_file():
            if note.read_text(encoding="utf-8", errors="replace") != self.plan:
                raise ConfigError(
                    f"{self.folder} was begun with other words or another file: remove it, or choose another folder"
                )
            return
        there = next((path for path in map(self._path, self.dates) if path.exists()), None)
        if there is not None:
            raise ConfigError(f"{there} exists: remove it, or choose another folder")
        partial = Path(f"{note}.partial")
        partial.write_text(self.plan, encoding="utf-8")
        partial.replace(note)

    def missing(self) -> Iterator[tuple[int, Path]]:
        """Positions of the days whose file is not there, and where it is written first; then it gets its name."""
        for day, path in enumerate(map(self._path, self.dates)):
            if not path.exists():
                partial = Path(f"{path}.partial")
                yield day, partial
                partial.replace(path)

    def end(self) -> None:
        """All files are there."""
        (self.folder / BEGUN).unlink()

    def _path(self, date: str) -> Path:
        return self.folder / self.name.format(date)
