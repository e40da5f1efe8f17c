"""Fitting a filler: one trainer for networks, trees and methods that learn nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xarray as xr
from pytorch_lightning.callbacks import ModelCheckpoint

from sgdsm.build import TARGET, build
from sgdsm.cube import ConfigError, seen_only, step_days, target_of
from sgdsm.data.gaps import Gaps
from sgdsm.data.module import GapData
from sgdsm.data.record import Names, Record, read_record, usable
from sgdsm.data.scaling import Inputs
from sgdsm.data.splits import All, Blocks, Split
from sgdsm.inference.stream import Writer, fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller, quiet_lightning
from sgdsm.models.uncertainty import Conformal
from sgdsm.sources.orbit import Orbit

LAST, BEST = "last.ckpt", "best.ckpt"


@dataclass(frozen=True)
class TrainerOptions:
    """Lightning's trainer, as far as it is ours to set.

    accelerator, devices, precision: as in `pytorch_lightning.Trainer`. max_epochs: in place of the model's passes.
    gradient_clip: largest norm of the gradient; null for none. check_every: epochs between validations. workers:
    processes that cut windows. progress: bars.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = 1
    precision: str = "32-true"
    max_epochs: int | None = None
    gradient_clip: float | None = 1.0
    check_every: int = 1
    workers: int = 0
    progress: bool = True

    def __post_init__(self) -> None:
        if self.max_epochs is not None and self.max_epochs < 1:
            raise ConfigError(f"trainer.max_epochs={self.max_epochs}: expected at least 1")
        if self.check_every < 1 or self.workers < 0:
            raise ConfigError(
                f"trainer.check_every={self.check_every}, workers={self.workers}: expected 1 and 0 or more"
            )

    def predicting(self) -> dict[str, Any]:
        """Arguments of a Trainer that fills."""
        keys = ("accelerator", "devices", "precision")
        return {**{k: v for k, v in asdict(self).items() if k in keys}, "enable_progress_bar": self.progress}


@dataclass
class Task:
    """What a run learns from: a cube, its values dealt out, and the filler made for its variables."""

    cube: xr.Dataset
    record: Record
    split: Split
    filler: GapFiller
    data: GapData
    options: TrainerOptions


def prepare(config: dict[str, Any]) -> Task:
    """Read the data of a configuration and make its filler ready to be fitted.

    Raises CubeError and ConfigError where data and configuration do not go together.
    """
    cube = usable(build(config["data"]))
    names = Names.of(cube)
    record = read_record(cube)
    splits: All | Blocks = build(config["splits"])
    gaps: Gaps = build(config["gaps"])
    target = target_of(cube)
    orbit = Orbit(cube["lat"].values, cube["lon"].values) if "lat" in cube.dims else None
    observed = record.observed & record.land
    split = splits.deal(observed, record.days, gaps, orbit)
    steps = step_days(cube["time"])
    inputs = Inputs.fit(record, names, split.base, target.attrs.get("units", "1"), steps, "train")
    filler: GapFiller = build(config["model"])
    filler.configure(inputs)
    options: TrainerOptions = build(config["trainer"])
    axes = filler.window.tile(target.shape, steps, record.circular)
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


def fit(task: Task, folder: Path) -> None:
    """Train the filler of a task in place; a network goes on from LAST in `folder` where that is there.

    A network ends with the weights of the epoch that was best in validation.
    """
    quiet_lightning()
    filler, options = task.filler, task.options
    common: dict[str, Any] = {
        "accelerator": options.accelerator,
        "devices": options.devices,
        "precision": options.precision,
        "logger": False,
        "enable_model_summary": False,
        "enable_progress_bar": options.progress,
        "num_sanity_val_steps": 0,
        "reload_dataloaders_every_n_epochs": 1,
    }
    if not filler.passes:
        trainer = pl.Trainer(**common, enable_checkpointing=False)
        trainer.validate(filler, task.data, verbose=False)
    elif filler.automatic_optimization:
        _fit_network(task, folder, common)
    else:
        passes = filler.passes
        # before the last pass there are no trees to validate
        trainer = pl.Trainer(**common, max_epochs=passes, check_val_every_n_epoch=passes, enable_checkpointing=False)
        trainer.fit(filler, task.data)
    filler.eval()


def _fit_network(task: Task, folder: Path, common: dict[str, Any]) -> None:
    filler, options = task.filler, task.options
    epochs = options.max_epochs or filler.passes
    keep: dict[str, Any] = {"dirpath": folder, "enable_version_counter": False, "save_on_train_epoch_end": True}
    best = ModelCheckpoint(**keep, filename="best", monitor="validation_rmse")
    last = ModelCheckpoint(**keep, filename="last")
    trainer = pl.Trainer(
        **common,
        max_epochs=epochs,
        check_val_every_n_epoch=min(options.check_every, epochs),
        gradient_clip_val=options.gradient_clip,
        callbacks=[TrainingCurve(folder), best, last],
    )
    resumed = folder / LAST if (folder / LAST).exists() else None
    trainer.fit(filler, task.data, ckpt_path=resumed, weights_only=True)
    state = torch.load(folder / BEST, map_location="cpu", weights_only=True)["state_dict"]
    filler.load_state_dict(state)


def add_uncertainty(task: Task, spec: dict[str, Any]) -> GapFiller:
    """Wrap the fitted filler and calibrate it on the calibration split, filled as a product would be."""
    if spec.get(TARGET) is None:
        return task.filler
    wrapper: Conformal = build(spec, filler=task.filler)
    wrapper.inputs = task.filler.inputs
    output = MemoryOutput()
    fill_scenario(task, task.filler, "calibration", output)
    hidden = task.split.scenarios["calibration"].all_hidden
    errors = (output.arrays["sm_filled"] - task.record.values)[hidden]
    wrapper.calibrate(errors, output.arrays["gap_age"][hidden])
    return wrapper.eval()


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


class TrainingCurve(pl.Callback):
    """Loss and validation score of each epoch, in `training.csv`; goes on where an interrupted run stopped."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "training.csv"
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        names = ("train_loss", "validation_rmse", "validation_bias")
        found = {n: float(trainer.callback_metrics[n]) for n in names if n in trainer.callback_metrics}
        self.rows.append({"epoch": float(trainer.current_epoch), **found})
        lines = [",".join(("epoch", *names))]
        lines += [
            ",".join([f"{row['epoch']:.0f}", *(f"{row[n]:.6g}" if n in row else "" for n in names)])
            for row in self.rows
        ]
        self.path.write_text("\n".join(lines) + "\n")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]
