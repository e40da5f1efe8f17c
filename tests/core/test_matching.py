"""Cubes that meet the units and the range of a training."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import sgdsm
from sgdsm.core.cube import as_cube
from sgdsm.core.errors import CubeError
from sgdsm.core.matching import in_units_of, warn_ranges
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.inference.plan import match
from sgdsm.models.checkpoint import save_filler
from sgdsm.models.classical.simple import Climatology


def with_warmth(dataset, units="degC", fill=None, **attributes):
    """With a temperature, whose values are between 10 and 20 degC, and some that are missing."""
    rng = np.random.default_rng(1)
    values = rng.uniform(10, 20, dataset["sm"].shape).astype(np.float32)
    if fill is not None:
        values[rng.random(values.shape) < 0.1] = fill
    return dataset.assign(warmth=(dataset["sm"].dims, values, {"units": units, **attributes}))


@pytest.mark.parametrize("fill", [-9999, -999.9, -99, 999, 9999])
def test_fill_values_are_found_before_units_are_converted(plain, fill):
    cube = as_cube(with_warmth(plain(), fill=fill), "sm", ["warmth"])
    cube = in_units_of(cube, {"warmth": "K"}, "training")
    with pytest.raises(CubeError, match=f"'warmth' holds {fill:g} [0-9]+ times"):
        read_record(cube)
    with pytest.raises(CubeError, match=f"'warmth' holds {fill:g} [0-9]+ times"):
        warn_ranges(cube, {"warmth": (280.0, 300.0)})


def test_differences_of_temperature_have_no_offset(plain):
    cube = as_cube(with_warmth(plain(), units_metadata="temperature: difference"), "sm", ["warmth"])
    found = in_units_of(cube, {"warmth": "K"}, "training")
    np.testing.assert_array_equal(found["warmth"].values, cube["warmth"].values)
    assert found["warmth"].attrs.get("units") == "degC"


@pytest.mark.parametrize(("step", "factor"), [(1, 1.0), (3, 1 / 3)])
def test_an_amount_a_map_is_a_rate(plain, step, factor):
    dataset = plain().isel(time=slice(None, None, step))
    dataset["rain"].attrs["units"] = "mm"
    cube = as_cube(dataset, "sm", ["rain"], precipitation="rain")
    found = in_units_of(cube, {"rain": "mm d-1"}, "training")
    np.testing.assert_allclose(found["rain"].values, cube["rain"].values * factor, rtol=1e-6)
    with pytest.raises(CubeError, match="'sm' is in 'm3 m-3', expected 'mm'"):
        in_units_of(cube, {"sm": "mm"}, "training")


@pytest.fixture
def inputs(plain):
    """Of a model that was trained on a Dataset of `plain`, whose moisture is in percent, or another unit."""

    def make(factor=1.0, units="m3 m-3"):
        dataset = plain()
        dataset["sm"] = (dataset["sm"] * factor).assign_attrs(units=units)
        cube = as_cube(dataset, "sm")
        record = read_record(cube)
        return Inputs.fit(record, Names.of(cube), record.observed, units, 1, "train")

    return make


def moisture(plain, factor, units):
    dataset = plain()
    attrs = {} if units is None else {"units": units}
    dataset["sm"] = (dataset["sm"].dims, dataset["sm"].values * np.float32(factor), attrs)
    return as_cube(dataset, "sm")


def test_percent_without_units_are_refused_by_a_model_of_shares(plain, inputs):
    with pytest.raises(CubeError, match=r"target 'sm' has no units and values from .* which cannot be in 'm3 m-3'"):
        match(moisture(plain, 100, None), inputs())


@pytest.mark.parametrize("units", ["%", None])
def test_shares_that_are_called_percent_are_told_loudly(plain, inputs, units, caplog):
    match(moisture(plain, 1, units), inputs(100, "percent"))
    assert "ARE THE UNITS RIGHT?" in caplog.text


@pytest.mark.parametrize(("factor", "units"), [(1, "m3 m-3"), (100, "percent"), (1, None), (0.9, "1")])
def test_moisture_like_that_of_the_training_is_taken_silently(plain, inputs, factor, units, caplog):
    match(moisture(plain, factor, units), inputs())
    assert "UNITS" not in caplog.text


def test_filling_from_python_applies_what_a_cube_declares(plain, tmp_path):
    cube = as_cube(plain(), "sm")
    record, filler = read_record(cube), Climatology()
    filler.configure(Inputs.fit(record, Names.of(cube), record.observed, "m3 m-3", 1, "train"))
    save_filler(filler, tmp_path / "model.ckpt")
    groups = ("data", "model", "gaps", "splits", "trainer", "uncertainty")
    (tmp_path / "config.yaml").write_text("".join(f"{group}: {{}}\n" for group in groups) + "seed: 0\n")
    expected = sgdsm.fill(cube, tmp_path)
    sm = cube["sm"].fillna(0.99).assign_attrs(cube["sm"].attrs | {"valid_min": 0.0, "valid_max": 0.6})
    early = cube.assign(sm=sm).assign_coords(time=cube["time"] - np.timedelta64(1, "ns"))
    found = sgdsm.fill(early, tmp_path)
    xr.testing.assert_equal(found["sm_filled"], expected["sm_filled"])
