"""Filling a cube slab by slab: memory is one slab, whatever the number of years.

A slab is a box in time and in rows (all columns); while one is filled, the next is read and the last is written.
Several processes (Lightning's devices and num_nodes) share the slabs and fill one output. Slabs of the same rows follow
each other; before the first of them, one pass over the target of these rows gathers what every slab needs to know of
the whole record: the climatology of the cells, and the last seen value before and the first after each slab. So the
result does not depend on the slabs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import pytorch_lightning as pl
import xarray as xr
from torch.utils.data import DataLoader, Dataset, IterableDataset

from sgdsm.core.cube import CubeError, by_role, log, target_of, uncertainty_of
from sgdsm.core.matching import in_units_of, warn_ranges
from sgdsm.core.region import Box
from sgdsm.core.tiling import Axis
from sgdsm.data.batch import Scene, ages, check_cap
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, Record, day_numbers, read_record
from sgdsm.inference.blend import Tails, fill_scene
from sgdsm.inference.schema import Layout, layout, slab_values
from sgdsm.inference.survey import Surveyor, land_of
from sgdsm.models.base import GapFiller, interruptible, quiet_lightning

BANDS = 4  # of rows to each process, so that none waits long for the others
QUIET = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}


class Slab(NamedTuple):
    """Days and rows of a cube, begin and end, that are filled together."""

    number: int
    days: tuple[int, int]
    rows: tuple[int, int]


class Writer(Protocol):
    """Where slabs go; see `sgdsm.inference.writers`."""

    def begin(self, shape: Layout, plan: dict[str, Any]) -> set[int]:
        """Prepare the output; numbers of the slabs that an interrupted run has finished."""

    def write(self, slab: int, values: dict[str, np.ndarray]) -> None:
        """Store the variables of one slab of the plan, whole or not at all."""

    def join(self, shape: Layout, plan: dict[str, Any]) -> None:
        """As `begin`, in a further process, after the first has begun."""

    def finish(self, land: np.ndarray) -> None:
        """Complete the output."""


def fill_cube(
    cube: xr.Dataset,
    filler: GapFiller,
    writer: Writer,
    *,
    trainer: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Fill the gaps of a cube and hand the result to a writer.

    trainer: arguments of `pytorch_lightning.Trainer` (accelerator, devices, precision...). settings: those of
    `plan_filling`, which says what is raised too.
    """
    module = plan_filling(cube, filler, writer, **settings)
    quiet_lightning()
    runner = pl.Trainer(**{**QUIET, **(trainer or {})}, use_distributed_sampler=False)
    try:
        with interruptible():
            runner.predict(module, return_predictions=False)
    finally:
        module.writing.shutdown(wait=True)
    module.last_write.result()
    runner.strategy.barrier()
    if runner.is_global_zero:
        module.finish()


