"""Folders of daily files that were broken off go on with the same words, to the same bytes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import xarray as xr

from sgdsm.core.io.hdf5 import NetcdfWriter
from sgdsm.preprocessing.daily import BEGUN
from tests.forked import Forked

pytestmark = pytest.mark.slow

LAYOUTS = ["sgd_sm", "cci_gapfilled"]
# killed in the third file
KILLED = """
import os, signal, sys
from sgdsm.cli import console
from sgdsm.core.io.hdf5 import NetcdfWriter
close, left = NetcdfWriter.close, [1, 2]
def killed(self):
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left.pop()
    close(self)
NetcdfWriter.close = killed
sys.argv[0] = "export"
console.main("export")
"""


@pytest.fixture
def product(tmp_path, filled) -> Path:
    filled(days=12).to_netcdf(tmp_path / "filled.nc")
    return tmp_path


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stop_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Break off in the middle of a file."""
    write, calls = NetcdfWriter.write, iter(range(1000))

    def wrapped(self, *args, **kwargs):
        if next(calls) == number:
            raise KeyboardInterrupt
        write(self, *args, **kwargs)

    monkeypatch.setattr(NetcdfWriter, "write", wrapped)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("number", [0, 1, 9, 22])
def test_an_interrupted_export_is_resumed(run_command, product, monkeypatch, layout, number):
    words = ["filled.nc", f"layout={layout}"]
    assert run_command("export", *words, "output=whole")[0] == 0
    with monkeypatch.context() as patched:
        stop_at(patched, number)
        code, _, err = run_command("export", *words, "output=days")
    assert (code, "the same words go on" in err) == (130, True), err
    kept = {path: path.stat().st_mtime_ns for path in (product / "days").glob("*.nc")}
    code, _, err = run_command("export", *words, "output=days")
    assert code == 0, err
    assert bytes_in(product / "days") == bytes_in(product / "whole")
    assert len(bytes_in(product / "days")) == 12
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "a finished file was made again"
    assert not (product / "days" / BEGUN).exists()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_arguments_do_not_resume(run_command, product, monkeypatch, layout):
    with monkeypatch.context() as patched:
        stop_at(patched, 9)
        run_command("export", "filled.nc", f"layout={layout}", "output=days")
    before = bytes_in(product / "days")
    with xr.open_dataset(product / "filled.nc") as filled:
        (filled + 0).to_netcdf(product / "other.nc")
    other = next(name for name in LAYOUTS if name != layout)
    for words in (["other.nc", f"layout={layout}"], ["filled.nc", f"layout={other}"]):
        code, _, err = run_command("export", *words, "output=days")
        assert (code, "days was begun with other arguments or another file: remove it" in err) == (1, True), err
    assert bytes_in(product / "days") == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_in_the_middle_goes_on(run_command, product, layout):
    words = ["filled.nc", f"layout={layout}"]
    (product / "killed.py").write_text(KILLED)
    process = Forked(product, str(product / "killed.py"), *words, "output=days")
    process.wait()
    assert process.returncode == -signal.SIGKILL, process.communicate()
    assert len(list((product / "days").glob("*.nc"))) == 2
    assert run_command("export", *words, "output=days")[0] == 0
    assert run_command("export", *words, "output=whole")[0] == 0
    assert bytes_in(product / "days") == bytes_in(product / "whole")
