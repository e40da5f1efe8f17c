from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import sgdsm
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.inference import members as drawing
from sgdsm.models.uncertainty.correlation import Correlation, pair_products, positions

KNOWN = Correlation((0.6, 0.3), (300.0, 30.0), (2.0, 60.0))
LAT, LON = np.linspace(50, 40, 11), np.linspace(-100, -88, 13)


def grid(days: int) -> xr.Dataset:
    """A filled file: the first day observed, the rest estimated with a standard deviation of 0.04."""
    shape = (days, len(LAT), len(LON))
    dims = ("time", "lat", "lon")
    time = np.datetime64("2020-01-01") + np.arange(days).astype("timedelta64[D]")
    source = np.full(shape, 2, np.int8)
    source[0] = 1
    return xr.Dataset(
        {
            "sm_filled": (dims, np.full(shape, 0.2, np.float32), {"units": "m3 m-3"}),
            "sm_std": (dims, np.where(source == 2, np.float32(0.04), np.nan), KNOWN.attributes()),
            "sm_source": (dims, source),
        },
        {"time": time.astype("datetime64[ns]"), "lat": LAT, "lon": LON},
    )


def fields(count: int, days: int) -> tuple[np.ndarray, np.ndarray]:
    """Fields of the known correlation, (count, days, cells), and the places of their cells."""
    places = positions(grid(1)["sm_filled"]).reshape(-1, 3)
    return np.stack([KNOWN.field(np.arange(days), places, 0, k) for k in range(count)]), places


@pytest.mark.slow
def test_fields_have_the_correlation_they_were_asked_for():
    drawn, places = fields(1000, 4)
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.var() - 1) < 0.05
    distance = np.linalg.norm(places - places[0], axis=1)
    for cell in (1, 5, 70, 140):
        for lag in (0, 1, 3):
            found = (drawn[:, : 4 - lag, 0] * drawn[:, lag:, cell]).mean()
            assert abs(found - KNOWN.at(distance[cell], lag)) < 0.1
    # the share that hangs together with nothing
    assert abs((drawn[:, :, 0] * drawn[:, :, 0]).mean() - 1) < 0.1


def test_fit_finds_the_correlation_of_fields():
    # one world, as a calibration draw is
    [drawn], places = fields(1, 200)
    hidden = np.random.default_rng(0).random(drawn.shape) < 0.3
    day, cell = np.nonzero(hidden)
    fitted = Correlation.fit([pair_products(drawn[hidden], places[cell], day)])
    for distance, lag in ((0.0, 1), (80.0, 0), (300.0, 0), (300.0, 2), (900.0, 0), (0.0, 16)):
        assert abs(fitted.at(distance, lag) - KNOWN.at(distance, lag)) < 0.12, (distance, lag)
    noise = np.random.default_rng(1).standard_normal(len(day))
    assert Correlation.fit([pair_products(noise, places[cell], day)]).at(50.0, 0) < 0.05


@pytest.mark.slow
def test_means_over_cells_get_the_right_spread():
    drawn, _ = fields(200, 3)
    truth = 0.04 * drawn[:, 1].mean(-1)
    spread = sgdsm.members(grid(3), 200, seed=7)[:, 1].mean(("lat", "lon")).std("member")
    assert 0.8 < float(spread) / truth.std() < 1.25
    # far from what independent errors would give
    assert float(spread) > 3 * 0.04 / np.sqrt(len(LAT) * len(LON))


def test_observed_values_are_the_same_in_all_members_and_parts_fit_together():
    filled = grid(5)
    drawn = sgdsm.members(filled, 4)
    assert drawn.dims == ("member", "time", "lat", "lon")
    assert (drawn[:, 0] == filled["sm_filled"][0]).all()
    part = filled.isel(time=slice(2, 4), lat=slice(3, 9)).sgdsm.members(4)
    np.testing.assert_allclose(part, drawn.isel(time=slice(2, 4), lat=slice(3, 9)), atol=1e-6)
    assert not np.allclose(part, filled.isel(time=slice(2, 4), lat=slice(3, 9)).sgdsm.members(4, seed=1))


def test_what_cannot_be_drawn_from_says_so():
    filled = grid(2)
    with pytest.raises(ConfigError, match="count=0"):
        sgdsm.members(filled, 0)
    with pytest.raises(CubeError, match="has no sm_std"):
        sgdsm.members(filled.drop_vars("sm_std"))
    with pytest.raises(CubeError, match="select with slices"):
        sgdsm.members(filled.isel(lat=0))
    filled["sm_std"].attrs.clear()
    with pytest.raises(CubeError, match="uncertainty=conformal"):
        sgdsm.members(filled)
    filled["sm_std"].attrs.update({**KNOWN.attributes(), "error_days": np.array([-1.0, 2.0])})
    with pytest.raises(CubeError, match="do not describe"):
        sgdsm.members(filled)


