"""`correct fit` and `correct apply` as a user types them, and as steps of a chain."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import by_role, check_cube, open_dataset
from sgdsm.sources.simulation.two_sensors import two_sensors

pytestmark = pytest.mark.slow

FAST = ["trees.rounds=30", "trees.block_days=20", "trees.separation_days=3", "trees.threads=1"]


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    return two_sensors(rows=5, columns=6, days=700, start="2014-06-01", seed=2)


@pytest.fixture
def here(world, tmp_path):
    """One file with both sensors, and one for each."""
    errors = (0.1 * world["sm"]).assign_attrs(units="m3 m-3", role="uncertainty")
    world.assign(sm_uncertainty=errors).to_netcdf(tmp_path / "both.nc")
    world.drop_vars("sm_reference").to_netcdf(tmp_path / "long.nc")
    plain = world[["sm_reference"]].rename(sm_reference="smap")
    plain.drop_attrs().assign_attrs(plain.attrs).sel(time=slice("2015", None)).to_netcdf(tmp_path / "short.nc")
    return tmp_path


def words(
    source: str = "both.nc", reference: str = "both.nc", variable: str = "sm_reference", **more: str
) -> list[str]:
    given = {"output": "c.nc", **more}
    return [f"source={source}", f"reference={reference}", f"reference_variable={variable}", *FAST,
            *(f"{k}={v}" for k, v in given.items())]  # fmt: skip


@pytest.mark.parametrize("method", ["cdf", "moments", "cdf_xgboost"])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_fit_apply_and_train(run_command, here, world, method, suffix):
    code, out, err = run_command("correct", "fit", *words(method=method, output=f"c{suffix}"))
    assert code == 0, err
    assert ("with trees" in out) == (method == "cdf_xgboost")
    code, out, err = run_command("correct", "apply", f"correction=c{suffix}", "source=both.nc", f"output=new{suffix}")
    assert code == 0, err
    assert out.strip() == f"corrected: new{suffix}"
    with open_dataset(here / f"new{suffix}") as new:
        check_cube(new)
        assert "sm_uncertainty" not in new, "it was that of the values before"
        old, found = world["sm"].values, new["sm"].values
        assert (np.isfinite(found) == np.isfinite(old)).all()
        truth = world["sm_true"].values
        before, after = (np.sqrt(np.nanmean((v - truth)[world["time"].values < np.datetime64("2015-01-01")] ** 2))
                         for v in (old, found))  # fmt: skip
        assert after < before
        assert new.attrs["correction_method"] == method
        assert new.attrs["correction_reference"] == "both.nc"
        assert json.loads(new.attrs["correction_cross_validation"])["mapped"]["n"] > 100
        assert new["sm"].attrs["units"] == "m3 m-3"
        assert sorted(by_role(new, "dynamic")) == sorted(by_role(world, "dynamic"))
        np.testing.assert_array_equal(new["ndvi"].values, world["ndvi"].values)
        assert new["time"].size == world["time"].size
    if method == "cdf":
        code, _, err = run_command(
            "train", "data=netcdf", f"data.path=new{suffix}", "data.target=sm", "data.land=land", "data.dynamic=[ndvi]",
            "model=linear_time", "trainer.progress=false", "hydra.run.dir=run",
        )  # fmt: skip
        assert code == 0, err
        # what the correction was fitted to is among what is scored: the run says so, and keeps it
        both = np.isfinite(world["sm"]) & np.isfinite(world["sm_reference"])
        first, last = (str(day)[:10] for day in world["time"].values[both.any(("lat", "lon")).values][[0, -1]])
        assert f"sm was corrected by what the reference had from {first} to {last}" in err
        kept = json.loads((here / "run" / "provenance.json").read_text())["correction"]
        assert (kept["correction_method"], kept["correction_fitted_days"]) == ("cdf", f"{first} {last}")


def test_files_apart_a_period_and_going_on(run_command, here, world):
    given = words("long.nc", "short.nc", "smap", period="2015-03-01:2016-03-31", method="cdf_xgboost", dynamic="[ndvi]")
    code, _, err = run_command("correct", "fit", *given, "static=[]")
    assert code == 0, err
    with open_dataset(here / "c.nc") as correction:
        both = np.isfinite(world["sm"]) & np.isfinite(world["sm_reference"])
        found = both["time"][both.any(("lat", "lon"))].sel(time=slice("2015-03-01", "2016-03-31"))
        # days that both have values of, not those that their files reach to
        assert correction.attrs["fitted_days"].split() == [str(day)[:10] for day in found.values[[0, -1]]]
        assert json.loads(correction["booster"].attrs["covariates"]) == ["ndvi"]
        assert correction["source_knots"].attrs["units"] == "m3 m-3"
        # the file of the reference has no units
        assert correction["reference_knots"].attrs["units"] == "1"
    code, _, err = run_command("correct", "fit", *given, "static=[]")
    assert code == 0
    assert "c.nc: finished already" in err
    code, _, err = run_command("correct", "fit", *given, "static=[clay]")
    assert code == 1
    assert "c.nc exists and is of other settings or files" in err
    # the years of the fit and those before
    assert run_command("correct", "apply", "correction=c.nc", "source=long.nc", "output=n.nc")[0] == 0
    with open_dataset(here / "n.nc") as new:
        assert str(new["time"].values[0])[:10] == "2014-06-01"
        assert np.isfinite(new["sm"].values[:100]).any()
    code, _, err = run_command("correct", "apply", "correction=c.nc", "source=long.nc", "output=n.nc")
    assert (code, "n.nc: finished already" in err) == (0, True)


def test_one_of_several_sensors_of_a_cube_never_explains_the_other(run_command, here, world):
    """The reference has the role of a covariate there: the trees must not see it."""
    world["sm_reference"].attrs["role"] = "dynamic"
    try:
        world.to_netcdf(here / "cube.nc")
    finally:
        del world["sm_reference"].attrs["role"]
    assert run_command("correct", "fit", *words("cube.nc", "cube.nc", method="cdf_xgboost"))[0] == 0
    with open_dataset(here / "c.nc") as correction:
        names = json.loads(correction["booster"].attrs["covariates"])
    assert "sm_reference" not in names
    assert "ndvi" in names
    code, _, err = run_command("correct", "fit", *words(method="cdf_xgboost", dynamic="[sm_reference]", output="d.nc"))
    assert code == 1
    assert "covariate 'sm_reference' is one of the two sensors" in err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["paint"], "correct: found 'paint'; expected apply or fit"),
        ([], "correct: found nothing; expected apply or fit"),
        (["fit", "source=both.nc"], "reference is not given: pass reference="),
        (["fit", "reference=both.nc"], "source is not given: pass source="),
        (["fit", *words(period="may:june")], "period=may:june: expected START:END"),
        (["fit", "source=both.nc", "reference=short.nc", "output=c.nc"], "name it with reference_variable="),
        (["fit", *words("bare.nc", "bare.nc", method="cdf_xgboost")], "bare.nc: no covariates: name them"),
        (["fit", *words(), "trees.separation_days=400"], "none is left to fit to beside one of the folds"),
        (["fit", *words("filled.nc")], "variable 'sm' holds -9999 7 times: a fill value"),
        (["fit", *words("endless.nc", method="cdf_xgboost")], "variable 'ndvi' has 30 infinite values"),
        (["fit", *words(method="guess")], "method=guess: expected cdf, moments, cdf_xgboost"),
        (["fit", *words(period="2015-01-01")], "period=2015-01-01: expected START:END"),
        (["fit", *words(period="1990-01-01:1991-01-01")], "both.nc: no day in period=1990-01-01:1991-01-01"),
        (["fit", *words(output="c.txt")], "output=c.txt: expected a name that ends in .nc or .zarr"),
        (["fit", *words(output="both.nc/c.nc")], "is a file, expected a folder"),
        (["fit", *words(bins="1")], "bins=1: expected at least 2"),
        (["fit", *words(), "trees.round=3"], "unknown setting 'trees.round' (did you mean 'trees.rounds'?)"),
        (["fit", *words(variable="smap")], "no variable 'smap'"),
        (["fit", *words("short.nc", "both.nc")], "short.nc: no variable has the role of the target"),
        (
            ["fit", *words(reference="other.nc", variable="smap")],
            "the reference: 'lat' has 5 from 48.5 to 44.5, the source 5 from 49.5 to 45.5",
        ),
        (["fit", *words("gone.nc")], "gone.nc: no such file"),
        (["apply", "correction=both.nc", "source=both.nc", "output=n.nc"], "both.nc: no correction: lacks"),
    ],
)
def test_what_cannot_work_is_one_line(run_command, here, given, message):
    with xr.open_dataset(here / "short.nc") as short:
        short.assign_coords(lat=short["lat"] - 1).to_netcdf(here / "other.nc")
    with xr.open_dataset(here / "both.nc") as both:
        both[["sm", "sm_reference", "land"]].to_netcdf(here / "bare.nc")
        both["sm"][:7, 2, 3], both["ndvi"][400] = -9999, np.inf
        both.drop_vars("ndvi").to_netcdf(here / "filled.nc")
        both.drop_vars("sm").assign(sm=xr.open_dataset(here / "long.nc")["sm"]).to_netcdf(here / "endless.nc")
    code, out, err = run_command("correct", *given)
    errors = [line for line in err.splitlines() if not line.startswith("note: ")]
    assert code == 1
    assert len(errors) == 1
    assert message in errors[0]
    assert not (here / "c.nc").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.assign_coords(lon=d["lon"] + 0.5),
            "other.nc: 'lon' has 6 from -124 to -119, the correction 6 from -124.5",
        ),
        (lambda d: d.drop_vars("ndvi"), "no variable 'ndvi'"),
        (lambda d: d.assign(ndvi=d["ndvi"] / 0), "variable 'ndvi' has"),
        (
            lambda d: d.assign(sm=d["sm"].assign_attrs(units="mm")),
            "'sm' is in 'mm', expected 'm3 m-3' as in the fit of the correction",
        ),
    ],
)
def test_another_cube_is_refused(run_command, here, world, change, message):
    assert run_command("correct", "fit", *words(method="cdf_xgboost"))[0] == 0
    change(world).to_netcdf(here / "other.nc")
    code, _, err = run_command("correct", "apply", "correction=c.nc", "source=other.nc", "output=n.nc")
    assert code == 1
    assert message in err
    assert not (here / "n.nc").exists()


CHAIN = """# @package _global_
defaults:
  - override /data: two_sensors
  - override /model: climatology
  - override /splits: blocks
