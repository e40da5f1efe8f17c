"""Features computed from covariates on the target grid, and from elevation on its own fine grid.

Arrays are (time, ..., rows, columns) float32 with NaN = no value. Features that use other days can be computed slab by
slab, if the slab has as many more days as they use. The season is no feature here: the data layer gives each model
cosine and sine of the year (`season_basis` in sgdsm/data/normalization.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdsm.core.days import whole_days
from sgdsm.core.errors import ConfigError
from sgdsm.core.grids import AUTHALIC_RADIUS_M

COMPOSITE, INTERPOLATED, HELD = 0, 1, 2  # flags of `composites`


class Terrain(NamedTuple):
    """Terrain of each cell, (rows, columns) float32.

    Attributes:
        slope: Degrees.
        northness: Cosine of the aspect, the direction downhill from north; 0 where level.
        eastness: Sine of the aspect; 0 where level.
        tpi: Topographic position index: elevation above the surroundings, m.
    """

    slope: np.ndarray
    northness: np.ndarray
    eastness: np.ndarray
    tpi: np.ndarray


def antecedent_precipitation(precipitation: np.ndarray, days: int, least: float = 0.5) -> np.ndarray:
    """Return the mean precipitation of `days` days up to and including today: AP = sum(P_i, i = 1-m..0) / m.

    Liu et al., HESS 27, 577, 2023, Eq. 1, m = 5. Missing days are left out.

    Args:
        precipitation: (T, ...), NaN = missing.
        days: Number of days, m.
        least: NaN where less than this share of the days is there, as at the beginning of a record.

    Returns:
        (T, ...) float32, in the units of the precipitation.

    Raises:
        ConfigError: When days is below 1.
    """
    if days < 1:
        raise ConfigError(f"antecedent precipitation: days={days}: expected 1 or more")
    known = np.isfinite(precipitation)
    amount = np.where(known, precipitation, 0).astype(np.float32)
    total, count = np.zeros_like(amount), np.zeros_like(amount)
    for lag in range(min(days, len(amount))):
        total[lag:] += amount[: len(amount) - lag]
        count[lag:] += known[: len(amount) - lag]
    return _divided(total, count, count >= (least - 1e-4) * days)


def diurnal_temperature_range(tmax: np.ndarray, tmin: np.ndarray) -> np.ndarray:
    """Return the diurnal temperature range, K.

    Highest minus lowest air temperature of the day, or day minus night land surface temperature (Liu et al., HESS 27,
    577, 2023, section 2.1.1), which may be below 0; NaN where one of them is missing.

    Args:
        tmax: K, any shape.
        tmin: K, the same shape.
    """
    return (np.asarray(tmax, np.float32) - np.asarray(tmin, np.float32)).astype(np.float32)


def mean_of_two(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the mean of two variables where both have a value, else the one that has.

    Liu et al., HESS 27, 577, 2023, section 2.1.1, average NDVI of two satellites (MOD13C1, MYD13C1) so.

    Args:
        first: Any shape, NaN = missing.
        second: The same shape and units.
    """
    pair = np.stack([first, second]).astype(np.float32)
    known = np.isfinite(pair)
    count = known.sum(0)
    return _divided(np.where(known, pair, 0).sum(0), count, count > 0)


def n_day_mean(values: np.ndarray, days: int) -> np.ndarray:
    """Return means of blocks of `days` days, over the values that are there.

    CASM (Skulovich and Gentine, Sci. Data 2023) has n = 3. The cube then has a step of n days, times[::n].

    Args:
        values: (T, ...), NaN = missing.
        days: Length of a block, n.

    Returns:
        (T / n, ...) float32, NaN where a block has no value.

    Raises:
        ConfigError: When the record is not a whole number of blocks.
    """
    if days < 1 or len(values) % days:
        raise ConfigError(f"{len(values)} days: expected a multiple of n_day_mean's days={days}")
    blocks = values.reshape(-1, days, *values.shape[1:])
    # blocks of which some days are missing still get a mean
    known = np.isfinite(blocks)
    count = known.sum(1)
    return _divided(np.where(known, blocks, 0).sum(1, dtype=np.float64), count, count > 0)


