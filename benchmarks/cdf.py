"""CDF matching beside pytesmo's: time, and the largest difference.

    OMP_NUM_THREADS=1 python benchmarks/cdf.py [cells] [days]

Both fit and apply, to the same values, in chunks of cells; needs pytesmo (extra dev).
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from pytesmo.cdf_matching import CDFMatching

from sgdsm.preprocessing.bias_correction.cdf import fit_cdf

CHUNK = 1000  # cells in memory at once


def two_sensors(rng: np.random.Generator, days: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """A source and a reference, (days, cells) float32, each with a third of its days missing."""
    truth = 0.05 + 0.4 * rng.beta(2, 3, (days, cells))
    source = 0.08 + 0.7 * truth**1.2 + 0.02 * rng.standard_normal(truth.shape)
    reference = np.maximum(truth + 0.02 * rng.standard_normal(truth.shape), 0.01)
    return tuple(np.where(rng.random(v.shape) < 1 / 3, np.nan, v).astype(np.float32) for v in (source, reference))


def pytesmo(source: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The same by pytesmo, cell by cell, with the settings that agree."""
    found = np.empty(source.shape)
    for cell in range(source.shape[1]):
        x, y = source[:, cell].astype(float), reference[:, cell].astype(float)
        matching = CDFMatching(nbins=100, minobs=20, linear_edge_scaling=True, combine_invalid=True)
        found[:, cell] = matching.fit(x, y).predict(x)
    return found


def main() -> None:
    cells = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    days = int(sys.argv[2]) if len(sys.argv) > 2 else 1500
    warnings.filterwarnings("ignore", message="The bins have been resized")
    seconds = {"sgdsm fit": 0.0, "sgdsm apply": 0.0, "pytesmo": 0.0}
    worst = 0.0
    for begin in range(0, cells, CHUNK):
        source, reference = two_sensors(np.random.default_rng([0, begin]), days, min(CHUNK, cells - begin))
        start = time.perf_counter()
        maps = fit_cdf(source, reference)
        fitted = time.perf_counter()
        ours = maps.apply(source)
        applied = time.perf_counter()
        theirs = pytesmo(source, reference)
        took = (fitted - start, applied - fitted, time.perf_counter() - applied)
        seconds = {name: s + t for (name, s), t in zip(seconds.items(), took, strict=True)}
        assert (np.isfinite(ours) == np.isfinite(theirs)).all()
        # pytesmo has no bounds
        worst = max(worst, float(np.nanmax(abs(ours - np.maximum(theirs, 0)))))
    for name, value in seconds.items():
        print(f"{name}: {value:.1f} s, {value / cells * 1e6:.0f} us a cell")
    ratio = seconds["pytesmo"] / (seconds["sgdsm fit"] + seconds["sgdsm apply"])
    print(f"{cells} cells of {days} days: {ratio:.1f} times faster, largest difference {worst:.2e} m3 m-3")


if __name__ == "__main__":
    main()
