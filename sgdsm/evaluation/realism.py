"""Realism of filled values: whether they vary in time and space as the hidden truth does.

Two series are compared: visible values with the hidden truth, and visible values with the filled ones. All sums are
over pairs of which at least one value was hidden, the same pairs for both, so that the pattern of the gaps does not
matter. Values are anomalies from the mean of the cell's visible values.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from sgdsm.core.grids import DEGREE_M
from sgdsm.evaluation.score import ScoredFiles
from sgdsm.evaluation.scored_files import ScoredFile

LAGS = np.arange(1, 31)  # days
PERIODS = np.array([2, 2.5, 3, 4, 5, 7, 10, 14, 20, 30, 60])  # days
OFFSETS = np.array([1, 2, 4, 8, 16])  # cells
DRYDOWN_DAYS = 3
DRY_MM_PER_DAY = 1.0  # less rain than this is no rain
VALUES = 2**22  # of a band of rows
Sums = dict[str, np.ndarray]


class Realism(NamedTuple):
    """Statistics of the hidden truth (first) and of the filled values (second), (2, ...); NaN where not defined.

    Attributes:
        std: Standard deviation of the hidden values' anomalies, in the target's units.
        autocorrelation: At LAGS, 1.
        power: Power spectrum at PERIODS, squared units times days; 0 where it is too small to estimate.
        distance_km: Mean distance of the pairs at OFFSETS, without the first axis.
        variogram: Half the mean squared difference at these distances, squared units.
        drydown_days: Time scale of the decay towards the lowest visible value of the cell on days without rain.
        seam_time: Mean jump to the next day at the edges of gaps, over that inside of gaps, 1.
        seam_space: The same to the neighbouring cell.
    """

    std: np.ndarray
    autocorrelation: np.ndarray
    power: np.ndarray
    distance_km: np.ndarray
    variogram: np.ndarray
    drydown_days: np.ndarray
    seam_time: np.ndarray
    seam_space: np.ndarray


def realism(
    filled: str | Path | xr.Dataset,
    hidden: str | Path | xr.Dataset,
    visible: str | Path | xr.Dataset,
    precipitation: str | None = None,
    *,
    estimate: str | None = None,
    layout: str | None = None,
) -> Realism:
    """Compare how filled values and the hidden truth vary. The arguments are those of `score`.

    Autocorrelation is pooled over cells; the spectrum is its transform with Parzen's window (Blackman and Tukey, Bell
    Syst. Tech. J. 37, 185, 1958). The drydown time scale tau is that of d(theta)/dt = -(theta - theta_w) / tau (McColl
    et al., Geophys. Res. Lett. 44, 3682, 2017), from changes over three days without rain, by regression; noise makes
    it shorter. Pairs of cells are along rows and columns.

    Args:
        filled: As in `score`.
        hidden: As in `score`.
        visible: As in `score`; without precipitation there is no drydown time scale.
        precipitation: As in `score`.
        estimate: As in `score`.
        layout: As in `score`.

    Raises:
        CubeError: As `score`.
        ConfigError: As `score`.
    """
    product = ScoredFile.product(filled, estimate, layout)
    files = ScoredFiles.of(product, ScoredFile.of(hidden), ScoredFile.of(visible), precipitation)
    days, height, width = files.truth.shape
    # a whole number of bands; pairs over their edges are left out
    step = max(int(OFFSETS.max()), VALUES // max(1, days * width))
    sums: Sums = defaultdict(lambda: np.zeros(()))
    for begin in range(0, height, step):
        for name, values in _band_sums(files, slice(begin, min(begin + step, height))).items():
            sums[name] = sums[name] + values
    return _of_sums(sums)


def format_realism(found: Realism, units: str) -> str:
    """Return the statistics as a table: hidden truth, filled values, and their ratio.

    Args:
        found: The statistics.
        units: Of the target.
    """
    lag = {int(days): k for k, days in enumerate(LAGS)}
    fast, slow = PERIODS <= 5, PERIODS >= 10
    rows = {f"standard deviation of anomalies [{units}]": found.std}
    rows |= {f"autocorrelation, lag of {k} d": found.autocorrelation[:, lag[k]] for k in (1, 7, 30)}
    rows["power, periods of 2 to 5 d"] = found.power[:, fast].mean(1)
    rows["power, periods of 10 to 60 d"] = found.power[:, slow].mean(1)
    rows["drydown time scale [d]"] = found.drydown_days
    rows[f"root semivariogram at {found.distance_km[0]:.0f} km [{units}]"] = np.sqrt(found.variogram[:, 0])
    rows["jump at edges of gaps over inside, in time"] = found.seam_time
    rows["jump at edges of gaps over inside, in space"] = found.seam_space
    width = max(map(len, rows))
    lines = [f"{'realism':{width}} {'hidden truth':>13} {'filled':>10} {'ratio':>8}"]
    for name, (truth, filled) in rows.items():
        ratio = filled / truth if truth else np.nan
        lines.append(f"{name:{width}} {truth:13.5g} {filled:10.5g} {ratio:8.3f}".replace("nan", "  -"))
    return "\n".join(lines)


def _band_sums(files: ScoredFiles, rows: slice) -> Sums:
    """Return the sums of a band of rows, by name."""
    part = (slice(None), rows)
    visible, truth, filled = (np.asarray(v[part].values, np.float64) for v in (files.seen, files.truth, files.filled))
    seen = np.isfinite(visible)
    hidden = np.logical_or.reduce([np.nan_to_num(m[part].values).astype(bool) for m in files.masks.values()])
    count = seen.sum(0)
    mean = np.where(seen, visible, 0).sum(0) / np.where(count > 0, count, np.nan)
    # first the truth, then the filled values
    both = np.stack([np.where(hidden, values, visible) - mean for values in (truth, filled)])
    known = np.isfinite(both).all(0)
    hidden &= known
    series = both[:, :, known.any(0)]
    known_series, hidden_series = known[:, known.any(0)], hidden[:, known.any(0)]
    sums = _in_time(series, known_series, hidden_series)
    sums |= _in_space(both, known, hidden, files.place.isel({files.place.dims[0]: rows}))
    if files.rain is not None:
        rain = files.rain[0][part].values[:, known.any(0)] * files.rain[1]
        lowest = np.where(seen, visible - mean, np.inf).min(0)[known.any(0)]
        sums |= _drying(series - lowest, known_series, hidden_series, rain < DRY_MM_PER_DAY)
    return sums


def _in_time(series: np.ndarray, known: np.ndarray, hidden: np.ndarray) -> Sums:
    """Return sums over pairs of days; `series`: (2, T, cells), the masks (T, cells)."""
    values = series[:, hidden]
    sums = {"n": np.array(values.shape[1]), "total": values.sum(1), "squares": (values**2).sum(1)}
    products = []
    for lag in LAGS:
        pairs = known[lag:] & known[:-lag] & (hidden[lag:] | hidden[:-lag])
        a, b = series[:, :-lag][:, pairs], series[:, lag:][:, pairs]
        products.append([(a * b).sum(1), (a * a).sum(1), (b * b).sum(1)])
    sums["lagged"] = np.array(products)
    return sums | _jumps("time", series[:, 1:], series[:, :-1], known, hidden, axis=0)


def _in_space(both: np.ndarray, known: np.ndarray, hidden: np.ndarray, place: xr.DataArray) -> Sums:
    """Return sums over pairs of cells; `both`: (2, T, H, W), the masks (T, H, W)."""
    squares, counts, km = np.zeros((len(OFFSETS), 2)), np.zeros(len(OFFSETS)), np.zeros(len(OFFSETS))
    sums: Sums = {}
    for axis, spacing in enumerate(_spacing_km(place), 1):
        for k, offset in enumerate(OFFSETS):
            if offset >= known.shape[axis]:
                continue
            ahead, behind = _ends(known.ndim, axis, int(offset))
            pairs = known[ahead] & known[behind] & (hidden[ahead] | hidden[behind])
            difference = both[(slice(None), *ahead)][:, pairs] - both[(slice(None), *behind)][:, pairs]
            squares[k] += (difference**2).sum(1)
            counts[k] += pairs.sum()
            km[k] += offset * spacing * pairs.sum()
        ahead, behind = _ends(known.ndim, axis, 1)
        found = _jumps("space", both[(slice(None), *ahead)], both[(slice(None), *behind)], known, hidden, axis)
        sums = {name: sums.get(name, 0) + values for name, values in found.items()}
    return sums | {"variogram": squares, "variogram_n": counts, "variogram_km": km}


def _jumps(name: str, after: np.ndarray, before: np.ndarray, known: np.ndarray, hidden: np.ndarray, axis: int) -> Sums:
    """Return sums of absolute differences of neighbours, where one is hidden and where both are, and their numbers."""
    ahead, behind = _ends(known.ndim, axis, 1)
    pairs = known[ahead] & known[behind]
    edge, inside = pairs & (hidden[ahead] ^ hidden[behind]), pairs & hidden[ahead] & hidden[behind]
    jump = abs(after - before)
    return {
        f"{name}_jump": np.stack([jump[:, edge].sum(1), jump[:, inside].sum(1)]),
        f"{name}_pairs": np.array([edge.sum(), inside.sum()]),
    }


def _drying(level: np.ndarray, known: np.ndarray, hidden: np.ndarray, dry: np.ndarray) -> Sums:
    """Return the sums of a regression of the change over DRYDOWN_DAYS on the level above the lowest, (2,) each."""
    days = DRYDOWN_DAYS
    without_rain = np.logical_and.reduce([dry[k : len(dry) - days + k] for k in range(1, days + 1)])
    pairs = known[days:] & known[:-days] & (hidden[days:] | hidden[:-days]) & without_rain
    a, b = level[:, :-days][:, pairs], level[:, days:][:, pairs]
    return {"drying": (a * (b - a)).sum(1), "level": (a * a).sum(1)}


def _of_sums(sums: Sums) -> Realism:
    nothing = np.full(2, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = sums["squares"] / sums["n"] - (sums["total"] / sums["n"]) ** 2
        ab, aa, bb = np.moveaxis(sums["lagged"], 1, 0)
        autocorrelation = (ab / np.sqrt(aa * bb)).T
        ratio = {}
        for name in ("time", "space"):
            edge, inside = sums[f"{name}_jump"] / sums[f"{name}_pairs"][:, None]
            ratio[name] = edge / inside
        slope = sums["drying"] / sums["level"] if "level" in sums else nothing
        drydown = np.where((slope > -1) & (slope < 0), -DRYDOWN_DAYS / np.log1p(slope), np.nan)
        return Realism(
            std=np.sqrt(variance),
            autocorrelation=autocorrelation,
            power=_spectrum(autocorrelation, variance),
            distance_km=sums["variogram_km"] / sums["variogram_n"],
            variogram=(sums["variogram"] / (2 * sums["variogram_n"][:, None])).T,
            drydown_days=drydown,
            seam_time=ratio["time"],
            seam_space=ratio["space"],
        )


def _spectrum(autocorrelation: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Return the power at PERIODS, (2, periods), of autocorrelations, (2, lags), and variances, (2,)."""
    share = LAGS / (LAGS[-1] + 1)
    window = np.where(share <= 0.5, 1 - 6 * share**2 * (1 - share), 2 * (1 - share) ** 3)  # Parzen's
    waves = np.cos(2 * np.pi * LAGS[:, None] / PERIODS)
    # a lag without pairs says nothing
    lagged = np.nan_to_num(autocorrelation) * window
    # pairs of different lags are not the same ones, so that rounding down to 0 may be needed
    power: np.ndarray = variance[:, None] * np.maximum(1 + 2 * lagged @ waves, 0)
    return power


def _ends(dims: int, axis: int, offset: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the index of all but the first values along an axis, and that of all but the last."""
    ahead, behind = [slice(None)] * dims, [slice(None)] * dims
    ahead[axis], behind[axis] = slice(offset, None), slice(None, -offset)
    return tuple(ahead), tuple(behind)


def _spacing_km(place: xr.DataArray) -> tuple[float, float]:
    """Return the mean distances of neighbouring rows and columns."""
    y, x = (place[dim].values.astype(np.float64) for dim in place.dims)
    down = float(abs(np.diff(y)).mean()) if len(y) > 1 else 0.0
    across = (
        float(abs(np.diff(np.unwrap(x, period=360) if place.dims[0] == "lat" else x)).mean()) if len(x) > 1 else 0.0
    )
    if place.dims[0] == "lat":
        degree = DEGREE_M / 1000
        return down * degree, across * degree * float(np.cos(np.deg2rad(y.mean())))
    return down / 1000, across / 1000
