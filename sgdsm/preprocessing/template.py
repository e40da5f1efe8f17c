"""A cube before its maps are made: names, attributes and chunks of its variables, and the maps without time."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.units import same_units
from sgdsm.preprocessing.features import HELD, terrain
from sgdsm.preprocessing.recipe import Feature, Recipe, Source
from sgdsm.preprocessing.regrid import Method, Regridder
from sgdsm.sources.readers.files import Files
from sgdsm.sources.readers.names import REASON_ATTRS, Reason

FLAG = "flag"
FLAG_ATTRS = {
    "role": "flag",
    "flag_values": np.arange(3, dtype=np.uint8),
    "flag_meanings": "composite interpolated held",
}
TERRAIN = {"slope": "degree", "northness": "1", "eastness": "1", "tpi": "m"}
LAND = {"role": "land", "long_name": "land cells, which can be filled", "units": "1"}
GLOBAL = {"Conventions": "CF-1.10", "title": "soil moisture and its covariates on one grid"}
KEPT = ("units", "standard_name", "long_name")


def template(recipe: Recipe, files: dict[str, Files], static: dict[str, Any], block_days: int) -> xr.Dataset:
    """Return coordinates, static maps, and lazy arrays for everything that has a time.

    Args:
        recipe: How to make the cube.
        files: Files of each source.
        static: What `static_maps` returns.
        block_days: Maps in a chunk.

    Raises:
        ConfigError: When a product has no such variable.
    """
    coords, days = dict(recipe.grid.coords()), recipe.days()
    dims, shape = ("time", *recipe.grid.dims), (len(days), *recipe.grid.shape)
    variables: dict[str, Any] = {}

    def add(name: str, attrs: dict[str, Any], fill: float = np.nan) -> None:
        dtype = "float32" if np.isnan(fill) else "uint8"
        variables[name] = dims, da.full(shape, fill, dtype=dtype, chunks=(block_days, *shape[1:])), attrs

    for name, source in recipe.with_role("target", "dynamic"):
        product, example = files[name].product, files[name].example()
        for variable, original in source.variables.items():
            add(variable, {**described(example, original, product), "role": source.role})
            if source.interpolate_days is not None:
                add(f"{variable}_{FLAG}", {**FLAG_ATTRS, "long_name": f"how {variable} came about"}, HELD)
            if source.role != "target":
                continue
            reason_attrs = {k: v for k, v in REASON_ATTRS.items() if k != "missing"}
            add(f"{variable}_reason", reason_attrs, Reason.NO_DATA)
            if f"{original}_uncertainty" in example:
                uncertainty_attrs = described(example, f"{original}_uncertainty", product)
                add(f"{variable}_uncertainty", {**uncertainty_attrs, "role": "uncertainty"})
    for name, feature in recipe.features.items():
        units = variables[feature.of][2]["units"]
        # only a feature of two variables has more than one: their units must be one
        if others := [n for n in feature.names if not same_units(variables[n][2]["units"], units)]:
            found = variables[others[0]][2]["units"]
            raise ConfigError(f"recipe: feature '{name}': '{feature.of}' is in '{units}', '{others[0]}' in '{found}'")
        add(name, {"units": units, "long_name": _long_name(feature), "role": "dynamic"})
    for name, (values, attrs) in static.items():
        variables[name] = recipe.grid.dims, values.astype(np.float32), {**attrs, "role": "static"}
    variables["land"] = recipe.grid.dims, np.zeros(recipe.grid.shape, np.int8), dict(LAND)
    # CF: each variable names its grid mapping
    if "crs" in coords:
        for _, _, attrs in variables.values():
            attrs["grid_mapping"] = "crs"
    # stored as days, so that any program can read the time
    packing = {"units": f"days since {str(days[0])[:10]}", "dtype": "int32"}
    time = xr.Variable("time", days, {"standard_name": "time", "long_name": "day", "axis": "T"}, packing)
    return xr.Dataset(variables, {"time": time, **coords}, dict(GLOBAL))


def static_maps(recipe: Recipe, files: dict[str, Files], regridders: dict[str, Regridder]) -> dict[str, Any]:
    """Return the maps of the static sources and of the terrain.

    Args:
        recipe: How to make the cube.
        files: Files of each source.
        regridders: For each source, from its grid to that of the cube.

    Returns:
        Name -> map on the grid, (rows, columns), and attributes.
    """
    maps: dict[str, Any] = {}
    for name, source in recipe.with_role("static"):
        original = files[name].map()
        for variable, original_name in source.variables.items():
            attrs = described(original, original_name, files[name].product)
            values = regridders[name].apply(known(original[original_name]), method_of(source, original[original_name]))
            maps[variable] = values, attrs
            if variable == recipe.terrain:
                # on its own fine grid: slopes of averaged elevations are too gentle
                axes = (original["lat"].values, original["lon"].values)
                for key, fine in terrain(original[original_name].values, *axes)._asdict().items():
                    attrs = {"units": TERRAIN[key], "long_name": f"{key} of the terrain"}
                    maps[key] = regridders[name].apply(fine, "mean"), attrs
    return maps


def known(array: xr.DataArray) -> np.ndarray:
    """Return the values of an array, NaN where whole numbers have the code of a missing value (attribute `missing`)."""
    if "missing" not in array.attrs:
        return array.values
    return np.where(array.values == array.attrs["missing"], np.float32(np.nan), array.values.astype(np.float32))


def method_of(source: Source, array: xr.DataArray) -> Method:
    """Return how a variable is put on the grid."""
    return source.method or ("mode" if array.attrs.get("kind") == "class" else "mean")


def described(example: xr.Dataset, name: str, product: str) -> dict[str, Any]:
    """Return the attributes of a product's variable in the cube.

    Args:
        example: A map of the product.
        name: Name of the variable in the product.
        product: Name of the product.

    Raises:
        ConfigError: When the product has no such variable.
    """
    if name not in example:
        others = ", ".join(map(str, example.data_vars))
        raise ConfigError(f"product {product} has no variable '{name}', expected one of {others}")
    kept = {k: v for k, v in example[name].attrs.items() if k in KEPT}
    if example[name].attrs.get("kind") == "amount":
        # sums of a day, or their means over several
        rain = "precipitation" in str(kept.pop("standard_name", ""))
        kept["units"] = f"{kept['units']} d-1"
        kept |= {"standard_name": "lwe_precipitation_rate"} if rain else {}
    # CF asks for units and names; '1' is what the rest of the package assumes without them
    kept.setdefault("units", "1")
    kept.setdefault("long_name", name.replace("_", " "))
    return {**kept, "source": product}


def _long_name(feature: Feature) -> str:
    if feature.kind == "range":
        return f"{feature.of} minus {feature.minus}"
    if feature.kind == "mean":
        return f"mean of {feature.of} and {feature.also}"
    return f"mean of {feature.of} over {feature.days} maps"
