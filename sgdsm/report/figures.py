"""Figures of a run and of a comparison, drawn from files."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from sgdsm.core.cube import open_dataset, space_dims
from sgdsm.core.filled import SM_FILLED, SM_STD
from sgdsm.evaluation.compare import Entry, by_gap_length
from sgdsm.evaluation.protocol import FILLED, HIDDEN, SCORES, VISIBLE
from sgdsm.evaluation.realism import realism
from sgdsm.evaluation.reliability import PIT_BINS, Calibration
from sgdsm.evaluation.score import GAP_LENGTHS, Scores, gap_lengths
from sgdsm.report.realism import realism_figure
from sgdsm.report.style import BLUE, INK, RED, SAND, Picture, subplots

SEEN, FILL, SHADE = BLUE, RED, "#efe9da"
STATES = {"sea": "#d8d8d8", "seen": SEEN, "gap": SAND, "hidden": FILL}
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
    target = str(files[HIDDEN].attrs["target"])
    made = [
        day_maps(files, target, folder / "maps.png", title),
        time_series(files, target, folder / "series.png", title),
        error_by_gap_length(files, target, folder / "gap_length.png", title),
    ]
    if SM_STD in files[FILLED]:
        units = files[VISIBLE][target].attrs.get("units", "1")
        made.append(calibration(Scores.load(evaluation / SCORES).calibration, folder / "calibration.png", title, units))
    if curve.is_file():
        units = files[VISIBLE][target].attrs.get("units", "1")
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
    axes[1].set(title="reliability", xlabel="stated probability", ylabel="share of values below", aspect="equal")
    spread, skill, count = sums.spread_skill()
    # bins of few values are noise
    common = count >= 0.001 * count.sum()
    spread, skill, count = spread[common], skill[common], count[common]
    most = 1.1 * max(spread.max(), skill.max())
    axes[2].plot([0, most], [0, most], color=INK, lw=1, ls="--")
    axes[2].plot(spread, skill, color=SEEN, lw=1)
    axes[2].scatter(spread, skill, 10 + 150 * count / count.max(), color=SEEN)
    axes[2].set(
        title=f"spread and skill, slope {sums.slope():.2f}", xlabel=f"sm_std [{units}]", ylabel=f"RMSE [{units}]",
        xlim=(0, most), ylim=(0, most), aspect="equal",
    )  # fmt: skip
    for side in (axes[2].xaxis, axes[2].yaxis):
        side.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return _save(figure, path, title)


def day_maps(files: Files, target: str, path: Path, title: str) -> Path:
    """Draw maps of one day: seen values, filled values, errors at hidden values, and which values were which.

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
    state = np.where(hidden[day], 3, np.where(np.isfinite(seen), 1, np.where(land, 2, 0)))
    extent, aspect = extent_of(files[FILLED])
    figure, axes = subplots(2, 2, figsize=(11, 7), layout="compressed", sharex=True, sharey=True)
    units = files[VISIBLE][target].attrs.get("units", "1")
    shown = {"extent": extent, "aspect": aspect, "interpolation": "nearest"}
    low, high = np.nanquantile(truth, [0.01, 0.99])
    for axis, values, name in ((axes[0, 0], seen, "seen by the filler"), (axes[0, 1], filled, "filled")):
        image = axis.imshow(np.where(land, values, np.nan), vmin=low, vmax=high, cmap="YlGnBu", **shown)
        axis.set_title(name)
    figure.colorbar(image, ax=axes[0, :], label=f"{target} [{units}]", shrink=0.9)
    limit = max(float(np.nanquantile(abs(error), 0.98)), 1e-3)
    image = axes[1, 1].imshow(error, vmin=-limit, vmax=limit, cmap="RdBu", **shown)
    axes[1, 1].set_title("filled minus hidden truth")
    # a bar beside both rows, so that the maps are aligned
    figure.colorbar(image, ax=axes[1, :], label=f"filled minus truth [{units}]", shrink=0.9)
    _state_map(axes[1, 0], state, shown)
    for axis in axes.flat:
        axis.set_facecolor(STATES["sea"])
    name_axes(files[FILLED], axes[1, :], axes[:, 0])
    date = str(files[FILLED]["time"].values[day])[:10]
    return _save(figure, path, f"{title}, {date}")


