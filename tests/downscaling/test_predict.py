"""Fine maps: windows like the whole array, georeference, conservation of means, resuming, and what is refused."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.bilinear import conserved
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.downscaling.conservation import CoarseGrid, Conservation, coarse_maps
from sgdsm.downscaling.intervals import Distance, QuantileTrees
from sgdsm.downscaling.model import Downscaler, load, save
from sgdsm.downscaling.outputs import Store
from sgdsm.downscaling.predict import Reach, day_digest, in_order
from sgdsm.downscaling.regressors import MANY, ForestRegressor
from sgdsm.downscaling.stack import FineGrid, open_stack, windows_of
from sgdsm.sources.products import geotiff_stack
from sgdsm.sources.simulation.region import CRS
from tests.forked import Forked

rasterio = pytest.importorskip("rasterio")
NAMES = ["GRD", "clay", "LST_day"]
UNITS = {"GRD": "dB", "clay": "%", "LST_day": "K"}
ROWS, COLUMNS, CELL = 150, 200, 50
WEST, NORTH = 500_000.0, 5_700_000.0
DAYS = ("2021-01-16", "2021-01-22")


def made_run(folder: Path, seed: int = 0) -> Downscaler:
    """A forest with intervals, fitted to rows of a simple world."""
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.normal([-12, 25, 290], [2, 8, 3], (800, 3)).astype(np.float32))
    truth = 0.25 + 0.02 * (rows[:, 0] + 12) + 0.002 * (rows[:, 1] - 25) + 0.005 * torch.from_numpy(rng.normal(size=800))
    truth = truth.float()
    regressor = ForestRegressor(8, threads=1)
    regressor.configure(3)
    regressor.scale_by(rows, truth)
    regressor.fit_rows(rows, truth)
    exact = rows.double().numpy()
    sources = {"GRD": "Sentinel-1", "clay": "", "LST_day": "MODIS"}
    made = Downscaler(
        regressor, NAMES, UNITS, "SM", "m3 m-3", sources, exact.min(0), exact.max(0), exact.std(0)
    )  # fmt: skip
    made.bounds, made.distance = QuantileTrees(0.9), Distance(3)
    made.bounds.fit(rows[:500], truth[:500], rows[500:], truth[500:], 0)
    made.distance.fit(regressor.scaled(rows[:500]), regressor.scaled(rows[500:]), 0)
    save(made, folder)
    return made


def made_stack(path: Path) -> xr.Dataset:
    rng = np.random.default_rng(1)
    shape = (2, ROWS, COLUMNS)
    grd, lst = rng.normal(-12, 3, shape), 290 + rng.normal(0, 2, shape)
    grd[:, :45, :75] = np.nan
    lst[1, 100:, 190:] = np.nan
    dims = ("time", "y", "x")
    made = xr.Dataset(
        {
            "GRD": (dims, grd.astype(np.float32), {"units": "dB", "source": "Sentinel-1"}),
            "LST_day": (dims, (lst - 273.15).astype(np.float32), {"units": "degC", "source": "MODIS"}),
            "clay": (dims[1:], rng.uniform(5, 50, shape[1:]).astype(np.float32), {"units": "%"}),
        },
        {
            "time": np.array(DAYS, "datetime64[ns]"),
            "y": NORTH - (np.arange(ROWS) + 0.5) * 10,
            "x": WEST + (np.arange(COLUMNS) + 0.5) * 10,
            "spatial_ref": ((), 0, {"crs_wkt": CRS}),
        },
    )
    chunks = {n: {"chunks": (1, 64, 64)[-v.ndim :]} for n, v in made.data_vars.items()}
    made.to_zarr(path, encoding=chunks, consolidated=False)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("downscale")
    made_run(where / "run")
    made_run(where / "other", seed=1)
    made_stack(where / "fine.zarr")
    rng = np.random.default_rng(2)
    coarse = xr.Dataset(
        {"sm_filled": (("time", "y", "x"), rng.uniform(15, 35, (2, 3, 4)), {"units": "percent"})},
        {
            "time": np.array(DAYS, "datetime64[ns]"),
            "y": NORTH - (np.arange(3) + 0.5) * 500,
            "x": WEST + (np.arange(4) + 0.5) * 500,
            "spatial_ref": ((), 0, {"crs_wkt": CRS}),
        },
    )
    coarse["sm_filled"][0, 2, 3] = np.nan
    coarse.to_netcdf(where / "coarse.nc")
    coarse.isel(time=[0]).to_netcdf(where / "one.nc")
    coarse.isel(y=[0], x=[0]).to_netcdf(where / "cell.nc")
    return where


@pytest.fixture
def predict(folder, run_command):
    def run(output: str, *words: str) -> tuple[int, str, str]:
        given = {word.partition("=")[0] for word in words}
        own = {"run": folder / "run", "fine": folder / "fine.zarr", "window_pixels": 64, "accelerator": "cpu"}
        stated = [f"{key}={value}" for key, value in own.items() if key not in given]
        return run_command("downscale", "predict", f"output={output}", *stated, *words)

    return run


def whole(folder: Path, number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Predict all pixels of a day at once, in kelvin."""
    stack = open_stack(folder / "fine.zarr")
    columns = [np.broadcast_to(stack[n].values, (2, ROWS, COLUMNS))[number].ravel() for n in NAMES]
    rows = np.stack([columns[0], columns[1], (columns[2].astype(np.float64) + 273.15).astype(np.float32)], -1)
    complete = np.isfinite(rows).all(1)
    found = load(folder / "run").estimate(rows[complete], intervals=True)
    maps = {key: np.full(ROWS * COLUMNS, np.nan, np.float32) for key in found}
    for key, values in found.items():
        maps[key][complete] = values
    return complete.reshape(ROWS, COLUMNS), {key: m.reshape(ROWS, COLUMNS) for key, m in maps.items()}


