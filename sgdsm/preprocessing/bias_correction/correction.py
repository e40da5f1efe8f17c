"""A fitted correction: maps of every cell, trees if there are any, and its provenance; saved without pickles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import xgboost
from xarray.backends import BackendArray
from xarray.core import indexing

from sgdsm.core.axes import DAY
from sgdsm.core.cube import by_role, checked_cube, open_dataset
from sgdsm.core.errors import CubeError
from sgdsm.core.matching import in_units_of, warn_ranges
from sgdsm.core.validation import read_values
from sgdsm.preprocessing.bias_correction.maps import CellMaps
from sgdsm.preprocessing.bias_correction.residual_trees import features_of

CORRECTION = "correction"  # attribute of a corrected target
ROWS = 2**20  # values that the trees predict at once
KEYS = (
    "source_variable",
    "source_units",
    "source_correction",
    "reference_units",
    "method",
    "lower_bound",
    "upper_bound",
)


@dataclass
class Correction:
    """Maps of the cells of one grid, and trees for the residuals of the maps.

    Args:
        maps: Maps of (rows x columns) cells.
        coords: The two coordinates of the grid, by name.
        common_days: Number of values that each cell's map was fitted to, (rows, columns).
        covariates: Covariates of the trees, in their order.
        booster: The trees as UBJSON, empty without trees.
        about: Attributes of the file; they include the KEYS.
    """

    maps: CellMaps
    coords: dict[str, np.ndarray]
    common_days: np.ndarray
    covariates: list[str]
    booster: bytes
    about: dict[str, Any]

    def save(self, path: str | Path) -> None:
        """Write NetCDF (.nc) or Zarr (.zarr), whole or not at all."""
        dims, shape = tuple(self.coords), self.common_days.shape
        units = {"source": self.about["source_units"], "reference": self.about["reference_units"]}
        variables: dict[str, Any] = {}
        for kind in ("source", "reference"):
            knots = getattr(self.maps, kind).T.reshape(-1, *shape).astype(np.float32)
            attrs = {"units": units[kind], "long_name": f"knots of the map, {kind}", "_FillValue": np.float32(np.nan)}
            variables[f"{kind}_knots"] = (("knot", *dims), knots, attrs)
        attrs = {"units": "1", "long_name": "days that both have, which the map was fitted to"}
        variables["common_days"] = (dims, self.common_days.astype(np.int32), attrs)
        attrs = {"long_name": "trees of the residual, UBJSON of XGBoost", "covariates": json.dumps(self.covariates)}
        if self.booster:
            variables["booster"] = ("byte", np.frombuffer(self.booster, np.uint8), attrs)
        dataset = xr.Dataset(variables, self.coords, self.about)
        partial = Path(f"{path}.partial")
        if Path(path).suffix == ".zarr":
            dataset.to_zarr(partial, mode="w", consolidated=False)
        else:
            packed = {name: {"zlib": True, "complevel": 1} for name in variables}
            dataset.to_netcdf(partial, engine="netcdf4", encoding=packed)
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Correction:
        """Read what `save` has written.

        Args:
            path: File, or folder of a store.

        Raises:
            CubeError: When the file is no correction.
        """
        with open_dataset(path) as dataset:
            missing = [k for k in KEYS if k not in dataset.attrs]
            missing += [n for n in ("source_knots", "reference_knots", "common_days") if n not in dataset]
            if missing:
                raise CubeError(
                    f"{path}: no correction: lacks {', '.join(missing)}; expected what `correct fit` writes"
                )
            days = dataset["common_days"]
            knots = [dataset[f"{k}_knots"].values.reshape(-1, days.size).T for k in ("source", "reference")]
            if knots[0].shape != knots[1].shape:
                raise CubeError(f"{path}: {knots[0].shape} knots of the source, {knots[1].shape} of the reference")
            about = dict(dataset.attrs)
            maps = CellMaps(knots[0], knots[1], float(about["lower_bound"]), float(about["upper_bound"]))
            # a correction without trees has no such variable
            trees = "booster" in dataset
            booster = dataset["booster"].values.astype(np.uint8).tobytes() if trees else b""
            covariates = json.loads(dataset["booster"].attrs["covariates"]) if trees else []
            coords = {str(dim): dataset[dim].values for dim in days.dims}
            return cls(maps, coords, days.values, covariates, booster, about)

    def corrected(self, cube: xr.Dataset) -> xr.Dataset:
        """Return a cube whose target is corrected as it is read, a few days at a time.

        Units are converted to those of the fit.

        Args:
            cube: A cube on the grid of the correction.

        Returns:
            The cube; its target is in the reference's units, without an uncertainty.

        Raises:
            CubeError: When grid, covariates or earlier corrections of the target are not those of the fit, or units do
                not convert.
        """
        name, about = self.about["source_variable"], self.about
        cube = checked_cube(cube)
        check_grid(cube, self.coords, "the correction")
        check_stage(name, correction_of(cube[name]), about["source_correction"])
        missing = [n for n in self.covariates if n not in cube]
        if missing:
            raise CubeError(f"no variable '{missing[0]}': the trees need {', '.join(self.covariates)}")
        # older files hold the units of the target only
        known: dict[str, str | None] = {name: about["source_units"], **json.loads(about.get("variable_units", "{}"))}
        cube = in_units_of(cube, known, "the fit of the correction")
        warn_ranges(cube, self._ranges())
        old = cube[name]
        # the valid range was that of the uncorrected values
        attrs = {k: v for k, v in old.attrs.items() if k not in ("valid_min", "valid_max", "valid_range")}
        attrs |= {"units": about["reference_units"], CORRECTION: f"{about['method']} towards {about['reference']}"}
        # xarray's own way of reading lazily: no dask graph for thousands of days
        data = indexing.LazilyIndexedArray(_Corrected(self, cube))
        provenance = {f"correction_{k}": v for k, v in about.items() if k not in ("history", "Conventions")}
        # the product's uncertainty is that of the uncorrected values
        cube = cube.drop_vars(by_role(cube, "uncertainty"))
        return cube.assign({name: xr.Variable(old.dims, data, attrs)}).assign_attrs(provenance)

    def _ranges(self) -> dict[str, tuple[float, float]]:
        """Return the 1 % and 99 % quantiles of the values of the fit: of the target, and of the trees' covariates."""
        # files of before these were kept have the target alone
        kept = json.loads(self.about.get("variable_ranges", "{}"))
        ranges = {name: (float(kept[name][0]), float(kept[name][1])) for name in self.covariates if name in kept}
        knots = self.maps.source[np.isfinite(self.maps.source)]
        if knots.size:
            low, high = np.quantile(knots, (0.01, 0.99))
            ranges[self.about["source_variable"]] = (float(low), float(high))
        return ranges


