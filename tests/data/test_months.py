"""Days of training, validation and test by months."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.data import Months

DAYS = np.arange("2019-01-01", "2022-01-01", dtype="datetime64[D]")


def test_the_first_month_of_each_season_of_a_year_and_of_the_next():
    label = Months(year=2020).label(DAYS)
    month = DAYS.astype("datetime64[M]")
    for year, name in ((2020, "validation"), (2021, "test")):
        expected = [np.datetime64(f"{year}-{m:02d}", "M") for m in (1, 4, 7, 10)]
        assert sorted(set(month[label == name])) == expected
        assert (label == name).sum() == np.isin(month, expected).sum()
    # by default the last two years
    assert (Months().label(DAYS) == label).all()


def test_training_lies_apart_from_both():
    label = Months(year=2020, separation_days=15).label(DAYS)
    trained, held = DAYS[label == "train"].astype(int), DAYS[np.isin(label, ("validation", "test"))].astype(int)
    assert abs(trained[:, None] - held).min() == 15
    assert Months(year=2020).leak(DAYS, label) == ""


def test_without_a_distance_it_is_said_that_it_leaks():
    splits = Months(year=2020, separation_days=0)
    label = splits.label(DAYS)
    assert (label != "").all()
    assert splits.leak(DAYS, label).startswith("leaks: training days lie 1 day from test days")


def test_values_of_one_day_have_one_split_in_any_order():
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(DAYS)), 2))
    assert (Months().label(DAYS[order]) == Months().label(DAYS)[order]).all()


@pytest.mark.parametrize(
    ("settings", "days", "said"),
    [
        ({"months": [13]}, DAYS, "splits.months=.13.: expected numbers from 1 to 12"),
        ({"months": []}, DAYS, "splits.months"),
        ({"separation_days": -1}, DAYS, "splits.separation_days=-1: expected 0 to 365"),
        ({"year": 2021}, DAYS, "no day for test, which is months .* of 2022; the data are of 2019-01-01 to 2021-12-31"),
        ({}, DAYS[:365], "have no two years running"),
        ({"separation_days": 365}, DAYS[10:], "no day .* is left to learn from"),
    ],
)
def test_what_cannot_work_is_refused(settings, days, said):
    with pytest.raises(ConfigError, match=said):
        Months(**settings).label(days)
