from __future__ import annotations

import threading
import time

import dask
import pytest

from sgdsm.sources.readers.files import SourceError, find_files
from tests.sources import make


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


def test_nothing_is_read_after_an_error(tmp_path):
    for day in range(1, 9):
        make.esa_cci(tmp_path, f"2016010{day}")
    files = find_files("esa_cci", tmp_path)
    read, begun, broken = files.read, [], ["20160103", "20160104"]

    def slow(path, steps):
        begun.append(path)
        time.sleep(0.02)
        if any(day in path.name for day in broken):
            raise OSError("bad sectors")
        return read(path, steps)

    files.read = slow
    cube = files.open()
    with dask.config.set(scheduler="threads", num_workers=8):
        with pytest.raises(SourceError, match="bad sectors"):
            cube.load()
        count = len(begun)
        time.sleep(0.3)
        assert len(begun) == count
        # mended, it loads
        broken.clear()
        assert cube.load().sizes["time"] == 8


@pytest.mark.slow
def test_nothing_of_another_product_is_read_after_an_error(tmp_path):
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        for day in range(1, 9):
            make.esa_cci(tmp_path / name, f"2016010{day}")
    good, bad = (find_files("esa_cci", tmp_path / name) for name in ("good", "bad"))
    read, begun, ended = good.read, [], []

    def slow(path, steps):
        begun.append(path)
        time.sleep(0.15)
        found = read(path, steps)
        ended.append(path)
        return found

    def broken(path, steps):
        raise OSError("bad sectors")

    cubes = good.open(), bad.open()
    good.read, bad.read = slow, broken
    with dask.config.set(scheduler="threads", num_workers=8):
        with pytest.raises(SourceError, match="bad sectors"):
            (cubes[0]["sm"] - cubes[1]["sm"]).load()
        count = len(begun)
        assert len(ended) == count
        time.sleep(0.5)
        assert len(begun) == count
        assert cubes[0].load().sizes["time"] == 8


def test_a_load_that_is_broken_off_refuses_nothing_later(tmp_path, monkeypatch):
    for day in (1, 2):
        make.esa_cci(tmp_path, f"2016010{day}")
    files = find_files("esa_cci", tmp_path)
    cube, read = files.open(), files.read

    def stop(seconds):
        raise KeyboardInterrupt

    def broken(path, steps):
        raise OSError("bad sectors")

    with dask.config.set(scheduler="synchronous"):
        files.read = broken
        with monkeypatch.context() as patch:
            patch.setattr("sgdsm.sources.readers.files.sleep", stop)
            with pytest.raises(KeyboardInterrupt):
                cube.load()
        files.read = read
        assert cube.load().sizes["time"] == 2
