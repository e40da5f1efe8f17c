"""Figures of downscaling: scatter and series at 1 km, importances, partial dependence, maps and scores at 10 m."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sgdsm.report.importances import Importance, importance_figure
from sgdsm.report.maps import NO_VALUE, colour_bar, limits, map_key
from sgdsm.report.style import BLUE, INK, RED, SAND, Picture, subplots

DPI = 110


def training_figures(
    folder: Path,
    found: Mapping[str, np.ndarray],
    truth: np.ndarray,
    days: np.ndarray,
    ranked: Sequence[Importance],
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    scores: Mapping[str, Mapping[str, float]],
    *,
    name: str,
    units: tuple[Mapping[str, str], str],
) -> None:
    """Draw the figures of a training at 1 km.

    Args:
        folder: Where the pictures are written.
        found: 'mean', and where there are intervals 'lower' and 'upper', on test rows, (N,) each.
        truth: Of the test rows, (N,).
        days: Of the test rows, datetime64, (N,).
        ranked: Importances of predictors.
        curves: Partial dependence by predictor: values (S,) and estimates (S,).
        scores: Of the test rows, by class.
        name: Of the run.
        units: Of the predictors by name, and of the target.
    """
    for file, figure in (
        ("scatter", scatter(found["mean"], truth, scores["all"], units[1])),
        ("series", series(found, truth, days, units[1])),
        ("dependence", dependence_figure(curves, *units)),
    ):
        figure.savefig(folder / f"{file}.png", dpi=DPI)
    importance_figure(ranked, folder / "importances.png", f"{name}: validation months", units[1])


def scatter(estimate: np.ndarray, truth: np.ndarray, row: Mapping[str, float], units: str) -> Picture:
    """Draw estimates beside the reference, with their scores."""
    figure, axis = subplots(figsize=(5.2, 5), layout="constrained")
    ends = [float(min(estimate.min(), truth.min())), float(max(estimate.max(), truth.max()))]
    ends[1] += 1e-6 * (ends[0] == ends[1])
    dense = axis.hexbin(truth, estimate, gridsize=45, mincnt=1, bins="log", cmap="viridis", extent=(*ends, *ends))
    axis.plot(ends, ends, color=INK, lw=0.8)
    text = (
        f"RMSE {row['rmse']:.4f}\nubRMSE {row['ubrmse']:.4f}\nMD {row['md']:+.4f}\nr {row['r']:.3f}\nR2 {row['r2']:.3f}"
    )
    axis.text(0.04, 0.96, f"{text}\nN {row['n']}", transform=axis.transAxes, va="top", fontsize=9)
    axis.set(xlabel=f"reference [{units}]", ylabel=f"estimate [{units}]", title="test months, 1 km", aspect="equal")
    figure.colorbar(dense, ax=axis, label="values", shrink=0.8)
    return figure


def series(found: Mapping[str, np.ndarray], truth: np.ndarray, days: np.ndarray, units: str) -> Picture:
    """Draw the means of each day, a panel for each run of neighbouring days."""
    there, number = np.unique(days.astype("datetime64[D]"), return_inverse=True)
    count = np.bincount(number)
    means = {name: np.bincount(number, values) / count for name, values in {**found, "truth": truth}.items()}
    parts = np.split(np.arange(len(there)), np.flatnonzero(np.diff(there).astype(int) > 27) + 1)
    shown = parts[:6]
    figure, axes = subplots(
        1, len(shown), figsize=(2.4 + 2.3 * len(shown), 3.6), layout="constrained", sharey=True, squeeze=False
    )
    for axis, part in zip(axes[0], shown, strict=True):
        if "lower" in means:
            axis.fill_between(there[part], means["lower"][part], means["upper"][part], color=SAND, label="interval")
        axis.plot(there[part], means["truth"][part], "o-", color=INK, ms=3, lw=1, label="reference")
        axis.plot(there[part], means["mean"][part], "s--", color=BLUE, ms=3, lw=1, label="estimate")
        axis.tick_params(axis="x", rotation=60, labelsize=8)
    axes[0, 0].set_ylabel(f"mean of the rows of a day [{units}]")
    axes[0, -1].legend(fontsize=8)
    figure.suptitle("test months, 1 km", fontsize=11)
    return figure


def dependence_figure(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], units: Mapping[str, str], target_units: str
) -> Picture:
    """Draw the partial dependence on each predictor."""
    columns = min(5, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = subplots(
        rows, columns, figsize=(2.5 * columns + 0.6, 2.3 * rows), layout="constrained", sharey=True, squeeze=False
    )
    for axis, (name, (steps, means)) in zip(axes.flat, curves.items(), strict=False):
        axis.plot(steps, means, color=BLUE)
        axis.set_xlabel(f"{name} [{units.get(name, '1')}]", fontsize=9)
    for axis in axes.flat[len(curves) :]:
        axis.set_axis_off()
    figure.supylabel(f"mean estimate [{target_units}]", fontsize=9)
    return figure


def fine_maps(maps: Mapping[str, np.ndarray], day: str, units: str) -> Picture:
    """Draw maps of a day at 10 m, side by side, with one scale.

    Args:
        maps: By title, (H, W) each; the first gives the scale.
        day: In the title.
        units: Of all.
    """
    figure, axes = subplots(1, len(maps), figsize=(3.4 * len(maps) + 0.8, 3.8), layout="constrained", squeeze=False)
    low, high = limits(next(iter(maps.values())))
    images = []
    for axis, (title, values) in zip(axes[0], maps.items(), strict=True):
        images.append(axis.imshow(values, vmin=low, vmax=high, cmap="YlGnBu", interpolation="nearest"))
        axis.set_facecolor(NO_VALUE)
        axis.set_title(title, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    colour_bar(images, axes[0], f"soil moisture [{units}]", shrink=0.85)
    if any(np.isnan(values).any() for values in maps.values()):
        map_key(figure, sea=False, missing="no value")
    figure.suptitle(day, fontsize=11)
    return figure


def ratio_bars(ratios: Mapping[str, float]) -> Picture:
    """Draw the ubRMSE at 10 m over that of the bilinear 1 km map."""
    figure, axis = subplots(figsize=(7, 0.9 + 0.34 * len(ratios)), layout="constrained")
    names = list(ratios)[::-1]
    values = [ratios[name] for name in names]
    axis.barh(names, values, color=[BLUE if value < 1 else RED for value in values])
    axis.axvline(1, color=INK, lw=0.8)
    for place, value in enumerate(values):
        axis.text(value, place, f" {value:.2f}", va="center", fontsize=9)
    axis.set_xlim(0, 1.15 * max(1.0, *values))
    axis.set_xlabel("ubRMSE at 10 m over that of the bilinear 1 km map")
    return figure
