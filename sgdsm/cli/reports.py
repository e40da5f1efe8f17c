"""Report of runs and files: what `sgdsm report` and `sgdsm compare` write."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import xarray as xr
import yaml

from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import maps_of, observed_of
from sgdsm.evaluation.compare import Entry
from sgdsm.evaluation.labels import run_labels
from sgdsm.evaluation.protocol import FILLED, HIDDEN, SCORES, VISIBLE
from sgdsm.evaluation.score import Scores
from sgdsm.report.packing import Product, Question
from sgdsm.report.page import RunAbout
from sgdsm.training.run import CONFIG, Run


def run_folders(folders: Sequence[Path], command: str) -> list[Path]:
    """Return run folders, where a folder of runs stands for all the runs in it.

    Args:
        folders: As they were given.
        command: Its name, for messages.

    Raises:
        ConfigError: A folder is not there, or holds no run.
    """
    found = []
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{command}: {folder}: no such folder")
        if (folder / CONFIG).exists():
            found.append(folder)
            continue
        inside = sorted(child for child in folder.iterdir() if (child / CONFIG).exists())
        if not inside:
            raise ConfigError(f"{command}: {folder} is neither a run nor a folder of runs")
        found.extend(inside)
    return found


def labels_of(folders: Sequence[Path], command: str) -> list[str]:
    """Return short names of runs, see `run_labels`.

    Args:
        folders: Of runs.
        command: Its name, for messages.

    Raises:
        ConfigError: A run is named twice.
    """
    try:
        return run_labels(folders)
    except ConfigError as error:
        raise ConfigError(f"{command}: {error}") from error


def entry_of(label: str, folder: Path) -> Entry:
    """Return the scores of a run; ConfigError or CubeError where it has none."""
    run = Run(folder)
    return Entry(label, folder, run.metrics(), Scores.load(run.evaluation / SCORES))


def reference_of(labels: Sequence[str], wanted: str | None, folders: Sequence[Path]) -> str:
    """Return the label of the run that the others are measured by.

    Args:
        labels: Of all runs.
        wanted: A label, or the end of one or of a folder; by default 'linear_time' where there is one, else the first
            run.
        folders: Of all runs.

    Raises:
        ConfigError: No run fits, or several.
    """
    name = wanted or "linear_time"
    ends = [(label, str(folder.resolve())) for label, folder in zip(labels, folders, strict=True)]
    found = [label for label in labels if label == name] or [
        label for label, folder in ends if label.endswith(name) or folder.endswith(name)
    ]
    if len(found) == 1 or (found and wanted is None):
        return found[0]
    if wanted is None:
        return labels[0]
    raise ConfigError(f"reference={wanted}: expected one of the runs, {', '.join(labels)}; {len(found)} fit")


def about_run(entry: Entry) -> RunAbout:
    """Return what a page says of a run, beside its scores."""
    run = Run(entry.folder)
    return RunAbout(
        entry.label,
        str(entry.metrics.get("model", "")),
        yaml.safe_dump(run.config(), sort_keys=False),
        run.provenance(),
        sorted(run.figures.glob("*.png")),
    )


def question_of_runs(entries: Sequence[Entry]) -> list[Question]:
    """Return the records that runs were scored with, of those that lie on one grid; none where there are no files.

    Args:
        entries: Runs of one protocol, so that what they saw and what was hidden is the same.

    Raises:
        ConfigError: The files are others than those of a scored run.
        CubeError: A file cannot be read, or is no filled one.
    """
    whole = [e for e in entries if all((e.folder / "evaluation" / n).is_file() for n in (FILLED, HIDDEN, VISIBLE))]
    if not whole:
        return []
    folder = whole[0].folder / "evaluation"
    hidden, visible = open_dataset(folder / HIDDEN), open_dataset(folder / VISIBLE)
    target = str(hidden.attrs.get("target"))
    if "truth" not in hidden or target not in visible:
        raise ConfigError(
            f"{folder}: not what a run was scored with: {HIDDEN} has no truth, or {VISIBLE} no '{target}'"
        )
    truth = hidden["truth"]
    masks = [v for n, v in hidden.data_vars.items() if n != "truth" and v.dims == truth.dims]
    products = [Product(e.label, _filled(e.folder / "evaluation" / FILLED)) for e in whole]
    return [Question(visible[target], products, truth, reduce(or_, (mask.astype(bool) for mask in masks)))]


def question_of_file(filled: xr.Dataset, name: str) -> Question:
    """Return a filled file as a record whose maps are shown.

    Args:
        filled: What predict.py writes.
        name: Its path.

    Raises:
        CubeError: It is no filled file.
    """
    try:
        maps_of(filled)
        observed = observed_of(filled)
    except CubeError as error:
        raise CubeError(f"{name}: {error}") from error
    return Question(observed, [Product(Path(name).name, filled)])


def _filled(path: Path) -> xr.Dataset:
    filled = open_dataset(path)
    try:
        maps_of(filled)
    except CubeError as error:
        raise CubeError(f"{path}: {error}") from error
    return filled


def about_file(dataset: xr.Dataset) -> dict[str, Any]:
    """Return the attributes of a file, and its size in days and cells."""
    sizes = ", ".join(f"{n} {dim}" for dim, n in dataset.sizes.items())
    return {"size": sizes, **{str(k): v for k, v in dataset.attrs.items()}}
