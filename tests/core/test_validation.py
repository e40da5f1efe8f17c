"""Values that cannot be right are refused, and units converted, on every way into the product."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import xarray as xr
import yaml

import sgdsm
from sgdsm.core.cube import as_cube, open_cube
from sgdsm.core.errors import CubeError
from sgdsm.core.validation import looks_like_fill, read_values
from sgdsm.data.record import read_record
from sgdsm.sources.simulation.world import simulate
from tests.conftest import TINY_TREES, in_process, run_folder

QUIET = "trainer.progress=false"
OWN = (
    "data=netcdf data.target=sm data.land=land data.dynamic=[precipitation,air_temperature] data.static=[elevation] "
    "data.precipitation=precipitation"
)
FITTING = "least_values=5 values_per_bin=5 trees.block_days=20"
FILLS = [-999.9, -99.0, -9999.9, 999.0, 9999.0, 99999.0, 65535.0, 1e15]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Files of a small world: good, without its gaps declared, with other units."""
    folder = tmp_path_factory.mktemp("values")
    names = ["sm", "precipitation", "air_temperature", "elevation", "land"]
    world = simulate(rows=8, columns=10, days=120, seed=5)[names].drop_encoding()
    for name in names:
        world[name].attrs = {"units": world[name].attrs["units"]}

    def save(name, **variables):
        world.assign(variables).to_netcdf(folder / f"{name}.nc")

    save("good")
    filled = world["sm"].fillna(-999.9).assign_attrs(units="m3 m-3")
    plain = {"_FillValue": None}
    filled.encoding = plain
    save("undeclared", sm=filled)
    bounded = filled.assign_attrs(valid_min=np.float32(0), valid_max=np.float32(1))
    bounded.encoding = plain
    save("bounded", sm=bounded)
    # a third of the temperatures are missing, and nobody says so
    holes = np.random.default_rng(0).random(world["air_temperature"].shape) < 0.3
    cold = world["air_temperature"].where(~holes, -99.0).assign_attrs(units="K")
    cold.encoding = plain
    save("covariate", air_temperature=cold)
    # as a service of forecasts gives them
    save(
        "other_units",
        precipitation=(world["precipitation"] / 86400).assign_attrs(units="kg m**-2 s**-1"),
        air_temperature=(world["air_temperature"] - 273.15).assign_attrs(units="degC"),
        sm=(world["sm"] * 100).assign_attrs(units="percent"),
    )
    save("no_match", air_temperature=world["air_temperature"].assign_attrs(units="W m-2"))
    save("no_units", air_temperature=(world["air_temperature"] - 273.15).assign_attrs({"long_name": "warmth"}))
    with xr.open_dataset(folder / "no_units.nc") as found:
        lacking = found.load()
    del lacking["air_temperature"].attrs["units"]
    lacking.to_netcdf(folder / "no_units.nc")
    hidden = world["sm"].where(np.random.default_rng(1).random(world["sm"].shape) < 0.2)
    mask = xr.DataArray(np.isfinite(hidden.values), world["sm"].coords, world["sm"].dims)
    for name in ("good", "undeclared"):
        truth = hidden if name == "good" else hidden.where(hidden > 0.1, -999.9)
        xr.Dataset({"truth": truth.assign_attrs(units="m3 m-3"), "hidden": mask}, attrs={"target": "sm"}).to_netcdf(
            folder / f"hidden_{name}.nc", encoding={"truth": {"_FillValue": None}}
        )
    shown = world["sm"].where(~mask).assign_attrs(units="m3 m-3")
    world.assign(sm=shown).to_netcdf(folder / "visible.nc")
    estimate = shown.fillna(0.2).assign_attrs(units="m3 m-3")
    xr.Dataset({"sm_filled": estimate}).to_netcdf(folder / "filled.nc")
    # a third of the estimates are missing
    broken = estimate.where(np.isfinite(shown) | (np.random.default_rng(2).random(shown.shape) > 0.3), -999.9)
    broken.encoding = plain
    xr.Dataset({"sm_filled": broken.assign_attrs(units="m3 m-3")}).to_netcdf(folder / "filled_undeclared.nc")
    return folder


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    """A run of trees on the good file."""
    folder = tmp_path_factory.mktemp("run") / "run"
    words = [*TINY_TREES, *OWN.split(), f"data.path={made}/good.nc", f"hydra.run.dir={folder}", QUIET]
    in_process(folder.parent, "train", *words)
    return folder


