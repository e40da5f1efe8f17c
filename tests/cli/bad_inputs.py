"""What the table of bad inputs is tried on: a good file, a good run, and damaged ones of every kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import yaml

# changes of the good file, by the name of what they make
FILES: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "novars": lambda d: d.drop_vars(list(d.data_vars)),
    "nothing": lambda _: xr.Dataset(),
    "onedim": lambda d: d.isel(lat=0, drop=True),
    "fourdims": lambda d: d.expand_dims(level=[1, 2]),
    "empty_time": lambda d: d.isel(time=slice(0, 0)),
    "nolat": lambda d: d.drop_vars("lat"),
    "notime": lambda d: d.drop_vars("time"),
    "textlat": lambda d: d.assign_coords(lat=list("abcd")),
    "textlon": lambda d: d.assign_coords(lon=list("abcde")),
    "nanlat": lambda d: d.assign_coords(lat=[50, np.nan, 48, 47]),
    "inflat": lambda d: d.assign_coords(lat=[np.inf, 49, 48, 47]),
    "biglat": lambda d: d.assign_coords(lat=d["lat"] * 100),
    "lat95": lambda d: d.assign_coords(lat=[95.0, 94, 93, 92]),
    "lat_twice": lambda d: d.assign_coords(lat=[50.0, 49, 49, 47]),
    "lat_mixed": lambda d: d.isel(lat=[0, 2, 1, 3]),
    "lon_twice": lambda d: d.assign_coords(lon=[5.0, 6, 6, 7, 8]),
    "biglon": lambda d: d.assign_coords(lon=d["lon"] * 1000),
    "widelon": lambda d: d.assign_coords(lon=[0.0, 100, 200, 300, 400]),
    "numbers_for_time": lambda d: d.assign_coords(time=np.arange(d.sizes["time"])),
    "nat": lambda d: d.assign_coords(time=d["time"].where(d["time"] != d["time"][3])),
    "day_twice": lambda d: d.isel(time=[0, 1, 1, *range(2, d.sizes["time"])]),
    "hourly": lambda d: d.assign_coords(time=xr.date_range("2020-01-01", periods=d.sizes["time"], freq="h")),
    "noleap": lambda d: d.convert_calendar("noleap"),
    "d360": lambda d: d.convert_calendar("360_day", align_on="date"),
    "gap": lambda d: d.isel(time=[0, 1, *range(4, d.sizes["time"])]),
    "text": lambda d: d.assign(sm=d["sm"].astype(str)),
    "units": lambda d: d.assign(sm=d["sm"].assign_attrs(units=np.array([1.0, 2.0]))),
    "name": lambda d: d.assign(sm=d["sm"].assign_attrs(standard_name=np.array([1.0, 2.0]))),
    "parsec": lambda d: d.assign(rain=d["rain"].assign_attrs(units="W m-2")),
}


def make_files(good: xr.Dataset, folder: Path) -> None:
    """Bad files of data in a folder."""
    folder.mkdir()
    good = good.load().drop_encoding()
    for name, change in FILES.items():
        change(good).to_netcdf(folder / f"{name}.nc")
    whole = (folder / "parsec.nc").read_bytes()
    for name, content in {
        "words.nc": b"hello\n",
        "zero.nc": b"",
        "cut.nc": whole[:3000],
        "letters.nc": "é".encode("latin1") * 99,
        "file.zarr": b"x",
        "table.csv": b"1,2\n",
        "words.h5": b"hello\n",
        "links.txt": b"\xff\xfe\x00\x01",
        "no_links.txt": b"hello\n",
        "file": b"",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "folder.nc").mkdir()
    (folder / "empty.zarr").mkdir()
    for name, damaged in {"cut.zarr": "zarr.json", "variable.zarr": "sm/zarr.json"}.items():
        good.to_zarr(folder / name, consolidated=False)
        (folder / name / damaged).write_text("{")
    good.to_zarr(folder / "chunk.zarr", consolidated=False)
    for chunk in (folder / "chunk.zarr" / "sm" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"rubbish" * 10)


def text(name: str, content: str | bytes) -> Callable[[Path], None]:
    """A change of a run: other content of one of its files."""
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode()) and None


def config(**changes: Any) -> Callable[[Path], None]:
    """A change of a run's configuration; ... takes a key away."""

    def change(run: Path) -> None:
        found = yaml.safe_load((run / "config.yaml").read_text())
        found = {k: v for k, v in {**found, **changes}.items() if v is not ...}
        (run / "config.yaml").write_text(yaml.safe_dump(found))

    return change


