"""The folder of a run: its configuration, weights, scores and provenance."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Hashable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import yaml

from sgdsm.core.arguments import checked, shown
from sgdsm.core.cube import by_role, open_dataset, target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.safety import refuse_irregular
from sgdsm.core.io.stores import is_remote, stamp
from sgdsm.core.matching import units_of
from sgdsm.core.specification import TARGET
from sgdsm.data.record import Names
from sgdsm.data.splits import Split
from sgdsm.evaluation.protocol import protocol_record, scored_split
from sgdsm.inference.writers import PLAN
from sgdsm.training.config import load_config

SCORED = ("target", "land")  # the roles that a score depends on
LARGE = 2**28  # values of the target
CONFIG, MODEL, METRICS, PROVENANCE = "config.yaml", "model.ckpt", "metrics.json", "provenance.json"
CLIMATOLOGY = "climatology.nc"
CURVE = "training.csv"  # losses and validation scores of each epoch, of networks
PACKAGES = (
    "sgdsm",
    "torch",
    "pytorch-lightning",
    "numpy",
    "xarray",
    "xgboost",
    "h5py",
    "netCDF4",
    "zarr",
    "hydra-core",
)


METRICS_KEYS: dict[str, type] = {"protocol": dict, "units": str}


class Run:
    """A run's folder and the files in it.

    Args:
        folder: Where the run lies, or will lie.
    """

    @checked
    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def model(self) -> Path:
        """Path of the fitted filler."""
        return self.folder / MODEL

    @property
    def climatology(self) -> Path:
        """Path of the climatology of the cells in training; only of a run of near real time."""
        return self.folder / CLIMATOLOGY

    @property
    def evaluation(self) -> Path:
        """Folder of the files that the run was scored with."""
        return self.folder / "evaluation"

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.folder / "figures"

    def config(self) -> dict[str, Any]:
        """Return the run's configuration; ConfigError if the folder is no run."""
        if not self.folder.is_dir():
            raise ConfigError(f"run={self.folder}: no such folder")
        for file in (*self.folder.iterdir(), *self.folder.glob("members/*/*")):
            refuse_irregular(file, ConfigError)
        return load_config(self.folder / CONFIG)

    def metrics(self) -> dict[str, Any]:
        """Return the run's scores and protocol; ConfigError if the run is not finished."""
        path = self.folder / METRICS
        if not path.is_file():
            raise ConfigError(f"{path}: no such file: the run is not finished (go on with: train.py run={self.folder})")
        return _from_json(path, METRICS_KEYS)

    def provenance(self) -> dict[str, Any]:
        """Return where the run came from; ConfigError if its folder does not say."""
        path = self.folder / PROVENANCE
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; expected the folder of a run")
        return _from_json(path, {"data": dict})

    def last_day(self) -> str | None:
        """Return the last day of the data that the run was trained on; None where its folder does not say."""
        path = self.folder / PROVENANCE
        last = self.provenance()["data"].get("last_day") if path.is_file() else None
        return last if isinstance(last, str) else None

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write a file of the run (YAML or JSON by its ending), whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(content, sort_keys=False) if name.endswith(".yaml") else json.dumps(content, indent=2)
        partial = self.folder / f"{name}.partial"
        partial.write_text(text + ("" if text.endswith("\n") else "\n"))
        partial.replace(self.folder / name)

    def check_data(self, cube: xr.Dataset) -> None:
        """Raise ConfigError if the run was begun on other data."""
        path = self.folder / PROVENANCE
        if not path.exists():
            return
        begun = self.provenance()["data"]
        if begun.get("fingerprint") != fingerprint(cube):
            raise ConfigError(f"{path}: the run was begun on other data than are there now: train a new one")
        for name, units in begun.get("units", {}).items():
            if units != (now := units_of(cube[name])):
                raise ConfigError(
                    f"{path}: '{name}' was in '{units}' when the run was begun, now it is in '{now}': train a new one"
                )

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """For each class of hidden values its metrics; ConfigError where the run is not finished."""
        return dict(self.metrics().get("classes", {}))

    def finished(self) -> bool:
        """Return True if the run was trained and scored to its end."""
        return self.model.is_file() and (self.folder / METRICS).is_file()