def plan_filling(
    cube: xr.Dataset,
    filler: GapFiller,
    writer: Writer,
    *,
    source: str = "sgdsm",
    identity: str = "",
    box: Box | None = None,
    climatology_from: xr.Dataset | None = None,
    wanted_days: np.ndarray | None = None,
    max_gap_days: int | None = None,
    memory_gib: float = 1.0,
    window_cells: int | None = None,
) -> SlabFiller:
    """What fills the slabs of a cube, one by one; nothing is written yet.

    cube: what the filler may see. identity: of filler and data; an interrupted output goes on only where it is the
    same. box: the part to fill (default: all); what lies around it is looked at. climatology_from: a cube on the same
    grid whose values give the climatology of the cells (default: `cube`). wanted_days: (T,) bool, days to fill
    (default: all); on the others gaps stay NaN. max_gap_days: values farther from the nearest observation of their cell
    stay NaN. memory_gib: for one slab, of which two are in memory. window_cells: side of the windows that go through
    the filler, see `fill_scene`.

    Raises CubeError where the cube lacks what the filler was fitted for, ConfigError where max_gap_days is no cap.
    """
    check_cap(max_gap_days)
    inputs = filler.inputs
    cube, names = match(cube, inputs)
    warn_ranges(cube, inputs.ranges)
    target = cube[names.target]
    circular = bool(cube.attrs.get("circular_longitude", 0))
    axes = filler.window.tile(target.shape, circular, filling=True)
    whole = Box(*(slice(0, length) for length in target.shape))
    box = whole if box is None else box
    slabs = plan_slabs(axes, len(inputs.dynamic) + (names.uncertainty is not None), memory_gib, box)
    shape = layout(cube, filler.error_bars, source, box, max_gap_days)
    plan = {
        "identity": identity,
        "box": [[part.start, part.stop] for part in box],
        # in the output, whose first day and row are those of the box
        "slabs": [[[e - part.start for e in edges] for edges, part in zip(s[1:], box, strict=False)] for s in slabs],
        **({} if max_gap_days is None else {"max_gap_days": max_gap_days}),
    }
    days = np.ones(target.shape[0], bool) if wanted_days is None else wanted_days
    # before anything is written: here bad data are found
    boxes = [_reach(axes[0], slab.days, before) for slab in slabs for before in (None, _before(slab, slabs))]
    surveyor = Surveyor(cube, names, inputs, boxes, climatology_from)
    task = SlabTask(cube, names, inputs, axes, slabs, surveyor, days, max_gap_days)
    return SlabFiller(filler, task, shape, plan, writer, box, window_cells)


