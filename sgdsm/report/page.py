"""The page of a report: what was filled and how well, maps, series, scores, and where it all came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from sgdsm.core.errors import ConfigError
from sgdsm.evaluation.compare import Entry, comparison, narrow_tables
from sgdsm.evaluation.metrics import METRICS
from sgdsm.evaluation.protocol import kind_of_split
from sgdsm.report import html
from sgdsm.report.interactive import figures, has_bokeh, script_json, scripts
from sgdsm.report.packing import Grid, Packed, Question, pack
from sgdsm.report.score_figures import (
    calibration_figures,
    class_figure,
    class_name,
    class_tables,
    hovmoeller_figure,
    taylor_figure,
)
from sgdsm.report.style import plain_text
from sgdsm.report.views import choices, controls

# columns of a comparison that are no metric
BEFORE = {
    "share": "RMSE over that of the reference, on the same hidden values",
    "[95 %]": "interval from a bootstrap over blocks of days in regions; of a difference: paired",
    "swath, outage": "RMSE where the mask of another day was put on this one, and in made outages of several days",
}
AFTER = {
    "fit s": "seconds of fitting",
    "hidden": "observed, and kept from the filler to be its test",
    "visible, observed": "what the filler could see; in a filled file all that the satellite reported",
    "gap age": "days from a filled value to the nearest observation of the cell",
    "interval": "holds the value that the satellite would have reported with the stated probability",
    "flag": "why a filled value should be doubted; 0 for no reason",
}
CAPTIONS = {
    "comparison": "RMSE at the hidden values, with its interval",
    "comparison_gap_length": "RMSE by the number of days in a row without a visible value",
    "comparison_realism": "How filled values vary in time and space, beside the hidden truth at the same places",
    "holdouts": "RMSE of each hold-out, and of the other split",
    "maps": "One day: values seen by the filler, filled values, errors at hidden values, and which values were which",
    "skill": "RMSE, R and bias of each cell at its hidden values, and the mean uncertainty in the gaps",
    "series": "Visible, filled and hidden values at some cells",
    "gap_length": "RMSE by the length of the gap, and how many values were hidden in each class",
    "calibration": "Calibration of the error bars: PIT, reliability, and errors against standard deviations",
    "training": "Loss and validation score of each epoch; the circle marks the weights that were kept",
    "importances": "What the estimates rest on: features and covariates",
}
# pictures of a run that the maps, series and scores of the page show better
SHOWN_BETTER = {"maps", "series", "gap_length", "calibration", "comparison_gap_length"}


PAGES = (".html", ".htm")  # endings
MEGABYTES = 12.0  # of a page that is asked for alone
MAPS = 8.0  # MB
PER_MAP = 60_000  # bytes of the page for each map, beside its values


@dataclass(frozen=True)
class RunAbout:
    """What the page says of a run, beside its scores.

    Attributes:
        label: Name in tables and legends.
        model: Class of the gap-filler.
        config: Resolved configuration, as text.
        provenance: Versions, data, machine.
        pictures: PNG files of the run.
        notes: What its training had to say: notes and warnings.
    """

    label: str
    model: str
    config: str
    provenance: Mapping[str, Any]
    pictures: Sequence[Path]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What a page shows; every part may be empty, but not all.

    Attributes:
        title: Of the page.
        entries: Scores of runs of one protocol.
        reference: Label of the run that the others are measured by.
        runs: What is known of the runs.
        questions: Records whose maps are shown.
        notes: Sentences for the top of the page.
        pictures: PNG files of a comparison.
        sections: Heading and HTML of further sections.
        sources: Name of a file -> what it says of itself.
    """

    title: str
    entries: Sequence[Entry] = ()
    reference: str = ""
    runs: Sequence[RunAbout] = ()
    questions: Sequence[Question] = ()
    notes: Sequence[str] = ()
    pictures: Sequence[Path] = ()
    sections: Sequence[tuple[str, str]] = ()
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@plain_text()
def write_report(report: Report, path: Path, megabytes: float | None = None) -> str:
    """Write a page; without bokeh one without maps that can be moved.

    Args:
        report: What it shows.
        path: Of the page, which appears when it is complete.
        megabytes: Its largest size, 10^6 bytes: maps are thinned for it. By default the maps take MAPS at most.

    Returns:
        A line that says how large it is and how its maps were thinned.

    Raises:
        ConfigError: Records are on different grids, or the page cannot be so small.
    """
    interactive = bool(report.questions) and has_bokeh()
    # before the pictures are drawn, which takes longer
    grid = Grid.of(report.questions) if interactive else None
    scored = _score_section(report, interactive)
    ends = [(f"Configuration of {r.label}" if len(report.runs) > 1 else "Configuration", r) for r in report.runs]
    bottom = [("Where it came from", _origin(report, ends)), ("Words", html.words(glossary()))]
    top, further = _top(report), [*report.sections]
    if grid is None:
        sections = [("Scores", scored), *further, *bottom]
        hint = "" if has_bokeh() or not report.questions else " (maps that can be moved: pip install 'sgdsm[report]')"
        text = html.page(report.title, top, sections)
        _check_size(len(text.encode()), megabytes)
        _write(text, path)
        return f"{len(text.encode()) / 1e6:.1f} MB{hint}"
    code = scripts()
    frame = html.page(
        report.title, top, [("Maps and series", "x" * 20_000), ("Scores", scored), *further, *bottom], code
    )
    taken = len(frame.encode()) + PER_MAP * _panels(report)
    packed = pack(report.questions, grid, taken / 1e6 + MAPS if megabytes is None else megabytes, taken)
    thinned = thinning_words(packed, grid)
    content = packed.content | choices(packed.content, report.questions)
    maps = controls(content, report.questions) + html.pictures([_hovmoeller(packed, report)])
    sections = [("Maps and series", maps), ("Scores", scored), *further, *bottom]
    data = f"{script_json(content, 'report-data')}\n{script_json(figures(packed), 'report-figures')}\n{code}"
    text = html.page(report.title, html.paragraph(thinned) + top, sections, data)
    _write(text, path)
    return f"{len(text.encode()) / 1e6:.1f} MB; {thinned}"


