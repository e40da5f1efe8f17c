"""What README and docs say: commands make valid settings, figures are those measured, files and targets exist."""

from __future__ import annotations

import re
import tomllib
from collections import Counter

import pytest

from docs.check import (
    LINK,
    OTHERS,
    PAGES,
    blocks,
    check_settings,
    commands,
    faults_of_pages,
    inline_commands,
    ours,
    run_page,
    shell_lines,
)
from tests.conftest import ROOT
from tests.start_page import page_of, steps

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [(f"{block.page}:{block.line}", words) for block in BLOCKS for words in commands(block)]
INLINES = [(page.name, words) for page in PAGES for words in inline_commands(page)]


def rows(text: str) -> list[dict[str, str]]:
    """The rows of the first table of a text, by the names of its columns."""
    lines = [line.strip()[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in lines[0]]
    found = []
    for line in lines[2:]:
        if len(line) != len(head):
            break
        found.append(dict(zip(head, (cell.strip() for cell in line), strict=True)))
    return found


def test_the_start_page_leads_from_a_file_to_its_page_in_two_short_commands():
    """`python -m tests.start_page` runs them as they are; `make docs` with trainings cut short."""
    names = [words[0] for words in steps()]
    assert names[:3] == ["describe", "train", "predict"]
    assert [page_of(words) for words in steps()][:3] == [None, None, "report.html"]
    text = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    for words in steps()[1:3]:
        line = f"sgdsm {' '.join(words)}"
        assert f"\n{line}\n" in text
        assert len(line) < 80


def test_there_are_commands_of_many_kinds():
    assert len(COMMANDS) > 50
    assert {"train", "predict", "compare", "evaluate", "prepare", "export"} <= {words[0] for _, words in COMMANDS}


@pytest.mark.parametrize("where", sorted({where for where, _ in [*COMMANDS, *INLINES]}))
def test_every_command_makes_valid_settings(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for place, words in [*COMMANDS, *INLINES]:
        if place == where:
            check_settings(words)


@pytest.mark.parametrize(
    "words", ["train model=xgboots", "predict run=a outptu=b.nc", "describe", "train model.steps=-1"]
)
def test_a_wrong_command_is_found(words):
    with pytest.raises(Exception, match=r"xgboots|outptu|cube|steps"):
        check_settings(words.split())


def test_every_line_of_a_block_for_the_shell_is_ours_or_known():
    strange = [
        f"{block.page}:{block.line}: {' '.join(words)}"
        for block in BLOCKS
        if block.language == "bash"
        for words in shell_lines(block)
        if ours(words) is None and words[0] not in OTHERS
    ]
    assert strange == []


def test_python_blocks_are_python_and_blocks_name_their_language():
    for block in BLOCKS:
        assert block.language in ("bash", "python", "yaml", "text", "{toctree}", "{include}"), (
            f"{block.page}:{block.line}"
        )
        if block.language == "python":
            compile(block.text, block.page, "exec")


def test_what_is_not_run_says_why():
    reasons = Counter(block.reason for block in BLOCKS if block.reason is not None)
    assert all(len(reason) > 8 for reason in reasons)
    named = [word for reason in reasons for word in re.findall(r"tests/\S+\.py", reason)]
    assert all((ROOT / path).is_file() for path in named)


def test_a_block_is_run_and_a_failure_tells_its_command(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: because -->\n```bash\nsgdsm describe no.nc\n```\n\n```python\nx = 1\n```\n")
    monkeypatch.setattr("docs.check.ROOT", tmp_path)
    made: Counter[str] = Counter()
    run_page(page, tmp_path, made, lambda line: None)
    assert made == {"not run: because": 1, "run": 1}
    page.write_text("```bash\nsgdsm describe no.nc\n```\n")
    with pytest.raises(RuntimeError, match=r"sgdsm describe no\.nc(.|\n)*no\.nc"):
        run_page(page, tmp_path, made, lambda line: None)


def test_extras_and_targets_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    everything = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    asked = {name for group in re.findall(r"(?:-e '\.|'sgdsm)\[([\w,]+)\]", everything) for name in group.split(",")}
    assert asked
    assert asked <= set(extras)
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([\w-]+)", everything, re.MULTILINE):
        assert f"\n{target}:" in makefile


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 120
    assert max(map(len, README.splitlines())) <= 120
    for link in LINK.findall(README):
        assert (ROOT / link.partition("#")[0]).exists(), link


def test_two_short_commands_lead_from_a_file_to_a_filled_map_and_its_report():
    first = next(block for block in BLOCKS if block.page == "README.md" and commands(block))
    lines = first.text.splitlines()
    train, predict = commands(first)
    assert (train[0], predict[0]) == ("train", "predict")
    assert any(word.startswith("report=") for word in predict)
    assert all(len(line) < 80 for line in lines)


@pytest.mark.parametrize(
    ("page", "columns"),
    [
        ("README.md", {"RMSE (m3 m-3)": "RMSE", "share": "share", "fit, longest": "fit, longest"}),
        ("docs/gap_fillers.md", {"fit": "fit, longest", "share, United States": "share"}),
    ],
)
def test_scores_are_those_measured(page, columns):
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    measured = {}
    for row in rows(results.partition("### SMAP over the United States, with meteorology")[2]):
        measured.setdefault(row["model"].split(" (")[0], row)
    text = (ROOT / page).read_text()
    table = rows(text[text.index("| model |" if page == "README.md" else "| `model=` |") :])
    compared = 0
    for row in table:
        known = measured.get(next(iter(row.values())))
        for here, there in columns.items():
            if row[here]:
                assert known is not None
                assert row[here] == known[there], row
                compared += 1
    assert compared >= 8 * len(columns)


def test_memory_speed_and_india_are_those_measured():
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    beside = {
        row["method"].removeprefix("sgdsm "): row
        for row in rows(results.partition("### Beside what one would pick instead")[2])
    }
    india = {
        row["model"].strip("`"): row for row in rows(results.partition("### SMAP soil wetness index over India")[2])
    }
    text = (ROOT / "docs" / "gap_fillers.md").read_text()
    for row in rows(text[text.index("| `model=` |") :]):
        model = row["`model=`"].strip("`")
        for here, there in (("memory", "memory"), ("fill, values a second", "values filled a second")):
            if row[here]:
                assert row[here] == beside[model][there]
        if row["share, India"]:
            assert row["share, India"] == india.get(f"{model}_cycle", india.get(model))["share"]


def test_pictures_are_small_and_made_by_a_script():
    scripts = "\n".join(path.read_text() for folder in ("docs", "benchmarks") for path in (ROOT / folder).glob("*.py"))
    scripts += (ROOT / "benchmarks" / "RESULTS.md").read_text()
    for picture in (ROOT / "docs" / "images").iterdir():
        # the animation of the README is the one larger
        assert picture.stat().st_size < (1_000_000 if picture.suffix == ".gif" else 200_000), picture.name
        assert picture.name in scripts, picture.name


def test_faults_of_pages_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a href="b.html#there"></a><a href="#gone"></a><script src="https://x.org/y.js"></script>'
    )
    (tmp_path / "b.html").write_text('<p id="there"><img src="c.png"><a href="https://x.org"></a>')
    (tmp_path / "d.css").write_text("@import url(https://fonts.x.org/f.css);")
    assert faults_of_pages(tmp_path) == [
        "a.html: loads https://x.org/y.js",
        "a.html: leads to #gone, but there is no such anchor",
        "b.html: leads to c.png, which is not there",
        "d.css: loads https://fonts.x.org/f.css",
    ]
