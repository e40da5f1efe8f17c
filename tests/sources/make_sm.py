"""Small files in the real layout of soil-moisture products: names, groups, attributes, fill values, packing."""

from __future__ import annotations

from pathlib import Path

import h5py
import netCDF4
import numpy as np

COORDINATES = "/{0}/latitude{1} /{0}/longitude{1}"


def _smap_group(file: h5py.File, name: str, suffix: str, variables: dict[str, np.ndarray]) -> None:
    group = file.create_group(name)
    for variable, values in variables.items():
        data = group.create_dataset(variable + suffix, data=values, compression="gzip", shuffle=True)
        data.attrs["_FillValue"] = np.array(65534 if values.dtype == np.uint16 else -9999.0, values.dtype)
        data.attrs["coordinates"] = np.bytes_(COORDINATES.format(name, suffix))
        if variable == "soil_moisture":
            data.attrs["units"] = np.bytes_("cm**3/cm**3")
            data.attrs["valid_min"], data.attrs["valid_max"] = np.float32(0.02), np.float32(0.5)


def smap_l3(
    folder: Path,
    day: str,
    am: dict[tuple[int, int], tuple[float, int, int]],
    pm: dict[tuple[int, int], tuple[float, int, int]] | None = None,
    enhanced: bool = False,
    release: str = "R18290",
) -> Path:
    """A day of SPL3SMP (or _E); am, pm: (row, column) -> soil moisture, retrieval_qual_flag, surface_flag."""
    shape = (1624, 3856) if enhanced else (406, 964)
    path = folder / f"SMAP_L3_SM_P_{'E_' if enhanced else ''}{day}_{release}_001.h5"
    with h5py.File(path, "w") as file:
        file.create_group("Metadata/Extent")
        for overpass, cells in (("AM", am), ("PM", pm or {})):
            maps = {
                "soil_moisture": np.full(shape, -9999, np.float32),
                "retrieval_qual_flag": np.full(shape, 65534, np.uint16),
                "surface_flag": np.full(shape, 65534, np.uint16),
            }
            for cell, values in cells.items():
                for data, value in zip(maps.values(), values, strict=True):
                    data[cell] = value
            _smap_group(file, f"Soil_Moisture_Retrieval_Data_{overpass}", "_pm" if overpass == "PM" else "", maps)
    return path


def smap_l2(folder: Path, name: str, points: list[tuple[int, int, float, int, int]]) -> Path:
    """A half orbit of SPL2SMP; name: as '02801_A_20150811T013002'; points: row, column, sm, quality, surface flag."""
    path = folder / f"SMAP_L2_SM_P_{name}_R18290_001.h5"
    columns = list(zip(*points, strict=True))
    names = ("EASE_row_index", "EASE_column_index", "soil_moisture", "retrieval_qual_flag", "surface_flag")
    kinds = (np.uint16, np.uint16, np.float32, np.uint16, np.uint16)
    with h5py.File(path, "w") as file:
        file.create_group("Metadata")
        arrays = {n: np.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)}
        _smap_group(file, "Soil_Moisture_Retrieval_Data", "", arrays)
    return path
