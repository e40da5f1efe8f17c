"""Files of single days in a folder, each complete or absent.

To resume an interrupted job, run the same command again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sgdsm.core.errors import ConfigError

BEGUN = ".sgdsm_export"  # in the folder, until all files are there: what they are made of


@dataclass
class DailyFiles:
    """The files of a layout.

    Args:
        folder: Destination of the files.
        name: Name of a file, with {} for its date.
        dates: Dates like 20150401.
        plan: Identifies the data; a folder that was begun with another plan is refused.
    """

    folder: Path
    name: str
    dates: Sequence[str]
    plan: str

    def begin(self) -> None:
        """Make the folder, or resume it.

        Raises:
            ConfigError: When the folder holds other files of these names.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / BEGUN
        if note.is_file():
            if note.read_text(encoding="utf-8", errors="replace") != self.plan:
                raise ConfigError(
                    f"{self.folder} was begun with other arguments or another file: remove it, or choose another folder"
                )
            return
        # without our note these files were written by something else
        existing = next((path for path in map(self._path, self.dates) if path.exists()), None)
        if existing is not None:
            raise ConfigError(f"{existing} exists: remove it, or choose another folder")
        partial = Path(f"{note}.partial")
        # written under another name and renamed: a note is complete or absent
        partial.write_text(self.plan, encoding="utf-8")
        partial.replace(note)

    def missing(self) -> Iterator[tuple[int, Path]]:
        """Yield each day whose file is absent, and the path to write it to; the file is then renamed to its final name.

        Yields:
            Position of the day in `dates`, and the path of the partial file.
        """
        for day, path in enumerate(map(self._path, self.dates)):
            if not path.exists():
                partial = Path(f"{path}.partial")
                yield day, partial
                partial.replace(path)

    def end(self) -> None:
        """Remove the mark of an unfinished folder; all files are there."""
        (self.folder / BEGUN).unlink()

    def _path(self, date: str) -> Path:
        return self.folder / self.name.format(date)
