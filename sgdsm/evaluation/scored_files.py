"""The files that scores are made from: names, days and order of their axes, units, and values at the same places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.axes import axis_names
from sgdsm.core.coordinates import check_axes, check_text, days_along
from sgdsm.core.cube import open_dataset, suggest
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.io.decoding import only_valid
from sgdsm.core.io.stores import is_remote
from sgdsm.core.matching import in_units_of
from sgdsm.core.units import conversion
from sgdsm.evaluation.daily_folder import LAYOUTS, open_folder

DEGREES, METRES = 1e-3, 1.0  # within which two coordinates are the same


@dataclass
class ScoredFile:
    """A Dataset that scores are made from, and its name in messages.

    Only the variables that are asked for are read and checked. Others may lie beside them, on axes of their own.

    Attributes:
        dataset: As it was opened.
        name: Path of the file, or 'the Dataset'.
        estimate: Of a filled file, the variable of the filled values.
        rounding: Largest change of its values by rounding, and the units of that.
    """

    dataset: xr.Dataset
    name: str
    estimate: str = SM_FILLED
    rounding: tuple[float, str] = (0.0, "1")

    @classmethod
    def of(cls, source: str | Path | xr.Dataset) -> ScoredFile:
        """Open a file; a Dataset is taken as it is."""
        if isinstance(source, xr.Dataset):
            return cls(source, "the Dataset")
        return cls(open_dataset(source), str(source))

    @classmethod
    def product(cls, source: str | Path | xr.Dataset, estimate: str | None, layout: str | None) -> ScoredFile:
        """Open a filled file, or a folder of daily files.

        Args:
            source: The file, the folder or a Dataset.
            estimate: Variable of the filled values; by default that of the layout, else `sm_filled`.
            layout: A key of `LAYOUTS`, for a folder in such a layout.

        Raises:
            ConfigError: If a layout is given for what is no folder.
        """
        known = None if layout is None else LAYOUTS[layout]
        name = estimate or (SM_FILLED if known is None else known.estimate)
        is_folder = not isinstance(source, xr.Dataset) and not is_remote(source) and Path(source).is_dir()
        if not is_folder or Path(str(source)).suffix == ".zarr":
            if known is not None:
                raise ConfigError(f"layout={layout}: expected filled= to be a folder of daily files, found {source}")
            opened = cls.of(source)
            return cls(opened.dataset, opened.name, name)
        rounding = (0.0, "1") if known is None else (known.rounding, known.units)
        return cls(open_folder(Path(str(source)), name, known), str(source), name, rounding)

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


def in_units(array: xr.DataArray, like: xr.DataArray, path: str) -> xr.DataArray:
    """Return a variable in the units of another, lazily; as it is where one of them has no units.

    Args:
        array: The variable.
        like: The other variable.
        path: Of the file that `array` is from, for messages.

    Raises:
        CubeError: If the units do not convert.
    """
    if "units" not in array.attrs or "units" not in like.attrs:
        return array
    try:
        name = str(array.name)
        return in_units_of(array.to_dataset(), {name: str(like.attrs["units"])}, "the truth")[name]
    except CubeError as error:
        raise error if str(error).startswith(path) else CubeError(f"{path}: {error}") from error


def rounded(product: ScoredFile, like: xr.DataArray) -> float:
    """Return the largest change of a value of a filled file by rounding, in the units of the truth."""
    size, units = product.rounding
    return 0.0 if not size else abs(size * conversion(units, like.attrs.get("units", "1"))[0])


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
        index = places(array[dim].values, like[dim].values, str(dim))
        if (index < 0).any():
            lacking = like[dim].values[index < 0][0]
            first = str(lacking)[:10] if dim == "time" else f"{lacking:g}"
            raise CubeError(
                f"{path}: '{array.name}' lacks {(index < 0).sum()} values of {dim}, the first {first}"
                f"{_reach(array[dim].values, lacking, str(dim))}"
            )
        chosen[dim] = index
    # an index would make a copy of the whole variable
    if all(np.array_equal(i, np.arange(array.sizes[d])) for d, i in chosen.items()):
        return array
    return array.isel(chosen)


def _reach(values: np.ndarray, lacking: object, dim: str) -> str:
    """Return what a coordinate has instead of a value, for messages."""
    if not values.size:
        return ""
    if dim == "time":
        return f"; it has {str(values.min())[:10]} to {str(values.max())[:10]}"
    nearest = values[abs(values - lacking).argmin()]
    return f", the nearest {nearest:g}: bring the files to one grid"


def places(values: np.ndarray, wanted: np.ndarray, dim: str, tolerance: float | None = None) -> np.ndarray:
    """Return the index in `values` of each wanted value of a coordinate, (wanted,); -1 where none is near.

    Args:
        values: Of the coordinate, in any order.
        wanted: Other values of it.
        dim: Its name; longitudes that differ by 360 degrees are the same.
        tolerance: Largest difference; by default 0 days, DEGREES or METRES.
    """
    if tolerance is None:
        tolerance = {"time": 0.0, "lat": DEGREES, "lon": DEGREES}.get(dim, METRES)
    if not values.size:
        return np.full(wanted.size, -1)
    if dim == "time":
        values, wanted = (v.astype("datetime64[D]").astype(np.int64) for v in (values, wanted))
    elif dim == "lon":
        # 360 degrees that begin a hair before the first, so that rounding does not send it round the globe
        start = float(wanted.min()) - tolerance
        values, wanted = ((v.astype(np.float64) - start) % 360 for v in (values, wanted))
    # the nearest value is one of the two neighbours of where the wanted one would be inserted
    order = np.argsort(values, kind="stable")
    ranks = values[order]
    after = np.searchsorted(ranks, wanted).clip(0, len(ranks) - 1)
    before = (after - 1).clip(0)
    nearest = np.where(abs(ranks[before] - wanted) < abs(ranks[after] - wanted), before, after)
    index: np.ndarray = np.where(abs(ranks[nearest] - wanted) <= tolerance, order[nearest], -1)
    return index
