"""Fill values that a file does not declare are refused before arithmetic can hide them; honest data pass."""

from __future__ import annotations

import h5py
import netCDF4
import numpy as np
import pytest

from sgdsm.sources.products import era5, era5_land
from sgdsm.sources.readers.files import SourceError, find_files, open_product
from sgdsm.sources.readers.packed import unpacked
from tests.sources import make_cov

HOUR = np.timedelta64(1, "h")
START = np.datetime64("2020-06-01T00", "ns")
DAYS = np.array(["2020-06-01"], "datetime64[ns]")
NEVER_NEGATIVE = ["tp", "sf", "ro", "ssrd", "strd"]


def stamps(count):
    return START + HOUR * np.arange(count)


def with_fills(values, fill=-9999.0, share=0.05):
    """The values with a fill value in 5 % of the cells."""
    values = np.array(values, np.float32)
    values[np.random.default_rng(9).random(values.shape) < share] = fill
    return values


def rain(count):
    """Hourly amounts, m, mostly zero."""
    amounts = np.random.default_rng(1).exponential(1e-3, (count, 4, 5))
    return np.where(amounts < 1e-3, 0, amounts).astype(np.float32)


def static(folder, values, dtype="f4", **attributes):
    path = folder / "static.nc"
    with netCDF4.Dataset(path, "w") as file:
        rows, columns = values.shape
        for name, size in (("lat", rows), ("lon", columns)):
            file.createDimension(name, size)
            variable = file.createVariable(name, "f8", (name,))
            variable.units = "degrees_north" if name == "lat" else "degrees_east"
            variable[:] = np.linspace(10, 0, size) if name == "lat" else np.linspace(0, 10, size)
        variable = file.createVariable("v", dtype, ("lat", "lon"))
        variable.setncatts(attributes)
        variable[:] = values
    return path


@pytest.mark.parametrize("name", NEVER_NEGATIVE)
@pytest.mark.parametrize("product", ["era5", "era5_land"])
def test_amounts_that_are_never_negative(tmp_path, product, name):
    path = make_cov.era5(tmp_path / "a.nc", stamps(25), {name: with_fills(rain(25))})
    with pytest.raises(SourceError, match=rf"{path.name}: variable '{name}' holds -9999 \d+ times"):
        open_product(product, tmp_path, variables=[name]).load()


@pytest.mark.parametrize("name", ["t2m", "tp"])
def test_daily_maps(tmp_path, name):
    values = {"t2m": 280 + 10 * np.random.default_rng(0).random((25, 4, 5)), "tp": rain(25)}[name]
    make_cov.era5(tmp_path / "a.nc", stamps(25), {name: with_fills(values)})
    files = find_files("era5", tmp_path)
    with pytest.raises(SourceError, match=rf"a\.nc: variable '{name}' holds -9999 \d+ times"):
        era5.daily(files, DAYS)
    bad: list[str] = []
    daily = era5.daily(files, DAYS, on_bad_file="skip", bad=bad)
    assert "a.nc" in bad[0]
    assert daily.isnull().all().to_array().all()


def test_daily_statistics(tmp_path):
    maps = {"t2m": with_fills(np.full((1, 4, 5), 280.0), share=0.2)}
    make_cov.era5(tmp_path / "a_daily_mean.nc", DAYS, maps)
    with pytest.raises(SourceError, match="holds -9999"):
        era5_land.daily(find_files("era5_land", tmp_path, daily_statistics=True), DAYS)


def test_honest_rain_and_temperature_pass(tmp_path):
    make_cov.era5(tmp_path / "a.nc", stamps(25), {"tp": rain(25), "t2m": np.full((25, 4, 5), 280.0, np.float32)})
    files = find_files("era5", tmp_path)
    assert np.isfinite(era5.daily(files, DAYS).to_array()).all()
    assert np.isfinite(files.open().load().to_array()).all()


