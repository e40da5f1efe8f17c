from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sgdsm.core.errors import ConfigError
from sgdsm.preprocessing.grid import Grid
from sgdsm.preprocessing.regrid import Regridder
from tests.conftest import shared_data


def source(lat, lon):
    return xr.Dataset(coords={"lat": np.asarray(lat, float), "lon": np.asarray(lon, float)})


def areas(row_edges, column_edges):
    """Areas of cells on the unit sphere, written apart from the code."""
    height = np.abs(np.diff(np.sin(np.radians(row_edges))))
    return height[:, None] * np.abs(np.diff(np.radians(column_edges)))


def smooth(lat, lon):
    phi, lam = np.radians(lat)[:, None], np.radians(lon)
    return (0.3 + 0.1 * np.sin(phi) ** 2 + 0.1 * np.cos(phi) * np.cos(3 * lam + 1)).astype(np.float32)


def mean_of(values, grid):
    weights = areas(*grid.degree_edges)
    return (values.astype(float) * weights).sum() / weights.sum()


def rough(shape, seed=0):
    return np.random.default_rng(seed).random(shape, np.float32)


@pytest.mark.parametrize(
    ("name", "shape", "corner"),
    [
        ("global_025", (720, 1440), (89.875, -179.875)),
        ("global_010", (1800, 3600), (89.95, -179.95)),
        # corners and edges that NSIDC's grid definitions tell
        ("ease2_m36", (406, 964), (83.63197, -179.81328)),
        ("ease2_m25", (584, 1388), (83.51714, -179.87032)),
        ("ease2_m09", (1624, 3856), (84.65642, -179.95332)),
    ],
)
def test_named_grids(name, shape, corner):
    grid = Grid.named(name)
    assert grid.shape == shape
    assert (grid.lat()[0], grid.lon()[0]) == pytest.approx(corner, abs=1e-5)
    assert grid.lat()[-1] == pytest.approx(-corner[0], abs=1e-5)
    assert (np.diff(grid.lat()) < 0).all()
    assert (np.diff(grid.lon()) > 0).all()
    assert grid.is_rectilinear


def test_edges_of_ease_grids_are_those_of_nsidc():
    assert Grid.named("ease2_m25").degree_edges[0][0] == pytest.approx(84.439790, abs=1e-6)
    assert Grid.named("ease2_m36").degree_edges[0][0] == pytest.approx(85.0445664, abs=1e-6)
    assert Grid.named("ease2_m09").degree_edges[1][[0, -1]] == pytest.approx([-180, 180], abs=1e-6)


@pytest.mark.parametrize("name", ["ease2_m36", "ease2_m25", "ease2_m09"])
def test_rounded_latitudes_give_the_edges_of_the_ease_grid(name):
    grid = Grid.named(name)
    told = Grid.of(source(grid.lat().astype(np.float32), grid.lon().astype(np.float32)))
    assert np.abs(told.row_edges - grid.degree_edges[0]).max() < 1e-5
    assert np.abs(told.column_edges - grid.degree_edges[1]).max() < 1e-5


def test_bbox_keeps_the_cells_whose_centres_are_inside():
    grid = Grid.regular(0.5, (10, 40, 12, 41))
    assert grid.lat().tolist() == [40.75, 40.25]
    assert grid.lon().tolist() == [10.25, 10.75, 11.25, 11.75]
    assert grid.row_edges.tolist() == [41, 40.5, 40]
    assert grid.column_edges.tolist() == [10, 10.5, 11, 11.5, 12]
    assert Grid.regular(0.5, (10.3, 40.3, 11.8, 40.8)).shape == (1, 3)


def test_bbox_over_the_date_line():
    grid = Grid.named("global_025", (179, -10, -179, -9))
    assert grid.shape == (4, 8)
    assert grid.lon()[[0, -1]].tolist() == [179.125, 180.875]
    ease = Grid.named("ease2_m36", (179, -10, -179, -9))
    assert (np.diff(ease.lon()) > 0).all()
    assert ease.lon().min() >= 179
    assert ease.lon().max() <= 181
    assert ease.shape[1] in (5, 6)
    assert np.diff(ease.columns) == pytest.approx(36032.220840584)
    assert Grid.regular(0.25, (-180, -90, 180, 90)).shape == (720, 1440)
    assert Grid.regular(1, (0, -90, 360, 90)).lon()[[0, -1]].tolist() == [0.5, 359.5]


