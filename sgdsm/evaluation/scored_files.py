"""The files that scores are made from: names, days and order of their axes, and values at the same places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.axes import axis_names
from sgdsm.core.coordinates import check_axes, check_text, days_along
from sgdsm.core.cube import open_dataset, suggest
from sgdsm.core.errors import CubeError
from sgdsm.core.io.decoding import only_valid

DEGREES, METRES = 1e-3, 1.0  # within which two coordinates are the same


@dataclass
class ScoredFile:
    """A Dataset that scores are made from, and its name in messages.

    Only the variables that are asked for are read and checked. Others may lie beside them, on axes of their own.

    Attributes:
        dataset: As it was opened.
        name: Path of the file, or 'the Dataset'.
    """

    dataset: xr.Dataset
    name: str

    @classmethod
    def of(cls, source: str | Path | xr.Dataset) -> ScoredFile:
        """Open a file; a Dataset is taken as it is."""
        if isinstance(source, xr.Dataset):
            return cls(source, "the Dataset")
        return cls(open_dataset(source), str(source))

    def variable(self, name: str) -> xr.DataArray:
        """Return a variable with the dims of a cube and whole days, in the order of time.

        Args:
            name: Of a variable of numbers.

        Returns:
            The variable, lazy, NaN outside of the valid range that its attributes declare.

        Raises:
            CubeError: If there is no such variable, or if it does not hold numbers, or if its axes are not those of
                a cube.
        """
        if name not in self.dataset:
            names = [str(n) for n in self.dataset.data_vars]
            raise CubeError(
                f"{self.name}: no variable '{name}'{suggest(name, names)}; there are {', '.join(names) or 'none'}"
            )
        try:
            variable = _with_days(_renamed(self.dataset[[name]]), name)[name]
        except CubeError as error:
            raise CubeError(f"{self.name}: {error}") from error
        if variable.dtype.kind not in "fiub":
            raise CubeError(f"{self.name}: variable '{name}' is of type {variable.dtype}, expected numbers")
        return only_valid(variable)

    def companions(self, name: str) -> xr.Dataset:
        """Return the variables that have no other dims than a variable has, with the dims of a cube.

        Their names, dims and attributes are good for a search; read the values by `variable`.
        """
        dims = set(self.dataset[name].dims)
        return _renamed(self.dataset[[str(n) for n, v in self.dataset.data_vars.items() if set(v.dims) <= dims]])


def _renamed(dataset: xr.Dataset) -> xr.Dataset:
    axes = axis_names(dataset, dataset.dims)
    for axis in set(axes.values()):
        same = [str(dim) for dim, new in axes.items() if new == axis]
        if len(same) > 1:
            raise CubeError(f"the dimensions {' and '.join(same)} are both taken for {axis}: rename one")
    renames = {dim: new for dim, new in axes.items() if dim != new}
    # what has the name that a dim gets is a coordinate of another kind
    return dataset.drop_vars([new for new in renames.values() if new in dataset.variables]).rename(renames)


def _with_days(dataset: xr.Dataset, name: str) -> xr.Dataset:
    check_text(dataset, [name, *(dim for dim in dataset.dims if dim in dataset.coords)])
    if "time" in dataset.dims:
        # products give their maps different times of day
        dataset = dataset.assign_coords(time=("time", days_along(dataset), dataset["time"].attrs))
        if not dataset.indexes["time"].is_monotonic_increasing:
            dataset = dataset.isel(time=np.argsort(dataset["time"].values))
    check_axes(dataset, [dim for dim in dataset.dims if dim in ("lat", "lon", "y", "x")])
    return dataset


def aligned(array: xr.DataArray, like: xr.DataArray, path: str) -> xr.DataArray:
    """Return a variable at the coordinates of another and in their order, lazily.

    Longitudes that differ by 360 degrees are the same.

    Args:
        array: The variable.
        like: The other variable.
        path: Of the file that `array` is from, for messages.

    Raises:
        CubeError: If the dims differ, or if `array` lacks one of the coordinates.
    """
    if set(array.dims) != set(like.dims):
        raise CubeError(f"{path}: '{array.name}' has dims {array.dims}, expected {like.dims}")
    array = array.transpose(*like.dims)
    chosen = {}
    for dim in like.dims:
        index = _places(array[dim].values, like[dim].values, str(dim))
        if (index < 0).any():
            lacking = like[dim].values[index < 0][0]
            first = str(lacking)[:10] if dim == "time" else f"{lacking:g}"
            raise CubeError(f"{path}: '{array.name}' lacks {(index < 0).sum()} values of {dim}, the first {first}")
        chosen[dim] = index
    # an index would make a copy of the whole variable
    if all(np.array_equal(i, np.arange(array.sizes[d])) for d, i in chosen.items()):
        return array
    return array.isel(chosen)


def _places(values: np.ndarray, wanted: np.ndarray, dim: str) -> np.ndarray:
    """Return the index in `values` of each wanted value of a coordinate, (wanted,); -1 where none is near."""
    tolerance = {"time": 0.0, "lat": DEGREES, "lon": DEGREES}.get(dim, METRES)
    if not values.size:
        return np.full(wanted.size, -1)
    if dim == "time":
        values, wanted = (v.astype("datetime64[D]").astype(np.int64) for v in (values, wanted))
    elif dim == "lon":
        # 360 degrees that begin a hair before the first, so that rounding does not send it round the globe
        start = float(wanted.min()) - DEGREES
        values, wanted = ((v.astype(np.float64) - start) % 360 for v in (values, wanted))
    # the nearest value is one of the two neighbours of where the wanted one would be inserted
    order = np.argsort(values, kind="stable")
    ranks = values[order]
    after = np.searchsorted(ranks, wanted).clip(0, len(ranks) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(abs(ranks[before] - wanted) < abs(ranks[after] - wanted), before, after)
    index: np.ndarray = np.where(abs(ranks[nearest] - wanted) <= tolerance, order[nearest], -1)
    return index
