"""The course of a run, from a configuration to a folder with a fitted, calibrated and scored filler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xarray as xr
from pytorch_lightning.loggers import Logger

from sgdsm.core.lock import exclusive, is_first
from sgdsm.core.logging import PASSING, log
from sgdsm.evaluation.labels import run_labels
from sgdsm.evaluation.metrics import bootstrap
from sgdsm.evaluation.protocol import FILLED, HIDDEN, KINDS_OF_SPLIT, SCORES, VISIBLE, kind_of_split, write_files
from sgdsm.evaluation.score import FEW, Scores, format_rmse, format_table, score
from sgdsm.inference.causal import save_climatology
from sgdsm.inference.writers import NetcdfOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import save_filler
from sgdsm.models.uncertainty.wrappers import innermost
from sgdsm.report.figures import run_figures
from sgdsm.training.calibrate import add_uncertainty
from sgdsm.training.callbacks import BEST
from sgdsm.training.fit import LAST, Fitted, fit
from sgdsm.training.loggers import opened, write_result
from sgdsm.training.notes import keeping_notes
from sgdsm.training.run import CONFIG, CURVE, METRICS, PROVENANCE, Run, learned_from, protocol_of, provenance
from sgdsm.training.task import TrainingTask, fill_scenario, training_values

NARROW = 0.05  # by how much the upper bound of the coverage may lie below the level


def train(config: dict[str, Any], folder: Path, cube: xr.Dataset | None = None, figures: bool = True) -> Run:
    """Train in a folder, or resume an interrupted training there.

    Args:
        config: Plain values of `TrainingConfig`: the groups and the seed.
        folder: Of the run. What is finished there is not done again.
        cube: The data, in place of those that `config["data"]` names.
        figures: Whether figures are drawn.

    Returns:
        The run. In a further process of a training on several devices the run is not finished yet: the first
        process goes on alone after the fit.

    Raises:
        CubeError: The data cannot be used.
        ConfigError: Data and configuration do not go together, or another program writes in the folder.
    """
    run = Run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        if not is_first():
            fit(TrainingTask.from_config(config, cube), folder)
            return run
        with keeping_notes(folder):
            task = TrainingTask.from_config(config, cube)
            protocol = _begin(run, task)
            with opened(config, folder) as logger:
                _learn_and_score(run, task, protocol, figures, logger)
    return run


def _learn_and_score(
    run: Run, task: TrainingTask, protocol: dict[str, Any], figures: bool, logger: Logger | None
) -> None:
    config, folder = task.config, run.folder
    fitted = fit(task, folder, logger)
    filler = add_uncertainty(task, config["uncertainty"])
    if filler.inputs.causal:
        values, which = training_values(task.whole, config, task.split)
        save_climatology(values, filler.inputs, run.climatology, which)
    save_filler(filler, run.model)
    classes = score_run(task, filler, protocol, run)
    if figures:
        name = run_labels([folder])[0]
        run_figures(run.evaluation, folder / CURVE, run.figures, name, protocol["scored_split"])
    _save_metrics(run, filler, fitted, protocol, classes, task.options.precision_of(filler))
    scores = {f"scores/{protocol['scored_split']}_{name}": value for name, value in classes["all"].items()}
    write_result(logger, config, {**scores, "fit_seconds": fitted.seconds})


def score_run(task: TrainingTask, filler: GapFiller, protocol: dict[str, Any], run: Run) -> dict[str, dict[str, float]]:
    """Fill the scored split of a task and score it, as files, in the run's folder.

    Args:
        task: What the run learned from.
        filler: The fitted filler.
        protocol: From `protocol_of`.
        run: Where the files go.

    Returns:
        For each class of hidden values its metrics.
    """
    split, parts = protocol["scored_split"], []
    for number, part in enumerate(task.parts):
        folder = run.evaluation / f"part_{number}" if number else run.evaluation
        write_files(folder, part.cube, part.split.scenarios[split], part.split.base)
        output = NetcdfOutput(folder / FILLED)
        output.remove()
        fill_scenario(part, filler, split, output, task.options.predicting())
        parts.append(score(folder / FILLED, folder / HIDDEN, folder / VISIBLE))
    scores = Scores.joined(parts)
    scores.save(run.evaluation / SCORES)
    table = scores.table()
    if (count := int(table["all"]["n"])) < FEW:
        log.warning("only %d values were hidden to score: the scores are rough", count)
    _warn_of_narrow_intervals(scores, task.config["uncertainty"].get("level"))
    return {name: {k: v for k, v in row.items() if v == v} for name, row in table.items() if row["n"]}


def _warn_of_narrow_intervals(scores: Scores, level: float | None) -> None:
    """Say where intervals hold fewer of the scored values than they are made for, beyond what chance allows."""
    share, _, most = bootstrap(scores.units(), "coverage")
    if level is not None and most < level - NARROW:
        log.warning(
            "the %.0f %% interval holds %.0f %% of the hidden values: it is too narrow; a longer record helps most",
            100 * level, 100 * share,
        )  # fmt: skip


def scores_text(run: Run) -> str:
    """Return the scores of a run as a table, headed by what they were computed on."""
    protocol = run.metrics()["protocol"]
    scores = Scores.load(run.evaluation / SCORES)
    table = scores.table()
    rows = {name: table[name] for name in (*protocol["hidden"], "all")}
    split = protocol["scored_split"]
    kind = kind_of_split(protocol)
    # trees and simple methods have no epochs
    has_epochs = run.metrics().get("epoch") is not None or (run.folder / CURVE).is_file()
    if split == "validation" and kind == KINDS_OF_SPLIT[split] and has_epochs:
        kind = "they chose the epochs of the network: not a test"
    head = f"scores at the hidden values of the {split} split ({kind})"
    return f"{head}\n{format_table(rows)}\n{format_rmse(scores, run.metrics()['units'])}"


def _begin(run: Run, task: TrainingTask) -> dict[str, Any]:
    """Write what the run is made of, before it learns; of a resumed one check that it is the same."""
    log.info("run folder: %s", run.folder, extra=PASSING)
    run.check_data(task.whole)
    protocol = protocol_of(task.whole, [part.split for part in task.parts], task.config, learned_from(task.config))
    run.write(CONFIG, task.config)
    run.write(PROVENANCE, provenance(task.config, task.whole))
    return protocol


def _save_metrics(
    run: Run,
    filler: GapFiller,
    fitted: Fitted,
    protocol: dict[str, Any],
    classes: dict[str, dict[str, float]],
    precision: str,
) -> None:
    run.write(
        METRICS,
        {
            "model": type(innermost(filler)).__name__,
            "units": filler.inputs.units,
            "split": protocol["scored_split"],
            "fit_seconds": round(fitted.seconds, 1),
            "validation_rmse": fitted.validation_rmse,
            "epoch": fitted.epoch,
            "precision": precision,
            "parameters": sum(p.numel() for p in filler.parameters()),
            "classes": classes,
            "protocol": protocol,
        },
    )
    for name in (LAST, BEST):
        (run.folder / name).unlink(missing_ok=True)