# {file} is the file that cannot be right
WAYS = {
    "describe": "describe {file} target=sm",
    "train": f"train model=climatology {OWN} data.path={{file}} {QUIET}",
    "predict": "predict run={run} data=netcdf data.path={file} output=x.nc",
    "recalibrate": "recalibrate run={run} data=netcdf data.path={file} output=again",
    "select": f"select {OWN} data.path={{file}} output=chosen splits.block_days=20 splits.separation_days=4",
    "fit, source": "correct fit source={file} variable=sm reference={good} reference_variable=sm output=c.nc "
    f"{FITTING} period=2015-04-01:",
    "fit, reference": "correct fit source={good} variable=sm reference={file} reference_variable=sm output=c.nc "
    f"{FITTING}",
    "evaluate": "evaluate filled={filled} truth={hidden} visible={file}",
}


def _typed(way, file, made, run):
    words = WAYS[way].format(file=made / f"{file}.nc", good=made / "good.nc", run=run, hidden=made / "hidden_good.nc",
        filled=made / "filled.nc",
    )  # fmt: skip
    command, *others = shlex.split(words)
    return command, others


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_an_undeclared_fill_value_of_the_target_is_refused(way, made, run, run_command, tmp_path):
    command, words = _typed(way, "undeclared", made, run)
    code, out, err = run_command(command, *words)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "undeclared.nc" in last
    assert "'sm' holds -999.9" in last
    assert "times: a fill value that the file does not declare" in last
    assert "valid_range" in last
    if command == "describe":
        assert "target  sm -999.9 to 0." in out
        assert "% outside 0 to 1" in out
    assert not list(tmp_path.glob("x.nc")) + list(tmp_path.glob("c.nc"))


@pytest.mark.parametrize(
    ("filled", "truth", "message"),
    [
        ("filled_undeclared", "hidden_good", r"filled_undeclared.nc: variable 'sm_filled' holds -999.9"),
        ("filled", "hidden_undeclared", r"hidden_undeclared.nc: variable 'truth' holds -999.9"),
    ],
)
def test_evaluate_refuses_fill_values_of_every_file(made, run_command, filled, truth, message):
    words = f"filled={made}/{filled}.nc truth={made}/{truth}.nc visible={made}/visible.nc".split()
    code, _, err = run_command("evaluate", *words)
    assert code == 1
    assert message in err
    code, _, err = run_command(
        "evaluate", *(word.replace("_undeclared", "").replace("hidden.", "hidden_good.") for word in words)
    )
    assert code == 0, err


def test_an_undeclared_fill_value_is_refused_from_python(made, run):
    with xr.open_dataset(made / "undeclared.nc") as dataset, pytest.raises(CubeError, match=r"'sm' holds -999\.9"):
        sgdsm.fill(dataset, run)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["describe", "train", "predict", "select", "fit, source"])
def test_a_declared_range_makes_them_gaps(way, made, run, run_command):
    found = []
    for file in ("good", "bounded"):
        command, words = _typed(way, file, made, run)
        code, out, err = run_command(command, *words)
        assert code == 0, err
        shown = [line for line in out.splitlines() if not line.startswith(("run: ", "figure: ", "target  sm "))]
        found.append(shown)
        for name in ("x.nc", "c.nc", "chosen"):
            _remove(name)
    assert found[0] == found[1]


def _remove(name):
    import shutil
    from pathlib import Path

    path = Path(name)
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@pytest.mark.slow
def test_a_range_of_the_settings_makes_them_gaps(made, run, run_command, tmp_path):
    words = [*TINY_TREES, *OWN.split(), QUIET]
    _, good, _ = run_command("train", *words, f"data.path={made}/good.nc")
    code, out, err = run_command("train", *words, f"data.path={made}/undeclared.nc", "data.valid_range=[0,0.6]")
    assert code == 0, err
    assert "values lie outside valid_range=[0, 0.6]: gaps" in err
    assert good.splitlines()[:-1] == out.splitlines()[:-1]
    # the run remembers it
    code, out, err = run_command("predict", f"run={tmp_path / run_folder(out)}", "output=x.nc")
    assert code == 0, err
    with xr.open_dataset(tmp_path / "x.nc") as filled:
        assert filled["sm"].min() >= 0


