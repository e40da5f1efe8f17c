from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.ease import M09
from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_sm

GRID = M09.dataset({}, np.datetime64("2020-01-01"))
LAT, LON = GRID["lat"].values, GRID["lon"].values


def test_points_fill_the_part_of_the_grid_that_all_files_span(tmp_path):
    rows, columns = [1200, 1200, 1202], [3200, 3200, 3203]
    make_sm.smap_l3e_points(tmp_path, "2020-01-04", LAT[rows], LON[columns], [0.1, 0.3, 0.25])
    make_sm.smap_l3e_points(tmp_path, "2020-01-03", LAT[[1199, 1201]], LON[[3201, 3202]], [0.4, np.nan])
    cube = open_product("smap_l3e_points", tmp_path).load()
    assert cube["sm"].shape == (2, 4, 4)
    expected = np.full((2, 4, 4), np.nan)
    expected[0, 0, 1], expected[1, 1, 0], expected[1, 3, 3] = 0.4, 0.2, 0.25
    np.testing.assert_allclose(cube["sm"].values, expected, rtol=1e-6)
    assert ((cube["sm_reason"].values == Reason.OBSERVED) == np.isfinite(expected)).all()
    np.testing.assert_allclose(cube["lat"].values, LAT[1199:1203])
    np.testing.assert_allclose(cube["lon"].values, LON[3200:3204])


def test_points_of_another_grid_and_broken_file(tmp_path):
    make_sm.smap_l3e_points(tmp_path, "2020-01-03", LAT[[1200]], LON[[3200]], [0.4])
    make_sm.smap_l3e_points(tmp_path, "2020-01-04", [-30.0], [120.0], [0.4])
    with pytest.raises(SourceError, match=r"2020-01-04.*off the centres of EASE-Grid 2.0 cells of 9008 m"):
        open_product("smap_l3e_points", tmp_path).load()
    cube = open_product("smap_l3e_points", tmp_path, on_bad_file="skip").load()
    assert cube["sm_reason"].values.ravel().tolist() == [Reason.OBSERVED, Reason.FILE_SKIPPED]
    (tmp_path / "Western-Australia_2020-01-03.nc").write_text("")
    with pytest.raises(SourceError, match="no points of the 9 km"):
        open_product("smap_l3e_points", tmp_path)


@pytest.mark.shared_data
def test_real_lists():
    folder = shared_data() / "products" / "smap_l3e_pointlist"
    cube = open_product("smap_l3e_points", folder).load()
    for k, path in enumerate(sorted(folder.glob("*.nc"))):
        with netCDF4.Dataset(path) as file:
            lat, lon, sm = (file[n][:].filled(np.nan) for n in ("latitude", "longitude", "soil_moisture"))
        day = cube.isel(time=k)
        for point in range(0, len(sm), 97):
            same = (lat == lat[point]) & (lon == lon[point])
            row = int(np.abs(day["lat"].values - lat[point]).argmin())
            column = int(np.abs(day["lon"].values - lon[point]).argmin())
            assert day["sm"].values[row, column] == pytest.approx(sm[same].mean(), rel=1e-5)
        assert np.isfinite(day["sm"].values).sum() == len(set(zip(lat, lon, strict=True)))
