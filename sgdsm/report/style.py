"""Colours, and figures that do not touch pyplot: its backend and its list of open figures stay as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

INK, BLUE, RED, SAND = "#222222", "#1b6ca8", "#d1495b", "#e9e4d8"
# of Okabe and Ito (2008), told apart with any colour vision; markers and dashes repeat what the colours say
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8860B", "#7F7F7F", "#000000")
MARKERS = "osD^vPX*"
DASHES = ("-", "--", "-.", ":")


def line_style(k: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the k-th line of a figure."""
    return {"color": COLOURS[k % len(COLOURS)], "marker": MARKERS[k % len(MARKERS)], "ls": DASHES[k % len(DASHES)]}


class Picture(Figure):
    """A Figure that a notebook shows, also where pyplot was never imported.

    IPython has no formatter for a plain Figure before pyplot's inline backend is loaded.
    """

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def subplots(
    rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], layout: str, **more: Any
) -> tuple[Picture, Any]:
    """Return a Picture and its Axes, as pyplot's `subplots` does.

    Args:
        rows: Of axes.
        columns: Of axes.
        figsize: Width and height, inches.
        layout: Layout engine of the Figure.
        **more: Arguments of `Figure.subplots`.
    """
    figure = Picture(figsize=figsize, layout=layout)  # type: ignore[arg-type]
    return figure, figure.subplots(rows, columns, **more)


@contextmanager
def plain_text() -> Iterator[None]:
    """Draw texts as they are: `$` in a name or in units of a file does not begin a formula."""
    with rc_context({"text.parse_math": False}):
        yield