def _telling_day(hidden: np.ndarray, seen: np.ndarray) -> int:
    """Return the index of the day with most hidden and most seen values, whichever are fewer; masks: (T, H, W)."""
    count = hidden.sum((1, 2))
    both = np.minimum(count, seen.sum((1, 2)))
    # of days that are equal so, the one with more hidden values
    return int((both + 1e-6 * count).argmax())


def _state_map(axis: Axes, state: np.ndarray, shown: dict[str, Any]) -> None:
    """Draw which values of a day were seen, hidden and neither, and the legend of the figure."""
    axis.imshow(state, cmap=ListedColormap(list(STATES.values())), vmin=-0.5, vmax=3.5, **shown)
    axis.set_title("seen, hidden and gaps")
    handles = [Patch(color=STATES[n]) for n in ("seen", "gap", "hidden", "sea")]
    labels = ["seen", "gap, no truth", "hidden, scored", "no land; in the other maps: no value"]
    axis.figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)


def time_series(files: Files, target: str, path: Path, title: str, cells: int = 4) -> Path:
    """Draw the time series of seen, hidden and filled values at some cells, with gaps shaded.

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
    draw_series(axis, files[FILLED], time, seen, at)
    axis.plot(time, np.where(hidden, truth, np.nan), "o", mfc="none", mec=INK, ms=5, label="hidden truth")
    # a single filled day between two gaps has no neighbour to draw a line to
    axis.plot(time, np.where(hidden, files[FILLED]["sm_filled"].values[at], np.nan), ".", color=FILL, ms=4)


def draw_series(axis: Axes, filled: xr.Dataset, time: np.ndarray, seen: np.ndarray, at: Any) -> None:
    """Draw the time series of a cell: filled values, their interval and seen values; days without one are shaded.

    Args:
        axis: To draw on.
        filled: The filled Dataset.
        time: Dates, (T,).
        seen: Seen values, (T,), NaN where none.
        at: Index of the cell and the days in the variables of `filled`.
    """
    half = np.timedelta64(12, "h")
    label = "not seen" + (" (filled on scored days only)" if np.isnan(filled[SM_FILLED].values[at]).any() else "")
    for day in time[~np.isfinite(seen)]:
        axis.axvspan(day - half, day + half, color=SHADE, lw=0, zorder=0, label=label)
        label = "_"  # one entry in the legend is enough
    locator = AutoDateLocator()
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    if "sm_lower" in filled and "sm_upper" in filled:
        lower, upper = (np.where(np.isfinite(seen), seen, filled[b].values[at]) for b in ("sm_lower", "sm_upper"))
        # xarray drops attributes in computations
        level = filled["sm_lower"].attrs.get("level")
        name = "interval" if level is None else f"{100 * float(level):.0f} % interval"
        axis.fill_between(time, lower, upper, color=FILL, alpha=0.2, lw=0, label=name)
    # in a record of years large markers would hide the line
    size, width = (4.0, 1.2) if len(time) < 200 else (2.0, 0.8)
    axis.plot(time, filled["sm_filled"].values[at], color=FILL, lw=width, label="filled")
    axis.plot(time, seen, "o", color=SEEN, ms=size, label="seen")


def error_by_gap_length(files: Files, target: str, path: Path, title: str) -> Path:
    """Draw the RMSE against the number of days in a row without a seen value, with the number of values.

    Args:
        files: Of the run.
        target: Name of the target.
        path: Of the picture.
        title: Of the picture.

    Returns:
        `path`.
    """
    hidden = _hidden_mask(files[HIDDEN])
    length = gap_lengths(np.isfinite(files[VISIBLE][target].values))[hidden]
    error = (files[FILLED][SM_FILLED].values - files[HIDDEN]["truth"].values)[hidden]
    classes = [low for low, _ in GAP_LENGTHS.values()]
    label = [name.removeprefix("gap_").replace("_", " ") for name in GAP_LENGTHS]
    which = np.digitize(length, classes) - 1
    rmse = [
        float(np.sqrt(np.mean(error[which == k] ** 2))) if (which == k).any() else np.nan for k in range(len(classes))
    ]
    units = files[VISIBLE][target].attrs.get("units", "1")
    figure, axis = subplots(figsize=(7, 3.6), layout="constrained")
    axis.plot(range(len(classes)), rmse, "o-", color=FILL)
    axis.set_xticks(range(len(classes)), label)
    axis.set_ylim(0, 1.15 * np.nanmax(rmse))
    axis.set_xlabel("length of the gap")
    axis.set_ylabel(f"RMSE [{units}]", color=FILL)
    bars = axis.twinx()
    bars.bar(range(len(classes)), [(which == k).sum() for k in range(len(classes))], color=SEEN, alpha=0.2)
    bars.set_ylabel("hidden values", color=SEEN)
    axis.set_zorder(bars.get_zorder() + 1)  # the line before the bars
    axis.patch.set_visible(False)
    return _save(figure, path, title)


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
    axis.set_ylabel("training loss (scaled anomalies)", color=SEEN)
    if min(loss) >= 0:  # a negative log-likelihood may be below 0
        axis.set_ylim(0)
    right = axis.twinx()
    score = [_number(row["validation_rmse"]) for row in rows]
    right.plot(epoch, score, "o-", ms=3, color=FILL)
    best = int(np.nanargmin(score))
    right.plot(epoch[best], score[best], "o", ms=9, mfc="none", mec=INK)
    side = "right" if 2 * best >= len(score) else "left"  # away from the axis that it would cover
    at = (epoch[best], score[best])
    right.annotate(f"kept: {score[best]:.4f}", at, xytext=(0, 12), textcoords="offset points", ha=side)
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
    return [
        _rmse_of_runs(rows, reference, units, folder / "comparison.png"),
        _gap_lengths_of_runs(entries, units, folder / "comparison_gap_length.png"),
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


def _gap_lengths_of_runs(entries: list[Entry], units: str, path: Path) -> Path:
    figure, axis = subplots(figsize=(8, 4), layout="constrained")
    for entry in entries:
        rmse = by_gap_length(entry)
        labels = [name.removeprefix("gap_").replace("_", " ") for name in rmse]
        axis.plot(labels, list(rmse.values()), "o-", label=entry.label, clip_on=False)
    axis.set_ylim(0, 1.1 * max(max(by_gap_length(entry).values()) for entry in entries))
    axis.set_ylabel(f"RMSE [{units}]")
    axis.set_xlabel("length of the gap")
    axis.legend(fontsize=8, ncols=2)
    return _save(figure, path, "")


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


def extent_of(filled: xr.Dataset) -> tuple[tuple[float, float, float, float], str | float]:
    """Return the edges of the maps of a filled Dataset and the aspect of their cells, for `imshow`.

    Args:
        filled: With `sm_filled` on (time, lat, lon) or (time, y, x).

    Returns:
        (west, east, south, north), degrees or m; and the height of a cell over its width, or 'equal'.
    """
    rows, columns = (filled[d].values for d in space_dims(filled["sm_filled"]))
    dy = abs(rows[0] - rows[-1]) / max(1, len(rows) - 1) / 2 or 0.5
    dx = abs(columns[-1] - columns[0]) / max(1, len(columns) - 1) / 2 or 0.5
    # a degree of longitude is shorter than one of latitude; clipped near the poles
    aspect = 1 / np.cos(np.deg2rad(np.clip(rows.mean(), -75, 75))) if "lat" in filled.dims else "equal"
    return (columns[0] - dx, columns[-1] + dx, rows[-1] - dy, rows[0] + dy), aspect


def name_axes(dataset: xr.Dataset, lowest: Iterable[Axes], leftmost: Iterable[Axes]) -> None:
    """Label the axes of maps of a Dataset.

    Args:
        dataset: That is drawn.
        lowest: Axes in the lowest row.
        leftmost: Axes in the first column.
    """
    degrees = "lat" in dataset.dims
    for axis in lowest:
        axis.set_xlabel("longitude [degrees east]" if degrees else "x [m]")
    for axis in leftmost:
        axis.set_ylabel("latitude [degrees north]" if degrees else "y [m]")


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def _save(figure: Picture, path: Path, title: str) -> Path:
    if title:
        figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=110)
    return path
