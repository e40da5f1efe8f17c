from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from sgdsm.core.days import season_numbers
from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit
from sgdsm.data.gaps import Gaps, is_unlike, like_gaps
from sgdsm.data.splits import SPLITS, All, Blocks

RNG = np.random.default_rng


@pytest.fixture
def observed() -> np.ndarray:
    """Swath-like gaps: 60 % seen."""
    rng = RNG(0)
    field = rng.standard_normal((731, 1, 30)) + np.zeros((731, 20, 1))
    return field < 0.25


DAYS = np.arange(16526, 16526 + 731)


def test_a_draw_hides_the_share_that_was_asked_for(observed):
    hidden = Gaps(fraction=0.2, outages=0.25).draw(observed, observed, RNG(1))
    share = {kind: mask.sum() / observed.sum() for kind, mask in hidden.items()}
    assert share["outage"] == pytest.approx(0.05, abs=0.01)
    assert share["swath"] == pytest.approx(0.15, abs=0.01)
    assert not (hidden["swath"] & hidden["outage"]).any()
    assert not ((hidden["swath"] | hidden["outage"]) & ~observed).any()


def test_a_transplant_is_the_gap_mask_of_another_day_within_reach(observed):
    hidden = Gaps(fraction=0.2, outages=0.0, donor_days=30).draw(observed, observed, RNG(1))["swath"]
    for day in np.flatnonzero(hidden.any((1, 2)))[:20]:
        near = [d for d in range(max(0, day - 30), min(731, day + 31)) if d != day]
        assert any((hidden[day] == (observed[day] & ~observed[d])).all() for d in near)


def test_the_calibration_draw_is_spread_over_days_and_has_long_gaps(observed):
    gaps = Gaps(fraction=0.2, outages=0.0)
    scenarios = All().split(observed, DAYS, gaps).scenarios
    days = {name: int(scenario.hidden["swath"].any((1, 2)).sum()) for name, scenario in scenarios.items()}
    assert days["calibration"] > 2 * days["validation"]
    hidden = {name: scenario.all_hidden for name, scenario in scenarios.items()}
    for mask in hidden.values():
        assert mask.sum() == pytest.approx(0.05 * observed.sum(), rel=0.1)
    assert not (hidden["calibration"] & hidden["validation"]).any()
    assert not scenarios["validation"].hidden["outage"].any()
    share = scenarios["calibration"].hidden["outage"].sum() / hidden["calibration"].sum()
    assert share == pytest.approx(0.2, abs=0.03)


def test_outages_are_boxes_of_several_days():
    complete = np.ones((200, 30, 30), bool)
    gaps = Gaps(fraction=0.001, outages=1.0, outage_days=(6, 6), outage_rows=(4, 4), outage_columns=(5, 5))
    hidden = gaps.draw(complete, complete, RNG(0))["outage"]
    days, rows, columns = np.nonzero(hidden)
    assert hidden.sum() % (6 * 4 * 5) == 0
    assert len(np.unique(days)) % 6 == 0
    assert len(rows) == len(columns)


def test_the_same_seed_draws_the_same_gaps_and_another_one_others(observed):
    gaps = Gaps()
    a, b, c = (gaps.draw(observed, observed, RNG(s))["swath"] for s in (1, 1, 2))
    assert (a == b).all()
    assert (a != c).any()


def test_amsr2_bank_covers_a_complete_cube_with_swaths():
    complete = np.ones((40, 20, 30), bool)
    orbit = Orbit(np.linspace(40, 10, 20), np.linspace(0, 45, 30))
    hidden = Gaps(fraction=0.9, outages=0.0, bank="amsr2").draw(complete, complete, RNG(0), orbit)["swath"]
    assert 0.35 < hidden.mean() < 0.65
    with pytest.raises(ConfigError, match="needs a cube with lat and lon"):
        Gaps(bank="amsr2").draw(complete, complete, RNG(0))


def test_all_holds_out_two_disjoint_samples(observed):
    split = All(fraction=0.05, seed=4).split(observed, DAYS, Gaps())
    validation, calibration = (split.scenarios[s] for s in ("validation", "calibration"))
    for scenario in (validation, calibration):
        assert scenario.all_hidden.sum() / observed.sum() == pytest.approx(0.05, abs=0.01)
        assert not (scenario.seen & scenario.all_hidden).any()
        assert not (scenario.known & scenario.all_hidden).any()
    assert not (validation.all_hidden & calibration.all_hidden).any()
    held = validation.all_hidden | calibration.all_hidden
    assert (split.base == (observed & ~held)).all()
    assert "test" not in split.scenarios


