from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_sm

SM = np.array([[0.1, np.nan, 0.3, np.nan], [np.nan, 0.2, np.nan, 0.4]], np.float32)
FLAG = np.array([[0, 1, 16, 3], [2, 0, 8, 32]], np.int8)


def test_values_and_flags(tmp_path):
    make_sm.c3s(tmp_path, "20140101", SM, FLAG)
    make_sm.c3s(tmp_path, "20140101", SM, FLAG, every="MONTHLY")  # in the same folder: left out
    cube = open_product("c3s", tmp_path).load()
    np.testing.assert_array_equal(cube["sm"].values[0], SM)
    assert cube["sm_reason"].values[0].tolist() == [
        [Reason.OBSERVED, Reason.SNOW, Reason.NOT_RECOMMENDED, Reason.SNOW],
        [Reason.DENSE_VEGETATION, Reason.OBSERVED, Reason.OUT_OF_RANGE, Reason.NOT_RECOMMENDED],
    ]
    assert cube["flag"].values[0].tolist() == FLAG.tolist()
    assert cube.attrs["product"] == "C3S soil moisture"
    assert cube.attrs["product_version"] == "v201801.0"


def test_active_is_percent(tmp_path):
    make_sm.c3s(tmp_path, "19910805", 100 * SM, np.where(np.isnan(SM), 127, 0).astype(np.int8), kind="ACTIVE")
    cube = open_product("c3s", tmp_path)
    assert cube["sm"].attrs["units"] == "percent"
    assert (cube["sm_reason"].values[0][np.isfinite(SM)] == Reason.OBSERVED).all()


def test_kinds_are_not_mixed(tmp_path):
    make_sm.c3s(tmp_path, "20140101", SM, FLAG)
    make_sm.c3s(tmp_path, "20140102", 100 * SM, FLAG, kind="ACTIVE")
    with pytest.raises(SourceError, match=r"ACTIVE-DAILY-20140102.*is SSMS-ACTIVE, .* is SSMV-COMBINED: expected"):
        open_product("c3s", tmp_path)


@pytest.mark.parametrize("every", ["DEKADAL", "MONTHLY"])
def test_means_are_asked_for(tmp_path, every):
    path = make_sm.c3s(tmp_path, "20170701", SM, FLAG, every=every)
    for where in (path, tmp_path):
        with pytest.raises(SourceError, match=rf"{every}-20170701.*not a daily file"):
            open_product("c3s", where)
    make_sm.c3s(tmp_path, "20170701", SM + 0.1, FLAG)
    cube = open_product("c3s", tmp_path, period=every.lower()).load()
    np.testing.assert_array_equal(cube["sm"].values[0], SM)
    assert (cube["sm_reason"].values[0] == np.where(np.isnan(SM), Reason.NO_DATA, Reason.OBSERVED)).all()
    assert str(cube["time"].values[0])[:10] == "2017-07-01"
    with pytest.raises(SourceError, match="period 'yearly', expected one of daily, dekadal, monthly"):
        open_product("c3s", tmp_path, period="yearly")


@pytest.mark.shared_data
@pytest.mark.parametrize("pattern", ["*DAILY-20140101*", "active1991/*19910810*"])
def test_real_files(pattern):
    folder = shared_data() / "products" / "c3s_sm"
    cube = open_product("c3s", folder / pattern).load()
    with netCDF4.Dataset(next(folder.glob(pattern))) as file:
        expected = file["sm"][0].filled(np.nan)
    np.testing.assert_array_equal(cube["sm"].values[0], expected)
    reason = cube["sm_reason"].values[0]
    assert (reason == Reason.OBSERVED).sum() == np.isfinite(expected).sum() > 5000
    assert (reason == Reason.SNOW).sum() > 100


@pytest.mark.shared_data
@pytest.mark.parametrize("period", ["dekadal", "monthly"])
def test_real_means(period):
    folder = shared_data() / "products" / "c3s_sm"
    cube = open_product("c3s", folder, period=period).load()
    with netCDF4.Dataset(next(folder.glob(f"*{period.upper()}*"))) as file:
        expected = file["sm"][0].filled(np.nan)
    np.testing.assert_array_equal(cube["sm"].values[0], expected)
    assert cube["time"].values.astype("datetime64[D]").astype(str).tolist() == ["2017-07-01"]
    assert (cube["sm_reason"].values == Reason.OBSERVED).sum() == np.isfinite(expected).sum() > 100_000
