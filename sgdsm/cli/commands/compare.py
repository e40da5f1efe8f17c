"""Compare runs in one table, with figures and a page; trains the models of an experiment first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sgdsm.cli.hydra_state import experiment_name, output_folder, overrides_for_trainings, shown
from sgdsm.cli.plan import check_same, train_once, training_of
from sgdsm.cli.reports import (
    about_run,
    entry_of,
    labels_of,
    question_of_runs,
    reference_of,
    run_folders,
)
from sgdsm.core.arguments import shown as shown_value
from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import setting
from sgdsm.core.signals import going_on
from sgdsm.evaluation.compare import check_protocol, comparison, format_comparison, narrow_tables, scored_on
from sgdsm.evaluation.holdouts import Repeated, check_repeated, format_repeated, repeated_tables, write_repeated
from sgdsm.evaluation.tables import write_numbers, write_tables
from sgdsm.report.figures import comparison_figures
from sgdsm.report.holdouts import holdout_figure
from sgdsm.report.html import listing
from sgdsm.report.page import Report, write_report
from sgdsm.training.config import TrainingConfig
from sgdsm.training.run import Run

USAGE = "RUN RUN ... | experiment=E"
POSITIONAL = "runs"
MOST_REPEATS = 1000
NOTE = "key=value changes a setting of every training of the experiment"


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingConfig):
    """Runs, or an experiment whose models are trained; settings of `train` hold for all of them."""

    runs: list[str] = setting([], "folders of finished runs, or folders of runs")
    reference: str | None = setting(
        None, "the run that the others are measured by: its name or the end of it; default: linear_time, or the first"
    )
    output: str | None = setting(
        None, "folder of the comparison; a finished run that is there is not trained again", path=True
    )


def run(settings: Settings) -> None:
    """Train what is not finished, then compare."""
    experiment = experiment_name()
    if settings.runs and experiment:
        raise ConfigError("compare: give runs, or experiment=NAME, not both")
    output = output_folder(settings.output, f"compare_{experiment or 'runs'}")
    runs = [Path(run) for run in settings.runs]
    if experiment:
        with going_on(lambda: f"go on with the same words and output={shown(output)}"):
            if (settings.compare or {}).get("repeats") is not None:
                print(_repeated(settings, output, experiment))
                return
            runs = train_experiment(settings, output)
    print(compare_runs(runs, settings.reference, output, experiment))


def train_experiment(settings: Settings, output: Path) -> list[Path]:
    """Train every model of `compare.models` on the same protocol; finished runs in `output` are kept.

    Args:
        settings: Of the experiment.
        output: Folder of the comparison.

    Returns:
        The folders of the runs.

    Raises:
        ConfigError: A model cannot work; found before the first one is trained.
    """
    return _train(_planned(settings, output), output)


def _planned(settings: Settings, output: Path, more: str = "") -> list[tuple[Run, Any]]:
    """Return the run and the training of each model of an experiment, with further words for all of them."""
    models = (settings.compare or {}).get("models") or {}
    if not models:
        raise ConfigError("compare.models is empty: name models by overrides, such as 'xgboost: model=xgboost'")
    for label, words in models.items():
        if not isinstance(words, str):
            raise ConfigError(f"compare.models.{label}={words!r}: expected words, such as 'model=xgboost'")
    shared = overrides_for_trainings("output", "runs", "reference")
    return [
        (Run(output / str(label)), training_of(f"compare.models.{label}", [*shared, *words.split(), *more.split()]))
        for label, words in models.items()
    ]


def _train(planned: Sequence[tuple[Run, Any]], output: Path, drawn: Sequence[Path] | None = None) -> list[Path]:
    """Train runs; figures of those in some folders alone where `drawn` is given."""
    for run, training in planned:
        check_same(run, training)
    for number, (run, training) in enumerate(planned, 1):
        print(f"\n[{number}/{len(planned)}] {run.folder.relative_to(output)}", flush=True)
        train_once(run, training, drawn is None or run.folder.parent in drawn)
    return [run.folder for run, _ in planned]


def _repeated(settings: Settings, output: Path, experiment: str | None) -> str:
    """Train every model on several draws of `compare.repeated` and on `compare.beside`; return what to print."""
    about = settings.compare or {}
    repeats, words = about["repeats"], {key: about.get(key) for key in ("repeated", "beside")}
    if not 2 <= repeats <= MOST_REPEATS:
        raise ConfigError(f"compare.repeats={repeats}: expected 2 to {MOST_REPEATS}")
    for key, value in words.items():
        if not value or not value.startswith("splits="):
            raise ConfigError(f"compare.{key}={shown_value(value)}: expected words for splits, such as 'splits=blocks'")
    repeated, other = (str(value).split()[0].removeprefix("splits=") for value in words.values())
    drawn = _planned(settings, output, str(words["repeated"]))
    planned = [
        [(Run(output / f"{repeated}_{k}" / run.folder.name), _seeded(training, k)) for run, training in drawn]
        for k in range(repeats)
    ]
    # the other split last: its comparison is what the page ends with
    planned.append(_planned(settings, output / other, str(words["beside"])))
    _train([one for group in planned for one in group], output, [output / other])
    *draws, beside = [[entry_of(run.folder.name, run.folder) for run, _ in group] for group in planned]
    runs = Repeated(draws, beside, repeated, other)
    check_repeated(runs)
    units = beside[0].metrics["units"]
    output.mkdir(parents=True, exist_ok=True)
    write_repeated(runs, output / "holdouts.csv")
    write_tables(repeated_tables(runs, units), output / "holdouts")
    picture = holdout_figure(runs, units, output / "holdouts.png")
    text = format_repeated(runs, units)
    return compare_runs([e.folder for e in beside], settings.reference, output, experiment, (text, picture))


def _seeded(training: Any, seed: int) -> Any:
    """Return the settings of a training with another seed of its splits."""
    return replace(training, splits={**training.splits, "seed": seed})


def compare_runs(
    folders: Sequence[Path],
    reference: str | None,
    output: Path,
    experiment: str | None,
    above: tuple[str, Path] | None = None,
) -> str:
    """Write the tables, the figures and the page of a comparison to `output`; returns what to print.

    The tables are there as text, and as CSV (all digits), Markdown and LaTeX.

    reference: label of the run that the others are measured by, or the end of its folder's name; by default
    'linear_time' where there is one, else the first run.
    above: a text and a figure that come before the table and the figures of the runs.

    Raises ConfigError where there is no such run, or several.
    """
    folders = run_folders(folders, "compare")
    labels = labels_of(folders, "compare")
    entries = [entry_of(label, folder) for folder, label in zip(folders, labels, strict=True)]
    check_protocol(entries)
    reference = reference_of(labels, reference, folders)
    rows = comparison(entries, reference)
    units = entries[0].metrics["units"]
    table = format_comparison(rows, reference, units, entries[0].metrics["protocol"])
    if above is not None:
        table = f"{above[0]}\n\n{table}"
    output.mkdir(parents=True, exist_ok=True)
    (output / "comparison.txt").write_text(table + "\n")
    scored = scored_on(rows, reference, entries[0].metrics["protocol"])
    write_tables(narrow_tables(rows, reference, units), output / "comparison", scored)
    write_numbers([{"label": row["label"], **row} for row in rows], output / "comparison.csv")  # the label first
    pictures = comparison_figures(entries, rows, reference, units, output / "figures")
    report = Report(
        title=f"Comparison {experiment or ''}".strip(),
        entries=entries,
        reference=reference,
        runs=[about_run(entry) for entry in entries],
        # the best first: it is what a reader looks for
        questions=question_of_runs([next(e for e in entries if e.label == row["label"]) for row in rows]),
        pictures=pictures if above is None else [above[1], *pictures],
        sections=[] if above is None else [("Repeated hold-outs", listing(above[0], "Repeated hold-outs"))],
    )
    page = output / "report.html"
    said = write_report(report, page)
    return f"\n{table}\n\nreport: {page} ({said})"
