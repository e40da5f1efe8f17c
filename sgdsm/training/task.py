"""What a run learns from: the data of a configuration, dealt out, and its filler, ready to be fitted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from sgdsm.core.arguments import Recorded
from sgdsm.core.cube import by_role, repeat_cycle, seen_only, step_days, target_of
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.logging import log
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream
from sgdsm.core.region import Box
from sgdsm.core.specification import TARGET, build
from sgdsm.data.datamodule import GapData
from sgdsm.data.features import REACH_DAYS
from sgdsm.data.gaps import Gaps, is_unlike
from sgdsm.data.held_out import AnySplits
from sgdsm.data.normalization import Inputs
from sgdsm.data.out_of_core import HELD, PartedData, cut_parts, gib_of, part_of
from sgdsm.data.record import Names, Record, read_record, usable, warn_unusual
from sgdsm.data.repeat_cycle import find_repeat_cycle
from sgdsm.data.splits import All, Split
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import Writer
from sgdsm.models.auto import AnyModel, Auto
from sgdsm.models.base import GapFiller, Window
from sgdsm.models.networks.base import compile_blocks, in_bf16, use_bf16
from sgdsm.models.uncertainty.wrappers import wrap

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", "64-true", "bf16")
CUTTERS = 4  # processes that cut windows for a GPU
OVER = 4  # processes to a core, at most
TRIED = 40  # parts of a large cube that are tried


@dataclass(frozen=True)
class TrainerOptions(Recorded):
    """Settings of Lightning's trainer.

    Args:
        accelerator: As in `pytorch_lightning.Trainer`.
        devices: How many, or a list of their numbers. Several share the batches of a network's training, the members
            of an ensemble or a stack, and the slabs of a cube.
        num_nodes: As in `pytorch_lightning.Trainer`.
        precision: As in `pytorch_lightning.Trainer`; auto: bfloat16 products in networks that are faster by them at
            equal skill, where the device has instructions for them, all else in float32.
        max_epochs: In place of the epochs of the model; null for those.
        gradient_clip: Largest norm of the gradient; null for none.
        accumulate: Batches in a step of the optimizer, on each device.
        check_every: Epochs between validations; None: so many that about 12 are made.
        workers: Processes that cut windows; null: none on the CPU, up to CUTTERS with a CUDA GPU.
        memory_gib: What a cube may take in training, in GiB; a larger one is learned from in parts, one an epoch.
        compile: Whether `torch.compile` makes kernels for the blocks of a network.
        progress: Whether progress bars are shown.

    Raises:
        ConfigError: A value cannot work.
    """

    accelerator: str = "auto"
    devices: int | list[int] = 1
    num_nodes: int = 1
    precision: str = "auto"
    max_epochs: int | None = None
    gradient_clip: float | None = 1.0
    accumulate: int = 1
    check_every: int | None = None
    workers: int | None = None
    memory_gib: float = 8.0
    compile: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        for name, known in (("accelerator", ACCELERATORS), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ConfigError(f"trainer.{name}={getattr(self, name)}: expected one of {', '.join(known)}")
        if isinstance(self.devices, list) and (min(self.devices, default=0) < 0 or len({*self.devices}) < self.count):
            raise ConfigError(f"trainer.devices={self.devices}: expected their numbers, from 0, each once")
        if self.max_epochs is not None and self.max_epochs < 1:
            raise ConfigError(f"trainer.max_epochs={self.max_epochs}: expected at least 1")
        if not self.devices or (isinstance(self.devices, int) and self.devices < 1):
            raise ConfigError(
                f"trainer.devices={self.devices}: expected how many, at least 1, or a list of their numbers"
            )
        if min(self.check_every or 1, self.num_nodes, self.accumulate) < 1 or (self.workers or 0) < 0:
            raise ConfigError(
                f"trainer.check_every={self.check_every}, num_nodes={self.num_nodes}, accumulate={self.accumulate}, "
                f"workers={self.workers}: expected 1, 1, 1 and 0 or more"
            )
        if self.memory_gib <= 0:
            raise ConfigError(f"trainer.memory_gib={self.memory_gib}: expected more than 0")

    @property
    def count(self) -> int:
        """Number of devices on each node."""
        return len(self.devices) if isinstance(self.devices, list) else self.devices

    @property
    def several(self) -> bool:
        """Return True if more than one process is asked for."""
        return self.count * self.num_nodes > 1

    def check_there(self) -> None:
        """Raise ConfigError where this machine has no such accelerator or devices."""
        there = {"gpu": torch.accelerator.is_available(), "cuda": torch.cuda.is_available()}
        there["mps"] = torch.backends.mps.is_available()
        if not there.get(self.accelerator, True):
            raise ConfigError(f"trainer.accelerator={self.accelerator}: this machine has none: expected auto or cpu")
        if self.accelerator == "cpu" or not torch.accelerator.is_available():
            if isinstance(self.devices, list):
                raise ConfigError(f"trainer.devices={self.devices}: numbers are for GPUs: on the CPU say how many")
            if self.count > (cores := os.cpu_count() or 1) * OVER:
                raise ConfigError(f"trainer.devices={self.devices}: this machine has {cores} cores")
            return
        found = torch.accelerator.device_count()
        if (self.devices if isinstance(self.devices, int) else max(self.devices) + 1) > found:
            raise ConfigError(f"trainer.devices={self.devices}: this machine has {found}, numbered from 0")

    @property
    def cutters(self) -> int:
        """Number of processes that cut windows."""
        if self.workers is not None:
            return self.workers
        on_gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        return min(CUTTERS, (os.cpu_count() or 1) - 1) if on_gpu else 0

    def prepare(self, filler: GapFiller, trained: Mapping[str, Any] | None = None) -> None:
        """Make a filler compute in the precision, and with the compiled blocks, that these options ask for.

        Args:
            filler: To train, or fitted.
            trained: Values of the options of the training of a fitted filler: one that was not trained with
                precision=auto is not meant by auto here.
        """
        use_bf16(filler, self.precision == "auto" and (trained or {}).get("precision", "auto") == "auto")
        if self.compile:
            compile_blocks(filler)

    def precision_of(self, filler: GapFiller) -> str:
        """Return the precision in which a prepared filler computes on this machine, by Lightning's names."""
        if self.precision != "auto":
            return self.precision
        on_gpu = self.accelerator != "cpu" and torch.accelerator.is_available()
        kind = torch.accelerator.current_accelerator() if on_gpu else None
        return "bf16-mixed" if in_bf16(filler, "cpu" if kind is None else kind.type) else "32-true"

    def one_by_one(self) -> list[TrainerOptions]:
        """Return for each device the options of a trainer that uses it alone."""
        if isinstance(self.devices, list):
            return [replace(self, devices=[device]) for device in self.devices]
        on_cpu = self.accelerator == "cpu" or (self.accelerator == "auto" and not torch.accelerator.is_available())
        return [replace(self, devices=1 if on_cpu else [k]) for k in range(self.devices)]

    def predicting(self, several: bool = False) -> dict[str, Any]:
        """Return the arguments of a Trainer that fills.

        Args:
            several: Whether all devices are used, not the first alone.
        """
        precision = "32-true" if self.precision == "auto" else self.precision  # see `prepare`
        found = {"accelerator": self.accelerator, "precision": precision, "enable_progress_bar": self.progress}
        if several:
            return {**found, "devices": self.devices, "num_nodes": self.num_nodes}
        return {**found, "devices": self.devices[:1] if isinstance(self.devices, list) else 1}


