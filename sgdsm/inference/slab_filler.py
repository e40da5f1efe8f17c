"""Lightning modules that fill slabs, or a whole record, on the devices that the trainer chooses."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from sgdsm.core.logging import log
from sgdsm.core.region import Box
from sgdsm.data.batch import Scene
from sgdsm.inference.blend import OverlapCache, estimates, fill_packed, fill_scene
from sgdsm.inference.reader import ReadAhead, ReadSlab, SlabReader
from sgdsm.inference.schema import Layout, slab_values
from sgdsm.inference.slabs import preceding_days
from sgdsm.inference.survey import land_of
from sgdsm.inference.writers import CellMaps, Writer
from sgdsm.models.base import GapFiller

BANDS = 4  # of rows to each process, so that no process waits long for the others at the end


class SceneFiller(pl.LightningModule):
    """Fills a whole record on the device that Lightning chose.

    Args:
        filler: A fitted gap filler.
    """

    def __init__(self, filler: GapFiller) -> None:
        super().__init__()
        self.filler = filler

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # see `fill_scene`

    def predict_step(self, batch: Scene, index: int) -> dict[str, np.ndarray]:
        shape = batch.seen.shape
        axes = self.filler.window.tile(shape, batch.record.circular, filling=True)
        return fill_scene(self.filler, batch, axes, (0, 0, 0), (shape[0], shape[1], shape[2]))


class SlabFiller(pl.LightningModule):
    """Fills slabs on the devices that Lightning chose, each device its share, and writes them.

    Args:
        filler: A fitted gap filler.
        reader: Reads the slabs.
        layout: Layout of the filled file.
        plan: What identifies the output and its slabs, plain values; a writer resumes only an output of the same plan.
        writer: Destination of the slabs.
        box: The part of the cube that is filled.
        window_cells: Side of the windows that go through the filler, cells; see `fill_scene`.
    """

    def __init__(
        self,
        filler: GapFiller,
        reader: SlabReader,
        *,
        layout: Layout,
        plan: dict[str, Any],
        writer: Writer,
        box: Box,
        window_cells: int | None,
    ) -> None:
        super().__init__()
        self.filler, self.reader, self.layout, self.plan = filler, reader, layout, plan
        self.writer, self.box, self.window_cells = writer, box, window_cells
        self.allow_zero_length_dataloader_with_multiple_devices = True  # when there are fewer slabs than devices
        self.overlaps: OverlapCache = {}
        # one thread: slabs are written in order, while the next is filled
        self.writing = ThreadPoolExecutor(1)
        self.last_write: Future[None] = self.writing.submit(lambda: None)

    def predict_dataloader(self) -> DataLoader[ReadSlab]:
        slabs, world = self.reader.slabs, self.trainer.world_size
        unfinished = self._begin()
        bands = list(dict.fromkeys(slabs[number].rows for number in unfinished))
        if len(bands) >= BANDS * world:
            # whole bands of rows: then only one process makes the pass over the target of a band
            rows = set(bands[self.global_rank :: world])
            order = [k for k in unfinished if slabs[k].rows in rows]
        else:
            order = unfinished[self.global_rank :: world]
        share = set(order)
        self.reader.continued = {k for k in order if k - 1 in share and preceding_days(slabs[k], slabs)}
        return DataLoader(ReadAhead(self.reader, order), batch_size=None)

    def _begin(self) -> list[int]:
        """Return the numbers of the unfinished slabs, the same in all processes; only the first touches the output."""
        finished: set[int] | Exception = set()
        if self.trainer.is_global_zero:
            try:
                finished = self.writer.begin(self.layout, self.plan)
            except Exception as error:  # raised below, in all processes: the others would wait for it forever
                finished = error
        finished = self.trainer.strategy.broadcast(finished)
        if isinstance(finished, Exception):
            raise finished
        if not self.trainer.is_global_zero:
            self.writer.join(self.layout, self.plan)
        return self.unfinished(finished)

    def unfinished(self, finished: set[int]) -> list[int]:
        """Return the numbers of the slabs that are not among the finished ones, and log how many are finished."""
        slabs = self.reader.slabs
        unfinished = [slab.number for slab in slabs if slab.number not in finished]
        if finished and unfinished:
            log.info("resuming: %d of %d slabs are finished", len(finished), len(slabs))
        elif finished:
            log.info("all %d slabs are there already, of this run and these data", len(slabs))
        return unfinished

    def finish(self) -> None:
        """Complete the output."""
        self.writer.finish(land_of(self.reader.cube, self.reader.names)[self.box.rows, self.box.columns])

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return batch  # see `fill_packed`

    @torch.inference_mode()
    def predict_step(self, batch: ReadSlab, index: int) -> int:
        slab, columns = batch.slab, self.box.columns
        (t0, t1), (y0, y1) = slab.days, slab.rows
        begin, size = (t0, y0, columns.start), (t1 - t0, y1 - y0, columns.stop - columns.start)
        # the cache holds windows of another slab
        if slab.number not in self.reader.continued:
            self.overlaps.clear()
        axes, device = self.reader.axes, self.filler.device
        blends = fill_packed(self.filler, batch.scene, axes, begin, size, self.window_cells, self.overlaps)

        def put(values: np.ndarray) -> Tensor:
            return torch.from_numpy(values).to(device)

        variables = slab_values(
            self.layout.variables,
            self.reader.names.target,
            values=put(batch.values),
            observed=put(batch.observed),
            land=put(batch.land),
            gap_age=put(batch.gap_age),
            filled=estimates(blends, batch.cells, put(batch.wanted), self.filler),
            uncertainty=None if batch.uncertainty is None else put(batch.uncertainty),
            level=self.filler.level,
        )
        packed = {name: values.cpu().numpy() for name, values in variables.items()}
        # one write at a time: memory stays bounded, and an error of the write before is raised here
        self.last_write.result()
        layout = self.layout.variables
        maps = {
            name: CellMaps(values, batch.cells, size[1:], layout[name][2].get("_FillValue", 0))
            for name, values in packed.items()
        }
        self.last_write = self.writing.submit(self.writer.write, slab.number, maps)
        return slab.number
