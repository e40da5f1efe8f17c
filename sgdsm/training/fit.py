"""Fitting a filler: one trainer for networks, trees, stacks and methods that learn nothing."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger

from sgdsm.core.errors import ConfigError
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import PASSING, log
from sgdsm.core.processes import run_in_processes
from sgdsm.core.specification import build
from sgdsm.data.out_of_core import PartedData
from sgdsm.models.base import GapFiller, interruptible, quiet_lightning
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.ensemble import Stack
from sgdsm.training.callbacks import BEST, TrainingHistory, WholeCheckpoints
from sgdsm.training.loggers import logger_of, opened
from sgdsm.training.task import TrainerOptions, TrainingTask

VALIDATIONS = 12  # in a training
LAST, SECONDS = "last.ckpt", "fit_seconds.txt"
MEMBERS, MODEL = "members", "model.ckpt"


class Fitted(NamedTuple):
    """Time and result of a fit.

    Attributes:
        seconds: Of training and of the choice of settings, those before an interruption included; of members the sum.
        validation_rmse: At the hidden values of the validation split, in the target's units; what tuning minimises.
        epoch: Number of the epoch whose weights were kept, from 1; None where there are no epochs.
    """

    seconds: float
    validation_rmse: float
    epoch: int | None = None


def fit(task: TrainingTask, folder: Path, logger: Logger | None = None) -> Fitted:
    """Train the filler of a task in place.

    A network ends with the weights of the epoch that was best in validation; the others are validated at the end.

    Args:
        task: What it learns from.
        folder: Of the run; a network resumes from LAST where that is there.
        logger: Where the course of a network is written, beside training.csv; members have loggers of their own.

    Raises:
        ConfigError: The options cannot work for this filler.
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
    if filler.epochs and filler.automatic_optimization:
        return _fit_network(task, folder, common | options.predicting(several=True) | {"logger": logger or False})
    if task.config.get("callbacks") and not isinstance(filler, Stack):
        # a member, or what model=auto has chosen
        log.info("%s has no epochs: it is fitted without callbacks", type(filler).__name__)
    seconds = 0.0
    if isinstance(filler, Stack):
        seconds = _fit_members(task, filler, folder)
    elif options.several:
        raise ConfigError(f"trainer.devices={options.devices}: {type(filler).__name__} learns on one device")
    elif filler.epochs:
        begin = time.perf_counter()
        trainer = pl.Trainer(**common, max_epochs=filler.epochs, limit_val_batches=0, enable_checkpointing=False)
        with interruptible():
            trainer.fit(filler, task.learned)
        seconds = time.perf_counter() - begin
    begin = time.perf_counter()
    trainer = pl.Trainer(**common, enable_checkpointing=False)
    with interruptible():
        trainer.validate(filler, task.learned, verbose=False)
    if filler.chooses:
        seconds += time.perf_counter() - begin
    filler.eval()
    return Fitted(seconds, float(trainer.callback_metrics["validation_rmse"]))


def _fit_members(task: TrainingTask, stack: Stack, folder: Path) -> float:
    """Fit each member by itself, in a folder of its own; finished ones are read.

    Several devices share the members, each with a process of its own.
    """
    if task.learned is not task.data:
        raise ConfigError(f"{type(stack).__name__} learns from a cube in memory: raise trainer.memory_gib")
    if task.options.several:
        _refuse_ranks(task.options)
    own = folder / MEMBERS
    left = [name for name in stack.members if not (own / name / MODEL).is_file()]
    devices = task.options.one_by_one()[: max(1, len(left))]
    if len(devices) > 1:
        log.info("%d members in %d processes, one a device", len(left), len(devices), extra=PASSING)
        quiet = [replace(one, progress=False) for one in devices]
        config = {**task.config, "model": stack.spec}  # it may have been made in Python
        run_in_processes(_fit_share, [(config, one, left[k :: len(quiet)], own) for k, one in enumerate(quiet)])
    else:
        _fit_some(replace(task, options=devices[0]), left, own)
    for name, member in stack.members.items():
        member.load_state_dict(load_filler(own / name / MODEL).state_dict())
    return sum(float((own / name / SECONDS).read_text()) for name in stack.members)


