"""Dates in names of files: nothing is misread, and no day is made up."""

from __future__ import annotations

import pytest

from sgdsm.core.errors import CubeError
from sgdsm.downscaling.dated_files import scenes


@pytest.mark.parametrize("pattern", ["*{date}*.tif", "S2*{date}*{band}.tif", "S2{date}*", "*/S2*{date}*"])
def test_stars_beside_a_date(tmp_path, pattern):
    folder = tmp_path / "a"
    folder.mkdir()
    # S2 and a digit before: seven of the eight digits are a date as well
    name = "S220210615_B8.tif" if pattern.startswith("S2{") else "S2_20210615T103021_B8.tif"
    (folder / name).touch()
    (scene,) = scenes(tmp_path if "/" in pattern else folder, pattern, "here")
    assert str(scene.day) == "2021-06-15"


@pytest.mark.parametrize(("text", "day"), [("2020366", "2020-12-31"), ("2021366", None), ("20210230", None)])
def test_days_of_the_calendar(tmp_path, text, day):
    (tmp_path / f"{text}.tif").touch()
    if day is not None:
        assert str(scenes(tmp_path, "{date}.tif", "here")[0].day) == day
        return
    with pytest.raises(CubeError, match=f"'{text}' in its name is no date"):
        scenes(tmp_path, "{date}.tif", "here")
