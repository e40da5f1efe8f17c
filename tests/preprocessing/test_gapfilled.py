"""A filled file in the layout of ESA CCI's gap-filled product, and back."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr

from sgdsm.preprocessing import export as layouts
from sgdsm.sources.readers.files import open_product
from sgdsm.sources.readers.names import Reason

COORDS = {"time": xr.date_range("2016-01-01", periods=6), "lat": [45.0, -45.0], "lon": [-90.0, 0.0, 90.0]}
DIMS = ("time", "lat", "lon")


def filled(units: str = "m3 m-3", std: bool = False) -> xr.Dataset:
    """Six days of 2 x 3 cells: (0, 0) has a frozen spell, (0, 1) is always frozen, (1, 2) is no land."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0.1, 0.4, (6, 2, 3)).astype(np.float32)
    source = rng.integers(1, 3, values.shape).astype(np.int8)
    source[1:4, 0, 0], source[:, 0, 1] = 2, 2
    values[:, 1, 2], source[:, 1, 2] = np.nan, 0
    found = {"sm_filled": (DIMS, values, {"units": units}), "sm_source": (DIMS, source)}
    if std:
        found["sm_std"] = (DIMS, np.where(source == 2, np.float32(0.02), np.float32(np.nan)))
    return xr.Dataset(found, COORDS, {"source": "test"})


def cube() -> xr.Dataset:
    reason = np.full((6, 2, 3), Reason.NO_DATA, np.uint8)
    reason[1:3, 0, 0], reason[3, 0, 0], reason[:, 0, 1] = Reason.FROZEN, Reason.SNOW, Reason.FROZEN
    reason[5, 1, 0] = Reason.FROZEN  # at the end of the record
    return xr.Dataset({"sm_reason": (DIMS, reason)}, COORDS)


def test_round_trip_with_frozen_days(run_command, tmp_path, monkeypatch):
    monkeypatch.setattr(layouts, "BAND", 1)
    dataset = filled(std=True)
    dataset["sm_source"].values[5, 1, 0] = 2
    dataset.to_netcdf(tmp_path / "filled.nc")
    # the file may be a part of the cube
    cube().reindex(time=xr.date_range("2015-12-30", periods=9), fill_value=1).to_netcdf(tmp_path / "cube.nc")
    words = ("export", "filled.nc", "layout=cci_gapfilled", "output=daily")
    code, _, err = run_command(*words, "reasons=cube.nc")
    assert code == 0, err
    made = open_product("esa_cci", tmp_path / "daily").load()
    values, source = dataset["sm_filled"].values.copy(), dataset["sm_source"].values
    values[1:4, 0, 0] = np.interp([1, 2, 3], [0, 4], values[[0, 4], 0, 0])
    values[5, 1, 0] = values[4, 1, 0]
    np.testing.assert_allclose(made["sm"], values, atol=1e-7)
    reason = np.where(source == 1, Reason.OBSERVED, Reason.GAP_FILLED)
    reason[1:4, 0, 0] = reason[:, 0, 1] = reason[5, 1, 0] = Reason.FROZEN
    np.testing.assert_array_equal(made["sm_reason"], reason)
    np.testing.assert_array_equal(made["time"], dataset["time"])
    std = dataset["sm_std"].values.copy()
    std[reason == Reason.FROZEN] = np.nan
    np.testing.assert_array_equal(made["sm_uncertainty"], std)
    code, _, err = run_command(*words, "reasons=cube.nc")
    assert code == 1
    assert "20160101000000-sgdsm.nc exists" in err


def test_without_reasons_the_frozen_mask_is_unknown(run_command, tmp_path):
    filled().to_netcdf(tmp_path / "filled.nc")
    code, _, err = run_command("export", "filled.nc", "layout=cci_gapfilled", "output=daily")
    assert code == 0, err
    made = open_product("esa_cci", tmp_path / "daily").load()
    np.testing.assert_allclose(made["sm"], filled()["sm_filled"], atol=1e-7)
    assert Reason.FROZEN not in made["sm_reason"].values
    with netCDF4.Dataset(sorted((tmp_path / "daily").iterdir())[0]) as file:
        assert file["frozenmask"][:].mask.all()
        assert "Nothing told which days were frozen" in file.comment
        assert file["gapmask"][0, 0, 0] == (filled()["sm_source"].values[0, 0, 0] == 1)


@pytest.mark.parametrize(
    ("make", "words", "message"),
    [
        (filled, ["reasons=filled.nc"], "expected a prepared cube, with 'sm_reason'"),
        (filled, ["reasons=late.nc"], "lacks days or cells of the filled file"),
        (lambda: filled("1"), [], "'sm_filled' is in '1', the layout of cci_gapfilled needs m3 m-3"),
        (cube, [], "needs a filled file, with 'sm_filled'"),
        (filled, ["layout=sgd_sm", "reasons=late.nc"], "only layout=cci_gapfilled has a use for it"),
    ],
)
def test_what_cannot_be_written_is_refused(run_command, tmp_path, make, words, message):
    make().to_netcdf(tmp_path / "filled.nc")
    cube().isel(time=slice(2, None)).to_netcdf(tmp_path / "late.nc")
    layout = [] if any(word.startswith("layout") for word in words) else ["layout=cci_gapfilled"]
    code, _, err = run_command("export", "filled.nc", "output=daily", *layout, *words)
    assert code == 1
    assert message in err
    assert not list(tmp_path.glob("daily/*"))
