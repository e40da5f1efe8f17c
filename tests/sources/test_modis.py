from __future__ import annotations

import numpy as np
import pytest
import rasterio

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import SourceError, open_product
from tests.conftest import shared_data
from tests.sources import make_cov


def test_global_grid(tmp_path):
    ndvi = np.array([[6000, -3000, 0, 10000], [-2000, 10001, 1, 2]], np.int16)
    layers = {"CMG 0.05 Deg 16 days NDVI": ndvi, "CMG 0.05 Deg 16 days NDVI std dev": ndvi + 1}
    layers["CMG 0.05 Deg 16 days EVI"] = ndvi // 2
    make_cov.modis_hdf(tmp_path / "MOD13C1.A2013257.061.2021234123456.hdf", layers)
    cube = open_product("modis", tmp_path)
    np.testing.assert_allclose(cube["ndvi"][0], [[0.6, np.nan, 0, 1], [-0.2, np.nan, 1e-4, 2e-4]], rtol=1e-6)
    assert str(cube["time"].values[0])[:10] == "2013-09-14"
    assert cube["lat"].values.tolist() == [45, -45]
    assert cube["lon"].values.tolist() == [-135, -45, 45, 135]
    assert sorted(cube) == ["evi", "ndvi"]
    assert list(open_product("modis", tmp_path, variables=["evi"])) == ["evi"]


def test_scales_of_the_other_layers(tmp_path):
    layers = {
        "LST_Day_CMG": np.array([[15000, 0]], np.uint16),
        "LST_Night_CMG": np.array([[7500, 7499]], np.uint16),
        "Albedo_BSA_shortwave": np.array([[1, 1]], np.int16),
        "Albedo_WSA_shortwave": np.array([[250, 32767]], np.int16),
        "Lai_500m": np.array([[35, 255]], np.uint8),
    }
    make_cov.modis_hdf(tmp_path / "X.A2013257.061.hdf", layers)
    cube = open_product("modis", tmp_path).isel(time=0, lat=0)
    expected = {"lst_day": 300, "lst_night": 150, "albedo": 0.25, "lai": 3.5}
    for name, value in expected.items():
        np.testing.assert_allclose(cube[name], [value, np.nan], rtol=1e-6, err_msg=name)
    assert cube["lst_day"].attrs["units"] == "K"


def test_tiles_become_one_map(tmp_path):
    values = {"h08v05": 1000, "h09v05": 2000, "h09v06": 3000}
    for day in ("A2013257", "A2013273"):
        for tile, value in values.items():
            stored = np.full((4, 4), value, np.int16)
            make_cov.modis_hdf(tmp_path / f"MOD13A2.{day}.{tile}.061.x.hdf", {"1 km 16 days NDVI": stored})
    cube = open_product("modis", tmp_path)
    assert cube["ndvi"].shape == (2, 8, 8)
    corners = cube["ndvi"].values[1, [0, 0, 7, 7], [0, 7, 0, 7]]
    np.testing.assert_allclose(corners, [0.1, 0.2, np.nan, 0.3], rtol=1e-6)
    # corner of tile h08v05 in the sinusoidal grid
    cell = 1111950.5196666666 / 4
    np.testing.assert_allclose(cube["x"][0] - cell / 2, -11119505.197, atol=1)
    np.testing.assert_allclose(cube["y"][0] + cell / 2, 4447802.079, atol=1)
    assert "sinu" in cube.attrs["crs"]


