"""DISPATCH: coarse soil moisture on a fine grid, by temperatures of the land surface and a vegetation index.

A soil that dries evaporates less and gets hotter. After Merlin et al., IEEE Trans. Geosci. Remote Sens. 50, 1556, 2012
and Remote Sens. Environ. 130, 25, 2013. Which variant Liu et al. (HESS 27, 577, 2023) took is in a supplement that was
not at hand, so that this is DISPATCH after Merlin et al., and not theirs to the last choice.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Inverse = Literal["line", "arccos"]

BARE_NDVI, FULL_NDVI = 0.15, 0.90
LEAST_EFFICIENCY, LARGEST_EFFICIENCY = 0.02, 0.98  # of the mean of a coarse cell
LEAST_PIXELS = 30  # of a scene, for its edges
IN_BIN = 20  # least pixels of a bin of cover
MOST_BINS = 20
LEAST_SPAN = 0.2  # of the cover in a scene: with less an edge has no slope that could be told


class Edges(NamedTuple):
    """Temperatures at the ends of the dry and the wet edge of a scene, in the units of the temperatures.

    Attributes:
        dry_bare: Of bare dry soil, Ts,max.
        dry_full: Of a full canopy that lacks water, Tv,max.
        wet_bare: Of bare wet soil, Ts,min.
        wet_full: Of a full canopy that does not, Tv,min.
    """

    dry_bare: float
    dry_full: float
    wet_bare: float
    wet_full: float


def vegetation_cover(ndvi: np.ndarray) -> np.ndarray:
    """Return the fraction of vegetation cover (FVC), 0 to 1.

    Args:
        ndvi: Any shape.
    """
    cover: np.ndarray = np.clip((np.asarray(ndvi, np.float64) - BARE_NDVI) / (FULL_NDVI - BARE_NDVI), 0, 1)
    return cover


def fitted_edges(cover: np.ndarray, temperature: np.ndarray, edge_share: float = 0.02) -> Edges | None:
    """Fit the dry and the wet edge of a scene: lines through the hottest and the coolest pixels at each cover.

    The pixels are put into bins of equal number by their cover; the lines go through the quantiles of temperature of
    the bins. Where the cover spans less than 0.2, the edges are level.

    Args:
        cover: Of clear pixels, (N,).
        temperature: Of the same, (N,).
        edge_share: Share of the pixels of a bin beyond each of the edges.

    Returns:
        The ends; None for fewer than 30 pixels, or where bare dry soil comes out no hotter than bare wet soil.
    """
    if cover.size < LEAST_PIXELS:
        return None
    shares = [edge_share, 1 - edge_share]
    least, most = np.quantile(cover, shares)
    if most - least < LEAST_SPAN:
        cool, hot = (float(value) for value in np.quantile(temperature, shares))
        return Edges(hot, hot, cool, cool) if hot > cool else None
    bins = min(MOST_BINS, max(3, cover.size // IN_BIN))
    parts = np.array_split(np.argsort(cover, kind="stable"), bins)
    middle = np.array([cover[part].mean() for part in parts])
    wet, dry = np.array([np.quantile(temperature[part], shares) for part in parts]).T
    ends = np.linalg.lstsq(np.stack([1 - middle, middle], 1), np.stack([dry, wet], 1), rcond=None)[0]
    (dry_bare, wet_bare), (dry_full, wet_full) = ends.tolist()
    if dry_full < wet_full:
        # beyond the covers of the scene the edges cross: a canopy has one temperature there
        dry_full = wet_full = (dry_full + wet_full) / 2
    return Edges(dry_bare, dry_full, wet_bare, wet_full) if dry_bare > wet_bare else None


def vegetation_temperature(temperature: np.ndarray, cover: np.ndarray, edges: Edges) -> np.ndarray:
    """Return the temperature of the canopy, by where a pixel lies between the edges.

    It is the middle of what is possible: the canopy lies between its own two ends, and so does the soil below it. In
    the four parts into which the diagonals cut the space of cover and temperature, this gives the four cases of
    Merlin et al. (2012): the mean of both ends of the canopy, of one of them and a bound by the soil, or of both
    bounds by the soil.

    Args:
        temperature: Of the surface, any shape.
        cover: Fraction of vegetation, same shape.
        edges: Of the scene.
    """
    part = np.maximum(cover, 1e-9)
    coolest = np.maximum(edges.wet_full, (temperature - (1 - cover) * edges.dry_bare) / part)
    hottest = np.minimum(edges.dry_full, (temperature - (1 - cover) * edges.wet_bare) / part)
    middle: np.ndarray = (coolest + hottest) / 2
    return middle


def evaporative_efficiency(
    temperature: np.ndarray, cover: np.ndarray, edges: Edges, largest_fvc: float = 0.9
) -> np.ndarray:
    """Return the soil's evaporative efficiency SEE = (Ts,max - Ts) / (Ts,max - Ts,min), NaN outside 0 to 1.

    The soil's temperature is Ts = (T - FVC Tv) / (1 - FVC): an error of T is 1 / (1 - FVC) times as large in it, ten
    times at a cover of 0.9.

    Args:
        temperature: T of the surface, any shape; NaN where clouded.
        cover: Fraction of vegetation FVC, same shape.
        edges: Of the scene.
        largest_fvc: Pixels with more cover are NaN.
    """
    canopy = vegetation_temperature(temperature, cover, edges)
    with np.errstate(invalid="ignore", divide="ignore"):
        soil = (temperature - cover * canopy) / (1 - cover)
        efficiency = (edges.dry_bare - soil) / (edges.dry_bare - edges.wet_bare)
        # at the ends of the edges it is 0 and 1 up to rounding
        possible = (efficiency > -1e-9) & (efficiency < 1 + 1e-9) & (cover <= largest_fvc)
    found: np.ndarray = np.where(possible, np.clip(efficiency, 0, 1), np.nan)
    return found


def disaggregated(
    coarse: np.ndarray,
    efficiency: np.ndarray,
    cell: np.ndarray,
    inverse: Inverse = "line",
    least_share: float = 0.5,
) -> np.ndarray:
    """Return soil moisture of fine pixels, whose mean in each coarse cell is the coarse value.

    With m the mean efficiency of a coarse cell, SMp = pi SM / arccos(1 - 2 m). `line` is the first term of the series
    around m, SM + (SMp / pi) (SEE - m) / sqrt(m - m^2): the root divides, some copies print a product. `arccos` is
    (SMp / pi) arccos(1 - 2 SEE) itself, shifted so that the mean of the cell stays.

    Args:
        coarse: Soil moisture of coarse cells, (C,); NaN where unknown.
        efficiency: Of fine pixels, (N,); NaN where unknown.
        cell: Number of the coarse cell of each pixel, (N,); -1 for none.
        inverse: How soil moisture follows from the efficiency.
        least_share: Least share of the pixels of a coarse cell whose efficiency is known.

    Returns:
        In the units of `coarse`, (N,) float64; NaN where the pixel or its cell cannot be told, or where m is outside
        0.02 to 0.98.
    """
    inside = cell >= 0
    known = inside & np.isfinite(efficiency)
    count = coarse.size
    clear = np.bincount(cell[known], minlength=count)
    enough = (clear > 0) & (clear >= least_share * np.bincount(cell[inside], minlength=count))
    mean = np.bincount(cell[known], efficiency[known], count) / np.maximum(clear, 1)
    usable = enough & np.isfinite(coarse) & (mean >= LEAST_EFFICIENCY) & (mean <= LARGEST_EFFICIENCY)
    m, moisture = np.where(usable, mean, 0.5), np.where(usable, coarse, np.nan).astype(np.float64)
    scale = moisture / np.arccos(1 - 2 * m)  # SMp / pi
    pixel = np.flatnonzero(known)
    own = cell[pixel]
    if inverse == "line":
        departure = (scale / np.sqrt(m - m**2))[own] * (efficiency[pixel] - m[own])
    else:
        departure = scale[own] * np.arccos(1 - 2 * efficiency[pixel])
    # of the line the mean is 0 already, up to rounding
    departure = departure - (np.bincount(own, departure, count) / np.maximum(clear, 1))[own]
    fine = np.full(efficiency.shape, np.nan)
    fine[pixel] = moisture[own] + departure
    return fine


def scene_efficiency(
    temperature: np.ndarray,
    cover: np.ndarray,
    scene: np.ndarray,
    edge_share: float = 0.02,
    largest_fvc: float = 0.9,
) -> tuple[np.ndarray, dict[int, Edges]]:
    """Return the evaporative efficiency of pixels with the edges of their scenes.

    Args:
        temperature: Of the surface on a day, (N,); NaN where clouded.
        cover: Fraction of vegetation, (N,); NaN where unknown.
        scene: Number of the scene of each pixel, (N,); -1 for none.
        edge_share: See `fitted_edges`.
        largest_fvc: See `evaporative_efficiency`.

    Returns:
        (N,), NaN where a scene has no edges; and the edges by the number of the scene.
    """
    clear = np.isfinite(temperature) & np.isfinite(cover) & (scene >= 0)
    efficiency, edges = np.full(temperature.shape, np.nan), {}
    known = np.flatnonzero(clear)
    known = known[np.argsort(scene[known], kind="stable")]
    numbers, starts = np.unique(scene[known], return_index=True)
    # without any number, one empty part is left over
    for number, pixels in zip(numbers.tolist(), np.split(known, starts[1:]), strict=False):
        found = fitted_edges(cover[pixels], temperature[pixels], edge_share)
        if found is not None:
            edges[number] = found
            efficiency[pixels] = evaporative_efficiency(temperature[pixels], cover[pixels], found, largest_fvc)
    return efficiency, edges
