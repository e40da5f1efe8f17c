from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit
from sgdsm.data.gaps import Gaps
from sgdsm.data.held_out import Regions, Years
from sgdsm.data.splits import SPLITS

RNG = np.random.default_rng
# values only where blocks of 4 x 4 cells touch
CORNERS = np.isin(np.arange(8), (3, 4)).astype(int)[:, None] * np.isin(np.arange(8), (3, 4)).astype(int)
DAYS = np.arange("2015-04-01", "2018-04-01", dtype="datetime64[D]").astype(int)


@pytest.fixture(scope="module")
def observed() -> np.ndarray:
    """Swath-like gaps: 60 % seen."""
    return RNG(0).standard_normal((len(DAYS), 1, 30)) + np.zeros((len(DAYS), 20, 1)) < 0.25


def years_of(mask: np.ndarray) -> set[int]:
    days = DAYS[mask.any((1, 2))]
    return set((days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970).tolist())


@pytest.mark.parametrize(("given", "test"), [([], {2017}), ([2016], {2016}), ([2015, 2017], {2015, 2017})])
def test_years_of_the_test_are_learned_from_by_nobody(observed, given, test):
    splits = Years(test=given)
    split = splits.split(observed, DAYS, Gaps())
    assert years_of(split.scenarios["test"].all_hidden) == test
    assert years_of(split.scenarios["test"].seen) == test
    others = {2015, 2016, 2017, 2018} - test
    assert years_of(split.base) <= others
    for name in ("validation", "calibration"):
        scenario = split.scenarios[name]
        assert years_of(scenario.seen | scenario.all_hidden) <= others
    # the climatology knows training days and what is seen of the test years, never what is hidden of them
    known = split.scenarios["test"].known
    assert (known == (split.base | split.scenarios["test"].seen)).all()
    assert not (known & split.scenarios["test"].all_hidden).any()
    label, target = splits.label(DAYS)
    days = np.flatnonzero(target)
    near = [b - a for a, b in pairwise(days) if label[a] != label[b]]
    assert min(near) >= 15
    assert {int(v) for v in np.unique(label)} == {0, 1, 2, 3}


def test_the_same_seed_holds_out_the_same(observed):
    for make in (Years, Regions):
        a, b, c = (make(seed=s).split(observed, DAYS, Gaps()).scenarios["test"].all_hidden for s in (1, 1, 2))
        assert (a == b).all()
        assert (a != c).any()


def test_a_place_belongs_to_one_split(observed):
    split = Regions(block_cells=5, separation_cells=2).split(observed, DAYS, Gaps())
    label, target = Regions(block_cells=5, separation_cells=2).label(observed.sum(0))
    assert not split.base[:, label != 0].any()
    assert not split.allowed[:, ~target].any()
    for code, name in enumerate(SPLITS[1:], 1):
        scenario = split.scenarios[name]
        assert not scenario.seen[:, label != code].any()
        assert not scenario.all_hidden[:, (label != code) | ~target].any()
        assert not (scenario.known & scenario.all_hidden).any()
        # all days, all years
        assert scenario.all_hidden.any((1, 2)).mean() > 0.3
    # targets of different splits are more than two rows and columns apart
    where = np.argwhere(target)
    kind = label[target]
    far = abs(where[:, None] - where[None]).max(-1)
    assert far[kind[:, None] != kind[None]].min() > 2
    share = [split.base.sum() / observed.sum(), *(s.seen.sum() / observed.sum() for s in split.scenarios.values())]
    assert share[0] > 0.4


def test_blocks_of_cells_touch_across_the_date_line():
    count = np.ones((8, 48), int)
    lon = np.arange(48) * 7.5 - 180
    regions = Regions(block_cells=8, separation_cells=4)
    label, apart = regions.label(count)
    _, circular = regions.label(count, circular=True)
    different = label[0, 0] != label[0, -1]
    assert different
    assert apart[:, 0].all()
    assert not circular[:, [0, 1, -2, -1]].any()
    assert (apart[:, 2:-2] == circular[:, 2:-2]).all()
    observed = np.broadcast_to(RNG(0).random((120, 8, 48)) < 0.6, (120, 8, 48))
    around = regions.split(observed, DAYS[:120], Gaps(), Orbit(np.linspace(50, 40, 8), lon))
    assert not around.scenarios["test"].all_hidden[..., [0, 1, -2, -1]].any()
    assert not around.allowed[..., [0, 1, -2, -1]].any()


def test_sea_between_blocks_is_nobodys_neighbour():
    count = np.ones((8, 24), int)
    count[:, 8:16] = 0
    with pytest.raises(ConfigError, match=r"holds 2 blocks with values, of 8 x 8 cells, expected at least 4"):
        Regions().label(count)
    label, target = Regions(block_cells=4, separation_cells=2).label(count)
    assert (label[:, 8:16] == -1).all()
    assert target[0, 7]
    assert not target[:, 8:16].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Years(shares=(0.5, 0.5, 0.1)), "three positive shares"),
        (lambda: Years(separation_days=30), "no split could hold a target"),
        (lambda: Years(hidden=1.0), "between 0 and 1"),
        (lambda: Years(test=[2030]).label(DAYS), "no day of 2030; it has 2015 to 2018"),
        (lambda: Years(test=[2015, 2016, 2017, 2018]).label(DAYS), "none is left to learn from"),
        (lambda: Years().label(DAYS[:250]), r"no year with 300 days beside another one: .*splits.test=\[2016\]"),
        (lambda: Years(test=[2015]).label(DAYS[245:305]), "splits=years: a record of 60 days holds 2 blocks"),
        (lambda: Regions(separation_cells=8), "no split could hold a target"),
        (lambda: Regions(shares=(0.5, 0.5, 0.1, 0.1)), "four positive shares"),
        (lambda: Regions(block_cells=2, separation_cells=1).label(np.zeros((9, 9), int)), "holds 0 blocks"),
        (
            lambda: Regions(block_cells=3, separation_cells=2).label(np.eye(12, k=1, dtype=int)),
            "no observed value left",
        ),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
