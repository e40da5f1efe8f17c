from __future__ import annotations

import sys

import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.models.window_forest.filler import WindowForest
from sgdsm.sources.readers.files import find_files


def test_a_missing_package_is_named_with_its_extra_before_anything_is_read(monkeypatch, tmp_path):
    for name in ("sklearn", "rasterio", "pyhdf"):
        monkeypatch.setitem(sys.modules, name, None)
    WindowForest()
    for words in ({"regressor": "svm"}, {"share_cells": 1, "share_days": 1}):
        with pytest.raises(ConfigError, match=r"^model\..* needs sklearn: pip install 'sgdsm\[classical\]'$"):
            WindowForest(**words)
    for name, package in {"MOD13C1.A2015001.006.hdf": "pyhdf", "NDVI_doy2015001.tif": "rasterio"}.items():
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(ConfigError, match=rf"{name} needs {package}: pip install 'sgdsm\[products\]'"):
            find_files("modis", tmp_path / name)
