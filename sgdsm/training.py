"""Fitting a filler: one trainer for networks, trees and methods that learn nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
import xarray as xr
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from sgdsm.build import TARGET, build
from sgdsm.correlation import positions
from sgdsm.cube import ConfigError, log, repeat_cycle, seen_only, step_days, target_of
from sgdsm.data.batch import Batch, Scene
from sgdsm.data.gaps import Gaps
from sgdsm.data.module import GapData, windows_with
from sgdsm.data.record import Names, Record, read_record, tell_of, usable
from sgdsm.data.rows import REACH_DAYS
from sgdsm.data.scaling import Inputs
from sgdsm.data.splits import All, Blocks, Random, Split
from sgdsm.inference.stream import Writer, fill_cube, fill_whole
from sgdsm.models.base import GapFiller, Window, interruptible, quiet_lightning
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.conformal import Conformal, Judged
from sgdsm.models.stack import Stack
from sgdsm.models.uncertainty import wrap
from sgdsm.sources.orbit import Orbit
from sgdsm.windows import cut

SOME, KNOWN = 10_000, 17  # values for the area of applicability, first word of their seed
LAST, BEST, SECONDS = "last.ckpt", "best.pt", "fit_seconds.txt"


@dataclass(frozen=True)
class TrainerOptions:
    """Lightning's trainer, as far as it is ours to set.

    accelerator, devices, num_nodes, precision: as in `pytorch_lightning.Trainer`; several devices share the batches of
    a network's training, and the slabs of a cube. max_epochs: in place of the model's passes. gradient_clip: largest
    norm of the gradient; null for none. accumulate: batches in a step of the optimizer, on each device. check_every:
    epochs between validations. workers: processes that cut windows. progress: bars.
    """

    accelerator: str = "auto"
    devices: int | list[int] = 1
    num_nodes: int = 1
    precision: str = "32-true"
    max_epochs: int | None = None
    gradient_clip: float | None = 1.0
    accumulate: int = 1
    check_every: int = 1
    workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.max_epochs is not None and self.max_epochs < 1:
            raise ConfigError(f"trainer.max_epochs={self.max_epochs}: expected at least 1")
        if not self.devices or (isinstance(self.devices, int) and self.devices < 1):
            raise ConfigError(
                f"trainer.devices={self.devices}: expected how many, at least 1, or a list of their numbers"
            )
        if min(self.check_every, self.num_nodes, self.accumulate) < 1 or self.workers < 0:
            raise ConfigError(
                f"trainer.check_every={self.check_every}, num_nodes={self.num_nodes}, accumulate={self.accumulate}, "
                f"workers={self.workers}: expected 1, 1, 1 and 0 or more"
            )

    @property
    def several(self) -> bool:
        """Whether more than one process is asked for."""
        count = len(self.devices) if isinstance(self.devices, list) else self.devices
        return count * self.num_nodes > 1

    def predicting(self, several: bool = False) -> dict[str, Any]:
        """Arguments of a Trainer that fills; several: with all devices, not the first alone."""
        found = {"accelerator": self.accelerator, "precision": self.precision, "enable_progress_bar": self.progress}
        if several:
            return {**found, "devices": self.devices, "num_nodes": self.num_nodes}
        return {**found, "devices": self.devices[:1] if isinstance(self.devices, list) else 1}


@dataclass
class Task:
    """What a run learns from: a cube, its values dealt out, and the filler made for its variables."""

    cube: xr.Dataset
    record: Record
    split: Split
    filler: GapFiller
    data: GapData
    options: TrainerOptions


class Dealt(NamedTuple):
    """A cube, its arrays, and how its values are dealt out; orbit: of the sensor whose swaths gaps may follow."""

    cube: xr.Dataset
    record: Record
    split: Split
    gaps: Gaps
    orbit: Orbit | None


def deal(config: dict[str, Any]) -> Dealt:
    """Read the data of a configuration and deal out its values.

    Raises CubeError and ConfigError where data and configuration do not go together.
    """
    cube = usable(build(config["data"], xr.Dataset))
    tell_of(cube)
    record = read_record(cube)
    splits: All | Blocks | Random = build(config["splits"], All | Blocks | Random)
    gaps: Gaps = build(config["gaps"], Gaps)
    orbit = Orbit(cube["lat"].values, cube["lon"].values) if "lat" in cube.dims else None
    return Dealt(cube, record, splits.deal(record.observed & record.land, record.days, gaps, orbit), gaps, orbit)


def prepare(config: dict[str, Any]) -> Task:
    """Read the data of a configuration and make its filler ready to be fitted.

    Raises CubeError and ConfigError where data and configuration do not go together.
    """
    cube, record, split, gaps, orbit = deal(config)
    names, target = Names.of(cube), target_of(cube)
    units = target.attrs.get("units", "1")
    inputs = Inputs.fit(record, names, split.base, units, step_days(cube["time"]), "train", repeat_cycle(cube))
    filler: GapFiller = build(config["model"], GapFiller)
    filler.configure(inputs)
    if (config.get("uncertainty") or {}).get(TARGET) is not None:
        # what cannot be wrapped is refused now, not after hours of training
        wrap(config["uncertainty"], filler)
    if inputs.repeat_cycle > REACH_DAYS:
        raise ConfigError(f"data.repeat_cycle_days: expected at most {REACH_DAYS} maps, found {inputs.repeat_cycle}")
    if inputs.repeat_cycle and not filler.uses_repeat_cycle:
        log.info("%s makes no use of data.repeat_cycle_days", type(filler).__name__)
    options: TrainerOptions = build(config["trainer"], TrainerOptions)
    if filler.window.days is not None and filler.window.days > len(record.days):
        log.info(
            "the record of %d days is shorter than a window of %d: one window", len(record.days), filler.window.days
        )
    axes = filler.window.tile(target.shape, record.circular)
    data = GapData(
        record,
        inputs,
        split,
        gaps,
        axes,
        filler.batch_size,
        config["seed"],
        filler.trains_on_cores,
        orbit,
        options.workers,
    )
    return Task(cube, record, split, filler, data, options)


class Fitted(NamedTuple):
    """What fitting took and reached.

    seconds: of learning and choosing, those before an interruption included. validation_rmse: at the hidden values of
    the validation split, in the target's units; what settings are tuned by.
    """

    seconds: float
    validation_rmse: float


def fit(task: Task, folder: Path) -> Fitted:
    """Train the filler of a task in place; a network goes on from LAST in `folder` where that is there.

    A network ends with the weights of the epoch that was best in validation, the others with a pass over validation.
    """
    quiet_lightning()
    filler, options = task.filler, task.options
    common: dict[str, Any] = {
        **options.predicting(),
        "logger": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "num_sanity_val_steps": 0,
        "reload_dataloaders_every_n_epochs": 1,
    }
    if filler.passes and filler.automatic_optimization:
        return _fit_network(task, folder, common | options.predicting(several=True))
    if options.several:
        raise ConfigError(f"trainer.devices={options.devices}: {type(filler).__name__} learns on one device")
    seconds = 0.0
    if isinstance(filler, Stack):
        seconds = _fit_members(task, filler, folder)
    elif filler.passes:
        begin = time.perf_counter()
        trainer = pl.Trainer(**common, max_epochs=filler.passes, limit_val_batches=0, enable_checkpointing=False)
        with interruptible():
            trainer.fit(filler, task.data)
        seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    trainer = pl.Trainer(**common, enable_checkpointing=False)
    with interruptible():
        trainer.validate(filler, task.data, verbose=False)
    if filler.chooses:
        seconds += time.perf_counter() - begin
    filler.eval()
    return Fitted(seconds, float(trainer.callback_metrics["validation_rmse"]))


def _fit_members(task: Task, stack: Stack, folder: Path) -> float:
    """Fit each member as if it were alone, in a folder of its own; those that are there already are read."""
    seconds = 0.0
    for number, (name, member) in enumerate(stack.members.items(), 1):
        own = folder / "members" / name
        own.mkdir(parents=True, exist_ok=True)
        done = own / "model.ckpt"
        if done.is_file():
            member.load_state_dict(load_filler(done).state_dict())
            seconds += float((own / SECONDS).read_text())
            continue
        log.info("member %d of %d: %s", number, len(stack.members), name)
        assert isinstance(member, GapFiller)
        axes = member.window.tile(task.record.values.shape, task.record.circular)
        data = task.data.retiled(axes, member.batch_size, member.trains_on_cores)
        own_seconds = fit(replace(task, filler=member, data=data), own).seconds
        (own / SECONDS).write_text(f"{own_seconds:.1f}\n")
        seconds += own_seconds
        save_filler(member, done)
        for rest in (LAST, BEST):
            (own / rest).unlink(missing_ok=True)
    return seconds


def _fit_network(task: Task, folder: Path, common: dict[str, Any]) -> Fitted:
    filler, options = task.filler, task.options
    epochs = options.max_epochs or filler.passes
    course = Course(folder)
    last = ModelCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True)
    trainer = pl.Trainer(
        **common,
        max_epochs=epochs,
        check_val_every_n_epoch=min(options.check_every, epochs),
        gradient_clip_val=options.gradient_clip,
        accumulate_grad_batches=options.accumulate,
        callbacks=[course, last],
    )
    resumed = folder / LAST if (folder / LAST).exists() else None
    with interruptible():
        trainer.fit(filler, task.data, ckpt_path=resumed, weights_only=True)
    # where processes are started from outside, each made a name of its own: it holds the time
    folder = trainer.strategy.broadcast(folder)
    filler.load_state_dict(torch.load(folder / BEST, map_location="cpu", weights_only=True))
    filler.eval()
    return Fitted(course.seconds, course.best)


def add_uncertainty(task: Task, spec: dict[str, Any]) -> GapFiller:
    """Wrap the fitted filler; a conformal wrapper is fitted to what is hidden, filled as a product would be."""
    if spec.get(TARGET) is None:
        return task.filler
    wrapper = wrap(spec, task.filler)
    if isinstance(wrapper, Conformal):
        validated = _errors(task, wrapper.filler, "validation")
        wrapper.learn_scale(validated)
        judged = _errors(task, wrapper.filler, "calibration")
        wrapper.calibrate(judged)
        with torch.no_grad():
            wrapper.correlate(validated, judged)
        known = replace(task.data.scene, wanted=_some(task.split.base))
        wrapper.applicability.learn([batch for _, batch in _pieces(known)], [one.batch for one in judged])
    return wrapper.eval()


def _errors(task: Task, filler: GapFiller, split: str) -> list[Judged]:
    """What a filler makes of the hidden values of a split."""
    scene = task.data.scene_of(task.split.scenarios[split])
    fields = fill_whole(filler, scene, task.options.predicting())
    places = positions(target_of(task.cube))
    found = []
    for start, batch in _pieces(scene):
        sizes = batch.sm.shape[2:]

        def window(values: np.ndarray, start: Any = start, sizes: Any = sizes) -> Tensor:
            return torch.from_numpy(np.nan_to_num(cut(values, start, sizes, scene.record.circular)))[None, None]

        errors = window(fields["mean"] - scene.record.values)[batch.wanted]
        std = window(fields["std"]) if "std" in fields else None
        day, row, column = np.nonzero(batch.wanted[0, 0].numpy())
        where = (start[1] + row) % len(places), (start[2] + column) % places.shape[1]
        found.append(Judged(batch, errors, std, scene.record.days[start[0] + day], places[where]))
    return found


def _pieces(scene: Scene) -> Iterator[tuple[tuple[int, int, int], Batch]]:
    """The windows of a scene that hold what is wanted, whole series of a few cells each, and where they start."""
    axes = Window(None, 8, None, 0).tile(scene.seen.shape, scene.record.circular)
    for start in windows_with(scene.wanted, axes, (0, 0, 0), share=0.0):
        yield start, scene.batch([start], axes, cores=True)


def _some(known: np.ndarray) -> np.ndarray:
    """A random sample of values, (T, H, W) bool."""
    chosen = np.zeros(known.size, bool)
    where = np.flatnonzero(known)
    chosen[where[np.random.default_rng(KNOWN).permutation(len(where))[:SOME]]] = True
    return chosen.reshape(known.shape)


def fill_scenario(task: Task, filler: GapFiller, split: str, output: Writer) -> None:
    """Fill what a split's scenario hides, seeing only what it shows."""
    scenario = task.split.scenarios[split]
    fill_cube(
        seen_only(task.cube, scenario.seen),
        filler,
        output,
        climatology_from=seen_only(task.cube, scenario.known),
        wanted_days=np.asarray(scenario.all_hidden.any((1, 2))),
        trainer=task.options.predicting(),
    )


