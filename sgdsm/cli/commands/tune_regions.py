"""Tune the forest of each climate region at once, and print the joined settings of all regions."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from sgdsm.cli.commands.select import strata_of
from sgdsm.cli.hydra_state import output_folder, overrides_for_trainings, shown
from sgdsm.cli.plan import check_same, train_once, training_of
from sgdsm.core.arguments import TARGET
from sgdsm.core.cube import target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.settings import setting
from sgdsm.core.signals import going_on
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.checkpoint import load_filler
from sgdsm.training.config import TrainingConfig
from sgdsm.training.run import Run
from sgdsm.training.task import TrainingTask, fill_scenario, split_cube

USAGE = "model=window_forest zone=NAME data=.. [trials=20] [output=FOLDER]"
NOTE = (
    "every training has its own proposal for each region, so all are tuned in as many trainings as one; the same words "
    "with output=FOLDER go on; needs the extra: pip install 'sgdsm[tune]'"
)
# what LIU (HESS 27, 577, 2023) tune, around the optima of its Table 3
SPACE = {"trees": (20, 100), "max_depth": (4, 20), "min_samples_split": (2, 12), "max_features": (0.1, 0.6)}
REGIONS = "regions.json"  # in the folder of a training: validation RMSE of each region
FEW = 30  # hidden values of a region, below which its RMSE says little


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingConfig):
    """The map of regions, and the number of trainings; settings of `train` hold for all of them."""

    zone: str = setting(help="a static variable with the codes of the regions")
    trials: int = setting(20, "trainings; 20 in the paper")
    startup_trials: int = setting(8, "of them with random settings, before there is something to learn from")
    output: str | None = setting(None, "folder; a finished training that is there is not done again", path=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trials < 1 or self.startup_trials < 1:
            raise ConfigError(f"trials={self.trials}, startup_trials={self.startup_trials}: expected at least 1")
        if str(self.model.get(TARGET)) != "sgdsm.models.WindowForest":
            raise ConfigError(f"tune regions: found the model {self.model.get(TARGET)}, expected model=window_forest")


def run(settings: Settings) -> None:
    """Train with proposals for all regions, and print the best of each; `trials.csv` keeps all."""
    if find_spec("optuna") is None:
        raise ConfigError("tune regions needs optuna: pip install 'sgdsm[tune]'")
    folder = output_folder(settings.output, f"tune_regions_{settings.zone}")
    with going_on(lambda: f"go on with the same words and output={shown(folder)}"):
        _search(settings, folder)


def _search(settings: Settings, folder: Path) -> None:
    import optuna

    logging.getLogger("optuna").setLevel(logging.WARNING)
    groups = {group: getattr(settings, group) for group in ("data", "gaps", "splits")}
    cube = split_cube(groups).cube
    regions, names = strata_of(cube, settings.zone, "zone")
    codes = _codes(cube[settings.zone].values, regions, settings.zone)
    overrides = overrides_for_trainings("output", "trials", "startup_trials", "zone")
    studies = {}
    for code in codes:
        # a seed for each region, so that they do not try the same settings
        sampler = optuna.samplers.TPESampler(seed=settings.seed + code, n_startup_trials=settings.startup_trials)
        studies[code] = optuna.create_study(sampler=sampler)
    rows: list[dict[str, Any]] = []
    for number in range(settings.trials):
        trials = {code: study.ask() for code, study in studies.items()}
        shapes = {code: _proposed(trial) for code, trial in trials.items()}
        words = ["model.windows=false", "model.calibrate=false", *_words(settings.zone, shapes)]
        print(f"\n[{number + 1}/{settings.trials}] {words[-2]}", flush=True)
        run = Run(folder / f"trial_{number:03d}")
        training = training_of("tune regions", [*overrides, *words])
        check_same(run, training)
        train_once(run, training)
        scores = _scores(run, regions, list(codes))
        for code, name in zip(codes, names, strict=True):
            rmse, count = scores[str(code)]
            if count < FEW:
                raise ConfigError(f"zone={settings.zone}: {count} hidden values in region {code}, expected {FEW}")
            studies[code].tell(trials[code], rmse)
            rows.append({"trial": run.folder.name, "region": code, "name": name, "rmse": rmse, **_named(shapes[code])})
        _write(rows, folder / "trials.csv")
    best = {}
    print("\nbest of each region, by validation RMSE")
    for code, name in zip(codes, names, strict=True):
        row = min((r for r in rows if r["region"] == code), key=lambda r: float(r["rmse"]))
        worst = max(float(r["rmse"]) for r in rows if r["region"] == code)
        best[code] = [row[key] for key in SPACE]
        print(f"{code:4} {name:16} {row['rmse']:.6f} (worst {worst:.6f}) {row['trial']} {_named(best[code])}")
    print(" ".join(_words(settings.zone, best)))


def _codes(values: np.ndarray, regions: np.ndarray, zone: str) -> list[int]:
    """Return the codes of the regions, in their order."""
    codes = np.unique(values[regions >= 0])
    if (codes != np.round(codes)).any() or (codes < 0).any():
        raise ConfigError(f"zone={zone}: expected codes that are whole numbers, found {codes[:5].tolist()}")
    return [int(code) for code in codes]


def _proposed(trial: Any) -> list[float]:
    whole = [trial.suggest_int(key, *SPACE[key]) for key in ("trees", "max_depth", "min_samples_split")]
    return [*whole, round(trial.suggest_float("max_features", *SPACE["max_features"]), 4)]


def _words(zone: str, shapes: dict[int, list[float]]) -> list[str]:
    """Return the words that give each region its forest; the forests are the last but one."""
    zones = ",".join(f"{code}:zone_{code}" for code in shapes)
    presets = ",".join(f"zone_{code}:[{','.join(f'{v:g}' for v in shape)}]" for code, shape in shapes.items())
    return [f"model.zone={zone}", f"model.zones={{{zones}}}", f"model.presets={{{presets}}}", "model.trees=null"]


def _scores(run: Run, regions: np.ndarray, codes: list[int]) -> dict[str, list[float]]:
    """Return the validation RMSE of a run and the number of values, by code of the region; computed once."""
    path = run.folder / REGIONS
    if path.is_file():
        found: dict[str, list[float]] = json.loads(path.read_text())
        return found
    task = TrainingTask.from_config(run.config())
    filler = load_filler(run.model)
    task.options.prepare(filler)
    output = MemoryOutput()
    fill_scenario(task, filler, "validation", output, task.options.predicting())
    truth, hidden = target_of(task.cube).values, task.split.scenarios["validation"].all_hidden
    error = np.where(hidden, output.dataset[SM_FILLED].values - truth, 0.0)
    found = {}
    for number, code in enumerate(codes):
        inside = regions == number
        count = int(hidden[:, inside].sum())
        found[str(code)] = [float(np.sqrt((error[:, inside] ** 2).sum() / max(1, count))), count]
    run.write(REGIONS, found)
    return found


def _named(shape: list[float]) -> dict[str, float]:
    return dict(zip(SPACE, shape, strict=True))


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
