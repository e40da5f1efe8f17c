from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from sgdsm.core.errors import CubeError
from sgdsm.evaluation.drought import (
    CLASSES,
    INDEX_BOUNDS,
    Drought,
    EventRules,
    bounds_of,
    daily,
    events_of,
)
from sgdsm.evaluation.standardized_index import Standardization
from sgdsm.evaluation.strata import cell_areas
from sgdsm.sources.simulation.world import World

BOX, FIRST, DRY_DAYS = (slice(0, 6), slice(0, 7)), np.datetime64("2018-05-01"), 120


class DryWorld(World):
    """The built-in world without rain in a box for some days."""

    def _weather(self, day, storm, warm):
        maps = super()._weather(day, storm, warm)
        if 0 <= day - FIRST.astype(int) < DRY_DAYS:
            maps["precipitation"][BOX] = 0
        return maps


@pytest.fixture(scope="module")
def planted() -> xr.DataArray:
    """Soil moisture of 12 years, with a drought in one of them."""
    world = DryWorld(6, 10, 1.0, 52.0, -110.0, 1.0, 0)
    time = xr.date_range("2009-01-01", "2020-12-31")
    maps = np.stack([day["sm_true"] for day in world.run(len(time), "2009-01-01")])
    coords = {"time": time, "lat": world.lat, "lon": world.lon}
    return xr.DataArray(maps, coords, ("time", "lat", "lon"), "sm_filled", {"units": "m3 m-3"})


def drought_of(maps: xr.DataArray, rules: EventRules, **more: object) -> Drought:
    days = daily(maps)
    asked = Standardization(days, days < np.datetime64("2018-01-01"), least_years=8)
    return Drought(maps, np.ones(maps.shape[1:], bool), asked, rules, **more)  # type: ignore[arg-type]


def test_a_planted_drought_is_found(planted):
    box = np.ones((6, 10), int)
    box[BOX] = 0
    drought = drought_of(planted, EventRules(threshold=-1, least_days=40), regions=box)
    (band,) = drought.bands(6)
    # of the box no other event, and so none in another year
    ((event, area),) = [found[1:] for found in drought.region_events() if found[0] == 0]
    days = drought.asked.days
    # the index is of the mean of 30 days, whose middle is 15 days before
    begin, end = days[event.first] - 15, days[event.last] - 15
    assert abs((begin - FIRST).astype(int)) <= 10
    assert abs((end - (FIRST + DRY_DAYS - 1)).astype(int)) <= 10
    assert area == pytest.approx(1, abs=0.1)
    # most of its cells are in an event of their own then, others are not
    dry = {(row, column) for row, column, one in band.events if one.first < event.last and one.last > event.first}
    inside = {(row, column) for row in range(6) for column in range(7)}
    assert len(dry & inside) >= 0.9 * len(inside)
    assert len(dry - inside) <= 0.2 * 18


def test_nothing_depends_on_how_many_rows_are_read_at_once(planted):
    rules = EventRules()
    whole, parts = drought_of(planted, rules), drought_of(planted, rules)
    (one,) = whole.bands(6)
    several = list(parts.bands(1))
    assert [band.rows.start for band in several] == list(range(6))
    for name in ("ssi", "percentile", "drought_class"):
        joined = np.concatenate([getattr(band, name) for band in several], 1)
        np.testing.assert_array_equal(joined, getattr(one, name))
    assert [event for band in several for event in band.events] == one.events
    assert len(one.events) > 100
    np.testing.assert_array_equal(whole.area_under_drought(), parts.area_under_drought())
    assert whole.region_events() == parts.region_events()
    assert whole.reference_values == parts.reference_values == 9 * 365 * 60 + 2 * 60