def test_training_draws_differ_by_epoch_and_never_show_what_they_hide(observed):
    split = All().split(observed, DAYS, Gaps())
    first, second = (split.training(Gaps(), 0, epoch, None) for epoch in (0, 1))
    assert (first.all_hidden != second.all_hidden).any()
    assert not (first.seen & first.all_hidden).any()
    assert not (first.known & first.all_hidden).any()
    again = split.training(Gaps(), 0, 0, None)
    assert (again.all_hidden == first.all_hidden).all()
    held = split.scenarios["validation"].all_hidden | split.scenarios["calibration"].all_hidden
    assert not (first.seen & held).any()
    assert not (first.all_hidden & held).any()


def test_hidden_values_can_be_weighed_like_the_gaps():
    # seen every other day, and a fifth of the days between: hidden values have seldom both neighbours, gaps mostly
    rng = RNG(0)
    base = (np.arange(400) % 2 == 0)[:, None, None] | (rng.random((400, 10, 12)) < 0.2)
    land = np.ones((10, 12), bool)
    hidden = base & (rng.random(base.shape) < 0.3)
    seen = base & ~hidden

    def both(mask: np.ndarray, given: np.ndarray) -> float:
        return float((given[:-2] & given[2:])[mask[1:-1]].mean())

    kept = hidden & (RNG(1).random(hidden.shape) < like_gaps(hidden, seen, base, land))
    assert both(~base, base) > 0.9
    assert both(hidden, seen) < 0.2
    assert both(kept, seen) > 2 * both(hidden, seen)
    # that is worth a weight; holes at random are not, nor is a cube with hardly any gaps
    assert is_unlike(hidden, seen, base, land)
    for share in (0.6, 0.99):
        holes = rng.random(base.shape) < share
        few = holes & (rng.random(base.shape) < 0.3)
        assert not is_unlike(few, holes & ~few, holes, land)


def test_a_cube_without_gaps_has_none_to_be_like():
    base = np.ones((60, 5, 6), bool)
    hidden = RNG(0).random(base.shape) < 0.3
    with pytest.raises(ConfigError, match=r"gaps.match=true: the cube has 0 gaps"):
        like_gaps(hidden, base & ~hidden, base, np.ones((5, 6), bool))


def test_training_can_hide_single_values(observed):
    split = All().split(observed, DAYS, Gaps())
    alike, random = (split.training(Gaps(learn=learn), 0, 0, None) for learn in ("alike", "random"))
    assert random.all_hidden.sum() / split.base.sum() == pytest.approx(0.3, abs=0.01)
    assert not (random.seen & random.all_hidden).any()
    # of single values most neighbours in time stay
    shown = [
        np.mean((s.seen[:-1] | s.all_hidden[:-1])[s.all_hidden[1:]] & s.seen[:-1][s.all_hidden[1:]])
        for s in (random, alike)
    ]
    assert shown[0] > shown[1]


def test_blocks_assign_every_season_to_every_split():
    label, target = Blocks().label(DAYS)
    for code in range(len(SPLITS)):
        assert set(season_numbers(DAYS[target & (label == code)])) == {0, 1, 2, 3}
    share = [(label == code).mean() for code in range(4)]
    assert share[0] > 0.4
    assert min(share[1:]) > 0.12


def test_targets_of_different_splits_keep_apart():
    label, target = Blocks(separation_days=15).label(DAYS)
    days = np.flatnonzero(target)
    for a, b in pairwise(days):
        if label[a] != label[b]:
            assert b - a >= 15


def test_blocks_show_a_split_its_own_days_only(observed):
    split = Blocks(seed=2).split(observed, DAYS, Gaps())
    label, target = Blocks(seed=2).label(DAYS)
    assert not split.base[label != 0].any()
    assert not split.allowed[~target].any()
    for code, name in enumerate(SPLITS[1:], 1):
        scenario = split.scenarios[name]
        assert not scenario.seen[label != code].any()
        assert not scenario.all_hidden[(label != code) | ~target].any()
        # the climatology knows training days and what is seen, nothing else
        elsewhere = (label != 0) & (label != code)
        assert not scenario.known[elsewhere].any()
        assert not (scenario.known & scenario.all_hidden).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gaps(fraction=1.5), "between 0 and 1"),
        (lambda: Gaps(outage_days=(9, 3)), "smallest, largest"),
        (lambda: All(fraction=0.7), "between 0 and 0.5"),
        (lambda: Blocks(separation_days=30), "no split could hold a target"),
        (lambda: Blocks(shares=(0.5, 0.5, 0.5, 0.5)), "add up to 1"),
        (lambda: Blocks().label(DAYS[:60]), r"60 days holds 2 blocks .* at least 4.*splits=all"),
        (lambda: Blocks(block_days=16).label(DAYS[:58]), "has no day left"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_complete_cube_has_no_gaps_to_transplant():
    complete = np.ones((100, 6, 6), bool)
    with pytest.raises(ConfigError, match="use gaps=amsr2"):
        All().split(complete, DAYS[:100], Gaps(outages=0.0))
