"""Figure of a selection of covariates: result of each method, and in which strata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from sgdsm.evaluation.selection import SIGNIFICANT, Sample, Selection
from sgdsm.report.style import BLUE, SAND, subplots

METHODS = ("least squares", "over blocks", "stepwise AIC", "best subset")
YES, NO = BLUE, SAND


def selection_figure(selection: Selection, target: str, path: Path) -> Path:
    """Draw the covariates by method, by relative importance and by stratum, without the collinear ones.

    Args:
        selection: Result of `sgdsm.evaluation.selection.select`.
        target: Name of the target.
        path: Of the picture.

    Returns:
        `path`.
    """
    whole, strata = selection.samples[0], selection.samples[1:]
    order = np.argsort(whole.importance)[::-1]
    names = [whole.names[k] for k in order]
    widths = (len(METHODS), 3.2, *((max(2.0, 0.6 * len(strata)),) if strata else ()))
    height = 1.9 + 0.3 * len(names)
    figure, axes = subplots(
        1, len(widths), figsize=(3 + sum(widths) * 0.95, height), width_ratios=widths, layout="constrained", sharey=True
    )
    _methods(axes[0], whole, order)
    axes[1].barh(np.arange(len(names)), 100 * whole.importance[order], color=YES, height=0.7)
    axes[1].set(title=f"importance (R² {whole.fit.r2:.2f})", xlabel="share of the variance (LMG) [%]")
    axes[1].spines[["top", "right"]].set_visible(False)
    if strata:
        _strata(axes[2], strata, order)
        figure.colorbar(axes[2].images[0], ax=axes[2], label="share of the variance (LMG) [%]")
    axes[0].set_yticks(np.arange(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    # dropped covariates stay visible, to show what the choice rests on
    for label, name in zip(axes[0].get_yticklabels(), names, strict=True):
        label.set_color("black" if name in selection.kept else "#999999")
    title = f"{target}: {whole.rows} rows, effective sample size {whole.effective_size:.0f}; names in grey are dropped"
    figure.suptitle(title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _methods(axis: Axes, whole: Sample, order: np.ndarray) -> None:
    chosen = np.stack([whole.fit.p < SIGNIFICANT, whole.significant, whole.stepwise, whole.best], 1)[order]
    axis.imshow(chosen, cmap=ListedColormap([NO, YES]), vmin=0, vmax=1, aspect="auto")
    for row, k in enumerate(order):
        for column, p in enumerate((whole.fit.p[k], whole.p_block[k])):
            text = "-" if np.isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
            color = "w" if chosen[row, column] else "k"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
        for column in (2, 3):
            if chosen[row, column]:
                axis.text(column, row, "in", ha="center", va="center", fontsize=7, color="w")
    axis.set_xticks(np.arange(len(METHODS)), METHODS, rotation=25, ha="right", fontsize=8)
    axis.set_title("significance (p), chosen")


def _strata(axis: Axes, strata: list[Sample], order: np.ndarray) -> None:
    shares = np.stack([100 * stratum.importance[order] for stratum in strata], 1)
    axis.imshow(shares, cmap="YlGnBu", vmin=0, vmax=max(1.0, float(shares.max())), aspect="auto")
    for column, stratum in enumerate(strata):
        rows = np.flatnonzero(stratum.significant[order])
        axis.plot(np.full(len(rows), column), rows, "o", ms=5, mfc="k", mec="w")
    axis.set_xticks(np.arange(len(strata)), [stratum.name for stratum in strata], rotation=25, ha="right", fontsize=8)
    axis.set_title("by stratum; dots: significant over blocks")
