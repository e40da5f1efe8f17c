"""Training on a cube that does not fit into memory, in parts: boxes of days, rows and columns.

A few of the parts are held in memory: validation, calibration and scores use their values, as for a small cube. The
others are read one after the other, one for each epoch; the next one is read while one is trained on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytorch_lightning as pl
import xarray as xr
from torch.utils.data import ConcatDataset, DataLoader

from sgdsm.core.cube import by_role, target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.random import Stream
from sgdsm.core.region import Box
from sgdsm.data.batch import Batch
from sgdsm.data.datamodule import GapData, WindowBatches, loader

HELD = 4  # parts kept in memory for validation, calibration and scores
IN_MEMORY = HELD + 3  # parts at a time: those held, the one trained on, the next one, and the mask samples of one
YEAR = 365  # days; a part as long as a year has every season


def gib_of(cube: xr.Dataset, values: int | None = None) -> float:
    """Return the memory that a cube takes in training, GiB.

    Args:
        cube: A cube.
        values: Number of values of the target (default: all of the cube).
    """
    values = target_of(cube).size if values is None else values
    return values * (40 + 9 * len(by_role(cube, "dynamic"))) / 2**30


def cut_parts(cube: xr.Dataset, window: Sequence[int | None], memory_gib: float) -> list[Box]:
    """Return boxes that tile a cube, without those that have no land.

    A box is made of whole chunks of the file as far as memory allows.

    Args:
        cube: A cube.
        window: Days and cells of a filler's window, None for all.
        memory_gib: Memory for everything that is kept of all parts at a time, GiB.

    Returns:
        Boxes of days, rows and columns.

    Raises:
        ConfigError: When a box as small as a window takes more memory.
    """
    target = target_of(cube)
    chunks = target.encoding.get("preferred_chunks") or {}
    # values of the target in one part
    values = int(memory_gib / IN_MEMORY / gib_of(cube, 1))
    least = [length if size is None else min(size, length) for size, length in zip(
        (window[0], window[1], window[1]), target.shape, strict=True
    )]  # fmt: skip
    # several parts are in memory at once, each at least a window
    if np.prod(least) > values:
        raise ConfigError(
            f"trainer.memory_gib={memory_gib:g}: a window of {least[0]} days and {least[1]} x {least[2]} cells, "
            f"{IN_MEMORY} times, takes {gib_of(cube, int(np.prod(least))) * IN_MEMORY:.2g}"
        )
    # a year if memory allows, so that a part knows every season
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
    """Return the part of a cube in a box, as a cube."""
    dims = target_of(cube).dims
    part = cube.isel(dict(zip(dims, box, strict=True)))
    return part.assign_attrs(
        circular_longitude=int(part.sizes[dims[2]] == cube.sizes[dims[2]] and cube.attrs.get("circular_longitude", 0))
    )


def _whole(wanted: int, chunk: int, most: int, length: int) -> int:
    """Return a number of cells near `wanted` that divides an axis into about equal pieces.

    It is a number of whole chunks if so many fit, or else a part of one.
    """
    for size in (max(1, wanted // chunk) * chunk, wanted):
        if size <= most:
            # as few pieces as this size needs, of equal size
            even = -(-length // -(-length // min(length, size)))
            whole = -(-even // chunk) * chunk
            return min(length, whole if whole <= size else even)
    return min(length, most)


class PartedData(pl.LightningDataModule):
    """Training batches of one part for each epoch, in random order; validation batches of the parts that are held.

    Which part an epoch uses depends on seed and epoch alone.

    Args:
        held: Data of the parts that are held in memory.
        boxes: The other parts.
        read: Reads one of them; raises ConfigError if it has no value.
        seed: Of the order.
    """

    def __init__(
        self, held: Sequence[GapData], boxes: Sequence[Box], read: Callable[[Box], GapData], seed: int
    ) -> None:
        super().__init__()
        self.held, self.boxes, self.read, self.seed = held, boxes, read, seed
        self.reader = ThreadPoolExecutor(1)
        self.coming: tuple[int, Future[WindowBatches]] | None = None

    def batches(self, epoch: int) -> WindowBatches:
        """Return the training batches of an epoch.

        A part is skipped if it has no value to train on, or fewer batches than there are processes.

        Args:
            epoch: Number of the epoch.

        Raises:
            ConfigError: When no part has enough batches.
        """
        processes = 1 if self.trainer is None else self.trainer.world_size
        problem = None
        count = len(self.held) + len(self.boxes)
        # every part once in as many epochs as there are parts
        order = np.random.default_rng([Stream.PART_ORDER, self.seed, epoch // count]).permutation(count).tolist()
        for number in (*order[epoch % count :], *order[: epoch % count]):
            try:
                is_held = number < len(self.held)
                part = self.held[number] if is_held else self.read(self.boxes[number - len(self.held)])
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
        # the next part is read while this one is trained on
        last = (self.trainer.max_epochs or 0) - 1
        self.coming = (epoch + 1, self.reader.submit(self.batches, epoch + 1)) if epoch < last else None
        return loader(batches, self.held[0].workers, self.trainer, even=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        batches: ConcatDataset[Batch] = ConcatDataset([data.validation_batches() for data in self.held])
        return loader(batches, self.held[0].workers, self.trainer)
