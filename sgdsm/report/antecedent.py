"""Figure of the memory of rain: correlation of antecedent precipitation with the target by its number of days."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from sgdsm.evaluation.antecedent import Antecedent
from sgdsm.report.style import BLUE, INK, line_style, subplots


def antecedent_figure(found: list[Antecedent], target: str, path: Path) -> Path:
    """Draw the correlations within cells of all values and of each stratum, and those over all values.

    Args:
        found: What `sgdsm.evaluation.antecedent.antecedent` returns.
        target: Name of the target.
        path: Of the picture.

    Returns:
        `path`.
    """
    figure, axis = subplots(figsize=(6, 3.6), layout="constrained")
    whole = found[0]
    days = np.arange(1, len(whole.within) + 1)
    for k, one in enumerate(found[1:], 1):
        axis.plot(
            days, one.within, **line_style(k), lw=1, ms=2.5, alpha=0.7, label=f"{one.name} ({one.best or 'none'})"
        )
    axis.plot(days, whole.within, color=BLUE, lw=2, marker="o", markersize=3, label=f"within cells ({whole.best})")
    axis.plot(days, whole.overall, color=INK, lw=1, ls="--", label="over all values")
    if whole.best:
        axis.axvline(whole.best, color=BLUE, lw=0.8)
    axis.set(xlabel="days of antecedent precipitation, m", ylabel=f"correlation with {target} [1]")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    return path
