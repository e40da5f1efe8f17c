"""The commands: what train.py, predict.py and `python -m sgdsm` do, put together from the other modules."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from sgdsm.cli.correct import correct_apply, correct_fit
from sgdsm.cli.explain import explain
from sgdsm.cli.members import draw_members
from sgdsm.cli.prepare import describe, export, prepare
from sgdsm.cli.select import select
from sgdsm.core.cube import ConfigError, checked_cube, log
from sgdsm.core.lock import exclusive, is_first
from sgdsm.core.signals import going_on
from sgdsm.sources.download.products import download
from sgdsm.training.config import check_config
from sgdsm.training.recalibrate import recalibrate

FEW = 200  # values: of fewer, even if independent, an RMSE is known no better than by a twentieth


def train(config: dict[str, Any]) -> float:
    """Fit a filler, score it, and print the folder of the run; returns its validation RMSE, which sweeps minimise."""
    from sgdsm.training.run import CONFIG, Run

    folder = Path(HydraConfig.get().runtime.output_dir)
    if is_first() and (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds a run already: go on with run={folder}, or choose another hydra.run.dir")
    announce(train_in(config, folder))
    score: float = Run(folder).metrics()["validation_rmse"]
    return score


def train_in(config: dict[str, Any], folder: Path) -> Path:
    """Fit and score in a folder, or go on with an interrupted run there."""
    from sgdsm.training.run import CONFIG

    def words() -> str:
        return f"go on with: python train.py run={shown(folder)}" if (folder / CONFIG).is_file() else ""

    folder.mkdir(parents=True, exist_ok=True)
    with going_on(words), exclusive(folder):
        return _train_in(config, folder)


def _train_in(config: dict[str, Any], folder: Path) -> Path:
    from sgdsm.models.checkpoint import save_filler
    from sgdsm.report.figures import run_figures
    from sgdsm.training.calibrate import add_uncertainty
    from sgdsm.training.callbacks import BEST
    from sgdsm.training.fit import LAST, fit
    from sgdsm.training.run import CONFIG, METRICS, MODEL, PROVENANCE, Run, learned_from, protocol_of, provenance
    from sgdsm.training.task import prepare

    run = Run(folder)
    if is_first():
        log.info("run folder: %s", shown(folder))
    task = prepare(config)
    if not is_first():
        # a further process helps in fitting, the rest is for the first
        fit(task, folder)
        sys.exit(0)
    run.check_data(task.whole)
    protocol = protocol_of(task.whole, [part.split for part in task.parts], config, learned_from(config))
    run.write(CONFIG, config)
    run.write(PROVENANCE, provenance(config, task.whole))
    fitted = fit(task, folder)
    filler = add_uncertainty(task, config["uncertainty"])
    save_filler(filler, folder / MODEL)
    scores = _score(task, filler, protocol, run)
    split = protocol["scored_split"]
    units = filler.inputs.units
    parameters = sum(p.numel() for p in filler.parameters())
    model = config["model"]["_target_"].rsplit(".", 1)[-1]
    run_figures(run.evaluation, folder / "training.csv", run.figures, folder.name, split)
    run.write(
        METRICS,
        {
            "model": model,
            "units": units,
            "split": split,
            "fit_seconds": round(fitted.seconds, 1),
            "validation_rmse": fitted.validation_rmse,
            "parameters": parameters,
            "classes": scores,
            "protocol": protocol,
        },
    )
    for name in (LAST, BEST):
        (folder / name).unlink(missing_ok=True)
    return folder


def _score(task: Any, filler: Any, protocol: dict[str, Any], run: Any) -> dict[str, dict[str, float]]:
    from sgdsm.evaluation.protocol import FILLED, HIDDEN, SCORES, VISIBLE, kind_of_split, write_files
    from sgdsm.evaluation.score import Scores, format_table, score
    from sgdsm.inference.writers import NetcdfOutput
    from sgdsm.training.task import fill_scenario

    split, found = protocol["scored_split"], []
    for number, part in enumerate(task.parts):
        folder = run.evaluation / f"part_{number}" if number else run.evaluation
        write_files(folder, part.cube, part.split.scenarios[split], part.split.base)
        output = NetcdfOutput(folder / FILLED)
        output.remove()
        fill_scenario(part, filler, split, output, task.options.predicting())
        found.append(score(folder / FILLED, folder / HIDDEN, folder / VISIBLE))
    scores = Scores.joined(found)
    scores.save(run.evaluation / SCORES)
    table = scores.table()
    if (count := int(table["all"]["n"])) < FEW:
        log.info("only %d values were hidden to score: the scores are rough", count)
    rows = {name: table[name] for name in (*protocol["hidden"], "all")}
    print(f"\nscores at the hidden values of the {split} split ({kind_of_split(protocol)})\n{format_table(rows)}")
    return {name: {k: v for k, v in row.items() if v == v} for name, row in table.items() if row["n"]}


def predict(config: dict[str, Any]) -> None:
    """Fill a cube with a run's filler and write it."""
    import xarray as xr

    from sgdsm.core.region import box_of, period_of
    from sgdsm.core.specification import build
    from sgdsm.data.record import warn_unusual
    from sgdsm.inference.dask import fill_on_cluster
    from sgdsm.inference.fill import fill_cube
    from sgdsm.inference.writers import writer_for
    from sgdsm.models.checkpoint import load_filler
    from sgdsm.models.networks.base import compile_blocks
    from sgdsm.training.run import Run, file_digest, file_stamp, fingerprint, run_data
    from sgdsm.training.task import TrainerOptions

    run = Run(config["run"])
    trained = run.config()
    check_config(trained, "train")
    if not run.model.is_file():
        raise ConfigError(f"run={run.folder}: its training has not ended; go on with: python train.py run={run.folder}")
    filler = load_filler(run.model)
    options = build(config["trainer"], TrainerOptions)
    if options.compile:
        compile_blocks(filler)
    output = writer_for(config["output"])
    data = run_data(trained, config.get("data"))
    cube = checked_cube(build(data, xr.Dataset))
    warn_unusual(cube)
    source = data.get("path")
    inference = {k: v for k, v in config["inference"].items() if k != "cluster"}
    settings: dict[str, Any] = {
        "source": f"{trained['model']['_target_'].rsplit('.', 1)[-1]} fitted in {run.folder.name}",
        "identity": f"{file_digest(run.model)} {fingerprint(cube)} {file_stamp(source)}",
        "box": box_of(cube, period_of(config["time"]), config["bbox"]),
        "max_gap_days": config["max_gap_days"],
        **inference,
    }
    with exclusive(config["output"]):
        if config["inference"]["cluster"]:
            fill_on_cluster(cube, filler, output, partial(build, data, xr.Dataset), **settings)
        else:
            fill_cube(cube, filler, output, trainer=options.predicting(several=True), **settings)
    if is_first():
        print(f"filled: {config['output']}")


