"""Read slabs of a cube, ready to be cut into windows; the next slab is read while one is filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import xarray as xr
from torch.utils.data import Dataset, IterableDataset

from sgdsm.core.logging import log
from sgdsm.core.tiling import Axis
from sgdsm.data.batch import Scene, ages
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, Record, read_record
from sgdsm.inference.slabs import Slab, cells_to_read, preceding_days
from sgdsm.inference.survey import Surveyor


class SlabReader(Dataset[tuple[Slab, Scene]]):
    """Reads slabs: the records with the cells around them that their windows cover.

    Args:
        cube: Cube in the units that the filler was fitted in.
        names: Variables to read.
        inputs: What the filler was fitted for.
        axes: Tiling of days, rows and columns.
        slabs: All slabs of the plan.
        surveyor: Gives the climatology and the ages at the edges of the slabs.
        wanted_days: Days to fill, (T,) bool.
        max_gap_days: Values farther in time from the nearest observation of their cell are not wanted, days.

    Attributes:
        continued: Numbers of the slabs that are filled right after the slab before them in time, so that the windows
            that both share are not read and filled again.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        names: Names,
        inputs: Inputs,
        *,
        axes: Sequence[Axis],
        slabs: Sequence[Slab],
        surveyor: Surveyor,
        wanted_days: np.ndarray,
        max_gap_days: int | None = None,
    ) -> None:
        self.cube, self.names, self.inputs, self.axes = cube, names, inputs, axes
        self.slabs, self.surveyor, self.wanted_days = slabs, surveyor, wanted_days
        self.max_gap_days = max_gap_days
        self.continued: set[int] = set()
        self.logged: set[str] = set()

    def __len__(self) -> int:
        return len(self.slabs)

    def __getitem__(self, index: int) -> tuple[Slab, Scene]:
        slab = self.slabs[index]
        # windows that the slab before has filled come from its overlap cache
        before = preceding_days(slab, self.slabs) if index in self.continued else None
        days, rows = cells_to_read(self.axes[0], slab.days, before), cells_to_read(self.axes[1], slab.rows)
        record = read_record(self.cube, self.names, days, rows)
        self._log_gappy(record)
        # from the whole record, so that the result does not depend on the slabs
        overview = self.surveyor.overview(rows)
        # as in training: values off land are passed through to the output, the filler does not see them
        seen = record.observed & record.land
        age = ages(seen, record.days, overview.before[days.start], overview.after[days.stop])
        wanted = record.land & ~record.observed & self.wanted_days[days][:, None, None]
        if self.max_gap_days is not None:
            wanted &= age <= self.max_gap_days
        return slab, Scene.of(record, self.inputs, seen, wanted, overview.climatology, age)

    def _log_gappy(self, record: Record) -> None:
        """Log, once for each, covariates that lack values that they had in training."""
        for name, values in zip(self.inputs.dynamic, record.dynamic, strict=True):
            missing = np.isnan(values[:, record.land])
            if name in self.logged or not missing.any():
                continue
            if missing.all():
                log.info("covariate '%s' is missing everywhere (in some part of the cube): filled without it", name)
            elif name not in self.inputs.gappy:
                log.info("covariate '%s' has gaps here and had none in training: filled without it there", name)
            else:
                continue
            self.logged.add(name)


class ReadAhead(IterableDataset[tuple[Slab, Scene]]):
    """Slabs of a reader in a given order; the next one is read while one is used.

    A thread instead of DataLoader workers: a slab is large, and would have to be copied between processes.

    Args:
        reader: Reads the slabs.
        order: Their numbers.
    """

    def __init__(self, reader: SlabReader, order: Sequence[int]) -> None:
        self.reader, self.order = reader, order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Slab, Scene]]:
        with ThreadPoolExecutor(1) as thread:
            coming: Future[tuple[Slab, Scene]] | None = None
            for number in self.order:
                ready, coming = coming, thread.submit(self.reader.__getitem__, number)
                if ready is not None:
                    yield ready.result()
            if coming is not None:
                yield coming.result()
