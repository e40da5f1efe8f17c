"""Pictures of scores for a report: RMSE by class, calibration of error bars, Taylor diagram, Hovmoeller diagram.

Each is small enough to be read on a telephone: one panel, few words.
"""

from __future__ import annotations

from calendar import month_abbr
from collections.abc import Iterable, Iterator, Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import MaxNLocator

from sgdsm.core.days import SEASON_MONTHS
from sgdsm.evaluation.compare import Entry
from sgdsm.evaluation.metrics import STATISTICS, bootstrap
from sgdsm.evaluation.reliability import PIT_BINS
from sgdsm.evaluation.score import DISTANCES, FEW, GAP_AGES, GAP_LENGTHS, MONTHS, Scores
from sgdsm.evaluation.strata import ARIDITY, TEMPERATURE
from sgdsm.report.hovmoeller import colours_of
from sgdsm.report.maps import NO_VALUE, colour_bar
from sgdsm.report.style import COLOURS, DASHES, INK, MARKERS, Picture, line_style, subplots

SIZE = (5.0, 3.5)
DRAWS = 500  # of the bootstrap of a class

GROUPS: dict[str, Sequence[str]] = {
    "kind of gap": ("swath", "outage", "random"),
    "length of the gap": tuple(GAP_LENGTHS),
    "days to the nearest visible value": tuple(GAP_AGES),
    "distance to the nearest visible value of the day": tuple(DISTANCES),
    "season": tuple(SEASON_MONTHS),
    "month": tuple(MONTHS),
    "rain of the day": ("dry", "rain"),
    "aridity": ARIDITY,
    "temperature": TEMPERATURE,
}

ClassTable = dict[str, dict[str, tuple[float, float, float, float]]]  # class -> model -> N, RMSE, its interval


def class_tables(entries: Sequence[Entry]) -> dict[str, ClassTable]:
    """Return N, RMSE and its 95 % interval by group of classes, class and model; classes without values are left out.

    Args:
        entries: The runs.
    """
    scores = {entry.label: entry.scores for entry in entries}
    tables = {group: class_table(scores, names) for group, names in GROUPS.items()}
    return {group: table for group, table in tables.items() if len(table) > 1}


def class_table(scores: Mapping[str, Scores], names: Iterable[str]) -> ClassTable:
    """Return N, RMSE and its 95 % interval by class and model; classes without values are left out.

    Args:
        scores: Name of each model -> its scores.
        names: Of the classes; those that the scores lack are left out.
    """
    table: ClassTable = {}
    for name in names:
        for label, one in scores.items():
            if name not in one.classes:
                continue
            units = one.units(name)
            if units.weight.sum() == 0:
                continue
            count = one.table()[name]["n"] if one.counts is not None else units.weight.sum()
            table.setdefault(name, {})[label] = (float(count), *bootstrap(units, draws=DRAWS))
    return table


def class_figure(table: ClassTable, group: str, units: str, size: tuple[float, float] = SIZE) -> Picture:
    """Draw RMSE and 95 % interval by class, N under the names of the classes; those of few values are marked.

    Args:
        table: Of one group, from `class_table`.
        group: Name of the group.
        units: Of the target.
        size: Of the figure, inches.
    """
    labels = list(dict.fromkeys(label for row in table.values() for label in row))
    counts = [max(value[0] for value in row.values()) for row in table.values()]
    figure, axis = subplots(figsize=size, layout="constrained")
    for k, label in enumerate(labels):
        shift = 0.6 * ((k + 0.5) / len(labels) - 0.5)
        for place, row in enumerate(table.values()):
            if label not in row:
                continue
            _, rmse, lower, upper = row[label]
            colour, few = COLOURS[k % len(COLOURS)], counts[place] < FEW
            axis.plot([place + shift] * 2, [lower, upper], color=colour, lw=1.2)
            style = {"marker": MARKERS[k % len(MARKERS)], "color": colour, "ls": "", "ms": 5}
            axis.plot(place + shift, rmse, mfc="white" if few else colour, label="_", **style)
        axis.plot([], [], label=label, **style)
    turned = 0 if len(table) < 8 else 60
    mark = ["*" if count < FEW else "" for count in counts]
    names = [f"{class_name(name)}{m}\nN {_short(n)}" for name, m, n in zip(table, mark, counts, strict=True)]
    if turned:
        names = [name.replace("\nN ", ": N ") for name in names]
    axis.set_xticks(range(len(table)), names, fontsize=8, rotation=turned)
    axis.set_xlim(-0.5, len(table) - 0.5)
    axis.set_ylim(0)
    axis.set_ylabel(f"RMSE [{units}], 95 % interval")
    axis.set_xlabel(f"{group} (*, open: N < {FEW})" if any(mark) else group)
    axis.grid(axis="y", alpha=0.3)
    if len(labels) > 1:
        _legend(figure, axis, len(labels))
    return figure


