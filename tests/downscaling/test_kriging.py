"""`downscale krige` against PyKrige's own, and what PyKrige does not say: duplicates, missing values, swapped axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
from pykrige.ok import OrdinaryKriging
from pyproj import Transformer
from rasterio.transform import from_origin

from sgdsm.core import memory
from sgdsm.core.errors import ConfigError
from sgdsm.downscaling.kriging import Points, krige, merged, read_points
from sgdsm.downscaling.raster_grid import RasterGrid, grid_of, wkt_of

UTM = "EPSG:32632"
WEST, NORTH = 500_000.0, 6_650_000.0  # at 60 N a degree of longitude is half as long as one of latitude


def raster(path, south_first=False, crs=UTM, transform=None):
    """Write a grid of 8 x 10 cells of 1 km."""
    move = transform or from_origin(WEST, NORTH, 1000, 1000)
    if south_first:
        move = rasterio.Affine(1000, 0, WEST, 0, 1000, NORTH - 8000)
    with rasterio.open(path, "w", "GTiff", 10, 8, 1, crs=crs, transform=move, dtype="float32") as file:
        file.write(np.zeros((1, 8, 10), np.float32))
    return path


def wells(seed=0, count=40):
    """Return wells on a tilted plane with noise; the level rises to the north."""
    rng = np.random.default_rng(seed)
    x, y = WEST + rng.uniform(0, 10_000, count), NORTH - rng.uniform(0, 8000, count)
    level = 1e-3 * (y - NORTH) + 2e-4 * (x - WEST) + rng.normal(0, 0.05, count)
    return x, y, level


@pytest.mark.parametrize("geographic", [False, True])
def test_equals_pykrige_in_metres_for_points_in_degrees(tmp_path, geographic):
    x, y, level = wells()
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, y)
    table = pd.DataFrame({"date": "2019-06-01", "lon": lon, "lat": lat, "level": level})
    table.to_csv(tmp_path / "wells.csv", index=False)
    grid = grid_of(raster(tmp_path / "grid.tif"))
    if geographic:
        grid = RasterGrid(wkt_of("EPSG:4326", ""), 9.0, 59.99, 0.018, 0.009, 8, 10)
    points = read_points(str(tmp_path / "wells.csv"), "level", grid, ("date", "lon", "lat"), "EPSG:4326")
    found = krige(points, grid, "level", "m")
    gx, gy = np.meshgrid(grid.x(), grid.y())
    if geographic:
        _, south, east, north = grid.bounds
        local = Transformer.from_crs(
            "EPSG:4326", f"+proj=laea +lat_0={(south + north) / 2} +lon_0={(9 + east) / 2} +datum=WGS84", always_xy=True
        )
        (gx, gy), (x, y) = local.transform(gx, gy), local.transform(lon, lat)
    own = OrdinaryKriging(x, y, level, variogram_model="linear", nlags=6)
    estimate, variance = own.execute("points", gx.ravel(), gy.ravel())
    # degrees in the file and back are good to a micrometre
    np.testing.assert_allclose(found["level"].values.ravel(), estimate, atol=1e-9)
    np.testing.assert_allclose(found["level_std"].values.ravel() ** 2, variance, atol=1e-9)
    assert found["level_std"].values.min() > 0


def test_the_map_is_north_up_and_the_standard_error_is_kept(run_command, tmp_path):
    x, y, level = wells()
    pd.DataFrame({"date": "2019-06-01", "x": x, "y": y, "level": level}).to_csv(tmp_path / "wells.csv", index=False)
    raster(tmp_path / "north.tif")
    raster(tmp_path / "south.tif", south_first=True)
    for name in ("north", "south"):
        words = ("points=wells.csv", "value=level", f"like={name}.tif", f"output={name}.nc")
        code, _, err = run_command("downscale", "krige", *words)
        assert code == 0, err
    with xr.open_dataset(tmp_path / "north.nc") as found, xr.open_dataset(tmp_path / "south.nc") as other:
        assert found["groundwater_level"].dims == ("time", "y", "x")
        assert found["groundwater_level"].attrs["units"] == "m"
        # centres, not corners
        assert (float(found["x"][0]), float(found["y"][0])) == (WEST + 500, NORTH - 500)
        plane = 1e-3 * (found["y"] - NORTH) + 2e-4 * (found["x"] - WEST)
        assert np.corrcoef(found["groundwater_level"][0].values.ravel(), plane.values.ravel())[0, 1] > 0.99
        assert np.corrcoef(found["groundwater_level"][0].values[::-1].ravel(), plane.values.ravel())[0, 1] < 0
        np.testing.assert_array_equal(found["groundwater_level"], other["groundwater_level"])
        std = found["groundwater_level_std"].values
        assert 0 < std.min() < std.mean() < std.max()
    # a map of the project is a grid as well, to the last digit
    assert grid_of(tmp_path / "north.nc").bounds == grid_of(tmp_path / "north.tif").bounds


def test_duplicates_missing_values_and_few_places(run_command, tmp_path):
    x, y, level = wells(count=30)
    table = pd.DataFrame({"date": "2019-06-01", "x": x, "y": y, "level": level})
    # the first well twice, a value missing, a day with two places, one with equal values
    twice = table.iloc[:1].assign(level=level[0] + 0.2)
    lacking = table.iloc[1:2].assign(level=np.nan)
    few = table.iloc[:2].assign(date="2019-06-02")
    equal = table.assign(date="2019-06-03", level=1.5)
    pd.concat([table, twice, lacking, few, equal]).to_csv(tmp_path / "wells.csv", index=False)
    raster(tmp_path / "grid.tif")
    words = ("points=wells.csv", "value=level", "like=grid.tif", "output=out.nc")
    code, _, err = run_command("downscale", "krige", *words)
    assert code == 0, err
    assert err.count("have less than 3 places") == 1
    with xr.open_dataset(tmp_path / "out.nc") as found:
        maps = found["groundwater_level"].values
    assert np.isnan(maps[1]).all()
    assert (maps[2] == 1.5).all()
    assert level.min() - 1 < maps[0].min() < maps[0].max() < level.max() + 1
    few.to_csv(tmp_path / "wells.csv", index=False)
    code, _, err = run_command("downscale", "krige", *words[:3], "output=two.nc")
    assert code == 1
    assert "wells.csv: no day of 1 has values at 3 places or more" in err
    assert not (tmp_path / "two.nc").exists()
    place_x, _, values = merged(np.r_[x, x[0]], np.r_[y, y[0]], np.r_[level, level[0] + 0.2])
    np.testing.assert_allclose(values[place_x == x[0]], level[0] + 0.1)


def test_maps_that_do_not_fit_into_the_memory_are_refused_before_the_work(monkeypatch):
    x, y, level = wells(count=5)
    points = Points(np.repeat(np.array("2019-06-01", "datetime64[ns]"), 5), x, y, level)
    # 8 x 10 cells, values and standard errors of 8 bytes
    monkeypatch.setattr(memory, "free_gib", lambda: 1279 / 2**30)
    with pytest.raises(ConfigError, match=r"maps of 1 day of 8 x 10 cells: takes .* choose fewer days by time="):
        krige(points, RasterGrid(wkt_of(UTM, ""), WEST, NORTH, 1000, 1000, 8, 10), "level", "m")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x=y", "y=x"), "are x and y swapped?"),
        (("crs=EPSG:4326",), "is no place in its CRS"),
        (("crs=here",), "unknown CRS 'here'"),
        (("value=depth",), "no column 'depth'; there are date, x, y, level"),
        (("time=2020-01-01:2020-12-31",), "holds 2019-06-01 to 2019-06-01"),
        (("time=2020-13-01",), "expected FIRST:LAST"),
        (("variogram=linea",), "variogram='linea': expected one of linear"),
        (("like=wells.csv",), "wells.csv: expected a file ending in"),
        (("output=out.tif",), "expected a name that ends in .nc"),
        (("like=grid.nc", "output=./grid.nc"), "output=grid.nc: is one of the inputs; expected another name"),
    ],
)
def test_what_is_wrong_is_one_line(run_command, tmp_path, words, message):
    x, y, level = wells(count=5)
    pd.DataFrame({"date": "2019-06-01", "x": x, "y": y, "level": level}).to_csv(tmp_path / "wells.csv", index=False)
    raster(tmp_path / "grid.tif")
    coords = grid_of(tmp_path / "grid.tif").coords()
    xr.Dataset({"map": (("y", "x"), np.zeros((8, 10)))}, coords).to_netcdf(tmp_path / "grid.nc")
    before = (tmp_path / "grid.nc").read_bytes()
    given = {"points": "wells.csv", "value": "level", "like": "grid.tif", "output": "out.nc"}
    given |= dict(word.split("=") for word in words)
    code, _, err = run_command("downscale", "krige", *(f"{key}={value}" for key, value in given.items()))
    assert code != 0
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out.nc").exists()
    assert (tmp_path / "grid.nc").read_bytes() == before