data: {path: world.nc}
trainer: {progress: false}
chain:
  world: data=two_sensors data.path={here}/world.nc data.rows=4 data.columns=5 data.days=900 data.start='2014-06-01'
  steps:
    fit: >-
      correct fit source={here}/world.nc reference={here}/world.nc reference_variable=sm_reference
      period='2015-01-01:' least_values=4 output={here}/c.nc
    corrected: correct apply correction={here}/c.nc source={here}/world.nc output={here}/corrected.nc
    fill: train data=netcdf data.path={here}/corrected.nc data.target=sm data.land=land data.dynamic=[ndvi]
    filled: predict run={fill} output={here}/filled.nc
  scores:
    before: >-
      filled={here}/world.nc estimate=sm truth={here}/world.nc variable=sm_reference_held_back where=sm time=:2014-12-31
      cycle={fill}
    after: >-
      filled={here}/corrected.nc estimate=sm truth={here}/world.nc variable=sm_reference_held_back where=sm
      time=:2014-12-31 cycle={fill}
    gaps: filled={here}/filled.nc truth={here}/world.nc variable=sm_in_gaps where=sm_in_gaps cycle={fill}
"""


def test_what_was_corrected_is_not_corrected_again(run_command, here):
    assert run_command("correct", "fit", *words())[0] == 0
    assert run_command("correct", "apply", "correction=c.nc", "source=both.nc", "output=n.nc")[0] == 0
    code, _, err = run_command("correct", "apply", "correction=c.nc", "source=n.nc", "output=twice.nc")
    assert (code, err.count("\n")) == (1, 1)
    assert "n.nc: 'sm' is corrected already (cdf towards both.nc), the correction was fitted to one that is not" in err
    # a second correction, fitted to what the first left, is another thing
    code, _, err = run_command("correct", "fit", *words("n.nc", method="moments", output="d.nc"))
    assert code == 0, err
    assert run_command("correct", "apply", "correction=d.nc", "source=n.nc", "output=twice.nc")[0] == 0
    code, _, err = run_command("correct", "apply", "correction=d.nc", "source=both.nc", "output=once.nc")
    assert "'sm' is not corrected, the correction was fitted to one that is (cdf towards both.nc)" in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("least_values=4", "method=guess", "chain.steps.late: method=guess: expected"),
        ("least_values=4", "trees.folds=1", "chain.steps.late: trees: max_rows"),
        ("period='2015-01-01:'", "period='soon:'", "chain.steps.late: period=soon:: expected START:END"),
    ],
)
def test_a_late_step_that_cannot_work_is_found_before_the_first(run_command, tmp_path, old, new, message):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    steps = CHAIN.partition("  scores:")[0]
    fit = steps.partition("    fit: >-\n")[2].partition("    corrected:")[0].replace(old, new)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(f"{steps}    late: >-\n{fit}")
    code, _, err = run_command("chain", "--config-dir=mine", "experiment=mine", "output=all")
    assert code == 1
    assert message in err
    assert not (tmp_path / "all" / "world.nc").exists()


def test_a_chain_corrects_and_fills(run_command, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(CHAIN)
    given = ["--config-dir=mine", "experiment=mine", "output=all of it"]
    code, _, err = run_command("chain", *given)
    assert code == 0, err
    scores = json.loads((tmp_path / "all of it" / "scores.json").read_text())["scores"]
    assert scores["after"]["rmse"] < 0.9 * scores["before"]["rmse"]
    with open_dataset(tmp_path / "all of it" / "world.nc") as world:
        both = np.isfinite(world["sm"]) & np.isfinite(world["sm_reference_held_back"])
        assert scores["before"]["n"] == both.sum()
    code, _, err = run_command("chain", *given)
    assert code == 0
    for name in ("c.nc", "corrected.nc", "fill"):
        assert f"{name}: finished already" in err
    # another correction is not what the training began with
    for name in ("c.nc", "corrected.nc"):
        (tmp_path / "all of it" / name).unlink()
    (tmp_path / "mine" / "experiment" / "mine.yaml").write_text(CHAIN.replace("period=", "bins=20 period="))
    code, _, err = run_command("chain", *given)
    assert code == 1
    assert "was begun with other files than are there now" in err


def test_the_shipped_chain_can_be_planned(run_command, monkeypatch):
    from sgdsm.cli.commands import chain as chaining

    def stop(settings, kind):
        raise KeyboardInterrupt

    monkeypatch.setattr(chaining, "build", stop)
    code, _, err = run_command(
        "chain", "experiment=cci_smap", "output=cci", "data.days=15340", "trainer.progress=false"
    )
    assert code == 130, err