def test_windows_give_the_whole_array_and_files_say_where_and_when(predict, folder, tmp_path):
    code, out, err = predict("maps", "workers=2")
    assert code == 0, err
    assert "degC" in err  # converted to the units of training
    assert "GRD" in out
    assert "2 days" in out
    keys = ("mean", "lower", "upper", "distance")
    for number, day in enumerate(DAYS):
        complete, expected = whole(folder, number)
        assert MANY < complete.sum() < complete.size
        with rasterio.open(tmp_path / "maps" / f"SM_10m_{day.replace('-', '')}.tif") as file:
            found = file.read()
            assert file.crs.to_epsg() == 32632
            assert tuple(file.transform)[:6] == (10, 0, WEST, 0, -10, NORTH)
            assert np.isnan(file.nodata)
            assert file.units == ("m3 m-3", "m3 m-3", "m3 m-3", "1")
            assert file.descriptions == ("sm_filled", "sm_lower", "sm_upper", "sm_distance")
            assert "resolution that the run was trained on" in file.tags(2)["comment"]
            assert file.tags()["TIFFTAG_DATETIME"] == f"{day.replace('-', ':')} 00:00:00"
            assert load(folder / "run").digest in file.tags()["sgdsm_run"]
            assert (file.profile["compress"], file.profile["tiled"]) == ("deflate", True)
        for band, key in zip(found, keys, strict=True):
            np.testing.assert_array_equal(band, expected[key])
        np.testing.assert_array_equal(np.isfinite(found[0]), complete)
    # a reader of the project takes the folder for a cube
    files = geotiff_stack.files(sorted((tmp_path / "maps").glob("*.tif")))
    cube = files.open()
    assert list(cube["time"].values.astype("datetime64[D]").astype(str)) == list(DAYS)
    np.testing.assert_array_equal(cube["sm"].values[0], whole(folder, 0)[1]["mean"])
    code, _, err = predict("maps.zarr")
    assert code == 0, err
    store = xr.open_zarr(tmp_path / "maps.zarr")
    np.testing.assert_array_equal(store["sm_filled"].values[1], whole(folder, 1)[1]["mean"])
    np.testing.assert_array_equal(store["sm_source"].values[1], np.where(whole(folder, 1)[0], 2, 0))
    assert store["x"].values[0] == WEST + 5
    assert store["x"].attrs["standard_name"] == "projection_x_coordinate"


