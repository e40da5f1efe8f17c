"""One day of 8206 x 4204 pixels with 10 predictors, 37 % of the pixels missing: memory, time, and the same bits.

    python benchmarks/downscale.py FOLDER [SHARE] [PARTS]

The built-in region is fitted at 1 km by a forest of 126 trees with least leaf 10, in this package and in scikit-learn
(extra `classical`), from the same rows. Its 10 m maps are mirrored to an image of the size above (`share` of each
side), and clouds cut holes. `sgdsm downscale predict` runs as a process of its own, whose peak memory and time are
printed; its file must equal, to the last bit, the estimates of the whole array at once. Beside it is the usual way,
scikit-learn's `predict` of the whole array, missing pixels too. FOLDER is kept, and what is there is not made again; a
last word, like command,bits, chooses among command, workers, bits and sklearn.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
import xarray as xr
import zarr

from sgdsm.core.specification import build
from sgdsm.data.months import TRAINED, Months
from sgdsm.downscaling.model import load, save
from sgdsm.downscaling.rows import Rows, rows_of
from sgdsm.downscaling.train import fitted, labelled
from sgdsm.sources.simulation.region import STATIC, coordinate, describe, fine_day, fractal, made_region

COLUMNS, ROWS = 8206, 4204
MISSING = 0.37
CHUNK = 512
DAY = 740  # of the region, in a month of the test


def training() -> tuple[Rows, np.ndarray]:
    rows = rows_of(build({"_target_": "sgdsm.sources.simulated_region"}, xr.Dataset))
    return rows, labelled(rows, Months())


def make_run(folder: Path) -> None:
    spec = {"_target_": "sgdsm.downscaling.ForestRegressor"}
    save(fitted(spec, *training(), 0, None, "cpu")[0], folder)


def make_stack(path: Path, rows: int, columns: int) -> None:
    """Write the image: the region, mirrored at its edges, with holes in backscatter and in what is optical."""
    region = made_region(12, 0, "lee", "2019-01-01", 1096)
    small = fine_day(region, DAY).drop_vars("SM")
    size = region.size
    down, across = (np.abs((np.arange(n) + size) % (2 * size) - size) % size for n in (rows, columns))
    side = max(rows, columns)
    cloud = fractal(np.random.default_rng(1), side + side % 2, 3.0)[:rows, :columns]
    hidden = cloud > np.quantile(cloud[::8, ::8], 1 - MISSING)
    place = {"y": coordinate(5_700_000.0, -10.0, rows, "y"), "x": coordinate(500_000.0, 10.0, columns, "x")}
    made = xr.Dataset(coords={"time": small["time"].values, **place})
    made.to_zarr(path, zarr_format=2, consolidated=False)
    group = zarr.open_group(path, mode="r+")
    described = xr.Dataset({name: small[name] for name in small.data_vars})
    describe(described)
    for name in described.data_vars:
        fixed = name in STATIC
        values = small[name].values if fixed else small[name].values[0]
        image = values[down[:, None], across].astype(np.float32)
        if name in ("GRD", "EVI", "LAI"):
            image[hidden] = np.nan
        shape, chunks = (rows, columns), (CHUNK, CHUNK)
        dims = ["y", "x"] if fixed else ["time", "y", "x"]
        array = group.create_array(
            name, shape=shape if fixed else (1, *shape), chunks=chunks if fixed else (1, *chunks), dtype="float32",
            fill_value=np.nan,
        )  # fmt: skip
        array[:] = image if fixed else image[None]
        attrs = {k: described[name].attrs[k] for k in ("units", "source")}
        array.attrs.update({"_ARRAY_DIMENSIONS": dims, "grid_mapping": "spatial_ref", **attrs})
    mapping = group.create_array("spatial_ref", shape=(), dtype="int32", fill_value=None)
    mapping.attrs.update({"_ARRAY_DIMENSIONS": [], "crs_wkt": described["spatial_ref"].attrs["crs_wkt"]})
    zarr.consolidate_metadata(path)


def command(folder: Path, workers: int) -> tuple[float, float, float]:
    """Run the command; return wall time and processor time, s, and peak memory, MiB."""
    output = f"output={folder / f'maps_{workers}'}"
    words = ["run=" + str(folder / "run"), "fine=" + str(folder / "fine.zarr"), output, f"workers={workers}"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(workers), "CUDA_VISIBLE_DEVICES": ""}
    argv = [sys.executable, "-m", "sgdsm", "downscale", "predict", *words, "intervals=false"]
    begin = time.perf_counter()
    process = os.posix_spawn(sys.executable, argv, environment)
    peak, used = 0, None
    while used is None or not used[0]:
        # ru_maxrss would count the memory of this process too, of which the other one is a copy at first
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
        peak = max(peak, int(found[1])) if found and is_command(process) else peak
        time.sleep(0.1)
        used = os.wait4(process, os.WNOHANG)
    _, status, spent = used
    if status:
        raise SystemExit(f"the command ended with {status}")
    return time.perf_counter() - begin, spent.ru_utime + spent.ru_stime, peak / 1024


def is_command(process: int) -> bool:
    """Return True once a process has become the command."""
    return b"downscale" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")


def whole_array(folder: Path) -> tuple[np.ndarray, list[str]]:
    stack = xr.open_zarr(folder / "fine.zarr", chunks=None)
    names = load(folder / "run").predictors
    image = np.empty((stack.sizes["y"] * stack.sizes["x"], len(names)), np.float32)
    for k, name in enumerate(names):
        image[:, k] = stack[name].values.reshape(-1)
    return image, names


def main() -> None:
    folder, share = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    parts = sys.argv[3].split(",") if len(sys.argv) > 3 else ["command", "workers", "bits", "sklearn"]
    rows, columns = (round(n * share) // 2 * 2 for n in (ROWS, COLUMNS))
    torch.set_num_threads(1)
    if not (folder / "run").exists():
        make_run(folder / "run")
    if not (folder / "fine.zarr" / ".zmetadata").exists():
        make_stack(folder / "fine.zarr", rows, columns)
    print(f"{columns} x {rows} pixels, load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    ours = 0.0
    for workers in [1, 2] if "workers" in parts else [1] if "command" in parts else []:
        wall, busy, peak = command(folder, workers)
        ours = busy if workers == 1 else ours
        print(f"workers={workers}: {wall:.1f} s, processor {busy:.1f} s, peak {peak:.0f} MiB", flush=True)
    if not {"bits", "sklearn"} & {*parts}:
        return
    image, _ = whole_array(folder)
    if "bits" in parts:
        complete = np.isfinite(image).all(1)
        expected = np.full(len(image), np.nan, np.float32)
        begin = time.process_time()
        expected[complete] = load(folder / "run").estimate(image[complete])["mean"]
        print(f"whole array at once: processor {time.process_time() - begin:.1f} s", flush=True)
        (path,) = (folder / "maps_1").glob("*.tif")
        with rasterio.open(path) as file:
            found = file.read(1).reshape(-1)
        print(
            f"missing: {np.isnan(found).mean():.3f}; the same bits: {np.array_equal(found, expected, equal_nan=True)}"
        )
    if "sklearn" in parts:
        from sklearn.ensemble import RandomForestRegressor

        data, label = training()
        learned = label == TRAINED
        forest = RandomForestRegressor(126, min_samples_leaf=10, n_jobs=1, random_state=0)
        forest.fit(data.values[learned], data.truth[learned])
        # the usual way: missing values become zero, and all pixels are predicted
        np.nan_to_num(image, copy=False)
        begin, start = time.perf_counter(), time.process_time()
        forest.predict(image)
        wall, busy = time.perf_counter() - begin, time.process_time() - start
        print(f"scikit-learn, all pixels: {wall:.1f} s, processor {busy:.1f} s", flush=True)
        if ours:
            print(f"downscale predict over scikit-learn, processor time: {ours / busy:.2f}")


if __name__ == "__main__":
    main()
