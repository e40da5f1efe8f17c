"""Comparison of runs that were scored by one protocol: a table with paired intervals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgdsm.core.errors import ConfigError
from sgdsm.evaluation.metrics import METRICS, bootstrap
from sgdsm.evaluation.protocol import kind_of_split
from sgdsm.evaluation.score import Scores
from sgdsm.evaluation.tables import aligned

LONGEST = 24  # letters of a label in the tables as text
IN_HEAD = 12  # letters of the label of a reference that the heads of columns name
MAIN = 4  # columns of the first table as text: the RMSE and what is made of it


@dataclass
class Entry:
    """One run in a comparison.

    Attributes:
        label: Name of the run in tables and figures.
        folder: Of the run.
        metrics: Its metrics.json.
        scores: Its errors by class, block of days and region.
    """

    label: str
    folder: Path
    metrics: dict[str, Any]
    scores: Scores


def check_protocol(entries: list[Entry]) -> None:
    """Check that all runs were scored by the same protocol.

    Raises:
        ConfigError: If they were not, or if there is nothing to compare.
    """
    if not entries:
        raise ConfigError("compare: no run given: name run folders, or a folder of runs, or experiment=NAME")
    first = entries[0]
    for entry in entries[1:]:
        ours, theirs = first.metrics["protocol"], entry.metrics["protocol"]
        if ours["digest"] != theirs["digest"]:
            raise ConfigError(
                f"compare: {first.folder} and {entry.folder} were scored by different protocols: "
                f"{_difference(ours, theirs)}"
            )


def _difference(ours: Any, theirs: Any, key: str = "") -> str:
    """Return the first setting that differs, and both values: it explains more than two digests."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in {**ours, **theirs}:
            if name != "digest" and ours.get(name) != theirs.get(name):
                return _difference(ours.get(name), theirs.get(name), f"{key}.{name}" if key else name)
    return f"{key} {ours} and {theirs}"


def comparison(entries: list[Entry], reference: str) -> list[dict[str, Any]]:
    """Return the rows of the table, that with the smallest RMSE first.

    Args:
        entries: The runs.
        reference: Label of the run that the others are compared to.

    Returns:
        A row for each run: `label`; all metrics of the class `all`, by name; `share`, its RMSE over that of the
        reference; `difference`, `lower`, `upper`, its RMSE minus the reference's, with the 95 % interval from a paired
        bootstrap over blocks of days in regions; `rmse_lower`, `rmse_upper`, the interval of the RMSE itself;
        `rmse_CLASS` for the other classes; `fit_seconds`.
    """
    base = next((entry for entry in entries if entry.label == reference), entries[0])
    base_rmse = base.scores.table()["all"]["rmse"]
    rows = []
    for entry in entries:
        table = entry.scores.table()
        overall = table["all"]
        # paired: what makes a day hard is common to both runs and cancels
        difference, lower, upper = bootstrap(entry.scores.units(), reference=base.scores.units())
        _, rmse_lower, rmse_upper = bootstrap(entry.scores.units())
        row = {
            "label": entry.label,
            "rmse_lower": rmse_lower,
            "rmse_upper": rmse_upper,
            "share": overall["rmse"] / base_rmse,
            "difference": difference,
            "lower": lower,
            "upper": upper,
            "fit_seconds": entry.metrics["fit_seconds"],
        }
        by_class = {f"rmse_{name}": table[name]["rmse"] for name in table if name != "all"}
        rows.append(overall | row | by_class)
    return sorted(rows, key=lambda row: row["rmse"])


def comparison_tables(
    rows: list[dict[str, Any]], reference: str, units: str
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the cells of the table, and those of a second one with further metrics; the first line is the head.

    Args:
        rows: From `comparison`.
        reference: Label of the run that the others are compared to.
        units: Of the target.
    """
    kinds = [k for k in ("rmse_swath", "rmse_outage") if k in rows[0]]
    columns = [metric for metric in METRICS if metric.head and metric.name != "rmse"]
    head = ["model", f"RMSE [95 %] {units}", f"share of {reference}", f"minus {reference} [95 %]"]
    head += [k.removeprefix("rmse_") for k in kinds] + [*(metric.head for metric in columns), "fit s"]
    lines = [head]
    more = [metric for metric in METRICS if not metric.head and not metric.of_error_bars]
    for row in rows:
        is_reference = row["label"] == reference
        lines.append([
            row["label"],
            f"{row['rmse']:.4f} [{row['rmse_lower']:.4f}, {row['rmse_upper']:.4f}]",
            f"{row['share']:.3f}",
            "-" if is_reference else f"{row['difference']:+.4f} [{row['lower']:+.4f}, {row['upper']:+.4f}]",
            *(f"{row[k]:.4f}" for k in kinds),
            *(metric.text(row[metric.name]) for metric in columns),
            f"{row['fit_seconds']:.0f}",
        ])  # fmt: skip
    second = [["model", *(metric.label for metric in more)]]
    return lines, second + [[row["label"], *(metric.text(row[metric.name]) for metric in more)] for row in rows]


def format_comparison(rows: list[dict[str, Any]], reference: str, units: str, protocol: dict[str, Any]) -> str:
    """Return the tables as text: the RMSE with what is made of it, the other scores, and further metrics.

    Args:
        rows: From `comparison`.
        reference: Label of the run that the others are compared to.
        units: Of the target.
        protocol: Of all the runs.
    """
    main, *others = narrow_tables(rows, reference, units)
    said = scored_on(rows, reference, protocol)
    return "\n\n".join(["\n".join([aligned(main, LONGEST), *said]), *(aligned(table, LONGEST) for table in others)])


def scored_on(rows: list[dict[str, Any]], reference: str, protocol: dict[str, Any]) -> list[str]:
    """Return the lines below the tables: how many values of which split, and the reference where its name is long.

    Args:
        rows: From `comparison`.
        reference: Label of the run that the others are compared to.
        protocol: Of all the runs.
    """
    scored = f"N {rows[0]['n']:.0f} hidden values of the {protocol['scored_split']} split"
    said = [scored, f"({kind_of_split(protocol)})"]
    return [*said, f"the reference: {reference}"] if len(reference) > IN_HEAD else said


def narrow_tables(rows: list[dict[str, Any]], reference: str, units: str) -> list[list[list[str]]]:
    """Return the cells of `comparison_tables` in three tables: the RMSE, other scores, further metrics.

    Args:
        rows: From `comparison`.
        reference: Label of the run that the others are compared to.
        units: Of the target.
    """
    lines, second = comparison_tables(rows, reference, units)
    if len(reference) > IN_HEAD:
        # the heads of the columns repeat it
        lines[0] = [cell.replace(reference, "the reference") for cell in lines[0]]
    return [[line[:MAIN] for line in lines], [[line[0], *line[MAIN:]] for line in lines], second]