@pytest.mark.parametrize("way", ["train", "predict", "recalibrate", "select"])
def test_an_undeclared_fill_value_of_a_covariate_is_refused(way, made, run, run_command):
    command, words = _typed(way, "covariate", made, run)
    code, _, err = run_command(command, *words)
    assert code == 1
    assert "'air_temperature' holds -99 " in err
    assert "a fill value that the file does not declare" in err


@pytest.mark.parametrize("fill", FILLS)
def test_every_common_fill_value_is_found(plain, fill):
    for name in ("sm", "rain", "clay"):
        dataset = plain(rows=9, columns=10)
        values = dataset[name].values.copy()
        values.ravel()[::20] = fill
        dataset[name] = dataset[name].copy(data=values)
        with pytest.raises(CubeError, match=f"'{name}' (holds|is in)"):
            read_record(as_cube(dataset, "sm", ["rain"], ["clay"], precipitation="rain"))


def test_what_only_looks_like_a_fill_value_is_taken(plain):
    dataset = plain()
    rain, clay = dataset["rain"].values.copy(), dataset["clay"].values.copy()
    rain.ravel()[5] = 99.0  # a storm
    clay = np.where(clay > 0.5, 100.0, 99.0).astype(np.float32)  # percent
    dataset = dataset.assign(rain=dataset["rain"].copy(data=rain), clay=dataset["clay"].copy(data=clay))
    read_record(as_cube(dataset, "sm", ["rain"], ["clay"], precipitation="rain"))
    assert [v for v in (0, 1, 9, 25, 90, 98, 100, 273.15, 500, 1013, 3000, 12345) if looks_like_fill(v)] == []


RNG = np.random.default_rng(0)
WHOLE = np.arange(400).reshape(1, 20, 20)
RAIN = np.where(RNG.random((30, 10, 10)) < 0.2, RNG.gamma(0.5, 20, (30, 10, 10)), 0)
EVENT = np.where(np.arange(20)[:, None, None] == 3, RNG.uniform(5, 9, (20, 8, 8)), 0)
TAIL = np.minimum(RNG.gamma(0.3, 120, (30, 10, 10)), 255)
SNOW = np.where(np.median(TAIL) > TAIL, 0, TAIL / TAIL.max())


def one(values, place, value):
    """Values with a single other one."""
    values = np.array(values, float)
    values.ravel()[place] = value
    return values


def some(values, value, share=0.1):
    """Values with a share of others."""
    values = np.array(values, float)
    values[np.random.default_rng(5).random(values.shape) < share] = value
    return values


def check(values, units="1", role="dynamic", **attributes):
    dims = ("time", "lat", "lon")[-np.ndim(values) :]
    attrs = {"units": units, "role": role, **attributes}
    return read_values(xr.DataArray(np.asarray(values, np.float32), dims=dims, name="x", attrs=attrs))


