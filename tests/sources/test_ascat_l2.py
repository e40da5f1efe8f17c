from __future__ import annotations

import netCDF4
import numpy as np
import pytest
from pyproj import Transformer

from sgdsm.sources.readers.ease import M25
from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_more

N = np.nan


def swath(folder, name, places, **values):
    """A swath of one line whose points lie in the cells (row, column), 4 km off their centres."""
    degrees = Transformer.from_crs("EPSG:6933", "EPSG:4326", always_xy=True)
    x = np.array([M25.x[column] for _, column in places]) + 4000.0
    y = np.array([M25.y[row] for row, _ in places]) - 4000.0
    lon, lat = degrees.transform(x, y)
    one = {n: np.array([v], float) for n, v in values.items()}
    return make_more.ascat_l2(folder, name, np.array([lat]), np.array([lon]), **one)


def test_points_of_a_cell_become_their_mean(tmp_path):
    places = [(3, 4), (3, 4), (3, 4), (3, 5), (3, 5), (3, 6), (583, 1387)]
    swath(
        tmp_path,
        "METOPA 20170220041500",
        places,
        soil_moisture=[20, 40, 90, N, 30, N, 100],
        soil_moisture_error=[3, 5, 9, N, 4, N, 2],
        snow_cover_probability=[0, 50, 51, 99, 0, 255, 255],
        frozen_soil_probability=[0, 0, 99, N, 80, N, 0],
    )
    cube = open_product("ascat_l2", tmp_path).load()
    assert cube["sm"].shape == (1, 584, 1388)
    assert cube["sm"].attrs["units"] == "percent"
    assert cube["time"].values.astype("datetime64[s]").tolist() == [np.datetime64("2017-02-20T00:00:00").item()]
    np.testing.assert_allclose(cube["sm"].values[0, 3, 4:7], [30, 30, N], rtol=1e-6)
    np.testing.assert_allclose(cube["sm_uncertainty"].values[0, 3, 4:6], [4, 4], rtol=1e-6)
    # a rejected value tells more than the reason of a point without one
    assert cube["sm_reason"].values[0, 3, 3:7].tolist() == [Reason.NO_DATA, 0, Reason.FROZEN, Reason.NO_DATA]
    assert cube["sm"].values[0, -1, -1] == 100
    assert np.isfinite(cube["sm"].values).sum() == 3
    assert cube["flag"].values[0, 3, 3:6].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("snow_cover_probability", 51, Reason.SNOW),
        ("snow_cover_probability", 255, Reason.OBSERVED),
        ("frozen_soil_probability", 51, Reason.FROZEN),
        ("wetland_flag", 16, Reason.WATER),
        ("topography_flag", 21, Reason.TERRAIN),
        ("proc_flag1", 128, Reason.NOT_RECOMMENDED),
        ("proc_flag1", 255, Reason.NOT_RECOMMENDED),
        ("soil_moisture", 120, Reason.OUT_OF_RANGE),
    ],
)
def test_flags(tmp_path, variable, value, reason):
    swath(tmp_path, "METOPB 20170220041500", [(9, 9)], **{"soil_moisture": [10.0], variable: [value]})
    assert open_product("ascat_l2", tmp_path)["sm_reason"].values[0, 9, 9] == reason
    if variable == "topography_flag":
        cube = open_product("ascat_l2", tmp_path, largest_topography=21)
        assert cube["sm_reason"].values[0, 9, 9] == Reason.OBSERVED


def test_swaths_of_a_day_and_points_off_the_grid(tmp_path):
    swath(tmp_path, "METOPA 20170220041500", [(3, 4), (3, 5)], soil_moisture=[20, 30], proc_flag1=[0, 2])
    swath(tmp_path, "METOPB 20170220235900", [(3, 4), (3, 5)], soil_moisture=[40, 50])
    swath(tmp_path, "METOPB 20170221014000", [(3, 4)], soil_moisture=[60])
    lat, lon = np.array([[89.0, N, 0.01]]), np.array([[0.0, N, 180.0]])
    make_more.ascat_l2(tmp_path, "METOPA 20170222041500", lat, lon, soil_moisture=np.full((1, 3), 5.0))
    cube = open_product("ascat_l2", tmp_path).load()
    np.testing.assert_allclose(cube["sm"].values[:2, 3, 4:6], [[30, 50], [60, N]], rtol=1e-6)
    assert np.argwhere(np.isfinite(cube["sm"].values[2])).tolist() == [[291, 0]]


def test_a_pass_twice(tmp_path):
    path = swath(tmp_path, "METOPA 20170220041500", [(3, 4)], soil_moisture=[20])
    path.with_name(path.name.replace("eps_o_250", "eps_o_125")).write_bytes(path.read_bytes())
    with pytest.raises(SourceError, match="both hold one pass"):
        open_product("ascat_l2", tmp_path)


@pytest.mark.shared_data
def test_real_swath():
    folder = shared_data() / "products" / "ascat_l2"
    cube = open_product("ascat_l2", folder).load()
    assert str(cube["time"].values[0])[:10] == "2017-02-20"
    cells: dict[tuple[int, int], list[float]] = {}
    with netCDF4.Dataset(next(folder.glob("*.nc"))) as file:
        file.set_auto_mask(False)
        names = ("snow_cover_probability", "frozen_soil_probability", "wetland_flag", "topography_flag")
        lat, lon, sm, flag, *percents = (
            file[n][:].ravel() for n in ("latitude", "longitude", "soil_moisture", "proc_flag1", *names)
        )
    good = (sm <= 100) & (flag == 0)
    for values, limit in zip(percents, (50, 50, 15, 20), strict=True):
        good &= (values <= limit) | (values == 255)
    edges = [(a[1:] + a[:-1]) / 2 for a in (-cube["lat"].values, cube["lon"].values)]
    for k in np.flatnonzero(good):
        cell = np.searchsorted(edges[0], -lat[k]), np.searchsorted(edges[1], lon[k])
        cells.setdefault((int(cell[0]), int(cell[1])), []).append(float(sm[k]))
    observed = cube["sm_reason"].values[0] == Reason.OBSERVED
    assert abs(int(observed.sum()) - len(cells)) < 5
    assert len(cells) > 1000
    # the middle between two latitudes is not quite the edge between their rows
    same = [abs(float(cube["sm"].values[0][c]) - np.mean(v)) < 1e-3 for c, v in cells.items()]
    assert np.mean(same) > 0.995
    assert (cube["sm_reason"].values[0] == Reason.SNOW).sum() > 1000
