"""`downscale prepare`: what lands where and on which day, means, chunks, and the errors that it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr
import yaml

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.downscaling import prepare as course
from sgdsm.downscaling.fine_sources import Sentinel1, Sentinel2
from sgdsm.downscaling.prepare import interpolated
from sgdsm.downscaling.raster_grid import grid_of

WEST, NORTH, CRS = 500_000.0, 5_700_000.0, "EPSG:32632"
ROWS, COLUMNS, FACTOR = 40, 60, 10  # pixels of 10 m in cells of 100 m
DAYS = [str(day)[:10] for day in pd.date_range("2023-06-01", periods=7)]


def image(path, values, size=10.0, crs=CRS, west=WEST, north=NORTH, nodata=None, tags=None):
    """Write a GeoTIFF of one band."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values)
    move = rasterio.Affine(size, 0, west, 0, -size, north)
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1}
    with rasterio.open(path, "w", "GTiff", crs=crs, transform=move, dtype=values.dtype, nodata=nodata, **shape) as file:
        file.write(values, 1)
        file.update_tags(**(tags or {}))


def whole(value, dtype=np.float32):
    return np.full((ROWS, COLUMNS), value, dtype)


def make(folder):
    """Write small files of all kinds, and return a recipe of them."""
    rng = np.random.default_rng(0)
    # EVI falls from .4545 to .2 within 6 days; on 4 June the north is cloudy
    for day, nir in (("20230601", 4000), ("20230604", 5000), ("20230607", 2500)):
        for band, stored in (("B2", 1300), ("B4", 1500), ("B8", nir)):
            image(folder / f"s2/T32_{day}_N0509_{band}.tif", whole(stored, np.uint16))
        classes = whole(4, np.uint8)
        if day == "20230604":
            classes[:20] = 9
        image(folder / f"s2/T32_{day}_N0509_SCL.tif", classes[::2, ::2], size=20.0)
    for day in ("20230601", "20230607"):
        power = 0.05 * rng.gamma(4.4, 1 / 4.4, (ROWS, COLUMNS))
        image(folder / f"s1/{day}.tif", (10 * np.log10(power)).astype(np.float32))
    for k, day in enumerate(DAYS):
        # 100 m in another zone, larger than the region
        for name, value in (("day", 290 + k), ("night", 280 + 2 * k)):
            lst = np.full((24, 24), value, np.float32)
            image(folder / f"lst_{name}/{day}.tif", lst, 100.0, "EPSG:32633", WEST - 417_700, NORTH + 18_000)
    soil = np.linspace(10, 40, 20 * 26).reshape(20, 26).astype(np.float32)
    soil[0, 0] = -9999
    image(folder / "clay.tif", soil, 30.0, west=WEST - 45, north=NORTH + 60, nodata=-9999)
    rain = xr.DataArray(
        np.arange(7.0)[:, None, None] + np.arange(10)[:, None] * np.ones(12),
        {
            "time": pd.to_datetime(DAYS),
            # rows from the south
            "y": NORTH - 700 + 100 * (np.arange(10) + 0.5),
            "x": WEST - 300 + 100 * (np.arange(12) + 0.5),
        },
        ("time", "y", "x"),
        attrs={"units": "mm d-1"},
    )
    rain.to_dataset(name="rain").assign_attrs(crs=CRS).to_netcdf(folder / "rain.nc")
    sm = np.full((7, 4, 6), 0.2, np.float32) + 0.01 * np.arange(7, dtype=np.float32)[:, None, None]
    for day, values in zip(DAYS[1:], sm[1:], strict=True):
        image(folder / f"sm/{day}.tif", values, 100.0)
    return {
        "start": DAYS[0],
        "end": DAYS[-1],
        "grid": {"crs": CRS, "resolution_m": 10, "bounds": [WEST, NORTH - 400, WEST + 600, NORTH]},
        "coarse_m": 100,
        "fine_days": DAYS[1:6:2],
        "sources": {
            "S2": {
                "kind": "sentinel2",
                "files": "s2/*_{date}_N0509_{band}.tif",
                "variables": {"EVI": "evi", "LAI": "lai"},
            },
            "S1": {"kind": "sentinel1", "files": "s1/{date}.tif", "variables": {"GRD": 1}},
            "day": raster("lst_day/{date}.tif", {"LST_day": 1}, units="K"),
            "night": raster("lst_night/{date}.tif", {"LST_night": 1}, units="K"),
            "soil": raster("clay.tif", {"clay": 1}, units="%", role="static"),
            "rain": raster("rain.nc", {"preci": "rain"}),
            "sm": raster("sm/{date}.tif", {"SM": 1}, units="m3 m-3", role="target"),
        },
    }


