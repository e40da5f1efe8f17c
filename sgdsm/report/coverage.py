"""Description of a cube: dims, roles, coverage by season and lengths of the gaps, as text and as one figure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from matplotlib.dates import AutoDateLocator

from sgdsm.core.cube import ROLES, by_role, is_circular, row_bands, space_dims, step_days, target_of, time_chunks
from sgdsm.core.days import SEASONS
from sgdsm.core.errors import CubeError
from sgdsm.core.io.safety import GIB, size_of
from sgdsm.core.logging import log
from sgdsm.core.units import moisture_bounds
from sgdsm.core.validation import check_values
from sgdsm.core.words import counted
from sgdsm.report.maps import NO_LAND, colour_bar, name_axes
from sgdsm.report.style import Picture, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY = 2**28  # most values of a covariate that are read
LENGTHS = ((1, 1, "1"), (2, 3, "2-3"), (4, 7, "4-7"), (8, 30, "8-30"), (31, None, "more than 30"))


@dataclass
class Coverage:
    """Observed values of the land cells of a cube.

    Attributes:
        share: Share of the maps at which each cell is observed, (H, W), NaN off land.
        by_season: Season -> mean share of the land that is observed.
        by_month: Month, like '2015-04' -> mean share of the land that is observed.
        gaps: Length in maps -> number of gaps. A gap at the ends of the record has the length that lies in it.
    """

    share: np.ndarray
    by_season: dict[str, float]
    by_month: dict[str, float]
    gaps: Counter[int] = field(default_factory=Counter)


def coverage(cube: xr.Dataset) -> Coverage:
    """Return the coverage of a cube, in one pass over its target."""
    target = target_of(cube)
    land = cube[by_role(cube, "land")[0]].values.astype(bool)
    months = target["time"].values.astype("datetime64[M]")
    numbers = months.astype(int) % 12
    total = np.zeros(land.shape, np.int64)
    daily = np.zeros(target.shape[0])
    gaps: Counter[int] = Counter()
    if target.nbytes > GIB:
        log.info("%s: %s unpacked, read a part at a time", target.name, size_of(target.nbytes))
    for rows in row_bands(target):
        # length of the gap that each land cell is in; carried over from one part of the days to the next
        run = np.zeros(int(land[rows].sum()), np.int64)
        for days in time_chunks(target[:, rows]):
            seen = np.isfinite(target[days, rows].values)
            total[rows] += seen.sum(0)
            daily[days] += seen[:, land[rows]].sum(1)
            for day in seen[:, land[rows]]:
                gaps.update(run[day & (run > 0)].tolist())
                run = np.where(day, 0, run + 1)
        gaps.update(run[run > 0].tolist())
    daily /= max(1, land.sum())
    share = np.where(land, total / target.shape[0], np.nan)
    # December counts to the winter of the months that follow
    seasons = np.array(SEASONS)[(numbers + 1) % 12 // 3]
    return Coverage(
        share,
        {s: float(daily[seasons == s].mean()) for s in SEASONS if (seasons == s).any()},
        {str(m): float(daily[months == m].mean()) for m in np.unique(months)},
        gaps,
    )


def ranges(cube: xr.Dataset) -> tuple[str, CubeError | None]:
    """Check the values of all variables; of a large covariate, only every n-th map is read.

    Args:
        cube: The cube.

    Returns:
        A line for each variable with its smallest and largest value, and the first error in the values, if any.
    """
    lines, problem = [], None
    for role in ("target", "uncertainty", "dynamic", "static"):
        for name in by_role(cube, role):
            variable = cube[name]
            # the target is read whole: its fill values would become observations
            step = 1 if role == "target" else max(1, variable.size // MANY)
            part = variable if step == 1 or "time" not in variable.dims else variable.isel(time=slice(None, None, step))
            lines.append(f"{role:7} {name} {_range(part, role)}{'' if step == 1 else f' (one map in {step})'}")
            for days in time_chunks(part):
                try:
                    check_values(variable, part[days].values)
                except CubeError as error:
                    problem = problem or error
    return "\n".join(["values", *lines]), problem


def availability(cube: xr.Dataset) -> dict[str, float]:
    """Return the share of the land values at which each covariate has a value, and all of them together have.

    Liu et al. (HESS 27, 577, 2023) draw it in Fig. 3c. Of a large cube, only every n-th map is read.

    Args:
        cube: The cube.

    Returns:
        Covariate -> share, 0 to 1, in the order of the cube; 'all together' last, where there are several. Empty
        without covariates.
    """
    names = [*by_role(cube, "dynamic"), *by_role(cube, "static")]
    land = cube[by_role(cube, "land")[0]].values.astype(bool)
    if not names or not land.any():
        return {}
    target = target_of(cube)
    dims = target.dims
    step = max(1, target.size * len(names) // MANY)
    maps = cube.isel(time=slice(None, None, step))
    still = {name: np.isfinite(cube[name].transpose(*dims[1:]).values)[land] for name in names if cube[name].ndim == 2}
    found = dict.fromkeys(names, 0)
    together, total = 0, maps.sizes["time"] * int(land.sum())
    # days of all covariates together are in memory
    for days in time_chunks(maps[target.name], 2**24 // len(names)):
        every = np.ones((len(range(*days.indices(maps.sizes["time"]))), int(land.sum())), bool)
        for name in names:
            moving = None if name in still else maps[name].isel(time=days).transpose(*dims).values
            known = np.broadcast_to(still[name], every.shape) if moving is None else np.isfinite(moving[:, land])
            found[name] += int(known.sum())
            every &= known
        together += int(every.sum())
    shares = {name: count / total for name, count in found.items()}
    return shares | ({"all together": together / total} if len(names) > 1 else {})


def availability_lines(shares: dict[str, float]) -> str:
    """Return the availability of the covariates as text, '' without covariates.

    Args:
        shares: What `availability` returns.
    """
    width = max(map(len, shares), default=0)
    lines = [f"  {name:{width}} {share:7.1%}" for name, share in shares.items()]
    return "\n".join(["covariates, share of the land values", *lines]) if lines else ""


def _range(variable: xr.DataArray, role: str) -> str:
    """Return smallest and largest value as text, and for soil moisture the share outside the bounds of its units."""
    units = variable.attrs.get("units", "1")
    missing = "units_missing" in variable.attrs
    bounds = None if missing or role != "target" else moisture_bounds(units)
    low, high, total, outside = np.inf, -np.inf, 0, 0
    for days in time_chunks(variable):
        values = np.asarray(variable[days].values, np.float64)
        values = values[np.isfinite(values)]
        total += values.size
        if values.size:
            low, high = min(low, values.min()), max(high, values.max())
        if bounds is not None:
            outside += int(((values < bounds[0]) | (values > bounds[1])).sum())
    if not total:
        return "no value"
    text = f"{low:.6g} to {high:.6g} [{'no units' if missing else units}]"
    return text if bounds is None else f"{text}, {outside / total:.2%} outside {bounds[0]:g} to {bounds[1]:g}"


def describe(cube: xr.Dataset, found: Coverage) -> str:
    """Return a description of a cube as text.

    Args:
        cube: The cube.
        found: Its coverage.
    """
    target = target_of(cube)
    rows, columns = space_dims(target)
    land = cube[by_role(cube, "land")[0]].values.astype(bool)
    time = target["time"].values
    period = f"{str(time[0])[:10]} to {str(time[-1])[:10]}"
    circle = ", round the globe" if is_circular(cube) else ""
    lines = [
        f"time    {counted(len(time), 'map')}, one every {counted(step_days(target['time']), 'day')}, {period}",
        f"grid    {rows} {_span(cube[rows])}, {columns} {_span(cube[columns])}{circle}",
        f"land    {land.sum()} of {land.size} cells",
    ]
    for role in ROLES[:-1]:
        for name in by_role(cube, role):
            attrs = cube[name].attrs
            note = attrs.get("long_name") or attrs.get("standard_name") or ""
            lines.append(f"{role:7} {name} [{attrs.get('units', '1')}] {note}".rstrip())
    if found.by_season:
        mean = np.nanmean(found.share) if land.any() else float("nan")
        seasons = ", ".join(f"{season} {share:.1%}" for season, share in found.by_season.items())
        lines.append(f"observed {mean:.1%} of the land values: {seasons}")
    lines += _gap_lines(found.gaps)
    if "rejected" in cube.attrs:
        lines += ["", str(cube.attrs["rejected"])]
    if cube.attrs.get("skipped_files"):
        lines += [f"skipped: {line}" for line in str(cube.attrs["skipped_files"]).splitlines()]
    return "\n".join(lines)


def _gap_lines(gaps: Counter[int]) -> list[str]:
    """Return the table of gaps by class of length."""
    if not gaps:
        return ["no gaps"]
    missing = sum(length * n for length, n in gaps.items())
    lines = ["gaps (maps)      gaps   share of the missing values"]
    for low, high, label in LENGTHS:
        chosen = {k: n for k, n in gaps.items() if k >= low and (high is None or k <= high)}
        values = sum(k * n for k, n in chosen.items())
        lines.append(f"  {label:13}{sum(chosen.values()):8d}   {values / missing:6.1%}")
    return [*lines, f"  longest      {max(gaps):8d}"]


def figure(cube: xr.Dataset, found: Coverage, path: Path, available: dict[str, float] | None = None) -> Path:
    """Write the figure of `draw` as a picture.

    Args:
        cube: The cube.
        found: Its coverage.
        path: Of the picture.
        available: Share of the values of each covariate; None or empty: not drawn.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(cube, found, available).savefig(path, dpi=110)
    return path


