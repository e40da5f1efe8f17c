"""Scale mean and standard deviation of a sensor to those of another, cell by cell."""

from __future__ import annotations

import numpy as np

from sgdsm.preprocessing.bias_correction.maps import CellMaps, chunks

FLAT = 1e-6  # half the width of the piece of a cell whose source never changes


def fit_moments(
    source: np.ndarray,
    reference: np.ndarray,
    least_values: int = 20,
    bounds: tuple[float, float] = (0.0, np.inf),
) -> CellMaps:
    """Fit maps y = mean(reference) + (x - mean(source)) std(reference) / std(source), over the days that both have.

    Liu et al., HESS 27, 577, 2023, Eq. 4, whose first line subtracts the satellite's mean where the model's is meant. A
    source that never changes is shifted only.

    Args:
        source: (days, cells), NaN = missing.
        reference: (days, cells), NaN = missing.
        least_values: A cell with fewer common days gets no map.
        bounds: Smallest and largest mapped value, see `CellMaps`.

    Returns:
        The maps of the cells.
    """
    knots = np.full((2, source.shape[1], 2), np.nan)
    for cells in chunks(*source.shape):
        x, y = source[:, cells], reference[:, cells]
        both = np.isfinite(x) & np.isfinite(y)
        enough = both.sum(0) >= max(1, least_values)
        for kind, values in enumerate(moment_knots(x, y, both)):
            knots[kind, cells] = np.where(enough[:, None], values, np.nan)
    return CellMaps(knots[0], knots[1], *bounds)


def moment_knots(x: np.ndarray, y: np.ndarray, both: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean minus and mean plus one standard deviation of the marked values.

    Args:
        x: (days, cells).
        y: (days, cells).
        both: Values to use, (days, cells) bool.

    Returns:
        Knots of x and knots of y, (cells, 2) each.
    """
    (mean_x, std_x), (mean_y, std_y) = _moments(x, both), _moments(y, both)
    flat = std_x <= 1e-9 * np.maximum(abs(mean_x), 1e-9)
    # a flat source gets a piece of slope 1: it is shifted only
    std_x, std_y = np.where(flat, FLAT, std_x), np.where(flat, FLAT, std_y)
    return np.stack([mean_x - std_x, mean_x + std_x], 1), np.stack([mean_y - std_y, mean_y + std_y], 1)


def _moments(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, values, 0).sum(0, dtype=np.float64) / count
    # float64: sums of squares of long records lose digits in float32
    squares = np.where(known, values - mean, 0).astype(np.float64) ** 2
    return mean, np.sqrt(squares.sum(0) / count)
