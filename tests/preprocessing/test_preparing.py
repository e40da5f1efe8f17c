"""prepare, describe and export as commands, and what comes after them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
import yaml

from sgdsm.core.cube import by_role, open_dataset
from sgdsm.core.specification import build, check_spec
from sgdsm.preprocessing.open import open_prepared
from sgdsm.preprocessing.recipe import Recipe, Source
from sgdsm.sources.readers.files import open_product, products
from sgdsm.training.compose import config_folder
from tests.conftest import ROOT, TINY_TREES, composed, run_folder
from tests.sources import make

pytestmark = pytest.mark.slow

RECIPE = """
_target_: sgdsm.preprocessing.open_prepared
path: cube.zarr
recipe:
  _target_: sgdsm.preprocessing.Recipe
  start: "2016-01-01"
  end: "2016-03-20"
  folder: products
  grid: { _target_: sgdsm.preprocessing.regular_grid, resolution: 45.0 }
  sources:
    cci:
      _target_: sgdsm.preprocessing.Source
      product: esa_cci
      paths: esa_cci
      role: target
      variables: { sm: sm }
"""


@pytest.fixture
def words(tmp_path):
    """What makes a cube of 80 days on a global grid of 45 degrees; the folder holds its files."""
    folder = tmp_path / "products" / "esa_cci"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    level = 0.25
    for k in range(80):
        level = 0.25 + 0.8 * (level - 0.25) + 0.02 * rng.standard_normal((4, 8))
        sm = np.where(rng.random((4, 8)) < 0.4, np.nan, level).astype(np.float32)
        make.esa_cci(folder, str(np.datetime64("2016-01-01") + k).replace("-", ""), sm=sm)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(RECIPE)
    return ["--config-dir=conf", "data=mine"]


def test_from_files_to_a_filled_cube(run_command, words, tmp_path):
    code, out, err = run_command("prepare", *words)
    assert code == 0, err
    assert out.strip().endswith("cube: cube.zarr")
    assert "observed" in out
    code, out, err = run_command("describe", "cube.zarr")
    assert code == 0, err
    assert "target  sm [m3 m-3]" in out
    assert "80 maps, one every 1 day, 2016-01-01 to 2016-03-20" in out
    assert (tmp_path / "cube.zarr.png").stat().st_size > 10_000
    code, out, err = run_command("train", *words, *TINY_TREES)
    assert code == 0, err
    run = run_folder(out)
    code, out, err = run_command("predict", f"run={run}", "output=filled.nc")
    assert code == 0, err
    with xr.open_dataset(tmp_path / "filled.nc") as filled:
        assert np.isfinite(filled["sm_filled"].values).all()
    code, out, err = run_command("train", "data=prepared", "data.path=cube.zarr", *TINY_TREES)
    assert code == 0, err
    code, out, err = run_command("export", "filled.nc", "layout=sgd_sm", "output=daily")
    assert code == 0, err
    made = open_product("sgd_sm", tmp_path / "daily")
    with xr.open_dataset(tmp_path / "filled.nc") as filled:
        np.testing.assert_allclose(made["sm"], filled["sm_filled"], atol=0.005)


def test_another_recipe_is_not_trained_on(run_command, words):
    assert run_command("prepare", *words)[0] == 0
    code, _, err = run_command("train", *words, "data.recipe.end=2016-03-10", *TINY_TREES)
    assert code == 1
    assert "another recipe (end differ)" in err
    code, _, err = run_command("train", *words, "data.path=other.zarr", *TINY_TREES)
    assert code == 1
    assert "make it with `python -m sgdsm prepare`" in err


def test_layouts_hold_the_same(run_command, words, tmp_path):
    assert run_command("prepare", *words)[0] == 0
    cube = open_prepared(str(tmp_path / "cube.zarr")).load()
    for name in ("cube.nc", "cube.h5"):
        code, _, err = run_command("export", "cube.zarr", f"output={name}")
        assert code == 0, err
        other = open_prepared(str(tmp_path / name)).load()
        for variable in cube:
            assert other[variable].dtype == cube[variable].dtype
            np.testing.assert_array_equal(other[variable], cube[variable])
            assert other[variable].attrs["role"] == cube[variable].attrs["role"]
            assert other[variable].attrs.get("units") == cube[variable].attrs.get("units")
        np.testing.assert_array_equal(other["time"], cube["time"])
    import h5py

    with h5py.File(tmp_path / "cube.h5") as file:
        assert set(file) == {"coords", "static", "target"}
        assert file["target/sm"].attrs["units"] == "m3 m-3"
    code, _, err = run_command("export", "cube.zarr", "output=days", "layout=sgd_sm")
    assert code == 0, err
    code, _, err = run_command("export", "cube.zarr", "output=days", "layout=sgd_sm")
    assert code == 1
    assert "LPRM_AMSR2_20160101.nc exists" in err
    daily = open_product("sgd_sm", tmp_path / "days").load()
    np.testing.assert_allclose(daily["sm"], cube["sm"], atol=0.005)
    assert abs(float((daily["sm"] - cube["sm"]).mean())) < 0.002, "rounded, not cut off"


def test_a_filled_file_keeps_the_crs(run_command, words, tmp_path):
    grid = "_target_: sgdsm.preprocessing.projected_grid, crs: 'EPSG:6933', resolution_m: 2000000.0, "
    text = RECIPE.replace(
        "_target_: sgdsm.preprocessing.regular_grid, resolution: 45.0", grid + "bounds: [-8e6, -4e6, 8e6, 4e6]"
    )
    (tmp_path / "conf" / "data" / "mine.yaml").write_text(text)
    assert run_command("prepare", *words)[0] == 0
    _, out, _ = run_command("train", *words, "model=linear_time")
    for name in ("filled.nc", "filled.zarr"):
        code, _, err = run_command("predict", f"run={run_folder(out)}", f"output={name}")
        assert code == 0, err
        filled = open_dataset(tmp_path / name)
        assert filled["crs"].attrs["grid_mapping_name"] == "lambert_cylindrical_equal_area"
        assert filled["sm_filled"].attrs["grid_mapping"] == "crs"
        assert filled["lat"].dims == ("y",)
        assert set(filled["sm_filled"].coords) >= {"lat", "lon", "y", "x"}


@pytest.mark.parametrize("name", ["cube.nc", "filled.nc"])
def test_files_keep_the_conventions(run_command, words, tmp_path, name):
    """No error from compliance-checker's CF test."""
    from compliance_checker.runner import CheckSuite, ComplianceChecker

    assert run_command("prepare", *words)[0] == 0
    assert run_command("export", "cube.zarr", "output=cube.nc")[0] == 0
    if name == "filled.nc":
        _, out, _ = run_command("train", *words, "model=linear_time")
        assert run_command("predict", f"run={run_folder(out)}", "output=filled.nc")[0] == 0
    CheckSuite.load_all_available_checkers()
    report = tmp_path / "report.json"
    ComplianceChecker.run_checker(
        str(tmp_path / name), ["cf:1.10"], 0, "normal", output_filename=str(report), output_format="json"
    )
    import json

    found = json.loads(report.read_text())
    found = found.get("cf:1.10", found)
    errors = [f"{part['name']}: {part['msgs']}" for part in found["high_priorities"] if part["msgs"]]
    assert not errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data=simulate"], "give data=RECIPE"),
        (["workers=0"], "workers=0: expected a whole number"),
        (["on_bad_file=ignore"], "expected one of fail, skip"),
        (["data.path=cube.nc"], "ending in .zarr"),
        (["data.path=FILE/cube.zarr"], "is a file, expected a folder"),
        (["data.recipe.sources.cci.product=esa_ccy"], "did you mean 'esa_cci'"),
        (["data.recipe.sources.cci.paths=elsewhere"], "no such file"),
        (["data.recipe.sources.cci.variables.sm=soil"], "no variable 'soil'"),
        (["data.recipe.end=2016-02-30"], "expected a day like"),
        (["data.recipe.sources.cci.role=goal"], "role='goal'"),
    ],
)
def test_mistakes_end_in_one_line(run_command, words, tmp_path, changes, message):
    (tmp_path / "FILE").touch()
    kept = words if changes != ["data=simulate"] else words[:1]
    code, _, err = run_command("prepare", *kept, *changes)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert message in last, err
    assert not (tmp_path / "cube.zarr").exists()