def draw(cube: xr.Dataset, found: Coverage, available: dict[str, float] | None = None) -> Picture:
    """Draw where and when a cube is observed, lengths of gaps, and availability of covariates.

    Args:
        cube: The cube.
        found: Its coverage.
        available: Share of the values of each covariate; None or empty: not drawn.

    Returns:
        The Figure, not saved.
    """
    target = target_of(cube)
    rows, columns = space_dims(target)
    widths = (2, 1.4, 1, 1.2) if available else (2, 1.4, 1)
    # names of many covariates need a line each
    size = (19 if available else 15, max(4.0, 0.22 * len(available or ())))
    canvas, axes = subplots(1, len(widths), figsize=size, layout="constrained", width_ratios=widths)
    picture = axes[0].pcolormesh(
        cube[columns], cube[rows], found.share, vmin=0, vmax=1, cmap="viridis", rasterized=True
    )
    axes[0].set_facecolor(NO_LAND)
    colour_bar(picture, axes[0], "share of the maps observed [1]")
    axes[0].set_title(f"{target.name}: where it is observed")
    name_axes(cube, [axes[0]], [axes[0]])
    _draw_months(axes[1], found.by_month)
    _draw_gaps(axes[2], found.gaps)
    if available:
        _draw_available(axes[3], available)
    return canvas