def test_map_without_time(tmp_path):
    slope = np.random.default_rng(0).uniform(0, 30, (20, 20))
    path = static(tmp_path, with_fills(slope))
    with pytest.raises(SourceError, match=r"static\.nc: variable 'v' holds -9999 \d+ times"):
        open_product("netcdf_grid", path, variables={"slope": "v"})
    with pytest.raises(SourceError, match=r"static\.nc: variable 'v' holds -9999 \d+ times"):
        find_files("netcdf_grid", path, variables={"slope": "v"}).map()


def test_map_that_declares_its_fill_value(tmp_path):
    values = with_fills(np.full((20, 20), 10.0))
    path = static(tmp_path, values, missing_value=np.float32(-9999))
    found = open_product("netcdf_grid", path, variables={"slope": "v"})["slope"]
    assert int(found.isnull().sum()) == int((values == -9999).sum())


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5])
def test_elevation_of_255_m_is_no_fill_value(tmp_path, share):
    elevation = with_fills(np.random.default_rng(0).uniform(100, 400, (20, 20)).round(), 255.0, share)
    np.testing.assert_array_equal(
        np.sort(open_product("dem", static(tmp_path, elevation, "i2"))["elevation"], None), np.sort(elevation, None)
    )


def test_elevation_with_undeclared_fill_value(tmp_path):
    elevation = with_fills(np.random.default_rng(0).uniform(100, 400, (20, 20)).round(), -32768)
    with pytest.raises(SourceError, match="holds -32768"):
        open_product("dem", static(tmp_path, elevation, "i2"))


def test_class_codes_are_no_fill_values(tmp_path):
    classes = with_fills(np.random.default_rng(0).integers(0, 17, (20, 20)), 255)
    path = static(tmp_path, classes, "u1", flag_values=np.array([0, 255], np.uint8), flag_meanings="a b")
    assert (open_product("class_map", path)["land_cover"] == 255).any()
    assert (open_product("netcdf_grid", path, variables={"land_cover": "v"})["land_cover"] == 255).any()


def test_a_map_of_few_values_passes(tmp_path):
    values = np.array([[0.0, 0.0], [0.0, 1.0]], np.float32)
    found = open_product("netcdf_grid", static(tmp_path, values), variables={"mask": "v"})["mask"]
    np.testing.assert_array_equal(np.sort(found, None), np.sort(values, None))


def test_soil_fractions(tmp_path):
    path = static(tmp_path, with_fills(np.full((20, 20), 40.0)))
    with pytest.raises(SourceError, match="holds -9999"):
        open_product("soil", path, maps={"sand": "v"})


def test_geotiff_that_is_scaled(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    values = with_fills(np.random.default_rng(0).integers(500, 4000, (20, 20))).astype(np.int16)
    form = {"driver": "GTiff", "width": 20, "height": 20, "count": 1, "dtype": "int16", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "a_20200101.tif", "w", transform=rasterio.Affine(1, 0, 0, 0, -1, 20), **form) as file:
        file.write(values, 1)
    options = {"variable": "ndvi", "units": "1", "scale": 1e-4}
    with pytest.raises(SourceError, match=r"a_20200101\.tif: .*holds -9999 .*nodata"):
        open_product("geotiff_stack", tmp_path, **options).load()
    found = open_product("geotiff_stack", tmp_path, nodata=-9999.0, **options)["ndvi"].load()
    assert int(found.isnull().sum()) == int((values == -9999).sum())


def test_rain_of_smap_l4(tmp_path):
    path = tmp_path / "SMAP_L4_SM_gph_20150401T013000_Vv7032_001.h5"
    values = with_fills(np.zeros((1624, 3856), np.float32))
    with h5py.File(path, "w") as file:
        file["Geophysical_Data/precipitation_total_surface_flux"] = values
    with pytest.raises(SourceError, match="holds -9999"):
        open_product("smap_l4", path, variables=["precipitation_total_surface_flux"]).load()


def test_values_that_a_product_documents_as_missing():
    raw = np.array([1.0, -999.0, 3.0], np.float32)
    assert np.isnan(unpacked(raw, {}, missing=(-999.0,))).tolist() == [False, True, False]