def raster(files, variables, **more):
    return {"kind": "raster", "files": files, "variables": variables, **more}


def write(folder, recipe):
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return "recipe=recipe.yaml", "coarse=cube.nc", "fine=fine.zarr"


def test_values_days_means_and_chunks(run_command, tmp_path, monkeypatch):
    words = write(tmp_path, make(tmp_path))
    code, out, err = run_command("downscale", "prepare", *words)
    assert code == 0, err
    assert "data.target=SM data.dynamic=[EVI,LAI,GRD,LST_day,LST_night,preci] data.static=[clay]" in out
    cube, fine = xr.open_dataset(tmp_path / "cube.nc"), xr.open_zarr(tmp_path / "fine.zarr")
    # places: edges of the recipe, centres in the file, north first
    assert (float(fine["x"][0]), float(fine["y"][0])) == (WEST + 5, NORTH - 5)
    assert (float(cube["x"][0]), float(cube["y"][0])) == (WEST + 50, NORTH - 50)
    assert rasterio.crs.CRS.from_wkt(fine["spatial_ref"].attrs["crs_wkt"]) == rasterio.crs.CRS.from_string(CRS)
    assert [str(day)[:10] for day in fine["time"].values] == DAYS[1:6:2]
    assert fine["GRD"].encoding["chunks"] == (1, ROWS, COLUMNS)
    assert fine["clay"].dims == ("y", "x")
    assert {str(variable.dtype) for variable in (*fine.data_vars.values(), *cube.data_vars.values())} == {"float32"}
    # the same source for train and predict, and 1 km values that are means of those at 10 m
    for name in ("EVI", "LAI", "LST_day", "LST_night", "preci", "clay"):
        one = cube[name] if name == "clay" else cube[name].sel(time=fine["time"])
        means = fine[name].coarsen(y=FACTOR, x=FACTOR).mean()
        np.testing.assert_allclose(one.values, means.values, rtol=2e-6, err_msg=name)
        assert cube[name].attrs["source"] == fine[name].attrs["source"] != ""
        assert cube[name].attrs["units"] == fine[name].attrs["units"]
    # the optical image of 4 June counts where it is clear only
    first, last = (2.5 * (n - 0.05) / (n + 0.3 - 0.225 + 1) for n in (0.3, 0.15))
    line = np.linspace(first, last, 7)
    np.testing.assert_allclose(cube["EVI"].values[:, 0, 0], line, rtol=1e-5)
    peak = 2.5 * (0.4 - 0.05) / (0.4 + 0.3 - 0.225 + 1)
    np.testing.assert_allclose(cube["EVI"].values[[2, 3], 3, 0], [first + 2 / 3 * (peak - first), peak], rtol=1e-5)
    # days: nothing is a day off, rows are not upside down
    np.testing.assert_allclose(cube["LST_day"].values[:, 2, 2], 290 + np.arange(7), rtol=1e-6)
    np.testing.assert_allclose(cube["LST_night"].values[:, 2, 2], 280 + 2 * np.arange(7), rtol=1e-6)
    np.testing.assert_allclose(cube["preci"].values[3, :, 2], 3 + np.array([6, 5, 4, 3]), rtol=1e-6)
    # a target is not made up: its first day has no file
    assert np.isnan(cube["SM"][0]).all()
    np.testing.assert_allclose(cube["SM"][1:, 1, 1], 0.21 + 0.01 * np.arange(6), rtol=1e-5)
    # power, not dB, is averaged
    with rasterio.open(tmp_path / "s1/20230601.tif") as file:
        stored = file.read(1)[:FACTOR, :FACTOR].astype(float)
    assert float(cube["GRD"][0, 0, 0]) == pytest.approx(10 * np.log10((10 ** (stored / 10)).mean()), abs=1e-5)
    assert float(cube["GRD"][0, 0, 0]) > stored.mean() + 0.3
    assert float(fine["GRD"][0].std()) < 0.5 * stored.std()
    # 30 m to 10 m: the soil has its values, and the missing pixel made none
    assert 10 < float(fine["clay"].min()) < float(fine["clay"].max()) < 40
    # parts of an image do not show
    monkeypatch.setattr(course, "CHUNK", 32)
    monkeypatch.setattr(course, "BLOCK_DAYS", 3)
    code, _, err = run_command("downscale", "prepare", words[0], "coarse=other.nc", "fine=other.zarr")
    assert code == 0, err
    with xr.open_dataset(tmp_path / "other.nc") as other:
        for name in cube.data_vars:
            np.testing.assert_allclose(other[name], cube[name], rtol=1e-5, err_msg=str(name))
    other = xr.open_zarr(tmp_path / "other.zarr")
    for name in fine.data_vars:
        np.testing.assert_allclose(other[name], fine[name], rtol=1e-5, err_msg=str(name))
    cube.close()


