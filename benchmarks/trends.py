"""Tests of trends: how often they find one where there is none, and what a cell takes, beside pymannkendall.

    OMP_NUM_THREADS=1 python benchmarks/trends.py [false_positives] [time] [draws=1000]
    python benchmarks/trends.py FOLDER      # of `sgdsm chain experiment=trends_world`: one table of its fillers

The first table is of forty years of months with AR(1) memory and no trend; pymannkendall (extra dev) makes the columns
that the package does not offer. Times are of one thread, by turns, by the clock of the process.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pymannkendall
import xarray as xr

from sgdsm.evaluation.trend_files import format_truth, truth_table
from sgdsm.evaluation.trends import LEVEL, trends

YEARS = 40
CORRELATIONS = (0.0, 0.2, 0.4, 0.6, 0.8)
LARGE = 10_000  # cells of the last timing


def months(correlation: float, cells: int, rng: np.random.Generator) -> np.ndarray:
    """Months without a trend, (480, cells), with an autocorrelation at a lag of one month, and unit variance."""
    noise = rng.standard_normal((YEARS * 12, cells))
    series = noise.copy()
    for k in range(1, len(series)):
        series[k] = correlation * series[k - 1] + np.sqrt(1 - correlation**2) * noise[k]
    return series


def false_positives(draws: int) -> None:
    """Print the share of series without a trend in which each test finds one at 5 %."""
    every, year = np.arange(YEARS * 12) / 12, np.arange(YEARS)
    names = (
        "annual",
        "correlated seasonal",
        "plain months",
        "seasonal",
        "HR 3 lags",
        "annual HR 3",
        "HR all*",
        "TFPW*",
    )
    print(f"share of {draws} series ({draws // 5} where *, by pymannkendall) with p < {LEVEL}, no trend, {YEARS} years")
    print("monthly AR" + "".join(f"{name:>20}" for name in names))
    for correlation in CORRELATIONS:
        series = months(correlation, draws, np.random.default_rng([0, int(100 * correlation)]))
        by_month = series.reshape(YEARS, 12, -1)
        annual = by_month.mean(1)
        p = [
            trends(annual, year).p,
            trends(by_month, year, "covariance").p,
            trends(series, every).p,
            trends(by_month, year).p,
            trends(series, every, "hamed_rao").p,
            trends(annual, year, "hamed_rao").p,
        ]
        for test in (
            pymannkendall.hamed_rao_modification_test,
            pymannkendall.trend_free_pre_whitening_modification_test,
        ):
            with np.errstate(invalid="ignore"):
                p.append(np.array([test(series[:, c]).p for c in range(draws // 5)]))
        print(f"{correlation:10.1f}" + "".join(f"{(values < LEVEL).mean():20.1%}" for values in p), flush=True)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def times(cells: int = 200) -> None:
    """Print the time of a cell, ours and pymannkendall's, by turns."""
    rng = np.random.default_rng(1)
    series = np.round(0.25 + 0.05 * rng.standard_normal((YEARS * 12, cells)), 2)
    by_month = series.reshape(YEARS, 12, -1)
    year = np.arange(YEARS)
    cases = {
        "480 months": (series, np.arange(480) / 12, pymannkendall.original_test, 40),
        "seasonal, 40 x 12": (by_month, year, pymannkendall.seasonal_test, 40),
        "40 annual means": (by_month.mean(1), year, pymannkendall.original_test, 200),
    }
    for name, (values, at, theirs, some) in cases.items():
        columns = [values[..., c].ravel() for c in range(some)]
        trends(values, at)  # the first call imports
        pairs = []
        for _ in range(5):
            own = seconds(lambda v=values, t=at: trends(v, t)) / cells
            other = seconds(lambda c=columns, f=theirs: [f(x) for x in c]) / some
            pairs.append((own, other))
        own, other = np.median(pairs, axis=0)
        ratio = np.median([b / a for a, b in pairs])
        print(
            f"{name:20} {own * 1e6:8.1f} us a cell, pymannkendall {other * 1e6:8.0f} us: {ratio:.1f} times", flush=True
        )
    many = np.tile(series, LARGE // cells)
    print(f"{LARGE} cells x 480 months: {seconds(lambda: trends(many, np.arange(480) / 12)):.1f} s")


def table(folder: Path) -> None:
    """Print the scores of all fillers of a chain in one table."""
    rows: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*_trends.nc")):
        with xr.open_dataset(path) as result:
            scores, units = truth_table(result), result["slope_filled"].attrs["units"]
        rows.setdefault("observed alone", scores["observed"])
        rows[path.name.removesuffix("_trends.nc")] = scores["filled"]
    print(format_truth(rows, units))


def main() -> None:
    words = [word for word in sys.argv[1:] if not word.startswith("draws=")]
    draws = next((int(word[6:]) for word in sys.argv[1:] if word.startswith("draws=")), 1000)
    if words and Path(words[0]).is_dir():
        table(Path(words[0]))
        return
    if not words or "false_positives" in words:
        false_positives(draws)
    if not words or "time" in words:
        times()


if __name__ == "__main__":
    main()