def test_wrong_grids_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'global_025'"):
        Grid.named("global_25")
    with pytest.raises(ConfigError, match="divide 180"):
        Grid.regular(0.7)
    with pytest.raises(ConfigError, match="south < north"):
        Grid.regular(1, (0, 20, 10, 10))
    with pytest.raises(ConfigError, match="holds no centre"):
        Grid.regular(1, (0.1, 10.1, 0.2, 10.2))
    with pytest.raises(ConfigError, match=r"found 2\.500 x 1\.000"):
        Grid.projected("EPSG:6933", 1000, (0, 0, 2500, 1000))
    with pytest.raises(ConfigError, match="EPSG:6933"):
        Grid.projected("EPSG:nothing", 1000, (0, 0, 2000, 1000))


def test_coordinates_are_cf():
    degrees = Grid.named("global_025").coords()
    assert degrees["lat"].attrs["standard_name"] == "latitude"
    assert degrees["lon"].attrs["units"] == "degrees_east"
    metres = Grid.named("ease2_m36").coords()
    assert metres["y"].attrs == {"standard_name": "projection_y_coordinate", "units": "m", "axis": "Y"}
    assert metres["lat"].dims == ("y",)
    assert metres["lon"].dims == ("x",)
    assert metres["crs"].attrs["grid_mapping_name"] == "lambert_cylindrical_equal_area"
    polar = Grid.projected("EPSG:6931", 1e6, (-4e6, -4e6, 4e6, 4e6)).coords()
    assert polar["lat"].dims == ("y", "x")
    assert polar["crs"].attrs["grid_mapping_name"] == "lambert_azimuthal_equal_area"


@pytest.mark.parametrize("name", ["ease2_m36", "polar"])
def test_a_grid_is_known_again_from_its_file(name, tmp_path):
    grid = Grid.named(name) if name != "polar" else Grid.projected("EPSG:6931", 1e5, (-4e6, -4e6, 4e6, 4e6))
    xr.Dataset(coords=grid.coords()).to_netcdf(tmp_path / "grid.nc")
    with xr.open_dataset(tmp_path / "grid.nc") as file:
        assert Grid.of(file).matches(grid)


def test_points_are_found_in_their_cells():
    grid = Grid.regular(1, (170, -10, -170, 10))
    rows, columns = grid.find(np.array([9.9, -9.9, 0.1, 50.0]), np.array([-179.9, 170.1, -170.1, 175.0]))
    assert rows.tolist() == [0, 19, 9, -1]
    assert columns.tolist() == [10, 0, 19, -1]


