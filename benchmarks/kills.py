"""Daily exports killed (kill -9) at moments spread over their work, then the same words again: the same bytes?

    python benchmarks/kills.py FOLDER [moments]

FOLDER must not be there. Prints a line for each layout and moment, and ends with 1 where a folder differs.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

LAYOUTS = ("sgd_sm", "cci_gapfilled")
DAYS, ROWS, COLUMNS = 120, 180, 360


def main() -> int:
    folder, moments = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    folder.mkdir(parents=True)
    product().to_netcdf(folder / "filled.nc")
    failed = 0
    for layout in LAYOUTS:
        export(folder, layout, f"{layout}_whole").communicate()
        expected = bytes_in(folder / f"{layout}_whole")
        for k in range(moments):
            name = f"{layout}_{k}"
            there = killed(folder, layout, name, round((k + 0.5) / moments * DAYS))
            again = export(folder, layout, name)
            said = again.communicate()[1].decode().strip()
            same = again.returncode == 0 and bytes_in(folder / name) == expected
            failed += not same
            told = "the same bytes" if same else f"OTHER BYTES ({again.returncode}: {said})"
            print(f"{layout}: killed with {there} of {DAYS} files, then {told}", flush=True)
    return int(failed > 0)


def product() -> xr.Dataset:
    """A filled file."""
    rng = np.random.default_rng(0)
    dims, shape = ("time", "lat", "lon"), (DAYS, ROWS, COLUMNS)
    coords = {
        "time": xr.date_range("2020-01-01", periods=DAYS),
        "lat": 89.5 - np.arange(ROWS),
        "lon": np.arange(COLUMNS) - 179.5,
    }
    values = rng.uniform(0.05, 0.45, shape).astype(np.float32)
    source = rng.integers(1, 3, shape).astype(np.int8)
    return xr.Dataset({"sm_filled": (dims, values, {"units": "m3 m-3"}), "sm_source": (dims, source)}, coords)


def export(folder: Path, layout: str, output: str) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "sgdsm", "export", "filled.nc", f"layout={layout}", f"output={output}"]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def killed(folder: Path, layout: str, output: str, files: int) -> int:
    """Kill an export as soon as it has made so many files; returns how many there are."""
    process = export(folder, layout, output)
    while process.poll() is None and len(list((folder / output).glob("*.nc"))) < files:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return len(list((folder / output).glob("*.nc")))


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


if __name__ == "__main__":
    sys.exit(main())
