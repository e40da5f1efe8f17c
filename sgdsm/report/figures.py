"""Figures of a run and of a comparison, drawn from files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sgdsm.core.cube import open_dataset
from sgdsm.core.filled import SM_FILLED, SM_LOWER, SM_STD, SM_UPPER
from sgdsm.evaluation.cell_scores import cell_scores
from sgdsm.evaluation.compare import Entry
from sgdsm.evaluation.protocol import FILLED, HIDDEN, SCORES, VISIBLE
from sgdsm.evaluation.realism import realism
from sgdsm.evaluation.reliability import PIT_BINS, Calibration
from sgdsm.evaluation.score import CELL_VALUES, GAP_LENGTHS, Scores
from sgdsm.report.maps import (
    HATCH,
    NO_VALUE,
    Extent,
    colour_bar,
    draw_map,
    extent_of,
    hatch,
    largest,
    limits,
    map_key,
    name_axes,
)
from sgdsm.report.realism import realism_figure
from sgdsm.report.score_figures import class_figure, class_table
from sgdsm.report.style import BLUE, INK, RED, Picture, subplots

SEEN, FILL, SHADE = BLUE, RED, "#efe9da"
PAIR = 2  # hidden values of a cell that a score can be made of
SURE = 30  # hidden values of a cell, of fewer its scores are hatched
LONG = 200  # days, from which on a series is drawn with finer lines
Files = dict[str, xr.Dataset]  # HIDDEN, VISIBLE and FILLED by these names


def run_figures(evaluation: Path, curve: Path, folder: Path, model: str, split: str) -> list[Path]:
    """Draw all figures of one run.

    Args:
        evaluation: Folder of the files that the run was scored with.
        curve: CSV file of losses and validation scores; it may be missing, as for trees and simple methods.
        folder: Where the figures go.
        model: Name of the run, for titles.
        split: That was scored, for titles.

    Returns:
        Paths of the figures.
    """
    title = f"{model} ({split} split)"
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: open_dataset(evaluation / name) for name in (FILLED, HIDDEN, VISIBLE)}
    target, scores = str(files[HIDDEN].attrs["target"]), Scores.load(evaluation / SCORES)
    units = str(files[VISIBLE][target].attrs.get("units", "1"))
    made = [
        day_maps(files, target, folder / "maps.png", title),
        skill_maps(files, target, folder / "skill.png", title),
        time_series(files, target, folder / "series.png", title),
        error_by_gap_length({model: scores}, folder / "gap_length.png", title, units),
    ]
    if SM_STD in files[FILLED]:
        made.append(calibration(scores.calibration, folder / "calibration.png", title, units))
    if curve.is_file():
        made.append(training_curve(curve, folder / "training.png", f"{model}: training history", units))
    for dataset in files.values():
        dataset.close()
    return made


def calibration(sums: Calibration, path: Path, title: str, units: str) -> Path:
    """Draw the calibration of error bars: PIT, reliability, and errors against standard deviations.

    Args:
        sums: Of all scored values.
        path: Of the picture.
        title: Of the picture.
        units: Of the target.

    Returns:
        `path`.
    """
    figure, axes = subplots(1, 3, figsize=(12, 4), layout="constrained")
    share = sums.pit / max(sums.pit.sum(), 1)
    axes[0].bar((np.arange(PIT_BINS) + 0.5) / PIT_BINS, share * PIT_BINS, 1 / PIT_BINS, color=SEEN, ec="white")
    axes[0].axhline(1, color=INK, lw=1, ls="--")
    axes[0].set(title="PIT (flat = calibrated)", xlabel="probability integral transform", ylabel="density", xlim=(0, 1))
    axes[1].plot([0, 1], [0, 1], color=INK, lw=1, ls="--")
    axes[1].plot(*sums.reliability(), "o-", color=SEEN, ms=3)
    axes[1].set(title="reliability", xlabel="forecast probability", ylabel="observed frequency", aspect="equal")
    spread, skill, count = sums.spread_skill()
    # bins of few values are noise
    common = count >= 0.001 * count.sum()
    spread, skill, count = spread[common], skill[common], count[common]
    most = 1.1 * max(spread.max(), skill.max())
    axes[2].plot([0, most], [0, most], color=INK, lw=1, ls="--")
    axes[2].plot(spread, skill, color=SEEN, lw=1)
    axes[2].scatter(spread, skill, 10 + 150 * count / count.max(), color=SEEN)
    axes[2].set(
        title=f"spread and skill, slope {sums.slope():.2f}",
        xlabel=f"spread: sm_std [{units}]", ylabel=f"RMSE [{units}]",
        xlim=(0, most), ylim=(0, most), aspect="equal",
    )  # fmt: skip
    for side in (axes[2].xaxis, axes[2].yaxis):
        side.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return _save(figure, path, title)


def day_maps(files: Files, target: str, path: Path, title: str) -> Path:
    """Draw maps of one day: input, filled values, errors at hidden values, and which values were which.

    Args:
        files: Of the run.
        target: Name of the target.
        path: Of the picture.
        title: Of the picture.

    Returns:
        `path`.
    """
    hidden = _hidden_mask(files[HIDDEN])
    day = _telling_day(hidden, np.isfinite(files[VISIBLE][target].values))
    seen = files[VISIBLE][target].values[day]
    filled, truth = files[FILLED][SM_FILLED].values[day], files[HIDDEN]["truth"].values[day]
    land = files[FILLED]["land"].values.astype(bool)
    error = np.where(hidden[day], filled - truth, np.nan)
    state = np.where(hidden[day], 3, np.where(np.isfinite(seen), 1, 2))
    extent, aspect = extent_of(files[FILLED])
    figure, axes = subplots(2, 2, figsize=(11, 7), layout="compressed", sharex=True, sharey=True)
    units = files[VISIBLE][target].attrs.get("units", "1")
    low, high = limits(truth, filled)
    water = {"vmin": low, "vmax": high, "cmap": "YlGnBu"}
    images = []
    for axis, values, name in ((axes[0, 0], seen, "input"), (axes[0, 1], filled, "filled")):
        images.append(draw_map(axis, values, extent, aspect, land, **water))
        axis.set_title(name)
    colour_bar(images, axes[0, :], f"{target} [{units}]", shrink=0.9)
    limit = max(largest(error), 1e-3)
    image = draw_map(axes[1, 1], error, extent, aspect, land, vmin=-limit, vmax=limit, cmap="RdBu")
    axes[1, 1].set_title("error\n(filled minus hidden truth)")
    # a bar beside both rows, so that the maps are aligned
    colour_bar(image, axes[1, :], f"error [{units}]", shrink=0.9)
    _state_map(axes[1, 0], state, land, extent, aspect)
    name_axes(files[FILLED], axes[1, :], axes[:, 0])
    date = str(files[FILLED]["time"].values[day])[:10]
    return _save(figure, path, f"{title}, {date}")


def skill_maps(files: Files, target: str, path: Path, title: str) -> Path:
    """Draw maps of RMSE, R and bias of the cells at hidden values, and of the mean uncertainty in the gaps.

    Cells with fewer than SURE hidden values are hatched. Those with fewer than CELL_VALUES are left out, or with fewer
    than PAIR where most cells would be.

    Args:
        files: Of the run.
        target: Name of the target.
        path: Of the picture.
        title: Of the picture.

    Returns:
        `path`.
    """
    hidden, visible = files[HIDDEN], files[VISIBLE][target]
    truth = hidden["truth"]
    found = cell_scores(files[FILLED], truth, truth.copy(data=_hidden_mask(hidden)), visible)
    land = files[FILLED]["land"].values.astype(bool)
    extent, aspect = extent_of(files[FILLED])
    count, units = found["n"].values, str(visible.attrs.get("units", "1"))
    least = CELL_VALUES if np.median(count[land]) >= CELL_VALUES else PAIR
    known = {name: np.where(count >= least, found[name].values, np.nan) for name in ("rmse", "r", "bias")}
    far, lowest = largest(known["bias"]), limits(known["r"])[0]
    steep = max(limits(known["rmse"])[1], 1e-6)
    panels: dict[str, tuple[str, str, dict[str, Any]]] = {
        "rmse": ("RMSE", units, {"vmin": 0, "vmax": steep, "cmap": "magma_r"}),
        "r": ("R", "1", {"vmin": min(lowest, 0.9), "vmax": 1, "cmap": "viridis"}),
        "bias": ("bias (filled minus truth)", units, {"vmin": -far, "vmax": far, "cmap": "RdBu"}),
    }
    if SM_STD in found:
        # on the scale of the RMSE: where both maps look alike the error bars are right
        known[SM_STD] = found[SM_STD].values
        panels[SM_STD] = ("mean uncertainty in the gaps (sm_std)", units, panels["rmse"][2])
    figure, axes = subplots(2, 2, figsize=(11, 7), layout="compressed", sharex=True, sharey=True)
    for axis, (name, (words, unit, colours)) in zip(axes.flat, panels.items(), strict=False):
        image = draw_map(axis, known[name], extent, aspect, land, **colours)
        colour_bar(image, axis, f"[{unit}]", shrink=0.9)
        axis.set_title(words, fontsize=11)
        if name != SM_STD:
            hatch(axis, land & (count >= least) & (count < SURE), extent)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    few = Patch(fc="white", ec=INK, hatch=HATCH, lw=0, label=f"fewer than {SURE} hidden values in the cell")
    left_out = f"land without a value, or with fewer than {least} hidden ones"
    map_key(figure, not land.all(), [few], left_out)
    name_axes(files[FILLED], axes[1, :], axes[:, 0])
    return _save(
        figure, path, f"{title}: {int(count.sum())} hidden values, median of the cells {np.median(count[land]):.0f}"
    )


def _telling_day(hidden: np.ndarray, seen: np.ndarray) -> int:
    """Return the index of the day with most hidden and most seen values, whichever are fewer; masks: (T, H, W)."""
    count = hidden.sum((1, 2))
    both = np.minimum(count, seen.sum((1, 2)))
    # of days that are equal so, the one with more hidden values
    return int((both + 1e-6 * count).argmax())


def _state_map(axis: Axes, state: np.ndarray, land: np.ndarray, extent: Extent, aspect: str | float) -> None:
    """Draw which values of a day were input, hidden and neither, and the legend of the figure."""
    colours = ListedColormap([SEEN, NO_VALUE, FILL])
    draw_map(axis, np.where(land, state, np.nan), extent, aspect, land, cmap=colours, vmin=0.5, vmax=3.5)
    axis.set_title("input, hidden values\nand gaps")
    patches = [Patch(fc=SEEN, label="input"), Patch(fc=FILL, label="hidden, scored")]
    map_key(axis.figure, not land.all(), patches)


def time_series(files: Files, target: str, path: Path, title: str, cells: int = 4) -> Path:
    """Draw the time series of input, hidden and filled values at some cells, with gaps shaded.

    Args:
        files: Of the run.
        target: Name of the target.
        path: Of the picture.
        title: Of the picture.
        cells: How many.

    Returns:
        `path`.
    """
    hidden = _hidden_mask(files[HIDDEN])
    count = hidden.sum(0)
    # cells spread over the scored ones, from those with most hidden values
    ranked = np.argsort(count.ravel())[::-1][: max(cells, int((count > 0).sum() // 2))]
    chosen = ranked[np.linspace(0, len(ranked) - 1, min(cells, len(ranked))).astype(int)]
    low, high = _longest_stretch(np.asarray(hidden.any((1, 2))))
    window = slice(max(0, low - 10), high + 10)
    figure, axes = subplots(
        len(chosen), 1, figsize=(11, 2.3 * len(chosen)), layout="constrained", sharex=True, squeeze=False
    )
    time = files[FILLED]["time"].values[window]
    for axis, cell in zip(axes[:, 0], chosen, strict=True):
        row, column = np.unravel_index(cell, count.shape)
        at = (window, int(row), int(column))
        _one_series(axis, files, target, time, at, hidden[at])
        dims = files[FILLED][SM_FILLED].dims[1:]
        place = (f"{d} {float(files[FILLED][d].values[i]):.2f}" for d, i in zip(dims, (row, column), strict=True))
        axis.set_title(", ".join(place), fontsize=9, loc="left")
        axis.set_ylabel(f"{target} [{files[VISIBLE][target].attrs.get('units', '1')}]")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return _save(figure, path, title)


def _one_series(axis: Axes, files: Files, target: str, time: np.ndarray, at: Any, hidden: np.ndarray) -> None:
    seen, truth = files[VISIBLE][target].values[at], files[HIDDEN]["truth"].values[at]
    draw_series(axis, files[FILLED], time, seen, at, "input")
    axis.plot(time, np.where(hidden, truth, np.nan), "o", mfc="none", mec=INK, ms=5, label="hidden truth")
    # what is compared with it
    axis.plot(time, np.where(hidden, files[FILLED]["sm_filled"].values[at], np.nan), ".", color=FILL, ms=4)


def draw_series(
    axis: Axes, filled: xr.Dataset, time: np.ndarray, seen: np.ndarray, at: Any, name: str = "observed"
) -> None:
    """Draw the time series of a cell: filled values, their interval and seen values; days without one are shaded.

    Args:
        axis: To draw on.
        filled: The filled Dataset.
        time: Dates, (T,).
        seen: Seen values, (T,), NaN where none.
        at: Index of the cell and the days in the variables of `filled`.
        name: Of the seen values.
    """
    values = filled[SM_FILLED].values[at]
    label = f"not {name}" + (" (filled on scored days only)" if np.isnan(values).any() else "")
    _shade_gaps(axis, time, ~np.isfinite(seen), label)
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if SM_LOWER in filled and SM_UPPER in filled:
        lower, upper = (np.where(np.isfinite(seen), seen, filled[b].values[at]) for b in (SM_LOWER, SM_UPPER))
        # xarray drops attributes in computations
        level = filled[SM_LOWER].attrs.get("level")
        words = "interval" if level is None else f"{100 * float(level):.0f} % interval"
        axis.fill_between(time, lower, upper, color=FILL, alpha=0.25, lw=0, label=words)
    # in a record of years large markers would hide the line
    size, width = (4.0, 1.2) if len(time) < LONG else (2.4, 0.9)
    axis.plot(time, values, color=FILL, lw=width, label="filled")
    # a day alone has no neighbour to draw a line to
    known = np.pad(np.isfinite(values), 1)
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    axis.plot(time[alone], values[alone], ".", color=FILL, ms=size)
    axis.plot(time, seen, "o", color=SEEN, ms=size, label=name)


def _shade_gaps(axis: Axes, time: np.ndarray, gap: np.ndarray, label: str) -> None:
    """Shade the days of a series that are gaps, (T,) bool, neighbours in one piece."""
    half = np.median(np.diff(time)) / 2 if len(time) > 1 else np.timedelta64(12, "h")
    ends = np.diff(np.pad(gap.astype(np.int8), 1))
    for first, last in zip(np.flatnonzero(ends == 1), np.flatnonzero(ends == -1) - 1, strict=True):
        axis.axvspan(time[first] - half, time[last] + half, color=SHADE, lw=0, zorder=0, label=label)
        label = "_"  # one entry in the legend is enough


def error_by_gap_length(scores: Mapping[str, Scores], path: Path, title: str, units: str) -> Path:
    """Draw the RMSE with its interval by the number of days in a row without input, and the number of values.

    Args:
        scores: Name of each run -> its scores.
        path: Of the picture.
        title: Of the picture.
        units: Of the target.

    Returns:
        `path`.
    """
    group = "length of the gap"
    table = class_table(scores, GAP_LENGTHS)
    return _save(class_figure(table, group, units, size=(8, 4)), path, title)


def training_curve(curve: Path, path: Path, title: str, units: str) -> Path:
    """Draw the loss and the validation score of each epoch.

    Args:
        curve: CSV file with the columns `epoch`, `train_loss` and `validation_rmse`.
        path: Of the picture.
        title: Of the picture.
        units: Of the target.

    Returns:
        `path`.
    """
    with curve.open() as file:
        rows = list(csv.DictReader(file))
    epoch = [int(row["epoch"]) + 1 for row in rows]
    figure, axis = subplots(figsize=(7, 3.6), layout="constrained")
    loss = [_number(row["train_loss"]) for row in rows]
    axis.plot(epoch, loss, color=SEEN, label="training loss")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("epoch")
    axis.set_ylabel("training loss (of scaled anomalies) [1]", color=SEEN)
    if min(loss) >= 0:  # a negative log-likelihood may be below 0
        axis.set_ylim(0)
    right = axis.twinx()
    score = [_number(row["validation_rmse"]) for row in rows]
    scored = np.flatnonzero(np.isfinite(score))  # not every epoch need be
    right.plot(np.array(epoch)[scored], np.array(score)[scored], "o-", ms=4, lw=1, color=FILL)
    best = int(np.nanargmin(score))
    right.plot(epoch[best], score[best], "o", ms=9, mfc="none", mec=INK)
    side = "right" if 2 * best >= len(score) else "left"  # away from the axis that it would cover
    at = (epoch[best], score[best])
    room = {"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1}
    right.annotate(f"kept: {score[best]:.4f}", at, xytext=(0, 12), textcoords="offset points", ha=side, bbox=room)
    right.set_ylabel(f"RMSE at validation [{units}]", color=FILL)
    return _save(figure, path, title)


def comparison_figures(
    entries: list[Entry], rows: list[dict[str, Any]], reference: str, units: str, folder: Path
) -> list[Path]:
    """Draw the RMSE with its interval, and the RMSE by gap length, of all runs.

    Args:
        entries: The runs.
        rows: From `sgdsm.evaluation.compare.comparison`.
        reference: Label of the run that the others are compared to.
        units: Of the target.
        folder: Where the figures go.

    Returns:
        Paths of the figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scores = {entry.label: entry.scores for entry in entries}
    # the best first, as in the table: colours are those of the other figures
    ordered = {row["label"]: scores[row["label"]] for row in rows}
    return [
        _rmse_of_runs(rows, reference, units, folder / "comparison.png"),
        error_by_gap_length(ordered, folder / "comparison_gap_length.png", "", units),
        *_realism_of_runs(entries, rows, units, folder / "comparison_realism.png"),
    ]


