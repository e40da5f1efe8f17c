from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data

VALUES = np.array([[10, 20, -9999], [101, 0, 50]], np.float32)


def geotiff(path, values, crs="EPSG:4326", transform=None, nodata=None, scale=None):
    bands = values if values.ndim == 3 else values[None]
    profile = {"driver": "GTiff", "count": len(bands), "dtype": bands.dtype, "nodata": nodata, "crs": crs}
    shape = {"height": bands.shape[1], "width": bands.shape[2]}
    transform = transform or from_origin(66, 38, 0.125, 0.125)
    with rasterio.open(path, "w", **profile, **shape, transform=transform, compress="packbits") as file:
        file.write(bands)
        if scale:
            file.scales = [scale] * len(bands)
    return path


def test_geographic(tmp_path):
    geotiff(tmp_path / "sm_20170815_20170817.tif", VALUES, nodata=-9999)
    geotiff(tmp_path / "sm_20170814_20170816.tif", VALUES, nodata=-9999)
    cube = open_product("geotiff_stack", tmp_path, units="percent").load()
    assert cube["time"].dt.strftime("%m%d").values.tolist() == ["0814", "0815"]
    assert cube["sm"].dims == ("time", "lat", "lon")
    np.testing.assert_array_equal(cube["sm"].values[1], np.where(VALUES == -9999, np.nan, VALUES))
    assert cube["sm_reason"].values[0].tolist() == [[0, 0, Reason.NO_DATA], [Reason.OUT_OF_RANGE, 0, 0]]
    assert cube["lat"].values.tolist() == [37.9375, 37.8125]
    assert cube["lon"].values.tolist() == [66.0625, 66.1875, 66.3125]
    assert cube["sm"].attrs["units"] == "percent"
    assert "crs" not in cube.attrs


def test_projected_and_packed(tmp_path):
    packed = np.where(VALUES < 0, 255, VALUES * 2).astype(np.uint8)
    transform = from_origin(500000, 4000000, 1000, 1000)
    geotiff(tmp_path / "a_2017230.tif", np.stack([packed * 0, packed]), "EPSG:32643", transform, scale=0.5)
    options = {"variable": "ndvi", "units": "1", "date": r"_(\d{7})\.", "date_form": "%Y%j", "band": 2}
    cube = open_product("geotiff_stack", tmp_path, scale=0.01, nodata=255, **options).load()
    np.testing.assert_allclose(cube["ndvi"].values[0], np.where(VALUES < 0, np.nan, VALUES / 100), rtol=1e-6)
    assert cube["ndvi"].dims == ("time", "y", "x")
    assert cube["y"].values.tolist() == [3999500, 3998500]
    assert cube.attrs["crs"] == "EPSG:32643"
    assert list(cube.data_vars) == ["ndvi"]
    assert str(cube["time"].values[0])[:10] == "2017-08-18"


def test_upside_down(tmp_path):
    transform = Affine(0.125, 0, 66, 0, 0.125, 30)
    geotiff(tmp_path / "sm_20170814.tif", VALUES / 100, transform=transform, nodata=-99.99)
    cube = open_product("geotiff_stack", tmp_path).load()
    assert cube["lat"].values.tolist() == [30.1875, 30.0625]
    np.testing.assert_allclose(cube["sm"].values[0, 1, :2], [0.1, 0.2], rtol=1e-6)
    assert np.isnan(cube["sm"].values[0, 1, 2])


def test_refused(tmp_path):
    path = geotiff(tmp_path / "sm_20170814.tif", VALUES)
    with pytest.raises(SourceError, match="units '1' of soil moisture, expected 'm3 m-3' or 'percent'"):
        open_product("geotiff_stack", path, units="1")
    with pytest.raises(SourceError, match=r"sm_20170814.tif: band 3, found 1"):
        open_product("geotiff_stack", path, band=3)
    with pytest.raises(SourceError, match=r"sm_20170814.tif: no date in its name"):
        open_product("geotiff_stack", path, date=r"_(\d{4})_")
    path = geotiff(tmp_path / "sm_20170815.tif", VALUES, crs=None)
    with pytest.raises(SourceError, match="no CRS, or a rotated grid"):
        open_product("geotiff_stack", path)


@pytest.mark.shared_data
def test_real_stack():
    folder = shared_data() / "products" / "geotiff_stack_india_swi"
    cube = open_product("geotiff_stack", folder, units="percent", scale=100).load()
    days = cube["time"].dt.strftime("%Y%m%d").values.tolist()
    assert days == [f"201708{d}" for d in (14, 15, 16, 17, 21, 22, 23)]
    for k, path in enumerate(sorted(folder.glob("*.tif"))):
        with rasterio.open(path) as file:
            values = file.read(1)
            row, column = (int(a[0]) for a in np.nonzero(np.isfinite(values)))
            lon, lat = file.xy(row, column)
        np.testing.assert_allclose(cube["sm"].values[k], 100 * values, rtol=1e-5)
        assert cube["sm"].sel(lat=lat, lon=lon).values[k] == pytest.approx(100 * values[row, column], rel=1e-5)
        assert (cube["sm_reason"].values[k] == Reason.OBSERVED).sum() == np.isfinite(values).sum()
