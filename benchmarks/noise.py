"""How noisy the observed values are: the error that a perfect filler would still be scored with.

    python benchmarks/noise.py CUBE TARGET [--rain NAME --dry MM_PER_DAY --per-day FACTOR] [--start DATE --end DATE]

Takes each observed value with the nearest ones before and after it, at most three days away, and its departure from
the line between them, over sqrt(1 + w^2 + (1 - w)^2), which is the noise where the soil's own course is a line. With
the name of the rain, only spells without rain count. Real bends of the course are in it too, so the root mean square
is an upper bound; the median of the absolute departures over .6745 is what the bulk of the values show. Values that
repeat the one before or after (composites) are left out and their share is told.
"""

from __future__ import annotations

import argparse

import numpy as np
import xarray as xr

REACH = 3


def departures(values: np.ndarray, dry: np.ndarray, same: float) -> tuple[np.ndarray, float]:
    """Scaled departures (N,) of values (T, S) on days that are dry (T, S), and the share of values that repeat."""
    found, repeats, triples = [], 0, 0
    for before in range(1, REACH + 1):
        for after in range(1, REACH + 1):
            middle = np.arange(before, len(values) - after)
            good = (
                np.isfinite(values[middle]) & np.isfinite(values[middle - before]) & np.isfinite(values[middle + after])
            )
            for k in range(-before, after + 1):
                good &= dry[middle + k]
                if k not in (-before, 0, after):
                    good &= np.isnan(values[middle + k])
            now, past, next_ = values[middle][good], values[middle - before][good], values[middle + after][good]
            new = (abs(now - past) > same) & (abs(next_ - now) > same)
            weight = after / (before + after)
            line = weight * past + (1 - weight) * next_
            found.append(((now - line) / np.sqrt(1 + weight**2 + (1 - weight) ** 2))[new])
            repeats, triples = repeats + int((~new).sum()), triples + len(new)
    return np.concatenate(found), repeats / max(1, triples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cube")
    parser.add_argument("target")
    parser.add_argument("--rain")
    parser.add_argument("--dry", type=float, default=0.1, help="mm a day below which a day counts as dry")
    parser.add_argument("--per-day", type=float, default=1.0, help="of the rain's unit, to mm a day (24 for mm/h)")
    parser.add_argument("--start")
    parser.add_argument("--end")
    given = parser.parse_args()
    cube = xr.open_dataset(given.cube).sel(time=slice(given.start, given.end))
    cube = cube.reindex(time=xr.date_range(cube.time.values[0], cube.time.values[-1]))
    target = cube[given.target].transpose("time", ...)
    values = target.values.reshape(len(target), -1)
    ever = np.isfinite(values).any(0)
    values = values[:, ever]
    dry = np.ones(values.shape, bool)
    if given.rain:
        rain = cube[given.rain].transpose(*target.dims).values.reshape(len(target), -1)[:, ever]
        dry = rain * given.per_day < given.dry
    same = 1e-3 * float(np.nanstd(values))
    month = target.time.dt.month.values % 12 // 3
    for name, mine in {
        "all": month >= 0,
        **{s: month == k for k, s in enumerate(("DJF", "MAM", "JJA", "SON"))},
    }.items():
        found, repeats = departures(values, dry & mine[:, None], same)
        if len(found):
            rms, bulk = np.sqrt(np.mean(found**2)), np.median(abs(found)) / 0.6745
            print(f"{name}: at most {rms:.4f}, bulk {bulk:.4f} ({len(found)} values; {repeats:.0%} repeat a neighbour)")


if __name__ == "__main__":
    main()