def test_quality_layers_screen(tmp_path):
    whole = np.full((2, 4), 5000, np.int16)
    # only the two lowest bits count: 4 = good with other bits set
    flags = np.array([[0, 1, 2, 3], [4, 5, 64, 65535]], np.uint16)
    layers = {"1 km 16 days NDVI": whole, "1 km 16 days VI Quality": flags, "1 km 16 days EVI": whole}
    make_cov.modis_hdf(tmp_path / "MOD13C1.A2013257.061.hdf", layers)
    good = open_product("modis", tmp_path, quality="good")
    for name in ("ndvi", "evi"):
        assert np.isfinite(good[name].values[0]).tolist() == [[True, False, False, False], [True, False, True, False]]
    assert np.isfinite(open_product("modis", tmp_path)["ndvi"].values).all()
    cases = {
        ("LST_Day_CMG", "lst_day"): ("QC_Day", [0, 1, 8, 255], [True, False, True, False]),
        ("LST_Night_CMG", "lst_night"): ("QC_Night", [0, 1, 8, 255], [True, False, True, False]),
        ("Lai_500m", "lai"): ("FparLai_QC", [0, 1, 8, 157], [True, False, True, False]),
        ("Albedo_WSA_shortwave", "albedo"): ("BRDF_Quality", [0, 2, 3, 255], [True, True, False, False]),
    }
    for (layer, name), (quality, codes, kept) in cases.items():
        kind = np.uint8 if name == "lai" else np.uint16
        stored = np.full((2, 4), {"lai": 30, "albedo": 300}.get(name, 15000), kind)
        path = tmp_path / f"{name}.A2013257.061.hdf"
        make_cov.modis_hdf(path, {layer: stored, quality: np.array([codes, codes], np.uint8)})
        found = open_product("modis", path, variables=[name], quality="good")[name].values[0]
        assert np.isfinite(found[0]).tolist() == kept, name
    make_cov.modis_hdf(tmp_path / "X.A2013257.061.hdf", {"LST_Day_CMG": np.full((2, 4), 15000, np.uint16)})
    with pytest.raises(SourceError, match=r"no quality layer of lst_day .*: quality=any takes all"):
        open_product("modis", tmp_path / "X.A2013257.061.hdf", quality="good")
    with pytest.raises(ConfigError, match="quality='best': expected one of good, any"):
        open_product("modis", tmp_path / "X.A2013257.061.hdf", quality="best")


def test_quality_of_images_is_beside_them(tmp_path):
    head, tail = "MOD11A1.061_", "_doy2020001_aid0001.tif"
    make_cov.image(tmp_path / f"{head}LST_Day_1km{tail}", np.full((2, 3), 15000, np.uint16))
    with pytest.raises(SourceError, match="no image of its quality beside it, with QC_Day in its name"):
        open_product("modis", tmp_path, quality="good")["lst_day"].load()
    make_cov.image(tmp_path / f"{head}QC_Day{tail}", np.array([[0, 1, 2], [3, 4, 17]], np.uint8))
    found = open_product("modis", tmp_path, quality="good")["lst_day"].values[0]
    assert np.isfinite(found).tolist() == [[True, False, False], [False, True, False]]
    assert np.isfinite(open_product("modis", tmp_path)["lst_day"].values).all()


def test_what_is_wrong_is_said(tmp_path):
    make_cov.image(tmp_path / "MODIS_2013-09-14.tif", np.ones((2, 3), np.int16))
    with pytest.raises(SourceError, match="its name contains none of ndvi"):
        open_product("modis", tmp_path)
    with pytest.raises(ConfigError, match="did you mean 'ndvi'"):
        open_product("modis", tmp_path, variables=["nvdi"])
    (tmp_path / "MOD13C1.A2013257.061.hdf").write_bytes(b"no HDF")
    with pytest.raises(SourceError, match=r"061\.hdf: cannot be read"):
        open_product("modis", tmp_path / "MOD13C1.A2013257.061.hdf")


@pytest.mark.shared_data
def test_real_images():
    folder = shared_data() / "products" / "modis_mod13q1_jp2"
    cube = open_product("modis", folder)
    paths = sorted(folder.glob("*.jp2"))
    assert cube["time"].dt.strftime("%Y-%m-%d").values.tolist() == [p.stem[-10:] for p in paths]
    with rasterio.open(paths[1]) as file:
        raw, left, top = file.read(1).astype(float), file.bounds.left, file.bounds.top
    expected = np.where((raw >= -2000) & (raw <= 10000), raw / 1e4, np.nan)
    assert np.isnan(expected).any()
    np.testing.assert_allclose(cube["ndvi"][1], expected, atol=1e-6)
    np.testing.assert_allclose(cube["x"][0], left + 231.65635826 / 2)
    np.testing.assert_allclose(cube["y"][0], top - 231.65635826 / 2)
    assert "Sinusoidal" in cube.attrs["crs"]
