"""The course of `sgdsm downscale train`, from settings to a folder with a fitted and scored downscaler."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import xarray as xr
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

from sgdsm.core.errors import ConfigError
from sgdsm.core.lock import exclusive
from sgdsm.core.logging import log
from sgdsm.core.specification import TARGET, build
from sgdsm.data.months import TESTED, TRAINED, VALIDATED, Months
from sgdsm.downscaling.explain import dependence, importances
from sgdsm.downscaling.intervals import Distance, QuantileTrees
from sgdsm.downscaling.model import Downscaler, save
from sgdsm.downscaling.regressors import BATCH, MlpRegressor, Regressor
from sgdsm.downscaling.rows import Rows, rows_of
from sgdsm.evaluation.rows import row_scores
from sgdsm.models.base import interruptible, quiet_lightning
from sgdsm.report.downscaling_figures import training_figures
from sgdsm.report.importances import write_table
from sgdsm.training.run import CONFIG, METRICS, PROVENANCE, Run

LEAST_ROWS = 50  # of each split
PACKAGES = ("sgdsm", "torch", "pytorch-lightning", "numpy", "xarray", "xgboost")


def train(config: Mapping[str, Any], folder: Path, accelerator: str = "auto", figures: bool = True) -> Run:
    """Fit a regressor to the rows of 1 km data and score it on the months of the test.

    Nothing fitted or chosen sees the test: it is read once, for the scores.

    Args:
        config: Plain values of `DownscaleConfig.training`.
        folder: Of the run.
        accelerator: As in `pytorch_lightning.Trainer`.
        figures: Whether figures are drawn.

    Returns:
        The run: `model.ckpt`, `metrics.json`, `importances.csv`, `figures/`.

    Raises:
        CubeError: The data cannot be used.
        ConfigError: Data and settings do not go together.
    """
    run = Run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        log.info("run folder: %s", folder)
        rows = rows_of(build(config["data"], xr.Dataset))
        splits: Months = build(config["splits"], Months)
        label = labelled(rows, splits)
        run.write(CONFIG, dict(config))
        run.write(PROVENANCE, _provenance(config, rows))
        downscaler, about = fitted(config["regressor"], rows, label, config["seed"], config["level"], accelerator)
        save(downscaler, folder)
        test = label == TESTED
        found = downscaler.estimate(rows.values[test], intervals=True)
        classes = {name: chosen[test] for name, chosen in rows.classes().items()}
        scores = row_scores(found["mean"], rows.truth[test], rows.days[test], classes, seed=config["seed"])
        held = label == VALIDATED
        ranked = importances(downscaler, rows.values[held], rows.truth[held], rows.days[held], config["seed"])
        write_table(ranked, folder / "importances.csv")
        if figures:
            run.figures.mkdir(exist_ok=True)
            curves = dependence(downscaler, rows.values[held])
            about_test = found, rows.truth[test], rows.days[test]
            units = rows.units, rows.target_units
            training_figures(run.figures, *about_test, ranked, curves, scores, name=folder.name, units=units)
        covered = {}
        if "lower" in found:
            inside = (rows.truth[test] >= found["lower"]) & (rows.truth[test] <= found["upper"])
            covered = {"level": config["level"], "coverage": float(inside.mean())}
        leak = splits.leak(rows.days, label)
        if leak:
            log.warning("%s", leak)
        run.write(
            METRICS,
            {
                "model": str(config["regressor"][TARGET]).rsplit(".", 1)[-1],
                "units": rows.target_units,
                "split": TESTED,
                **about,
                **covered,
                "rows": {name: int((label == name).sum()) for name in (TRAINED, VALIDATED, TESTED)},
                "classes": scores,
                "protocol": {
                    "data": rows.digest(),
                    "scored_split": TESTED,
                    "splits": config["splits"],
                    "test_days": [str(day) for day in np.unique(rows.days[test])],
                    "leaks": leak,
                },
            },
        )
    return run


def labelled(rows: Rows, splits: Months) -> np.ndarray:
    """Return the split of each row, (N,); ConfigError where one has too few."""
    label = splits.label(rows.days)
    for name in (TRAINED, VALIDATED, TESTED):
        if (count := int((label == name).sum())) < LEAST_ROWS:
            raise ConfigError(
                f"splits=months: the {name} split has {count} complete rows, expected at least {LEAST_ROWS}: "
                "choose other splits.months or splits.year, or give more data"
            )
    return label


def fitted(
    spec: Mapping[str, Any], rows: Rows, label: np.ndarray, seed: int, level: float | None, accelerator: str = "auto"
) -> tuple[Downscaler, dict[str, float]]:
    """Fit a regressor, and its intervals, to the rows of training.

    Args:
        spec: Of the regressor.
        rows: Of all splits.
        label: Split of each row, (N,).
        seed: Of the order of rows and of the intervals.
        level: Of the intervals; None for none.
        accelerator: As in `pytorch_lightning.Trainer`.

    Returns:
        The downscaler on the CPU, and `fit_seconds` and `validation_rmse` [target's units].
    """
    parts = {name: (rows.values[label == name], rows.truth[label == name]) for name in (TRAINED, VALIDATED)}
    learned, truth = (torch.from_numpy(array) for array in parts[TRAINED])
    held, held_truth = (torch.from_numpy(array) for array in parts[VALIDATED])
    regressor: Regressor = build(spec, Regressor)
    regressor.configure(len(rows.predictors))
    regressor.scale_by(learned, truth)
    quiet_lightning()
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=regressor.epochs,
        # trees are fitted with the last batch: nothing can be validated before
        num_sanity_val_steps=0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        gradient_clip_val=1.0 if regressor.automatic_optimization else None,
    )
    begin = time.perf_counter()
    with interruptible():
        trainer.fit(regressor, _loader(learned, truth, regressor, seed))
    seconds = time.perf_counter() - begin
    regressor.cpu().eval()
    exact = rows.values[label == TRAINED].astype(np.float64)
    downscaler = Downscaler(
        regressor, rows.predictors, rows.units, rows.target, rows.target_units, rows.sources,
        exact.min(0), exact.max(0), exact.std(0),
    )  # fmt: skip
    downscaler.eval()
    if level is not None:
        downscaler.bounds = QuantileTrees(level)
        downscaler.bounds.fit(learned, truth, held, held_truth, seed)
        downscaler.distance = Distance(len(rows.predictors))
        downscaler.distance.fit(regressor.scaled(learned), regressor.scaled(held), seed)
    error = downscaler.estimate(parts[VALIDATED][0])["mean"].astype(np.float64) - parts[VALIDATED][1]
    return downscaler, {"fit_seconds": round(seconds, 1), "validation_rmse": float(np.sqrt((error**2).mean()))}


def _loader(rows: torch.Tensor, truth: torch.Tensor, regressor: Regressor, seed: int) -> DataLoader[Any]:
    data = TensorDataset(rows, truth)
    if isinstance(regressor, MlpRegressor):
        rng = torch.Generator().manual_seed(seed)
        # a batch is cut from the tensors at once: by single rows it takes longer than the network
        sampler = BatchSampler(RandomSampler(data, generator=rng), min(regressor.batch_size, len(rows)), drop_last=True)
    else:
        sampler = BatchSampler(SequentialSampler(data), BATCH, drop_last=False)
    return DataLoader(data, sampler=sampler, batch_size=None, collate_fn=lambda batch: batch)


def _provenance(config: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    return {
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "data": {
            "digest": rows.digest(),
            "first_day": str(rows.days.min()),
            "last_day": str(rows.days.max()),
            "units": {**rows.units, rows.target: rows.target_units},
            **{k: v for k, v in config["data"].items() if k == "path"},
        },
        "seed": config["seed"],
        "machine": {"system": platform.platform(), "threads": torch.get_num_threads()},
    }
