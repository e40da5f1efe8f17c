from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.evaluation.cell_scores import cell_scores


def test_scores_and_uncertainty_of_each_cell_are_those_of_its_hidden_and_its_filled_values():
    rng = np.random.default_rng(4)
    shape, dims = (40, 3, 4), ("time", "lat", "lon")
    truth = rng.uniform(0.1, 0.4, shape)
    estimate = truth + rng.normal(0, 0.02, shape)
    hidden, seen = rng.random(shape) < 0.3, rng.random(shape) < 0.5
    hidden[:, 0, 0] = False
    seen &= ~hidden
    std = rng.uniform(0.01, 0.05, shape)
    coords = {"time": np.arange(40), "lat": [3.0, 2.0, 1.0], "lon": [5.0, 6.0, 7.0, 8.0]}

    def array(values: np.ndarray) -> xr.DataArray:
        return xr.DataArray(values, coords, dims, attrs={"units": "m3 m-3"})

    filled = xr.Dataset({"sm_filled": array(estimate), "sm_std": array(std)})
    found = cell_scores(filled, array(truth), array(hidden), array(np.where(seen, truth, np.nan)))
    assert found["n"].dims == ("lat", "lon")
    assert found["rmse"].attrs["units"] == found["sm_std"].attrs["units"] == "m3 m-3"
    assert found["r"].attrs["units"] == "1"
    for row, column in np.ndindex(3, 4):
        at, own = hidden[:, row, column], (slice(None), row, column)
        cell = found.isel(lat=row, lon=column)
        assert int(cell["n"]) == at.sum()
        assert float(cell["sm_std"]) == pytest.approx(std[own][~seen[own]].mean(), rel=1e-5)
        if not at.any():
            assert np.isnan(float(cell["rmse"]))
            continue
        error = (estimate - truth)[own][at]
        assert float(cell["rmse"]) == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
        assert float(cell["bias"]) == pytest.approx(error.mean(), rel=1e-4, abs=1e-7)
        assert float(cell["r"]) == pytest.approx(np.corrcoef(estimate[own][at], truth[own][at])[0, 1], rel=1e-4)
    assert "sm_std" not in cell_scores(filled[["sm_filled"]], array(truth), array(hidden), array(truth))