@dataclass
class Part:
    """A cube, or a part of one, in memory, with its values split, and its windows."""

    cube: xr.Dataset
    record: Record
    split: Split
    data: GapData


@dataclass
class TrainingTask(Part):
    """What a run learns from, and the filler made for its variables.

    It is itself a part in memory, used for validation, calibration and scores: the whole cube, or one part of a large
    one.

    Attributes:
        filler: Ready to be fitted.
        options: Of the trainer.
        whole: The cube.
        others: Further parts in memory, of a large cube.
        learned: What training goes through.
        config: Plain values of `TrainingConfig`.
    """

    filler: GapFiller
    options: TrainerOptions
    whole: xr.Dataset
    others: list[Part]
    learned: GapData | PartedData
    config: dict[str, Any]

    @property
    def parts(self) -> list[Part]:
        """All parts in memory."""
        return [self, *self.others]

    @classmethod
    def from_config(cls, config: dict[str, Any], cube: xr.Dataset | None = None) -> TrainingTask:
        """Read the data of a configuration and make its filler ready to be fitted.

        Args:
            config: Plain values of `TrainingConfig`.
            cube: The data, in place of those that `config["data"]` names.

        Raises:
            CubeError: The data cannot be used.
            ConfigError: Data and configuration do not go together.
        """
        cube = usable(build(config["data"], xr.Dataset) if cube is None else cube)
        warn_unusual(cube)
        options: TrainerOptions = build(config["trainer"], TrainerOptions)
        model: AnyModel = build(config["model"], AnyModel)
        filler = model.choose(int(cube[by_role(cube, "land")[0]].sum())) if isinstance(model, Auto) else model
        held, boxes = _held_and_left(cube, filler, options, config)
        inputs = replace(_inputs(cube, held, filler, whole=not boxes), causal=config.get("causal", False))
        filler.configure(inputs)
        _check(filler, config, len(held[0].record.days))
        options.prepare(filler)
        gaps = _gaps(held[0], config)

        def windows_of(part: SplitCube) -> GapData:
            return _windows(part, filler, inputs, gaps, config["seed"], options.cutters)

        def read(box: Box) -> GapData:
            part = part_of(cube, box)
            record = read_record(part)
            known = record.observed & record.land
            return windows_of(SplitCube(part, record, Split(known, known, np.ones(len(known), bool), {})))

        parts = [Part(*part, windows_of(part)) for part in held]
        first, *others = parts
        learned: GapData | PartedData = first.data
        if boxes:
            learned = PartedData([part.data for part in parts], boxes, read, config["seed"])
        return cls(first.cube, first.record, first.split, first.data, filler, options, cube, others, learned, config)


