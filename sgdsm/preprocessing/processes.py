"""Blocks of a cube in the making, dealt to processes of this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing import resource_tracker
from typing import Any

from sgdsm.core.signals import deaf
from sgdsm.preprocessing.store import Store


def in_processes(
    make: Callable[[int], dict[str, Any]], store: Store, stage: str, blocks: list[int], workers: int
) -> None:
    """Make blocks in so many processes; each notes what it has finished.

    make: makes and stores a block, and gives what to note of it.
    """
    from dask.base import compute
    from dask.delayed import delayed
    from dask.diagnostics.progress import ProgressBar

    with deaf():
        resource_tracker.ensure_running()  # a terminal that is gone would end it, loudly
    how: dict[str, Any] = {"scheduler": "processes", "num_workers": workers, "chunksize": 1}
    with ProgressBar(minimum=2.0, dt=0.5, out=sys.stderr) if sys.stderr.isatty() else nullcontext():
        # in few parcels: each carries the lists of all files
        parcels = [blocks[k :: 8 * workers] for k in range(min(len(blocks), 8 * workers))]
        tasks = [delayed(_make_all)(make, store, stage, parcel) for parcel in parcels]
        compute(*tasks, **(how if workers > 1 else {"scheduler": "synchronous"}))


def _make_all(make: Callable[[int], dict[str, Any]], store: Store, stage: str, blocks: list[int]) -> None:
    for block in blocks:
        store.keep(stage, block, make(block))