def test_a_grid_without_latitudes_counts_cells():
    maps = xr.DataArray(np.zeros((1, 3, 4)), {"time": [0], "y": [0, -9e3, -18e3], "x": np.arange(4) * 9e3},
                        ("time", "y", "x"))  # fmt: skip
    places = positions(maps)
    np.testing.assert_allclose(np.linalg.norm(places[1, 1] - places[0, 1]), 1)
    np.testing.assert_allclose(np.linalg.norm(places[1, 1] - places[1, 3]), 2)


def with_land(days: int) -> xr.Dataset:
    filled = grid(days)
    land = np.ones(filled["sm_filled"].shape[1:], np.int8)
    return filled.assign(land=(("lat", "lon"), land))


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_command_writes_what_python_draws(run_command, tmp_path, monkeypatch, suffix):
    filled = with_land(7)
    filled.to_netcdf(tmp_path / "filled.nc")
    # parts of two days and three rows
    monkeypatch.setattr(drawing, "CELLS", 3 * len(LON))
    monkeypatch.setattr(drawing, "VALUES", 2 * 5 * 3 * len(LON))
    words = ["filled=filled.nc", "number=5", f"output=members{suffix}"]
    code, out, err = run_command("members", *words)
    assert code == 0, err
    assert out.strip() == f"members: members{suffix}"
    with open_dataset(tmp_path / f"members{suffix}") as found:
        assert found["sm_members"].dims == ("time", "member", "lat", "lon")
        assert found["sm_members"].attrs["units"] == "m3 m-3"
        drawn = found["sm_members"].transpose("member", "time", "lat", "lon").load()
        np.testing.assert_allclose(drawn, sgdsm.members(filled, 5), atol=1e-6)
        np.testing.assert_array_equal(found["time"], filled["time"])
        assert found["land"].all()
    assert run_command("members", *words)[0] == 0, "the same words are done already"
    code, _, err = run_command("members", *words, "seed=1")
    assert code == 1
    assert "of other data: remove it" in err
    part = ["time=2020-01-03:2020-01-05", "bbox=[-97,43,-91,48]", f"output=part{suffix}"]
    code, _, err = run_command("members", *words[:2], *part)
    assert code == 0, err
    with open_dataset(tmp_path / f"part{suffix}") as found:
        own = found["sm_members"].transpose("member", "time", "lat", "lon").load()
        assert own.shape == (5, 3, 6, 7)
        np.testing.assert_allclose(own, drawn.sel(time=own["time"], lat=own["lat"], lon=own["lon"]), atol=1e-6)


def test_interrupted_members_are_resumed(run_command, tmp_path, monkeypatch):
    with_land(6).to_netcdf(tmp_path / "filled.nc")
    monkeypatch.setattr(drawing, "VALUES", 2 * 3 * len(LAT) * len(LON))
    words = ["filled=filled.nc", "number=3"]
    run_command("members", *words, "output=whole.nc")
    original, drawn = drawing._FilledMaps.draw, []

    def stop(self, *where):
        drawn.append(where)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return original(self, *where)

    monkeypatch.setattr(drawing._FilledMaps, "draw", stop)
    assert run_command("members", *words, "output=cut.nc")[0] == 130
    code, _, err = run_command("members", *words, "output=cut.nc")
    assert code == 0, err
    assert len(drawn) == 2 + 2
    with open_dataset(tmp_path / "whole.nc") as whole, open_dataset(tmp_path / "cut.nc") as cut:
        np.testing.assert_array_equal(whole["sm_members"], cut["sm_members"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["number=3", "output=m.nc"], "filled is not given"),
        (["filled=absent.nc", "output=m.nc"], "absent.nc: no such file"),
        (["filled=filled.nc", "output=m.txt"], "output=m.txt: expected a name ending in .nc or .zarr"),
        (["filled=filled.nc", "output=m.nc", "number=0"], "number=0: expected at least 1"),
        (["filled=filled.nc", "output=m.nc", "number=many"], "number='many': expected int"),
        (["filled=filled.nc", "output=m.nc", "seed=-1"], "seed=-1: expected 0 or more"),
        (["filled=filled.nc", "output=m.nc", "time=2020-01-01"], "expected START:END"),
        (["filled=filled.nc", "output=m.nc", "time=2031-01-01:"], "holds no day"),
        (["filled=bare.nc", "output=m.nc"], "filled=bare.nc: the Dataset has no sm_std"),
        (["filled=other.nc", "output=m.nc"], "filled=other.nc: no sm_filled"),
    ],
)
def test_a_mistake_in_the_arguments_of_members_is_one_line(run_command, tmp_path, words, message):
    with_land(2).to_netcdf(tmp_path / "filled.nc")
    with_land(2).drop_vars("sm_std").to_netcdf(tmp_path / "bare.nc")
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "other.nc")
    code, _, err = run_command("members", *words)
    assert code == 1
    assert err.startswith("error: ")
    assert len(err.strip().splitlines()) == 1
    assert message in err
    assert not (tmp_path / "m.nc").exists()
