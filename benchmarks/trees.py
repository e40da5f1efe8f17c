"""Peak memory of fitting trees, in memory and with rows on disk: as ten times the rows come, and as they are kept.

python benchmarks/trees.py [rows]

Each line is a process of its own, its peak from /proc/self/status (Linux): what getrusage tells of a child counts the
memory of its parent before exec.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np

FEATURES, BATCH, ROUNDS = 92, 5_000, 10


def mib(field: str) -> float:
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(field))
    return int(line.split()[1]) / 1024


def child(rows: int, most: int, spill: bool) -> None:
    from sgdsm.models.trees.boosting import Fitting
    from sgdsm.models.trees.row_reservoir import RowReservoir

    before, begin = mib("VmRSS"), time.perf_counter()
    kept, rng = RowReservoir(most, 0, spill), np.random.default_rng(0)
    for index in range(rows // BATCH):
        features = rng.random((BATCH, FEATURES), np.float32)
        kept.add(features, features[:, 0] + features[:, 1] * features[:, 2], (0, index))
    count = kept.count
    settings = {"tree_method": "hist", "max_depth": 8, "nthread": 1, "eta": 0.3}
    Fitting([f"f{k}" for k in range(FEATURES)], ROUNDS).fit([settings], kept, kept)
    kept.close()
    peak, seconds = mib("VmHWM"), time.perf_counter() - begin
    print(
        f"{rows:>9,} {count:>9,}  {'disk' if spill else 'memory':<6} {before:7.0f} {peak:7.0f} {seconds:6.0f}",
        flush=True,
    )


def main(rows: int) -> None:
    print("     come      kept  rows on   start    peak  seconds  (MiB)")
    for come, most in ((rows, rows), (10 * rows, rows), (10 * rows, 10 * rows)):
        for spill in (False, True):
            subprocess.run([sys.executable, __file__, str(come), str(most), str(int(spill))], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        child(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