def _fit_share(config: dict[str, Any], options: TrainerOptions, names: list[str], folder: Path) -> None:
    """Fit some members, in a process of its own; it reads the data again, because open files cannot be sent."""
    level = log.level
    log.setLevel(logging.WARNING)  # notes on the data are on the screen already
    task = TrainingTask.from_config(config)
    log.setLevel(level)
    _fit_some(replace(task, options=options), names, folder)


def _fit_some(task: TrainingTask, names: list[str], folder: Path) -> None:
    assert isinstance(task.filler, Stack)
    every = task.filler.members
    for number, (name, member) in enumerate(every.items(), 1):
        if name not in names:
            continue
        own = folder / name
        assert isinstance(member, GapFiller)
        own.mkdir(parents=True, exist_ok=True)
        with exclusive(own):
            log.info("member %d of %d: %s", number, len(every), name, extra=PASSING)
            axes = member.window.tile(task.record.values.shape, task.record.circular)
            data = task.data.retiled(axes, member.batch_size, member.trains_on_cores)
            with opened(task.config, own) as logger:
                seconds = fit(replace(task, filler=member, data=data, learned=data), own, logger).seconds
            (own / SECONDS).write_text(f"{seconds:.1f}\n")
            save_filler(member, own / MODEL)
            for rest in (LAST, BEST):
                (own / rest).unlink(missing_ok=True)


def _refuse_ranks(options: TrainerOptions) -> None:
    """Raise ConfigError where processes were started from outside: each would train all members."""
    started = int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)
    if started > 1 or options.num_nodes > 1:
        raise ConfigError(
            f"trainer.devices={options.devices}, num_nodes={options.num_nodes}: members are trained in processes that "
            "are started here: on one node, without torchrun, and in SLURM in a job of one task (--ntasks=1)"
        )


def _epochs(task: TrainingTask) -> int:
    """Return the epochs of a network: its own, or as many as its steps need."""
    filler = task.filler
    if filler.steps is None:
        return filler.epochs
    # of a large cube the parts in memory stand for the others
    parts = task.learned.held if isinstance(task.learned, PartedData) else [task.learned]
    batches = []
    for part in parts:
        with suppress(ConfigError):  # it has no value to hide
            batches.append(len(part.training_batches(0)))
    steps = sum(batches) // (max(1, len(batches)) * task.options.accumulate * task.options.count)
    epochs = min(filler.epochs, -(-filler.steps // max(1, steps)))
    log.info("%d epochs of %d steps: model.steps=%d", epochs, steps, filler.steps)
    if isinstance(task.learned, PartedData) and epochs < len(task.learned.boxes):
        log.warning(
            "%d epochs see %d of %d parts: a larger model.steps sees more", epochs, epochs, len(task.learned.boxes)
        )
    return epochs


def _fit_network(task: TrainingTask, folder: Path, common: dict[str, Any]) -> Fitted:
    filler, options = task.filler, task.options
    epochs = options.max_epochs or _epochs(task)
    every = options.check_every or -(-epochs // VALIDATIONS)
    course = TrainingHistory(folder, logger_of(task.config).curve)
    # before the history, which writes down what they measure
    chosen = [build(spec, pl.Callback) for spec in task.config.get("callbacks", {}).values()]
    last = ModelCheckpoint(folder, "last", enable_version_counter=False, save_on_train_epoch_end=True)
    trainer = pl.Trainer(
        **common,
        max_epochs=epochs,
        check_val_every_n_epoch=min(every, epochs),
        gradient_clip_val=options.gradient_clip,
        accumulate_grad_batches=options.accumulate,
        callbacks=[*chosen, course, last],
        plugins=[WholeCheckpoints()],
    )
    resumed = folder / LAST if (folder / LAST).exists() else None
    with interruptible():
        trainer.fit(filler, task.learned, ckpt_path=resumed, weights_only=True)
    # where processes are started from outside, each made a name of its own: it holds the time
    folder = trainer.strategy.broadcast(folder)
    filler.load_state_dict(torch.load(folder / BEST, map_location="cpu", weights_only=True))
    filler.eval()
    return Fitted(course.seconds, course.best, course.best_epoch)
