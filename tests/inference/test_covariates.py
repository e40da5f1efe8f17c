"""A filled file names the dynamic covariates that its estimates rest on: others must know what it depends on."""

from __future__ import annotations

import json

import pytest

import sgdsm.models
from sgdsm.core.cube import as_cube
from sgdsm.core.filled import COVARIATES
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.classical.simple import Climatology


class _Weather(Climatology):
    uses_covariates = True


@pytest.mark.parametrize(("filler", "expected"), [(Climatology(), {}), (_Weather(), {"rain": "gpm_imerg"})])
def test_the_file_names_what_was_used_and_of_which_product(plain, filler, expected):
    dataset = plain()
    dataset["rain"].attrs["source"] = "gpm_imerg"
    cube = as_cube(dataset, "sm", ["rain"], ["clay"])
    record, output = read_record(cube), MemoryOutput()
    filler.configure(Inputs.fit(record, Names.of(cube), record.observed, "m3 m-3", 1, "train"))
    fill_cube(cube, filler.eval(), output, trainer={"enable_progress_bar": False})
    assert json.loads(output.dataset.attrs[COVARIATES]) == expected


@pytest.mark.parametrize(
    ("filler", "uses"),
    [
        (sgdsm.models.LinearTime(), False),
        (sgdsm.models.Dineof(), False),
        (sgdsm.models.Kriging(), False),
        (sgdsm.models.Kriging(regression=True), True),
        (sgdsm.models.XGBoost(), True),
        (sgdsm.models.Conformal(sgdsm.models.DctPls()), False),
        (sgdsm.models.Stack({"a": sgdsm.models.LinearTime(), "b": sgdsm.models.DctPls()}), False),
        (sgdsm.models.Stack({"a": sgdsm.models.LinearTime(), "b": sgdsm.models.XGBoost()}), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, GapFiller) else str(value),
)
def test_fillers_without_covariates_say_so_also_within_others(filler, uses):
    assert filler.uses_covariates is uses