@pytest.mark.parametrize(
    ("values", "units"),
    {
        "rain": (RAIN, "mm"),
        "rain as a mass flux": (RAIN / 86400, "kg m-2 s-1"),
        "one event over a small box": (EVENT, "mm d-1"),
        "a storm of 99 mm in a small box": (one(WHOLE[:, :10, :10] % 4, 5, 99), "mm"),
        "a hill of 255 m": (one(RNG.integers(0, 50, (8, 8)), 27, 255), "m"),
        "a peak of 999 m": (one(RNG.integers(100, 250, (9, 9)), 27, 999), "m"),
        "a deficit of -999 mm": (one(RNG.integers(-998, 0, (20, 20)), 3, -999), "mm"),
        "saturated air": (some(RNG.uniform(20, 90, (30, 10, 10)), 100), "%"),
        "nearly saturated air": (some(RNG.uniform(20, 90, (30, 10, 10)), 99.9), "%"),
        "snow depth with a cap": (some(TAIL, 255, 0.02), "cm"),
        "snow depth without its cap": (TAIL * 0.9, "cm"),
        "snow depth of ERA5, 10 m on glaciers": (some(SNOW, 10, 0.04), "m"),
        "visibility with a cap": (some(RNG.uniform(100, 9000, (30, 10, 10)), 9999, 0.2), "m"),
        "distances with a cap": (some(RNG.uniform(0, 9e5, (20, 20)), 1e6, 0.02), "m"),
        "classes of land": (RNG.choice([10, 20, 30, 60, 110, 210, 220], (20, 20)), "1"),
        "classes, one far away": (some(RNG.integers(1, 17, (20, 20)), 200), "1"),
        "a mask of 0 and 255": (np.where(RNG.random((20, 20)) < 0.5, 255, 0), "1"),
        "a mask of 0 and 1": (np.where(RNG.random((20, 20)) < 0.03, 1, 0), "1"),
        "pressure": (RNG.choice([1e5, 99990.0, 100010.0], (20, 20)), "Pa"),
        "days of the year": (np.where(RNG.random((20, 20)) < 0.03, 366, 0), "1"),
        "one temperature that is wrong": (one(RNG.uniform(270, 300, (30, 10, 10)), 5, 0), "K"),
        "open water": (some(RNG.uniform(0, 0.3, (20, 20)), 1), "1"),
        "forest": (some(RNG.uniform(0, 30, (20, 20)), 100), "percent"),
        "a range of temperatures": (some(RNG.uniform(5, 9, (30, 10, 10)), 0, 0.6), "degC"),
    }.values(),
)  # fmt: skip
def test_what_is_no_fill_value_is_taken(values, units):
    check(values, units)


@pytest.mark.parametrize("fill", [0, -1, -88, -777, -3000, -3276.8, 32766, 65534, 400, -99, 999, -60000])
@pytest.mark.parametrize("shape", [(60, 8, 8), (6, 8, 8)])
def test_a_frequent_number_far_from_all_others_is_refused(fill, shape):
    with pytest.raises(CubeError, match=f"'x' holds {fill:g} [0-9]+ times"):
        check(some(RNG.normal(285, 8, shape), fill), "K")
    # beside another one
    if fill < 0:
        with pytest.raises(CubeError, match="'x' holds"):
            check(some(some(RNG.normal(285, 8, shape), fill), 32766), "K")


def test_a_single_fill_code_is_refused_where_it_is_far_from_the_others():
    with pytest.raises(CubeError, match="holds -9999 1 times"):
        check(one(RNG.normal(285, 8, (60, 8, 8)), 7, -9999), "K")
    with pytest.raises(CubeError, match="holds -999 2 times"):
        check(one(one(RNG.uniform(0, 8000, (60, 60)), 7, -999), 9, -999), "m")


@pytest.mark.parametrize(
    ("units", "value"),
    [("percent", -1), ("%", -4), ("percent", 101), ("% vol", 104), ("m3 m-3", -0.01), ("m3 m-3", 1.04)]
    + [("m³ m⁻³", -1), ("m^3m^-3", -1), ("percentage", -1), ("cm³ cm⁻³", -0.05)],
)
@pytest.mark.parametrize("share", [0.03, 0.3])
def test_one_number_beyond_the_units_of_a_target_is_refused(units, value, share):
    moisture = RNG.uniform(0.05, 0.4, (20, 20)) * (100 if "%" in units or "perc" in units else 1)
    with pytest.raises(CubeError, match=f"'x' (holds {value:g} |is in )"):
        check(some(moisture, value, share), units, "target")


@pytest.mark.parametrize(
    ("values", "units"),
    [
        (RNG.uniform(-2, 104, (20, 20)), "percent"),
        (RNG.uniform(-0.04, 0.6, (20, 20)), "m3 m-3"),
        (np.round(RNG.normal(2, 2, (40, 40)).clip(-4)), "percent"),
        (some(RNG.uniform(0, 1, (20, 20)), 1 + 1e-6), "m3 m-3"),
        (some(RNG.uniform(0, 1, (20, 20)), 0), "m3 m-3"),
        (some(RNG.uniform(0, 1, (20, 20)), 1), "m3 m-3"),
        (one(RNG.uniform(0, 1, (20, 20)), 3, -0.04), "m3 m-3"),
    ],
)
def test_noise_beyond_the_units_of_a_target_is_taken(values, units):
    check(values, units, "target")


