from __future__ import annotations

import h5py
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.sources import make_sm

# row, column: value, retrieval_qual_flag, surface_flag
AM = {
    (10, 20): (0.20, 0, 0),
    (10, 21): (0.30, 8, 128),  # no freeze/thaw retrieval: recommended all the same
    (10, 22): (0.40, 1, 1 << 10),
    (10, 23): (0.10, 1, (1 << 4) + (1 << 3)),
    (10, 24): (0.15, 1, 1 << 3),
    (10, 25): (-9999, 15, 1 << 0),
    (10, 26): (-9999, 7, 1 << 8),
    (10, 27): (0.12, 1, (1 << 5) + (1 << 9)),
    (10, 28): (-9999, 7, 0),
}
PM = {(10, 20): (0.30, 0, 0), (10, 22): (0.25, 0, 0), (10, 23): (0.50, 1, 1 << 9), (11, 0): (0.05, 0, 0)}


def reason_of(cube, row=10):
    return {column: Reason(cube["sm_reason"].values[0, row, column]) for column in range(20, 30)}


def test_morning(tmp_path):
    make_sm.smap_l3(tmp_path, "20150401", AM, PM)
    cube = open_product("smap_l3", tmp_path, overpass="am").load()
    assert cube["sm"].dims == ("time", "y", "x")
    assert cube["sm"].shape == (1, 406, 964)
    assert reason_of(cube) == {
        20: Reason.OBSERVED,
        21: Reason.OBSERVED,
        22: Reason.DENSE_VEGETATION,
        23: Reason.RAIN,
        24: Reason.NOT_RECOMMENDED,
        25: Reason.WATER,
        26: Reason.FROZEN,
        27: Reason.SNOW,
        28: Reason.NO_DATA,
        29: Reason.NO_DATA,
    }
    sm = cube["sm"].values[0]
    assert sm[10, 22] == np.float32(0.4)
    assert np.isfinite(sm).sum() == 6
    assert cube["flag"].values[0, 10, 25] == 15
    assert cube["flag"].values[0, 0, 0] == cube["flag"].attrs["missing"]
    assert str(cube["time"].values[0])[:10] == "2015-04-01"
    assert cube["sm"].attrs["units"] == "m3 m-3"
    assert cube.attrs["crs"] == "EPSG:6933"
    assert cube["lat"].dims == ("y",)
    assert cube["y"].values[0] > cube["y"].values[-1]


def test_evening(tmp_path):
    make_sm.smap_l3(tmp_path, "20150401", AM, PM)
    sm = open_product("smap_l3", tmp_path, overpass="pm")["sm"].values[0]
    assert np.isfinite(sm).sum() == 4
    assert sm[11, 0] == np.float32(0.05)


def test_both_is_the_mean_of_what_is_recommended(tmp_path):
    make_sm.smap_l3(tmp_path, "20150401", AM, PM)
    cube = open_product("smap_l3", tmp_path).load()
    sm, reason = cube["sm"].values[0], reason_of(cube)
    assert sm[10, 20] == pytest.approx(0.25)
    assert sm[10, 22] == pytest.approx(0.25)  # that of the morning is rejected
    assert sm[10, 23] == pytest.approx(0.1)  # both are: the first is kept
    assert (reason[20], reason[22], reason[23], reason[25]) == (0, 0, Reason.RAIN, Reason.WATER)
    assert cube["flag"].values[0, 10, 22] == 0


def test_nine_kilometres(tmp_path):
    make_sm.smap_l3(tmp_path, "20200105", {(1000, 3000): (0.2, 0, 0)}, enhanced=True)
    cube = open_product("smap_l3", tmp_path, overpass="am")
    assert cube["sm"].shape == (1, 1624, 3856)
    assert cube["sm"][0, 1000, 3000] == np.float32(0.2)
    assert cube["x"].values[1] - cube["x"].values[0] == pytest.approx(9008.0552)


def test_wrong_option_and_wrong_file(tmp_path):
    path = make_sm.smap_l3(tmp_path, "20150401", AM)
    with pytest.raises(SourceError, match="overpass 'noon', expected am, pm or both"):
        open_product("smap_l3", tmp_path, overpass="noon")
    with h5py.File(path, "a") as file:  # as the first releases had it
        file.move("Soil_Moisture_Retrieval_Data_AM", "Soil_Moisture_Retrieval_Data")
    with pytest.raises(SourceError, match=r"20150401.*no group 'Soil_Moisture_Retrieval_Data_AM', found"):
        open_product("smap_l3", tmp_path, overpass="am")


def test_mixed_releases(tmp_path):
    make_sm.smap_l3(tmp_path, "20150401", AM)
    make_sm.smap_l3(tmp_path, "20150402", AM, release="R18240")
    open_product("smap_l3", tmp_path).load()
    make_sm.smap_l3(tmp_path, "20150403", AM, release="R19240")
    with pytest.raises(SourceError, match=r"20150403.*version 'R19', the others are of version 'R18'"):
        open_product("smap_l3", tmp_path).load()