def test_linear_in_time_within_the_largest_gap():
    images = [{"a": np.array([[1.0, 1, np.nan]])}, {"a": np.array([[np.nan, 3, 3]])}, {"a": np.array([[7.0, 9, 9]])}]
    days = np.arange("2023-01-01", "2023-01-10", dtype="datetime64[D]")
    found = dict(interpolated(images, days[[1, 3, 7]], days, 4))
    assert sorted(found) == list(range(1, 8))
    series = np.array([found[k]["a"][0] for k in range(1, 8)])
    assert np.isnan(series[1:6, 0]).all()  # 6 days between images
    assert series[[0, 6], 0].tolist() == [1, 7]
    np.testing.assert_allclose(series[:, 1], [1, 2, 3, 4.5, 6, 7.5, 9])
    np.testing.assert_allclose(series[:, 2], [np.nan, np.nan, 3, 4.5, 6, 7.5, 9])


def test_scenes_of_bands_and_qa60_whose_clear_value_is_declared_missing(tmp_path):
    folder = tmp_path / "B8 [1]"  # neither a band nor a pattern
    for band, stored in (("B2", 300), ("B4", 500), ("B8", 3000)):
        image(folder / f"{band}/T32_2021001_{band}.tif", whole(stored, np.uint16))
    flags = whole(0, np.uint16)
    flags[:, :10], flags[:, 10:20] = 1 << 10, 1 << 11
    image(folder / "QA60/T32_2021001_QA60.tif", flags, nodata=0)
    source = Sentinel2(files="{band}/T32_{date}_{band}.tif", variables={"EVI": "evi"}, mask="QA60", offset=0)
    grid = grid_of(folder / "B8/T32_2021001_B8.tif")
    source.open("S2", folder, grid)
    assert [str(day) for day in source.days] == ["2021-01-01"]
    found = source.fine(source.read(0, grid))["EVI"]
    assert np.isnan(found[:, :20]).all()
    np.testing.assert_allclose(found[:, 20:], 0.4545, atol=5e-5)


def test_reflectance_is_not_scaled_twice(tmp_path):
    def opened(**settings):
        source = Sentinel2(files="T32_{date}_{band}.tif", variables={"EVI": "evi"}, **settings)
        source.open("S2", tmp_path, grid)
        return source

    for band, value in (("B2", 0.03), ("B4", 0.05), ("B8", 0.3)):
        image(tmp_path / f"T32_2021001_{band}.tif", whole(value))
    image(tmp_path / "T32_2021001_SCL.tif", whole(4, np.uint8))
    grid = grid_of(tmp_path / "T32_2021001_B8.tif")
    for offset in (0, -1000):
        with pytest.raises(CubeError, match=r"_B8\.tif: stored .*already reflectance. give scale: 1 and offset: 0"):
            opened(offset=offset).read(0, grid)
    np.testing.assert_allclose(opened(scale=1, offset=0).read(0, grid)["evi"], 0.4545, atol=5e-5)
    # the file declares how it is scaled, which is done as it is read
    for band, stored in (("B2", 300), ("B4", 500), ("B8", 3000)):
        image(tmp_path / f"T32_2021001_{band}.tif", whole(stored, np.uint16))
        with rasterio.open(tmp_path / f"T32_2021001_{band}.tif", "r+") as file:
            file.scales = (1e-4,)
    with pytest.raises(ConfigError, match=r"declares the scale 0\.0001 and the offset 0"):
        opened(offset=0)
    np.testing.assert_allclose(opened(scale=1, offset=0).read(0, grid)["evi"], 0.4545, atol=5e-5)


def test_a_few_bright_pixels_are_no_power(tmp_path):
    stored = whole(-12)
    stored[:5, :5] = 3  # ships, at the border of a swath that ends here
    stored[:5, 5:20], stored[5:, :20] = 0, 0
    image(tmp_path / "20230601.tif", stored)
    source = Sentinel1(files="{date}.tif", variables={"GRD": 1}, speckle="none")
    grid = grid_of(tmp_path / "20230601.tif")
    source.open("S1", tmp_path, grid)
    part = source.fine(source.read(0, grid.part(slice(0, 20), slice(0, 20))))["GRD"]
    np.testing.assert_allclose(part[:5, :5], 3, rtol=1e-6)
    assert np.isnan(part[5:]).all()


