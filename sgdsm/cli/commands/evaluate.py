"""Score any filled file, or a run again by its own protocol."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sgdsm.cli.hydra_state import shown
from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import setting
from sgdsm.evaluation.score import format_table, score
from sgdsm.models.checkpoint import load_filler
from sgdsm.training.config import check_training
from sgdsm.training.run import METRICS, Run, only_open, protocol_of
from sgdsm.training.task import TrainingTask
from sgdsm.training.train import score_run, scores_text

USAGE = "filled=FILE truth=FILE visible=FILE | run=PATH"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The files to score, or the run."""

    run: str | None = setting(None, "folder of a run: scored again by its own protocol", path=True)
    filled: str | None = setting(None, "the filled file", path=True)
    truth: str | None = setting(None, "the hidden values, in classes", path=True)
    visible: str | None = setting(None, "the cube that the filler saw", path=True)
    precipitation: str | None = setting(
        None, "name of that variable in visible=, where its standard_name does not say it"
    )
    temperature: str | None = setting(None, "the same, of the daily mean air temperature: for the scores by climate")

    def __post_init__(self) -> None:
        values = asdict(self)
        if self.run is not None:
            others = [k for k, v in values.items() if k != "run" and v is not None]
            if others:
                raise ConfigError(
                    f"evaluate: give run=PATH, or filled=, truth= and visible=, not both: {others[0]}= is given"
                )
            return
        missing = [k for k in ("filled", "truth", "visible") if values[k] is None]
        if missing:
            raise ConfigError(
                f"evaluate: {'= and '.join(missing)}= not given; expected filled=, truth= and visible=, or run="
            )


def run(settings: Settings) -> None:
    """Print the scores."""
    if settings.run is not None:
        _evaluate_run(Run(settings.run))
        return
    assert settings.filled is not None
    assert settings.truth is not None
    assert settings.visible is not None
    scores = score(
        settings.filled,
        settings.truth,
        settings.visible,
        precipitation=settings.precipitation,
        temperature=settings.temperature,
    )
    print(format_table(scores.table()))


def _evaluate_run(run: Run) -> None:
    config = run.config()
    check_training(config)
    only_open(config["data"])
    recorded = run.metrics()
    task = TrainingTask.from_config(config)
    # the run that it started from may be gone by now
    others = recorded["protocol"].get("learned_from", {})
    protocol = protocol_of(task.whole, [part.split for part in task.parts], config, others)
    if protocol["digest"] != recorded["protocol"]["digest"]:
        raise ConfigError(f"run={run.folder}: its data or its splits are no longer those of {METRICS}: train it again")
    filler = load_filler(run.model)
    task.options.prepare(filler)
    run.write(METRICS, {**recorded, "classes": score_run(task, filler, protocol, run)})
    print(f"\n{scores_text(run)}")
    print(f"run: {shown(run.folder)}")