def test_mean_of_the_sphere_is_kept_from_tenth_to_quarter_degree():
    fine, coarse = Grid.named("global_010"), Grid.named("global_025")
    values = smooth(fine.lat(), fine.lon()) + rough(fine.shape)
    found = Regridder(fine.coords(), coarse).apply(values)
    assert found.dtype == np.float32
    assert mean_of(found, coarse) == pytest.approx(mean_of(values, fine), rel=1e-6)
    # and cell by cell, against one cell counted by hand: 2.5 x 2.5 cells of 0.1 degree
    heights = np.sin(np.radians([45.0, 44.9, 44.8, 44.75]))
    weights = -np.diff(heights)[:, None] * np.array([0.1, 0.1, 0.05])
    here = values[450:453, 1800:1803].astype(float)
    assert found[180, 720] == pytest.approx((here * weights).sum() / weights.sum(), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
@example(seed=3491)  # rows that lie evenly on a cylinder, and reach beyond its ends
def test_mean_is_that_of_a_plain_loop_over_cells(seed):
    rng = np.random.default_rng(seed)
    # uneven latitudes, longitudes part or all of the way round, beginning anywhere
    lat = np.sort(rng.choice(np.arange(-89, 90), rng.integers(3, 12), replace=False))[:: rng.choice([-1, 1])].astype(
        float
    )
    columns = rng.integers(3, 12)
    step = rng.choice([360 / columns, 20.0])
    grid = Grid.of(source(lat, rng.uniform(-400, 400) + step * np.arange(columns)))
    values = np.where(rng.random(grid.shape) < 0.3, np.nan, rng.random(grid.shape))
    target = Grid.regular(30)
    total, share = np.zeros((2, *target.shape))
    sines, goal = np.sin(np.radians(grid.row_edges)), np.sin(np.radians(target.row_edges))
    for row, column in np.argwhere(np.isfinite(values)):
        south, north = sorted(sines[row : row + 2])
        west, east = grid.column_edges[column : column + 2]
        for turn in range(-3, 4):
            for i, j in np.ndindex(target.shape):
                high = min(north, goal[i]) - max(south, goal[i + 1])
                wide = min(east + 360 * turn, target.column_edges[j + 1]) - max(
                    west + 360 * turn, target.column_edges[j]
                )
                if high > 0 and wide > 0:
                    part = high * wide / (goal[i] - goal[i + 1]) / 30
                    total[i, j] += part * values[row, column]
                    share[i, j] += part
    found = Regridder(source(grid.rows, grid.columns), target).apply(values, least=0.4)
    clear = abs(share - 0.4) > 1e-3
    assert (np.isfinite(found) == (share > 0.4))[clear].all()
    np.testing.assert_allclose(found[clear & (share > 0.4)], (total / np.maximum(share, 1e-9))[clear & (share > 0.4)])


def test_mean_is_kept_to_ease_and_back():
    degrees, ease = Grid.named("global_025"), Grid.named("ease2_m36")
    values = smooth(degrees.lat(), degrees.lon())
    there = Regridder(degrees.coords(), ease).apply(values)
    # what of each row of 0.25 degree lies in the EASE-Grid
    north = ease.degree_edges[0][0]
    within = np.clip(degrees.row_edges, -north, north)
    weights = areas(within, degrees.column_edges)
    expected = (values.astype(float) * weights).sum() / weights.sum()
    assert mean_of(there, ease) == pytest.approx(expected, rel=1e-6)
    back = Regridder(ease.coords(), degrees).apply(there, least=0.01)
    assert np.isnan(back[:19]).all()  # north of 85.25 degrees
    assert (np.nan_to_num(back).astype(float) * weights).sum() / weights.sum() == pytest.approx(expected, rel=1e-6)
    inner = slice(40, -40)
    assert np.abs(back - values)[inner].max() < 0.004


@pytest.mark.parametrize("target", ["ease2_m36", "global_025"])
def test_a_constant_stays_itself(target):
    values = np.full((2, 181, 360), 0.3, np.float32)
    regridder = Regridder(source(np.linspace(90, -90, 181), np.arange(360)), Grid.named(target))
    for method in ("mean", "bilinear", "nearest", "mode"):
        assert (regridder.apply(values, method) == np.float32(0.3)).all()


def test_half_covered_cells_have_a_value_and_less_covered_ones_none():
    grid = source([2.5, 1.5, 0.5, -0.5], [0.5, 1.5, 2.5, 3.5])
    target = Grid.regular(2, (0, -2, 4, 4))
    values = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [np.nan, 1, np.nan, np.nan], [3, np.nan, 2, np.nan]], np.float32)
    found = Regridder(grid, target).apply(values)
    # rows of the target: 4..2 (the source ends at 3: half of it), 2..0, 0..-2 (the source ends at -1: half, one of two)
    assert found[0] == pytest.approx([1.5, 3.5])
    assert found[1, 0] == pytest.approx((5 + 6 + 1) / 3, rel=1e-3)
    assert found[1, 1] == pytest.approx(7.5)
    assert np.isnan(found[2]).all()
    assert np.isfinite(Regridder(grid, target).apply(values, least=0.2)[2]).all()
    assert np.isnan(Regridder(grid, target).apply(values, least=0.51)[0, 0])