def evaluate(config: dict[str, Any]) -> None:
    """Score a filled file, or a run again by its own protocol."""
    files = {k: config[k] for k in ("filled", "truth", "visible")}
    if config["run"] is not None:
        others = [k for k, v in config.items() if k != "run" and v is not None]
        if others:
            raise ConfigError(
                f"evaluate: give run=PATH, or filled=, truth= and visible=, not both: {others[0]}= is given"
            )
        _evaluate_run(config["run"])
        return
    missing = [k for k, v in files.items() if v is None]
    if missing:
        raise ConfigError(
            f"evaluate: {'= and '.join(missing)}= not given; expected filled=, truth= and visible=, or run="
        )
    from sgdsm.evaluation.score import format_table, score

    named = {k: config[k] for k in ("precipitation", "temperature")}
    scores = score(files["filled"], files["truth"], files["visible"], **named)
    print(format_table(scores.table()))


def _evaluate_run(folder: str) -> None:
    from sgdsm.models.checkpoint import load_filler
    from sgdsm.training.run import METRICS, Run, only_open, protocol_of
    from sgdsm.training.task import prepare

    run = Run(folder)
    config = run.config()
    check_config(config, "train")
    only_open(config["data"])
    recorded = run.metrics()
    task = prepare(config)
    # the run that it started from may be gone by now
    others = recorded["protocol"].get("learned_from", {})
    protocol = protocol_of(task.whole, [part.split for part in task.parts], config, others)
    if protocol["digest"] != recorded["protocol"]["digest"]:
        raise ConfigError(f"run={folder}: its data or its splits are no longer those of {METRICS}: train it again")
    run.write(METRICS, {**recorded, "classes": _score(task, load_filler(run.model), protocol, run)})
    announce(run.folder)


def chain(config: dict[str, Any]) -> None:
    """Run the steps of an experiment, and score them."""
    from sgdsm.cli.chain import run_chain

    experiment = HydraConfig.get().runtime.choices.get("experiment")
    if not experiment:
        raise ConfigError("chain: give experiment=NAME, one with chain.steps")
    overrides = [o for o in HydraConfig.get().overrides.task if not o.startswith(("output=", "chain"))]
    folder = _output_folder(config, experiment)
    others = {"predict": predict, "correct fit": correct_fit, "correct apply": correct_apply}
    with going_on(lambda: f"go on with the same words and output={shown(folder)}"):
        print(run_chain(config, overrides, folder, train_in, others))


def compare(config: dict[str, Any]) -> None:
    """Compare runs; train the models of an experiment first."""
    from sgdsm.cli.compare import compare_runs, train_experiment

    experiment = HydraConfig.get().runtime.choices.get("experiment")
    if config["runs"] and experiment:
        raise ConfigError("compare: give runs, or experiment=NAME, not both")
    output = _output_folder(config, f"compare_{experiment or 'runs'}")
    runs = [Path(run) for run in config["runs"]]
    if experiment:
        overrides = [
            o for o in HydraConfig.get().overrides.task if not o.startswith(("output=", "runs=", "reference="))
        ]
        runs = train_experiment(config, overrides, output, train_in)
    print(compare_runs(runs, config["reference"], output, experiment))


def _output_folder(config: dict[str, Any], label: str) -> Path:
    if any(word.lstrip("+").startswith("hydra.run.dir=") for word in HydraConfig.get().overrides.hydra):
        raise ConfigError("give output=FOLDER in place of hydra.run.dir=FOLDER")
    if Path(config["output"] or ".").is_file():
        raise ConfigError(f"output={config['output']}: a file; expected a folder")
    return Path(config["output"] or Path("runs") / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{label}")


COMMANDS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "train": train,
    "chain": chain,
    "predict": predict,
    "members": draw_members,
    "recalibrate": recalibrate,
    "evaluate": evaluate,
    "explain": explain,
    "compare": compare,
    "prepare": prepare,
    "correct fit": correct_fit,
    "correct apply": correct_apply,
    "describe": describe,
    "select": select,
    "export": export,
    "download": download,
}


def announce(folder: Path) -> None:
    """Print the folder of a run that has ended."""
    print(f"run: {shown(folder)}")


def shown(folder: Path) -> Path:
    """A path as seen from the working directory, where it lies within."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_absolute() and folder.is_relative_to(here) else folder