def test_means_are_the_coarse_values_and_the_shift_is_that_of_the_whole_map(predict, folder, tmp_path):
    code, out, err = predict("maps", f"coarse={folder / 'coarse.nc'}")
    assert code == 0, err
    assert "means conserved in 21 cells of days; 3 left" in out  # a cell of each day has too few pixels, one no value
    coarse = xr.open_dataset(folder / "coarse.nc")["sm_filled"].values / 100
    for number, day in enumerate(DAYS):
        complete, expected = whole(folder, number)
        with rasterio.open(tmp_path / "maps" / f"SM_10m_{day.replace('-', '')}.tif") as file:
            found = file.read()
        used = np.isfinite(coarse[number])
        used[0, 0] = False
        cut = found[0].astype(np.float64).reshape(3, CELL, 4, CELL)
        assert abs(np.nanmean(cut, (1, 3)) - coarse[number])[used].max() < 1e-6
        np.testing.assert_allclose(found[0], conserved(expected["mean"], coarse[number], CELL), atol=2e-6)
        np.testing.assert_array_equal(np.isfinite(found[0]), complete)
        np.testing.assert_array_equal(found[0][:CELL, :CELL], expected["mean"][:CELL, :CELL])
        # bounds go along
        np.testing.assert_allclose(found[2] - found[0], expected["upper"] - expected["mean"], atol=1e-6)
    assert not list((tmp_path / "maps").glob("*.partial"))


