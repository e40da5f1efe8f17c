from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import by_role
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.lock import exclusive
from sgdsm.preprocessing.open import open_prepared
from sgdsm.preprocessing.pipeline import assemble
from sgdsm.preprocessing.recipe import Feature, Recipe, Screening, Source, projected_grid, regular_grid
from sgdsm.sources.readers.files import SourceError
from sgdsm.sources.readers.names import Reason
from tests.conftest import ROOT
from tests.forked import Forked
from tests.sources import make, make_cov, make_layouts, make_sm

pytestmark = pytest.mark.slow

ROWS, COLUMNS = 4, 8
CCI = Source("esa_cci", "cci", {"sm": "sm"}, role="target")


def days_of(count: int, start: str = "2016-01-01") -> list[str]:
    first = np.datetime64(start)
    return [str(first + k).replace("-", "") for k in range(count)]


def sm_of(day: int) -> np.ndarray:
    rng = np.random.default_rng(day)
    sm = (0.05 + 0.4 * rng.random((ROWS, COLUMNS))).astype(np.float32)
    sm[rng.random(sm.shape) < 0.3] = np.nan
    return sm


@pytest.fixture
def cci(tmp_path: Path) -> Path:
    """Ten days of CCI on 45 degree cells; a flagged value on each."""
    (tmp_path / "cci").mkdir()
    for k, day in enumerate(days_of(10)):
        flag = np.where(np.isnan(sm_of(k)), 127, 0).astype(np.int8)
        flag[0, 0] = 1
        make.esa_cci(tmp_path / "cci", day, sm=sm_of(k), flag=flag)
    return tmp_path


def recipe(folder: Path, end: str = "2016-01-10", **more: object) -> Recipe:
    settings: dict = {"start": "2016-01-01", "grid": regular_grid(45.0), "sources": {"cci": CCI}, "folder": str(folder)}
    return Recipe(**{**settings, "end": end, **more})