def terrain(elevation: np.ndarray, lat: np.ndarray, lon: np.ndarray, window: int = 3) -> Terrain:
    """Return slope, aspect and topographic position of each cell.

    Cells get narrower with cos(lat); if the longitudes go once round, the last column is next to the first. Slope and
    aspect: Horn, Proc. IEEE 69, 14, 1981, over 3 x 3 cells. tpi: elevation minus the mean of the window x window - 1
    cells around (Guisan et al., Plant Ecol. 143, 107, 1999; Liu et al. 2023: 3, the eight neighbours). Neighbours that
    are missing, and those beyond the edge, count as level with the cell; for tpi they are left out. A slab needs window
    // 2 more rows on each side.

    Compute these on the elevation's own fine grid and average them afterwards: the slope of an average elevation is
    that of a plain, and directions have a mean only as northness and eastness. The mean of a 3 x 3 tpi over a coarse
    cell is nearly
    zero: for a map of valleys and ridges there, take a window about as wide as the coarse cell.

    Args:
        elevation: (H, W) in m, NaN = sea.
        lat: Latitudes of the centres in degrees, north first, (H,).
        lon: Longitudes of the centres in degrees, west to east, (W,).
        window: Side of the window of tpi, cells, an odd number.

    Raises:
        ConfigError: When coordinates have another size or order, or the window is even.
    """
    if elevation.shape != (lat.size, lon.size) or min(elevation.shape) < 2:
        raise ConfigError(f"elevation of {elevation.shape} cells: expected ({lat.size}, {lon.size}), two or more each")
    if (np.diff(lat) >= 0).any() or (np.diff(lon) <= 0).any():
        raise ConfigError("elevation: expected latitudes from north to south and longitudes from west to east")
    if window < 3 or window % 2 == 0 or window > min(elevation.shape):
        raise ConfigError(f"tpi window of {window} cells: expected an odd number from 3 to {min(elevation.shape)}")
    # true if one more column would complete the circle, up to half a column
    circular = abs((lon[-1] - lon[0]) * lon.size / (lon.size - 1) - 360.0) < 0.5 * (lon[-1] - lon[0]) / (lon.size - 1)
    east, north = _gradient(elevation.astype(np.float32), lat, lon, circular)
    steep = np.hypot(east, north)
    # downhill is against the gradient
    northness, eastness = (_divided(-g, steep, steep > 0, np.where(np.isnan(steep), np.nan, 0)) for g in (north, east))
    slope = np.degrees(np.arctan(steep)).astype(np.float32)
    return Terrain(slope, northness, eastness, _position(elevation, window, circular))


