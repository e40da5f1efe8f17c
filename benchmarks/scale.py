"""Long records and large grids: memory, speed and what the time goes to.

    python benchmarks/scale.py world FOLDER            a global cube of 368 days, and one of four times these days
    python benchmarks/scale.py predict CUBE RUN OUTPUT [time=START:END]
    python benchmarks/scale.py terabyte train|predict SECONDS [word ...]

`predict` fills a cube with a run's filler and prints the peak memory, days a second, and the share of the wall time
inside the network. `terabyte` opens a Zarr cube of 1 TB whose chunks are made when they are read, learns from it or
fills it for so many seconds, and prints the time until the first batch, and the peak memory; words are those of train.
"""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from pydoc import locate
from typing import Any
from unittest.mock import patch

import numpy as np
import xarray as xr
import zarr
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import MemoryStore

from sgdsm.core import cube as cubes
from sgdsm.core.region import box_of
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import writer_for
from sgdsm.models.checkpoint import load_filler
from sgdsm.models.networks.base import Network
from sgdsm.sources.simulation.world import DYNAMIC, STATIC, simulate_store
from sgdsm.training.compose import config_folder
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask

YEAR = 368  # days: whole chunks
WEATHER = tuple(f"w_{k}" for k in range(14))
SHAPE, CHUNKS = (16_800, 720, 1440), (64, 48, 96)
CPU = {"accelerator": "cpu", "enable_progress_bar": False}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def world(place: str) -> None:
    """The second cube repeats the chunks of the first, as links."""
    one, four = Path(place) / "one.zarr", Path(place) / "four.zarr"
    simulate_store(str(one), days=YEAR)
    shutil.copytree(one, four, ignore=lambda path, _: ["c"] if Path(path).parent == one else [])
    times = xr.open_zarr(one, consolidated=False)["time"]
    for name in one.iterdir():
        described = four / name.name / "zarr.json"
        if not described.is_file():
            continue
        content = json.loads(described.read_text())
        if content["shape"][0] == YEAR:
            content["shape"][0] = 4 * YEAR
            described.write_text(json.dumps(content))
        (four / name.name / "c").mkdir()
        for chunk in (name / "c").iterdir():
            count = -(-YEAR // content["chunk_grid"]["configuration"]["chunk_shape"][0])
            repeats = range(4) if content["shape"][0] == 4 * YEAR else range(1)
            for k in repeats:
                (four / name.name / "c" / str(int(chunk.name) + k * count)).symlink_to(chunk.resolve())
    group = zarr.open_group(four, mode="r+")
    del group["time"]
    days = times.values[0] + np.arange(4 * YEAR) * np.timedelta64(1, "D")
    numbers = (days - np.datetime64("1970-01-01")).astype("timedelta64[D]").astype(np.int64)
    array = group.create_array("time", data=numbers, dimension_names=("time",))
    array.attrs.update({"units": "days since 1970-01-01", "calendar": "proleptic_gregorian"})


def opened(path: str) -> xr.Dataset:
    return cubes.as_cube(cubes.open_dataset(path), "sm", DYNAMIC, STATIC, ("sm_reason",), "land")


def predict(path: str, run: str, output: str, *words: str) -> None:
    cube, filler = opened(path), load_filler(Path(run) / "model.ckpt")
    given = dict(word.split("=", 1) for word in words)
    period = tuple(given["time"].split(":")) if "time" in given else None
    box = box_of(cube, period, json.loads(given["bbox"]) if "bbox" in given else None)
    inside, fill = [0.0], filler.fill

    def timed(batch: Any) -> Any:
        begin = time.perf_counter()
        found = fill(batch)
        inside[0] += time.perf_counter() - begin
        return found

    filler.fill = timed  # type: ignore[method-assign]
    begin = time.perf_counter()
    memory = float(given.get("memory_gib", 1.0))
    fill_cube(cube, filler, writer_for(output), box=box, memory_gib=memory, trainer=CPU)
    took = time.perf_counter() - begin
    days = box.days.stop - box.days.start
    shape = [part.stop - part.start for part in box]
    print(
        f"{path} {shape}: {took:.0f} s, {took / days:.2f} s a day, {inside[0] / took:.1%} inside the network, "
        f"peak memory {peak_gib():.2f} GiB"
    )


class Terabyte(MemoryStore):
    """A Zarr store whose chunks are made when they are read: seasons and noise, half of the values in gaps."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.noise = rng.standard_normal((8, *CHUNKS)).astype(np.float32)
        self.gaps = rng.random((8, CHUNKS[0], 1, CHUNKS[2])) < 0.5
        self.bytes_made = 0

    def with_read_only(self, read_only: bool = False) -> Terabyte:
        return self

    async def get(self, key: str, prototype: BufferPrototype, byte_range: Any = None) -> Buffer | None:
        named = re.fullmatch(r"(\w+)/c/(\d+)/(\d+)/(\d+)", key)
        if named is None:
            return await super().get(key, prototype, byte_range)
        name, (t, y, x) = named[1], (int(part) for part in named.groups()[1:])
        number = (t * 7 + y * 3 + x + (int(name[2:]) if name != "sm" else 0)) % len(self.noise)
        values = self.noise[number]
        if name == "sm":
            days = t * CHUNKS[0] + np.arange(CHUNKS[0], dtype=np.float32)
            values = 0.25 + 0.1 * np.sin(days * np.float32(2 * np.pi / 365))[:, None, None] + 0.03 * values
            values = np.where(self.gaps[number], np.float32(np.nan), values.clip(0, 0.6))
        self.bytes_made += values.nbytes
        return prototype.buffer.from_bytes(values.tobytes())


def terabyte() -> tuple[xr.Dataset, Terabyte]:
    store = Terabyte()
    group = zarr.create_group(store)
    for name in ("sm", *WEATHER):
        group.create_array(
            name, shape=SHAPE, chunks=CHUNKS, dtype="float32", compressors=None, fill_value=np.nan,
            dimension_names=("time", "lat", "lon"), attributes={"units": "1"},
        )  # fmt: skip
    lat, lon = 90 - (np.arange(SHAPE[1]) + 0.5) / 4, -180 + (np.arange(SHAPE[2]) + 0.5) / 4
    land = np.add.outer(np.sin(np.deg2rad(lat * 5)), np.cos(np.deg2rad(lon * 3))) > 0.4
    for name, values in {"lat": lat, "lon": lon}.items():
        group.create_array(name, data=values, dimension_names=(name,))
    days = group.create_array("time", data=np.arange(SHAPE[0]), dimension_names=("time",))
    days.attrs["units"] = "days since 1979-01-01"
    group.create_array("land", data=land.astype(np.int8), dimension_names=("lat", "lon"))
    return xr.open_zarr(store, chunks=None, consolidated=False), store


def dry_run(what: str, seconds: float, *words: str) -> None:
    dataset, store = terabyte()
    print(f"a cube of {sum(v.nbytes for v in dataset.values()) / 1e12:.2f} TB")
    cube = [f"data.dynamic=[{','.join(WEATHER)}]", "data.path=terabyte.zarr", "data.target=sm", "data.land=land"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose("train", ["data=netcdf", *cube, "trainer.progress=false", "trainer.accelerator=cpu", *words])
    config: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
    begin, first, batches = time.perf_counter(), [math.inf], [0]

    def counted(filler: Network, batch: Any, trunk: Any = None) -> Any:
        first[0] = min(first[0], time.perf_counter() - begin)
        batches[0] += 1
        return estimate(filler, batch, trunk)

    def stop() -> None:
        time.sleep(seconds)
        told = f"{what}: {first[0]:.1f} s to the first batch, {batches[0]} batches in {seconds:.0f} s"
        print(f"{told}, {store.bytes_made / 2**30:.0f} GiB read, peak memory {peak_gib():.2f} GiB", flush=True)
        os._exit(0)

    threading.Thread(target=stop, daemon=True).start()
    kind = locate(config["model"]["_target_"])
    estimate = kind.estimate
    with patch.object(cubes, "open_dataset", lambda _: dataset), tempfile.TemporaryDirectory() as folder:
        task = TrainingTask.from_config(config)
        with patch.object(kind, "estimate", counted):
            if what == "train":
                fit(task, Path(folder))
            else:
                begin, store.bytes_made = time.perf_counter(), 0
                fill_cube(task.whole, task.filler.eval(), writer_for(Path(folder) / "filled.zarr"), trainer=CPU)


if __name__ == "__main__":
    command, *given = sys.argv[1:]
    if command == "world":
        world(*given)
    elif command == "predict":
        predict(*given)
    else:
        dry_run(given[0], float(given[1]), *given[2:])
