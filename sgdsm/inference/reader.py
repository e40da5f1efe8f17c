"""Read slabs of a cube, ready to be cut into windows; the next slab is read while one is filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import xarray as xr
from torch.utils.data import Dataset, IterableDataset

from sgdsm.core.logging import log
from sgdsm.core.tiling import Axis
from sgdsm.core.validation import read_values
from sgdsm.data.batch import ages
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, day_numbers, places_of, read_uncertainty
from sgdsm.inference.packed import PackedScene, day_blocks, near
from sgdsm.inference.slabs import Slab, cells_to_read, preceding_days
from sgdsm.inference.survey import Surveyor

READERS = 4  # threads, each reads another covariate of a slab


@dataclass(frozen=True, kw_only=True)
class ReadSlab:
    """A slab as it was read: what the filler sees, and what goes to the output; of N cells that have a value there.

    Attributes:
        slab: Its place in the cube.
        scene: What the filler sees, with the cells around the slab.
        cells: Cells with a value in the output, as positions in a flat map of the part that is filled, rising, (N,).
        values: Target in its units, NaN where not observed, (T, N) float32.
        observed: Where it is observed, (T, N) bool.
        wanted: Values to estimate, (T, N) bool.
        gap_age: Days to the nearest observation of the cell, (T, N) int16.
        land: Which of the cells are land, (N,) bool.
        uncertainty: Standard deviation of the observed values by the product, (T, N), NaN where not known; None if the
            cube has none.
    """

    slab: Slab
    scene: PackedScene
    cells: np.ndarray
    values: np.ndarray
    observed: np.ndarray
    wanted: np.ndarray
    gap_age: np.ndarray
    land: np.ndarray
    uncertainty: np.ndarray | None


class SlabReader(Dataset[ReadSlab]):
    """Reads slabs: with the cells around them that their windows cover, save those out of reach of land.

    Args:
        cube: Cube in the units that the filler was fitted in.
        names: Variables to read.
        inputs: What the filler was fitted for.
        axes: Tiling of days, rows and columns.
        halo: How far the filler looks, in cells; None: over the whole window.
        columns: Columns of the part that is filled.
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
        halo: int | None,
        columns: slice,
        slabs: Sequence[Slab],
        surveyor: Surveyor,
        wanted_days: np.ndarray,
        max_gap_days: int | None = None,
    ) -> None:
        self.cube, self.names, self.inputs, self.axes, self.columns = cube, names, inputs, axes, columns
        self.slabs, self.surveyor, self.wanted_days = slabs, surveyor, wanted_days
        self.max_gap_days = max_gap_days
        self.circular = bool(cube.attrs.get("circular_longitude", 0))
        self.near_land = near(surveyor.land, halo, self.circular)
        self.continued: set[int] = set()
        self.logged: set[str] = set()

    def __len__(self) -> int:
        return len(self.slabs)

    def __getitem__(self, index: int) -> ReadSlab:
        slab = self.slabs[index]
        # windows that the slab before has filled come from its overlap cache
        before = preceding_days(slab, self.slabs) if index in self.continued else None
        days, rows = cells_to_read(self.axes[0], slab.days, before), cells_to_read(self.axes[1], slab.rows)
        target = self.cube[self.names.target]
        box = self.cube.isel(dict(zip(target.dims, (days, rows), strict=False)))
        # from the whole record, so that the result does not depend on the slabs
        overview = self.surveyor.overview(rows)
        land = self.surveyor.land[rows]
        values = read_values(box[target.name])
        is_observed = np.isfinite(values)
        # values off land are passed through to the output
        ever = is_observed.any(0)
        cells = np.flatnonzero(self.near_land[rows] | ever)
        on_land = land.ravel()[cells]
        values, observed = _at(values, cells), _at(is_observed, cells)
        # as in training, the filler does not see them
        seen = observed & on_land
        numbers = day_numbers(box["time"])
        last, following = (end.ravel()[cells] for end in (overview.before[days.start], overview.after[days.stop]))
        age = ages(seen, numbers, last, following, ahead=not self.inputs.causal)
        wanted = on_land & ~observed & self.wanted_days[days][:, None]
        if self.max_gap_days is not None:
            wanted &= age <= self.max_gap_days
        scaled = [self.inputs.scalers[name](read_values(box[name])) for name in self.names.static]
        scene = PackedScene.make(
            self.inputs, numbers, (days.start, rows.start, 0), self.circular, cells,
            land=land, values=_hidden(values, ~on_land & ever.ravel()[cells]), wanted=wanted, gap_age=age,
            climatology=overview.climatology,
            static=np.nan_to_num(np.stack(scaled)) if scaled else np.zeros((0, *land.shape), np.float32),
            place=places_of(box, land.shape),
        )  # fmt: skip
        with ThreadPoolExecutor(READERS) as readers:
            # a list: errors are raised here
            list(readers.map(lambda c: self._read_covariate(scene, box, c, cells), range(len(self.names.dynamic))))
        # of what was read, the part that goes to the output
        first, part = slab.rows[0] - rows.start, np.zeros(land.shape, bool)
        inside = slice(first, slab.rows[1] - rows.start), self.columns
        part[inside] = (land | ever)[inside]
        chosen = np.flatnonzero(part.ravel()[cells])
        row, column = np.divmod(cells[chosen], land.shape[1])
        begin, end, _ = self.columns.indices(land.shape[1])
        time = slice(slab.days[0] - days.start, slab.days[1] - days.start)
        uncertainty = None
        if self.names.uncertainty is not None:
            uncertainty = _at(read_uncertainty(box[self.names.uncertainty], is_observed), cells)[time].take(chosen, 1)
        return ReadSlab(
            slab=slab,
            scene=scene,
            cells=(row - first) * (end - begin) + column - begin,
            values=values[time].take(chosen, 1),
            observed=observed[time].take(chosen, 1),
            wanted=wanted[time].take(chosen, 1),
            gap_age=age[time].take(chosen, 1),
            land=on_land[chosen],
            uncertainty=uncertainty,
        )

    def _read_covariate(self, scene: PackedScene, box: xr.Dataset, channel: int, cells: np.ndarray) -> None:
        """Read a covariate into a scene; log, once a fill, that it lacks values that it had in training."""
        name = self.names.dynamic[channel]
        values, scaler = read_values(box[name]), self.inputs.scalers[name]
        flat, watched = values.reshape(len(values), -1), name not in self.logged
        # cells that lack some value, and all values
        some, every = np.zeros(len(cells), bool), np.ones(len(cells), bool)
        for days in day_blocks(flat):
            scaled = scaler(flat[days].take(cells, 1))
            scene.put_covariate(channel, days, scaled)
            if watched:
                # now, while it is in the cache: a pass of its own takes longer than the reading
                missing = np.isnan(scaled)
                some |= missing.any(0)
                every &= missing.all(0)
        land = scene.land[1:].numpy()
        if watched and some[land].any():
            self._log_gappy(name, bool(every[land].all()))

    def _log_gappy(self, name: str, everywhere: bool) -> None:
        if everywhere:
            log.info("covariate '%s' is missing everywhere (in some part of the cube): filled without it", name)
        elif name not in self.inputs.gappy:
            log.info("covariate '%s' has gaps here and had none in training: filled without it there", name)
        else:
            return
        self.logged.add(name)


def _hidden(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return values with NaN in some cells, (N,) bool."""
    if cells.any():
        values = values.copy()
        values[:, cells] = np.nan
    return values


def _at(values: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the values of some cells, (T, N)."""
    return values.reshape(len(values), -1).take(cells, 1)


class ReadAhead(IterableDataset[ReadSlab]):
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

    def __iter__(self) -> Iterator[ReadSlab]:
        with ThreadPoolExecutor(1) as thread:
            coming: Future[ReadSlab] | None = None
            for number in self.order:
                ready, coming = coming, thread.submit(self.reader.__getitem__, number)
                if ready is not None:
                    yield ready.result()
            if coming is not None:
                yield coming.result()
