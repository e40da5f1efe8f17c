from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import CubeError
from sgdsm.report.coverage import availability, availability_lines, coverage, figure

PACKAGE = Path(__file__).resolve().parents[2] / "sgdsm"
DAY = "2020-01-10"


@pytest.fixture
def svg() -> Iterator[None]:
    """The user has chosen a backend that is not the package's."""
    before = plt.get_backend()
    plt.switch_backend("svg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def doubtful(filled: xr.Dataset) -> xr.Dataset:
    """With the variables of a run with intervals, those first whose names are not the target's."""
    maps = filled["sm_filled"]
    more = {"sm_flag": (maps.dims, np.ones(maps.shape, np.int8)), "sm_distance": (maps.dims, np.full(maps.shape, 7.0))}
    more |= {f"sm_{name}": (maps.dims, np.full(maps.shape, 0.1)) for name in ("std", "std_epistemic", "lower", "upper")}
    joined = filled.assign(more)
    return joined[sorted(joined.data_vars, key=lambda name: name in filled)]


def drawn(figure, axis: int = 0) -> np.ndarray:
    return np.ma.filled(figure.axes[axis].images[0].get_array(), np.nan)


def test_availability_of_covariates_alone_and_together(world):
    shares = availability(world)
    names = ["precipitation", "air_temperature", "shortwave_down", "surface_temperature"]
    land = world["land"].values
    known = {name: np.isfinite(world[name].values[:, land]) for name in names}
    for name in names:
        assert shares[name] == pytest.approx(known[name].mean())
    assert shares["clay"] == np.isfinite(world["clay"].values[land]).mean()
    assert list(shares)[-1] == "all together"
    assert shares["all together"] == pytest.approx(np.logical_and.reduce(list(known.values())).mean())
    assert 0.3 < shares["surface_temperature"] < 0.9, "clouds hide it"
    assert availability(world.assign(land=world["land"] & False)) == {}
    assert f"surface_temperature {shares['surface_temperature']:7.1%}" in availability_lines(shares)


def test_no_module_touches_pyplot_or_the_backend():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                if names == ["rc_context", "matplotlib"]:
                    continue  # settings within a block
                assert not any("pyplot" in name or name in ("matplotlib", "pylab") for name in names), path


@pytest.mark.usefixtures("svg")
def test_drawing_leaves_the_backend_and_opens_no_figure(filled, cube, tmp_path):
    made = filled()
    figures = [made.sgdsm.plot_day(DAY), made.sgdsm.plot_series(lat=48, lon=7)]
    figure(cube, coverage(cube), tmp_path / "describe.png", availability(cube))
    assert plt.get_backend() == "svg"
    assert not plt.get_fignums()
    # what IPython asks for where pyplot has not told it about figures
    assert all(one._repr_png_().startswith(b"\x89PNG") for one in figures)
    figures[0].savefig(tmp_path / "day.pdf")
    assert (tmp_path / "describe.png").stat().st_size > 10_000


@pytest.mark.parametrize("target", ["sm", "soil_moisture", "swi", "zz", "sm_am"])
def test_what_is_drawn_as_observed_is_the_target(filled, target):
    made = doubtful(filled(target))
    assert made["sm_filled"].attrs["observed_variable"] == target
    maps, series = made.sgdsm.plot_day(DAY), made.sgdsm.plot_series(lat=48, lon=7)
    np.testing.assert_array_equal(drawn(maps), made[target].sel(time=DAY).values)
    assert maps.get_suptitle() == f"{target}, {DAY}"
    (seen,) = (line for line in series.axes[0].lines if line.get_label() == "observed")
    np.testing.assert_array_equal(seen.get_ydata(), made[target].sel(lat=48, lon=7).values)


def test_a_file_that_does_not_name_it(filled, tmp_path):
    made = doubtful(filled("swi"))
    expected = made["swi"].sel(time=DAY).values
    made.to_netcdf(tmp_path / "new.nc")
    with open_dataset(tmp_path / "new.nc") as read:
        np.testing.assert_array_equal(drawn(read.sgdsm.plot_day(DAY)), expected)
    # renamed, and one of an older version: sm_source tells
    np.testing.assert_array_equal(drawn(made.rename(swi="theirs").sgdsm.plot_day(DAY)), expected)
    del made["sm_filled"].attrs["observed_variable"]
    np.testing.assert_array_equal(drawn(made.sgdsm.plot_day(DAY)), expected)
    less = made.drop_vars("sm_source")
    for draw in (lambda: less.sgdsm.plot_day(DAY), lambda: less.sgdsm.plot_series(lat=48, lon=7)):
        with pytest.raises(CubeError, match=r"nothing says which variable holds the observed values.*observed='NAME'"):
            draw()
    np.testing.assert_array_equal(drawn(less.sgdsm.plot_day(DAY, observed="swi")), expected)
    with pytest.raises(CubeError, match=r"observed='swii': expected .* \(did you mean 'swi'\?\); there are "):
        less.sgdsm.plot_day(DAY, observed="swii")
    with pytest.raises(CubeError, match="observed='land': expected a variable with the dims of sm_filled"):
        less.sgdsm.plot_day(DAY, observed="land")


def test_a_turned_dataset_is_drawn_alike(filled):
    made = doubtful(filled())
    turned = made.sortby("lat").transpose("lon", "lat", "time")
    one, two = made.sgdsm.plot_day(date(2020, 1, 10)), turned.sgdsm.plot_day(np.datetime64(DAY))
    for axis in range(3):
        np.testing.assert_array_equal(drawn(one, axis), drawn(two, axis))
        assert one.axes[axis].images[0].get_extent() == two.axes[axis].images[0].get_extent()
    turned.sgdsm.plot_series(lon=6.2, lat=49)


@pytest.mark.filterwarnings("error")
def test_a_day_without_values_and_a_dataset_with_less(filled):
    made = filled()
    made["sm_filled"][5] = np.nan
    assert np.isnan(drawn(made.sgdsm.plot_day("2020-01-06"), 1)).all()
    assert len(made[["sm", "sm_filled"]].sgdsm.plot_day(DAY).axes) == 4  # two maps and their bars
    lost = doubtful(made)
    made["sm_lower"] = lost["sm_lower"] * 1  # its attributes have gone
    made["sm_upper"] = lost["sm_upper"]
    labels = made.sgdsm.plot_series(lat=48, lon=7).axes[0].get_legend_handles_labels()[1]
    assert "interval" in labels


@pytest.mark.parametrize(
    ("day", "message"),
    [
        ("1999-01-01", "day=1999-01-01: not in the Dataset, which has 2020-01-01 to 2020-02-09"),
        ("2020-01", "day='2020-01': expected a day like '2015-05-05'"),
        ("tomorrow", "day='tomorrow': expected"),
        ("", "day='': expected"),
        (None, "day=None: expected"),
        (5, "day=5: expected"),
        (np.datetime64("NaT"), "day=.*: expected a day"),
        ([DAY, DAY], r"day=\['2020-01-10', '2020-01-10'\]: expected"),
    ],
)
def test_days_that_cannot_be_drawn(filled, day, message):
    with pytest.raises(CubeError, match=message):
        filled().sgdsm.plot_day(day)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({}, "place: expected lat= and lon=, found none"),
        ({"lat": 48}, "place: expected lat= and lon=, found lat="),
        ({"latitude": 48, "longitude": 7}, "found latitude=, longitude="),
        ({"y": 0, "x": 0}, "found y=, x="),
        ({"lat": 48, "lon": "7"}, "lon='7': expected a finite number"),
        ({"lat": None, "lon": 7}, "lat=None: expected a finite number"),
        ({"lat": np.nan, "lon": 7}, "lat=nan: expected a finite number"),
        ({"lat": 4800, "lon": 7}, "lat=4800 lies outside the Dataset"),
        ({"lat": np.inf, "lon": 7}, "lat=inf: expected a finite number"),
    ],
)
def test_places_that_cannot_be_drawn(filled, place, message):
    with pytest.raises(CubeError, match=message):
        filled().sgdsm.plot_series(**place)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop_vars("sm_filled"), "no variable 'sm_filled' among sm, sm_source, gap_age, land"),
        (lambda f: f.isel(time=3), "sm_filled has dims .*: expected time and lat, lon"),
        (lambda f: f.isel(lat=slice(0, 0)), "sm_filled is empty"),
        (lambda f: f.mean("lon", keep_attrs=True), "dims"),
        (lambda f: f.assign_coords(time=np.arange(40)), "time holds int64 values, expected dates"),
        (lambda _: xr.Dataset(), "not a filled Dataset: no variable 'sm_filled' among none"),
    ],
)
def test_what_is_no_filled_dataset(filled, change, message):
    changed = change(filled())
    for draw in (lambda: changed.sgdsm.plot_day(DAY), lambda: changed.sgdsm.plot_series(lat=48, lon=7)):
        with pytest.raises(CubeError, match=message):
            draw()
