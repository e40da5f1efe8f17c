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
    parts = {"limits", "scan", "layer", "network", "step", "kernels", "stream", "train"}
    assert {row["part"] for row in found["rows"]} == parts
    for row in found["rows"]:
        assert row["seconds"] > 0
        assert (row["floor"] > 0) == (row["part"] in ("scan", "layer", "network", "step")), row
        # inference mode hides operations from the counters
        assert (row["bytes"] > 0) == (row["floor"] > 0), row
    halves = [
        row["more"]["rms_from_fp32_over_spread"]
        for row in found["rows"]
        if row["what"].endswith("bf16") and row["part"] == "network"
    ]
    assert all(0 < off < 0.3 for off in halves)
    assert len(halves) == 2
    assert all(row["more"]["intervals_s"] > 0 for row in found["rows"] if row["part"] == "stream")
    assert all(line in done.stdout for line in (tmp_path / "gpu.md").read_text().splitlines())
    assert all(row["what"] in (tmp_path / "gpu.md").read_text() for row in found["rows"])


def test_intervals_of_a_short_record_of_a_small_area_cover():
    run = runpy.run_path(str(ROOT / "benchmarks" / "short_records.py"))["run"]
    before, after = run("near", 46, 0, "linear_time")
    assert before["rmse"] == after["rmse"]
    assert before["all"] < 0.8
    assert 0.85 < after["all"] < 0.97
    assert after["width"] < 2 * before["width"]


def test_peers_are_scored_at_the_same_hidden_values(tmp_path, monkeypatch, capsys):
    """In this process; it starts one for each method."""
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names = "linear_time,interpolate_na,lightgbm,dctpls,climatereconstructionai"
    script, figure = str(ROOT / "benchmarks" / "peers.py"), str(tmp_path / "f.png")
    small = ["--rows", "8", "--columns", "10", "--days", "90"]
    monkeypatch.setattr(sys, "argv", [script, str(tmp_path), "--models", names, "--figure", figure, *small])
    runpy.run_path(script, run_name="__main__")
    out = capsys.readouterr().out
    found = {line["method"]: line for line in map(json.loads, (tmp_path / "methods.jsonl").read_text().splitlines())}
    assert found.keys() == {"linear_time", "interpolate_na", "dctpls"}
    assert "lightgbm: skipped, lightgbm is not installed: pip install -e '.[peers]'" in out
    assert "climatereconstructionai: skipped, it is in no package index" in out
    assert all(line["hidden"] == found["dctpls"]["hidden"] > 100 for line in found.values())
    # one method in two packages; cells that were never seen differ
    rmse = [found[name]["rmse"]["all"] for name in ("linear_time", "interpolate_na")]
    assert rmse[0] == pytest.approx(rmse[1], rel=0.02)
    assert found["dctpls"]["fit_s"] > 0
    assert all(line["fill_s"] > 0 and 50 < line["memory_mib"] < 4000 for line in found.values())
    assert "sgdsm dctpls" in (tmp_path / "peers.md").read_text()
    assert (tmp_path / "f.png").stat().st_size > 10_000
    # what is there is not done again
    runpy.run_path(script, run_name="__main__")
    assert "RMSE 0" not in capsys.readouterr().out
