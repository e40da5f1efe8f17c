from __future__ import annotations

import h5py
import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.sources.products import smap_l4
from sgdsm.sources.readers.ease import M09
from sgdsm.sources.readers.files import SourceError, find_files, open_product
from tests.sources import make_sm

RAIN = "precipitation_total_surface_flux"
NAMES = ["sm_surface", "sm_rootzone", "soil_temp_layer1", RAIN]
DAYS = np.array(["2015-04-01", "2015-04-02"], "datetime64[ns]")


def maps_of(number):
    random = np.random.default_rng(number).random((4, 4, 5)).astype(np.float32)
    found = dict(zip(NAMES, random * np.array([0.5, 0.5, 20, 1e-4], np.float32)[:, None, None], strict=True))
    found["soil_temp_layer1"] += 280
    found["sm_surface"][0, 0] = np.nan
    return found


def whole_days_of_files(folder, count=2):
    for day in range(count):
        for k in range(8):
            make_sm.smap_l4(folder, f"2015040{day + 1}T{1 + 3 * k:02d}3000", maps_of(8 * day + k))


def test_values_places_and_units(tmp_path):
    make_sm.smap_l4(tmp_path, "20150401T043000", maps_of(1))
    cube = open_product("smap_l4", tmp_path, variables=NAMES)
    assert cube["time"].values.astype(str).tolist() == ["2015-04-01T04:30:00.000000000"]
    for name, ours in zip(
        NAMES[:3], ("soil_water_surface", "soil_water_root_zone", "soil_temperature_layer_1"), strict=True
    ):
        np.testing.assert_array_equal(cube[ours][0], maps_of(1)[name])
    np.testing.assert_allclose(cube["precipitation"][0], 10800 * maps_of(1)[RAIN], rtol=1e-6)
    units = [cube[n].attrs["units"] for n in cube]
    assert units == ["m3 m-3", "m3 m-3", "K", "mm"]
    np.testing.assert_allclose(cube["y"], M09.y[600:604])
    np.testing.assert_allclose(cube["x"], M09.x[1000:1005])
    assert cube.attrs["crs"] == "EPSG:6933"


def test_the_whole_grid(tmp_path):
    values = np.full((1624, 3856), np.nan, np.float32)
    values[700, 1500] = 0.3
    make_sm.smap_l4(tmp_path, "20150401T013000", {"sm_surface": values}, slice(0, 1624), slice(0, 3856))
    sm = open_product("smap_l4", tmp_path)["soil_water_surface"]
    assert sm.shape == (1, 1624, 3856)
    assert np.flatnonzero(np.isfinite(sm.values)).tolist() == [700 * 3856 + 1500]


def test_what_is_outside_the_valid_range_is_missing(tmp_path):
    values = maps_of(1)["sm_surface"]
    values[1] = [-0.01, 0.0, 0.9, 0.91, -9999]
    make_sm.smap_l4(tmp_path, "20150401T013000", {"sm_surface": values})
    found = open_product("smap_l4", tmp_path)["soil_water_surface"].values[0, 1]
    np.testing.assert_array_equal(found, np.array([np.nan, 0, 0.9, np.nan, np.nan], np.float32))


def test_attributes_that_are_text(tmp_path):
    path = make_sm.smap_l4(tmp_path, "20150401T013000", maps_of(1))
    with h5py.File(path, "a") as file:
        attrs = file["Geophysical_Data/sm_surface"].attrs
        attrs["_FillValue"], attrs["valid_min"], attrs["valid_max"] = np.bytes_("-9999"), "0.1", np.array(["0.4"], "S")
    found = open_product("smap_l4", tmp_path)["soil_water_surface"].values[0]
    expected = maps_of(1)["sm_surface"]
    expected[(expected < np.float32(0.1)) | (expected > np.float32(0.4))] = np.nan
    np.testing.assert_array_equal(found, expected)


def test_daily(tmp_path):
    whole_days_of_files(tmp_path)
    files = find_files("smap_l4", tmp_path, variables=NAMES)
    daily = smap_l4.daily(files, np.append(DAYS, DAYS[-1] + np.timedelta64(1, "D")))
    assert daily["time"].values.tolist() == DAYS.tolist()
    for name, ours in zip(
        NAMES[:3], ("soil_water_surface", "soil_water_root_zone", "soil_temperature_layer_1"), strict=True
    ):
        expected = [np.mean([maps_of(8 * day + k)[name] for k in range(8)], 0) for day in range(2)]
        np.testing.assert_allclose(daily[ours], expected, rtol=1e-5)
    fallen = [10800 * np.sum([maps_of(8 * day + k)[RAIN] for k in range(8)], 0) for day in range(2)]
    np.testing.assert_allclose(daily["precipitation"], fallen, rtol=1e-5)


@pytest.mark.parametrize("how", ["gone", "truncated"])
def test_a_day_that_is_not_whole_is_no_mean(tmp_path, how):
    whole_days_of_files(tmp_path)
    path = next(tmp_path.glob("*20150402T073000*"))
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:3000])
    files = find_files("smap_l4", tmp_path)
    message = "2015-04-02 has 7 of 8 files" if how == "gone" else "20150402T073000.*cannot be read"
    with pytest.raises(SourceError, match=message):
        smap_l4.daily(files, DAYS)
    bad = []
    daily = smap_l4.daily(files, DAYS, "skip", bad)
    assert daily["time"].values.tolist() == DAYS[:1].tolist()
    assert len(bad) == 1


def test_what_is_wrong_is_said(tmp_path):
    path = make_sm.smap_l4(tmp_path, "20150401T013000", maps_of(1))
    with pytest.raises(ConfigError, match="did you mean 'sm_surface'"):
        open_product("smap_l4", path, variables=["sm_surfac"])
    with pytest.raises(SourceError, match="no variable 'snow_mass' in Geophysical_Data, there are precipitation_total"):
        open_product("smap_l4", path, variables=["snow_mass"])
    with h5py.File(path, "a") as file:
        file["x"][:] += 3000
    with pytest.raises(SourceError, match=r"off the centres of EASE-Grid 2\.0 cells of 9008 m"):
        open_product("smap_l4", path)
    with h5py.File(path, "a") as file:
        del file["x"]
    with pytest.raises(SourceError, match=r"maps of \(4, 5\) without x and y of that size, expected \(1624, 3856\)"):
        open_product("smap_l4", path)
    with h5py.File(path, "a") as file:
        del file["Geophysical_Data"]
    with pytest.raises(SourceError, match=r"no group 'Geophysical_Data', found .*expected a file of SPL4SMGP"):
        open_product("smap_l4", path)


def test_versions_are_not_mixed(tmp_path):
    make_sm.smap_l4(tmp_path, "20150401T013000", maps_of(1))
    make_sm.smap_l4(tmp_path, "20150401T043000", maps_of(2), version="Vv8010")
    with pytest.raises(SourceError, match="version 'Vv8', the others are of version 'Vv7'"):
        open_product("smap_l4", tmp_path).load()
    make_sm.smap_l4(tmp_path, "20150401T043000", maps_of(2), version="Vv7031")
    with pytest.raises(SourceError, match="both hold 2015-04-01T04:30"):
        open_product("smap_l4", tmp_path)
