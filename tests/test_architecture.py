from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "sgdsm"
# each may import from itself and from what stands before it
ORDER = [
    {"errors", "days", "stopping"},
    {"lazy", "units", "arguments", "coordinates"},
    {"decoding", "axes"},
    {"hdf5", "safety"},
    {"zarr_reading"},
    {"stores"},
    {"cube"},
    {"box", "alone", "values", "cluster", "run_in_processes", "canvas", "filled", "memory"},
    {"matching"},
    {"windows", "statistics", "correlation"},
    {"build"},
    {"sources"},
    {"prepare"},
    {"correct"},
    {"data"},
    {"models"},
    {"inference"},
    {"evaluation"},
    {"course"},
    {"training"},
    {"fitting"},
    {"calibrating"},
    {"config"},
    {"runs"},
    {"planning", "download", "exporting"},
    {"api", "comparing", "chaining", "preparing", "correcting", "selecting", "explaining", "drawing"},
    {"recalibrating"},
    {"words", "sweeping"},
    {"commands"},
    {"dispatching"},
    {"command_line"},
    {"accessor"},
    {"__init__", "__main__"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
CORE_PARTS = {
    "hdf5",
    "safety",
    "coordinates",
    "errors",
    "lazy",
    "units",
    "decoding",
    "matching",
    "arguments",
    "days",
    "stores",
    "axes",
    "cube",
    "values",
    "filled",
    "memory",
    "correlation",
    "box",
    "cluster",
    "windows",
    "statistics",
    "build",
    "sources",
    "data",
    "models",
    "inference",
}
FORBIDDEN = {"evaluation": {"models", "inference"}}


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sgdsm."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("sgdsm.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    part = part_of(path)
    assert part in RANK, f"{part}: give it a place in the order"
    for other in imports_of(path):
        assert RANK[other] < RANK[part] or other == part, f"{part} imports {other}"
        assert other not in FORBIDDEN.get(part, set()), f"{part} imports {other}"


CORE = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, path=None, target=None: (
    None if name.split(".")[0] in {blocked} else find(name, path, target)
)
import numpy as np, torch, xarray as xr
from sgdsm.core.specification import build
from sgdsm.core.cube import as_cube, open_dataset
from sgdsm.data.record import Names, read_record
from sgdsm.data.normalization import Inputs
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import writer_for
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler

rng = np.random.default_rng(0)
sm = np.where(rng.random((40, 6, 7)) < 0.5, np.nan, 0.2).astype("f4")
coords = {{"time": xr.date_range("2020-01-01", periods=40), "lat": 50.0 - np.arange(6), "lon": np.arange(7.0)}}
cube = as_cube(xr.Dataset({{"sm": (("time", "lat", "lon"), sm)}}, coords), "sm")
record = read_record(cube)
spec = {{"_target_": "sgdsm.models.PartialConvNetwork", "channels": 4, "layers": 1, "window_days": 20}}
net = build(spec, GapFiller)
net.configure(Inputs.fit(record, Names.of(cube), record.observed, "1", 1, "train"))
save_filler(net, "net.ckpt")
fill_cube(cube, load_filler("net.ckpt"), writer_for("filled.nc"), trainer={{"enable_progress_bar": False}})
print(open_dataset("filled.nc")["sm_filled"].isnull().sum().item())
"""


def test_the_core_path_needs_only_torch_lightning_numpy_xarray_and_h5py(tmp_path):
    blocked = {"hydra", "omegaconf", "zarr", "netCDF4", "h5netcdf", "xgboost", "dask"}
    words = [sys.executable, "-W", "ignore", "-c", CORE.format(blocked=blocked)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0"


def test_the_core_path_imports_nothing_else_at_its_head():
    allowed = {*sys.stdlib_module_names, "torch", "pytorch_lightning", "numpy", "xarray", "h5py", "sgdsm"}
    core = [
        p
        for p in PACKAGE.rglob("*.py")
        if part_of(p) in CORE_PARTS and p.name not in ("tree.py", "boosting.py", "simulate.py", "fused_scan.py")
    ]
    for path in core:
        for node in ast.parse(path.read_text()).body:
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name.split(".")[0] in allowed, f"{path.name} imports {name}"


def test_importing_the_package_is_cheap():
    code = "import sgdsm, sys; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_accessor_is_there_and_torch_is_not():
    code = "import sys, sgdsm, xarray; xarray.Dataset().sgdsm; print('torch' in sys.modules, 'hydra' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