def fill_whole(filler: GapFiller, scene: Scene, trainer: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
    """Fill what is wanted of a whole record in memory, as `fill_cube` would; the fields of `fill_scene`."""
    quiet_lightning()
    runner = pl.Trainer(**{**QUIET, **(trainer or {})})
    with interruptible():
        found = runner.predict(_SceneFiller(filler), DataLoader([scene], batch_size=None))  # type: ignore[arg-type]
    fields: dict[str, np.ndarray] = found[0]  # type: ignore[index, assignment]
    return fields


def match(cube: xr.Dataset, inputs: Inputs) -> tuple[xr.Dataset, Names]:
    """A cube in the units that a filler was fitted in, and the variables that it was fitted for.

    Raises CubeError where one is missing, where its units do not convert, and where the steps differ.
    """
    target = target_of(cube)
    for role, wanted in {"dynamic": inputs.dynamic, "static": inputs.static}.items():
        missing = [n for n in wanted if n not in by_role(cube, role)]
        if missing:
            raise CubeError(f"the run was trained with {role} {list(wanted)}; the cube lacks {missing}")
    steps = np.diff(day_numbers(target["time"]))
    if steps.size and steps[0] != inputs.step_days:
        raise CubeError(
            f"the cube has a map every {steps[0]} days, the run was trained on one every {inputs.step_days}"
        )
    known = dict(inputs.variable_units)
    moisture = known.pop(inputs.target, inputs.units)
    cube = in_units_of(cube, {**dict.fromkeys(_moisture(cube), moisture), **known}, "training")
    land, error = by_role(cube, "land")[0], uncertainty_of(cube)
    return cube, Names(str(target.name), inputs.dynamic, inputs.static, land, inputs.precipitation, error)


def _moisture(cube: xr.Dataset) -> list[str]:
    """The target, and its uncertainty where there is one."""
    return [*by_role(cube, "target"), *by_role(cube, "uncertainty")]


def plan_slabs(axes: Sequence[Axis], covariates: int, memory_gib: float, box: Box) -> list[Slab]:
    """Cut a box of a cube into slabs that hold as many windows as the memory allows, at least one row of them."""
    days, rows, columns = axes
    values = memory_gib * 2**30 / (40 + 9 * covariates) / columns.length

    def pieces(axis: Axis, part: slice, most: float) -> list[tuple[int, int]]:
        length = part.stop - part.start
        if axis.size >= axis.length:
            return [(part.start, part.stop)]
        windows = max(1, int((most - 2 * axis.margin) // axis.stride))
        count = math.ceil(length / (windows * axis.stride))
        step = math.ceil(length / count / axis.stride) * axis.stride
        return [(b, min(b + step, part.stop)) for b in range(part.start, part.stop, step)]

    time = pieces(days, box.days, values / rows.length)
    longest = days.length if days.size >= days.length else max(e - b for b, e in time) + 2 * days.margin
    boxes = [(t, y) for y in pieces(rows, box.rows, values / longest) for t in time]
    return [Slab(number, t, y) for number, (t, y) in enumerate(boxes)]


class SlabTask(Dataset[tuple[Slab, Scene]]):
    """Reads slabs: the records with their surroundings, ready for windows.

    continued: numbers of slabs that follow the one of the days before at once, so that windows of that one need not be
    read again.
    """

    def __init__(
        self,
        cube: xr.Dataset,
        names: Names,
        inputs: Inputs,
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
        self.told: set[str] = set()

    def __len__(self) -> int:
        return len(self.slabs)

    def __getitem__(self, index: int) -> tuple[Slab, Scene]:
        slab = self.slabs[index]
        before = _before(slab, self.slabs) if index in self.continued else None
        days, rows = _reach(self.axes[0], slab.days, before), _reach(self.axes[1], slab.rows)
        record = read_record(self.cube, self.names, days, rows)
        self._tell_gappy(record)
        overview = self.surveyor.overview(rows)
        # as in training: what lies off land passes through, and is not looked at
        seen = record.observed & record.land
        age = ages(seen, record.days, overview.before[days.start], overview.after[days.stop])
        wanted = record.land & ~record.observed & self.wanted_days[days][:, None, None]
        if self.max_gap_days is not None:
            wanted &= age <= self.max_gap_days
        return slab, Scene.of(record, self.inputs, seen, wanted, overview.climatology, age)

    def _tell_gappy(self, record: Record) -> None:
        for name, values in zip(self.inputs.dynamic, record.dynamic, strict=True):
            missing = np.isnan(values[:, record.land])
            if name in self.told or not missing.any():
                continue
            if missing.all():
                log.info("covariate '%s' is missing everywhere (in some part of the cube): filled without it", name)
            elif name not in self.inputs.gappy:
                log.info("covariate '%s' has gaps here and had none in training: filled without it there", name)
            else:
                continue
            self.told.add(name)


class _Ahead(IterableDataset[tuple[Slab, Scene]]):
    """Items of a dataset in their order; the next one is read while one is used."""

    def __init__(self, items: SlabTask, order: Sequence[int]) -> None:
        self.items, self.order = items, order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Slab, Scene]]:
        with ThreadPoolExecutor(1) as reader:
            coming: Future[tuple[Slab, Scene]] | None = None
            for number in self.order:
                ready, coming = coming, reader.submit(self.items.__getitem__, number)
                if ready is not None:
                    yield ready.result()
            if coming is not None:
                yield coming.result()


class _SceneFiller(pl.LightningModule):
    """Fills a whole record on the device that Lightning chose."""

    def __init__(self, filler: GapFiller) -> None:
        super().__init__()
        self.filler = filler

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch

    def predict_step(self, batch: Scene, index: int) -> dict[str, np.ndarray]:
        shape = batch.seen.shape
        axes = self.filler.window.tile(shape, batch.record.circular, filling=True)
        return fill_scene(self.filler, batch, axes, (0, 0, 0), (shape[0], shape[1], shape[2]))


class SlabFiller(pl.LightningModule):
    """Fills slabs on the devices that Lightning chose, each its share, and writes them."""

    def __init__(
        self,
        filler: GapFiller,
        task: SlabTask,
        shape: Layout,
        plan: dict[str, Any],
        writer: Writer,
        box: Box,
        window_cells: int | None,
    ) -> None:
        super().__init__()
        self.filler, self.task, self.shape, self.plan = filler, task, shape, plan
        self.writer, self.box, self.window_cells = writer, box, window_cells
        self.allow_zero_length_dataloader_with_multiple_devices = True  # where there are fewer slabs than devices
        self.tails: Tails = {}
        self.writing = ThreadPoolExecutor(1)
        self.last_write: Future[None] = self.writing.submit(lambda: None)

    def predict_dataloader(self) -> DataLoader[tuple[Slab, Scene]]:
        left, world = self._begin(), self.trainer.world_size
        bands = list(dict.fromkeys(self.task.slabs[number].rows for number in left))
        if len(bands) >= BANDS * world:
            # rows are looked through by one process alone
            rows = set(bands[self.global_rank :: world])
            order = [k for k in left if self.task.slabs[k].rows in rows]
        else:
            order = left[self.global_rank :: world]
        mine = set(order)
        self.task.continued = {k for k in order if k - 1 in mine and _before(self.task.slabs[k], self.task.slabs)}
        return DataLoader(_Ahead(self.task, order), batch_size=None)

    def _begin(self) -> list[int]:
        """Numbers of the slabs that are left, the same in all processes; only the first touches the output."""
        found: set[int] | Exception = set()
        if self.trainer.is_global_zero:
            try:
                found = self.writer.begin(self.shape, self.plan)
            except Exception as error:  # raised below, in all processes: the others would wait for it forever
                found = error
        found = self.trainer.strategy.broadcast(found)
        if isinstance(found, Exception):
            raise found
        if not self.trainer.is_global_zero:
            self.writer.join(self.shape, self.plan)
        return self.left(found)

    def left(self, found: set[int]) -> list[int]:
        """Numbers of the slabs that are not among those found finished."""
        slabs = self.task.slabs
        left = [slab.number for slab in slabs if slab.number not in found]
        if found and left:
            log.info("going on: %d of %d slabs are finished", len(found), len(slabs))
        elif found:
            log.info("all %d slabs are there already, of this run and these data", len(slabs))
        return left

    def finish(self) -> None:
        """Complete the output."""
        self.writer.finish(land_of(self.task.cube, self.task.names)[self.box.rows, self.box.columns])

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # a slab stays in main memory, its windows go to the device one by one

    def predict_step(self, batch: tuple[Slab, Scene], index: int) -> int:
        slab, scene = batch
        record, columns = scene.record, self.box.columns
        (t0, t1), (y0, y1) = slab.days, slab.rows
        begin, size = (t0, y0, columns.start), (t1 - t0, y1 - y0, columns.stop - columns.start)
        if slab.number not in self.task.continued:
            self.tails.clear()
        filled = fill_scene(self.filler, scene, self.task.axes, begin, size, self.window_cells, self.tails)
        days = slice(t0 - record.start[0], t1 - record.start[0])
        rows = slice(y0 - record.start[1], y1 - record.start[1])
        values, observed, age = (a[days, rows, columns] for a in (record.values, record.observed, scene.gap_age))
        land = record.land[rows, columns]
        uncertainty = None if record.uncertainty is None else record.uncertainty[days, rows, columns]
        level = self.filler.level
        found = slab_values(
            self.shape.variables, self.task.names.target, values, observed, land, age, filled, uncertainty, level
        )
        # the one before is in its place, or its error is told
        self.last_write.result()
        self.last_write = self.writing.submit(self.writer.write, slab.number, found)
        return slab.number


def _reach(axis: Axis, part: tuple[int, int], before: tuple[int, int] | None = None) -> slice:
    """The cells that the windows of a part look at, without those windows that the part before has filled."""
    done = set() if before is None else set(axis.starts_for(*before))
    starts = [start for start in axis.starts_for(*part) if start not in done]
    first, last = (starts[0], starts[-1] + axis.size) if starts else part
    return slice(max(0, min(part[0], first)), min(axis.length, max(part[1], last)))


def _before(slab: Slab, slabs: Sequence[Slab]) -> tuple[int, int] | None:
    """The days of the slab before, where it has the same rows."""
    other = slabs[slab.number - 1] if slab.number else slab
    return other.days if other.rows == slab.rows and other.days[1] == slab.days[0] else None
