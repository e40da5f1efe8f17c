"""Figures that belong to nobody but their caller: pyplot, its backend and its list of open figures stay as they are."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A Figure that a notebook shows, also where pyplot was never imported.

    IPython draws a plain Figure only once pyplot's inline backend has told it how.
    """

    def _repr_png_(self) -> bytes:
        content = BytesIO()
        self.savefig(content, format="png")
        return content.getvalue()


def subplots(
    rows: int = 1, columns: int = 1, *, figsize: tuple[float, float], layout: str, **more: Any
) -> tuple[Picture, Any]:
    """A Picture and its Axes, as pyplot's `subplots` gives them; more: of `Figure.subplots`."""
    figure = Picture(figsize=figsize, layout=layout)  # type: ignore[arg-type]
    return figure, figure.subplots(rows, columns, **more)
