"""Make the blocks of a cube in several processes of this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing import resource_tracker
from typing import Any

from dask.base import compute
from dask.delayed import delayed
from dask.diagnostics.progress import ProgressBar

from sgdsm.core.signals import deaf
from sgdsm.preprocessing.store import Store


def in_processes(
    build: Callable[[int], dict[str, Any]], store: Store, stage: str, blocks: list[int], workers: int
) -> None:
    """Make blocks in several processes; each process notes what it has finished.

    Args:
        build: Makes and stores a block, and returns what to note of it.
        store: Keeps the notes.
        stage: Name of the stage, for the notes.
        blocks: Numbers of the blocks.
        workers: Number of processes.
    """
    with deaf():
        resource_tracker.ensure_running()  # while signals are ignored: a closed terminal would end it with a traceback
    how: dict[str, Any] = {"scheduler": "processes", "num_workers": workers, "chunksize": 1}
    with ProgressBar(minimum=2.0, dt=0.5, out=sys.stderr) if sys.stderr.isatty() else nullcontext():
        # few tasks of many blocks: the lists of all files are sent with each task
        groups = [blocks[k :: 8 * workers] for k in range(min(len(blocks), 8 * workers))]
        tasks = [delayed(_build_all)(build, store, stage, group) for group in groups]
        compute(*tasks, **(how if workers > 1 else {"scheduler": "synchronous"}))


def _build_all(build: Callable[[int], dict[str, Any]], store: Store, stage: str, blocks: list[int]) -> None:
    for block in blocks:
        store.keep(stage, block, build(block))
