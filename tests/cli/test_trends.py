from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.models.uncertainty.correlation import Correlation
from tests.evaluation.test_trends import filled_file


@pytest.fixture
def files(tmp_path):
    """A filled file that tells its errors, and one of others."""
    dataset = filled_file(4)
    std = (0.0 * dataset["sm_filled"] + 0.03).assign_attrs(Correlation((0.9,), (1e5,), (1e4,)).attributes())
    dataset.assign(sm_std=std, land=(("lat", "lon"), np.ones((3, 4), np.int8))).to_netcdf(tmp_path / "filled.nc")
    observed = dataset["sm_filled"].where(dataset["sm_source"] == 1).rename("ssm")
    observed.to_dataset().assign(climate=(("lat", "lon"), np.arange(12).reshape(3, 4) % 2)).to_netcdf(
        tmp_path / "cube.nc"
    )
    dataset[["sm_filled"]].rename(sm_filled="swi").to_netcdf(tmp_path / "theirs.nc")
    return tmp_path


def test_trends_of_a_filled_file(run_command, files):
    code, out, err = run_command("trends", "filled=filled.nc", "output=out/t.nc", "truth=filled.nc:truth", "members=5")
    assert code == 0, err
    assert "trends, 2015-01-01 to 2018-12-31" in out
    assert "LIU, Fig. 16, against stations in China: R2 0.23 observed, 0.45 filled" in out
    for name in ("maps", "series", "scatter"):
        assert (files / "out" / f"t_{name}.png").stat().st_size > 10_000
    assert sorted(p.name for p in (files / "out").iterdir()) == ["t.nc", "t_maps.png", "t_scatter.png", "t_series.png"]
    with xr.open_dataset(files / "out" / "t.nc") as found:
        assert np.allclose(found["slope_filled"], 0.01, atol=1e-4)
        # errors of .03 that hardly change in 27 years leave a slope far more certain than errors of days would be large
        assert float(found["slope_std_filled"].min()) > 0
        assert float(found["slope_std_filled"].max()) < 0.01
        assert found.attrs["history"].endswith("of filled.nc")


def test_trends_of_a_file_of_others(run_command, files):
    words = ["trends", "filled=theirs.nc", "estimate=swi", "visible=cube.nc", "observed=ssm", "classes=cube.nc:climate"]
    code, out, err = run_command(*words, "step=month", "robust=none", "output=t.nc")
    assert code == 0, err
    with xr.open_dataset(files / "t.nc") as found:
        assert found["zone"].size == 2
        assert np.allclose(found["slope_observed"], 0.01, atol=1e-3)
        assert found.attrs["warning"].endswith("or robust=covariance")
    assert "seasonal Kendall test of independent months" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("filled=theirs.nc", "theirs.nc: no variable 'sm_filled'"),
        ("filled=theirs.nc estimate=swi", "theirs.nc: nothing says which values were observed"),
        ("filled=theirs.nc estimate=swi visible=cube.nc", "does not name its target: give observed=NAME, of cube.nc"),
        ("filled=filled.nc observed=nil", "filled.nc: no variable 'nil'"),
        ("filled=filled.nc truth=filled.nc", "truth=filled.nc: expected FILE:VARIABLE"),
        ("filled=filled.nc classes=nil.nc:x", "nil.nc: no such file"),
        ("filled=filled.nc step=raw least_days=3", "least_days: only for step=year and step=month"),
        ("filled=filled.nc step=raw robust=covariance", "robust=covariance: not for step=raw"),
        ("filled=filled.nc members=1", "members=1: expected null, or at least 2"),
        ("filled=filled.nc output=t.zarr", "output=t.zarr: expected a name that ends in .nc"),
        ("filled=filled.nc output=filled.nc", "output=filled.nc: is one of the inputs"),
        ("filled=filled.nc truth=cube.nc:x output=cube.nc", "output=cube.nc: is one of the inputs"),
        ("filled=short.nc", "filled=short.nc: 2015-01-01 to 2016-12-31 holds 2 whole years, expected at least 3"),
        ("filled=shifted.nc visible=cube.nc observed=ssm", "cube.nc: 'ssm' lacks 3 values of lat, the first 50.5"),
    ],
)
def test_bad_words_end_in_one_line(run_command, files, words, message):
    filled_file(2).to_netcdf(files / "short.nc")
    shifted = filled_file(4)
    shifted.assign_coords(lat=shifted["lat"] + 0.5).to_netcdf(files / "shifted.nc")
    output = [] if "output=" in words else ["output=new.nc"]
    code, _, err = run_command("trends", *words.split(), *output)
    assert code == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not list(files.glob("new*"))