def weather(folder: Path, hours: int = 24 * 11) -> Source:
    """ERA5-Land-like hours: temperature = number of the day, rain = 1 mm an hour."""
    times = np.datetime64("2016-01-01") + np.arange(hours) * np.timedelta64(1, "h")
    shape = (hours, len(make_cov.LAT), len(make_cov.LON))
    day = np.broadcast_to((np.arange(hours) // 24)[:, None, None], shape)
    since = np.broadcast_to(((np.arange(hours) - 1) % 24 + 1)[:, None, None], shape)
    (folder / "era").mkdir()
    maps = {"t2m": 273.0 + day.astype(np.float32), "tp": 1e-3 * since.astype(np.float32)}
    make_cov.era5(folder / "era" / "hours.nc", times, maps)
    return Source("era5_land", "era", {"temperature": "air_temperature", "rain": "precipitation"}, method="nearest")


def with_weather(folder: Path) -> dict:
    """Part of a recipe: a small grid on the equator, where the fake weather is."""
    cci = Source("esa_cci", "cci", {"sm": "sm"}, role="target", method="nearest")
    sources = {"cci": cci, "weather": weather(folder)}
    features = {"wet": Feature("antecedent", "rain", days=3)}
    return {"sources": sources, "features": features, "grid": regular_grid(1.0, (0.0, -2.0, 4.0, 2.0))}


def test_values_reasons_and_attributes(cci):
    told = assemble(recipe(cci), cci / "cube.zarr", workers=1)
    cube = xr.open_zarr(cci / "cube.zarr").load()
    for k in range(10):
        expected = sm_of(k)
        expected[0, 0] = np.nan
        np.testing.assert_array_equal(cube["sm"][k], expected)
        assert cube["sm_reason"].values[k, 0, 0] == Reason.SNOW
    np.testing.assert_array_equal(np.isfinite(cube["sm"]), cube["sm_reason"] == Reason.OBSERVED)
    assert cube["sm_reason"].dtype == np.uint8
    assert cube["sm"].attrs["units"] == "m3 m-3"
    assert cube["land"].values.astype(bool).tolist() == np.isfinite(cube["sm"]).any("time").values.tolist()
    sources = json.loads(cube.attrs["sources"])
    assert sources["cci"]["version"] == "05.2"
    assert sources["cci"]["files"].startswith("10: ESACCI")
    assert "snow" in told
    assert f"{np.isfinite(cube['sm']).sum().item():,}" in told


def test_days_without_a_file_are_empty(cci):
    next((cci / "cci").glob("*20160104*")).unlink()
    assemble(recipe(cci), cci / "cube.zarr", workers=1)
    cube = xr.open_zarr(cci / "cube.zarr")
    assert (cube["sm_reason"].values[3] == Reason.NO_DATA).all()
    assert np.isfinite(cube["sm"].values[4]).any()


@pytest.mark.parametrize("workers", [1, 2])
def test_blocks_and_processes_do_not_show(cci, workers):
    assemble(recipe(cci), cci / "one.zarr", workers=1)
    assemble(recipe(cci), cci / "blocks.zarr", workers=workers, block_days=3)
    same_values(cci / "one.zarr", cci / "blocks.zarr")


def same_values(one: Path, other: Path) -> None:
    a, b = xr.open_zarr(one).load(), xr.open_zarr(other).load()
    assert set(a) == set(b)
    for name in (*a, *a.coords):
        np.testing.assert_array_equal(a[name], b[name], err_msg=str(name))
    for name in ("sources", "rejected", "skipped_files"):
        assert a.attrs[name] == b.attrs[name]


def test_a_longer_recipe_appends(cci):
    more = with_weather(cci)
    assemble(recipe(cci, **more), cci / "whole.zarr", workers=1, block_days=4)
    assemble(recipe(cci, end="2016-01-05", **more), cci / "cube.zarr", workers=1, block_days=4)
    assert not list(cci.glob("cube.zarr.*")), "notes are left"
    block = cci / "cube.zarr" / "sm" / "c" / "0" / "0" / "0"
    before = block.stat().st_mtime_ns
    assemble(recipe(cci, **more), cci / "cube.zarr", workers=1)
    assert block.stat().st_mtime_ns == before, "the first block was made again"
    assert not list(cci.glob("cube.zarr.*")), "notes are left"
    same_values(cci / "whole.zarr", cci / "cube.zarr")


def test_weather_becomes_daily(cci):
    made = recipe(cci, **with_weather(cci))
    assemble(made, cci / "cube.zarr", workers=1, block_days=4)
    cube = open_prepared(str(cci / "cube.zarr"), made)
    np.testing.assert_allclose(cube["rain"], 24.0, rtol=1e-5)
    np.testing.assert_allclose(cube["temperature"][:, 2, 1], 273.0 + np.arange(10), rtol=1e-6)
    assert np.isnan(cube["wet"].values[0]).all()  # less than half of the three days is known
    np.testing.assert_allclose(cube["wet"][1:], 24.0, rtol=1e-5)
    assert cube["rain"].attrs["units"] == "mm d-1"
    assert cube["rain"].attrs["quantity"] == "precipitation"
    assert set(by_role(cube, "dynamic")) == {"temperature", "rain", "wet"}
    assert by_role(cube, "uncertainty") == ["sm_uncertainty"]
    assert not by_role(open_prepared(str(cci / "cube.zarr"), made, uncertainty="none"), "uncertainty")
    np.testing.assert_allclose(cube["sm_uncertainty"], 0.1 * cube["sm"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["hours", "told", "said"])
def test_daily_statistics_are_daily_maps(cci, kind):
    """Temperature and its extremes and rain of days: as hours, as daily statistics that say so, and that do not."""
    (cci / "era").mkdir()
    days = np.datetime64("2016-01-01") + np.arange(10)
    shape = (len(make_cov.LAT), len(make_cov.LON))
    hourly = (270.0 + np.arange(240 + 1) % 24)[:, None, None] + np.zeros(shape)
    rain = (1e-3 * (1 + (np.arange(240 + 1) - 1) // 24))[:, None, None] + np.zeros(shape)
    names = {"temperature": "air_temperature", "rain": "precipitation"}
    if kind != "said":
        names |= {"coldest": "air_temperature_min", "warmest": "air_temperature_max"}
    if kind == "hours":
        times = days[0] + np.arange(241) * np.timedelta64(1, "h")
        make_cov.era5(cci / "era" / "hours.nc", times, {"t2m": hourly, "tp": rain})
    else:
        by_day = hourly[:240].reshape(10, 24, *shape)
        for how in ("mean", "min", "max") if kind == "told" else ("mean",):
            maps = {"t2m": getattr(np, how)(by_day, 1)}
            make_layouts.daily_statistic(cci / "era", "2m_temperature", how, days, maps, kind == "told")
        total = {"tp": rain[1:].reshape(10, 24, *shape).sum(1)}
        make_layouts.daily_statistic(cci / "era", "total_precipitation", "sum", days, total, kind == "told")
    options = {"extremes": kind != "said", **({"daily_statistics": True} if kind == "said" else {})}
    weather = Source("era5", "era", names, method="nearest", options=options)
    target = Source("esa_cci", "cci", {"sm": "sm"}, role="target", method="nearest")
    made = recipe(cci, sources={"cci": target, "weather": weather}, grid=regular_grid(1.0, (0.0, -2.0, 4.0, 2.0)))
    assemble(made, cci / "cube.zarr", workers=1, block_days=4)
    cube = xr.open_zarr(cci / "cube.zarr")
    np.testing.assert_allclose(cube["temperature"][:, 2, 1], 281.5, rtol=1e-6)
    np.testing.assert_allclose(cube["rain"][:, 2, 1], 24.0 * np.arange(1, 11), rtol=1e-5)
    assert cube["rain"].attrs["units"] == "mm d-1"
    if kind != "said":
        np.testing.assert_allclose(cube["coldest"][:, 2, 1], 270.0)
        np.testing.assert_allclose(cube["warmest"][:, 2, 1], 293.0)


def test_three_hourly_model_becomes_daily(cci):
    """SMAP L4, cut to a part of its grid, on that grid."""
    (cci / "l4").mkdir()
    for day in days_of(2):
        for k in range(8):
            maps = {"sm_surface": np.full((4, 5), 0.02 * k), "precipitation_total_surface_flux": np.full((4, 5), 1e-5)}
            make_sm.smap_l4(cci / "l4", f"{day}T{1 + 3 * k:02d}3000", maps)
    names = {"soil_water": "soil_water_surface", "rain": "precipitation"}
    options = {"variables": ["sm_surface", "precipitation_total_surface_flux"]}
    model = Source("smap_l4", "l4", names, options=options)
    target = Source("esa_cci", "cci", {"sm": "sm"}, role="target", method="nearest")
    size = 9008.055210146
    left, top = (1000 - 1928) * size, (812 - 600) * size
    grid = projected_grid("EPSG:6933", size, (left, top - 4 * size, left + 5 * size, top))
    assemble(recipe(cci, "2016-01-03", sources={"cci": target, "l4": model}, grid=grid), cci / "cube.zarr", workers=1)
    cube = xr.open_zarr(cci / "cube.zarr")
    assert cube["soil_water"].shape == (3, 4, 5)
    np.testing.assert_allclose(cube["soil_water"][:2], 0.07, rtol=1e-5)
    np.testing.assert_allclose(cube["rain"][:2], 0.864, rtol=1e-5)
    assert np.isnan(cube["rain"][2].values).all()
    assert cube["rain"].attrs["units"] == "mm d-1"


def test_screening_by_soil_temperature(cci):
    more = {**with_weather(cci), "features": {}}
    made = recipe(cci, screening=Screening(soil_temperature="temperature", high=0.3), **more)
    assemble(made, cci / "cube.zarr", workers=1)
    cube = xr.open_zarr(cci / "cube.zarr").load()
    cold = (cube["temperature"] < 273.15).values  # the first day
    assert not np.isfinite(cube["sm"].values[cold]).any()
    assert (cube["sm_reason"].values[cold] != Reason.OBSERVED).all()
    assert np.isfinite(cube["sm"].values[~cold]).any()
    assert {Reason.FROZEN, Reason.OUT_OF_RANGE} <= set(np.unique(cube["sm_reason"]))
    assert cube["sm"].max() <= 0.3


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_means_of_three_days(cci):
    assemble(recipe(cci, end="2016-01-09", step_days=3), cci / "cube.zarr", workers=1)
    cube = xr.open_zarr(cci / "cube.zarr").load()
    assert cube["time"].dt.day.values.tolist() == [1, 4, 7]
    with np.errstate(all="ignore"):
        sm = np.stack([sm_of(k) for k in range(3)])
        sm[:, 0, 0] = np.nan
        np.testing.assert_allclose(cube["sm"][0], np.nanmean(sm, 0), rtol=1e-5)
    np.testing.assert_array_equal(np.isfinite(cube["sm"]), cube["sm_reason"] == Reason.OBSERVED)


def test_a_second_sensor_is_a_gappy_covariate(cci):
    (cci / "active").mkdir()
    for k, day in enumerate(days_of(10)):
        make.esa_cci(cci / "active", day, kind="ACTIVE", sm=100 * sm_of(k + 50))
    active = Source("esa_cci", "active", {"sm_active": "sm"})
    assemble(recipe(cci, sources={"cci": CCI, "active": active}), cci / "cube.zarr", workers=1)
    cube = open_prepared(str(cci / "cube.zarr"))
    np.testing.assert_allclose(cube["sm_active"][2], 100 * sm_of(52), rtol=1e-6)
    assert by_role(cube, "dynamic") == ["sm_active"]


def test_coarser_grid_keeps_the_mean(cci):
    assemble(recipe(cci, grid=regular_grid(90.0)), cci / "cube.zarr", workers=1)
    cube = xr.open_zarr(cci / "cube.zarr").load()
    assert cube["sm"].shape == (10, 2, 4)
    north = np.sin(np.radians([90, 45, 0]))
    weight = -np.diff(north)[:, None] * np.ones((2, 2))
    values = sm_of(1)[:2, 2:4]
    known = np.isfinite(values)
    expected = (np.nan_to_num(values) * weight).sum() / (known * weight).sum()
    assert 0.5 < (known * weight).sum() / weight.sum() < 1
    np.testing.assert_allclose(cube["sm"].values[1, 0, 1], expected, rtol=1e-5)


def test_bad_file_fails_or_is_skipped(cci):
    bad = next((cci / "cci").glob("*20160104*"))
    bad.write_bytes(bad.read_bytes()[:2000])
    with pytest.raises(SourceError, match="20160104"):
        assemble(recipe(cci), cci / "cube.zarr", workers=1)
    with pytest.raises(CubeError, match="not finished"):
        open_prepared(str(cci / "cube.zarr"))
    told = assemble(recipe(cci), cci / "cube.zarr", workers=1, on_bad_file="skip")
    assert "skipped" in told
    assert "20160104" in told
    cube = xr.open_zarr(cci / "cube.zarr")
    assert not np.isfinite(cube["sm"].values[3]).any()
    assert (cube["sm_reason"].values[3] == Reason.FILE_SKIPPED).all()
    assert "20160104" in cube.attrs["skipped_files"]
    make.esa_cci(cci / "cci", "20160104", sm=sm_of(3))
    told = assemble(recipe(cci), cci / "cube.zarr", workers=1)
    assert "skipped" not in told
    np.testing.assert_array_equal(xr.open_zarr(cci / "cube.zarr")["sm"].values[3], sm_of(3))


def test_a_file_that_comes_later_is_taken(cci):
    late = next((cci / "cci").glob("*20160104*"))
    content = late.read_bytes()
    late.unlink()
    more = with_weather(cci)
    assemble(recipe(cci, **more), cci / "cube.zarr", workers=1, block_days=2)
    block = cci / "cube.zarr" / "sm" / "c" / "0" / "0" / "0"
    before = block.stat().st_mtime_ns
    late.write_bytes(content)
    assemble(recipe(cci, **more), cci / "cube.zarr", workers=1)
    assert block.stat().st_mtime_ns == before
    assemble(recipe(cci, **more), cci / "whole.zarr", workers=1, block_days=2)
    same_values(cci / "whole.zarr", cci / "cube.zarr")


def test_one_program_at_a_time(cci):
    with exclusive(cci / "cube.zarr"), pytest.raises(ConfigError, match="another program"):
        assemble(recipe(cci), cci / "cube.zarr", workers=1)
    assemble(recipe(cci), cci / "cube.zarr", workers=1)
    assert not (cci / "cube.zarr.lock").exists()


def test_another_recipe_is_refused(cci):
    assemble(recipe(cci), cci / "cube.zarr", workers=1)
    other = recipe(cci, grid=regular_grid(90.0))
    with pytest.raises(ConfigError, match="grid differ"):
        assemble(other, cci / "cube.zarr", workers=1)
    with pytest.raises(CubeError, match="grid differ"):
        open_prepared(str(cci / "cube.zarr"), other)
    renamed = recipe(cci, end="2016-01-11", sources={"other": CCI})
    with pytest.raises(ConfigError, match="sources differ"):
        assemble(renamed, cci / "cube.zarr", workers=1)
    with pytest.raises(ConfigError, match="begun with"):
        assemble(recipe(cci), cci / "cube.zarr", workers=1, block_days=2)
    with pytest.raises(ConfigError, match="end differ"):
        assemble(recipe(cci, end="2016-01-08"), cci / "cube.zarr", workers=1)


def test_land_of_a_map(cci):
    rows = 90 - 45 * (np.arange(ROWS) + 0.5)
    share = np.linspace(0, 1, ROWS * COLUMNS, dtype=np.float32).reshape(ROWS, COLUMNS)
    axes = {"lat": rows, "lon": -180 + 45 * (np.arange(COLUMNS) + 0.5)}
    xr.Dataset({"frac": (("lat", "lon"), share, {"units": "1"})}, axes).to_netcdf(cci / "land.nc")
    mask = Source("netcdf_grid", "land.nc", {"share": "share"}, "static", {"variables": {"share": "frac"}})
    assemble(recipe(cci, sources={"cci": CCI, "mask": mask}, land="share"), cci / "cube.zarr", workers=1)
    cube = xr.open_zarr(cci / "cube.zarr").load()
    np.testing.assert_array_equal(cube["land"].values.astype(bool), share > 0.5)
    assert by_role(open_prepared(str(cci / "cube.zarr")), "static") == ["share"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"land": "mask"}, "land=mask"),
        ({"end": "2015-12-31"}, "is before start"),
        ({"start": "soon"}, "expected a day like"),
        ({"end": "2016-01"}, "expected a day like"),
        ({"features": {"wet": Feature("antecedent", "rain")}}, "made of 'rain'"),
        ({"sources": {"a": CCI, "b": CCI}}, "one source with the role target"),
        ({"screening": Screening(soil_temperature="stl1")}, "screening uses 'stl1'"),
        ({"terrain": "elevation"}, "terrain=elevation"),
        ({"end": "2020-01-01", "start": "2020-01-01"}, "nothing from 2020-01-01"),
    ],
)
def test_wrong_recipes(cci, change, message):
    with pytest.raises((ConfigError, SourceError), match=message):
        assemble(recipe(cci, **change), cci / "cube.zarr", workers=1)
    assert not (cci / "cube.zarr").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
import sgdsm.preprocessing.store as store
from sgdsm.preprocessing.pipeline import assemble
sys.path.insert(0, sys.argv[2])
from tests.preprocessing.test_pipeline import recipe
keep = store.Store.keep
left = [1]
def killed(self, *words):
    keep(self, *words)
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left.pop()
store.Store.keep = killed
folder = Path(sys.argv[1])
assemble(recipe(folder), folder / "cube.zarr", workers=1, block_days=2)
"""


def test_killed_in_the_middle_goes_on(cci):
    """kill -9 after two of five blocks, once between the maps of a block and its note."""
    assemble(recipe(cci), cci / "whole.zarr", workers=1, block_days=2)
    (cci / "killed.py").write_text(KILLED)
    process = Forked(cci, str(cci / "killed.py"), str(cci), str(ROOT))
    process.wait()
    assert process.returncode == -signal.SIGKILL, process.communicate()
    notes = sorted((cci / "cube.zarr.notes").glob("maps-*.json"))
    assert len(notes) == 2
    notes[1].unlink()
    start = time.time_ns()
    assemble(recipe(cci), cci / "cube.zarr", workers=1)
    kept = str(int(notes[0].stem.rpartition("-")[2]))
    assert (cci / "cube.zarr" / "sm" / "c" / kept / "0" / "0").stat().st_mtime_ns < start
    assert not list(cci.glob("cube.zarr.*")), "notes are left"
    same_values(cci / "whole.zarr", cci / "cube.zarr")


def test_composites_are_interpolated_and_flagged(cci):
    (cci / "ndvi").mkdir()
    times = np.array(["2015-12-28", "2016-01-05", "2016-01-13"], "datetime64[ns]")
    values = np.stack([np.full((ROWS, COLUMNS), v, np.float32) for v in (0.2, 0.4, 0.6)])
    rows = 90 - 45 * (np.arange(ROWS) + 0.5)
    axes = {"time": times, "lat": rows, "lon": -180 + 45 * (np.arange(COLUMNS) + 0.5)}
    ndvi: Callable[..., xr.Dataset] = xr.Dataset
    ndvi({"NDVI": (("time", "lat", "lon"), values, {"units": "1"})}, axes).to_netcdf(cci / "ndvi" / "ndvi.nc")
    source = Source(
        "netcdf_grid", "ndvi/*.nc", {"ndvi": "ndvi"}, options={"variables": {"ndvi": "NDVI"}}, interpolate_days=16
    )
    assemble(recipe(cci, sources={"cci": CCI, "veg": source}), cci / "cube.zarr", workers=1, block_days=4)
    cube = xr.open_zarr(cci / "cube.zarr").load()
    np.testing.assert_allclose(cube["ndvi"][:, 1, 1], 0.3 + 0.025 * np.arange(10), rtol=1e-5)
    assert cube["ndvi_flag"].values[:, 1, 1].tolist() == [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]


def test_ndvi_of_two_satellites_is_their_mean(cci):
    rows = 90 - 45 * (np.arange(ROWS) + 0.5)
    sources = {"cci": CCI}
    for name, first, value in (("terra", "2015-12-28", 0.2), ("aqua", "2016-01-05", 0.4)):
        (cci / name).mkdir()
        times = np.datetime64(first, "ns") + np.arange(2) * np.timedelta64(16, "D")
        values = np.full((2, ROWS, COLUMNS), value, np.float32)
        values[:, 2, 3] = np.nan if name == "aqua" else value
        axes = {"time": times, "lat": rows, "lon": -180 + 45 * (np.arange(COLUMNS) + 0.5)}
        xr.Dataset({"NDVI": (("time", "lat", "lon"), values, {"units": "1"})}, axes).to_netcdf(cci / name / "a.nc")
        options = {"variables": {"ndvi": "NDVI"}}
        sources[name] = Source("netcdf_grid", f"{name}/*.nc", {name: "ndvi"}, options=options, interpolate_days=16)
    made = recipe(cci, sources=sources, features={"ndvi": Feature("mean", "terra", also="aqua")})
    assemble(made, cci / "cube.zarr", workers=1, block_days=4)
    cube = open_prepared(str(cci / "cube.zarr"), made).load()
    np.testing.assert_allclose(cube["ndvi"][:, 1, 1], 0.3, rtol=1e-6)
    np.testing.assert_allclose(cube["ndvi"][:, 2, 3], 0.2, rtol=1e-6)
    assert cube["ndvi"].attrs["long_name"] == "mean of terra and aqua"
    with pytest.raises(ConfigError, match="'also' belongs to kind=mean"):
        Feature("mean", "terra")


def test_features_of_two_variables_need_one_unit(cci):
    parts = with_weather(cci)
    parts["features"] = {"both": Feature("mean", "rain", also="temperature")}
    with pytest.raises(ConfigError, match="feature 'both': 'rain' is in 'mm d-1', 'temperature' in 'K'"):
        assemble(recipe(cci, **parts), cci / "cube.zarr", workers=1)


def test_projected_cubes_keep_their_crs(cci):
    """Through the cube and its copies."""
    from sgdsm.core.cube import open_dataset
    from sgdsm.preprocessing.export import write_netcdf
    from sgdsm.preprocessing.recipe import projected_grid

    grid = projected_grid("EPSG:6933", 2_000_000.0, (-8e6, -4e6, 8e6, 4e6))
    assemble(recipe(cci, grid=grid), cci / "cube.zarr", workers=1)
    write_netcdf(open_dataset(cci / "cube.zarr"), cci / "cube.nc")
    for name in ("cube.zarr", "cube.nc"):
        cube = open_prepared(str(cci / name))
        assert cube["sm"].dims == ("time", "y", "x")
        assert cube["crs"].attrs["grid_mapping_name"] == "lambert_cylindrical_equal_area"
        assert cube["sm"].attrs["grid_mapping"] == "crs"
        np.testing.assert_allclose(cube["lat"], grid.lat())
        assert np.isfinite(cube["sm"]).any()


def test_a_finished_cube_may_be_finished_again(cci):
    assemble(recipe(cci), cci / "cube.zarr", workers=1)
    told = assemble(recipe(cci), cci / "cube.zarr", workers=1)
    assert "observed" in told
    assert np.isfinite(open_prepared(str(cci / "cube.zarr"))["sm"]).any()


def test_a_missing_class_is_no_class(cci):
    rows, columns = 90 - 45 * (np.arange(ROWS) + 0.5), -180 + 45 * (np.arange(COLUMNS) + 0.5)
    cover = np.full((ROWS, COLUMNS), 3, np.uint8)
    cover[0] = 255
    maps = xr.Dataset({"lc": (("lat", "lon"), cover)}, {"lat": rows, "lon": columns})
    maps.to_netcdf(cci / "cover.nc", encoding={"lc": {"_FillValue": 255}})
    source = Source("class_map", "cover.nc", {"cover": "land_cover"}, role="static")
    assemble(recipe(cci, sources={"cci": CCI, "cover": source}), cci / "cube.zarr", workers=1)
    found = xr.open_zarr(cci / "cube.zarr")["cover"].values
    assert np.isnan(found[0]).all()
    assert (found[1:] == 3).all()


def test_two_times_on_a_day(tmp_path):
    """One rejects what the other observes, and lacks what the other has."""
    first = np.full((ROWS, COLUMNS), 0.2, np.float32)
    second = first + 0.2
    second[0, :2] = np.nan, 1.7
    for hour, values in (("00", first), ("12", second)):
        make_cov.image(tmp_path / f"x_20160101T{hour}.tif", values, west=-180, north=90, cell=45)
    options = {"date": r"_(\d{8}T\d{2})", "date_form": "%Y%m%dT%H"}
    source = Source("geotiff_stack", ".", {"sm": "sm"}, role="target", options=options)
    assemble(recipe(tmp_path, end="2016-01-01", sources={"x": source}), tmp_path / "cube.zarr", workers=1)
    cube = xr.open_zarr(tmp_path / "cube.zarr")
    np.testing.assert_allclose(cube["sm"].values[0, 0, :3], [0.2, 0.2, 0.3], rtol=1e-6)
    assert (cube["sm_reason"].values == Reason.OBSERVED).all()


def test_provenance_names_all_files(cci):
    """Weather in files of their own, and a file that begins before the cube does."""
    hours = 24 * 11
    times = np.datetime64("2016-01-01") + np.arange(hours) * np.timedelta64(1, "h")
    (cci / "era").mkdir()
    for name, variable in (("instant", "t2m"), ("sums", "tp")):
        make_cov.era5(cci / "era" / f"{name}.nc", times, {variable: np.full((hours, 4, 5), 0.5, np.float32)})
    variables = {"temperature": "air_temperature", "rain": "precipitation"}
    more = {"grid": regular_grid(1.0, (0.0, -2.0, 4.0, 2.0))}
    target = Source("esa_cci", "cci", {"sm": "sm"}, role="target", method="nearest")
    sources = {"cci": target, "weather": Source("era5_land", "era", variables, method="nearest")}
    assemble(recipe(cci, start="2016-01-03", sources=sources, **more), cci / "cube.zarr", workers=1, block_days=3)
    told = json.loads(xr.open_zarr(cci / "cube.zarr").attrs["sources"])
    assert told["weather"]["files"] == "2: instant.nc to sums.nc"
    assert told["cci"]["files"].startswith("8: ")


def test_appending_loses_no_day_whose_file_is_gone(cci):
    assemble(recipe(cci, end="2016-01-05"), cci / "cube.zarr", workers=1, block_days=4)
    before = xr.open_zarr(cci / "cube.zarr")["sm"].load()
    gone = sorted((cci / "cci").glob("*.nc"))[:5]
    kept = [path.rename(cci / path.name) for path in gone]
    with pytest.raises(SourceError, match=r"20160105.* is gone"):
        assemble(recipe(cci), cci / "cube.zarr", workers=1)
    np.testing.assert_array_equal(open_prepared(str(cci / "cube.zarr"))["sm"], before)
    # the first block is not made again, and needs no file
    kept[4].rename(gone[4])
    assemble(recipe(cci), cci / "cube.zarr", workers=1)
    after = xr.open_zarr(cci / "cube.zarr")["sm"]
    np.testing.assert_array_equal(after[:5], before)
    assert np.isfinite(after).any(("lat", "lon")).all()


def test_a_block_made_again_needs_all_of_its_files(cci):
    """One file mended, another gone: the day of the second must not be lost in silence."""
    assemble(recipe(cci), cci / "cube.zarr", workers=1, block_days=4)
    before = xr.open_zarr(cci / "cube.zarr")["sm"].values
    next((cci / "cci").glob("*20160102*")).unlink()
    make.esa_cci(cci / "cci", "20160103", sm=sm_of(99))
    with pytest.raises(SourceError, match=r"20160102.*is gone"):
        assemble(recipe(cci), cci / "cube.zarr", workers=1)
    np.testing.assert_array_equal(xr.open_zarr(cci / "cube.zarr")["sm"].values, before)


def test_a_second_file_of_the_weather_that_changes_is_taken_up(cci):
    """Amounts in a file of their own, as the store gives them."""
    more = with_weather(cci)
    hours = 24 * 11
    times = np.datetime64("2016-01-01") + np.arange(hours) * np.timedelta64(1, "h")
    shape = (hours, len(make_cov.LAT), len(make_cov.LON))
    (cci / "era" / "hours.nc").unlink()
    make_cov.era5(cci / "era" / "states.nc", times, {"t2m": np.full(shape, 280.0, np.float32)})
    since = ((np.arange(hours) - 1) % 24 + 1)[:, None, None] * np.ones(shape)
    make_cov.era5(cci / "era" / "amounts.nc", times, {"tp": (1e-3 * since).astype(np.float32)})
    assemble(recipe(cci, **more), cci / "cube.zarr", workers=1)
    make_cov.era5(cci / "era" / "amounts.nc", times, {"tp": (2e-3 * since).astype(np.float32)})
    assemble(recipe(cci, **more), cci / "cube.zarr", workers=1)
    np.testing.assert_allclose(xr.open_zarr(cci / "cube.zarr")["rain"], 48.0, rtol=1e-5)


def test_another_static_map_is_refused(cci):
    """Blocks were screened, and runs trained, with the one that the cube holds."""
    rows = 90 - 45 * (np.arange(ROWS) + 0.5)
    axes = {"lat": rows, "lon": -180 + 45 * (np.arange(COLUMNS) + 0.5)}
    mask = Source("netcdf_grid", "land.nc", {"share": "share"}, "static", {"variables": {"share": "frac"}})
    made = recipe(cci, sources={"cci": CCI, "mask": mask}, land="share")
    for value, message in ((1.0, None), (0.8, "land.nc is not the file")):
        share = np.full((ROWS, COLUMNS), value, np.float32)
        xr.Dataset({"frac": (("lat", "lon"), share, {"units": "1"})}, axes).to_netcdf(cci / "land.nc")
        if message is None:
            assemble(made, cci / "cube.zarr", workers=1)
            continue
        with pytest.raises(SourceError, match=message):
            assemble(made, cci / "cube.zarr", workers=1)
    assert (xr.open_zarr(cci / "cube.zarr")["share"] == 1).all()
