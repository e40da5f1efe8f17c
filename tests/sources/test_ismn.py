from __future__ import annotations

import zipfile

import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from tests.conftest import shared_data
from tests.sources import make_cov

DAY = [("2017/03/01 00:00", 0.10, "G"), ("2017/03/01 12:00", 0.30, "G"), ("2017/03/01 13:00", 0.90, "D05")]
LATER = [("2017/03/03 06:00", 0.25, "G")]


def test_daily_means_of_good_readings(tmp_path):
    make_cov.ismn_stm(tmp_path, "Alpha", (0.0, 0.05), DAY + LATER)
    make_cov.ismn_stm(tmp_path, "Beta", (0.05, 0.05), LATER)
    cube = open_product("ismn", tmp_path)
    assert cube["station"].values.tolist() == ["NET/Alpha", "NET/Beta"]
    assert cube["time"].dt.strftime("%Y%m%d").values.tolist() == ["20170301", "20170302", "20170303"]
    np.testing.assert_allclose(cube["sm"], [[0.2, np.nan], [np.nan, np.nan], [0.25, 0.25]], rtol=1e-6)
    assert cube["lat"].values.tolist() == [40.5, 40.5]
    assert cube["lon"].values.tolist() == [-3.25, -3.25]
    assert cube["network"].values.tolist() == ["NET", "NET"]


def test_the_sensor_nearest_to_the_depth(tmp_path):
    for depth, value in ((0.02, 0.1), (0.05, 0.2), (0.10, 0.3), (0.40, 0.4)):
        make_cov.ismn_stm(tmp_path, "Alpha", (depth, depth), [("2017/03/01 00:00", value, "G")])
    assert open_product("ismn", tmp_path)["sm"].values.item() == pytest.approx(0.2)
    deep = open_product("ismn", tmp_path, depth_m=[0.3, 0.6])
    assert deep["sm"].values.item() == pytest.approx(0.4)
    assert deep["depth_m"].values.item() == 0.4
    with pytest.raises(SourceError, match="no sensor of soil moisture from 1 to 2 m"):
        open_product("ismn", tmp_path, depth_m=[1, 2])


def test_archive_leaves_nothing_behind_and_bad_files_are_named(tmp_path):
    make_cov.ismn_stm(tmp_path, "Alpha", (0.0, 0.05), DAY)
    broken = make_cov.ismn_stm(tmp_path, "Beta", (0.0, 0.05), DAY)
    broken.write_text("nothing\n")
    with zipfile.ZipFile(tmp_path / "Data.zip", "w") as archive:
        for path in tmp_path.glob("*.stm"):
            archive.write(path, f"NET/{path.name.split('_')[2]}/{path.name}")
            path.unlink()
    with pytest.raises(SourceError, match=r"Data\.zip/NET/Beta/.*cannot be read"):
        open_product("ismn", tmp_path)
    cube = open_product("ismn", tmp_path, on_bad_file="skip")
    assert cube["station"].values.tolist() == ["NET/Alpha"]
    assert [p.name for p in tmp_path.iterdir()] == ["Data.zip"]


UNCHECKED = [("2017/03/01 00:00", 0.10, "U"), ("2017/03/01 12:00", 0.30, "U"), ("2017/03/01 13:00", 0.90, "D05")]


def test_flags_that_are_there_are_told(tmp_path, caplog):
    make_cov.ismn_stm(tmp_path, "Alpha", (0.0, 0.05), UNCHECKED)
    with pytest.raises(SourceError, match=r"has a flag of \['G'\], found U 2, D05 1: flags=\[U\] takes"):
        open_product("ismn", tmp_path)
    assert open_product("ismn", tmp_path, flags=["U"])["sm"].values.item() == pytest.approx(0.2)
    make_cov.ismn_stm(tmp_path, "Beta", (0.0, 0.05), DAY)
    with caplog.at_level("INFO", "sgdsm"):
        cube = open_product("ismn", tmp_path)
    assert cube["station"].values.tolist() == ["NET/Beta"]
    assert "1 of 2 stations, NET/Alpha first: no reading has a flag of ['G'], found U 2, D05 1" in caplog.text


def test_doubtful_flags_are_not_proposed(tmp_path):
    make_cov.ismn_stm(tmp_path, "Alpha", (0.0, 0.05), DAY[2:])
    with pytest.raises(SourceError, match=r"found D05 1$"):
        open_product("ismn", tmp_path)


@pytest.mark.shared_data
def test_real_archive_without_good_flags():
    path = next((shared_data() / "products" / "ismn" / "format_header_values").glob("*.zip"))
    with pytest.raises(SourceError, match=r"found U 736, D05 5: flags=\[U\] takes"):
        open_product("ismn", path)


def daily_of_the_text(text, flag):
    """Independently of the package: value and flag follow the time, in CEOP after twelve words."""
    days = {}
    for words in (line.split() for line in text.splitlines()):
        at = 12 if len(words) > 12 else 2
        if len(words) > 3 and words[0][:2] == "20" and words[at + 1] == flag:
            days.setdefault(words[0].replace("/", "-"), []).append(float(words[at]))
    return {day: np.mean(values) for day, values in days.items()}


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("layout", "station", "flag"),
    [
        ("ceop", "COSMOS/ARM-1", "G"),
        ("header", "COSMOS/ARM-1", "G"),
        ("ceop_and_header_mixed", "COSMOS/ARM-1", "G"),
        ("format_header_values", "SMOSMANIA/Narbonne", "U"),
    ],
)
def test_real_archives(layout, station, flag):
    path = next((shared_data() / "products" / "ismn" / layout).glob("*.zip"))
    cube = open_product("ismn", path, flags=[flag])
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if f"_{station.split('/')[1]}_sm_" in n)
        expected = daily_of_the_text(archive.read(name).decode(), flag)
    sm = cube["sm"].sel(station=station).dropna("time")
    assert len(expected) > 20
    assert sm["time"].dt.strftime("%Y-%m-%d").values.tolist() == sorted(expected)
    np.testing.assert_allclose(sm, [expected[day] for day in sorted(expected)], rtol=1e-5)


@pytest.mark.shared_data
def test_real_loose_files():
    folder = shared_data() / "products" / "ismn_headervalues_stm"
    cube = open_product("ismn", folder)
    assert cube["network"].values.tolist() == ["OZNET", "TAHMO"]
    np.testing.assert_allclose(cube["lat"], [-34.65478, 10.9132])
    path = next(folder.glob("OZNET*"))
    expected = daily_of_the_text(path.read_text(), "G")
    sm = cube["sm"][:, 0].dropna("time")
    np.testing.assert_allclose(sm, [expected[day] for day in sorted(expected)], rtol=1e-5)
