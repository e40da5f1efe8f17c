"""A record joined from several filled files: which part each value comes from, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.core.filled import FILLED, NONE, OBSERVED
from sgdsm.evaluation.independence import covariates_of
from sgdsm.inference.join import joined


def part(start: str, days: int, value: float, observed: tuple[int, ...] = (), **attrs: object) -> xr.Dataset:
    """A filled file of 1 x 2 cells with one value; the days `observed` are observed, value + 1."""
    dims, shape = ("time", "lat", "lon"), (days, 1, 2)
    sm, source = np.full(shape, value, np.float32), np.full(shape, FILLED, np.int8)
    sm[list(observed)], source[list(observed)] = value + 1, OBSERVED
    return xr.Dataset(
        {
            "sm_filled": (dims, sm, {"units": "m3 m-3", "observed_variable": "sm"}),
            "sm_std": (dims, np.full(shape, value / 10, np.float32), {"units": "m3 m-3", **attrs}),
            "sm_source": (dims, source),
            "land": (("lat", "lon"), np.ones((1, 2), np.int8)),
        },
        {"time": xr.date_range(start, periods=days), "lat": [40.0], "lon": [5.0, 6.0]},
    ).chunk(time=2)


def test_values_come_from_the_sensor_with_a_pass_then_from_the_preferred_part():
    smos, amsr = part("2011-01-03", 4, 0.1, observed=(3,), scale=1), part("2011-01-01", 5, 0.3, scale=2)
    time = xr.date_range("2011-01-01", periods=8)
    seen = np.full((8, 1, 2), np.nan)
    by_smos, by_amsr = seen.copy(), seen.copy()
    by_smos[2, 0, 0] = 1.0  # SMOS saw the first cell on the 3rd, AMSR all on the 1st to the 4th
    by_amsr[:4] = 1.0
    place = {"time": time, "lat": [40.0], "lon": [5.0, 6.0]}
    passes = {n: xr.DataArray(v, place, ("time", "lat", "lon")) for n, v in (("smos", by_smos), ("amsr", by_amsr))}
    made = joined({"smos": smos, "amsr": amsr}, passes, without_pass=True).load()
    meanings = made["sm_part"].attrs["flag_meanings"].split()
    named = np.array(meanings)[made["sm_part"].values[:, 0]]
    assert meanings == ["none", "observed", "smos", "amsr", "smos_without_pass", "amsr_without_pass"]
    expected = [["amsr"] * 2, ["amsr"] * 2, ["smos", "amsr"], ["amsr"] * 2, ["smos_without_pass"] * 2, ["observed"] * 2]
    assert named.tolist() == expected
    np.testing.assert_allclose(
        made["sm_filled"].values[:, 0], [[0.3, 0.3], [0.3, 0.3], [0.1, 0.3], [0.3, 0.3], [0.1, 0.1], [1.1, 1.1]]
    )
    np.testing.assert_allclose(made["sm_std"].values[:, 0, 0], [0.03, 0.03, 0.01, 0.03, 0.01, 0.01], rtol=1e-6)
    assert made["sm_source"].values[:, 0, 0].tolist() == [FILLED] * 5 + [OBSERVED]
    # what belongs to one part alone is not said of the whole
    assert made["sm_std"].attrs == {"units": "m3 m-3"}
    # by default only what a sensor saw
    seen_only = joined({"smos": smos, "amsr": amsr}, passes).load()
    assert seen_only["sm_part"].values[:, 0, 0].tolist() == [3, 3, 2, 3, 0, 1]
    assert np.isnan(seen_only["sm_filled"].values[4]).all()
    # without passes the order alone decides
    plain = joined({"smos": smos, "amsr": amsr}).load()
    assert plain["sm_part"].attrs["flag_meanings"] == "none observed smos amsr"
    assert plain["sm_part"].values[:, 0, 0].tolist() == [3, 3, 2, 2, 2, 1]


def test_a_value_that_no_part_has_is_none():
    smos, amsr = part("2011-01-01", 3, 0.1), part("2011-01-01", 3, 0.3)
    smos["sm_filled"][1, 0, 0] = amsr["sm_filled"][1, 0, 0] = np.nan
    made = joined({"smos": smos, "amsr": amsr}).load()
    assert np.isnan(made["sm_filled"].values[1, 0, 0])
    assert made["sm_source"].values[1, 0, 0] == NONE
    assert made["sm_part"].values[1, 0, 0] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.assign_coords(lon=[5.0, 7.0]), "b: 'lon' is not that of the first part"),
        (lambda d: d.drop_vars("sm_source"), "b: no variable 'sm_source'"),
        (lambda d: d.drop_vars("sm_filled"), "b: not a filled Dataset"),
        (
            lambda d: d.assign(sm_filled=d["sm_filled"].assign_attrs(units="%")),
            "sm_filled is in '%', expected 'm3 m-3'",
        ),
        (lambda d: d.assign_coords(time=d["time"] + np.timedelta64(30, "D")), "equal steps, at 2011-01-31"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    with pytest.raises(CubeError, match=message):
        joined({"a": part("2011-01-01", 4, 0.1), "b": change(part("2011-01-01", 4, 0.3))})


def test_the_covariates_of_all_parts_are_said():
    smos, amsr = (part(f"2011-01-0{k}", 4, 0.1, observed=(3,)) for k in (1, 3))
    smos.attrs["covariates"], amsr.attrs["covariates"] = '{"swvl1": "ERA5"}', '{"rain": "IMERG"}'
    assert covariates_of(joined({"smos": smos, "amsr": amsr}).attrs) == {"swvl1": "ERA5", "rain": "IMERG"}
    del amsr.attrs["covariates"]
    assert covariates_of(joined({"smos": smos, "amsr": amsr}).attrs) is None
