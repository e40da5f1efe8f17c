"""Filters for the speckle of radar images. They work on power, never on dB: the mean of dB is too low."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

LOOKS = 4.4  # equivalent number of looks of a Sentinel-1 GRD image in IW mode


def lee(power: np.ndarray, pixels: int = 5, looks: float = LOOKS) -> np.ndarray:
    """Return power with speckle reduced by Lee's filter (IEEE Trans. Pattern Anal. 2, 165, 1980).

    Args:
        power: (H, W); missing pixels are NaN, do not count, and stay missing.
        pixels: Side of the window.
        looks: Equivalent number of looks: speckle varies by the mean over its square root.

    Returns:
        The mean of the window, plus as much of a pixel's departure as is more than speckle, (H, W).
    """
    known = np.isfinite(power)
    share = None
    if not known.all():
        share = uniform_filter(known.astype(power.dtype), pixels)
        power = np.where(known, power, 0)

    def mean_of(values: np.ndarray) -> np.ndarray:
        means: np.ndarray = uniform_filter(values, pixels)
        return means if share is None else means / np.maximum(share, 1 / (2 * pixels * pixels))

    mean = mean_of(power)
    square = mean_of(power * power)
    spread = np.maximum(square - mean * mean, 0)
    noise = mean * mean / looks
    signal = np.maximum(spread - noise, 0) / (1 + 1 / looks)
    weight = signal / np.maximum(signal + noise, 1e-12)
    filtered: np.ndarray = mean + weight * (power - mean)
    return filtered if share is None else np.where(known, filtered, np.nan).astype(filtered.dtype)


def gaussian(power: np.ndarray, pixels: int = 5) -> np.ndarray:
    """Return power smoothed by a Gaussian window whose standard deviation is a quarter of its side.

    Args:
        power: (H, W); missing pixels are NaN, do not count, and stay missing.
        pixels: Side of the window.
    """
    known = np.isfinite(power)
    options = {"sigma": pixels / 4, "radius": pixels // 2}
    smooth = gaussian_filter(np.where(known, power, 0), **options)
    share = gaussian_filter(known.astype(power.dtype), **options)
    found: np.ndarray = np.where(known, smooth / np.where(known, share, 1), np.nan).astype(power.dtype)
    return found
