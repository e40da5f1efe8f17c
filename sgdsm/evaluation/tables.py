"""Tables of scores: as text of limited width, as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH = 100  # letters in a line of text
OF_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "[": "{[}",  # at the start of a row it would be an argument of the \\ before it
    "]": "{]}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}

Table = Sequence[Sequence[str]]  # rows of cells, the head first


def aligned(table: Table, longest: int = WIDTH // 2) -> str:
    """Return a table as text, with a rule under the head; columns that do not fit into WIDTH stand in tables below.

    Args:
        table: The first column is at the left, and in each of the tables.
        longest: Letters of a cell of the first column; longer ones are cut in the middle.
    """
    return "\n\n".join(_aligned(part) for part in _parts(table, longest))


def as_markdown(table: Table) -> str:
    """Return a table in Markdown.

    Args:
        table: The first column is at the left, the others at the right.
    """
    head, *rows = [[cell.replace("\\", "\\\\").replace("|", "\\|") for cell in row] for row in table]
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, rule, *rows))


def as_latex(table: Table) -> str:
    """Return a table in LaTeX: a tabular that needs no package.

    Args:
        table: The first column is at the left, the others at the right.
    """
    head, *rows = [" & ".join(map(_in_latex, row)) + r" \\" for row in table]
    columns = "l" + "r" * (len(table[0]) - 1)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", head, r"\hline", *rows, r"\hline", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def write_tables(tables: Sequence[Table], path: Path, said: Sequence[str] = ()) -> None:
    """Write tables as Markdown and as LaTeX.

    Args:
        tables: Cells as they are shown.
        path: Folder and name; `.md` and `.tex` are added.
        said: Lines below the tables, in LaTeX comments.
    """
    markdown = [*map(as_markdown, tables), *(f"{line}\n" for line in said)]
    latex = [*map(as_latex, tables), "".join(f"% {line}\n" for line in said)]
    _write(path.with_name(f"{path.name}.md"), "\n".join(markdown))
    _write(path.with_name(f"{path.name}.tex"), "\n".join(filter(None, latex)))


def write_numbers(numbers: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the numbers of a table as CSV, not rounded.

    Args:
        numbers: For each row its values; all rows have the same names.
        path: Of the file.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(numbers[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(numbers)
    _write(path, text.getvalue())


def _parts(table: Table, longest: int) -> Iterator[list[list[str]]]:
    """Yield tables of the same rows that are at most WIDTH letters wide, or have two columns."""
    first = _short([row[0] for row in table], longest)
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    start, own = 1, max(map(len, first))
    while start < len(widths) or start == 1:
        end = start + 1
        while end < len(widths) and own + sum(2 + width for width in widths[start : end + 1]) <= WIDTH:
            end += 1
        yield [[name, *row[start:end]] for name, row in zip(first, table, strict=True)]
        start = end


def _short(names: Sequence[str], longest: int) -> list[str]:
    """Return names cut in the middle to so many letters, as they were where two would be the same."""
    half = (longest - 2) // 2
    cut = [name if len(name) <= longest else f"{name[:half]}..{name[-half:]}" for name in names]
    return cut if len(set(cut)) == len(set(names)) else list(names)


def _aligned(table: Table) -> str:
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)


def _in_latex(text: str) -> str:
    text = re.sub(r"[\\~^\[\]&%$#_{}]", lambda found: OF_LATEX[found[0]], text)
    return re.sub(r"(?<![\w.-])-(?=\d)", "$-$", text)  # a minus, no hyphen


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