class SplitCube(NamedTuple):
    """A cube, its arrays, and how its values are split."""

    cube: xr.Dataset
    record: Record
    split: Split


def split_cube(config: dict[str, Any]) -> SplitCube:
    """Read the data of a configuration and split its values.

    Args:
        config: Plain values of the groups `data`, `splits` and `gaps`.

    Raises:
        CubeError: The data cannot be used.
        ConfigError: Data and configuration do not go together.
    """
    cube = usable(build(config["data"], xr.Dataset))
    warn_unusual(cube)
    return _split_cube(cube, config)


def _split_cube(cube: xr.Dataset, config: dict[str, Any]) -> SplitCube:
    splits: AnySplits = build(config["splits"], AnySplits)
    record = read_record(cube)
    gaps: Gaps = build(config["gaps"], Gaps)
    return SplitCube(cube, record, splits.split(record.observed & record.land, record.days, gaps, orbit_of(cube)))


def training_values(cube: xr.Dataset, config: dict[str, Any], split: Split | None = None) -> tuple[xr.Dataset, str]:
    """Return a cube with the target values that the climatology of a near-real-time run may rest on.

    Args:
        cube: The data of the training.
        config: Plain values of the groups `splits` and `gaps`.
        split: Its split; None: it is split again.

    Returns:
        The cube, whole with splits=all, which has no test, else without the values of the other splits; and which
        values these are, in words.
    """
    if isinstance(build(config["splits"], AnySplits), All):
        return cube, "all values of the training data"
    base = (_split_cube(cube, config).split if split is None else split).base
    return seen_only(cube, base), "values of the training split"


def orbit_of(cube: xr.Dataset) -> Orbit | None:
    """Return the orbit that swath-like gaps follow; None for a grid without latitudes and longitudes."""
    return Orbit(cube["lat"].values, cube["lon"].values) if "lat" in cube.dims else None


