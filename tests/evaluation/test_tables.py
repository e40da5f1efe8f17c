"""Tables as text, CSV, Markdown and LaTeX, and the names of runs in them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.evaluation.labels import run_labels
from sgdsm.evaluation.tables import WIDTH, aligned, as_latex, as_markdown, write_numbers, write_tables


def test_no_line_is_too_wide_and_no_column_is_lost():
    head = ["model", *(f"a long head, number {k}" for k in range(9))]
    rows = [[f"run_of_a_very_long_name_{'x' * 20}_{k}", *(f"{k}.{n}" for n in range(9))] for k in range(3)]
    text = aligned([head, *rows], 24)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(cell in text for row in (head, *rows) for cell in row[1:])
    # the ends tell the rows apart
    assert [line.split()[0] for line in text.splitlines()[2:5]] == [f"run_of_a_ve..xxxxxxxxx_{k}" for k in range(3)]
    one_wide = aligned([["x", "y" * 200], ["1", "2"]])
    assert "y" * 200 in one_wide


def test_files_beside_a_table(tmp_path):
    table = [["model", "RMSE [95 %] m3 m-3"], ["a_b|c\\d", "-0.1 [-0.2, 0.2]"], ["[x] & #$^~{}", "-"]]
    numbers = [{"label": "a_b|c\\d", "rmse": 0.123456789, "n": 3.0}, {"label": '[x], "y"', "rmse": 1 / 3, "n": 3.0}]
    write_tables([table, table], tmp_path / "found")
    write_numbers(numbers, tmp_path / "found.csv")
    assert {path.name for path in tmp_path.iterdir()} == {"found.csv", "found.md", "found.tex"}
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    assert [float(row["rmse"]) for row in rows] == [0.123456789, 1 / 3]
    assert rows[1]["label"] == '[x], "y"'
    assert as_markdown(table).splitlines() == [
        "| model | RMSE [95 %] m3 m-3 |",
        "| --- | ---: |",
        "| a_b\\|c\\\\d | -0.1 [-0.2, 0.2] |",
        "| [x] & #$^~{} | - |",
    ]
    assert as_latex(table).splitlines() == [
        r"\begin{tabular}{lr}",
        r"\hline",
        r"model & RMSE {[}95 \%{]} m3 m-3 \\",
        r"\hline",
        r"a\_b|c\textbackslash{}d & $-$0.1 {[}$-$0.2, 0.2{]} \\",
        r"{[}x{]} \& \#\$\textasciicircum{}\textasciitilde{}\{\} & - \\",
        r"\hline",
        r"\end{tabular}",
    ]
    assert (tmp_path / "found.tex").read_text().count(r"\begin{tabular}") == 2


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (["runs/2026-11-29_11-05-33_xgboost", "runs/mine"], ["xgboost", "mine"]),
        (
            ["2026-11-29_11-05-33_pconv3d", "2026-11-30_09-00-01_pconv3d", "2026-11-30_09-00-01_xgboost"],
            ["pconv3d 11-29 11:05", "pconv3d 11-30 09:00", "xgboost"],
        ),
        (["runs/2026-11-29_11-05-33_xgboost", "runs/xgboost"], ["xgboost 11-29 11:05", "xgboost"]),
        # within a minute: whole names
        (["2026-11-29_11-05-33_gp", "2026-11-29_11-05-59_gp"], ["2026-11-29_11-05-33_gp", "2026-11-29_11-05-59_gp"]),
        (["a/x", "b/x"], ["a/x", "b/x"]),
    ],
)
def test_runs_that_nobody_named_go_by_their_model(folders, labels):
    assert run_labels([Path(folder) for folder in folders]) == labels
    with pytest.raises(ConfigError, match="named twice"):
        run_labels([Path(folders[0]), Path(folders[0])])