def test_cells_of_another_projection_conserve_too():
    pyproj = pytest.importorskip("pyproj")
    rng = np.random.default_rng(0)
    grid = FineGrid(CRS, (WEST, 10.0, 0.0, NORTH, 0.0, -10.0), ROWS, COLUMNS)
    values = rng.normal(0.25, 0.05, (ROWS, COLUMNS)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    # from south to north, longitudes of 0 to 360, and far more than the image
    lat, lon = np.arange(51.0, 52.0, 0.004), np.arange(8.5, 10.5, 0.0065)
    coarse = xr.DataArray(
        rng.uniform(0.1, 0.4, (1, len(lat), len(lon))), {"lat": lat, "lon": lon}, ("time", "lat", "lon")
    )
    cells = CoarseGrid(coarse, None, grid)
    truth = coarse.values[0, cells.rows, cells.columns]
    day = Conservation(cells, truth)
    parts = [(slice(r, min(r + 100, ROWS)), slice(c, min(c + 100, COLUMNS))) for r in (0, 100) for c in (0, 100)]
    for part in parts:
        day.add(cells.place(*part), values[part])
    day.solve()
    moved = values.copy()
    for part in parts:
        moved[part] = (values[part] + day.shift(cells.place(*part))).astype(np.float32)
    y, x = grid.centres(slice(0, ROWS), slice(0, COLUMNS))
    degrees = pyproj.Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    nearest = [abs(axis[:, None] - place.ravel()).argmin(0) for axis, place in ((lat, degrees[1]), (lon, degrees[0]))]
    number = (nearest[0] * len(lon) + nearest[1]).reshape(ROWS, COLUMNS)
    complete = 0
    for cell in np.unique(number):
        inside = number == cell
        row, column = cell // len(lon) - cells.rows.start, cell % len(lon) - cells.columns.start
        known = np.isfinite(values[inside]).sum()
        assert day.used[row, column] == (known >= 0.5 * cells.pixels[row, column])
        if day.used[row, column]:
            complete += 1
            assert np.nanmean(moved[inside].astype(np.float64)) == pytest.approx(truth[row, column], abs=1e-6)
        else:
            np.testing.assert_array_equal(moved[inside], values[inside])
    assert complete > 3
    # a cell of .004 x .0065 degrees at 51.4 north has 445 x 452 m
    assert np.median(cells.pixels) == pytest.approx(44.5 * 45.2, rel=0.01)


@pytest.mark.parametrize(
    ("edge", "lon"),
    [
        (9.0, np.arange(9.05, 12.0, 0.1)),  # the image begins west of the map
        (0.0, np.arange(0.05, 360.0, 0.1)),  # of a whole parallel, and the image lies across its seam
        (180.0, np.arange(-179.95, 180.0, 0.1)),
    ],
)
def test_cells_at_the_seam_of_longitudes_conserve(edge, lon):
    west = edge - 0.1 * (len(lon) == 3600) - 0.02
    grid = FineGrid("EPSG:4326", (west, 0.01, 0.0, 50.3, 0.0, -0.01), 30, 42)
    lat = np.arange(51.95, 48, -0.1)
    coarse = xr.DataArray(
        np.random.default_rng(0).uniform(0.1, 0.4, (len(lat), len(lon))), {"lat": lat, "lon": lon}, ("lat", "lon")
    )
    cells = CoarseGrid(coarse, None, grid)
    truth = coarse.isel(lat=cells.rows, lon=cells.columns)
    day = Conservation(cells, truth.values)
    # the second window begins beyond the seam
    parts = [(slice(0, 30), slice(0, 22)), (slice(0, 30), slice(22, 42))]
    values = np.full((30, 42), 0.25)
    for part in parts:
        day.add(cells.place(*part), values[part])
    day.solve()
    moved = np.concatenate([values[part] + day.shift(cells.place(*part)) for part in parts], 1)
    y, x = grid.centres(slice(0, 30), slice(0, 42))
    assert day.used.sum() >= 12
    for row, column in np.argwhere(day.used):
        apart = (x - float(truth["lon"][column]) + 180) % 360 - 180
        inside = np.ix_(abs(y - float(truth["lat"][row])) < 0.05, abs(apart) < 0.05)
        assert moved[inside].mean() == pytest.approx(float(truth[row, column]), abs=1e-5)


KILLED = """
import os, signal
from sgdsm.downscaling import predict
once, count = predict._window, 0
def window(*words):
    global count
    count += 1
    if count == 15:  # of 12 a day
        os.kill(os.getpid(), signal.SIGKILL)
    return once(*words)
predict._window = window
from sgdsm.cli import console
console.main("downscale")
"""


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_killed_in_the_middle_of_a_day_it_goes_on_to_the_same_bytes(predict, folder, tmp_path):
    words = [f"coarse={folder / 'coarse.nc'}", "intervals=false"]
    own = [f"run={folder / 'run'}", f"fine={folder / 'fine.zarr'}", "window_pixels=64", "accelerator=cpu"]
    (tmp_path / "killed.py").write_text(KILLED)
    process = Forked(tmp_path, str(tmp_path / "killed.py"), "predict", "output=maps", *own, *words)
    process.wait()
    assert process.returncode == -signal.SIGKILL, process.communicate()
    (first,) = (tmp_path / "maps").glob("*.tif")
    when = first.stat().st_mtime_ns
    code, out, err = predict("maps", *words)
    assert code == 0, err
    assert "1 day was there already" in out
    assert first.stat().st_mtime_ns == when
    assert predict("new", *words)[0] == 0
    assert bytes_of(tmp_path / "maps") == bytes_of(tmp_path / "new")
    assert len(bytes_of(tmp_path / "maps")) == 3


def test_an_interrupted_store_goes_on_to_the_same_bytes(predict, tmp_path, monkeypatch):
    from sgdsm.downscaling import predict as module

    once, calls = module._window, iter(range(99))

    def window(*words):
        if next(calls) == 14:
            raise CubeError("a disk fails")
        return once(*words)

    monkeypatch.setattr(module, "_window", window)
    assert "a disk fails" in predict("maps.zarr", "intervals=false")[2]
    monkeypatch.setattr(module, "_window", once)
    assert not (tmp_path / "maps.zarr").exists()
    assert "window_pixels was 64, now 128" in predict("maps.zarr", "intervals=false", "window_pixels=128")[2]
    code, out, err = predict("maps.zarr", "intervals=false")
    assert code == 0, err
    assert "1 day was there already" in out
    assert predict("new.zarr", "intervals=false")[0] == 0
    assert bytes_of(tmp_path / "maps.zarr") == bytes_of(tmp_path / "new.zarr")
    assert "2 days were there already" in predict("new.zarr", "intervals=false")[1]


def test_packed_and_cloud_optimised_files(predict, folder, tmp_path):
    assert predict("maps", "packed=true", "cog=true", "time=2021-01-16:2021-01-16")[0] == 0
    path = tmp_path / "maps" / "SM_10m_20210116.tif"
    expected = whole(folder, 0)[1]["mean"]
    with rasterio.open(path) as file:
        stored = file.read(1)
        assert (file.dtypes[0], file.nodata, file.scales[0], file.units[0]) == ("int16", -32768, 1e-4, "m3 m-3")
        assert file.tags()["TIFFTAG_DATETIME"] == "2021:01:16 00:00:00"
        assert tuple(file.transform)[:6] == (10, 0, WEST, 0, -10, NORTH)
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    np.testing.assert_array_equal(stored == -32768, np.isnan(expected))
    np.testing.assert_allclose(stored[stored != -32768] * 1e-4, expected[stored != -32768], atol=5.1e-5)
    # a folder takes days that come later
    assert predict("maps", "packed=true", "cog=true")[1].count("was there already") == 1
    cogeo = pytest.importorskip("rio_cogeo.cogeo")
    assert cogeo.cog_validate(path, strict=True) == (True, [], [])


def test_what_does_not_belong_together_is_refused_in_one_line(predict, folder, tmp_path):
    def says(output: str, *words: str) -> str:
        code, _, err = predict(output, *words)
        lines = [line for line in err.strip().splitlines() if not line.startswith("note:")]
        assert code == 1
        assert len(lines) == 1, err
        return lines[0]

    assert predict("maps", "intervals=false", "time=2021-01-16:2021-01-16")[0] == 0
    assert "maps was begun with another run, or run= has changed since: remove it" in says(
        "maps", f"run={folder / 'other'}", "intervals=false"
    )
    assert "window_pixels was 64, now 128" in says("maps", "window_pixels=128", "intervals=false")
    assert "variables was" in says("maps")
    changed = open_stack(folder / "fine.zarr").load().drop_encoding()
    stack = changed.copy()
    stack["GRD"] = stack["GRD"] + 1
    stack["GRD"].attrs = changed["GRD"].attrs
    stack.to_zarr(tmp_path / "changed.zarr", consolidated=False)
    assert "of other predictors of that day" in says("maps", "fine=changed.zarr", "intervals=false")
    changed.to_zarr(tmp_path / "copy.zarr", consolidated=False)
    same = predict("maps", "fine=copy.zarr", "intervals=false", "time=2021-01-16:2021-01-16")
    assert "1 day was there already" in same[1], same[2]
    stack["GRD"].attrs["source"] = "ASCAT"
    stack.to_zarr(tmp_path / "ascat.zarr", consolidated=False)
    assert "'GRD' is of 'ASCAT', the run was trained with 'Sentinel-1'" in says("new", "fine=ascat.zarr")
    code, _, err = predict("new", "fine=ascat.zarr", "same_source=false", "intervals=false")
    assert code == 0, err
    stack["GRD"].attrs = {"units": "K"}
    stack.to_zarr(tmp_path / "kelvin.zarr", consolidated=False)
    assert "'GRD' is in 'K', expected 'dB'" in says("units", "fine=kelvin.zarr")
    changed.drop_vars("clay").to_zarr(tmp_path / "short.zarr", consolidated=False)
    assert "no variable 'clay'" in says("short", "fine=short.zarr")
    assert "no map on 1 of 2 days, the first is 2021-01-22" in says("day", f"coarse={folder / 'one.nc'}")
    assert "1 rows and 1 columns" in says("cell", f"coarse={folder / 'cell.nc'}")
    assert "conserve=true: give coarse=" in says("cell", "conserve=true")
    assert "expected a multiple of 64" in says("cell", "window_pixels=100")
    assert "output=x.nc: expected the name of a folder" in says("x.nc")
    assert "holds no pixel" in says("box", "bbox=[0,50,1,51]")
    assert "no model.ckpt there" in says("box", "run=absent")
    assert not (tmp_path / "box").exists()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "SM_10m_20200101.tif").write_bytes(b"")
    assert "is there without sgdsm_plan.json" in says("foreign")