def class_name(name: str) -> str:
    """Return the name of a class for readers."""
    if name.startswith("month_"):
        return month_abbr[int(name.removeprefix("month_"))]
    short = name.removeprefix("gap_").removeprefix("age_").removesuffix("_zone")
    if "_to_" in short:
        short = short.removeprefix("from_")
    return short.replace("_or_more", "+").replace("_to_", "-").replace("_", " ")


def calibration_figures(entries: Sequence[Entry], units: str) -> Iterator[tuple[str, Picture]]:
    """Yield reliability, PIT and spread against skill of all runs with error bars, and a caption for each.

    Args:
        entries: The runs.
        units: Of the target.
    """
    known = [entry for entry in entries if entry.scores.calibration.pit.sum() > 0]
    if not known:
        return
    figure, axis = subplots(figsize=SIZE, layout="constrained")
    axis.plot([0, 1], [0, 1], color=INK, lw=1, ls=":")
    for k, entry in enumerate(known):
        axis.plot(*entry.scores.calibration.reliability(), ms=4, **line_style(k), label=entry.label)
    axis.set(xlabel="forecast probability", ylabel="observed frequency", aspect="equal")
    _legend(figure, axis, len(known))
    yield (
        "Reliability: how often the truth lies below each quantile; on the dotted line where error bars are right",
        figure,
    )
    figure, axis = subplots(figsize=SIZE, layout="constrained")
    axis.axhline(1, color=INK, lw=1, ls=":")
    for k, entry in enumerate(known):
        pit = entry.scores.calibration.pit
        axis.stairs(pit / pit.sum() * PIT_BINS, np.linspace(0, 1, PIT_BINS + 1), baseline=None,
                    color=COLOURS[k % len(COLOURS)], ls=DASHES[k % len(DASHES)], lw=1.5, label=entry.label)  # fmt: skip
    axis.set(xlabel="probability integral transform", ylabel="density", xlim=(0, 1), ylim=(0, None))
    _legend(figure, axis, len(known))
    yield "PIT: flat where error bars are right, high at both ends where they are too narrow", figure
    figure, axis = subplots(figsize=SIZE, layout="constrained")
    most = 0.0
    for k, entry in enumerate(known):
        spread, skill, count = entry.scores.calibration.spread_skill()
        common = count >= 0.001 * count.sum()  # bins of few values are noise
        label = f"{entry.label}, slope {entry.scores.calibration.slope():.2f}"
        axis.plot(spread[common], skill[common], ms=4, **line_style(k), label=label)
        most = max(most, 1.1 * float(max(spread[common].max(), skill[common].max())))
    axis.plot([0, most], [0, most], color=INK, lw=1, ls=":")
    axis.set(xlabel=f"spread: standard deviation [{units}]", ylabel=f"RMSE [{units}]", xlim=(0, most), ylim=(0, most))
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    _legend(figure, axis, len(known))
    yield (
        "Spread and skill: errors of values with like standard deviations; on the dotted line where they are right",
        figure,
    )


