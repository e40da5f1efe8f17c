"""Tune settings by Bayesian optimisation: the smallest validation RMSE of some trainings."""

from __future__ import annotations

import csv
import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sgdsm.cli.error_lines import one_line
from sgdsm.cli.hydra_state import experiment_name, output_folder, overrides_for_trainings, shown
from sgdsm.cli.plan import check_same, train_once, training_of
from sgdsm.core.errors import ConfigError, SgdsmError
from sgdsm.core.settings import setting
from sgdsm.core.signals import going_on
from sgdsm.training.config import TrainingConfig
from sgdsm.training.run import Run

USAGE = "experiment=tune_xgboost | model=M 'model.KEY=int(a,b)' 'model.KEY=log(a,b)' ... [trials=20]"
NOTE = (
    "ranges: int(a,b), float(a,b), logint(a,b), log(a,b), choice(a,b,..); the same words with output=FOLDER go on; "
    "needs the extra: pip install 'sgdsm[tune]'"
)
OWN = ("output", "trials", "startup_trials", "on_failure", "space")
RANGE = re.compile(r"(int|float|logint|log|choice)\((.+)\)")


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingConfig):
    """What is tuned, and in how many trainings; settings of `train` hold for all of them."""

    trials: int = setting(20, "trainings")
    startup_trials: int = setting(8, "of them with random settings, before there is something to learn from")
    output: str | None = setting(None, "folder; a finished training that is there is not done again", path=True)
    on_failure: Literal["fail", "skip"] = setting("fail", "skip: a training that fails is left out")
    space: list[str] = setting(
        [], "list of ranges like model.max_depth=int(4,12), which may also be typed as words of their own"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.trials < 1 or self.startup_trials < 1:
            raise ConfigError(f"trials={self.trials}, startup_trials={self.startup_trials}: expected at least 1")
        self.ranges()

    def ranges(self) -> dict[str, tuple[str, list[str]]]:
        """Return for each tuned key the kind of its range and what stands in its brackets."""
        given = {str(k): str(v) for k, v in ((self.tune or {}).get("space") or {}).items()}
        given |= dict(word.partition("=")[::2] for word in self.space)
        if not given:
            raise ConfigError("tune: no range to search: give one, like 'model.max_depth=int(4,12)'")
        parsed = {}
        for key, text in given.items():
            match = RANGE.fullmatch(text)
            values = [part.strip() for part in match[2].split(",")] if match else []
            if match is None or (match[1] != "choice" and not _are_bounds(values)):
                raise ConfigError(f"{key}={text}: expected int(a,b), float(a,b), logint(a,b), log(a,b) or choice(a,b)")
            parsed[key] = (match[1], values)
        return parsed


def prepared(words: Sequence[str]) -> list[str]:
    """Return the words with all ranges in one word `space=`: to Hydra a range is no value."""
    ranges = [word for word in words if RANGE.fullmatch(word.partition("=")[2])]
    others = [word for word in words if word not in ranges]
    return [*others, f"space={[str(word) for word in ranges]}"] if ranges else others


def run(settings: Settings) -> None:
    """Train with settings that the sampler proposes, and print the best; `trials.csv` keeps all."""
    if find_spec("optuna") is None:
        raise ConfigError("tune needs optuna: pip install 'sgdsm[tune]'")
    folder = output_folder(settings.output, f"tune_{experiment_name() or 'settings'}")
    with going_on(lambda: f"go on with the same words and output={shown(folder)}"):
        _search(settings, folder)


def _search(settings: Settings, folder: Path) -> None:
    import optuna

    logging.getLogger("optuna").setLevel(logging.WARNING)
    overrides = overrides_for_trainings(*OWN, "tune")
    sampler = optuna.samplers.TPESampler(seed=settings.seed, n_startup_trials=settings.startup_trials)
    study = optuna.create_study(sampler=sampler)
    rows: list[dict[str, Any]] = []
    for number in range(settings.trials):
        # asked in the same order, with the same seed: what is finished gives the same proposals again
        trial = study.ask()
        words = [f"{key}={_proposed(trial, key, *parts)}" for key, parts in settings.ranges().items()]
        print(f"\n[{number + 1}/{settings.trials}] {' '.join(words)}", flush=True)
        run = Run(folder / f"trial_{number:03d}")
        try:
            training = training_of(" ".join(words), [*overrides, *words])
            check_same(run, training)
            train_once(run, training)
            score = float(run.metrics()["validation_rmse"])
        except SgdsmError as error:
            if settings.on_failure == "fail":
                raise
            print(f"error: {one_line(error, 'tune')}", file=sys.stderr)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        study.tell(trial, score)
        rows.append({"trial": run.folder.name, "validation_rmse": score, **trial.params})
        _write(rows, folder / "trials.csv")
    if not rows:
        raise ConfigError("tune: every training failed")
    best = min(rows, key=lambda row: float(row["validation_rmse"]))
    words = [f"{key}={best[key]}" for key in settings.ranges()]
    print(f"\nbest of {len(rows)}: validation RMSE {best['validation_rmse']:.6f}, {folder / str(best['trial'])}")
    print(" ".join(words))


def _are_bounds(values: list[str]) -> bool:
    try:
        low, high = map(float, values)
    except ValueError:
        return False
    return low < high


def _proposed(trial: Any, key: str, kind: str, values: list[str]) -> Any:
    if kind == "choice":
        return trial.suggest_categorical(key, values)
    if kind in ("int", "logint"):
        return trial.suggest_int(key, int(float(values[0])), int(float(values[1])), log=kind == "logint")
    return trial.suggest_float(key, float(values[0]), float(values[1]), log=kind == "log")


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
