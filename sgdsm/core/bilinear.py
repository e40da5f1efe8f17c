"""Bilinear interpolation between a coarse grid and a fine one of which each coarse cell holds the same number."""

from __future__ import annotations

import numpy as np


def refined(coarse: np.ndarray, factor: int) -> np.ndarray:
    """Return a coarse map on the fine grid, bilinear between centres of cells; beyond the outer centres it is constant.

    Args:
        coarse: (H, W); what is NaN makes its surroundings NaN.
        factor: Fine cells along a side of a coarse one.

    Returns:
        (H * factor, W * factor) float32.
    """
    down, across = (_weights(size, factor) for size in coarse.shape)
    fine: np.ndarray = down @ coarse.astype(np.float32) @ across.T
    if np.isnan(coarse).any():
        # zero times NaN is NaN: only cells with a weight count
        known = np.isfinite(coarse).astype(np.float32)
        fine = down @ np.nan_to_num(coarse).astype(np.float32) @ across.T
        fine[down @ known @ across.T < 1 - 1e-5] = np.nan
    return fine


def _weights(size: int, factor: int) -> np.ndarray:
    """Return the weights of coarse cells in fine ones, (size * factor, size) float32."""
    place = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    return np.maximum(0, 1 - abs(place[:, None] - np.arange(size))).astype(np.float32)


def averaged(fine: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of the fine cells of each coarse cell.

    Args:
        fine: (H * factor, W * factor), all finite.
        factor: Fine cells along a side of a coarse one.

    Returns:
        (H, W), in the precision of `fine`; sums are of float64.
    """
    rows, columns = (size // factor for size in fine.shape)
    cut = fine.reshape(rows, factor, columns, factor)
    mean: np.ndarray = cut.mean((1, 3), dtype=np.float64).astype(fine.dtype)
    return mean


def conserved(fine: np.ndarray, coarse: np.ndarray, factor: int, steps: int = 20) -> np.ndarray:
    """Return a fine map shifted smoothly so that its mean in each coarse cell is the coarse value.

    The shift is bilinear, found by repeating the correction; what is left after the last step is added to all fine
    cells of a coarse one alike.

    Args:
        fine: (H * factor, W * factor); missing values are NaN, and do not count in the means.
        coarse: (H, W), in the same units; cells that are NaN, or half of whose fine cells are missing, stay as they
            are.
        factor: Fine cells along a side of a coarse one.
        steps: Corrections.

    Returns:
        As `fine`, float32.
    """
    known = np.isfinite(fine).astype(np.float32)
    share = averaged(known, factor)
    used = np.isfinite(coarse) & (share >= 0.5)
    filled = np.nan_to_num(fine).astype(np.float32)

    def mean(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = averaged(values * known, factor) / np.maximum(share, 1e-9)
        return found

    shift = np.zeros(coarse.shape)
    for _ in range(steps):
        rest = np.where(used, coarse - mean(filled + refined(shift, factor)), 0)
        shift = shift + rest
    smooth = refined(shift, factor)
    kept = np.repeat(np.repeat(used, factor, 0), factor, 1)
    moved = filled + np.where(kept, smooth, 0)
    rest = np.where(used, coarse - mean(moved), 0)
    moved += np.repeat(np.repeat(rest, factor, 0), factor, 1)
    found: np.ndarray = np.where(known > 0, moved, np.nan).astype(np.float32)
    return found
