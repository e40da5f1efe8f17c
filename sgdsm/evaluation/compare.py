"""Runs of one protocol side by side: a table with paired intervals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgdsm.core.cube import ConfigError
from sgdsm.evaluation.metrics import bootstrap
from sgdsm.evaluation.protocol import kind_of_split
from sgdsm.evaluation.score import GAP_LENGTHS, Scores


@dataclass
class Entry:
    """One run in a comparison: its label, metrics.json and scores."""

    label: str
    folder: Path
    metrics: dict[str, Any]
    scores: Scores


def check_protocol(entries: list[Entry]) -> None:
    """Raise ConfigError where runs were scored by different protocols, or there is nothing to compare."""
    if not entries:
        raise ConfigError("compare: no run given: name run folders, or a folder of runs, or experiment=NAME")
    first = entries[0]
    for entry in entries[1:]:
        ours, theirs = first.metrics["protocol"], entry.metrics["protocol"]
        if ours["digest"] != theirs["digest"]:
            key = next(k for k in {**ours, **theirs} if k != "digest" and ours.get(k) != theirs.get(k))
            raise ConfigError(
                f"compare: {first.folder} and {entry.folder} were scored by different protocols: "
                f"{key} {ours.get(key)} and {theirs.get(key)}"
            )


def comparison(entries: list[Entry], reference: str) -> list[dict[str, Any]]:
    """Rows of the table, best first.

    share: RMSE over that of the reference. difference, lower, upper: RMSE minus the reference's, with its 95 %
    interval from a paired bootstrap over blocks of days in regions.
    """
    base = next((entry for entry in entries if entry.label == reference), entries[0])
    base_rmse = base.scores.table()["all"]["rmse"]
    rows = []
    for entry in entries:
        table = entry.scores.table()
        overall = table["all"]
        difference, lower, upper = bootstrap(entry.scores.units(), reference=base.scores.units())
        _, rmse_lower, rmse_upper = bootstrap(entry.scores.units())
        row = {
            "label": entry.label,
            "rmse": overall["rmse"],
            "rmse_lower": rmse_lower,
            "rmse_upper": rmse_upper,
            "share": overall["rmse"] / base_rmse,
            "difference": difference,
            "lower": lower,
            "upper": upper,
            "bias": overall["bias"],
            "ubrmse": overall["ubrmse"],
            "r": overall["r"],
            "r_anomaly": overall["r_anomaly"],
            "coverage": overall["coverage"],
            "crps": overall["crps"],
            "slope": overall["slope"],
            "fit_seconds": entry.metrics["fit_seconds"],
            "n": overall["n"],
        }
        rows.append(row | {f"rmse_{name}": table[name]["rmse"] for name in table if name != "all"})
    return sorted(rows, key=lambda row: row["rmse"])


def format_comparison(rows: list[dict[str, Any]], reference: str, units: str, protocol: dict[str, Any]) -> str:
    """The table as text. protocol: of all the runs."""
    kinds = [k for k in ("rmse_swath", "rmse_outage") if k in rows[0]]
    head = ["model", f"RMSE [95 %] {units}", f"share of {reference}", f"minus {reference} [95 %]"]
    head += [k.removeprefix("rmse_") for k in kinds] + ["bias", "R", "R anom", "cover", "CRPS", "fit s"]
    lines = [head]
    for row in rows:
        own = row["label"] == reference
        lines.append([
            row["label"],
            f"{row['rmse']:.4f} [{row['rmse_lower']:.4f}, {row['rmse_upper']:.4f}]",
            f"{row['share']:.3f}",
            "-" if own else f"{row['difference']:+.4f} [{row['lower']:+.4f}, {row['upper']:+.4f}]",
            *(f"{row[k]:.4f}" for k in kinds),
            f"{row['bias']:+.4f}",
            f"{row['r']:.3f}",
            f"{row['r_anomaly']:.3f}",
            "-" if np.isnan(row["coverage"]) else f"{row['coverage']:.3f}",
            "-" if np.isnan(row["crps"]) else f"{row['crps']:.4f}",
            f"{row['fit_seconds']:.0f}",
        ])  # fmt: skip
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    text.insert(1, "-" * len(text[0]))
    scored = f"hidden values of the {protocol['scored_split']} split ({kind_of_split(protocol)})"
    return "\n".join(text) + f"\nN {rows[0]['n']:.0f} {scored}"


def by_gap_length(entry: Entry) -> dict[str, float]:
    """RMSE of each class of gap lengths that has values."""
    table = entry.scores.table()
    return {name: table[name]["rmse"] for name in GAP_LENGTHS if table[name]["n"]}
