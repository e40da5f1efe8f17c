"""Our DCT-PLS beside that of pytesmo (a `dev` extra): seconds of both on this machine, and the largest difference.

python benchmarks/dctpls.py [days rows columns]    one thread; by default a year of 121 x 116 cells
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from pytesmo.interpolate.dctpls import calc_init_guess, smoothn

from sgdsm.models.classical.cosine import Cosine
from sgdsm.models.classical.smooth import guess, smooth

SHAPE = (365, 121, 116)
S, TOLERANCE, ITERATIONS = 0.1, 1e-6, 30


def gappy(shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth waves and noise, NaN in half of the values, in boxes and one by one."""
    rng = np.random.default_rng(0)
    t, y, x = (np.linspace(0, 6, n, dtype=np.float32) for n in shape)
    field = np.sin(3 * t)[:, None, None] * np.cos(y)[:, None] * np.sin(x) + 0.1 * rng.standard_normal(shape)
    boxes = np.kron(rng.random([-(-n // 6) for n in shape]) < 0.4, np.ones((6, 6, 6), bool))
    missing = boxes[: shape[0], : shape[1], : shape[2]] | (rng.random(shape) < 0.2)
    return np.where(missing, np.nan, field).astype(np.float32)


def main() -> None:
    torch.set_num_threads(1)
    shape = tuple(int(n) for n in sys.argv[1:4]) if len(sys.argv) > 1 else SHAPE
    values = gappy(shape)
    seen = np.isfinite(values)
    y, w = (torch.from_numpy(a)[None] for a in (np.nan_to_num(values), seen.astype(np.float32)))
    print(f"{shape}, {1 - seen.mean():.0%} missing, s={S}, at most {ITERATIONS} steps, torch {torch.__version__}")
    own_start, own = timed(lambda: guess(y, w > 0, Cosine(shape, y)))
    start, theirs = timed(lambda: calc_init_guess(np.nan_to_num(values), ~seen)[0])
    tell("first guess (ties may fall otherwise)", own, theirs, own_start[0].numpy() - start)
    z, own_more = timed(
        lambda: smooth(y, w, S, torch.from_numpy(start)[None], tolerance=TOLERANCE, iterations=ITERATIONS)
    )
    settings = {"init_guess": start, "isrobust": False, "TolZ": TOLERANCE, "MaxIter": ITERATIONS}
    reference, theirs_more = timed(lambda: smoothn(values, S, **settings)[0])
    tell("steps from the same guess", own_more, theirs_more, z[0].numpy() - reference)
    tell("both", own + own_more, theirs + theirs_more, z[0].numpy() - reference)


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    found = task()
    return found, time.process_time() - begin


def tell(what: str, own: float, theirs: float, difference: np.ndarray) -> None:
    print(
        f"{what}: ours {own:.2f} s, pytesmo {theirs:.2f} s of CPU, {theirs / own:.1f} times as fast; "
        f"largest difference {np.abs(difference).max():.1e}"
    )


main()
