from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sgdsm.core.errors import ConfigError
from sgdsm.evaluation.compare import Entry
from sgdsm.evaluation.score import score
from sgdsm.report import html
from sgdsm.report.page import Report, RunAbout, beyond_chance, write_report
from tests.report.records import filled_record, question

HOSTILE = '</script><script>document.title="x"</script><img src=x onerror="document.title=1">$$x$$'


def entries_of(days: int = 95) -> list[Entry]:
    """Scores of two runs of one protocol: the second has the first one's errors with noise on them."""
    record = filled_record(days)
    hidden, visible = question(record)
    protocol = {"digest": "d1", "data": "f1", "scored_split": "test", "hidden": {"swath": 5}}
    noise = 0.02 * np.random.default_rng(3).standard_normal(record["sm_filled"].shape).astype(np.float32)
    worse = record.assign(sm_filled=record["sm_filled"] + np.where(record["sm_source"] == 2, noise, 0))
    worse["sm_filled"].attrs = record["sm_filled"].attrs
    return [
        Entry(
            name, Path(), {"fit_seconds": 1.0, "units": "m3 m-3", "protocol": protocol}, score(filled, hidden, visible)
        )
        for name, filled in (("good", record), ("bad", worse.drop_vars(["sm_std", "sm_lower", "sm_upper"])))
    ]


def report_of(entries: list[Entry], **more: object) -> Report:
    runs = [RunAbout(e.label, "XGBoost", "model:\n  a: 1\n", {"versions": {"python": "3"}}, []) for e in entries]
    return Report(title="Runs", entries=entries, reference="good", runs=runs, **more)


def test_page_of_scores_without_maps(tmp_path):
    said = write_report(report_of(entries_of()), tmp_path / "new" / "page.html", 5)
    text = (tmp_path / "new" / "page.html").read_text()
    assert said.endswith("MB")
    assert "bad is worse than good" in text
    assert "the test split (never seen in training). Protocol d1, data f1." in text
    # pictures have words for those who do not see them
    assert text.count("<img ") == text.count('<img alt="') >= 7
    # calibration is of the run that has error bars
    assert "slope" in text
    levels = [int(part[0]) for part in text.split("<h")[1:] if part[0].isdigit()]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    with pytest.raises(ConfigError, match=r"megabytes=0.1: too small for the page, expected \d\.\d or more"):
        write_report(Report(title="x" * 120_000), tmp_path / "page.html", 0.1)
    assert not (tmp_path / "page.html").exists()


def test_texts_of_files_are_escaped(tmp_path):
    entries = entries_of(5)
    for entry in entries:
        entry.label += HOSTILE
        entry.metrics["protocol"]["splits"] = {"seed": HOSTILE}
    report = report_of(entries, notes=[HOSTILE], sources={HOSTILE: {HOSTILE: HOSTILE}})
    runs = [RunAbout(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: {HOSTILE: HOSTILE}}, [])]
    hostile = Report(**{**vars(report), "title": HOSTILE, "runs": runs, "reference": entries[0].label})
    write_report(hostile, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "<script>document" not in text
    assert "<img src=x" not in text
    assert "&lt;/script&gt;&lt;script&gt;document.title=&quot;x&quot;" in text


def row(label: str, lower: float, upper: float) -> dict[str, object]:
    return {"label": label, "lower": lower, "upper": upper}


def test_differences_beyond_chance():
    rows = [row("a", -0.2, -0.1), row("b", 0.0, 0.0), row("c", -0.1, 0.1), row("d", 0.1, 0.2), row("e", 0.2, 0.3)]
    assert beyond_chance(rows, "b") == (
        "Paired over blocks of days in regions (95 %): a is better than b; d and e are worse than b; c is not to be "
        "told from b."
    )
    assert beyond_chance(rows[:1], "a") == ""
    few = "There are too few blocks of days to say which differences are beyond chance."
    assert beyond_chance([rows[1], row("c", np.nan, np.nan)], "b") == few


def test_pictures_are_small_and_broken_ones_are_named(tmp_path):
    figure = Figure(figsize=(4, 3))
    figure.add_subplot().plot([0, 1])
    assert len(html.picture(figure, 'a "b"', "c < d")) < 20_000
    assert 'alt="a &quot;b&quot;"' in html.picture(figure, 'a "b"', "c < d")
    (tmp_path / "bad.png").write_text("no picture")
    with pytest.raises(ConfigError, match=r"bad.png: not a picture"):
        html.picture(tmp_path / "bad.png", "", "")