def check_grid(cube: xr.Dataset, coords: dict[str, np.ndarray], whose: str) -> None:
    """Raise CubeError if a cube is not on the grid of two coordinates.

    Args:
        cube: A cube.
        coords: The two coordinates, by name.
        whose: Owner of the coordinates, for the message.

    Raises:
        CubeError: When a dimension is missing or has other values.
    """
    for dim, values in coords.items():
        if dim not in cube.dims:
            raise CubeError(f"dims {tuple(cube.sizes)}, {whose} has '{dim}': expected the same grid")
        given = cube[dim].values
        # a thousandth of a cell is rounding: files keep coordinates as float32
        width = abs(np.diff(values)).min() if len(values) > 1 else 1.0
        if given.shape != values.shape or abs(given - values).max() > 1e-3 * width:
            has, other = (f"{len(v)} from {v[0]:g} to {v[-1]:g}" for v in (given, values))
            raise CubeError(f"'{dim}' has {has}, {whose} {other}: expected the same grid (`prepare` makes one)")


def correction_of(target: xr.DataArray) -> str:
    """Return what a target was corrected by, '' if it was not."""
    return str(target.attrs.get(CORRECTION, ""))


def check_stage(name: str, correction: str, fitted: str) -> None:
    """Raise CubeError if a target has other earlier corrections than the target of the fit had.

    Args:
        name: Name of the target.
        correction: Its earlier correction, '' if none.
        fitted: That of the target of the fit.

    Raises:
        CubeError: When they differ.
    """
    if correction != fitted:
        has = f"is corrected already ({correction})" if correction else "is not corrected"
        wants = f"one that is ({fitted})" if fitted else "one that is not"
        raise CubeError(f"'{name}' {has}, the correction was fitted to {wants}")


class _Corrected(BackendArray):
    """The corrected target, (time, rows, columns) float32, computed when it is read."""

    def __init__(self, correction: Correction, cube: xr.Dataset) -> None:
        self.correction, self.cube = correction, cube
        old = cube[correction.about["source_variable"]]
        self.shape, self.dtype = old.shape, np.dtype(np.float32)
        # features of the trees hold the season
        self.days = days_of(cube)
        self.booster = None
        if correction.booster:
            self.booster = xgboost.Booster()
            self.booster.load_model(bytearray(correction.booster))

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        days = np.arange(self.shape[0])[key[0]]
        block = (
            self._block(slice(int(days.min()), int(days.max()) + 1)) if days.size else np.empty((0, *self.shape[1:]))
        )
        offset = days - days.min() if days.size else days
        chosen: np.ndarray = block[offset][..., key[1], key[2]].astype(np.float32)
        return chosen

    def _block(self, days: slice) -> np.ndarray:
        correction, cube = self.correction, self.cube
        old = read_values(cube[correction.about["source_variable"]][days])
        mapped = correction.maps.apply(old.reshape(len(old), -1)).reshape(old.shape)
        if self.booster is None:
            return mapped
        covariates = [read_values(cube[n][days] if "time" in cube[n].dims else cube[n]) for n in correction.covariates]
        # trees only where there is a mapped value
        day, row, column = np.nonzero(np.isfinite(mapped))
        for part in (slice(k, k + ROWS) for k in range(0, day.size, ROWS)):
            at = day[part], row[part], column[part]
            values = mapped[at]
            features = features_of(values, picked(covariates, *at), self.days[days][day[part]])
            residual = self.booster.inplace_predict(features)
            mapped[at] = np.clip(values + residual, correction.maps.lower, correction.maps.upper)
        return mapped


def picked(covariates: list[np.ndarray], day: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Return the values of covariates at some places.

    Args:
        covariates: (days, rows, columns) or (rows, columns) each.
        day: Position in time, (N,).
        row: (N,).
        column: (N,).

    Returns:
        (N, covariates) float32.
    """
    values_at = np.empty((day.size, len(covariates)), np.float32)
    for k, values in enumerate(covariates):
        values_at[:, k] = values[day, row, column] if values.ndim == 3 else values[row, column]
    return values_at


def days_of(cube: xr.Dataset) -> np.ndarray:
    """Return the days since 1970-01-01 of a cube's times, (T,) int."""
    days: np.ndarray = (cube["time"].values - np.datetime64(0, "ns")) // DAY
    return days
