"""Time and memory of the scores of a global year.

    python benchmarks/scores.py FOLDER

A global simulated cube (720 x 1440 cells, `simulate_store`) of 64 days is hidden in part and filled with the truth and
noise; the chunks of the three stores are repeated, as links, to 365 days. Then `sgdsm evaluate` runs in a process of
its own. What is made is kept in the folder.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from sgdsm.core.cube import open_dataset
from sgdsm.sources.simulation.world import simulate_store

YEAR, PERIOD, CHUNK = 365, 64, 16  # days
NAMES = ("filled", "hidden", "visible")


def make(folder: Path) -> None:
    """Write the three stores of PERIOD days, block by block, and repeat them."""
    simulate_store(str(folder / "world.zarr"), days=PERIOD)
    # the truth is in the store, and in no cube
    world = open_dataset(folder / "world.zarr")
    rng = np.random.default_rng(0)
    observed = np.isfinite(world["sm"].values)
    for begin in range(0, PERIOD, CHUNK):
        days = slice(begin, begin + CHUNK)
        part = world.isel(time=days).load().drop_attrs()
        hidden = np.zeros(part["sm"].shape, bool)
        for k in range(CHUNK):
            if rng.random() < 0.4:
                # the gaps of another day
                hidden[k] = observed[begin + k] & ~observed[rng.integers(PERIOD)]
        sm, land = part["sm"].assign_attrs(units="m3 m-3"), part["land"].astype(bool)
        estimate = (part["sm_true"] + 0.02 * rng.standard_normal(hidden.shape)).where(land)
        is_seen = np.isfinite(sm) & ~hidden
        filled = sm.where(is_seen, estimate).astype("f4").assign_attrs(units="m3 m-3")
        gap = (~is_seen) & land
        question = xr.Dataset({"swath": sm.astype(bool).copy(data=hidden), "truth": sm.astype("f4")})
        shown = part[["precipitation", "air_temperature"]].assign(sm=sm.where(is_seen).astype("f4"), land=land)
        shown["precipitation"].attrs = {"units": "mm d-1", "standard_name": "lwe_precipitation_rate"}
        shown["air_temperature"].attrs = {"units": "K", "standard_name": "air_temperature"}
        bars = {"sm_lower": filled - 0.04, "sm_upper": filled + 0.04, "sm_std": filled * 0 + 0.025}
        answer = xr.Dataset({"sm_filled": filled, **{n: v.where(gap).astype("f4") for n, v in bars.items()}})
        answer["sm_lower"].attrs["level"] = 0.9
        for name, dataset in zip(NAMES, (answer, question.assign_attrs(target="sm"), shown), strict=True):
            _append(folder / f"{name}.zarr", dataset, begin == 0)
    for name in NAMES:
        _repeat(folder / f"{name}.zarr")


def _append(path: Path, part: xr.Dataset, is_first: bool) -> None:
    chunked = part.drop_encoding().chunk(time=CHUNK, lat=48)
    if is_first:
        chunked.to_zarr(path, mode="w", consolidated=False)
    else:
        chunked.drop_vars([n for n in chunked.variables if "time" not in chunked[n].dims]).to_zarr(
            path, append_dim="time", consolidated=False
        )


def _repeat(path: Path) -> None:
    blocks = PERIOD // CHUNK
    for described in path.glob("*/zarr.json"):
        content = json.loads(described.read_text())
        if content["node_type"] != "array" or content["shape"][0] != PERIOD or len(content["shape"]) < 3:
            continue
        content["shape"][0] = YEAR
        described.write_text(json.dumps(content))
        for block in range(blocks, -(-YEAR // CHUNK)):
            (described.parent / "c" / str(block)).symlink_to(described.parent / "c" / str(block % blocks))
    group = zarr.open_group(path, mode="r+")
    attrs = {"units": "days since 2015-04-01", "calendar": "proleptic_gregorian"}
    del group["time"]
    group.create_array("time", data=np.arange(YEAR), dimension_names=("time",)).attrs.update(attrs)


def main(place: str) -> None:
    folder = Path(place).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if not all((folder / f"{name}.zarr").exists() for name in NAMES):
        make(folder)
    stores = (folder / f"{name}.zarr" for name in NAMES)
    words = [f"{key}={store}" for key, store in zip(("filled", "truth", "visible"), stores, strict=True)]
    begin = time.perf_counter()
    command = [sys.executable, "-m", "sgdsm", "evaluate", *words, "details=true", f"maps={folder / 'maps.nc'}"]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    wall, used = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(f"{YEAR} days: {wall:.0f} s ({cpu:.0f} s of CPU), peak memory {used.ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main(sys.argv[1])
