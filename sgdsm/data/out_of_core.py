"""A cube that does not fit into memory, learned from in parts: boxes of days, rows and columns.

A few of them are held: their values choose, calibrate and are scored, as those of a small cube are. The others are
read one after the other, a pass of training each, the next one while one is learned from.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytorch_lightning as pl
import xarray as xr
from torch.utils.data import ConcatDataset, DataLoader

from sgdsm.core.cube import ConfigError, by_role, target_of
from sgdsm.core.region import Box
from sgdsm.data.batch import Batch
from sgdsm.data.datamodule import GapData, WindowBatches, loader

HELD = 4
IN_MEMORY = HELD + 3  # parts at a time: those held, the one that is learned from, the next one, and gaps drawn on one
YEAR = 365
ORDER = 20  # first word of the seeds


def gib_of(cube: xr.Dataset, values: int | None = None) -> float:
    """Memory in GiB that a cube takes in training, or one of its kind of so many values of the target."""
    values = target_of(cube).size if values is None else values
    return values * (40 + 9 * len(by_role(cube, "dynamic"))) / 2**30


def cut_parts(cube: xr.Dataset, window: Sequence[int | None], memory_gib: float) -> list[Box]:
    """Boxes that tile a cube, whole chunks of its file as far as memory allows, without those that have no land.

    window: days and cells that a filler looks at, None for all. memory_gib: for what is in memory of all parts.

    Raises ConfigError where a box as small as a window takes more.
    """
    target = target_of(cube)
    chunks = target.encoding.get("preferred_chunks") or {}
    values = int(memory_gib / IN_MEMORY / gib_of(cube, 1))
    least = [length if size is None else min(size, length) for size, length in zip(
        (window[0], window[1], window[1]), target.shape, strict=True
    )]  # fmt: skip
    if np.prod(least) > values:
        raise ConfigError(
            f"trainer.memory_gib={memory_gib:g}: a window of {least[0]} days and {least[1]} x {least[2]} cells, "
            f"{IN_MEMORY} times, takes {gib_of(cube, int(np.prod(least))) * IN_MEMORY:.2g}"
        )
    days = min(target.shape[0], max(2 * least[0], YEAR), values // (least[1] * least[2]))
    chunk_rows, chunk_columns = (int(chunks.get(dim, 1)) for dim in target.dims[1:])
    cells = values // days
    columns = _whole(max(int(cells**0.5), least[2]), chunk_columns, cells // least[1], target.shape[2])
    rows = _whole(cells // columns, chunk_rows, cells // columns, target.shape[1])
    days = -(-target.shape[0] // -(-target.shape[0] // days))
    land = cube[by_role(cube, "land")[0]].values.astype(bool)
    pieces = [
        [slice(begin, begin + size) for begin in range(0, length, size)]
        for length, size in zip(target.shape, (days, rows, columns), strict=True)
    ]
    return [Box(*box) for box in itertools.product(*pieces) if land[box[1], box[2]].any()]


def part_of(cube: xr.Dataset, box: Box) -> xr.Dataset:
    """The part of a cube in a box, as a cube."""
    dims = target_of(cube).dims
    part = cube.isel(dict(zip(dims, box, strict=True)))
    return part.assign_attrs(
        circular_longitude=int(part.sizes[dims[2]] == cube.sizes[dims[2]] and cube.attrs.get("circular_longitude", 0))
    )


def _whole(wanted: int, chunk: int, most: int, length: int) -> int:
    """A number of cells near `wanted` that divides an axis about evenly: whole chunks where so many fit, or a part of
    one.
    """
    for size in (max(1, wanted // chunk) * chunk, wanted):
        if size <= most:
            even = -(-length // -(-length // min(length, size)))
            whole = -(-even // chunk) * chunk
            return min(length, whole if whole <= size else even)
    return min(length, most)


class PartedData(pl.LightningDataModule):
    """Training batches of one part a pass, in random order; validation batches of the parts that are held.

    held: their data. boxes: the others, which `read` makes ready; it raises ConfigError where one has no value. Which
    part a pass learns from depends on seed and pass alone.
    """

    def __init__(
        self, held: Sequence[GapData], boxes: Sequence[Box], read: Callable[[Box], GapData], seed: int
    ) -> None:
        super().__init__()
        self.held, self.boxes, self.read, self.seed = held, boxes, read, seed
        self.reader = ThreadPoolExecutor(1)
        self.coming: tuple[int, Future[WindowBatches]] | None = None

    def batches(self, epoch: int) -> WindowBatches:
        """Of one pass; a part without a value that can be learned from, or with fewer batches than processes, gives way
        to the next."""
        processes = 1 if self.trainer is None else self.trainer.world_size
        problem = None
        count = len(self.held) + len(self.boxes)
        order = np.random.default_rng([ORDER, self.seed, epoch // count]).permutation(count).tolist()
        for number in (*order[epoch % count :], *order[: epoch % count]):
            try:
                own = number < len(self.held)
                part = self.held[number] if own else self.read(self.boxes[number - len(self.held)])
                batches = part.training_batches(epoch)
            except ConfigError as error:
                problem = error
                continue
            if len(batches) >= processes:
                return batches
        raise ConfigError(f"no part of the cube has batches for {processes} processes to learn from ({problem})")

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        if self.coming is not None and self.coming[0] == epoch:
            batches = self.coming[1].result()
        else:
            batches = self.batches(epoch)
        last = (self.trainer.max_epochs or 0) - 1
        self.coming = (epoch + 1, self.reader.submit(self.batches, epoch + 1)) if epoch < last else None
        return loader(batches, self.held[0].workers, self.trainer, even=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        batches: ConcatDataset[Batch] = ConcatDataset([data.validation_batches() for data in self.held])
        return loader(batches, self.held[0].workers, self.trainer)
