"""A bounded random part of the rows that training brings, in memory or on disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sgdsm.core.cube import SgdsmError

ROWS_KEPT = 5
Part = tuple[np.ndarray, np.ndarray]


class RowReservoir:
    """At most `most` rows, a random subset of all that were added; the same one wherever they are kept.

    seed: of the choice. spill: keep them in a temporary folder (of TMPDIR) that goes with `forget`, at the latest with
    the process. count: rows kept.
    """

    def __init__(self, most: int, seed: int, spill: bool) -> None:
        self.most, self.seed = most, seed
        self.count = self._met = self._written = 0
        self._folder = tempfile.TemporaryDirectory(prefix="sgdsm_rows_") if spill else None
        self._parts: list[Part | tuple[Path, int]] = []

    @property
    def folder(self) -> Path | None:
        """Where the rows are on disk; None in memory."""
        return None if self._folder is None else Path(self._folder.name)

    def add(self, features: np.ndarray, truth: np.ndarray, place: tuple[int, int]) -> None:
        """Take rows, features (N, F) and truth (N,), in; place: pass and batch they come from, for the choice.

        Raises SgdsmError where the disk is full.
        """
        # each row is kept with the same probability, which falls as rows come: when the store overflows, a random
        # half of it goes
        rng = np.random.default_rng([ROWS_KEPT, self.seed, *place])
        chosen = rng.random(len(truth)) < 0.5**self._met
        if not chosen.any():
            return
        self._parts.append(self._put((features[chosen], truth[chosen])))
        self.count += int(chosen.sum())
        while self.count > self.most:
            self._met += 1
            parts, self._parts, self.count = self._parts[::-1], [], 0
            while parts:  # one by one: at no time are there two copies of the whole
                self._halve(parts.pop(), rng)

    def batches(self, least: int) -> Iterator[Part]:
        """Features and truth of the rows in their order, at least so many at a time (but in the last batch)."""
        waiting: list[Part] = []
        for part in self._parts:
            waiting.append(self._get(part))
            if sum(len(truth) for _, truth in waiting) >= least:
                yield _joined(waiting)
                waiting = []
        if waiting:
            yield _joined(waiting)

    def check_room(self, share: float) -> None:
        """Raise SgdsmError where the disk has no room for another `share` of the rows."""
        if self.folder is not None:
            size = sum(path.stat().st_size for path in self.folder.iterdir())
            free = shutil.disk_usage(self.folder).free
            if free < share * size:
                raise self._full(f"{free / 2**30:.2f} GiB are free, expected {share * size / 2**30:.2f}")

    def close(self) -> None:
        """Let go of the rows, and of their folder."""
        self._parts, self.count = [], 0
        if self._folder is not None:
            self._folder.cleanup()

    def _halve(self, part: Part | tuple[Path, int], rng: np.random.Generator) -> None:
        half = rng.random(len(part[1]) if isinstance(part[1], np.ndarray) else part[1]) < 0.5
        if half.any():
            features, truth = self._get(part)
            self._parts.append(self._put((features[half], truth[half])))
            self.count += int(half.sum())
        if isinstance(part[0], Path):
            part[0].unlink()

    def _put(self, part: Part) -> Part | tuple[Path, int]:
        if self.folder is None:
            return part
        path = self.folder / f"{self._written}.npy"
        self._written += 1
        try:
            with path.open("wb") as file:
                for array in part:
                    np.save(file, array)
        except OSError as error:
            raise self._full(str(error.strerror or error)) from error
        return path, len(part[1])

    def _get(self, part: Part | tuple[Path, int]) -> Part:
        if isinstance(part[0], np.ndarray):
            return part
        with part[0].open("rb") as file:
            return np.load(file), np.load(file)

    def _full(self, found: str) -> SgdsmError:
        return SgdsmError(
            f"model.spill=true: {self.folder} cannot take the rows ({found}): "
            "set TMPDIR to a folder with room, or lower model.max_rows"
        )


def _joined(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    features, truth = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(truth)