def test_describe_takes_the_users_own_file(run_command, tmp_path, plain):
    plain(days=400).to_netcdf(tmp_path / "mine.nc")
    code, out, err = run_command("describe", "mine.nc", "target=sm", "dynamic=[rain]", "static=[clay]")
    assert "  all together  100.0%" in out
    assert code == 0, err
    assert "400" in out
    assert (tmp_path / "mine.nc.png").stat().st_size > 10_000
    days = plain(days=40).isel(time=[*range(10), *range(15, 40)])
    days.to_netcdf(tmp_path / "holes.nc")
    code, out, err = run_command("describe", "holes.nc", "target=sm")
    assert code == 0, err
    assert "40 maps" in out
    (days * np.nan).to_netcdf(tmp_path / "none.nc")
    code, _, err = run_command("describe", "none.nc", "target=sm")
    assert code == 1
    assert "'sm' has no value anywhere" in err


def test_describe_and_export_say_what_they_miss(run_command, tmp_path):
    code, _, err = run_command("describe", "nothing.zarr")
    assert code == 1
    assert "no such file" in err
    xr.Dataset({"sm": (("time",), np.zeros(3))}).to_netcdf(tmp_path / "plain.nc")
    code, _, err = run_command("describe", "plain.nc")
    assert code == 1
    assert "role='target'" in err
    assert "say target=NAME" in err
    code, _, err = run_command("export", "plain.nc", "output=x.txt")
    assert code == 1
    assert "expected layout=" in err