def _draw_months(axis: Axes, by_month: dict[str, float]) -> None:
    months = np.array(list(by_month), "datetime64[M]")
    # in long records markers would hide the line
    axis.plot(months, list(by_month.values()), marker="o" if len(months) < 40 else None, color="tab:blue")
    axis.set(title="when", ylabel="share of the land observed [1]", ylim=(0, 1))
    axis.tick_params(axis="x", rotation=30)
    axis.xaxis.set_major_locator(AutoDateLocator(maxticks=7))
    edge = np.timedelta64(15, "D")
    axis.set_xlim(months[0].astype("datetime64[D]") - edge, months[-1].astype("datetime64[D]") + edge)


def _draw_gaps(axis: Axes, gaps: Counter[int]) -> None:
    missing = max(1, sum(length * n for length, n in gaps.items()))
    shares = [
        sum(k * n for k, n in gaps.items() if k >= low and (high is None or k <= high)) / missing
        for low, high, _ in LENGTHS
    ]
    axis.bar([label.replace("more than ", "> ") for *_, label in LENGTHS], shares, color="tab:orange")
    axis.set(title="length of the gaps", xlabel="maps", ylabel="share of the missing values [1]")


def _draw_available(axis: Axes, available: dict[str, float]) -> None:
    names = list(available)[::-1]
    colours = ["tab:gray" if name == "all together" else "tab:green" for name in names]
    axis.barh(names, [available[name] for name in names], color=colours)
    axis.set(title="covariates", xlabel="share of the land values [1]", xlim=(0, 1))
    axis.tick_params(axis="y", labelsize=8)


def _span(coordinate: xr.DataArray) -> str:
    """Return number, first and last value of a coordinate as text."""
    values = coordinate.values
    units = {"degrees_north": "°", "degrees_east": "°"}.get(
        coordinate.attrs.get("units", ""), " " + coordinate.attrs.get("units", "")
    )
    return f"{len(values)} from {values[0]:g} to {values[-1]:g}{units}".rstrip()