def test_classes_percentiles_and_area_agree_with_the_index(planted):
    drought = drought_of(planted[:, :3, :4], EventRules())
    (band,) = drought.bands(6)
    index = band.ssi.astype(np.float64)
    assert np.isnan(index[:29]).all()
    assert (band.drought_class[:29] == -1).all()
    known = np.isfinite(index)
    expected = np.digitize(-index[known], [0.5, 0.8, 1.3, 1.6, 2.0])
    np.testing.assert_array_equal(band.drought_class[known], expected)
    assert set(np.unique(expected)) == set(range(len(CLASSES)))
    np.testing.assert_allclose(band.percentile[known], 100 * norm.cdf(index[known]), atol=1e-4)
    weights = np.cos(np.deg2rad(planted["lat"].values[:3]))[:, None] * np.ones(4)
    dry = (index <= -1.3) * weights
    np.testing.assert_allclose(drought.area_under_drought()[29:, 2], dry.sum((1, 2))[29:] / weights.sum())


def test_events_of_a_series():
    rules = EventRules(threshold=-1, least_days=4, join_days=2)
    series = np.array([0, -1, -2, -1, -1.5, 0, 0, 0, -2, -2, 0, -3, 0, 0, 0, -2, -2, np.nan, -2], float)
    first, second, third = events_of(series, rules)
    assert first == (1, 4, pytest.approx(5.5), -2)
    # two that are one, with the day between them
    assert second == (8, 11, pytest.approx(7), -3)
    # a missing day is no drought, but may lie in one
    assert third == (15, 18, pytest.approx(6), -2)
    assert events_of(series, EventRules(-1, 5, 0)) == []
    assert events_of(np.full(9, np.nan), rules) == []
    whole = events_of(np.full(9, -2.0), rules)
    assert whole == [(0, 8, 18.0, -2.0)]


def test_regions_have_events_of_their_own(planted):
    regions = np.full((6, 10), -1)
    regions[:, :7], regions[:4, 7:] = 0, 1
    drought = drought_of(planted, EventRules(least_days=60), regions=regions)
    (band,) = drought.bands(6)
    np.testing.assert_allclose(
        drought.region_index()[40:, 1],
        np.average(band.ssi[40:, :4, 7:].mean(2), axis=1, weights=cell_areas(planted[0])[:4, 0]),
        atol=1e-6,
    )


def test_a_probability_is_a_share_of_members(planted):
    maps = planted[:, :2, :3]
    rng = np.random.default_rng(0)
    noise = 0.02 * rng.standard_normal((4, *maps.shape)).astype(np.float32)
    drought = drought_of(maps, EventRules())
    (band,) = drought.bands(6, lambda rows: (maps[:, rows].values + one[:, rows] for one in noise))
    assert band.probability is not None
    assert set(np.unique(band.probability[29:])) <= {0, 0.25, 0.5, 0.75, 1}
    # the means of 30 days hardly differ: certain where the index is far from the bound
    assert (band.probability[29:][band.ssi[29:] < INDEX_BOUNDS[1] - 0.5] > 0.7).mean() > 0.9
    (same,) = drought_of(maps, EventRules()).bands(6, lambda rows: iter([maps[:, rows].values]))
    np.testing.assert_array_equal(same.probability[29:], band.ssi[29:] <= np.float32(-0.8))


def test_what_is_filled_of_the_reference_is_counted(planted):
    maps = planted[:, :1, :2]
    source = xr.full_like(maps, 2, dtype=np.int8)
    source[:100] = 1
    drought = drought_of(maps, EventRules(), source=source)
    list(drought.bands(6))
    assert drought.reference_values - drought.reference_filled == 200


def test_bounds_in_percentiles_are_nearly_those_of_the_index():
    assert bounds_of("ssi") == INDEX_BOUNDS
    np.testing.assert_allclose(bounds_of("percentile"), INDEX_BOUNDS, atol=0.06)


def test_days_must_follow_each_other(planted):
    with pytest.raises(CubeError, match="2009-01-04 follows 2009-01-02: expected maps of every day"):
        daily(planted.isel(time=[0, 1, 3]))
