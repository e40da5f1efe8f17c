from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.sources.readers.files import SourceError, open_product

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


EUROPEAN = "site;latitude;longitude;when;vwc\n7;45,5;5,25;2020-01-01T00:00;0,1\n7;45,5;5,25;2020-01-01T12:00;0,3\n"


@pytest.mark.parametrize("more", [{}, {"separator": ";"}, {"decimal": ","}, {"separator": ";", "decimal": ","}])
def test_decimal_commas(tmp_path, more):
    (tmp_path / "a.csv").write_text(EUROPEAN)
    cube = open_product("station_csv", tmp_path, **NAMES, **more)
    assert cube["sm"].values.item() == pytest.approx(0.2)
    assert (cube["lat"].item(), cube["lon"].item()) == (45.5, 5.25)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_separators(tmp_path, mark):
    text = f"{HEAD}7,45.5,5.25,2020-01-01,0.2,\n".replace(",", mark)  # a separator at the end of rows
    (tmp_path / "a.txt").write_text(text)
    assert open_product("station_csv", tmp_path, **NAMES)["sm"].values.item() == pytest.approx(0.2)


def test_quoted_decimal_commas(tmp_path):
    (tmp_path / "a.csv").write_text(f'{HEAD}7,"45,5","5,25",2020-01-01,"0,2"\n')
    assert open_product("station_csv", tmp_path, **NAMES)["sm"].values.item() == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("text", "more", "message"),
    [
        (EUROPEAN.replace("0,3", "0.3"), {}, "numbers with commas and with points, as 45,5 and 0.3: say decimal="),
        (EUROPEAN.replace("0,3", "0.3"), {"decimal": ","}, "vwc=0.3, expected a number with a decimal comma"),
        (EUROPEAN, {"decimal": "."}, "latitude=45,5, expected a number with a decimal '.'"),
        (EUROPEAN.replace(";", ","), {}, "rows with more fields than names of columns"),
        (f"{HEAD}7,45,5,5,25,2020-01-01,0,2\n", {}, "rows with more fields .*part the columns by ';'"),
        (EUROPEAN, {"separator": ","}, "no column .*the separator ','"),
        (EUROPEAN.replace("0,3", "dry"), {}, "vwc=dry, expected a number with a decimal ',', or nothing"),
        (EUROPEAN.replace("45,5;", ";"), {}, "station 7 has readings without a place"),
        ("", {}, "is empty"),
        (" \n", {}, "is empty"),
        ("<html><title>404</title></html>", {}, "no column"),
    ],
)
def test_numbers_that_may_mean_two_things_are_refused(tmp_path, text, more, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(SourceError, match=rf"a\.csv: {message}") as error:
        open_product("station_csv", tmp_path, **NAMES, **more)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "name"),
    [
        ("utf-8", "Ré"),
        ("utf-8-sig", "Ré"),
        ("latin-1", "Ré"),
        ("cp1252", "Ré€"),
        ("utf-16", "Ré"),
        ("latin-1", "R\x81"),
    ],
)
def test_encodings(tmp_path, caplog, encoding, name):
    text = EUROPEAN.replace("7;", f"{name};")
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    with caplog.at_level("INFO", "sgdsm"):
        cube = open_product("station_csv", tmp_path, **NAMES)
    assert cube["station"].values.tolist() == [f"csv/{name}"]
    assert ("is not in UTF-8: read as" in caplog.text) == (encoding in ("latin-1", "cp1252"))
    assert open_product("station_csv", tmp_path, **NAMES, encoding=encoding).equals(cube)


def test_encoding_that_does_not_fit(tmp_path):
    (tmp_path / "a.csv").write_bytes(EUROPEAN.replace("7;", "Ré;").encode("latin-1"))
    for encoding in ("utf-8", "utf-9"):
        with pytest.raises(SourceError, match=r"a\.csv: cannot be read as a table of stations: .*utf-?."):
            open_product("station_csv", tmp_path, **NAMES, encoding=encoding)
    with pytest.raises(ConfigError, match="decimal=';', expected"):
        open_product("station_csv", tmp_path, **NAMES, decimal=";")
