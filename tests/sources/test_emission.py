from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.cube import check_cube, step_days
from sgdsm.core.errors import ConfigError
from sgdsm.sources.simulation.emission import (
    AMSR,
    AMSR_ANGLE,
    AMSR_GHZ,
    SMOS,
    SMOS_ANGLE,
    SMOS_GHZ,
    Sensors,
    brightness,
    optical_depth,
    permittivity,
    reflectivity,
)
from sgdsm.sources.simulation.world import sensor_world, simulate

MOISTURE = np.linspace(0.02, 0.42, 41)
CHANNELS = [(SMOS_GHZ, SMOS_ANGLE), *((ghz, AMSR_ANGLE) for ghz in AMSR_GHZ)]
DATES = {"amsr_e_until": "2015-05-01", "smos_from": "2015-04-20", "amsr2_from": "2015-05-20", "smap_from": "2015-06-10"}


def seen(ghz: float, angle: float, ndvi: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    return brightness(
        MOISTURE, np.full_like(MOISTURE, 0.45), np.full_like(MOISTURE, ndvi), 290.0 + 0 * MOISTURE, ghz, angle
    )


@pytest.mark.parametrize(("ghz", "angle"), CHANNELS)
def test_wet_soil_is_cold_and_h_is_colder_than_v(ghz, angle):
    for ndvi in (0.1, 0.5, 0.9):
        h, v = seen(ghz, angle, ndvi)
        assert (np.diff(h) < 0).all()
        assert (np.diff(v) < 0).all()
        assert (h < v).all()
        for value in (h, v):
            assert value.min() > 110
            assert value.max() < 290, "nothing shines more than its temperature"


def test_sensitivity_falls_with_frequency_and_with_vegetation():
    def sensitivity(ghz: float, ndvi: float) -> float:
        h, _ = seen(ghz, AMSR_ANGLE, ndvi)
        return float(h[0] - h[-1])

    frequencies = (SMOS_GHZ, *AMSR_GHZ)
    falls = [sensitivity(ghz, 0.5) for ghz in frequencies]
    assert (np.diff(falls) < 0).all()
    for ghz in frequencies:
        by_vegetation = [sensitivity(ghz, ndvi) for ndvi in (0.2, 0.4, 0.6, 0.8)]
        assert (np.diff(by_vegetation) < 0).all()


def test_reflectivities_are_shares_and_roughness_lessens_them():
    for ghz, angle in CHANNELS:
        epsilon = permittivity(MOISTURE, np.full_like(MOISTURE, 0.45), ghz)
        for smooth, rough in zip(reflectivity(epsilon, angle, 0.0), reflectivity(epsilon, angle), strict=True):
            assert (smooth > 0).all()
            assert (smooth < 1).all()
            assert (rough < smooth).all()
    bare = optical_depth(np.array([0.1]), 1.4)
    assert bare == 0


def test_permittivity_is_that_of_its_parts_at_the_ends():
    none = np.zeros(1)
    assert permittivity(none, none, 1.4)[0] == pytest.approx(4.7), "rock"
    assert abs(permittivity(np.ones(1), np.ones(1), 1.4)[0]) == pytest.approx(79.9, abs=0.5), "water"
    # of a loam with a quarter of water at 1.4 GHz, measured by Topp et al. (1980): 13
    assert permittivity(np.array([0.25]), np.array([0.45]), 1.4)[0].real == pytest.approx(13, abs=2)


@pytest.fixture(scope="module")
def world():
    return simulate(rows=8, columns=10, days=120, sensors=Sensors(**DATES, smos_noise=0.0), step_days=3)


def test_a_world_of_three_day_means_is_a_cube(world):
    check_cube(world)
    assert step_days(world["time"]) == 3
    assert set(SMOS) | set(AMSR) <= set(world.data_vars)
    assert world["tb_1h"].attrs["units"] == "K"
    assert world["tb_1h"].attrs["standard_name"] == "brightness_temperature"


def test_sensors_see_in_their_years(world):
    day = world["time"].values

    def flies(name: str, begin: str, end: str) -> bool:
        inside = (day >= np.datetime64(begin)) & (day < np.datetime64(end))
        return bool(np.isfinite(world[name].values[inside]).any())

    assert not flies("tb_1h", "2015-04-01", "2015-04-17")
    assert flies("tb_1h", "2015-04-21", "2015-08-01")
    assert flies("tb_36v", "2015-04-01", "2015-04-30")
    assert not flies("tb_36v", "2015-05-02", "2015-05-17")
    assert flies("tb_36v", "2015-05-21", "2015-08-01")
    assert not flies("sm", "2015-04-01", "2015-06-06")
    assert flies("sm", "2015-06-10", "2015-08-01")
    assert flies("sm_held_back", "2015-04-01", "2015-05-01")


def test_the_world_itself_does_not_change_with_its_satellites():
    a = simulate(rows=8, columns=10, days=40)
    b = simulate(rows=8, columns=10, days=40, sensors=Sensors(**DATES))
    for name in ("sm_true", "precipitation", "air_temperature", "land"):
        np.testing.assert_array_equal(a[name].values, b[name].values)
    flies = simulate(rows=8, columns=10, days=40, sensors=Sensors(**{**DATES, "smap_from": "2015-04-01"}))
    np.testing.assert_array_equal(a["sm_reason"].values, flies["sm_reason"].values)
    assert a["sm_reason"].attrs["flag_meanings"] == "observed orbit frost vegetation interference"
    assert "tb_1h" not in a


def test_before_smap_flies_that_is_the_reason(world):
    meanings = world["sm_reason"].attrs["flag_meanings"].split()
    assert len(world["sm_reason"].attrs["flag_values"]) == len(meanings)
    land, reason = world["land"].values, world["sm_reason"].values
    observed = np.isfinite(world["sm"].values)
    np.testing.assert_array_equal(observed[:, land], reason[:, land] == 0)
    early, late = (
        world["time"].values < np.datetime64("2015-06-06"),
        world["time"].values >= np.datetime64("2015-06-10"),
    )
    assert (reason[early][:, land] == meanings.index("not_flown")).all()
    assert set(np.unique(reason[late][:, land])) <= set(range(5))


def test_noise_and_offset_are_what_they_say():
    words = {**DATES, "smap_from": "2015-04-01", "smos_from": "2015-04-01"}
    quiet = {"smos_noise": 0.0, "amsr_noise": 0.0, "retrieval_noise": 0.0, "amsr_e_offsets": (0.0, 0.0, 0.0, 0.0)}
    clean = simulate(rows=10, columns=14, days=60, sensors=Sensors(**words, **quiet))
    noisy = simulate(rows=10, columns=14, days=60, sensors=Sensors(**words))
    for name, expected in {"tb_1v": 1.3, "tb_10h": 0.6}.items():
        error = (noisy[name] - clean[name]).values[30:]
        assert np.nanstd(error) == pytest.approx(expected, rel=0.05)
        assert abs(np.nanmean(error)) < 0.1
    error = (noisy["sm_held_back"] - clean["sm_held_back"]).values
    assert np.nanstd(error[clean["sm_true"].values > 0.15]) == pytest.approx(0.04, rel=0.05)
    assert np.nanmean((noisy["tb_10h"] - clean["tb_10h"]).values[:29]) == pytest.approx(-5, abs=0.1)


def test_means_are_over_the_observed_days_only():
    sensors = {**DATES, "smap_from": "2015-04-01"}
    daily = simulate(rows=6, columns=8, days=31, sensors=Sensors(**sensors))
    means = simulate(rows=6, columns=8, days=31, sensors=Sensors(**sensors), step_days=3)
    assert means.sizes["time"] == 10, "a part of a step is left out"
    part = daily["sm"].values[:30].reshape(10, 3, 6, 8)
    known = np.isfinite(part)
    with np.errstate(invalid="ignore"):
        expected = np.where(known, part, 0).sum(1) / known.sum(1)
    np.testing.assert_allclose(means["sm"].values, expected, rtol=1e-5)
    assert ((means["sm_reason"].values == 0) == known.any(1))[:, means["land"].values].all()


def test_the_file_of_a_world_is_written_once(tmp_path):
    path = tmp_path / "some where" / "world.nc"
    words = {"rows": 4, "columns": 5, "days": 90, "start": "2015-04-01"}
    first = sensor_world(str(path), Sensors(**DATES), ["tb_1h", "tb_1v"], **words)
    stamp = path.stat().st_mtime_ns
    again = sensor_world(str(path), Sensors(**DATES), ["tb_36h"], **words)
    assert path.stat().st_mtime_ns == stamp
    assert first["sm"].equals(again["sm"])
    assert [n for n in again.data_vars if again[n].attrs.get("role") == "dynamic"] == ["tb_36h"]


def test_the_file_of_another_world_is_refused(tmp_path):
    path = tmp_path / "world.nc"
    words = {"rows": 4, "columns": 5, "days": 60, "start": "2015-04-01"}
    sensor_world(str(path), Sensors(**DATES), ["tb_1h"], **words)
    with pytest.raises(ConfigError, match=r"world.nc: made with seed=0, expected 1: remove it"):
        sensor_world(str(path), Sensors(**DATES), ["tb_1h"], **words, seed=1)
    with pytest.raises(ConfigError, match=r"made with sensors=.*'stems': 1.5.*, expected .*'stems': 3.5"):
        sensor_world(str(path), Sensors(**DATES, stems=3.5), ["tb_1h"], **words)
    simulate(rows=4, columns=5, days=60).to_netcdf(tmp_path / "mine.nc")
    with pytest.raises(ConfigError, match=r"mine.nc: made with rows=None, expected 4"):
        sensor_world(str(tmp_path / "mine.nc"), Sensors(**DATES), ["tb_1h"], **words)


def test_a_world_is_written_to_no_other_kind_of_file(tmp_path):
    for name in ("authorized_keys", "world.zarr", "world"):
        with pytest.raises(ConfigError, match=f"{name}: expected a name that ends in .nc"):
            sensor_world(str(tmp_path / "new" / name), Sensors(**DATES), ["tb_1h"], rows=4, columns=5, days=60)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sensors(**{**DATES, "smos_from": "spring"}), "expected dates"),
        (lambda: Sensors(**DATES, amsr_noise=-1.0), "amsr_noise=-1.0: expected 0 or more"),
        (lambda: simulate(rows=4, columns=4, days=5, step_days=6), "step_days=6: expected 1 to the 5 days"),
    ],
)
def test_what_cannot_work_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