def taylor_figure(entries: Sequence[Entry]) -> Picture:
    """Draw correlation and relative standard deviation of all runs (Taylor, J. Geophys. Res. 106, 7183, 2001, Fig. 2).

    Args:
        entries: The runs.
    """
    figure = Picture(figsize=SIZE, layout="constrained")
    axis: Any = figure.add_subplot(projection="polar")
    names = list(STATISTICS)
    most = 1.3
    for k, entry in enumerate(entries):
        state = entry.scores.units()
        mean = dict(zip(names, state.sum.sum(0) / state.weight.sum(), strict=True))
        std = {n: np.sqrt(max(mean[f"{n}_squared"] - mean[n] ** 2, 0.0)) for n in ("truth", "filled")}
        if min(std.values()) == 0:
            continue
        r = (mean["truth_filled"] - mean["truth"] * mean["filled"]) / (std["truth"] * std["filled"])
        ratio = std["filled"] / std["truth"]
        most = max(most, 1.15 * ratio)
        axis.plot(np.arccos(np.clip(r, 0, 1)), ratio, ms=7, label=entry.label, **{**line_style(k), "ls": ""})
    axis.plot(0, 1, "*", color=INK, ms=13, clip_on=False, label="hidden truth")
    axis.set_thetamin(0)
    axis.set_thetamax(90)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99, 1]
    axis.set_xticks(np.arccos(ticks), [f"{t:g}" for t in ticks])
    axis.set_rlim(0, most)
    # arcs of equal centred RMSE, around the truth
    angle, radius = np.meshgrid(np.linspace(0, np.pi / 2, 90), np.linspace(0, most, 90))
    distance = np.sqrt(1 + radius**2 - 2 * radius * np.cos(angle))
    lines = axis.contour(angle, radius, distance, levels=[0.25, 0.5, 0.75, 1.0], colors="0.6", linewidths=0.7)
    axis.clabel(lines, fontsize=7)
    axis.set_xlabel("standard deviation over that of the truth [1]", labelpad=18)
    axis.text(np.deg2rad(48), 1.17 * most, "correlation R", ha="center", va="center", rotation=-42)
    _legend(figure, axis, len(entries) + 1)
    return figure


def hovmoeller_figure(
    maps: Mapping[str, np.ndarray], days: Sequence[str], rows: np.ndarray, name: str, units: str
) -> Picture:
    """Draw means along the rows over time: observed, filled, and a difference of the same cells.

    Args:
        maps: Means of the land cells of each row, (T, H), see `sgdsm.report.hovmoeller.with_difference`.
        days: Dates, (T,).
        rows: Coordinates of the rows, (H,).
        name: Of the vertical coordinate.
        units: Of the target.
    """
    figure, axes = subplots(len(maps), 1, figsize=(5.2, 5.4), layout="constrained", sharex=True, sharey=True)
    times = date2num(np.asarray(days, "datetime64[D]"))
    step, half = (
        (times[-1] - times[0]) / max(len(times) - 1, 1) or 1.0,
        (rows[0] - rows[-1]) / max(len(rows) - 1, 1) / 2,
    )
    half = half or 0.5
    extent = (times[0] - step / 2, times[-1] + step / 2, rows[-1] - half, rows[0] + half)
    for axis, (title, one) in zip(axes, maps.items(), strict=True):
        colours = colours_of(title, maps, "cividis_r", "PuOr")
        image = axis.imshow(one.T, extent=extent, aspect="auto", interpolation="nearest", **colours)
        axis.set_title(fill(title, 62), fontsize=8, loc="left")
        axis.set_ylabel({"lat": "latitude [°]"}.get(name, f"{name} [m]"), fontsize=8)
        axis.set_facecolor(NO_VALUE)
        colour_bar(image, axis, f"[{units}]", pad=0.02)
    locator = AutoDateLocator(maxticks=6)
    axes[-1].xaxis_date()
    axes[-1].xaxis.set_major_locator(locator)
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))
    return figure


def _legend(figure: Picture, axis: Any, count: int) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(count, 3), fontsize=8, frameon=False)


def _short(count: float) -> str:
    return f"{count:.0f}" if count < 10_000 else f"{count / 1000:.0f}k"
