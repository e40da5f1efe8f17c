"""Throughput and peak memory of `prepare` on years of global 0.25 degree files, against reading and writing alone.

python benchmarks/prepare.py FOLDER [YEARS ...]

Makes daily CCI-like files and hourly ERA5-Land-like files (ten distinct days; the others link to their maps),
prepares a cube of each number of years, and reads and writes the same bytes with as many processes without computing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import h5py
import netCDF4
import numpy as np

ROWS, COLUMNS, DISTINCT, WORKERS, BLOCK = 720, 1440, 10, 2, 16
FIRST = np.datetime64("2015-01-01")
PAGE = 4096


def main() -> None:
    folder = Path(sys.argv[1])
    years = [int(word) for word in sys.argv[2:]] or [1]
    cci, land = folder / "cci", folder / "era5_land"
    days = max(years) * 365
    make(cci, land, days + 1)
    plain = read_and_write(cci, land, min(years) * 365, folder / "plain.zarr") / min(years)
    shutil.rmtree(folder / "plain.zarr")
    print(f"reading and writing alone: {plain:.0f} s a year")
    print("years  prepare s  peak MiB  days/s  GB/s read  share of reading and writing alone")
    for count in years:
        cube = folder / f"cube{count}.zarr"
        for path in (cube, Path(f"{cube}.notes")):
            shutil.rmtree(path, ignore_errors=True)
        seconds, peak = prepare(cci, land, count * 365, cube)
        read = count * 365 * (ROWS * COLUMNS * (4 + 4 + 1) + 2 * 24 * ROWS * COLUMNS * 2) / 1e9
        print(
            f"{count:5d}  {seconds:9.0f}  {peak:8.0f}  {count * 365 / seconds:6.2f}  {read / seconds:9.3f}"
            f"  {plain * count / seconds:5.2f}",
            flush=True,
        )
        shutil.rmtree(cube)


def prepare(cci: Path, land: Path, days: int, cube: Path) -> tuple[float, float]:
    """Seconds, and the highest sum of the resident memory of all processes, in MiB."""
    last = FIRST + np.timedelta64(days - 1, "D")
    words = [
        "data=cci_era5_025",
        f"data.path={cube}",
        "data.recipe.folder=null",
        f"data.recipe.start={FIRST}",
        f"data.recipe.end={last}",
        f"data.recipe.sources.cci.paths={cci}",
        f"data.recipe.sources.weather.paths={land}",
        "~data.recipe.sources.weather.variables.soil_temperature",
        "data.recipe.sources.weather.options.variables=[tp,t2m]",
        "~data.recipe.features.antecedent_precipitation",
        "data.recipe.screening.soil_temperature=null",
        f"workers={WORKERS}",
        f"block_days={BLOCK}",
    ]
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "sgdsm", "prepare", *words], stdout=subprocess.DEVNULL)
    peak = [0.0]
    watch = threading.Thread(target=_watch, args=(process, peak))
    watch.start()
    if process.wait():
        raise SystemExit("prepare failed")
    seconds = time.perf_counter() - start
    watch.join()
    return seconds, peak[0]


def _watch(process: subprocess.Popen, peak: list[float]) -> None:
    while process.poll() is None:
        total, waiting = 0, [process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += [int(child) for child in (task / "children").read_text().split()]
            except (OSError, ValueError):
                continue
        peak[0] = max(peak[0], total / 2**20)
        time.sleep(0.2)


def read_and_write(cci: Path, land: Path, days: int, output: Path) -> float:
    """Seconds to decompress all arrays that prepare needs and to write arrays of the size of its cube."""
    import zarr

    shutil.rmtree(output, ignore_errors=True)
    group = zarr.open_group(output, mode="w")
    for name, kind in (("sm", "f4"), ("uncertainty", "f4"), ("reason", "u1"), ("t2m", "f4"), ("tp", "f4")):
        group.create_array(name, shape=(days, ROWS, COLUMNS), chunks=(BLOCK, 240, 480), dtype=kind)
    blocks = [(str(cci), str(land), begin, min(begin + BLOCK, days), str(output)) for begin in range(0, days, BLOCK)]
    start = time.perf_counter()
    with ProcessPoolExecutor(WORKERS) as pool:
        list(pool.map(_block, blocks))
    return time.perf_counter() - start


def _block(task: tuple[str, str, int, int, str]) -> None:
    import zarr

    cci, land, begin, end, output = task
    kept: dict[str, list[np.ndarray]] = {name: [] for name in ("sm", "uncertainty", "reason", "t2m", "tp")}
    for day in range(begin, end):
        with netCDF4.Dataset(_cci(Path(cci), day)) as file:
            file.set_auto_maskandscale(False)
            for ours, its in (("sm", "sm"), ("uncertainty", "sm_uncertainty"), ("reason", "flag")):
                kept[ours].append(np.asarray(file[its][0]))
        with netCDF4.Dataset(_land(Path(land), day)) as file:
            file.set_auto_maskandscale(False)
            for name in ("t2m", "tp"):
                for hour in range(24):
                    hourly = np.asarray(file[name][hour])
                kept[name].append(hourly.astype(np.float32))
    group = zarr.open_group(output, mode="r+")
    for name, maps in kept.items():
        group[name][begin:end] = np.stack(maps)


def make(cci: Path, land: Path, days: int) -> None:
    """The files, where they are not there yet."""
    rng = np.random.default_rng(0)
    for folder in (cci, land):
        folder.mkdir(parents=True, exist_ok=True)
    for day in range(days):
        if not _land(land, day).exists():
            if day < DISTINCT:
                _make_cci(_cci(cci, day), day, rng)
                _make_land(_land(land, day), day, rng)
            else:
                _again(_cci(cci, day % DISTINCT), _cci(cci, day), "time", _number(day))
                _again(_land(land, day % DISTINCT), _land(land, day), "valid_time", _hours(day))


def _again(source: Path, copy: Path, axis: str, values: np.ndarray) -> None:
    """A file with a time of its own whose maps are links to those of another file."""
    with h5py.File(source) as old, h5py.File(copy, "w") as new:
        for name, value in old.attrs.items():
            if name != "_NCProperties":
                new.attrs[name] = value
        for name, node in old.items():
            if node.ndim == 1:
                old.copy(name, new)
            else:
                new[name] = h5py.ExternalLink(source.name, name)
        new[axis][:] = values


def _make_cci(path: Path, day: int, rng: np.random.Generator) -> None:
    sm = _smooth(rng, 0.25, 0.1).astype(np.float32)
    seen = (_smooth(rng, 0.0, 1.0) > -0.2) & (rng.random((ROWS, COLUMNS)) < 0.9)
    with netCDF4.Dataset(path, "w") as file:
        file.product_version = "05.2"
        _axes(file, "time", _number(day), ("lat", 90 - 0.25 * (np.arange(ROWS) + 0.5)), ("lon", _longitudes()))
        dims = ("time", "lat", "lon")
        for name, values in (("sm", sm), ("sm_uncertainty", 0.1 * sm)):
            variable = file.createVariable(name, "f4", dims, zlib=True, fill_value=np.float32(-9999))
            variable.units = "m3 m-3"
            variable[:] = np.where(seen, np.clip(np.round(values, 4), 0, 1), -9999)[None]
        flag = file.createVariable("flag", "i1", dims, zlib=True, fill_value=np.int8(127))
        flag.set_auto_maskandscale(False)
        flag[:] = np.where(seen, 0, 127)[None].astype(np.int8)


def _make_land(path: Path, day: int, rng: np.random.Generator) -> None:
    with netCDF4.Dataset(path, "w") as file:
        latitudes, longitudes = 90 - 0.25 * (np.arange(ROWS) + 0.5), 180 + _longitudes()
        _axes(file, "valid_time", _hours(day), ("latitude", latitudes), ("longitude", longitudes), "hours")
        dims = ("valid_time", "latitude", "longitude")
        fields = {"t2m": ("K", 0.002, 280.0), "tp": ("m", 1e-6, 0.03)}
        temperature, rain = _smooth(rng, 285, 8), np.maximum(_smooth(rng, -1e-4, 3e-4), 0)
        for name, (units, scale, offset) in fields.items():
            variable = file.createVariable(name, "i2", dims, zlib=True, complevel=1, chunksizes=(1, ROWS, COLUMNS))
            variable.set_auto_maskandscale(False)
            variable.units, variable.scale_factor, variable.add_offset = units, scale, offset
            for hour in range(24):
                # of the amounts the stamp at 0 h is the sum of the day before
                field = temperature + 3 * np.sin(hour / 4) if name == "t2m" else rain * (hour or 24)
                variable[hour] = np.clip(np.round((field - offset) / scale), -32000, 32000).astype(np.int16)


def _smooth(rng: np.random.Generator, mean: float, spread: float) -> np.ndarray:
    coarse = rng.standard_normal((ROWS // 20 + 1, COLUMNS // 20))
    coarse = np.concatenate([coarse, coarse[:, :1]], 1)
    y, x = np.arange(ROWS) / 20, np.arange(COLUMNS) / 20
    i, j = y.astype(int), x.astype(int)
    u, v = (y - i)[:, None], x - j
    field = (1 - u) * ((1 - v) * coarse[i][:, j] + v * coarse[i][:, j + 1])
    field += u * ((1 - v) * coarse[i + 1][:, j] + v * coarse[i + 1][:, j + 1])
    return mean + spread * (field + 0.05 * rng.standard_normal(field.shape))


def _axes(file, time_axis, times, rows, columns, step="days") -> None:  # type: ignore[no-untyped-def]
    file.createDimension(time_axis, len(times))
    axis = file.createVariable(time_axis, "f8", (time_axis,))
    axis.units, axis[:] = f"{step} since 1970-01-01 00:00:00", times
    for (name, values), units in ((rows, "degrees_north"), (columns, "degrees_east")):
        file.createDimension(name, len(values))
        axis = file.createVariable(name, "f4", (name,))
        axis.units, axis[:] = units, values


def _number(day: int) -> np.ndarray:
    return np.array([float((FIRST - np.datetime64("1970-01-01")).astype(int) + day)])


def _hours(day: int) -> np.ndarray:
    return _number(day) * 24 + np.arange(24)


def _longitudes() -> np.ndarray:
    return -180 + 0.25 * (np.arange(COLUMNS) + 0.5)


def _name(day: int) -> str:
    return str(FIRST + np.timedelta64(day, "D")).replace("-", "")


def _cci(folder: Path, day: int) -> Path:
    return folder / f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{_name(day)}000000-fv05.2.nc"


def _land(folder: Path, day: int) -> Path:
    return folder / f"ERA5-Land_{_name(day)}.nc"


if __name__ == "__main__":
    main()
