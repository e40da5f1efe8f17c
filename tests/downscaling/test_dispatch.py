"""DISPATCH against its own formulas, numbers of a simulation, planted edges, and by the command on files."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sgdsm.downscaling.dispatch import (
    Edges,
    disaggregated,
    evaporative_efficiency,
    fitted_edges,
    scene_efficiency,
    vegetation_cover,
    vegetation_temperature,
)

EDGES = Edges(320.0, 306.0, 300.0, 296.0)


def test_the_line_is_the_derivative_and_the_product_of_some_copies_is_not():
    for m in (0.2, 0.35, 0.5, 0.8):
        moisture, step = 0.25, 1e-6
        scale = moisture / np.arccos(1 - 2 * m)  # SMp / pi
        slope = scale * (np.arccos(1 - 2 * (m + step)) - np.arccos(1 - 2 * (m - step))) / (2 * step)
        fine = disaggregated(np.array([moisture]), np.array([m - 0.01, m + 0.01]), np.zeros(2, int))
        ours = (fine[1] - fine[0]) / 0.02
        assert ours / slope == pytest.approx(1, abs=1e-6)
        product = scale * np.sqrt(m - m**2)
        assert product / ours == pytest.approx(m - m**2, rel=1e-6)
    # .16 at m = .2, .25 at m = .5
    assert pytest.approx(0.16) == 0.2 - 0.2**2


@pytest.mark.parametrize(
    ("spread", "line", "arccos", "off"),
    [(0.02, 0.0002, 0.0001, 0.0001), (0.1, 0.008, 0.004, 0.004), (0.2, 0.020, 0.013, 0.011)],
)
def test_errors_of_line_and_arccos_grow_with_the_spread(spread, line, arccos, off):
    efficiency = np.clip(np.random.default_rng(0).normal(0.2, spread, 200_000), 0, 1)
    truth = 0.345 / np.pi * np.arccos(1 - 2 * efficiency)
    cell, coarse = np.zeros(truth.size, int), np.array([truth.mean()])
    found = disaggregated(coarse, efficiency, cell)
    shifted = disaggregated(coarse, efficiency, cell, "arccos")
    m = efficiency.mean()
    alone = coarse / np.arccos(1 - 2 * m) * np.arccos(1 - 2 * efficiency)
    half = 0.55 * 10.0 ** -(4 if spread < 0.05 else 3)  # of the last digit that is known
    assert np.sqrt(np.mean((found - truth) ** 2)) == pytest.approx(line, abs=half)
    assert np.sqrt(np.mean((alone - truth) ** 2)) == pytest.approx(arccos, abs=half)
    assert coarse[0] - alone.mean() == pytest.approx(off, abs=half)
    # shifted back, the mean is that of the cell and the rest is nearer to the truth than the line
    assert abs(shifted.mean() - coarse[0]) < 5e-15
    assert abs(found.mean() - coarse[0]) < 5e-15
    assert np.std(shifted - truth) <= np.std(found - truth)


def test_means_of_many_cells_stay_and_doubtful_cells_are_missing():
    rng = np.random.default_rng(1)
    cell = rng.permutation(np.repeat(np.arange(6), 50))
    efficiency = rng.uniform(0.2, 0.8, cell.size)
    efficiency[np.flatnonzero(cell == 1)[:26]] = np.nan  # clouded: less than half is left
    efficiency[np.flatnonzero(cell == 2)[:25]] = np.nan  # half is left
    efficiency[cell == 3] = 0.99
    coarse = np.array([0.2, 0.2, 0.2, 0.2, np.nan, 0.3])
    cell[:3] = -1
    for inverse in ("line", "arccos"):
        fine = disaggregated(coarse, efficiency, cell, inverse)
        for number in (0, 2, 5):
            own = fine[cell == number]
            assert abs(np.nanmean(own) - coarse[number]) < 1e-15
            assert np.isfinite(own).sum() == np.isfinite(efficiency[cell == number]).sum()
        assert np.isnan(fine[np.isin(cell, [-1, 1, 3, 4])]).all()


def test_the_canopy_is_the_middle_of_what_is_possible():
    # the four parts between the diagonals of the space of cover and temperature
    def canopy(temperature: float, cover: float) -> float:
        return float(vegetation_temperature(np.array([temperature]), np.array([cover]), EDGES)[0])

    # little cover: the soil takes up the whole contrast, and the mean of both ends is as good as any
    assert canopy(309, 0.2) == pytest.approx((306 + 296) / 2)
    # much cover: the soil is between its ends, the canopy makes up the rest
    assert canopy(301.5, 0.8) == pytest.approx((301.5 - 0.2 * (320 + 300) / 2) / 0.8)
    # hot: the soil cannot be hotter than dry
    assert canopy(312, 0.5) == pytest.approx((306 + (312 - 0.5 * 320) / 0.5) / 2)
    # cool: it cannot be cooler than wet
    assert canopy(299, 0.5) == pytest.approx((296 + (299 - 0.5 * 300) / 0.5) / 2)


def test_efficiency_is_0_and_1_on_the_edges_and_missing_beyond():
    cover = np.array([0.0, 0.3, 0.6, 0.85])
    dry = EDGES.dry_bare + cover * (EDGES.dry_full - EDGES.dry_bare)
    wet = EDGES.wet_bare + cover * (EDGES.wet_full - EDGES.wet_bare)
    np.testing.assert_allclose(evaporative_efficiency(dry, cover, EDGES), 0, atol=1e-9)
    np.testing.assert_allclose(evaporative_efficiency(wet, cover, EDGES), 1, atol=1e-9)
    assert np.isnan(evaporative_efficiency(dry + 1, cover, EDGES)).all()
    assert np.isnan(evaporative_efficiency(wet - 1, cover, EDGES)).all()
    middle = (dry + wet) / 2
    assert evaporative_efficiency(middle, cover, EDGES)[0] == pytest.approx(0.5)
    assert np.isnan(evaporative_efficiency(middle, cover, EDGES, largest_fvc=0.5)[2:]).all()
    np.testing.assert_allclose(vegetation_cover(np.array([0.1, 0.15, 0.525, 0.9, 0.95])), [0, 0, 0.5, 1, 1])


def test_planted_edges_are_found_and_scenes_without_any_are_not():
    rng = np.random.default_rng(2)
    cover, place = rng.uniform(0, 0.95, 20_000), rng.uniform(0, 1, 20_000)
    dry = EDGES.dry_bare + cover * (EDGES.dry_full - EDGES.dry_bare)
    wet = EDGES.wet_bare + cover * (EDGES.wet_full - EDGES.wet_bare)
    found = fitted_edges(cover, wet + place * (dry - wet), 0.005)
    np.testing.assert_allclose(found, EDGES, atol=0.4)
    # a scene of one cover has level edges
    level = fitted_edges(np.full(200, 0.3), np.linspace(300, 310, 200))
    assert level is not None
    assert (level.dry_bare, level.wet_bare) == (level.dry_full, level.wet_full)
    assert level.dry_bare == pytest.approx(309.8, abs=0.01)
    assert fitted_edges(cover[:29], dry[:29]) is None
    assert fitted_edges(np.full(200, 0.3), np.full(200, 300.0)) is None


def files(folder) -> tuple[xr.DataArray, np.ndarray]:
    """Coarse soil moisture on 2 x 3 cells, temperature and NDVI on 20 x 30 pixels; three days, the second clouded."""
    rng = np.random.default_rng(3)
    lat, lon = 45.99 - 0.02 * np.arange(20), 9.01 + 0.02 * np.arange(30)
    days = np.arange("2020-07-01", "2020-07-04", dtype="datetime64[D]").astype("datetime64[ns]")
    ndvi = rng.uniform(0.15, 0.7, (20, 30))
    cover = vegetation_cover(ndvi)
    efficiency = rng.uniform(0, 1, (3, 20, 30))
    # the canopy does not tell: only the soil's contrast does
    edges = Edges(320.0, 301.0, 300.0, 301.0)
    soil = edges.dry_bare - efficiency * (edges.dry_bare - edges.wet_bare)
    kelvin = cover * 301 + (1 - cover) * soil
    kelvin[1] = np.nan
    truth = 0.4 / np.pi * np.arccos(1 - 2 * efficiency)
    coarse = truth.reshape(3, 2, 10, 3, 10).mean((2, 4))
    place = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    fine = {"time": days, **place}
    dims = ("time", "lat", "lon")
    xr.Dataset({"LST": (dims, kelvin - 273.15, {"units": "degC"})}, fine).to_netcdf(folder / "lst.nc")
    xr.Dataset({"NDVI": (dims, ndvi[None], {"units": "1"})}, {**fine, "time": days[:1]}).to_netcdf(folder / "ndvi.nc")
    means = {"time": days, "lat": lat.reshape(2, 10).mean(1), "lon": lon.reshape(3, 10).mean(1)}
    filled = xr.Dataset({"sm_filled": (dims, coarse, {"units": "m3 m-3"})}, means)
    filled.to_netcdf(folder / "filled.nc")
    return filled["sm_filled"], truth


WORDS = {"filled": "filled.nc", "lst": "lst.nc:LST", "ndvi": "ndvi.nc:NDVI", "output": "fine.nc", "inverse": "arccos"}


def test_the_command_writes_a_file_whose_means_are_the_coarse_values(run_command, tmp_path):
    coarse, truth = files(tmp_path)
    code, out, err = run_command("downscale", "dispatch", *(f"{k}={v}" for k, v in WORDS.items()))
    assert code == 0, err
    assert "3 days, 2020-07-01 to 2020-07-03" in out
    assert "66.7% of them are clear" in out
    with xr.open_dataset(tmp_path / "fine.nc") as found:
        values = found["sm_dispatch"].values
        assert values.shape == truth.shape
        assert found["sm_dispatch"].attrs["units"] == "m3 m-3"
        assert found["sm_dispatch"].dtype == np.float32
        np.testing.assert_allclose(found["lat"], 45.99 - 0.02 * np.arange(20))
        assert "Merlin" in found.attrs["references"]
        assert np.isnan(values[1]).all()
        blocks = values.reshape(3, 2, 10, 3, 10)
        np.testing.assert_allclose(np.nanmean(blocks[[0, 2]], (2, 4)), coarse.values[[0, 2]], atol=1e-7)
        known = np.isfinite(values)
        repeated = np.repeat(np.repeat(coarse.values, 10, 1), 10, 2)
        # edges are fitted, and a hundredth of the pixels lies beyond each: near to the truth, nearer than the coarse
        assert known[[0, 2]].mean() > 0.8
        assert np.std((values - truth)[known]) < 0.4 * np.std((repeated - truth)[known])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["filled.nc", "fine.nc", "lst.nc", "ndvi.nc"]


def test_one_dated_map_of_ndvi_counts_as_long_as_it_is_near(run_command, tmp_path):
    files(tmp_path)
    with xr.open_dataset(tmp_path / "ndvi.nc") as dated:
        dated.isel(time=0, drop=True).to_netcdf(tmp_path / "timeless.nc")
    for name, told in (("ndvi.nc", [True, False, False]), ("timeless.nc", [True, False, True])):
        words = WORDS | {"ndvi": f"{name}:NDVI", "ndvi_days": "1", "output": f"of_{name}"}
        code, _, err = run_command("downscale", "dispatch", *(f"{k}={v}" for k, v in words.items()))
        assert code == 0, err
        with xr.open_dataset(tmp_path / f"of_{name}") as found:
            assert found["sm_dispatch"].notnull().any(("lat", "lon")).values.tolist() == told


def test_scenes_have_edges_of_their_own():
    rng = np.random.default_rng(4)
    cover, temperature = rng.uniform(0, 0.9, 300), rng.uniform(290, 310, 300)
    scene = np.arange(300) % 4 - 1
    temperature[scene == 2] += 20
    temperature[0], cover[1] = np.nan, np.nan
    found, edges = scene_efficiency(temperature, cover, scene)
    assert sorted(edges) == [0, 1, 2]
    assert np.isnan(found[scene < 0]).all()
    for number in range(3):
        own = (scene == number) & np.isfinite(cover)
        assert edges[number] == fitted_edges(cover[own], temperature[own])
        np.testing.assert_array_equal(found[own], evaporative_efficiency(temperature[own], cover[own], edges[number]))
    empty, none = scene_efficiency(temperature, cover, np.full(300, -1))
    assert np.isnan(empty).all()
    assert none == {}


def test_a_projected_fine_grid_keeps_its_crs_and_finds_the_cells_in_degrees(run_command, tmp_path):
    pyproj = pytest.importorskip("pyproj")
    rng = np.random.default_rng(0)
    days = np.array(["2020-07-01"], "datetime64[ns]")
    y, x = 5_000_000 - 1000 * (np.arange(20) + 0.5), 500_000 + 1000 * (np.arange(30) + 0.5)
    dims, mapped = ("time", "y", "x"), {"grid_mapping": "crs"}
    fine = xr.Dataset(
        {
            "LST": (dims, rng.uniform(295, 315, (1, 20, 30)), {"units": "K", **mapped}),
            "NDVI": (dims[1:], rng.uniform(0.2, 0.7, (20, 30)), {"units": "1", **mapped}),
            "crs": ((), 0, pyproj.CRS("EPSG:32632").to_cf()),
        },
        {"time": days, "y": y, "x": x},
    )
    fine.to_netcdf(tmp_path / "lst.nc")
    to_degrees = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True).transform
    lon, lat = (
        to_degrees(x.reshape(3, 10).mean(1), np.full(3, y.mean()))[0],
        to_degrees(np.full(2, x.mean()), [4_995_000, 4_985_000])[1],
    )
    coarse = xr.Dataset({"sm_filled": (("time", "lat", "lon"), rng.uniform(0.1, 0.3, (1, 2, 3)), {"units": "m3 m-3"})})
    coarse.assign_coords(time=days, lat=lat, lon=lon).to_netcdf(tmp_path / "filled.nc")
    words = WORDS | {"ndvi": "lst.nc:NDVI"}
    code, _, err = run_command("downscale", "dispatch", *(f"{k}={v}" for k, v in words.items()))
    assert code == 0, err
    with xr.open_dataset(tmp_path / "fine.nc") as found:
        assert pyproj.CRS(found["crs"].attrs["crs_wkt"]) == pyproj.CRS("EPSG:32632")
        assert found["sm_dispatch"].attrs["grid_mapping"] == "crs"
        np.testing.assert_array_equal(found["x"], x)
        # cells in degrees are turned a little against those of the projection: some pixels at borders are of neighbours
        means = found["sm_dispatch"].values.reshape(2, 10, 3, 10)
        np.testing.assert_allclose(np.nanmean(means, (1, 3)), coarse["sm_filled"].values[0], atol=0.02)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"lst": "lst.nc"}, "lst=lst.nc: expected FILE:VARIABLE"),
        ({"lst": "lst.nc:T"}, "lst.nc: no variable 'T'"),
        ({"lst": "ndvi.nc:NDVI"}, "ndvi.nc: 'NDVI' is no temperature"),
        ({"ndvi": "lst.nc:LST"}, "lst.nc: 'LST' has values from"),
        ({"ndvi": "filled.nc:sm_filled"}, "bring the files to one grid"),
        ({"filled": "lst.nc", "estimate": "LST"}, "expected a grid that is at least twice as fine"),
        ({"output": "lst.nc"}, "output=lst.nc: is one of the inputs"),
        ({"output": "fine.tif"}, "output=fine.tif: expected a name that ends in .nc"),
        ({"largest_fvc": "1.5"}, "largest_fvc=1.5: expected 0.05 to 0.99"),
        ({"filled": "other.nc"}, "lst.nc: has 2020-07-01 to 2020-07-03, and no day of other.nc"),
        ({"filled": "far.nc"}, "lst.nc: no pixel lies in a cell of far.nc"),
        ({"lst": "packed.nc:LST"}, "packed.nc: 'LST' has values from"),
    ],
)
def test_bad_inputs_end_in_one_line(run_command, tmp_path, words, said):
    files(tmp_path)
    with xr.open_dataset(tmp_path / "filled.nc") as filled:
        filled.assign_coords(time=filled["time"] + np.timedelta64(400, "D")).to_netcdf(tmp_path / "other.nc")
        filled.assign_coords(lat=filled["lat"] - 30).to_netcdf(tmp_path / "far.nc")
    with xr.open_dataset(tmp_path / "lst.nc") as lst:
        packed = (lst + 273.15) / 0.02
        packed["LST"].attrs["units"] = "K"
        packed.to_netcdf(tmp_path / "packed.nc")
    code, _, err = run_command("downscale", "dispatch", *(f"{k}={v}" for k, v in (WORDS | words).items()))
    lines = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert (code, len(lines)) == (1, 1), err
    assert said in lines[0]
    assert not (tmp_path / "fine.nc").exists()