def _panels(report: Report) -> int:
    return 1 + sum(len(question.products) for question in report.questions)


def _check_size(size: int, megabytes: float | None) -> None:
    if megabytes is not None and size > 1e6 * megabytes:
        raise ConfigError(f"megabytes={megabytes:g}: too small for the page, expected {size / 1e6 + 0.1:.1f} or more")


def _write(text: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def thinning_words(packed: Packed, grid: Grid) -> str:
    """Return a sentence on how the maps of a page were thinned."""
    block, every = packed.thinning
    days = f"{packed.content['days'][0]} to {packed.content['days'][-1]}"
    if block == 1 and every == 1:
        return f"The maps show every cell and day of the record, {days}."
    parts = []
    if every > 1:
        parts.append(f"every {_ordinal(every)} day")
    if block > 1:
        unit = "degree" if grid.dims[0] == "lat" else "m"
        size = abs(grid.columns[-1] - grid.columns[0]) / max(len(grid.columns) - 1, 1)
        parts.append(f"{block * size:.3g} {unit} means of {size:.3g} {unit} cells")
    scored = any(product["scores"] for product in packed.content["products"])
    words = f"The maps are thinned to fit the page: {', '.join(parts)}, {days}."
    return f"{words} The scores are of all cells and days." if scored else words


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def beyond_chance(rows: Sequence[Mapping[str, Any]], against: str) -> str:
    """Return a sentence on which runs differ from one of them beyond chance.

    Args:
        rows: From `sgdsm.evaluation.compare.comparison` with that run as the reference.
        against: Its label.
    """
    others = [row for row in rows if row["label"] != against]
    if not others:
        return ""
    if any(not np.isfinite(row["lower"]) for row in others):
        return "There are too few blocks of days to say which differences are beyond chance."
    groups = {
        "better than": [row["label"] for row in others if row["upper"] < 0],
        "worse than": [row["label"] for row in others if row["lower"] > 0],
        "not to be told from": [row["label"] for row in others if row["lower"] <= 0 <= row["upper"]],
    }
    parts = [
        f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {word} {against}"
        for word, names in groups.items()
        if names
    ]
    return f"Paired over blocks of days in regions (95 %): {'; '.join(parts)}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _top(report: Report) -> str:
    """Return HTML of the first lines: what was filled, by what, how it was scored."""
    parts = [html.paragraph(note) for note in report.notes]
    if report.entries:
        protocol = report.entries[0].metrics["protocol"]
        hidden = " and ".join(f"{n:,} {kind}" for kind, n in protocol["hidden"].items())
        parts.append(
            html.paragraph(
                f"Scored on {hidden} values that were observed but hidden from the fillers: the "
                f"{protocol['scored_split']} split ({kind_of_split(protocol)}). Protocol {protocol['digest']}, "
                f"data {protocol['data']}."
            )
        )
    return "\n".join(parts)


def _score_section(report: Report, interactive: bool) -> str:
    """Return HTML of the scores: tables, and pictures by class."""
    entries = list(report.entries)
    if not entries:
        return ""
    rows = comparison(entries, report.reference)
    units, best = str(entries[0].metrics["units"]), str(rows[0]["label"])
    first, *further = narrow_tables(rows, report.reference, units)
    caption = f"RMSE at {rows[0]['n']:.0f} hidden values, the best first; the reference is {report.reference}"
    parts = [html.table(first[0], first[1:], caption)]
    sentences = [beyond_chance(rows, report.reference)]
    if best != report.reference and len(rows) > 2:
        sentences.append(beyond_chance(comparison(entries, best), best))
    parts += [html.paragraph(sentence) for sentence in sentences if sentence]
    parts += [html.table(t[0], t[1:], f"Further scores, in {units} where they have units") for t in further]
    parts.append("<h3>By class of values</h3>")
    tables = class_tables(entries)
    drawn = []
    for group, table in tables.items():
        alt = f"RMSE by {group}: " + "; ".join(
            f"{class_name(name)} " + ", ".join(f"{label} {value[1]:.4f}" for label, value in row.items())
            for name, row in table.items()
        )
        drawn.append(
            html.picture(class_figure(table, group, units), alt, f"RMSE by {group}: 95 % intervals, number of values")
        )
    parts.append(html.pictures(drawn))
    parts.append(html.details("The same as a table", "".join(_class_table(t, g, units) for g, t in tables.items())))
    parts.append("<h3>Error bars and variability</h3>")
    drawn = [html.picture(figure, text, text) for text, figure in calibration_figures(entries, units)]
    taylor = (
        "Taylor diagram: correlation as the angle, standard deviation over that of the truth as the radius, centred "
        "RMSE as grey arcs"
    )
    drawn.append(html.picture(taylor_figure(entries), taylor, taylor))
    parts.append(html.pictures(drawn))
    better = SHOWN_BETTER if interactive else set[str]()
    others = [("all models", report.pictures), *((run.label, run.pictures) for run in report.runs)]
    drawn = [
        html.picture(path, f"{name}: {_caption(path)}", f"{name}: {_caption(path)}")
        for name, paths in others
        for path in paths
        if path.stem not in better
    ]
    return "\n".join([*parts, "<h3>Pictures of the runs</h3>" if drawn else "", html.pictures(drawn)])


def _caption(path: Path) -> str:
    return CAPTIONS.get(path.stem, path.stem.replace("_", " "))


def _class_table(table: Mapping[str, Mapping[str, tuple[float, ...]]], group: str, units: str) -> str:
    labels = list(dict.fromkeys(label for row in table.values() for label in row))
    rows = [
        [
            class_name(name),
            f"{max(value[0] for value in row.values()):.0f}",
            *(f"{row[x][1]:.4f} [{row[x][2]:.4f}, {row[x][3]:.4f}]" if x in row else "-" for x in labels),
        ]
        for name, row in table.items()
    ]
    return html.table([group, "N", *labels], rows, f"RMSE [95 %] by {group}, {units}")


def _hovmoeller(packed: Packed, report: Report) -> str:
    product, grid = report.questions[0].products[0], packed.content["grid"]
    units = str(report.questions[0].observed.attrs.get("units", "1"))
    name = grid["dims"][0]
    first, last = packed.content["span"]
    means = {key: values[first : last + 1] for key, values in packed.row_means.items()}
    days = packed.content["days"][first : last + 1]
    figure = hovmoeller_figure(means, days, np.array(grid["y"]), name, units)
    text = f"Hovmoeller diagram of {product.name}: means along the rows ({name}) over time, {units}: {'; '.join(means)}"
    return html.picture(figure, text, text)


def glossary() -> dict[str, str]:
    """Return what each column and word of a page means."""
    return BEFORE | {m.head or m.label: m.explanation for m in METRICS} | AFTER


def _origin(report: Report, ends: Sequence[tuple[str, RunAbout]]) -> str:
    """Return HTML of files, protocol, configurations and provenance."""
    parts = []
    if report.entries:
        protocol = report.entries[0].metrics["protocol"]
        parts += ["<h3>Protocol</h3>", html.words({str(k).replace("_", " "): v for k, v in protocol.items()})]
    for name, about in report.sources.items():
        parts += [f"<h3>{escape(name)}</h3>", html.words(about)]
    for heading, run in ends:
        parts.append(f"<h3>{escape(run.label)}</h3>")
        facts = {k: v for k, v in run.provenance.items() if k != "command"}
        command = " ".join(map(str, run.provenance.get("command", ())))
        parts.append(html.words({"model": run.model, "command": command, **facts}))
        parts.append(html.details(heading, html.listing(run.config, heading)))
        if run.notes:
            parts += ["<h4>Notes of the training</h4>", html.points(run.notes)]
    return "\n".join(parts)
