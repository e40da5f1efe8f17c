"""What is wrong with a folder of files is said in one line that names the file."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.sources.readers.files import SourceError, find_files, open_product, products
from sgdsm.sources.readers.names import north_up
from tests.sources import make


def test_products_and_their_misspelling(tmp_path):
    assert "esa_cci" in products()
    with pytest.raises(SourceError, match="did you mean 'esa_cci'"):
        open_product("esa_ccy", tmp_path)


def test_no_files(tmp_path):
    with pytest.raises(SourceError, match="nothing: no such file or folder"):
        open_product("esa_cci", tmp_path / "nothing")


def test_unknown_option(tmp_path):
    make.esa_cci(tmp_path, "20160101")
    with pytest.raises(SourceError, match="colour"):
        open_product("esa_cci", tmp_path, colour="red")


def break_file(path, how, folder):
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("<html>404</html>")
    elif how == "mis-dated":
        make.esa_cci(folder, "20160102", inside="20160105")
    elif how == "mis-gridded":
        make.esa_cci(folder, "20160102", sm=np.zeros((5, 10), np.float32))
    elif how == "mixed versions":
        path.unlink()
        make.esa_cci(folder, "20160102", version="06.1")


BROKEN = {
    "truncated": "cannot be read",
    "empty": "is empty",
    "text": "cannot be read",
    "mis-dated": "holds 2016-01-05T00:00, expected 2016-01-02T00:00",
    "mis-gridded": "another grid",
    "mixed versions": "version '06.1', the others are of version '05.2'",
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_file_is_named(tmp_path, how):
    for day in ("20160101", "20160102", "20160103"):
        path = make.esa_cci(tmp_path, day)
    break_file(tmp_path / path.name.replace("20160103", "20160102"), how, tmp_path)
    cube = open_product("esa_cci", tmp_path)
    with pytest.raises(SourceError, match=BROKEN[how]) as error:
        cube.load()
    assert "20160102" in str(error.value)
    assert "\n" not in str(error.value)
    cube = open_product("esa_cci", tmp_path, on_bad_file="skip").load()
    assert np.isfinite(cube["sm"].values).all((1, 2)).tolist() == [True, False, True]
    assert (cube["sm_reason"].values[1] == 13).all()
    assert not np.isfinite(cube["sm"].values[1]).any()


def test_duplicated_day(tmp_path):
    make.esa_cci(tmp_path, "20160101")
    make.esa_cci(tmp_path, "20160101", kind="PASSIVE")
    with pytest.raises(SourceError, match="both hold 2016-01-01"):
        open_product("esa_cci", tmp_path)


def test_first_file_broken(tmp_path):
    make.esa_cci(tmp_path, "20160101").write_bytes(b"")
    make.esa_cci(tmp_path, "20160102")
    with pytest.raises(SourceError, match="is empty"):
        open_product("esa_cci", tmp_path).load()
    cube = open_product("esa_cci", tmp_path, on_bad_file="skip").load()
    assert np.isfinite(cube["sm"].values).all((1, 2)).tolist() == [False, True]


def test_load_gives_the_days_asked_for(tmp_path):
    for day in ("20160101", "20160103", "20160104"):
        make.esa_cci(tmp_path, day)
    files = find_files("esa_cci", tmp_path)
    asked = np.array(["2016-01-02", "2016-01-03"], "datetime64[ns]")
    assert files.load(asked)["time"].values.tolist() == asked[1:].tolist()
    assert files.load(asked[:1]).sizes["time"] == 0


@pytest.mark.parametrize(
    ("lon", "expected"),
    [
        ([0.5, 90.5, 180.5, 270.5], [-179.5, -89.5, 0.5, 90.5]),  # once round
        ([170.0, 180.0, 190.0], [170.0, 180.0, 190.0]),  # a region over the date line
        ([200.0, 210.0], [-160.0, -150.0]),
        ([20.0, 10.0], [10.0, 20.0]),
        ([5.0], [5.0]),
    ],
)
def test_longitudes(lon, expected):
    values = np.arange(2.0 * len(lon)).reshape(2, -1)
    dataset = xr.Dataset({"a": (("lat", "lon"), values)}, {"lat": [-1.0, 1.0], "lon": lon})
    turned = north_up(dataset)
    assert turned["lon"].values.tolist() == expected
    assert turned["lat"].values.tolist() == [1.0, -1.0]
    for column, place in enumerate(lon):
        found = turned["a"].values[1, np.flatnonzero(np.isclose((turned["lon"].values - place) % 360, 0))[0]]
        assert found == values[0, column]