@pytest.mark.parametrize("method", ["mean", "bilinear", "nearest", "mode"])
@pytest.mark.parametrize("first", [0.0, 20.0, -180.0, -175.3])
def test_longitudes_of_any_turn_give_the_same_map(method, first):
    lat = 89.5 - np.arange(180)
    lon = -180 + 0.5 + np.arange(360)
    values = np.round(smooth(lat, lon), 2 if method == "mode" else 7)
    values[20:30, 355:] = values[20:30, :5] = np.nan
    target = Grid.regular(2.5)
    expected = Regridder(source(lat, lon), target).apply(values, method)
    assert np.isfinite(expected[50]).all()
    start = int(np.ceil(first - lon[0]) % 360)
    turned = lon[start] + np.arange(360.0) + (360.0 if lon[start] < first else 0.0)
    rolled = np.roll(values, -start, 1)
    found = Regridder(source(lat[::-1], turned), target).apply(rolled[::-1], method)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # and unsorted, as 0..180, -180..0 are kept in files
    wrapped = (turned + 180) % 360 - 180
    np.testing.assert_allclose(Regridder(source(lat, wrapped), target).apply(rolled, method), expected, atol=1e-6)


def test_a_cell_on_the_date_line_takes_from_both_sides():
    lon = np.arange(0.0, 360.0, 2)  # cells -1..1, 1..3, ..., 179..181
    values = np.broadcast_to(np.where(lon == 180, 1.0, 0.0), (90, 180)).astype(np.float32)
    found = Regridder(source(89 - 2.0 * np.arange(90), lon), Grid.regular(2)).apply(values)
    assert found[:, [0, -1]] == pytest.approx(0.5)
    assert found[:, 1:-1] == pytest.approx(0)
    crossing = Regridder(source(89 - 2.0 * np.arange(90), lon), Grid.regular(2, (177, -2, -177, 2)))
    assert crossing.apply(values).tolist() == [[0, 0.5, 0.5, 0]] * 2
    assert crossing.apply(values, "bilinear")[0] == pytest.approx([0, 0.5, 0.5, 0])


def test_a_repeated_column_counts_once():
    lon = np.arange(20.0, 381.0, 20)
    values = np.broadcast_to(np.arange(19.0), (9, 19)).copy()
    values[:, -1] = 0
    once = Regridder(source(80 - 20.0 * np.arange(9), lon[:-1]), Grid.regular(30))
    twice = Regridder(source(80 - 20.0 * np.arange(9), lon), Grid.regular(30))
    for method in ("mean", "bilinear"):
        assert twice.apply(values, method) == pytest.approx(once.apply(values[:, :-1], method), abs=1e-12)


def test_north_is_up():
    lat = -89.5 + np.arange(180)  # south first
    values = np.repeat(lat[:, None], 360, 1)
    regridder = Regridder(source(lat, -179.5 + np.arange(360)), Grid.regular(5))
    for method in ("mean", "bilinear", "nearest", "mode"):
        assert (np.diff(regridder.apply(values, method)[:, 0]) < 0).all()


def test_a_target_of_one_cell():
    target = Grid.regular(1, (10, 45, 11, 46))
    assert target.shape == (1, 1)
    grid = source(45.9 - 0.2 * np.arange(5), 10.1 + 0.2 * np.arange(5))
    values = rough((5, 5)).astype(float)
    weights = areas(46 - 0.2 * np.arange(6), 10 + 0.2 * np.arange(6))
    found = Regridder(grid, target).apply(values)
    assert found[0, 0] == pytest.approx((values * weights).sum() / weights.sum(), rel=1e-9)
    with pytest.raises(ConfigError, match="at least two centres"):
        Regridder(source([45.5], [10.5, 11.5]), target)


def test_bilinear_is_exact_for_planes_and_ends_with_the_source():
    lat, lon = 50.5 - np.arange(10), 5.5 + np.arange(12)
    values = 2 * lat[:, None] + 3 * lon
    target = Grid.regular(0.36, (4, 40, 19, 52))  # no centre on an edge of the source
    found = Regridder(source(lat, lon), target).apply(values, "bilinear")
    y, x = target.lat()[:, None], target.lon()
    held = 2 * np.clip(y, 41.5, 50.5) + 3 * np.clip(x, 5.5, 16.5)
    inside = (y > 41) & (y < 51) & (x > 5) & (x < 17)
    assert found[inside] == pytest.approx(held[inside])
    assert np.isnan(found[~inside]).all()
    values[3, 4] = np.nan
    gappy = Regridder(source(lat, lon), target).apply(values, "bilinear")
    nearest = Regridder(source(lat, lon), target).apply(values, "nearest")
    assert np.isnan(gappy[inside & np.isnan(nearest)]).any()
    assert np.isnan(nearest[inside]).sum() in (4, 6, 9)
    assert np.isfinite(gappy).sum() > np.isfinite(nearest).sum() - 9