def test_undeclared_fill_values_are_refused_and_impossible_estimates_counted(predict, folder, tmp_path):
    stack = open_stack(folder / "fine.zarr").load().drop_encoding()
    bad = stack.copy(deep=True)
    bad["GRD"][1, 60:70, 60:70] = -9999
    bad.to_zarr(tmp_path / "fill.zarr", consolidated=False)
    for output, more in (("maps", []), ("conserved", [f"coarse={folder / 'coarse.nc'}"])):
        code, _, err = predict(output, f"fine={tmp_path / 'fill.zarr'}", "intervals=false", *more)
        assert code == 1
        said = err.strip().splitlines()[-1]
        assert f"fine={tmp_path / 'fill.zarr'}: 2021-01-22: variable 'GRD' holds -9999" in said
        assert "coarse=" not in said
    with xr.open_dataset(folder / "coarse.nc") as coarse:
        coarse.assign(sm_filled=(coarse["sm_filled"] * 0 + 1).assign_attrs(units="percent")).to_netcdf("dry.nc")
    code, _, err = predict("dry", "coarse=dry.nc", "intervals=false")
    assert code == 0, err
    below = 0
    for path in sorted((tmp_path / "dry").glob("*.tif")):
        with rasterio.open(path) as file:
            below += int((file.read(1) < 0).sum())
    assert below > 100
    assert f"{below:,} estimates lie outside of 0 to 1 m3 m-3" in err


