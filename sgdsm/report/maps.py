"""Maps: values, land without one, no land and the outline of the land, alike in all figures; colour scales and bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from sgdsm.core.cube import ever_observed, space_dims
from sgdsm.core.filled import LAND
from sgdsm.report.coastlines import coastlines
from sgdsm.report.style import INK

# greys that none of the colour maps has: a missing value is neither dry nor wet, and land is not sea
NO_VALUE, NO_LAND, OUTLINE, COAST = "#b3aea6", "#dde6ee", "#3d4650", "#000000"
HATCH = "////"
FINE = 2**17  # cells, from which on the outline is finer

Extent = tuple[float, float, float, float]


def extent_of(dataset: xr.Dataset, name: str = "sm_filled") -> tuple[Extent, str | float]:
    """Return the edges of the maps of a Dataset and the aspect of their cells, for `imshow`.

    Args:
        dataset: With maps on (lat, lon) or (y, x), the first row in the north, the first column in the west.
        name: Of the maps.

    Returns:
        (west, east, south, north), degrees or m; and the height of a cell over its width, or 'equal'.
    """
    rows, columns = (dataset[d].values for d in space_dims(dataset[name]))
    dy = abs(rows[0] - rows[-1]) / max(1, len(rows) - 1) / 2 or 0.5
    dx = abs(columns[-1] - columns[0]) / max(1, len(columns) - 1) / 2 or 0.5
    # a degree of longitude is shorter than one of latitude; clipped near the poles
    aspect = 1 / np.cos(np.deg2rad(np.clip(rows.mean(), -75, 75))) if "lat" in dataset.dims else "equal"
    return (columns[0] - dx, columns[-1] + dx, rows[-1] - dy, rows[0] + dy), aspect


def land_of(dataset: xr.Dataset, maps: xr.DataArray) -> np.ndarray:
    """Return the land of a file, (H, W) bool: its variable `land`, or the cells that ever have a value.

    Args:
        dataset: The file.
        maps: Of the file, (T, H, W), whose axes the land gets.
    """
    space = maps.dims[1:]
    if LAND in dataset and set(dataset[LAND].dims) == set(space):
        land: np.ndarray = np.nan_to_num(dataset[LAND].transpose(*space).values).astype(bool)
        return land
    return ever_observed(maps)


def limits(*maps: np.ndarray) -> tuple[float, float]:
    """Return the 1 and 99 % quantiles of all finite values, at least a little apart; 0 and 1 where there is none."""
    values = np.concatenate([m[np.isfinite(m)].ravel() for m in maps])
    if not values.size:
        return 0.0, 1.0
    low, high = (float(q) for q in np.quantile(values, [0.01, 0.99]))
    return low, high if high > low else low + max(abs(low), 1e-3)


def largest(*maps: np.ndarray) -> float:
    """Return the 98 % quantile of the absolute values, and 1 where all are 0 or missing."""
    values = np.concatenate([abs(m[np.isfinite(m)]).ravel() for m in maps])
    return float(np.quantile(values, 0.98)) or 1.0 if values.size else 1.0


def draw_map(
    axis: Axes, values: np.ndarray, extent: Extent, aspect: str | float, land: np.ndarray | None, **colours: Any
) -> AxesImage:
    """Draw a map, with colours of their own for land without a value and for no land, and the outline of the land.

    Args:
        axis: To draw on.
        values: The map, (H, W), NaN where there is none; those off land are not drawn.
        extent: See `extent_of`.
        aspect: See `extent_of`.
        land: Cells of land, (H, W) bool; None: all of them.
        **colours: `cmap`, and `vmin` and `vmax` or `norm`.

    Returns:
        The map of the values.
    """
    shown: dict[str, Any] = {"extent": extent, "aspect": aspect, "interpolation": "nearest"}
    land = np.ones(values.shape, bool) if land is None else land
    image = axis.imshow(np.where(land, values, np.nan), **shown, **colours)
    draw_land(axis, land, extent, aspect)
    return image


def draw_land(axis: Axes, land: np.ndarray, extent: Extent, aspect: str | float) -> None:
    """Draw where there is land, below a map, and its outline, over it.

    Args:
        axis: To draw on.
        land: Cells of land, (H, W) bool.
        extent: See `extent_of`.
        aspect: See `extent_of`.
    """
    axis.set_facecolor(NO_LAND)
    shown: dict[str, Any] = {"extent": extent, "aspect": aspect, "interpolation": "nearest"}
    axis.imshow(np.where(land, 1.0, np.nan), cmap=ListedColormap([NO_VALUE]), zorder=-1, **shown)
    # one path of all sides is drawn faster than a path for each, which films feel
    sides = outline(land, extent).reshape(-1, 2)
    path = Path(sides, np.tile([Path.MOVETO, Path.LINETO], len(sides) // 2))
    axis.add_artist(PathPatch(path, fc="none", ec=OUTLINE, lw=0.6 if land.size < FINE else 0.3))
    if aspect != "equal":  # degrees
        draw_coast(axis, extent)


def draw_coast(axis: Axes, extent: Extent) -> None:
    """Draw coastlines over a map in degrees, where the extra `coastlines` is installed."""
    axis.add_collection(LineCollection(coastlines(extent), colors=COAST, linewidths=0.6), autolim=False)


def outline(land: np.ndarray, extent: Extent) -> np.ndarray:
    """Return the sides of cells between land and no land, (N, 2, 2): x and y of both ends.

    Args:
        land: Cells of land, (H, W) bool.
        extent: Edges of the map: west, east, south, north.
    """
    west, east, south, north = extent
    x, y = np.linspace(west, east, land.shape[1] + 1), np.linspace(north, south, land.shape[0] + 1)
    row, column = np.nonzero(land[:, 1:] != land[:, :-1])
    upright = np.stack([np.stack([x[column + 1], y[row]], -1), np.stack([x[column + 1], y[row + 1]], -1)], 1)
    row, column = np.nonzero(land[1:] != land[:-1])
    level = np.stack([np.stack([x[column], y[row + 1]], -1), np.stack([x[column + 1], y[row + 1]], -1)], 1)
    return np.concatenate([upright, level])


def hatch(axis: Axes, cells: np.ndarray, extent: Extent) -> None:
    """Hatch cells of a map.

    Args:
        axis: With the map.
        cells: Which ones, (H, W) bool.
        extent: Edges of the map: west, east, south, north.
    """
    west, east, south, north = extent
    x, y = np.linspace(west, east, cells.shape[1] + 1), np.linspace(north, south, cells.shape[0] + 1)
    # neighbours in a row are one rectangle
    ends = np.diff(np.pad(cells.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (row, begin), (_, end) = np.nonzero(ends == 1), np.nonzero(ends == -1)
    if not len(row):
        return
    left, right, top, bottom = x[begin], x[end], y[row], y[row + 1]
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    vertices = np.stack([np.stack(corner, -1) for corner in corners], 1).reshape(-1, 2)
    codes = np.tile([Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY], len(row))
    patch = PathPatch(Path(vertices, codes), facecolor="none", edgecolor=INK, hatch=HATCH, lw=0, alpha=0.55)
    patch.set_clip_path(axis.patch)
    axis.add_artist(patch)


def colour_bar(images: ScalarMappable | Sequence[ScalarMappable], axes: Any, label: str, **more: Any) -> Colorbar:
    """Draw the colour bar of maps of one scale, with an arrow at an end that values go beyond.

    Args:
        images: The maps.
        axes: Beside which it is drawn.
        label: Name and units.
        **more: Arguments of `Figure.colorbar`.
    """
    every: list[Any] = [images] if isinstance(images, ScalarMappable) else list(images)
    low, high = every[0].get_clim()
    known = [np.ma.compressed(np.ma.masked_invalid(image.get_array())) for image in every]
    values = np.concatenate([part.astype(np.float64) for part in known])
    # rounding of float32 is no arrow
    far = 1e-5 * (high - low) if low is not None and high is not None else 0.0
    under = bool(values.size and low is not None and values.min() < low - far)
    over = bool(values.size and high is not None and values.max() > high + far)
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((under, over), "neither")
    bar: Colorbar = every[0].figure.colorbar(every[0], ax=axes, label=label, **{"extend": extend, **more})
    return bar


def map_key(figure: Any, sea: bool = True, more: Sequence[Patch] = (), missing: str = "land without a value") -> None:
    """Write under a figure which colours mean that there is no value, and no land.

    Args:
        figure: With the maps.
        sea: Whether there are cells without land.
        more: Entries before these.
        missing: What land in the colour of no value is.
    """
    patches = [*more, Patch(fc=NO_VALUE, label=missing)]
    patches += [Patch(fc=NO_LAND, ec=OUTLINE, lw=0.6, label="no land")] if sea else []
    figure.legend(handles=patches, loc="outside lower center", ncols=5, fontsize=8, frameon=False)


def name_axes(dataset: xr.Dataset, lowest: Iterable[Axes], leftmost: Iterable[Axes]) -> None:
    """Label the axes of maps of a Dataset.

    Args:
        dataset: That is drawn.
        lowest: Axes in the lowest row.
        leftmost: Axes in the first column.
    """
    degrees = "lat" in dataset.dims
    for axis in lowest:
        axis.set_xlabel("longitude [degrees east]" if degrees else "x [m]")
        # long numbers of a narrow map would run into each other
        axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    for axis in leftmost:
        axis.set_ylabel("latitude [degrees north]" if degrees else "y [m]")