def test_mode_is_the_class_with_most_area():
    grid = source([2.5, 1.5, 0.5], [0.5, 1.5, 2.5, 3.5])
    classes = np.array([[4, 4, 7, 2], [4, 9, 2, 7], [9, 9, 255, 255]], np.uint8)
    target = Grid.regular(2, (0, 0, 4, 4))
    found = Regridder(grid, target).apply(classes, "mode")
    # 4..2 N: a row of the source; 2..0 N: cells of nearly one size
    assert found.tolist() == [[4, 2], [9, 255]]
    assert np.isnan(Regridder(grid, target).apply(classes, "mode", least=0.9)[0]).all()
    missing = classes.astype(np.float32)
    missing[missing == 255] = np.nan
    assert Regridder(grid, target).apply(missing, "mode")[1, 1] == 2


def test_the_sources_own_grid_comes_back_as_it_is():
    grid = Grid.named("global_025")
    values = rough((3, 720, 1440))
    regridder = Regridder(source(grid.lat().astype(np.float32), grid.lon().astype(np.float32)), grid)
    assert regridder.apply(values) is values


def test_stacks_are_maps_one_by_one():
    regridder = Regridder(source(89.5 - np.arange(180), np.arange(360)), Grid.regular(2.5))
    stack = rough((2, 3, 180, 360))
    found = regridder.apply(stack)
    assert found.shape == (2, 3, 72, 144)
    assert (found[1, 2] == regridder.apply(stack[1, 2])).all()


def test_what_cannot_be_regridded_is_refused():
    regional = source(50.5 - np.arange(10), 5.5 + np.arange(12))
    with pytest.raises(ConfigError, match="outside of the source"):
        Regridder(regional, Grid.regular(1, (100, 0, 110, 10)))
    found = Regridder(regional, Grid.regular(1, (0, 45, 10, 48))).apply(np.ones((10, 12), np.float32))
    assert np.isnan(found[:, :5]).all()
    assert (found[:, 5:] == 1).all()
    with pytest.raises(ConfigError, match=r"maps of \(3, 4\) cells"):
        Regridder(regional, Grid.regular(1, (0, 45, 10, 48))).apply(np.ones((3, 4)))
    with pytest.raises(ConfigError, match="method 'median': expected one of mean"):
        Regridder(regional, Grid.regular(1, (0, 45, 10, 48))).apply(np.ones((10, 12)), "median")
    mapping = xr.Variable((), 0, {"grid_mapping_name": "flat_earth"})
    with pytest.raises(ConfigError, match="grid mapping 'crs'"):
        Regridder(xr.Dataset(coords={"y": [1.0, 2.0], "x": [1.0, 2.0], "crs": mapping}), Grid.regular(1))
    with pytest.raises(ConfigError, match="expected lat and lon, or y, x and crs"):
        Regridder(xr.Dataset(coords={"y": [1.0, 2.0], "x": [1.0, 2.0]}), Grid.regular(1))


def polar_field(lat, lon):
    return 0.3 + 0.2 * np.sin(np.radians(2 * lat)) * np.cos(np.radians(lon))


@pytest.mark.parametrize("kind", ["projected", "points"])
@pytest.mark.parametrize("resolution", [0.25, 2.0])
def test_polar_grid_to_degrees(kind, resolution):
    polar = Grid.projected("EPSG:6931", 25000, (-3e6, -3e6, 3e6, 3e6))
    values = polar_field(polar.lat(), polar.lon())
    coords = xr.Dataset(coords=polar.coords())
    coords = coords.drop_vars(["crs", "x", "y"]) if kind == "points" else coords
    target = Grid.regular(resolution, (-180, 60, 180, 90))
    regridder = Regridder(coords, target)
    expected = polar_field(target.lat()[:, None], target.lon())
    lat = np.broadcast_to(target.lat()[:, None], target.shape)
    rows = (lat > 66) & (lat < 88)
    for method in ("mean", "nearest", *(["bilinear"] if kind == "projected" else [])):
        found = regridder.apply(values, method)
        assert np.isfinite(found[lat > 64]).all()
        worst = np.abs(found - expected)[rows].max()
        assert worst < (1e-4 if method == "bilinear" else 0.006), method
    corner = np.abs(target.lon() % 90) < 5  # the square ends at 62.7 degrees on its axes
    assert np.isnan(regridder.apply(values)[-1, corner & (np.abs(target.lon()) > 1)]).all()
    # a hole is a hole
    values[(polar.lat() > 70) & (polar.lat() < 80)] = np.nan
    hole = regridder.apply(values)
    assert np.isnan(hole[(lat > 71.2) & (lat < 78.8)]).all()
    assert np.isfinite(hole[(lat > 81.2)]).all()


