"""From Sentinel-2 bands to vegetation indices: masks of clouds, reflectance, EVI, LAI, NDVI."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from sgdsm.core.errors import ConfigError, CubeError

SCALE = 10_000.0  # stored numbers of a reflectance of 1
OFFSET, OFFSET_FROM = -1000.0, 4.0  # to be added from this processing baseline on
# of the scene classification: no data, saturated, dark (shadow of terrain), shadow of clouds, clouds of medium and
# of high probability, thin cirrus, snow
MASKED_CLASSES = (0, 1, 2, 3, 8, 9, 10, 11)
CLOUD_BITS = (1 << 10) | (1 << 11)  # of QA60: opaque clouds, cirrus
LARGEST_REFLECTANCE = 2.0
MOST_BRIGHT = 0.01  # share of pixels above it: glint exists
NO_QA60 = (np.datetime64("2022-01-25"), np.datetime64("2024-02-28"))  # scenes between them have an empty QA60


def clear_of_classes(classes: np.ndarray, masked: Sequence[int] = MASKED_CLASSES) -> np.ndarray:
    """Return True where the scene classification (SCL) names a pixel that can be used.

    Args:
        classes: (H, W); NaN is missing.
        masked: Classes that cannot be used.
    """
    clear: np.ndarray = np.isfinite(classes) & ~np.isin(classes, masked)
    return clear


def clear_of_bits(flags: np.ndarray) -> np.ndarray:
    """Return True where QA60 tells neither opaque clouds (bit 10) nor cirrus (bit 11).

    Args:
        flags: (H, W); NaN is missing.
    """
    known = np.isfinite(flags)
    bits = np.where(known, flags, 0).astype(np.int64)
    clear: np.ndarray = known & ((bits & CLOUD_BITS) == 0)
    return clear


def offset_of(baseline: str) -> float:
    """Return what is added to stored numbers of a processing baseline like '05.09' or '0509'.

    Raises:
        ConfigError: It is no such text.
    """
    match = re.fullmatch(r"N?(\d\d)\.?(\d\d)", str(baseline))
    if match is None:
        raise ConfigError(f"baseline={baseline}: expected one like '05.09'")
    return OFFSET if float(f"{match[1]}.{match[2]}") >= OFFSET_FROM else 0.0


def reflectance(stored: np.ndarray, offset: float, scale: float = SCALE) -> np.ndarray:
    """Return reflectance, (stored + offset) / scale; stored zeros are missing.

    Args:
        stored: Numbers of the file, (H, W).
        offset: -1000 from processing baseline 04.00 on, else 0.
        scale: Numbers of a reflectance of 1.
    """
    found: np.ndarray = ((stored + np.float32(offset)) / np.float32(scale)).astype(np.float32)
    found[~np.isfinite(stored) | (stored == 0)] = np.nan
    return found


def check_reflectance(name: str, values: np.ndarray) -> None:
    """Raise CubeError if too many reflectances of clear pixels are above 2: numbers were not scaled.

    Args:
        name: Of the band, for the message.
        values: (H, W); NaN is missing.
    """
    known = np.isfinite(values).sum()
    # of a few pixels glint may be right
    if known >= 100 and (values > LARGEST_REFLECTANCE).sum() > MOST_BRIGHT * known:
        raise CubeError(
            f"{name}: reflectances up to {np.nanmax(values):g}, expected at most {LARGEST_REFLECTANCE:g}: "
            "are the stored numbers scaled? scale: 10000 is that of Sentinel-2"
        )


def check_stored(name: str, stored: np.ndarray, scale: float) -> None:
    """Raise CubeError if numbers that are to be scaled are reflectance already: indices of them would be near 0.

    Stored whole numbers of clear pixels are 1 or more, also over dark water; reflectances are mostly below 1.

    Args:
        name: Of the band, for the message.
        stored: Numbers of clear pixels as they are read, (H, W); NaN is missing.
        scale: By which they are to be divided.
    """
    known = stored[np.isfinite(stored)]
    if scale > 1 and known.size >= 100 and (known < 1).mean() > 0.99:
        raise CubeError(
            f"{name}: stored numbers up to {known.max():g}, expected some of 1 or more to divide by {scale:g}: "
            "are they already reflectance? give scale: 1 and offset: 0"
        )


def evi(nir: np.ndarray, red: np.ndarray, blue: np.ndarray) -> np.ndarray:
    """Return the enhanced vegetation index of reflectances, 2.5 (N - R) / (N + 6 R - 7.5 B + 1); outside [-1, 1] NaN.

    Huete et al. (Remote Sens. Environ. 83, 195, 2002), Eq. 1.

    Args:
        nir: Near infrared, (H, W).
        red: (H, W).
        blue: (H, W).
    """
    return _within_one(2.5 * (nir - red), nir + 6 * red - 7.5 * blue + 1)


def ndvi(nir: np.ndarray, red: np.ndarray) -> np.ndarray:
    """Return the normalized difference vegetation index, (N - R) / (N + R); outside [-1, 1] NaN.

    Args:
        nir: Near infrared, (H, W).
        red: (H, W).
    """
    return _within_one(nir - red, nir + red)


def lai(index: np.ndarray) -> np.ndarray:
    """Return the leaf area index of EVI, 3.618 EVI - 0.118 and not below 0 (Boegh et al., RSE 81, 179, 2002).

    Args:
        index: EVI, (H, W).
    """
    area: np.ndarray = np.maximum(np.float32(3.618) * index - np.float32(0.118), np.float32(0))
    return area


def _within_one(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        index: np.ndarray = top / bottom
        index[~(np.abs(index) <= 1)] = np.nan
    return index