def changed(recipe, key, value):
    """Return a recipe with a value at a place like 'sources.S2.files'; None removes it."""
    *outer, last = key.split(".")
    part = recipe
    for name in outer:
        part = part[name]
    part[last] = value
    if value is None:
        del part[last]
    return recipe


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sources.night.files", "lst_day/{date}.tif", "'LST_night' is read from the files of 'LST_day'"),
        ("sources.night.files", "copies/{date}.tif", "'LST_night' equals 'LST_day' everywhere"),
        ("sources.day.files", "late/{date}.tif", "source 'day': no map of 2023-06-01 among those of 2023-06-02"),
        ("sources.day.files", "lst_dai/{date}.tif", "source 'day': no file is named like"),
        ("sources.day.units", None, "the files tell no units of 'LST_day'"),
        ("sources.rain.units", "K", "units: K, but the file says mm d-1 of 'preci'"),
        ("sources.rain.variables", {"preci": "rian"}, "no variable 'rian' (did you mean 'rain'?)"),
        ("sources.S2.scale", 1, "are the stored numbers scaled?"),
        ("sources.S2.files", "s2/T32_{date}_N0509_*.tif", "no band 'B8'; its bands are"),
        ("sources.S2.bands", {"nir": "B9"}, "no file of B9; it has B2, B4, B8, SCL"),
        ("sources.S2.variables", {"EVI": "evy"}, "expected evi, lai, ndvi"),
        ("sources.S1.units", "1", "is it dB?"),
        ("sources.S1.files", "power/{date}.tif", "most values are above 0 dB: is it power?"),
        ("sources.S1.speckle_pixels", 4, "expected an odd number"),
        ("sources.S1.speckel", "lee", "unknown key 'speckel'"),
        ("sources.S1.max_gap_days", 0, "max_gap_days=0: expected 1 to 366"),
        ("sources.soil.files", "far.tif", "far.tif: lies beside the grid"),
        ("sources.soil.files", "fill.tif", "-9999"),
        ("sources.soil.files", "bare.tif", "bare.tif: no CRS"),
        ("sources.soil.kind", [1], "kind=[1]: expected one of"),
        ("sources.soil.kind", "map", "kind=map: expected one of sentinel2, sentinel1, raster"),
        ("grid.bounds", [WEST, NORTH - 450, WEST + 600, NORTH], "expected whole cells of 100 m apart"),
        ("grid.crs", "EPSG:4326", "its CRS is in degrees"),
        ("end", "2023-05-01", "expected a day from start=2023-06-01 on"),
        ("start", "June", "start=June: expected a date"),
        ("fine_days", ["2024-01-01"], "2024-01-01 is not within"),
        ("source", {}, "unknown key 'source' (did you mean 'sources'?)"),
    ],
)
def test_what_is_wrong_is_one_line(run_command, inputs, key, value, message):
    recipe = yaml.safe_load((inputs / "whole.yaml").read_text())
    code, _, err = run_command("downscale", "prepare", *write(inputs, changed(recipe, key, value)))
    assert code != 0
    assert message in err
    assert len(err.strip().splitlines()) == 1 or err.strip().splitlines()[-1].startswith("error")
    assert not (inputs / "cube.nc").exists()
    assert not (inputs / "fine.zarr").exists()


def test_a_file_that_is_there_is_not_overwritten(run_command, inputs):
    recipe = yaml.safe_load((inputs / "whole.yaml").read_text())
    words = write(inputs, recipe)
    before = (inputs / "rain.nc").read_bytes()
    for name in ("rain.nc", "./rain.nc"):
        code, _, err = run_command("downscale", "prepare", words[0], f"coarse={name}")
        assert code != 0
        assert "rain.nc: is there already: remove it, or choose another name" in err
    assert (inputs / "rain.nc").read_bytes() == before


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    recipe = make(folder)
    for k, day in enumerate(DAYS):
        lst = np.full((24, 24), 290 + k, np.float32)
        for name in ("copies", "late") if k else ("copies",):
            image(folder / name / f"{day}.tif", lst, 100.0, "EPSG:32633", WEST - 417_700, NORTH + 18_000)
    for day in ("20230601", "20230607"):
        image(folder / f"power/{day}.tif", whole(0.05))
    image(folder / "far.tif", whole(1), west=WEST + 90_000)
    image(folder / "fill.tif", np.r_[whole(-9999), whole(20) + np.arange(COLUMNS, dtype=np.float32)], north=NORTH + 200)
    image(folder / "bare.tif", whole(20), crs=None)
    (folder / "whole.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    return folder


@pytest.fixture
def inputs(files, tmp_path):
    """The folder of a test, with links to the files."""
    for path in files.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path
