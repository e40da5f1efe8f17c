"""The fine stack: a Zarr store or GeoTIFFs, the same values, georeference to the last digit, days of the calendar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.downscaling.stack import days_of, grid_of, open_stack, windows_of
from sgdsm.sources.simulation.region import CRS

rasterio = pytest.importorskip("rasterio")
WEST, NORTH, PIXEL = 500_000.1, 5_700_000.3, 10.0
ROWS, COLUMNS = 40, 60
DAYS = ("2021-01-16", "2021-01-17")


def stack(seed: int = 0) -> xr.Dataset:
    """Two days of two predictors and a map, in memory."""
    rng = np.random.default_rng(seed)
    values = {name: rng.random((2, ROWS, COLUMNS)).astype(np.float32) for name in ("GRD", "LST_day")}
    values["GRD"][0, :3] = np.nan
    dims = ("time", "y", "x")
    arrays: dict[str, Any] = {name: (dims, array) for name, array in values.items()}
    arrays["clay"] = (dims[1:], rng.random((ROWS, COLUMNS)).astype(np.float32))
    made = xr.Dataset(
        arrays,
        {
            "time": np.array(DAYS, "datetime64[ns]"),
            "y": NORTH - (np.arange(ROWS) + 0.5) * PIXEL,
            "x": WEST + (np.arange(COLUMNS) + 0.5) * PIXEL,
        },
    )
    for name, units in (("GRD", "dB"), ("LST_day", "K"), ("clay", "%")):
        made[name].attrs = {"units": units, "source": f"sensor of {name}"}
    return made.assign_coords(spatial_ref=((), 0, {"crs_wkt": CRS}))


def write_map(path: Path, bands: dict[str, np.ndarray], units: str = "1", **tags: str) -> None:
    path.parent.mkdir(exist_ok=True)
    shape = {"height": ROWS, "width": COLUMNS, "count": len(bands), "dtype": "float32", "nodata": -9999.0}
    place = {"crs": CRS, "transform": rasterio.Affine(PIXEL, 0, WEST, 0, -PIXEL, NORTH)}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place) as file:
        for k, (name, values) in enumerate(bands.items(), 1):
            file.write(np.nan_to_num(values, nan=-9999.0), k)
            file.set_band_description(k, name)
        file.units = (units,) * len(bands)
        file.update_tags(**tags)


def write_folder(made: xr.Dataset, folder: Path) -> None:
    for name, variable in made.data_vars.items():
        maps = zip(DAYS, variable.values, strict=True) if "time" in variable.dims else [("", variable.values)]
        for day, values in maps:
            path = folder / (f"{name}_{day.replace('-', '')}.tif" if day else f"{name}.tif")
            write_map(path, {str(name): values}, variable.units, source=variable.source)


def test_a_store_and_geotiffs_give_the_same(tmp_path):
    made = stack()
    made.to_zarr(tmp_path / "fine.zarr", consolidated=False)
    write_folder(made, tmp_path / "maps")
    for day, k in zip(DAYS, (0, 1), strict=True):
        write_map(tmp_path / "days" / f"all_{day}.tif", {n: made[n].values[k] for n in ("GRD", "LST_day")})
    store, folder = open_stack(tmp_path / "fine.zarr"), open_stack(tmp_path / "maps")
    bands = open_stack(tmp_path / "days", pattern="all_{date}.tif")
    assert list(days_of(store).astype(str)) == list(days_of(folder).astype(str)) == list(DAYS)
    window = {"y": slice(1, 9, 3), "x": slice(50, 60)}
    for name in made.data_vars:
        for found in (store, folder, bands) if name != "clay" else (store, folder):
            np.testing.assert_array_equal(found[name].isel(window).values, made[name].isel(window).values)
            np.testing.assert_array_equal(found[name].values, made[name].values)
        assert store[name].attrs == folder[name].attrs | {"grid_mapping": "spatial_ref"}
    assert bands["GRD"].isel(time=1, y=3).values.shape == (COLUMNS,)
    # files say their corner, a store says centres
    assert grid_of(folder).transform == (WEST, PIXEL, 0.0, NORTH, 0.0, -PIXEL)
    np.testing.assert_allclose(grid_of(store).transform, grid_of(folder).transform, rtol=1e-12)
    one = open_stack(tmp_path / "maps", ["clay", "GRD"], time=("2021-01-17", ""))
    assert list(one.data_vars) == ["clay", "GRD"]
    np.testing.assert_array_equal(one["GRD"].values, made["GRD"].values[1:])
    covered = np.zeros((ROWS, COLUMNS), int)
    for window_rows, window_columns in windows_of(ROWS, COLUMNS, 16):
        covered[window_rows, window_columns] += 1
        y, x = grid_of(folder).centres(window_rows, window_columns)
        np.testing.assert_allclose(y, made["y"].values[window_rows])
        np.testing.assert_allclose(x, made["x"].values[window_columns])
    assert (covered == 1).all()


def damaged(folder: Path, kind: str) -> None:
    late, grd = "20210117", np.zeros((ROWS, COLUMNS), np.float32)
    if kind == "lacking":
        (folder / f"LST_day_{late}.tif").unlink()
    if kind == "late":
        write_map(folder / f"LST_day_{late}.tif", {"LST_day": grd}, "K", TIFFTAG_DATETIME="2021:01:18 00:00:00")
    if kind == "units":
        write_map(folder / f"GRD_{late}.tif", {"GRD": grd}, "1", source="sensor of GRD")
    if kind == "calendar":
        (folder / "GRD_20210230.tif").write_bytes(b"")
    if kind == "leap":
        (folder / "GRD_2021366.tif").write_bytes(b"")
    if kind == "truncated":
        (folder / "clay.tif").write_bytes(b"II*\0")
    if kind == "grid":
        with rasterio.open(folder / "clay.tif", "r+") as file:
            file.transform = rasterio.Affine(PIXEL, 0, WEST + 5, 0, -PIXEL, NORTH)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("lacking", r"no file of 'LST_day' on 1 of 2 days, the first is 2021-01-17 \(like LST_day_20210117.tif\)"),
        ("late", "its name says 2021-01-17, its tag TIFFTAG_DATETIME 2021-01-18"),
        ("units", "GRD_20210117.tif: units '1' of 'GRD', in GRD_20210116.tif it is otherwise"),
        ("calendar", "20210230 in its name is no day of the calendar"),
        ("leap", "2021366 in its name is no day of the calendar"),
        ("truncated", "clay.tif: cannot be read as a GeoTIFF"),
        ("grid", r"clay.tif: the transform \(500005.1, .* is not that of GRD_20210116.tif"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, kind, says):
    write_folder(stack(), tmp_path)
    damaged(tmp_path, kind)
    with pytest.raises(CubeError, match=says) as error:
        open_stack(tmp_path)
    assert "\n" not in str(error.value)


def test_a_store_that_is_no_stack_is_refused(tmp_path):
    made, number = stack(), iter(range(99))

    def says(changed: xr.Dataset, *words: Any, **settings: Any) -> str:
        path = tmp_path / f"{next(number)}.zarr"
        changed.to_zarr(path, consolidated=False)
        with pytest.raises((CubeError, ConfigError)) as error:
            open_stack(path, *words, **settings)
        return str(error.value)

    assert "no variable 'GRB' (did you mean 'GRD'?)" in says(made, ["GRB"])
    assert "no CRS: expected" in says(made.drop_vars("spatial_ref"))
    assert "'y' must fall" in says(made.isel(y=slice(None, None, -1)))
    assert "'x' has uneven steps" in says(made.isel(x=[0, 1, 3, 4]))
    assert "the first is 2021-01-16" in says(made.isel(time=[0, 0]))
    assert "2021-01-17, then 2021-01-16" in says(made.isel(time=[1, 0]))
    assert "holds no day" in says(made, time=("2022", ""))
    # the corner taken for the centre of the first pixel
    corners = made.assign_coords(spatial_ref=((), 0, {"crs_wkt": CRS, "GeoTransform": "500005.1 10 0 5699995.3 0 -10"}))
    assert "centres or corners?" in says(corners)
    with pytest.raises(CubeError, match="no such file"):
        open_stack(tmp_path / "absent.zarr")
    with pytest.raises(ConfigError, match=r"expected a name with \{date\}"):
        open_stack(tmp_path, pattern="maps.tif")
