"""Repeated hold-outs: the same fillers scored on several draws of the test values, beside one honest split.

Liu et al. (HESS 27, 577, 2023) hold out 10 % of the values at random, ten times, and report medians. Such values have
learned ones around them. The table puts the medians beside scores of another split, and says which of the two leaks.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sgdsm.evaluation.compare import Entry, check_protocol
from sgdsm.evaluation.metrics import METRICS
from sgdsm.evaluation.protocol import kind_of_split
from sgdsm.evaluation.tables import aligned

COLUMNS = ("model", "splits", "seed", "metric", "value")


class Repeated(NamedTuple):
    """Runs of the same fillers on several draws of the test values.

    Attributes:
        draws: For each draw the runs, all fillers in the same order.
        beside: The runs on another split, in that order.
        repeated: What the draws are, in a word, like 'random'.
        other: What the other split is, like 'blocks'.
    """

    draws: Sequence[Sequence[Entry]]
    beside: Sequence[Entry]
    repeated: str
    other: str

    def values(self, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a metric of all hidden values, by draw and filler (D, F), and on the other split (F,)."""
        drawn = [[entry.scores.table()["all"][metric] for entry in draw] for draw in self.draws]
        return np.array(drawn), np.array([entry.scores.table()["all"][metric] for entry in self.beside])


def check_repeated(runs: Repeated) -> None:
    """Raise ConfigError where the fillers of a draw, or of the other split, were scored by different protocols."""
    for group in (*runs.draws, runs.beside):
        check_protocol(list(group))


def format_repeated(runs: Repeated, units: str) -> str:
    """Return the tables of `repeated_tables` as text, with what they were scored on.

    Args:
        runs: That passed `check_repeated`.
        units: Of the target.
    """
    groups = (runs.draws[0], runs.beside)
    said = [
        f"{name}: N {int(group[0].scores.table()['all']['n'])} hidden values; "
        f"{kind_of_split(group[0].metrics['protocol'])}"
        for name, group in zip((runs.repeated, runs.other), groups, strict=True)
    ]
    return "\n\n".join([*map(aligned, repeated_tables(runs, units)), "\n".join(said)])


def repeated_tables(runs: Repeated, units: str) -> list[list[list[str]]]:
    """Return the cells of two tables: the RMSE of each draw; of all metrics median, smallest and largest value.

    Args:
        runs: That passed `check_repeated`.
        units: Of the target.
    """
    labels = [entry.label for entry in runs.beside]
    rmse, beside = runs.values("rmse")
    kinds = [kind_of_split(group[0].metrics["protocol"]) for group in (runs.draws[0], runs.beside)]
    names = [_named(runs.repeated, kinds[0]), _named(runs.other, kinds[1])]
    median = np.median(rmse, 0)
    rows = [[f"RMSE {units}".strip(), *labels]]
    rows += [[f"{names[0]}, hold-out {k}", *(f"{value:.4f}" for value in draw)] for k, draw in enumerate(rmse, 1)]
    rows += [
        [f"{names[0]}, median of {len(rmse)}", *(f"{value:.4f}" for value in median)],
        [
            f"{names[0]}, smallest to largest",
            *(f"{a:.4f}-{b:.4f}" for a, b in zip(rmse.min(0), rmse.max(0), strict=True)),
        ],
        [names[1], *(f"{value:.4f}" for value in beside)],
        [f"{runs.other} over median", *(f"{value:.2f}" for value in beside / median)],
    ]
    others = [[f"median of {len(rmse)} [smallest, largest]; {runs.other}", *labels]]
    for metric in METRICS:
        drawn, other = runs.values(metric.name)
        # metrics of error bars are for fillers that have some
        if metric.head and metric.name != "rmse" and not (metric.of_error_bars and np.isnan(drawn).all()):
            text = [
                f"{metric.text(np.median(d))} [{metric.text(d.min())}, {metric.text(d.max())}]; {metric.text(o)}"
                for d, o in zip(drawn.T, other, strict=True)
            ]
            others.append([metric.head, *text])
    return [rows, others]


def write_repeated(runs: Repeated, path: Path) -> None:
    """Write all metrics of all runs as a table, a line for each.

    Args:
        runs: That passed `check_repeated`.
        path: CSV file with the columns COLUMNS.
    """
    groups = [(runs.repeated, draw) for draw in runs.draws] + [(runs.other, runs.beside)]
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, group in groups:
            for entry in group:
                seed = entry.metrics["protocol"]["splits"].get("seed")
                table: Mapping[str, float] = entry.scores.table()["all"]
                writer.writerows([entry.label, name, seed, metric, value] for metric, value in table.items())
    partial.replace(path)


def _named(name: str, kind: str) -> str:
    return f"{name} (leaks)" if "leaks" in kind else name