def test_a_full_disk_ends_the_day_and_leaves_no_file(predict, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    code, _, err = predict("maps", "intervals=false")
    assert code == 1
    assert "No space left on device" in err
    assert not list((tmp_path / "maps").glob("*.tif"))


def test_a_day_is_recognised_by_all_its_pixels():
    values = np.random.default_rng(0).random((1, 600, 500)).astype(np.float32)
    windows = windows_of(600, 500, 256)

    def digest(values: np.ndarray, workers: int = 1) -> str:
        return day_digest(xr.Dataset({"GRD": (("time", "y", "x"), values)}), 0, ["GRD"], windows, workers)

    assert digest(values) == digest(values.copy(), workers=3)
    for place in ((0, 0, 0), (0, 599, 499), (0, 7, 333)):
        repaired = values.copy()
        repaired[place] += 1
        assert digest(repaired) != digest(values)


def test_a_store_in_degrees_says_so(tmp_path):
    grid = FineGrid("EPSG:4326", (9.0, 0.001, 0.0, 51.0, 0.0, -0.001), 3, 4)
    output = Store(tmp_path / "maps.zarr", grid, np.array(["2021-01-16"], "datetime64[D]"), [], {}, 64)
    output.begin({})
    output.finish()
    with xr.open_zarr(tmp_path / "maps.zarr") as store:
        assert (store["x"].attrs["standard_name"], store["x"].attrs["units"]) == ("longitude", "degrees_east")
        assert (store["y"].attrs["standard_name"], store["y"].attrs["units"]) == ("latitude", "degrees_north")
        np.testing.assert_allclose(store["x"].values[[0, -1]], [9.0005, 9.0035])
        assert [float(word) for word in store["spatial_ref"].attrs["GeoTransform"].split()] == list(grid.transform)


def test_a_box_keeps_the_georeference(predict, tmp_path):
    code, _, err = predict("maps", "bbox=[9.01,51.40,9.02,51.44]", "intervals=false", "time=2021-01-16:2021-01-16")
    assert code == 0, err
    assert predict("all", "intervals=false", "time=2021-01-16:2021-01-16")[0] == 0
    with rasterio.open(tmp_path / "maps" / "SM_10m_20210116.tif") as part:
        with rasterio.open(tmp_path / "all" / "SM_10m_20210116.tif") as file:
            west, north = part.transform.c, part.transform.f
            assert (west - WEST) % 10 == 0 == (NORTH - north) % 10
            window = rasterio.windows.from_bounds(*part.bounds, file.transform)
            np.testing.assert_array_equal(part.read(1), file.read(1, window=window))
        assert 0 < part.width < COLUMNS


def test_reach_tells_share_and_spread():
    rng = np.random.default_rng(0)
    rows = rng.normal([-12, 25], [2, 8], (5000, 2)).astype(np.float32)

    low, high, spread = np.array([-14.0, 0.0]), np.array([-10.0, 60.0]), np.array([1.0, 16.0])
    trained = SimpleNamespace(predictors=["GRD", "clay"], low=low, high=high, spread=spread)
    reach = Reach(trained)
    for part in np.split(rows, 5):
        reach.total += reach.moments(part)
    table = reach.table()
    assert table["GRD"]["outside"] == pytest.approx((abs(rows[:, 0] + 12) > 2).mean())
    assert table["GRD"]["spread_ratio"] == pytest.approx(rows[:, 0].std(), rel=1e-4)
    assert table["clay"]["spread_ratio"] == pytest.approx(rows[:, 1].std() / 16, rel=1e-4)
    assert "GRD" in reach.text()


def test_threads_keep_the_order_and_hand_on_errors():
    assert list(in_order(lambda k: k * k, range(20), 3)) == [k * k for k in range(20)]

    def fails(k: int) -> int:
        if k == 3:
            raise CubeError("no")
        return k

    with pytest.raises(CubeError):
        list(in_order(fails, range(20), 2))


def test_coarse_values_are_found_by_name_and_converted():
    maps = (("time", "lat", "lon"), np.full((1, 2, 2), 30.0), {"units": "percent"})
    file = xr.Dataset({"sm_filled": maps, "SM": maps}, {"lat": [2.0, 1.0], "lon": [1.0, 2.0]})
    assert float(coarse_maps(file, "SM", "m3 m-3").values.max()) == pytest.approx(0.3)
    assert coarse_maps(file.rename(sm_filled="other"), "SM", "m3 m-3").name == "SM"
    with pytest.raises(CubeError, match="no variable 'sm_filled' or 'theta'"):
        coarse_maps(file.rename(sm_filled="other"), "theta", "m3 m-3")
    with pytest.raises((CubeError, ConfigError), match="expected 'm3 m-3'"):
        coarse_maps(file.assign(SM=file["SM"].assign_attrs(units="K")), "SM", "m3 m-3", "SM")
