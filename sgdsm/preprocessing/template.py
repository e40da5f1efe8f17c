"""A cube before its maps are made: names, attributes and chunks of its variables, and those that have no time."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError
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
    """Coordinates, static maps, and lazy arrays for all that has a time; static: as `static_maps` gives it."""
    import dask.array as da

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
            told = {k: v for k, v in REASON_ATTRS.items() if k != "missing"}
            add(f"{variable}_reason", told, Reason.NO_DATA)
            if f"{original}_uncertainty" in example:
                its = described(example, f"{original}_uncertainty", product)
                add(f"{variable}_uncertainty", {**its, "role": "uncertainty"})
    for name, feature in recipe.features.items():
        units = variables[feature.of][2]["units"]
        add(name, {"units": units, "long_name": _told(feature), "role": "dynamic"})
    for name, (values, attrs) in static.items():
        variables[name] = recipe.grid.dims, values.astype(np.float32), {**attrs, "role": "static"}
    variables["land"] = recipe.grid.dims, np.zeros(recipe.grid.shape, np.int8), dict(LAND)
    if "crs" in coords:
        for _, _, attrs in variables.values():
            attrs["grid_mapping"] = "crs"
    packing = {"units": f"days since {str(days[0])[:10]}", "dtype": "int32"}
    time = xr.Variable("time", days, {"standard_name": "time", "long_name": "day", "axis": "T"}, packing)
    return xr.Dataset(variables, {"time": time, **coords}, dict(GLOBAL))


def static_maps(recipe: Recipe, files: dict[str, Files], regridders: dict[str, Regridder]) -> dict[str, Any]:
    """Name -> map on the grid and attributes, of the static sources and of the terrain."""
    found: dict[str, Any] = {}
    for name, source in recipe.with_role("static"):
        original = files[name].map()
        for variable, its in source.variables.items():
            attrs = described(original, its, files[name].product)
            values = regridders[name].apply(known(original[its]), method_of(source, original[its]))
            found[variable] = values, attrs
            if variable == recipe.terrain:
                # on its own fine grid: slopes of averaged elevations are too gentle
                axes = (original["lat"].values, original["lon"].values)
                for key, fine in terrain(original[its].values, *axes)._asdict().items():
                    attrs = {"units": TERRAIN[key], "long_name": f"{key} of the terrain"}
                    found[key] = regridders[name].apply(fine, "mean"), attrs
    return found


def known(array: xr.DataArray) -> np.ndarray:
    """Values of an array, NaN where whole numbers have the one that stands for none (the attribute `missing`)."""
    if "missing" not in array.attrs:
        return array.values
    return np.where(array.values == array.attrs["missing"], np.float32(np.nan), array.values.astype(np.float32))


def method_of(source: Source, array: xr.DataArray) -> Method:
    """How a variable comes onto the grid."""
    return source.method or ("mode" if array.attrs.get("kind") == "class" else "mean")


def described(example: xr.Dataset, name: str, product: str) -> dict[str, Any]:
    """Attributes of a product's variable in the cube; ConfigError where it has no such variable."""
    if name not in example:
        others = ", ".join(map(str, example.data_vars))
        raise ConfigError(f"product {product} has no variable '{name}', expected one of {others}")
    kept = {k: v for k, v in example[name].attrs.items() if k in KEPT}
    if example[name].attrs.get("kind") == "amount":
        # sums of a day, or their means over several
        rain = "precipitation" in str(kept.pop("standard_name", ""))
        kept["units"] = f"{kept['units']} d-1"
        kept |= {"standard_name": "lwe_precipitation_rate"} if rain else {}
    kept.setdefault("units", "1")
    kept.setdefault("long_name", name.replace("_", " "))
    return {**kept, "source": product}


def _told(feature: Feature) -> str:
    if feature.kind == "range":
        return f"{feature.of} minus {feature.minus}"
    return f"mean of {feature.of} over {feature.days} maps"
