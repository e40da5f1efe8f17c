"""The figure of repeated hold-outs beside another split."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sgdsm.evaluation.holdouts import Repeated
from sgdsm.evaluation.metrics import bootstrap
from sgdsm.report.style import BLUE, INK, RED, subplots


def holdout_figure(runs: Repeated, units: str, path: Path) -> Path:
    """Draw the RMSE of each hold-out and their median, and that of the other split with its 95 % interval.

    Args:
        runs: Of the same fillers.
        units: Of the target.
        path: Of the figure.

    Returns:
        The path.
    """
    rmse, beside = runs.values("rmse")
    figure, axis = subplots(figsize=(8, 0.7 * len(beside) + 1.8), layout="constrained")
    for place, (entry, values, other) in enumerate(zip(runs.beside, rmse.T, beside, strict=True)):
        first = place == 0
        # hold-outs a little above the line, the other split a little below
        axis.plot(values, np.full(len(values), place - 0.15), "o", ms=4, mfc="none", mec=RED, clip_on=False,
                  label=f"{runs.repeated}: {len(values)} hold-outs" if first else None)  # fmt: skip
        axis.plot([np.median(values)] * 2, [place - 0.3, place], color=INK, label="their median" if first else None)
        _, lower, upper = bootstrap(entry.scores.units())
        axis.plot([lower, upper], [place + 0.15] * 2, color=BLUE, lw=2)
        axis.plot(other, place + 0.15, "D", ms=6, color=BLUE, label=f"{runs.other}, 95 % interval" if first else None)
    axis.set_yticks(range(len(beside)), [entry.label for entry in runs.beside])
    axis.invert_yaxis()
    axis.set_xlim(left=0)
    axis.set_xlabel(f"RMSE at hidden values [{units}]")
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    return path
