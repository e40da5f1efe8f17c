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
from sgdsm.core.filled import SM_MEMBERS, maps_of, observed_of
from sgdsm.core.io.safety import refuse_leading_out
from sgdsm.core.io.stores import check_folder, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.words import counted
from sgdsm.evaluation.compare import Entry, check_protocol
from sgdsm.evaluation.labels import run_labels
from sgdsm.evaluation.protocol import FILLED, HIDDEN, SCORES, VISIBLE
from sgdsm.evaluation.score import Scores
from sgdsm.report.packing import Grid, Product, Question
from sgdsm.report.page import MEGABYTES, PAGES, Report, RunAbout, write_report
from sgdsm.training.notes import NOTES
from sgdsm.training.run import CONFIG, Run

NOTES_LENGTH = 100_000  # letters that a page takes


def check_page(key: str, path: str) -> None:
    """Raise ConfigError for a path that no page can be written to.

    Args:
        key: Setting that holds the path, for messages.
        path: Of the page.
    """
    local_only(key, path, "a page is written here, and can be copied")
    if Path(path).suffix not in PAGES:
        raise ConfigError(f"{key}={path}: expected a name that ends in .html")
    if Path(path).is_dir():
        raise ConfigError(f"{key}={path}: is a folder, expected the name of a page")
    check_folder(key, path)


def entries_of(runs: Sequence[str]) -> list[Entry]:
    """Return the scores of runs.

    Args:
        runs: Folders of finished runs of one protocol, or folders of runs.

    Raises:
        ConfigError: A folder holds no scores, or the protocols differ.
    """
    folders = run_folders([Path(name) for name in runs], "report")
    entries = [entry_of(label, folder) for label, folder in zip(labels_of(folders, "report"), folders, strict=True)]
    if entries:
        check_protocol(entries)
    return entries


def report_of(
    entries: Sequence[Entry],
    filled: str | None,
    *,
    members: str | None = None,
    title: str | None = None,
    reference: str | None = None,
    sections: Sequence[tuple[str, str]] = (),
    other_grid: bool = False,
) -> Report:
    """Return what a page of runs and a filled file shows.

    Args:
        entries: Runs of one protocol.
        filled: What predict has written.
        members: What the command `members` has written of this file.
        title: Of the page; by default it names the runs.
        reference: The run that the others are measured by: its name or the end of it.
        sections: Heading and HTML of further sections.
        other_grid: The file may be on another grid than the runs, whose maps are left out then.

    Raises:
        ConfigError: There is nothing to show, or no run is the reference.
        CubeError: The file is no filled one.
    """
    questions, sources, notes = [], {}, []
    if filled is not None:
        dataset = open_dataset(filled)
        questions.append(question_of_file(dataset, filled, members))
        sources[f"Filled file {filled}"] = about_file(dataset)
        notes.append(_about_filled(dataset, filled))
    # the best first: it is what a reader looks for
    of_runs = question_of_runs(sorted(entries, key=lambda entry: entry.scores.table()["all"]["rmse"]))
    if not of_runs and not questions:
        raise ConfigError(f"report: {entries[0].folder}: has no files of its evaluation: give filled=FILE too")
    if other_grid and questions and not _on_one_grid([*questions, *of_runs]):
        of_runs = []
    labels = [entry.label for entry in entries]
    return Report(
        title=title or (f"Soil moisture filled by {', '.join(labels)}" if labels else "Filled soil moisture"),
        entries=entries,
        reference=reference_of(labels, reference, [entry.folder for entry in entries]) if labels else "",
        runs=[about_run(entry) for entry in entries],
        questions=[*questions, *of_runs],
        notes=notes,
        sections=sections,
        sources=sources,
    )


def write_page(report: Report, path: str, megabytes: float = MEGABYTES) -> None:
    """Write a page, and print where it is and how large.

    Args:
        report: What it shows.
        path: Of the page.
        megabytes: Its largest size, 10^6 bytes.
    """
    with exclusive(path):
        said = write_report(report, Path(path), megabytes)
    print(f"report: {path} ({said})")


def _on_one_grid(questions: Sequence[Question]) -> bool:
    try:
        Grid.of(questions)
    except ConfigError:
        return False
    return True


def _about_filled(filled: xr.Dataset, name: str) -> str:
    days = filled["time"].values.astype("datetime64[D]")
    title = filled.attrs.get("title")
    return (
        f"{Path(name).name}{f' ({title})' if title else ''}: {counted(len(days), 'map')} from {days.min()} "
        f"to {days.max()}, filled by {filled.attrs.get('source', 'a program that it does not name')}."
    )


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
    pictures = sorted(run.figures.glob("*.png"))
    for path in (run.folder / NOTES, *pictures):
        refuse_leading_out(path, run.folder, ConfigError)
    return RunAbout(
        entry.label,
        str(entry.metrics.get("model", "")),
        yaml.safe_dump(run.config(), sort_keys=False),
        run.provenance(),
        pictures,
        _notes(run.folder / NOTES),
    )


def _notes(path: Path) -> list[str]:
    """Return the first lines of a text; none where there is no such file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(NOTES_LENGTH)
    return [line for line in text.splitlines() if line.strip()]


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


def question_of_file(filled: xr.Dataset, name: str, members: str | None = None) -> Question:
    """Return a filled file as a record whose maps are shown.

    Args:
        filled: What predict.py writes.
        name: Its path.
        members: Path of members of it.

    Raises:
        CubeError: It is no filled file, or the members are not of it.
    """
    try:
        maps_of(filled)
        observed = observed_of(filled)
    except CubeError as error:
        raise CubeError(f"{name}: {error}") from error
    possible = None if members is None else _members(members)
    product = Product(Path(name).name, filled, None if possible is None else possible[SM_MEMBERS])
    try:
        product.shown()
    except CubeError as error:
        raise CubeError(f"members={members}: {error}") from error
    if possible is not None:
        own, other = (str(dataset.attrs.get("source", "")) for dataset in (filled, possible))
        if own != other:
            raise CubeError(
                f"members={members}: are of what {other or 'nobody'} filled, expected those of {name}: {own}"
            )
    return Question(observed, [product])


def _members(path: str) -> xr.Dataset:
    found = open_dataset(path)
    if SM_MEMBERS not in found:
        raise CubeError(f"members={path}: no variable '{SM_MEMBERS}': expected what members writes")
    return found


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
