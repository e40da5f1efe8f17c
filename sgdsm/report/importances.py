"""Importances of features and covariates: their table in a file, and a figure of it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes

from sgdsm.report.style import BLUE, INK, RED, subplots

SHOWN = 20  # features in the figure, more are not readable
BAR, DOT = BLUE, RED


class Importance(NamedTuple):
    """One line of the table; None for a measure that does not exist.

    Attributes:
        kind: 'feature' or 'covariate'.
        name: Of the feature or covariate.
        source: Covariate that a feature is made from, or the kind of the feature.
        gain: Share of the squared error that splits on it remove, 0 to 1.
        shap: Mean absolute contribution to the estimate (Lundberg and Lee, NeurIPS 2017), in the target's units.
        permutation: Increase of the RMSE when it is permuted, in the target's units.
        permutation_lower: Lower bound of its 95 % interval over blocks of days.
        permutation_upper: Upper bound.
    """

    kind: str
    name: str
    source: str
    gain: float | None = None
    shap: float | None = None
    permutation: float | None = None
    permutation_lower: float | None = None
    permutation_upper: float | None = None


def write_table(importances: Sequence[Importance], path: Path) -> Path:
    """Write a CSV file with a line for each importance; return its path."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Importance._fields)
        for one in importances:
            writer.writerow("" if v is None else f"{v:.6g}" if isinstance(v, float) else v for v in one)
    return path


def importance_figure(importances: Sequence[Importance], path: Path, title: str, units: str) -> Path:
    """Draw SHAP and gain of the strongest features and of each source, and permutation importances of covariates.

    Args:
        importances: Of features and covariates.
        path: Of the picture.
        title: Of the picture.
        units: Of the target.

    Returns:
        `path`.
    """
    features = [one for one in importances if one.kind == "feature"]
    sources = [one for one in importances if one.kind == "covariate"]
    permuted = [one for one in sources if one.permutation is not None]
    height = 1.6 + 0.26 * max(min(len(features), SHOWN), len(permuted), len(sources) if features else 0)
    columns = (2 if features else 0) + 1
    size = (5.2 * columns if features else 7.0, height)
    figure, axes = subplots(1, columns, figsize=size, layout="constrained", squeeze=False)
    if features:
        _bars(axes[0, 0], features, f"features: the {min(SHOWN, len(features))} strongest", units)
        _bars(axes[0, 1], sources, "by covariate", units)
    _intervals(axes[0, -1], permuted, units)
    figure.suptitle(title, fontsize=11, wrap=True)
    figure.savefig(path, dpi=110)
    return path


def _bars(axis: Axes, importances: Sequence[Importance], title: str, units: str) -> None:
    shown = sorted(importances, key=lambda one: one.shap or 0.0)[-SHOWN:]
    places = range(len(shown))
    bars = axis.barh(places, [one.shap or 0.0 for one in shown], color=BAR, alpha=0.8)
    axis.set_yticks(places, [one.name for one in shown], fontsize=8)
    axis.set_xlabel(f"mean |SHAP| [{units}]", color=BAR)
    # the two measures have no common scale
    share = axis.twiny()
    (dots,) = share.plot([100 * (one.gain or 0.0) for one in shown], places, "o", color=DOT, ms=4)
    share.set_xlim(0)
    share.set_xlabel("share of the gain [%]", color=DOT)
    axis.legend([bars, dots], ["SHAP", "gain"], fontsize=8, loc="lower right")
    axis.set_title(title, fontsize=10)


def _intervals(axis: Axes, importances: Sequence[Importance], units: str) -> None:
    shown = sorted(importances, key=lambda one: one.permutation or 0.0)
    for place, one in enumerate(shown):
        lower, value, upper = _numbers([one.permutation_lower, one.permutation, one.permutation_upper])
        axis.plot([lower, upper], [place, place], color=BAR, lw=2)
        axis.plot(value, place, "o", color=DOT, ms=5)
    axis.axvline(0, color=INK, lw=0.8)
    axis.set_yticks(range(len(shown)), [one.name for one in shown], fontsize=8)
    axis.set_ylim(-0.6, len(shown) - 0.4)
    axis.set_xlabel(f"RMSE grows by [{units}]")
    # NaN, which is not equal to itself, where the interval could not be estimated
    known = any(one.permutation_lower is not None and one.permutation_lower == one.permutation_lower for one in shown)
    note = "95 % over blocks of days" if known else "too few blocks of days for an interval"
    axis.set_title(f"covariates permuted ({note})", fontsize=10)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