def provenance(config: dict[str, Any], cube: xr.Dataset) -> dict[str, Any]:
    """Return what is needed to repeat a run: versions, revision, data, machine, seeds, command line.

    Args:
        config: Plain values of `TrainingConfig`.
        cube: The data.
    """
    return {
        "command": sys.argv,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "revision": _revision(),
        "data": {
            "fingerprint": fingerprint(cube),
            "last_day": str(cube["time"].values[-1])[:10],
            "units": Names.of(cube).units,
            **{k: v for k, v in config["data"].items() if k == "path"},
        },
        "correction": {k: str(v) for k, v in cube.attrs.items() if k.startswith("correction_")},
        "seeds": {"training": config["seed"], "splits": config["splits"].get("seed")},
        "machine": {
            "system": platform.platform(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }


def learned_from(config: dict[str, Any]) -> dict[str, str]:
    """Return digests of what a run takes over from others: `weights` to start from, `targets` that one has filled.

    Args:
        config: Plain values of `TrainingConfig`.

    Raises:
        ConfigError: A run to start from has no model.
    """
    found = {}
    starts = sorted(file_digest(_start(folder)) for folder in _starts(config["model"]))
    if starts:
        found["weights"] = " ".join(starts)
    filled = config["data"].get("filled")
    if filled is not None:
        found["targets"] = content_digest(filled)
    return found


def protocol_of(
    cube: xr.Dataset, splits: Sequence[Split], config: dict[str, Any], others: dict[str, str]
) -> dict[str, Any]:
    """Return the `protocol_record` of a run on a cube.

    Args:
        cube: The data.
        splits: Of the parts that are scored.
        config: Plain values of `TrainingConfig`.
        others: What it took over, from `learned_from`.
    """
    name = scored_split(splits[0])
    scenarios = [split.scenarios[name] for split in splits]
    # where a question lies does not matter: the masks tell which one it is
    settings = {k: v for k, v in config["splits"].items() if k != "path"}
    return protocol_record(name, scenarios, fingerprint(cube, SCORED), settings, config["gaps"], others)


def only_open(data: dict[str, Any]) -> None:
    """Raise ConfigError if the data settings of a run would make a file: the run may be a stranger's, who names it.

    Args:
        data: Settings of the group `data`.
    """
    path = data.get("path")
    # open_cube never writes, and says what it misses; nothing is ever made at a URL
    if path is None or is_remote(path):
        return
    if not Path(path).exists() and data[TARGET] != "sgdsm.open_cube":
        raise ConfigError(f"data.path={path}: no such file; the data of a run are opened, never made")


def fingerprint(
    cube: xr.Dataset, roles: Sequence[str] = ("target", "dynamic", "static", "land", "uncertainty"), days: int = 16
) -> str:
    """Return a digest of a cube: coordinates, and names and values of some days of its variables.

    Args:
        cube: Of a large one only a few rows are read.
        roles: Of the variables.
        days: How many days are read.
    """
    digest = hashlib.sha256()
    for name in ("time", *target_of(cube).dims[1:]):
        digest.update(np.ascontiguousarray(cube[name].values).tobytes())
    target = target_of(cube)
    chosen: dict[Hashable, Any] = {"time": np.unique(np.linspace(0, cube.sizes["time"] - 1, days).astype(int))}
    if target.size > LARGE:
        middle = target.shape[1] // 2
        chosen = {"time": chosen["time"][:: days // 4], target.dims[1]: slice(middle, middle + 8)}
    for role in roles:
        for name in by_role(cube, role):
            variable = cube[name]
            values = variable.isel(chosen).values if "time" in variable.dims else variable.values
            digest.update(name.encode())
            digest.update(np.nan_to_num(np.asarray(values, np.float32), nan=-9e9).tobytes())
    return digest.hexdigest()[:16]


def file_stamp(path: str | Path | None) -> str:
    """Return size and time of change of a file, or of all files of a store, or what a URL has instead; '' for none."""
    if path is not None and is_remote(path):
        return stamp(str(path))
    if path is None or not Path(path).exists():
        return ""
    path = Path(path)
    found = [file.stat() for file in (path.rglob("*") if path.is_dir() else [path])]
    return f"{len(found)} {sum(s.st_size for s in found)} {max(s.st_mtime_ns for s in found)}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, shortened."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def content_digest(path: str | Path) -> str:
    """Return a digest of a file or store; of a filled one that of its filler and data, without the date."""
    with open_dataset(path) as dataset:
        plan = dataset.attrs.get(PLAN)
    if plan is not None:
        return str(plan)
    return file_digest(Path(path)) if Path(path).is_file() else file_stamp(path)


def check_data_given(data: Any) -> None:
    """Raise ConfigError where settings for the data of a run do not say of what kind they are."""
    if data is not None and TARGET not in data:
        raise ConfigError(f"data={shown(dict(data))}: say what kind of data too, like data=netcdf")


def run_data(trained: dict[str, Any], data: dict[str, Any] | None) -> dict[str, Any]:
    """Return the settings of the cube to fill: those of the run, or others.

    Args:
        trained: Configuration of the run.
        data: Settings of another cube. Where both are files of the user's own, what it leaves out is as in the run.

    Raises:
        ConfigError: Something is not given, or the file is not there.
    """
    spec = dict(trained["data"])
    if data is not None:
        same = data[TARGET] == spec[TARGET]
        given = {k: v for k, v in data.items() if v not in (None, [], "???")}
        if "path" in given:
            spec.pop("if_absent", None)  # that was said of another file
        spec = {**spec, **given} if same else data
        missing = [k for k, v in spec.items() if v == "???"]
        if missing:
            raise ConfigError(f"data.{missing[0]} is not given: pass data.{missing[0]}=...")
    only_open(spec)
    return spec


def _from_json(path: Path, keys: Mapping[str, type]) -> dict[str, Any]:
    """Return what a JSON file of a run holds; ConfigError if `keys` are missing or not of their types."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not a JSON file: {' '.join(str(error).split())[:150]}") from error
    for key, kind in keys.items():
        value = found.get(key) if isinstance(found, dict) else found
        if not isinstance(value, kind):
            raise ConfigError(f"{path}: '{key}' is {shown(value)}, expected what train.py writes: train the run again")
    return dict(found)


def _starts(model: Any) -> Iterator[str]:
    """Yield every `start_from` of a model and of those inside it."""
    for key, value in model.items() if isinstance(model, dict) else ():
        if key == "start_from" and value is not None:
            yield value
        yield from _starts(value)


def _start(folder: str) -> Path:
    model = Run(folder).model
    if not model.is_file():
        raise ConfigError(f"model.start_from={folder}: {model}: no such checkpoint")
    return model


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str | None:
    folder = Path(__file__).resolve().parent
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