def test_degrees_to_a_polar_grid_and_points_without_bilinear():
    grid = Grid.named("global_025", (-180, 40, 180, 90))
    polar = Grid.projected("EPSG:6931", 25000, (-3e6, -3e6, 3e6, 3e6))
    expected = polar_field(polar.lat(), polar.lon())
    regridder = Regridder(grid.coords(), polar)
    values = polar_field(grid.lat()[:, None], grid.lon())
    for method, limit in (("mean", 0.003), ("bilinear", 1e-5), ("nearest", 0.006)):
        away = polar.lat() < 88
        assert np.abs(regridder.apply(values, method) - expected)[away].max() < limit
    points = xr.Dataset(coords=polar.coords()).drop_vars(["crs", "x", "y"])
    with pytest.raises(ConfigError, match="bilinear"):
        Regridder(points, grid).apply(expected, "bilinear")


def test_degrees_with_a_crs_are_latitudes():
    degrees = Grid.regular(1, (10, 40, 20, 50))
    coords = xr.Dataset(coords={"y": degrees.rows, "x": degrees.columns}, attrs={"crs": "EPSG:4326"})
    assert Grid.of(coords).matches(degrees)


def test_sinusoidal_tile():
    sinusoidal = "+proj=sinu +lon_0=0 +R=6371007.181 +units=m +no_defs"
    size = 1111950.519667 / 240  # tile h18v04 at 4.6 km
    tile = Grid.projected(sinusoidal, size, (0, 4447802.078667, 1111950.519667, 5559752.598333))
    assert not tile.is_rectilinear
    assert tile.lat()[0, 0] == pytest.approx(50 - 10 / 480, abs=1e-6)
    classes = np.where(tile.lat() > 45, 3, 8)
    target = Grid.regular(0.25, (0, 40, 10, 50))
    found = Regridder(xr.Dataset(coords=tile.coords()), target).apply(classes, "mode")
    assert (found[:20] == 3).all()
    assert (found[20:] == 8).all()
    latitudes = Regridder(xr.Dataset(coords=tile.coords()), target).apply(tile.lat())
    assert np.abs(latitudes - target.lat()[:, None]).max() < 0.02


def test_two_dimensional_coordinates_of_a_rectilinear_grid_are_axes():
    lat, lon = np.meshgrid(89.5 - np.arange(180), np.arange(360), indexing="ij")
    coords = xr.Dataset(coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)})
    values = smooth(lat[:, 0], lon[0])
    expected = Regridder(source(lat[:, 0], lon[0]), Grid.regular(2.5)).apply(values)
    assert (Regridder(coords, Grid.regular(2.5)).apply(values) == expected).all()


@pytest.mark.shared_data
def test_real_elevation_whose_longitudes_begin_at_20():
    with xr.open_dataset(shared_data() / "products" / "dem_etopo20" / "etopo20.cdf", decode_times=False) as file:
        names = [str(n) for n in file.data_vars if file[n].ndim == 2]
        elevation = file[names[0]].load()
    rows, columns = elevation.dims
    coords = source(elevation[rows].values, elevation[columns].values)
    found = Regridder(coords, Grid.regular(1)).apply(elevation.values.astype(np.float32))
    lat, lon = Grid.regular(1).lat(), Grid.regular(1).lon()

    def at(y, x):
        return found[np.abs(lat - y).argmin(), np.abs(lon - x).argmin()]

    assert at(32.5, 88.5) > 4500  # Tibet
    assert at(-23.5, 134.5) > 300  # Australia
    assert at(0.5, -179.5) < -4000
    assert at(0.5, 179.5) < -4000
    assert 2000 < at(72.5, -39.5) < 3500  # Greenland
