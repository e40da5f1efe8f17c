"""A bounded random sample of the training rows, in memory or on disk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sgdsm.core.errors import SgdsmError
from sgdsm.core.random import Stream

Part = tuple[np.ndarray, np.ndarray]


class RowReservoir:
    """A random sample of all rows that were added; the same one in memory and on disk.

    Args:
        most: Largest number of rows.
        seed: Of the choice.
        spill: True to store the rows in a temporary folder (in TMPDIR), which `close`, or at the latest the end of the
            process, deletes.

    Attributes:
        count: Number of rows in the sample.
    """

    def __init__(self, most: int, seed: int, spill: bool) -> None:
        self.most, self.seed = most, seed
        self.count = self._halvings = self._written = 0
        self._folder = tempfile.TemporaryDirectory(prefix="sgdsm_rows_") if spill else None
        self._parts: list[Part | tuple[Path, int]] = []

    @property
    def folder(self) -> Path | None:
        """Folder of the rows on disk; None in memory."""
        return None if self._folder is None else Path(self._folder.name)

    def add(self, features: np.ndarray, truth: np.ndarray, place: tuple[int, int]) -> None:
        """Add rows, each with the same probability as those before.

        Args:
            features: (N, F).
            truth: (N,).
            place: Numbers of the epoch and the batch that they come from: the seed of the choice.

        Raises:
            SgdsmError: If the disk is full.
        """
        # when the reservoir overflows a random half of it is dropped, and from then on half as many rows are taken in
        rng = np.random.default_rng([Stream.ROW_RESERVOIR, self.seed, *place])
        chosen = rng.random(len(truth)) < 0.5**self._halvings
        if not chosen.any():
            return
        self._parts.append(self._put((features[chosen], truth[chosen])))
        self.count += int(chosen.sum())
        while self.count > self.most:
            self._halvings += 1
            parts, self._parts, self.count = self._parts[::-1], [], 0
            while parts:  # one by one, so that the memory never holds two copies of all rows
                self._halve(parts.pop(), rng)

    def batches(self, least: int) -> Iterator[Part]:
        """Yield features (N, F) and truth (N,) of the rows in their order.

        Args:
            least: Smallest number of rows in a batch but the last.
        """
        waiting: list[Part] = []
        for part in self._parts:
            waiting.append(self._get(part))
            # parts shrink when they are halved: small ones are joined
            if sum(len(truth) for _, truth in waiting) >= least:
                yield _joined(waiting)
                waiting = []
        if waiting:
            yield _joined(waiting)

    def check_room(self, share: float) -> None:
        """Check the free space on the disk.

        Args:
            share: Space that is needed, in multiples of the size of the rows.

        Raises:
            SgdsmError: If there is less.
        """
        if self.folder is not None:
            size = sum(path.stat().st_size for path in self.folder.iterdir())
            free = shutil.disk_usage(self.folder).free
            if free < share * size:
                raise self._full(f"{free / 2**30:.2f} GiB are free, expected {share * size / 2**30:.2f}")

    def close(self) -> None:
        """Delete the rows and their folder."""
        self._parts, self.count = [], 0
        if self._folder is not None:
            self._folder.cleanup()

    def _halve(self, part: Part | tuple[Path, int], rng: np.random.Generator) -> None:
        """Put a random half of a part back into the reservoir."""
        half = rng.random(len(part[1]) if isinstance(part[1], np.ndarray) else part[1]) < 0.5
        if half.any():
            features, truth = self._get(part)
            self._parts.append(self._put((features[half], truth[half])))
            self.count += int(half.sum())
        # the half that was kept is in a new file
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

    def _full(self, cause: str) -> SgdsmError:
        """Return the error of a disk without room."""
        return SgdsmError(
            f"model.spill=true: {self.folder} cannot take the rows ({cause}): "
            "set TMPDIR to a folder with room, or lower model.max_rows"
        )


def _joined(parts: list[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    features, truth = zip(*parts, strict=True)
    return np.concatenate(features), np.concatenate(truth)
