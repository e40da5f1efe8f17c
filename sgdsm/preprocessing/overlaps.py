"""Weights of regridding along one axis: how cells overlap, and which two centres lie around a point.

Edges and centres may rise or fall. Matrices are sparse, (target cells, source cells), float64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from sgdsm.core.errors import ConfigError


class Pair(NamedTuple):
    """The two centres around each point. Outside of the outermost centres both are the same.

    Attributes:
        first: Index of the first centre, (N,).
        second: Index of the second centre, (N,).
        weight: Weight of the second centre, 0 to 1, (N,).
        inside: True if the point lies in a cell of the axis, (N,) bool.
    """

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    inside: np.ndarray


def is_regular(centres: np.ndarray) -> bool:
    """Return True if centres have equal steps, up to a hundredth of a step: files keep them as float32."""
    even = np.linspace(centres[0], centres[-1], centres.size)
    return bool(np.abs(centres - even).max() <= 0.01 * abs(centres[-1] - centres[0]) / max(1, centres.size - 1))


def edges_of(centres: np.ndarray, name: str) -> np.ndarray:
    """Return the edges of the cells of an axis, half-way between the centres.

    Args:
        centres: Centres of the cells, (N,).
        name: Name of the axis, for messages.

    Returns:
        (N + 1,).

    Raises:
        ConfigError: When there is a single cell, or the centres neither rise nor fall.
    """
    steps = np.diff(centres)
    if not steps.size or not ((steps > 0).all() or (steps < 0).all()):
        count = f"{centres.size} value{'s' * (centres.size != 1)}"
        raise ConfigError(f"{name}: {count}, expected at least two centres of cells, all rising or all falling")
    if is_regular(centres):
        step = (centres[-1] - centres[0]) / (centres.size - 1)
        return np.linspace(centres[0] - step / 2, centres[-1] + step / 2, centres.size + 1)
    return np.concatenate(
        [[centres[0] - steps[0] / 2], (centres[:-1] + centres[1:]) / 2, [centres[-1] + steps[-1] / 2]]
    )


def overlap(source: np.ndarray, target: np.ndarray) -> Any:
    """Return the length that each target cell shares with each source cell.

    Args:
        source: Edges of the source cells, (S + 1,).
        target: Edges of the target cells, (T + 1,), in the same units.

    Returns:
        Sparse matrix, (T, S).
    """
    # the matrix is in the order of the cells, the search needs rising edges
    rising_s, rising_t = np.sort(source), np.sort(target)
    # between two neighbouring edges of both axes together lies part of one source and of one target cell
    points = np.unique(np.concatenate([rising_s, rising_t]))
    middles, lengths = (points[:-1] + points[1:]) / 2, np.diff(points)
    s, t = cell_of(source, middles), cell_of(target, middles)
    both = (s >= 0) & (t >= 0)
    return csr_array((lengths[both], (t[both], s[both])), shape=(target.size - 1, source.size - 1))


def circular_overlap(source: np.ndarray, target: np.ndarray) -> Any:
    """Return the same for longitudes in degrees, which repeat after 360."""
    # all whole turns by which the source may reach the target
    first = int(np.floor((target.min() - source.max()) / 360))
    last = int(np.ceil((target.max() - source.min()) / 360))
    return sum(
        (overlap(source + 360.0 * turn, target) for turn in range(first + 1, last + 1)),
        overlap(source + 360.0 * first, target),
    )


def cell_of(edges: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the index of the cell that holds each point, -1 if none does.

    Args:
        edges: Edges of the cells, rising or falling, (N + 1,).
        points: Any shape.

    Returns:
        Indices, of the shape of `points`.
    """
    falls = edges[0] > edges[-1]
    cell = np.searchsorted(edges[::-1] if falls else edges, points, side="right") - 1
    cell = np.where((cell < 0) | (cell >= edges.size - 1) | ~np.isfinite(points), -1, cell)
    return np.where(cell < 0, -1, edges.size - 2 - cell) if falls else cell


def turned(edges: np.ndarray, longitudes: np.ndarray) -> np.ndarray:
    """Return longitudes shifted by whole turns to where the edges begin, degrees."""
    west = float(edges.min())
    # a millionth of a degree west of the edge is rounding, not the other end of the circle
    longitude: np.ndarray = west - 1e-6 + (longitudes - west + 1e-6) % 360.0
    return np.maximum(longitude, west)


def around(centres: np.ndarray, edges: np.ndarray, points: np.ndarray) -> Pair:
    """Return the two centres around each point.

    Args:
        centres: Centres of the cells, (N,).
        edges: Their edges, (N + 1,).
        points: (P,), in the same units.

    Returns:
        A pair for each point.
    """
    inside = cell_of(edges, points) >= 0
    # search among rising centres, whatever their order in the file
    order = np.argsort(centres, kind="stable")
    rising = centres[order]
    second = np.clip(np.searchsorted(rising, points, side="right"), 1, max(1, rising.size - 1)) % rising.size
    first = np.maximum(second - 1, 0)
    width = np.where(first == second, 1.0, rising[second] - rising[first])
    weight = np.clip(np.nan_to_num(points - rising[first]) / width, 0.0, 1.0)
    return Pair(order[first], order[second], weight, inside)


def circular_around(centres: np.ndarray, edges: np.ndarray, longitudes: np.ndarray) -> Pair:
    """Return the same for longitudes; if the cells go once round, the last centre is next to the first."""
    points = turned(edges, longitudes)
    if abs(edges[-1] - edges[0]) < 360.0 - 0.5 * np.abs(np.diff(edges)).max():
        return around(centres, edges, points)
    # a column that is repeated has no width the second time
    kept = np.flatnonzero(np.abs(np.diff(edges)) > 1e-6)
    kept = kept[np.argsort(centres[kept])]
    # the last centre once more before the first, and the first after the last
    index = np.concatenate([kept[-1:], kept, kept[:1]])
    wide = np.concatenate([centres[kept[-1:]] - 360.0, centres[kept], centres[kept[:1]] + 360.0])
    pair = around(wide, np.array([wide[0], wide[-1]]), points)
    return Pair(index[pair.first], index[pair.second], pair.weight, np.isfinite(points))


def pair_matrix(pair: Pair, cells: int) -> Any:
    """Return pairs as a sparse matrix, (points, cells), with rows of zeros where the point lies outside."""
    rows = np.flatnonzero(pair.inside)
    second = pair.weight[rows]
    values = np.concatenate([1.0 - second, second])
    columns = np.concatenate([pair.first[rows], pair.second[rows]])
    return csr_array((values, (np.concatenate([rows, rows]), columns)), shape=(pair.inside.size, cells))
