"""Figures of the code's style: docstrings, comments, lengths of functions, imports inside functions.

python benchmarks/house.py [FOLDER]    of the package in FOLDER, by default sgdsm
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
ARRAYS = re.compile(r"ndarray|Tensor|DataArray|ArrayLike")
SHAPES = re.compile(r"\((?:[\w*+\-/ ]+,)+[\w*+\-/. ]*\)|\bscalars?\b|any shape|same shape|shape of", re.IGNORECASE)
PHYSICAL = re.compile(
    r"(days?|lat|lon|latitudes?|longitudes?|moisture|precipitation|rain|temperature|std|angle|ghz|km|distance|metres?|"
    r"width|age|gib|seconds|elevation|resolution\w*)$"
)
UNITS = re.compile(
    r"\b(days?|m3 m-3|km|mm|mm d-1|degrees?|K|kelvin|units|GHz|GiB|years?|hours?|seconds?|minutes?|shares?|percent|"
    r"metres?|m|cells|dimensionless|dates?)\b"
)


def functions(tree: ast.AST, owner: ast.ClassDef | None = None) -> Iterator[tuple[FunctionNode, ast.ClassDef | None]]:
    """Every function of a module, and the class that it is a method of."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node, owner
            yield from functions(node, owner)
        else:
            yield from functions(node, node if isinstance(node, ast.ClassDef) else owner)


def code_lines(node: FunctionNode) -> int:
    """Lines of a function without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def annotations(node: FunctionNode) -> list[str]:
    """The type hints of arguments and result."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    hints = [a.annotation for a in given] + [node.returns]
    return [ast.unparse(hint) for hint in hints if hint is not None]


def comment_share(paths: list[Path]) -> float:
    """Share of comments (alone on a line or behind code) in all lines that are not blank."""
    comments = lines = 0
    for path in paths:
        text = path.read_text()
        lines += sum(bool(line.strip()) for line in text.splitlines())
        comments += sum(t.type == tokenize.COMMENT for t in tokenize.generate_tokens(io.StringIO(text).readline))
    return comments / lines


def main(folder: str = "sgdsm") -> None:
    """Print the figures."""
    paths = sorted(Path(folder).rglob("*.py"))
    trees = {path: ast.parse(path.read_text()) for path in paths}
    found = [(node, owner) for tree in trees.values() for node, owner in functions(tree)]
    public = [(n, o) for n, o in found if not n.name.startswith("_") and not (o is not None and o.name.startswith("_"))]
    texts = {id(n): (ast.get_docstring(n) or "") + " " + ((ast.get_docstring(o) or "") if o else "") for n, o in found}
    with_arrays = [n for n, _ in public if any(ARRAYS.search(hint) for hint in annotations(n)) and ast.get_docstring(n)]
    shaped = [n for n in with_arrays if SHAPES.search(texts[id(n)])]
    physical = [
        n
        for n, _ in public
        if ast.get_docstring(n) and any(PHYSICAL.search(a.arg) for a in [*n.args.args, *n.args.kwonlyargs])
    ]
    united = [n for n in physical if UNITS.search(texts[id(n)])]
    style = ["--select", "D", "--ignore", "D102,D105,D107", "--config", 'lint.pydocstyle.convention="google"']
    words = [sys.executable, "-m", "ruff", "check", *style, "--output-format", "concise", "--no-cache", folder]
    wrong = sum(": D" in line for line in subprocess.run(words, capture_output=True, text=True).stdout.splitlines())
    lengths = [code_lines(node) for node, _ in found]
    positional = [len(n.args.posonlyargs) + len(n.args.args) - (o is not None) for n, o in found]
    inner = sum(
        isinstance(inside, ast.Import | ast.ImportFrom) for n, _ in found for inside in ast.walk(n) if inside is not n
    )
    print(f"files {len(paths)}, functions {len(found)}, public {len(public)}")
    print(f"docstrings that are not Google style (ruff D, D417): {wrong}")
    print(f"functions with arrays that name shapes: {len(shaped)} of {len(with_arrays)}")
    print(f"functions with physical quantities that name units: {len(united)} of {len(physical)}")
    print(f"comments: {comment_share(paths):.1%} of lines")
    print(f"lines of a function without docstring: median {median(lengths)}, p90 {quantiles(lengths, n=10)[8]:.0f}")
    print(f"functions with more than 8 positional arguments: {sum(n > 8 for n in positional)}")
    print(f"imports inside functions: {inner}")


if __name__ == "__main__":
    main(*sys.argv[1:])
