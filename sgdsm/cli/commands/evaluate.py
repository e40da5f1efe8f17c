"""Score any filled file, or a run again by its own protocol."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from sgdsm.cli.hydra_state import shown
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import setting
from sgdsm.evaluation.protocol import FILLED, HIDDEN, SCORES, VISIBLE
from sgdsm.evaluation.realism import format_realism, realism
from sgdsm.evaluation.score import (
    Scores,
    format_change,
    format_details,
    format_efficiency,
    format_rmse,
    format_table,
    score,
    write_maps,
)
from sgdsm.models.checkpoint import load_filler
from sgdsm.report.realism import realism_figure
from sgdsm.training.config import check_training
from sgdsm.training.run import METRICS, Run, only_open, protocol_of
from sgdsm.training.task import TrainingTask
from sgdsm.training.train import score_run, scores_text

USAGE = "filled=FILE truth=FILE visible=FILE | run=PATH"
NOTE = "filled= may be a folder of daily files of another product: layout=, or estimate=NAME"
WITH_RUN = ("run", "details", "realism")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The files to score, or the run."""

    run: str | None = setting(None, "folder of a run: scored again by its own protocol", path=True)
    filled: str | None = setting(None, "the filled file, or a folder of daily files", path=True)
    truth: str | None = setting(None, "the hidden values, in classes", path=True)
    visible: str | None = setting(None, "the cube that the filler saw", path=True)
    precipitation: str | None = setting(
        None, "name of that variable in visible=, where its standard_name does not say it"
    )
    temperature: str | None = setting(None, "the same, of the daily mean air temperature: for the scores by climate")
    estimate: str | None = setting(None, "variable of the filled values; default: sm_filled, or that of the layout")
    layout: Literal["cci_gapfilled", "sgd_sm"] | None = setting(None, "of a folder of daily files")
    changed: Literal["refuse", "allow"] = setting("refuse", "allow: visible values may differ, and the table says so")
    weights: Literal["none", "area"] = setting("none", "area: values count by the area of their cells")
    classes: str | None = setting(None, "FILE:variable, a map of classes (land cover, climate region), on any grid")
    details: bool = setting(False, "a second table: months, distances to visible values, and NSE of all classes")
    maps: str | None = setting(None, "FILE.nc for the scores of each cell", path=True)
    realism: str | None = setting(None, "FILE.png: how filled values vary beside the truth, and a table", path=True)

    def __post_init__(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        if self.run is not None:
            others = [k for k, v in asdict(self).items() if k not in WITH_RUN and v != defaults[k]]
            if others:
                raise ConfigError(
                    f"evaluate: give run=PATH, or filled=, truth= and visible=, not both: {others[0]}= is given"
                )
            return
        missing = [k for k in ("filled", "truth", "visible") if getattr(self, k) is None]
        if missing:
            raise ConfigError(
                f"evaluate: {'= and '.join(missing)}= not given; expected filled=, truth= and visible=, or run="
            )
        if self.maps is not None and not self.maps.endswith(".nc"):
            raise ConfigError(f"maps={self.maps}: expected a name ending in .nc")


def run(settings: Settings) -> None:
    """Print the scores."""
    _check_figure(settings)
    if settings.run is not None:
        _evaluate_run(Run(settings.run), settings)
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
        estimate=settings.estimate,
        layout=settings.layout,
        changed=settings.changed,
        weights=settings.weights,
        classes=settings.classes,
    )
    print(format_table(scores.table()))
    print(format_efficiency(scores))
    print(format_rmse(scores, _units(settings.truth)))
    if settings.changed == "allow":
        print(format_change(scores.change))
    if settings.details:
        print(f"\n{format_details(scores.table())}")
    if settings.maps is not None and scores.maps is not None:
        sources = {k: str(getattr(settings, k)) for k in ("filled", "truth", "visible")}
        write_maps(scores.maps, Path(settings.maps), sources)
        print(f"maps: {shown(Path(settings.maps))}")
    _show_realism(settings, settings.filled, settings.truth, settings.visible)


def _units(truth: str | Path) -> str:
    with open_dataset(truth) as question:
        return str(question["truth"].attrs.get("units", "1"))


def _check_figure(settings: Settings) -> None:
    if settings.realism is not None and not settings.realism.endswith((".png", ".pdf", ".svg")):
        raise ConfigError(f"realism={settings.realism}: expected a name ending in .png, .pdf or .svg")


def _show_realism(settings: Settings, filled: str | Path, truth: str | Path, visible: str | Path) -> None:
    """Print the table of realism and draw the figure, if they are asked for."""
    if settings.realism is None:
        return
    found = realism(filled, truth, visible, settings.precipitation, estimate=settings.estimate, layout=settings.layout)
    units = _units(truth)
    print(f"\n{format_realism(found, units)}")
    name = Path(filled).parent.parent.name if settings.run else Path(filled).stem
    path = realism_figure({name: found}, Path(settings.realism), f"realism of {name}", units)
    print(f"figure: {shown(path)}")


def _evaluate_run(run: Run, settings: Settings) -> None:
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
    scores = Scores.load(run.evaluation / SCORES)
    print(format_efficiency(scores))
    if settings.details:
        print(f"\n{format_details(scores.table())}")
    _show_realism(settings, *(run.evaluation / name for name in (FILLED, HIDDEN, VISIBLE)))
    print(f"run: {shown(run.folder)}")