def composites(
    values: np.ndarray, times: np.ndarray, days: np.ndarray, max_gap_days: int = 32
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate composites of 8 or 16 days linearly in time to single days.

    Args:
        values: (composites, rows, columns), NaN = none (cloud): the next one that has a value is used instead.
        times: The date that each stands for, best the middle of its days (MODIS files give the first one), datetime64,
            rising, (composites,).
        days: Days to interpolate to, datetime64, (T,).
        max_gap_days: No value is taken from farther away, days.

    Returns:
        Values (float32) and flags (uint8), both (T, rows, columns). Flags: 0 a composite's day; 1 interpolated; 2 held
        from one side, because there is none near enough on the other, or NaN, because there is none at all.

    Raises:
        ConfigError: When times do not rise, or are not as many as the values.
    """
    at, wanted = (whole_days(t).astype("datetime64[D]").astype(np.int64) for t in (times, days))
    if at.size != len(values) or not at.size or (np.diff(at) <= 0).any():
        raise ConfigError(f"{len(values)} composites with {at.size} times: expected as many, rising")
    values = np.asarray(values, np.float32)
    number = np.arange(at.size).reshape(-1, *([1] * (values.ndim - 1)))
    known = np.isfinite(values)
    # of each composite and cell: the last one up to it that has a value, and the first from it on
    last = np.maximum.accumulate(np.where(known, number, -1))
    first = np.minimum.accumulate(np.where(known, number, at.size)[::-1])[::-1]
    # missing neighbours are infinitely far away
    far = np.iinfo(np.int64).max // 4
    before_at, after_at = np.append(at, -far), np.append(at, far)  # index -1 and index at.size
    interpolated = np.full((wanted.size, *values.shape[1:]), np.nan, np.float32)
    flags = np.full(interpolated.shape, HELD, np.uint8)
    for k, day in enumerate(wanted):
        here = np.searchsorted(at, day, side="right") - 1
        there = here if here >= 0 and at[here] == day else here + 1
        before = last[here] if here >= 0 else np.full(values.shape[1:], -1)
        after = first[there] if there < at.size else np.full(values.shape[1:], at.size)
        back, ahead = day - before_at[before], after_at[after] - day
        a, b = (np.take_along_axis(values, np.clip(n, 0, at.size - 1)[None], 0)[0] for n in (before, after))
        near_a, near_b = back <= max_gap_days, ahead <= max_gap_days
        share = (back / np.maximum(back + ahead, 1)).astype(np.float32)
        between = a + share * (b - a)
        interpolated[k] = np.where(
            near_a & near_b, between, np.where(near_a, a, np.where(near_b, b, np.float32(np.nan)))
        )
        flags[k] = np.where(back == 0, COMPOSITE, np.where(near_a & near_b, INTERPOLATED, HELD))
    return interpolated, flags


def _divided(total: np.ndarray, by: np.ndarray, where: np.ndarray, other: np.ndarray | float = np.nan) -> np.ndarray:
    quotient = np.array(np.broadcast_to(other, total.shape), np.float32)
    np.divide(total, by, out=quotient, where=where, casting="same_kind")
    return quotient


def _padded(values: np.ndarray, width: int, circular: bool) -> np.ndarray:
    """Return an array with rows and columns of NaN around it, or with columns of the other side if it is circular."""
    columns = ((0, 0), (width, width))
    wide = np.pad(values, columns, "wrap") if circular else np.pad(values, columns, constant_values=np.nan)
    return np.pad(wide, ((width, width), (0, 0)), constant_values=np.nan)


def _gradient(elevation: np.ndarray, lat: np.ndarray, lon: np.ndarray, circular: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the rise of the elevation towards east and north, m per m."""
    rows, columns = elevation.shape
    padded = _padded(elevation, 1, circular)

    def neighbour(down: int, right: int) -> np.ndarray:
        there = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
        return np.where(np.isnan(there), elevation, there)

    metres = np.radians(1.0) * AUTHALIC_RADIUS_M
    height = metres * np.abs(np.gradient(lat.astype(float)))[:, None]
    # at the pole itself a cell has no width
    width = metres * np.gradient(lon.astype(float)) * np.maximum(np.cos(np.radians(lat)), 1e-3)[:, None]
    # Horn's weights: 1, 2, 1 along the other axis
    east = sum(w * (neighbour(d, 1) - neighbour(d, -1)) for d, w in ((-1, 1.0), (0, 2.0), (1, 1.0)))
    north = sum(w * (neighbour(-1, r) - neighbour(1, r)) for r, w in ((-1, 1.0), (0, 2.0), (1, 1.0)))
    known = np.isfinite(elevation)
    rises = (np.where(known, east / (8 * width), np.nan), np.where(known, north / (8 * height), np.nan))
    return rises[0].astype(np.float32), rises[1].astype(np.float32)


def _position(elevation: np.ndarray, window: int, circular: bool) -> np.ndarray:
    known = np.isfinite(elevation)
    sums, counts = (
        _window_sum(_padded(a, window // 2, circular), window)
        for a in (np.where(known, elevation, 0.0).astype(np.float64), known.astype(np.float64))
    )
    around, number = sums - np.where(known, elevation, 0), counts - known
    mean = _divided(around, number, number > 0.5)
    return (elevation - mean).astype(np.float32)


def _window_sum(padded: np.ndarray, window: int) -> np.ndarray:
    # sums over a moving window as differences of running sums: the cost does not depend on its size
    sums = np.nan_to_num(padded)
    for axis in (0, 1):
        start = np.zeros_like(sums[:1] if axis == 0 else sums[:, :1])
        running = np.concatenate([start, np.cumsum(sums, axis)], axis)
        ahead = np.take(running, np.arange(window, running.shape[axis]), axis)
        sums = ahead - np.take(running, np.arange(running.shape[axis] - window), axis)
    return sums
