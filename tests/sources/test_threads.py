from __future__ import annotations

import threading
import time

import dask

from sgdsm.sources.files import find_files
from sources import make


def test_files_are_read_one_at_a_time(tmp_path):
    # the NetCDF library answers with 'HDF error', or ends the process, where two threads use it
    for day in range(1, 9):
        make.esa_cci(tmp_path, f"2016010{day}")
    files = find_files("esa_cci", tmp_path)
    read, busy, most = files.read, threading.Semaphore(1), []

    def watched(path, steps):
        most.append(busy.acquire(blocking=False))
        time.sleep(0.01)
        found = read(path, steps)
        busy.release()
        return found

    files.read = watched
    with dask.config.set(scheduler="threads", num_workers=8):
        files.open().load()
    assert len(most) == 9  # the first is read twice
    assert all(most)