class Course(pl.Callback):
    """The course of a training: loss and validation score of each epoch in `training.csv`, the best weights in BEST.

    Goes on where an interrupted run stopped, in whatever folder it lies now. seconds: so far.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[dict[str, float]] = []
        self.seconds = 0.0
        self._validated: dict[str, float] = {}

    @property
    def best(self) -> float:
        """The smallest validation RMSE so far."""
        return min((row.get("validation_rmse", math.inf) for row in self.rows), default=math.inf)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin = time.perf_counter() - self.seconds

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = ("validation_rmse", "validation_bias")
        self._validated = {name: float(trainer.callback_metrics[name]) for name in names}

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train_loss"])
        row = {"epoch": float(trainer.current_epoch), "train_loss": loss, **self._validated}
        score = self._validated.get("validation_rmse")
        if not trainer.is_global_zero:
            self._validated = {}
            return
        if score is not None and score < self.best:
            partial = self.folder / f"{BEST}.partial"
            torch.save(pl_module.state_dict(), partial)
            partial.replace(self.folder / BEST)
        self.rows.append(row)
        self._validated = {}
        self.seconds = time.perf_counter() - self._begin
        names = ("train_loss", "validation_rmse", "validation_bias")
        lines = [",".join(("epoch", *names))]
        lines += [
            ",".join([f"{row['epoch']:.0f}", *(f"{row[n]:.6g}" if n in row else "" for n in names)])
            for row in self.rows
        ]
        (self.folder / "training.csv").write_text("\n".join(lines) + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]
        log.info("going on after pass %d", len(self.rows))