def test_roles_are_needed_for_prepared(tmp_path):
    from sgdsm.core.errors import CubeError

    xr.Dataset({"sm": (("time",), np.zeros(3))}).to_netcdf(tmp_path / "plain.nc")
    assert by_role(open_dataset(tmp_path / "plain.nc"), "target") == []
    with pytest.raises(CubeError, match="use data=netcdf"):
        open_prepared(str(tmp_path / "plain.nc"))


STATIONS = ("ismn", "scan", "station_csv", "station_netcdf", "uscrn")


@pytest.mark.parametrize("name", [p for p in products() if p not in STATIONS])
def test_each_product_has_its_settings(name):
    """A file configs/source/PRODUCT.yaml with all of its options."""
    import importlib
    import inspect

    settings = yaml.safe_load((config_folder() / "source" / f"{name}.yaml").read_text())
    check_spec(settings, Source)
    assert settings["product"] == name
    options = inspect.signature(importlib.import_module(f"sgdsm.sources.products.{name}").files).parameters
    assert set(settings["options"]) == set(options) - {"paths"}


@pytest.mark.parametrize("name", ["cci_era5_025", "smap_era5_m36"])
def test_shipped_recipes_can_be_made(name):
    data = composed("prepare", *[f"data={name}"])["data"]
    recipe = build(data["recipe"], Recipe)
    assert set(recipe.dynamic()) == {"precipitation", "air_temperature", "soil_temperature"}
    assert recipe.screening.names() == ["soil_temperature"]


def test_the_recipe_of_the_documentation_can_be_made(tmp_path):
    text = (ROOT / "docs" / "products.md").read_text()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    words = ["data=mine", f"hydra.searchpath=[file://{tmp_path}]"]
    data = composed("prepare", *words)["data"]
    recipe = build(data["recipe"], Recipe)
    assert recipe.dynamic() == ["ndvi", "sm_active"]
    assert recipe.target()[1] == "sm"
    assert recipe.grid.shape == (100, 120)