def _hold(
    cube: xr.Dataset, window: Window, memory_gib: float, config: dict[str, Any]
) -> tuple[list[SplitCube], list[Box]]:
    """Return some parts of a large cube, split, and the boxes that are left."""
    if not build(config["splits"], AnySplits).in_parts:
        raise ConfigError(
            f"the cube takes {gib_of(cube):.3g} GiB in memory, more than trainer.memory_gib allows: it is learned from "
            "in parts, with splits=all alone; for other splits give more memory, or a smaller cube"
        )
    boxes = cut_parts(cube, (window.days, window.cells), memory_gib)
    found: dict[int, SplitCube] = {}
    problem = None
    for number in np.random.default_rng([Stream.HELD_PARTS, config["seed"]]).permutation(len(boxes)).tolist()[:TRIED]:
        if len(found) == min(HELD, max(1, len(boxes) // 2)):
            break
        try:
            found[number] = _split_cube(part_of(cube, boxes[number]), config)
        except ConfigError as error:
            problem = error
    if not found:
        raise CubeError(f"none of {min(TRIED, len(boxes))} parts of the cube can be split: {problem}")
    log.info(
        "the cube takes %.3g GiB in memory: learned from in %d parts, one an epoch; %d are held to validate "
        "and calibrate",
        gib_of(cube), len(boxes), len(found),
    )  # fmt: skip
    return list(found.values()), [box for number, box in enumerate(boxes) if number not in found]


def _held_and_left(
    cube: xr.Dataset, filler: GapFiller, options: TrainerOptions, config: dict[str, Any]
) -> tuple[list[SplitCube], list[Box]]:
    """Return what is held in memory, split, and the boxes of a large cube that are read one an epoch."""
    if gib_of(cube) <= options.memory_gib:
        return [_split_cube(cube, config)], []
    held, boxes = _hold(cube, filler.window_for(by_role(cube, "dynamic")), options.memory_gib, config)
    epochs = options.max_epochs or (0 if filler.steps else filler.epochs)
    if boxes and 0 < epochs < len(boxes):
        log.info(
            "%d epochs see %d of the parts: a larger model.epochs (of trees model.gap_draws) sees more", epochs, epochs
        )
    return held, boxes


def _gaps(part: SplitCube, config: dict[str, Any]) -> Gaps:
    """Return how training draws gaps; whether they are weighed is decided on the first draw."""
    gaps: Gaps = build(config["gaps"], Gaps)
    if gaps.match == "auto":
        draw = part.split.training(gaps, config["seed"], 0, orbit_of(part.cube), 1)
        gaps.match = is_unlike(draw.all_hidden, draw.seen, part.record.observed, part.record.land)
        if gaps.match:
            log.info(
                "most gaps lie in time otherwise than the values that can be hidden: training weighs these to be "
                "alike; gaps.match=false turns this off"
            )
    return gaps


def _windows(part: SplitCube, filler: GapFiller, inputs: Inputs, gaps: Gaps, seed: int, workers: int) -> GapData:
    record = part.record
    axes = filler.window.tile(record.values.shape, record.circular)
    return GapData(
        record,
        inputs,
        part.split,
        gaps,
        axes,
        filler.batch_size,
        seed=seed,
        cores=filler.trains_on_cores,
        orbit=orbit_of(part.cube),
        workers=workers,
    )


def _inputs(cube: xr.Dataset, held: Sequence[SplitCube], filler: GapFiller, whole: bool) -> Inputs:
    target = target_of(cube)
    cycle = repeat_cycle(cube)
    if cycle is None:
        cycle = _find_cycle(held[0], step_days(cube["time"])) if filler.uses_repeat_cycle else 0
    return Inputs.fit_parts(
        [(part.record, part.split.base) for part in held],
        Names.of(cube),
        target.attrs.get("units", "1"),
        step_days(cube["time"]),
        "train",
        cycle,
        whole,
    )


def _find_cycle(part: SplitCube, step: int) -> int:
    """Return the repeat cycle that training values show, steps, or 0."""
    cycle = find_repeat_cycle(part.record.values, part.split.base, REACH_DAYS)
    if cycle:
        log.info(
            "the values change in a cycle of %d days, as the orbit repeats: the model uses it to foretell the product; "
            "data.repeat_cycle_days=0 turns this off",
            cycle * step,
        )
    return cycle


def _check(filler: GapFiller, config: dict[str, Any], days: int) -> None:
    """Refuse now what would fail after hours of training, and log what is not used."""
    if (config.get("uncertainty") or {}).get(TARGET) is not None:
        wrap(config["uncertainty"], filler)
    cycle = filler.inputs.repeat_cycle
    if cycle > REACH_DAYS:
        raise ConfigError(f"data.repeat_cycle_days: expected at most {REACH_DAYS} maps, found {cycle}")
    if cycle and not filler.uses_repeat_cycle:
        log.info("%s makes no use of data.repeat_cycle_days", type(filler).__name__)
    if filler.window.days is not None and filler.window.days > days:
        log.info("the record of %d days is shorter than a window of %d: one window", days, filler.window.days)


def fill_scenario(part: Part, filler: GapFiller, split: str, output: Writer, trainer: dict[str, Any]) -> None:
    """Fill the values that a split hides, from those that it leaves visible.

    Args:
        part: Of the cube, in memory.
        filler: Fitted.
        split: Its name: 'validation', 'calibration' or 'test'.
        output: Where the filled values go.
        trainer: As in `fill_cube`.
    """
    scenario = part.split.scenarios[split]
    fill_cube(
        seen_only(part.cube, scenario.seen),
        filler,
        output,
        climatology_from=seen_only(part.cube, scenario.known),
        wanted_days=np.asarray(scenario.all_hidden.any((1, 2))),
        trainer=trainer,
    )
