"""Calling a function several times in parallel processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from threading import Thread

from sgdsm.core.errors import SgdsmError
from sgdsm.core.logging import log
from sgdsm.core.signals import deaf

GRACE_SECONDS = 5


def run_in_processes(function: Callable[..., None], calls: Sequence[tuple[object, ...]]) -> None:
    """Call a function several times in parallel processes, which share the threads of torch.

    Their log lines go where those of this process go. When one call raises, on Ctrl-C, and when this process ends, all
    of them end.

    Args:
        function: Function of a module; it and its arguments are pickled.
        calls: Arguments of each call.

    Raises:
        SgdsmError: A process died. What a call raises is raised too.
    """
    import torch  # heavy, and most of this package needs none

    # without a share each process would take all cores
    threads = max(1, torch.get_num_threads() // len(calls))
    formatter = log.handlers[0].formatter if log.handlers else None
    with deaf():
        made = ProcessPoolExecutor(len(calls), get_context("spawn"), _begin, (threads, log.level, formatter))
        begun = [made.submit(function, *call) for call in calls]
    with made:
        try:
            for done in as_completed(begun):
                done.result()
        except BaseException as error:
            _end_children()
            if isinstance(error, BrokenProcessPool):
                raise SgdsmError(
                    "a process died (killed, or out of memory): `train.py run=...` resumes the training"
                ) from error
            raise


def _begin(threads: int, level: int, formatter: logging.Formatter | None) -> None:
    import torch

    torch.set_num_threads(threads)
    # a new process has no handlers: its log lines would be lost
    if formatter is not None:
        handler = logging.StreamHandler()
        handler.setFormatter(formatter)
        log.handlers = [handler]
        log.propagate = False
    log.setLevel(level)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent was killed; else it would train to its end and then wait for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _end_children() -> None:
    for process in active_children():
        process.terminate()  # so that it tidies up
    for process in active_children():
        process.join(GRACE_SECONDS)
        process.kill()
