"""The rooms of the package: their number, the direction of imports, public names, and what the core path needs."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys

import pytest

from sgdsm.core.public import public_name
from sgdsm.core.specification import locate
from tests.conftest import ROOT

PACKAGE = ROOT / "sgdsm"
# what may run on a machine without hydra, zarr, netCDF4, xgboost
CORE_PATH = ("core", "data", "inference", "models/base.py", "models/checkpoint.py", "models/networks")
# imported only where they are used
ELSEWHERE = {
    "zarr_reading.py",
    "dask_cluster.py",
    "dask.py",
    "fused_scan.py",
    "compiled_scan.py",
}
WITH_NAMES = ("data", "downscaling", "models", "preprocessing", "sources", "training")
PACKAGES_WITH_NAMES = ["sgdsm", *(f"sgdsm.{name}" for name in WITH_NAMES)]


def test_the_top_has_few_entries():
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= 14, sorted(entries)


def test_every_package_says_what_lives_there():
    for path in PACKAGE.rglob("__init__.py"):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert len(text.split()) > 5, path


def test_an_import_against_the_flow_is_found(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "sgdsm", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / "sgdsm" / "data" / "batch.py"
    planted.write_text(planted.read_text() + "\n\ndef _later():\n    from sgdsm.models.base import GapFiller\n")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    words = [sys.executable, "-c", code, "--no-cache"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "sgdsm.data.batch -> sgdsm.models.base" in done.stdout


@pytest.mark.parametrize("package", PACKAGES_WITH_NAMES)
def test_public_names_are_there(package):
    module = importlib.import_module(package)
    for name in module.PUBLIC:
        found = getattr(module, name)
        assert callable(found)
        assert locate(f"{package}.{name}") is found
        if package == "sgdsm.models":
            assert public_name(found) == f"sgdsm.models.{name}"


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
for name, sizes in {{"PartialConvNetwork": {{"channels": 4, "layers": 1}}, "Seamless": {{"width": 8}}}}.items():
    net = build({{"_target_": f"sgdsm.models.{{name}}", "window_days": 20, **sizes}}, GapFiller)
    net.configure(Inputs.fit(record, Names.of(cube), record.observed, "1", 1, "train"))
    save_filler(net, "net.ckpt")
    fill_cube(cube, load_filler("net.ckpt"), writer_for("filled.nc"), trainer={{"enable_progress_bar": False}})
    print(open_dataset("filled.nc")["sm_filled"].isnull().sum().item())
"""


@pytest.mark.slow
def test_the_core_path_needs_only_torch_lightning_numpy_xarray_and_h5py(tmp_path):
    blocked = {"hydra", "omegaconf", "zarr", "netCDF4", "h5netcdf", "xgboost", "dask", "numba"}
    words = [sys.executable, "-W", "ignore", "-c", CORE.format(blocked=blocked)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "0"]


def test_the_core_path_imports_nothing_else_at_its_head():
    allowed = {*sys.stdlib_module_names, "torch", "pytorch_lightning", "numpy", "xarray", "h5py", "sgdsm"}
    for part in CORE_PATH:
        where = PACKAGE / part
        for path in where.rglob("*.py") if where.is_dir() else [where]:
            if path.name in ELSEWHERE:
                continue
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
