"""Tables of rows: columns, units and dates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.data import read_table

UNITS = {"SM": "m3 m-3", "GRD": "dB", "clay": "%"}


def written(folder, **changed):
    columns = {"date": ["2019-01-01", "2019-01-02"], "SM": [0.2, 0.3], "GRD": [-12.0, np.nan], "clay": [20, 21]}
    path = folder / "rows.csv"
    pd.DataFrame({k: v for k, v in (columns | changed).items() if v is not None}).to_csv(path, index=False)
    return str(path)


def test_a_table_has_roles_units_sources_and_days(tmp_path):
    path = written(tmp_path, crop=[1, 2])
    table = read_table(path, "SM", ["GRD", "clay"], UNITS, flag=["crop"], sources={"GRD": "Sentinel-1"})
    assert {n: v.attrs["role"] for n, v in table.data_vars.items()} == {
        "SM": "target",
        "GRD": "dynamic",
        "clay": "dynamic",
        "crop": "flag",
    }
    assert table["GRD"].attrs["units"] == "dB"
    assert table["GRD"].attrs["source"] == "Sentinel-1"
    np.testing.assert_array_equal(table["GRD"].values, np.float32([-12, np.nan]))
    assert list(table["time"].values.astype("datetime64[D]").astype(str)) == ["2019-01-01", "2019-01-02"]


def test_dates_as_numbers_of_eight_digits(tmp_path):
    table = read_table(written(tmp_path, date=[20190131, 20190201]), "SM", ["GRD"], UNITS)
    assert str(table["time"].values[0])[:10] == "2019-01-31"


@pytest.mark.parametrize(
    ("changed", "given", "error", "said"),
    [
        ({"GRD": None}, {}, CubeError, "no column 'GRD'.*there are date, SM, clay"),
        ({"GRD": ["a", "b"]}, {}, CubeError, "column 'GRD' holds text, expected numbers"),
        ({"SM": [0.2, -9999]}, {}, CubeError, "rows.csv: variable 'SM' holds -9999 1 times.*leave missing cells empty"),
        ({"GRD": [-12, -9999]}, {}, CubeError, "rows.csv: variable 'GRD' holds -9999 1 times"),
        ({"SM": [20, 30]}, {}, CubeError, "'SM' is in 'm3 m-3'.*they go from 20 to 30.*data.units"),
        ({"date": ["one", "two"]}, {}, CubeError, "column 'date'.*expected 2019-01-31"),
        ({"date": [1.5, 2.5]}, {}, CubeError, "column 'date' holds numbers, expected dates"),
        ({"date": ["2019-01-01", None]}, {}, CubeError, "column 'date' lacks a date in row 2"),
        ({}, {"units": {"SM": "m3 m-3"}}, ConfigError, "data.units: no units of 'GRD'"),
        ({}, {"predictors": ["SM"]}, ConfigError, "'SM' is named twice"),
        ({}, {"path": "none.csv"}, CubeError, "none.csv: no such file"),
        ({}, {"path": "none.txt"}, CubeError, "expected a table that ends in .csv or .parquet"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, changed, given, error, said):
    arguments = {"path": written(tmp_path, **changed), "target": "SM", "predictors": ["GRD"], "units": UNITS} | given
    with pytest.raises(error, match=said):
        read_table(**arguments)
