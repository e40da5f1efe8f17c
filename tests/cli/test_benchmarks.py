from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
# as on a bare machine
RUN = """
import runpy, sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.split(".")[0] in {"hydra", "omegaconf", "zarr", "netCDF4", "h5netcdf", "xgboost", "dask"}
    else find(name, path, target)
)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_benchmark_for_gpus_runs_on_a_bare_machine(tmp_path):
    small = "--device cpu --tiny --seconds 0.01 --rows 18 --columns 36 --days 20 --batch 2 --steps 3 --workers 0"
    words = [sys.executable, "-W", "ignore", "-c", RUN, str(ROOT / "benchmarks" / "gpu.py"), "--out", str(tmp_path)]
    done = subprocess.run([*words, *small.split()], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["part"] for row in found["rows"]} == {"limits", "layer", "network", "step", "stream", "train"}
    assert all(row["seconds"] > 0 for row in found["rows"])
    for row in found["rows"]:
        assert (row["floor"] > 0) == (row["part"] in ("layer", "network", "step")), row
    assert all(row["what"] in (tmp_path / "gpu.md").read_text() for row in found["rows"])


def test_intervals_of_a_short_record_of_a_small_area_cover():
    run = runpy.run_path(str(ROOT / "benchmarks" / "short_records.py"))["run"]
    before, after = run("near", 46, 0, "linear_time")
    assert before["rmse"] == after["rmse"]
    assert before["all"] < 0.8
    assert 0.85 < after["all"] < 0.97
    assert after["width"] < 2 * before["width"]