def test_the_cure_names_every_setting():
    with pytest.raises(CubeError) as caught:
        check(RNG.normal(0, 1, (9, 9)), "1", "target")
    for words in ("mend or remove the attribute units", "data.valid_range=[0,1]", "describe: valid_range=[0,1]"):
        assert words in str(caught.value)


@pytest.mark.parametrize(("units", "factor"), [("m3 m-3", 100), ("1", 90), ("percent", 1000), ("m3/m3", 1.27 / 0.4)])
def test_soil_moisture_beyond_its_units_is_refused(plain, units, factor):
    dataset = plain()
    dataset["sm"] = (dataset["sm"].clip(0.0, 0.4) * factor).assign_attrs(units=units)
    with pytest.raises(CubeError, match=rf"'sm' is in '{units}', but \d+ of \d+ values \(.*%\) lie outside 0 to 1"):
        read_record(as_cube(dataset, "sm"))


def test_percent_under_other_units_is_called_percent(plain):
    dataset = plain()
    dataset["sm"] = (dataset["sm"].clip(0.05, 0.4) * 100).assign_attrs(units="m3 m-3")
    with pytest.raises(CubeError, match="percent, it seems: set the attribute units to '%'"):
        read_record(as_cube(dataset, "sm"))


def test_soil_moisture_without_units_may_be_anything(plain):
    dataset = plain()
    dataset["sm"] = (dataset["sm"] * 1000).drop_attrs()
    read_record(as_cube(dataset, "sm"))


@pytest.mark.slow
def test_units_are_converted_in_filling(made, run, run_command, tmp_path):
    for name in ("good", "other_units"):
        code, _, err = run_command(
            "predict", f"run={run}", "data=netcdf", f"data.path={made}/{name}.nc", f"output={name}.nc"
        )
        assert code == 0, err
    for line in ("'air_temperature' is converted from 'degC' to 'K'", "'sm' is converted from 'percent' to 'm3 m-3'",
                 "'precipitation' is converted from 'kg m**-2 s**-1' to 'mm d-1'"):  # fmt: skip
        assert err.count(line) == 1
    with xr.open_dataset(tmp_path / "good.nc") as good, xr.open_dataset(tmp_path / "other_units.nc") as other:
        # but for what float32 rounds, which may take a value to another leaf
        assert float(abs(good["sm_filled"] - other["sm_filled"]).mean()) < 1e-5
        assert other["sm_filled"].attrs["units"] == "m3 m-3"
        with xr.open_dataset(made / "other_units.nc") as dataset:
            filled = sgdsm.fill(dataset, run)
        np.testing.assert_array_equal(filled["sm_filled"].values, other["sm_filled"].values)


@pytest.mark.parametrize("command", ["predict", "recalibrate"])
def test_units_that_do_not_convert_are_refused(command, made, run, run_command):
    code, _, err = run_command(command, f"run={run}", "data=netcdf", f"data.path={made}/no_match.nc", "output=x.nc")
    assert code == 1
    assert "'air_temperature' is in 'W m-2', expected 'K' as in training" in err


@pytest.mark.slow
def test_missing_units_and_foreign_values_are_told_once(made, run, run_command):
    code, _, err = run_command("predict", f"run={run}", "data=netcdf", f"data.path={made}/no_units.nc", "output=x.nc")
    assert code == 0, err
    assert (
        err.count("'air_temperature' is taken as it is: units are missing on one side (in training they are 'K')") == 1
    )
    assert err.count("'air_temperature': 100 % of the values lie outside what the model has learned from") == 1
    code, _, err = run_command("predict", f"run={run}", "data=netcdf", f"data.path={made}/good.nc", "output=y.nc")
    assert "outside what the model" not in err
    assert "units are missing" not in err


