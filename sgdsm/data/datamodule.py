"""The Lightning data module: the only place where a cube becomes batches of tensors for training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, Subset

from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream
from sgdsm.core.tiling import Axis, cut
from sgdsm.data.batch import Batch, Scene
from sgdsm.data.gaps import Gaps, like_gaps
from sgdsm.data.normalization import CellStatistics, Inputs
from sgdsm.data.record import Record
from sgdsm.data.splits import Scenario, Split


class WindowBatches(Dataset[Batch]):
    """Batches of the windows of one scene; order and contents are fixed before any worker process starts.

    Args:
        scene: The record and its scenario.
        windows: First day, row and column of each window.
        axes: Tiling, for the sizes of the windows.
        batch_size: Windows in a batch.
        cores: Want only values in the cores of the windows.
    """

    def __init__(
        self,
        scene: Scene,
        windows: Sequence[tuple[int, int, int]],
        axes: Sequence[Axis],
        batch_size: int,
        cores: bool,
    ) -> None:
        self.scene, self.windows, self.axes, self.batch_size, self.cores = scene, windows, axes, batch_size, cores

    def __len__(self) -> int:
        return -(-len(self.windows) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < len(self):
            raise IndexError(index)
        starts = self.windows[index * self.batch_size : (index + 1) * self.batch_size]
        return self.scene.batch(starts, self.axes, self.cores)


class GapData(pl.LightningDataModule):
    """Training and validation batches of a record in memory.

    Each epoch draws new gaps and takes the cells' climatology from what is then seen. All random numbers come from
    (seed, epoch), so neither the number of workers nor an interruption changes them.

    Args:
        record: The arrays of a cube.
        inputs: What the filler is fitted for, with its scalers.
        split: Which values are for training, and the fixed scenarios.
        gaps: How training draws gaps.
        axes: Tiling for the filler's window.
        batch_size: Windows in a batch.
        seed: Of gaps and order.
        cores: Train on the values in the cores of windows only.
        orbit: Orbit over the grid, for simulated swaths.
        workers: Processes that cut windows.
    """

    def __init__(
        self,
        record: Record,
        inputs: Inputs,
        split: Split,
        gaps: Gaps,
        axes: Sequence[Axis],
        batch_size: int = 1,
        *,
        seed: int = 0,
        cores: bool = False,
        orbit: Orbit | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.split, self.gaps, self.axes, self.batch_size = split, gaps, axes, batch_size
        self.seed, self.cores, self.orbit, self.workers = seed, cores, orbit, workers
        climatology = CellStatistics.of(record.values, split.base, record.days).solve()
        # covariates are scaled once; each epoch only changes masks and climatology
        self.scene = Scene.of(record, inputs, split.base, np.zeros_like(split.base), climatology)
        self.reliability = reliability(record, split.base, inputs.anomaly_scale)
        self._validation: WindowBatches | None = None

    def retiled(self, axes: Sequence[Axis], batch_size: int, cores: bool) -> GapData:
        """Return the same data and draws for the windows of another filler.

        Args:
            axes: Its tiling.
            batch_size: Windows in a batch.
            cores: Train on the values in the cores of windows only.
        """
        # shallow: members of an ensemble share the arrays
        other = copy.copy(self)
        other.axes, other.batch_size, other.cores, other._validation = axes, batch_size, cores, None
        return other

    def scene_of(self, scenario: Scenario) -> Scene:
        """Return the record under a scenario, its hidden values wanted."""
        return self.scene.again(scenario.seen, scenario.all_hidden, scenario.known)

    def training_batches(self, epoch: int) -> WindowBatches:
        """Return the batches of one epoch: windows that tile the record from a random origin, in random order.

        Windows with very few hidden values are left out.

        Args:
            epoch: Number of the epoch; the same number gives the same batches.

        Raises:
            ConfigError: When no window holds a hidden value.
        """
        # windows that estimate one day only may see all observations of their other days
        apart = self.axes[0].size if self.cores and self.axes[0].stride == 1 else 1
        scenario = self.split.training(self.gaps, self.seed, epoch, self.orbit, apart)
        scene = self.scene_of(scenario)
        weight = self._weights(scene)
        if self.reliability is not None:
            weight = self.reliability if weight is None else weight * self.reliability
        scene = replace(scene, weight=weight)
        # drawn here and not in the workers, so that their number does not matter
        rng = np.random.default_rng([Stream.WINDOW_ORDER, self.seed, epoch])
        # from a random origin, so that no cell lies at the edge of a window in every epoch
        axes = self.axes if self.cores else [replace(axis, margin=0, exact=True) for axis in self.axes]
        origin = [0 if axis.size >= axis.length else int(rng.integers(0, axis.stride)) for axis in axes]
        windows = windows_with(scene.wanted, axes, origin)
        order = rng.permutation(len(windows))
        return WindowBatches(scene, [windows[k] for k in order], axes, self.batch_size, self.cores)

    def train_dataloader(self) -> DataLoader[Batch]:
        epoch = self.trainer.current_epoch if self.trainer is not None else 0
        return loader(self.training_batches(epoch), self.workers, self.trainer, even=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        return loader(self.validation_batches(), self.workers, self.trainer)

    def validation_batches(self) -> WindowBatches:
        """Return the windows of the validation scenario that hold hidden values; always the same."""
        if self._validation is None:
            scene = self.scene_of(self.split.scenarios["validation"])
            weight = self._weights(scene)
            if weight is not None:
                # values are sampled by their weights, so that no filler needs weights in its score
                rng = np.random.default_rng([Stream.GAP_MATCHING, self.seed])
                scene = replace(scene, wanted=scene.wanted & (rng.random(weight.shape, np.float32) < weight))
            windows = windows_with(scene.wanted, self.axes, [0, 0, 0], share=0.0)
            self._validation = WindowBatches(scene, windows, self.axes, self.batch_size, True)
        return self._validation

    def _weights(self, scene: Scene) -> np.ndarray | None:
        if self.gaps.match is not True:  # 'auto' is decided by the task, once for all parts of a cube
            return None
        return like_gaps(scene.wanted, scene.seen, scene.record.observed, scene.record.land)


def loader(batches: Dataset[Batch], workers: int, trainer: pl.Trainer | None, even: bool = False) -> DataLoader[Batch]:
    """Return a loader of this process's share of the batches.

    Args:
        batches: All batches.
        workers: Processes that make batches.
        trainer: Gives rank and number of processes; None: a single process.
        even: Give each process the same number of batches; up to (number of processes - 1) batches are left out.

    Raises:
        ConfigError: When there are fewer batches than processes.
    """
    rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
    available = len(batches)  # type: ignore[arg-type]
    count = available // world * world if even else available
    if available < world:
        raise ConfigError(
            f"there are {available} batches, to learn from or for validation: too few for {world} processes"
        )
    share: Dataset[Batch] = batches if world == 1 else Subset(batches, range(rank, count, world))
    # pinned memory makes copies to a GPU asynchronous
    pinned = trainer is not None and trainer.strategy.root_device.type == "cuda"
    return DataLoader(share, batch_size=None, shuffle=False, num_workers=workers, pin_memory=pinned)


def reliability(record: Record, known: np.ndarray, scale: float) -> np.ndarray | None:
    """Return the training weights that follow from the product's own uncertainty u: scale^2 / (scale^2 + u^2).

    Args:
        record: The arrays of a cube.
        known: Values whose median weight is used where u is missing, (T, H, W) bool.
        scale: Standard deviation of the anomalies, in the target's units.

    Returns:
        Weights from 0 to 1, (T, H, W) float32; None if no uncertainty is known.
    """
    if record.uncertainty is None:
        return None
    # inverse of the variance of signal and retrieval error together, scaled to 1 without error
    weights = 1 / (1 + np.square(record.uncertainty / np.float32(scale)))
    finite = np.isfinite(weights)
    if not (finite & known).any():
        return None
    complete: np.ndarray = np.where(finite, weights, np.median(weights[finite & known])).astype(np.float32)
    return complete


def windows_with(
    wanted: np.ndarray, axes: Sequence[Axis], origin: Sequence[int], share: float = 0.1
) -> list[tuple[int, int, int]]:
    """Return the starts of the windows that tile a record and hold wanted values.

    Args:
        wanted: Values to estimate, (T, H, W) bool.
        axes: Tiling of days, rows and columns.
        origin: By how many cells the tiling is moved back on each axis.
        share: Windows are left out that have fewer wanted values than this share of the mean of the windows with any.

    Returns:
        First day, row and column of each window.

    Raises:
        ConfigError: When there is no such window.
    """
    starts = []
    for axis, back in zip(axes, origin, strict=True):
        shifted = [s - back for s in axis.starts()]
        # one more window at the end makes up for the shift; on a circle the last one covers the start
        if back and not axis.circular:
            shifted.append(shifted[-1] + axis.stride)
        starts.append(shifted)
    windows = [(t, y, x) for t in starts[0] for y in starts[1] for x in starts[2]]
    sizes = [axis.size for axis in axes]
    core = [slice(axis.margin, axis.size - axis.after) if axis.exact else slice(None) for axis in axes]
    counts = np.array([
        np.count_nonzero(cut(wanted, window, sizes, axes[2].circular)[tuple(core)]) for window in windows
    ])  # fmt: skip
    if not counts.any():
        raise ConfigError("no window holds a hidden value: the gaps drawn are too few for this cube")
    enough = max(1.0, share * counts[counts > 0].mean())
    return [window for window, count in zip(windows, counts, strict=True) if count >= enough]
