"""Connecting to a dask cluster, and calling a function on its workers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import Any

from sgdsm.core.errors import ConfigError, SgdsmError
from sgdsm.core.logging import log

WAIT_SECONDS = 60
# netCDF may not be used by two threads at once, and a worker may have several
ONE_AT_A_TIME = threading.RLock()


@contextmanager
def cluster(setting: str, workers: int | None = None) -> Iterator[Any]:
    """Connect to the cluster that dask is configured for (DASK_SCHEDULER_ADDRESS), else start one on this machine.

    The address never comes from a configuration: a client unpickles what a scheduler sends.

    Args:
        setting: Setting that asked for it, for messages.
        workers: Processes of a cluster on this machine; None for dask's own default.

    Yields:
        A client of `distributed`.

    Raises:
        ConfigError: No scheduler answers, it has no workers, or the package distributed is missing.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ConfigError(f"{setting}: {error}; pip install 'sgdsm[cluster]'") from error
    address = dask.config.get("scheduler-address", None)
    size = {} if workers is None else {"n_workers": workers, "threads_per_worker": 1}
    with ExitStack() as ours:
        try:
            # no limit of memory: a worker above it would be ended, whatever the machine has left
            quiet = {"dashboard_address": None, "memory_limit": 0, "silence_logs": logging.CRITICAL}
            place = address or ours.enter_context(LocalCluster(**quiet, **size))
            client = ours.enter_context(Client(place))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{setting}: no dask scheduler answers at {address} ({error})") from error
        try:
            client.wait_for_workers(1, timeout=WAIT_SECONDS)
        except TimeoutError as error:
            raise ConfigError(
                f"{setting}: the scheduler at {address} has no workers: start some with `dask worker {address}`"
            ) from error
        log.info("%d workers of the scheduler at %s", len(client.ncores()), client.scheduler.address)
        yield client


def results(client: Any, work: Callable[[Any], Any], items: Sequence[Any], what: str) -> Iterator[tuple[Any, Any]]:
    """Call a function for each item on the workers, and yield the results as they come.

    Args:
        client: Client of `cluster`.
        work: Function of one item. It is sent to each worker once, and is called again for an item whose worker died.
            Relative paths mean the same there, so all workers must see the same files.
        items: Arguments of `work`, one a call.
        what: What the items are, in a word, for log lines of the progress.

    Yields:
        An item and its result, in any order.

    Raises:
        SgdsmError: An item ended several workers, or the scheduler is gone. What `work` raises is raised too.
    """
    from distributed import KilledWorker, as_completed

    # the function may hold a model of some 100 MiB: sent once, not with each item
    common = client.submit(_itself, work, pure=False)
    waiting = {client.submit(_one, common, str(Path.cwd()), item, pure=False): item for item in items}
    logged: set[str] = set()
    try:
        for done, future in enumerate(as_completed(waiting), 1):
            result, notes = future.result()
            # every worker logs the same facts about the same cube: once is enough
            for note in dict.fromkeys(notes):
                if note not in logged:
                    log.info("%s", note)
            logged.update(notes)
            if done * 10 // len(waiting) > (done - 1) * 10 // len(waiting):
                log.info("%d of %d %s", done, len(waiting), what)
            yield waiting[future], result
    except KilledWorker as error:
        raise SgdsmError(f"several workers died of the same work (too little memory?): {error}") from error
    except CancelledError as error:
        raise SgdsmError(
            f"the dask scheduler is gone, {what} are left: run the same command again to resume"
        ) from error


def _itself(work: Any) -> Any:
    return work


def _one(work: Callable[[Any], Any], folder: str, item: Any) -> tuple[Any, list[str]]:
    """Return the result for an item and the log lines of its work; runs on a worker."""
    if not Path(folder).is_dir():
        raise ConfigError(f"a worker has no folder {folder}: the workers need a file system in common")
    # the folder of this process, so that relative paths mean the same
    with ONE_AT_A_TIME, chdir(folder), _notes() as notes:
        return work(item), notes


@contextmanager
def _notes() -> Iterator[list[str]]:
    """Collect what is logged within."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
