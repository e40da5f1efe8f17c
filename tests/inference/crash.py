"""A writer broken off at each of its steps in the file system, and begun again: run by tests/test_inference.py.

A program of its own, for an audit hook cannot be taken off. It sees what Python opens, makes and renames; not what HDF5
does, nor the steps of a folder's removal.
"""

import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from sgdsm.inference.schema import Layout
from sgdsm.inference.writers import writer_for

STEPS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}
SHAPE = Layout(
    {dim: (np.arange(2.0), {}) for dim in ("time", "lat", "lon")},
    {"sm_filled": (("time", "lat", "lon"), "float32", {}), "land": (("lat", "lon"), "int8", {})},
    {},
    {},
)
PLAN = {"slabs": [[[0, 1], [0, 2]], [[1, 2], [0, 2]]]}


class Killed(BaseException):
    """Raised at a step and at all that follow, so that nothing is tidied up."""


class Hook:
    """Counts the steps that change files in each folder of `root`, and ends all in folder N with its step N."""

    def __init__(self, root: Path) -> None:
        self.root, self.steps = f"{root}/", Counter[str]()
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if event not in STEPS or not str(args[0]).startswith(self.root) or args[1] in ("r", "rb"):
            return
        folder = str(args[0]).removeprefix(self.root).partition("/")[0]
        self.steps[folder] += 1
        if folder.isdigit() and self.steps[folder] >= int(folder):
            raise Killed


def fill(path: Path) -> None:
    writer = writer_for(path)
    for slab in {0, 1} - writer.begin(SHAPE, PLAN):
        writer.write(slab, {"sm_filled": np.full((1, 2, 2), slab + 1, np.float32)})
    writer.finish(np.ones((2, 2), bool))


def check(path: Path) -> None:
    with xr.open_dataset(path, engine="zarr" if path.suffix == ".zarr" else "netcdf4") as found:
        assert found["sm_filled"].values[:, 0, 0].tolist() == [1, 2]
        assert found["land"].values.all()
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def main(root: Path, suffix: str) -> int:
    """The number of steps that a whole output takes."""
    zarr.config.set({"threading.max_workers": 1})  # so that nothing else is under way at the step
    Hook(root)
    for step in range(2, 1000):  # the first makes the folder
        path = root / str(step) / f"filled{suffix}"
        path.parent.mkdir()
        try:
            fill(path)
        except Killed:
            # what is left of it, where threads that do not know yet can do no harm
            path = root / f"again-{step}" / path.name
            shutil.copytree(root / str(step), path.parent)
            fill(path)
            check(path)
        else:
            check(path)
            return step - 2
    raise AssertionError("no end")


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