def checkpoint(*keys: str, **changes: Any) -> Callable[[Path], None]:
    """A change of a run's checkpoint, of what it holds under `keys`; ... takes a key away."""

    def change(run: Path) -> None:
        found = torch.load(run / "model.ckpt", weights_only=True)
        place = found
        for key in keys:
            place = place[key]
        place.update(changes)
        for key in [k for k, v in place.items() if v is ...]:
            del place[key]
        torch.save(found, run / "model.ckpt")

    return change


def metrics(**changes: Any) -> Callable[[Path], None]:
    """A change of a run's scores; ... takes a key away."""

    def change(run: Path) -> None:
        found = {**json.loads((run / "metrics.json").read_text()), **changes}
        (run / "metrics.json").write_text(json.dumps({k: v for k, v in found.items() if v is not ...}))

    return change


def gone(name: str) -> Callable[[Path], None]:
    """A change of a run: a file less."""
    return lambda run: (run / name).unlink()


RUNS: dict[str, Callable[[Path], None]] = {
    "no_config": gone("config.yaml"),
    "empty_config": text("config.yaml", ""),
    "list_config": text("config.yaml", "[1, 2]"),
    "word_config": text("config.yaml", "hello"),
    "binary_config": text("config.yaml", b"\xff\xfe\x00\x01"),
    "latin_config": text("config.yaml", "a: é".encode("latin1")),
    "broken_config": text("config.yaml", "a: ["),
    "deep_config": text("config.yaml", "[" * 3000),
    "resolving_config": text("config.yaml", "model: ${oc.env:HOME}"),
    "no_trainer": config(trainer=...),
    "null_trainer": config(trainer=None),
    "list_trainer": config(trainer=[1]),
    "no_data": config(data=...),
    "word_data": config(data="x"),
    "empty_data": config(data={}),
    "no_model": config(model=...),
    "empty_model": config(model={}),
    "foreign_model": config(model={"_target_": "os.system", "command": "true"}),
    "no_splits": config(splits=...),
    "no_seed": config(seed=...),
    "word_seed": config(seed="x"),
    "other_key": config(hydra={"run": {"dir": "x"}}),
    "no_metrics": gone("metrics.json"),
    "empty_metrics": text("metrics.json", ""),
    "list_metrics": text("metrics.json", "[]"),
    "null_metrics": text("metrics.json", "null"),
    "binary_metrics": text("metrics.json", b"\xff\xfe\x80"),
    "cut_metrics": text("metrics.json", '{"protocol": {'),
    "deep_metrics": text("metrics.json", "[" * 100_000),
    "no_protocol": metrics(protocol=...),
    "word_protocol": metrics(protocol="x"),
    "no_units": metrics(units=...),
    "no_provenance": gone("provenance.json"),
    "list_provenance": text("provenance.json", "[]"),
    "binary_provenance": text("provenance.json", b"\xff\xfe\x80"),
    "no_origin": text("provenance.json", '{"data": 3}'),
    "no_checkpoint": gone("model.ckpt"),
    "word_checkpoint": text("model.ckpt", "hello"),
    "zero_checkpoint": text("model.ckpt", ""),
    "tensor_checkpoint": lambda run: torch.save(torch.zeros(3), run / "model.ckpt"),
    "other_format": checkpoint(format="x"),
    "no_spec": checkpoint(spec=...),
    "list_spec": checkpoint(spec=[1]),
    "foreign_spec": checkpoint(spec={"_target_": "os.system"}),
    "no_inputs": checkpoint(inputs=...),
    "empty_inputs": checkpoint(inputs={}),
    "word_scale": checkpoint("inputs", anomaly_scale="x"),
    "null_dynamic": checkpoint("inputs", dynamic=None),
    "no_scalers": checkpoint("inputs", scalers={}),
    "word_scalers": checkpoint("inputs", scalers="x"),
    "no_state": checkpoint(state=...),
    "empty_state": checkpoint(state={}),
    "no_scores": gone("evaluation/scores.nc"),
    "word_scores": text("evaluation/scores.nc", "x"),
    "other_scores": lambda run: shutil.copy(run.parent / "good.nc", run / "evaluation" / "scores.nc") and None,
}


def make_runs(good: Path) -> None:
    """Bad runs beside a good one."""
    cut = (good / "model.ckpt").read_bytes()[:2000]
    for name, change in {**RUNS, "cut_checkpoint": text("model.ckpt", cut)}.items():
        run = good.parent / name
        (run / "evaluation").mkdir(parents=True)
        for file in ("config.yaml", "metrics.json", "provenance.json", "model.ckpt", "evaluation/scores.nc"):
            shutil.copy(good / file, run / file)
        change(run)