def _rmse_of_runs(rows: list[dict[str, Any]], reference: str, units: str, path: Path) -> Path:
    figure, axis = subplots(figsize=(8, 0.5 * len(rows) + 1.4), layout="constrained")
    # the best at the top
    for place, row in enumerate(rows[::-1]):
        axis.plot([row["rmse_lower"], row["rmse_upper"]], [place, place], color=SEEN, lw=2)
        axis.plot(row["rmse"], place, "o", color=FILL)
        axis.annotate(
            f"{row['rmse']:.4f}  ({row['share']:.2f})",
            (row["rmse_upper"], place),
            xytext=(6, -3),
            textcoords="offset points",
            fontsize=8,
        )
    axis.set_yticks(range(len(rows)), [row["label"] for row in rows[::-1]])
    # there is no interval where there are few blocks of days
    axis.set_xlim(0, 1.25 * max(row["rmse_upper"] if np.isfinite(row["rmse_upper"]) else row["rmse"] for row in rows))
    axis.set_xlabel(f"RMSE at hidden values [{units}], 95 % interval (share of {reference})")
    axis.margins(y=0.5 / len(rows))
    return _save(figure, path, "")


def _realism_of_runs(entries: list[Entry], rows: list[dict[str, Any]], units: str, path: Path) -> list[Path]:
    """Draw how the filled values of all runs vary beside the truth; of those whose scored files are there."""
    by_label = {entry.label: entry.folder / "evaluation" for entry in entries}
    ordered = {row["label"]: by_label[row["label"]] for row in rows}
    found = {
        label: realism(folder / FILLED, folder / HIDDEN, folder / VISIBLE)
        for label, folder in ordered.items()
        if all((folder / name).is_file() for name in (FILLED, HIDDEN, VISIBLE))
    }
    return [realism_figure(found, path, "filled values beside the hidden truth", units)] if found else []


def _hidden_mask(dataset: xr.Dataset) -> np.ndarray:
    """Return which values were hidden, (T, H, W) bool, by any of the masks of HIDDEN."""
    masks = [
        v.values.astype(bool) for n, v in dataset.data_vars.items() if n != "truth" and v.dims == dataset["truth"].dims
    ]
    hidden: np.ndarray = np.logical_or.reduce(masks)
    return hidden


def _longest_stretch(days: np.ndarray, most: int = 120, apart: int = 5) -> tuple[int, int]:
    """Return begin and end of the longest stretch of scored days.

    Args:
        days: Which days are scored, (T,) bool.
        most: Days that a stretch is cut after.
        apart: Days between two scored days from which on a new stretch begins.
    """
    scored = np.flatnonzero(days)
    runs = np.split(scored, np.flatnonzero(np.diff(scored) > apart) + 1)
    longest = max(runs, key=lambda run: int(run[-1] - run[0]))
    return int(longest[0]), int(min(longest[-1] + 1, longest[0] + most))


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _save(figure: Picture, path: Path, title: str) -> Path:
    if title:
        figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    return path