def test_a_correction_converts_its_covariates(made, run_command, tmp_path):
    fit = (
        f"source={made}/good.nc variable=sm reference={made}/good.nc reference_variable=sm method=cdf_xgboost "
        "dynamic=[precipitation,air_temperature] static=[elevation] trees.rounds=5 "
        f"output=c.nc {FITTING}"
    )
    # a sensor cannot be its own reference: the second is a copy
    (tmp_path / "copy.nc").write_bytes((made / "good.nc").read_bytes())
    code, _, err = run_command("correct", "fit", *fit.replace(f"reference={made}/good", "reference=copy").split())
    assert code == 0, err
    for name in ("good", "other_units"):
        code, _, err = run_command(
            "correct", "apply", "correction=c.nc", f"source={made}/{name}.nc", f"output={name}.nc"
        )
        assert code == 0, err
    assert "'air_temperature' is converted from 'degC' to 'K', the units of the fit of the correction" in err
    with xr.open_dataset(tmp_path / "good.nc") as good, xr.open_dataset(tmp_path / "other_units.nc") as other:
        assert float(abs(good["sm"] - other["sm"]).mean()) < 1e-5
    # without units, 273 K too cold
    code, _, err = run_command("correct", "apply", "correction=c.nc", f"source={made}/no_units.nc", "output=w.nc")
    assert code == 0, err
    assert "'air_temperature': 100 % of the values lie outside what the model has learned from" in err
    code, _, err = run_command("correct", "apply", "correction=c.nc", f"source={made}/no_match.nc", "output=z.nc")
    assert code == 1
    assert "'air_temperature' is in 'W m-2', expected 'K' as in the fit of the correction" in err


def test_a_run_is_not_resumed_or_explained_where_units_have_changed(made, run, run_command, tmp_path):
    import shutil

    shutil.copytree(run, tmp_path / "again")
    config = yaml.safe_load((tmp_path / "again" / "config.yaml").read_text())
    config["data"]["path"] = str(tmp_path / "data.nc")
    (tmp_path / "again" / "config.yaml").write_text(yaml.safe_dump(config))
    with xr.open_dataset(made / "good.nc") as dataset:
        changed = dataset.load()
    changed["air_temperature"].attrs["units"] = "degC"
    changed.to_netcdf(tmp_path / "data.nc")
    code, _, err = run_command("explain", "run=again")
    assert code == 1
    assert "'air_temperature' was in 'K' when the run was begun, now it is in 'degC'" in err


def test_a_recipe_refuses_undeclared_fill_values(made, run_command, tmp_path):
    recipe = {
        "_target_": "sgdsm.preprocessing.open_prepared",
        "path": "cube.zarr",
        "recipe": {
            "_target_": "sgdsm.preprocessing.Recipe",
            "start": "2015-04-01",
            "end": "2015-05-01",
            "folder": str(made),
            "grid": {"_target_": "sgdsm.preprocessing.regular_grid", "resolution": 1.0, "bbox": [-125, 42, -115, 50]},
            "sources": {
                "own": {
                    "_target_": "sgdsm.preprocessing.Source",
                    "product": "netcdf_grid",
                    "options": {"variables": {"sm": "sm"}},
                    "role": "target",
                    "variables": {"sm": "sm"},
                }
            },
        },
    }
    (tmp_path / "conf" / "data").mkdir(parents=True)
    for name in ("undeclared", "bounded", "good"):
        recipe["path"], recipe["recipe"]["sources"]["own"]["paths"] = f"{name}.zarr", f"{name}.nc"
        (tmp_path / "conf" / "data" / "mine.yaml").write_text(yaml.safe_dump(recipe))
        code, _, err = run_command("prepare", "--config-dir=conf", "data=mine", "workers=1")
        if name == "undeclared":
            assert code == 1
            assert "undeclared.nc: variable 'sm' holds -999.9" in err
        else:
            assert code == 0, err
    with xr.open_zarr(tmp_path / "bounded.zarr") as bounded, xr.open_zarr(tmp_path / "good.zarr") as good:
        np.testing.assert_array_equal(bounded["sm"].values, good["sm"].values)


def test_open_cube_names_the_file_of_an_attribute(tmp_path, plain):
    plain().assign(sm=plain()["sm"].assign_attrs(valid_range="from 0 to 1")).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(CubeError, match=r"a\.nc: variable 'sm': valid_range='from 0 to 1' is no number"):
        open_cube(str(tmp_path / "a.nc"), "sm")
