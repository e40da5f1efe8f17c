from __future__ import annotations

import numpy as np
import pytest

from sgdsm.sources.files import SourceError, open_product

HEAD = "site,latitude,longitude,when,vwc\n"
NAMES = {"station": "site", "lat": "latitude", "lon": "longitude", "time": "when", "sm": "vwc"}


def test_daily_means_over_several_tables(tmp_path):
    (tmp_path / "a.csv").write_text(f"{HEAD}7,45.5,5.25,2020-01-01T00:00,0.1\n7,45.5,5.25,2020-01-01T12:00Z,0.3\n")
    (tmp_path / "b.csv").write_text(f"{HEAD}7,45.5,5.25,2020-01-03,\n8,46,6,2020-01-02,0.5\n")
    cube = open_product("station_csv", tmp_path, **NAMES, network="MINE")
    assert cube["station"].values.tolist() == ["MINE/7", "MINE/8"]
    np.testing.assert_allclose(cube["sm"], [[0.2, np.nan], [np.nan, 0.5]], rtol=1e-6)
    assert cube["lat"].values.tolist() == [45.5, 46]
    assert cube["sm"].attrs["units"] == "m3 m-3"


def test_what_is_wrong_is_said(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"{HEAD}7,45.5,5.25,2020-01-01,0.1\n")
    with pytest.raises(SourceError, match=r"a\.csv: no column \['station'"):
        open_product("station_csv", path)
    path.write_text(f"{HEAD}7,45.5,5.25,2020-01-01,31\n")
    with pytest.raises(SourceError, match="vwc=31, expected m3 m-3 from 0 to 1"):
        open_product("station_csv", path, **NAMES)
    path.write_text(f"{HEAD}7,45.5,5.25,2020-01-01,0.3\n7,45.5,5.5,2020-01-01,0.3\n")
    with pytest.raises(SourceError, match="station 7 is at 2 places"):
        open_product("station_csv", path, **NAMES)
    path.write_text(f"{HEAD}7,45.5,5.25,soon,0.3\n")
    with pytest.raises(SourceError, match=r"a\.csv: cannot be read"):
        open_product("station_csv", path, **NAMES)
