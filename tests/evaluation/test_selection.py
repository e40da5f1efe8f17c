"""Choice of covariates: against statsmodels and brute force, on what is known, and with nothing leaked."""

from __future__ import annotations

import csv
from itertools import combinations, permutations

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.cube import as_cube
from sgdsm.core.errors import CubeError
from sgdsm.data.record import read_record
from sgdsm.evaluation import regression, selection
from sgdsm.evaluation.regression import aic, best_subset, bic, importance, inflation, least_squares, moments, stepwise
from sgdsm.evaluation.selection import select
from tests.conftest import SMALL_WORLD, TINY_TREES

ROWS = 300


@pytest.fixture(scope="module")
def table() -> tuple[np.ndarray, np.ndarray]:
    """Rows of six covariates, two of which are close, and a target of three."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 6)) * [1, 5, 0.1, 1, 2, 1] + [0, 3, 0, -1, 0, 10]
    x[:, 1] = 5 * x[:, 0] + 1.5 * rng.standard_normal(ROWS)
    y = 0.8 * x[:, 0] - 6 * x[:, 2] + 0.1 * x[:, 3] + rng.standard_normal(ROWS)
    return x, y


def gram(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    rows = np.column_stack([np.ones(len(y)), x, y])
    return rows.T @ rows


def r2(x: np.ndarray, y: np.ndarray, chosen: tuple[int, ...]) -> float:
    design = np.column_stack([np.ones(len(y)), x[:, list(chosen)]])
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(1 - left @ left / ((y - y.mean()) ** 2).sum())


def test_least_squares_and_inflation_are_those_of_statsmodels(table):
    sm = pytest.importorskip("statsmodels.api")
    from statsmodels.stats.outliers_influence import variance_inflation_factor

    x, y = table
    found = least_squares(moments(gram(x, y)))
    expected = sm.OLS(y, sm.add_constant(x)).fit()
    scale = x.std(0) / y.std()
    np.testing.assert_allclose(found.coefficient, expected.params[1:] * scale, rtol=1e-8)
    np.testing.assert_allclose(found.t, expected.tvalues[1:], rtol=1e-8)
    np.testing.assert_allclose(found.p, expected.pvalues[1:], rtol=1e-6)
    np.testing.assert_allclose(found.r2, expected.rsquared, rtol=1e-10)
    design = sm.add_constant(x)
    factors = [variance_inflation_factor(design, k) for k in range(1, 7)]
    np.testing.assert_allclose(inflation(moments(gram(x, y))), factors, rtol=1e-8)


def test_subsets_are_those_of_single_fits(table):
    x, y = table
    found = moments(gram(x, y))
    every = [s for size in range(7) for s in combinations(range(6), size)]
    scores = {s: r2(x, y, s) for s in every}
    numbers = {s: sum(1 << k for k in s) for s in every}
    subsets = regression.r2_of_subsets(found)
    np.testing.assert_allclose([subsets[numbers[s]] for s in every], [scores[s] for s in every], atol=1e-10)
    one = np.ones(6)
    by_bic = {s: ROWS * np.log(1 - scores[s]) + np.log(ROWS) * len(s) for s in every}
    assert best_subset(found, bic(ROWS, one)) == list(min(by_bic, key=by_bic.get))
    by_aic = {s: ROWS * np.log(1 - scores[s]) + 2 * len(s) for s in every}
    chosen = tuple(stepwise(found, aic(one)))
    # no single step, in or out, makes it better
    assert all(by_aic[chosen] <= by_aic[tuple(sorted(set(chosen) ^ {k}))] for k in range(6))
    # what rests on few independent rows costs more
    for choose in (stepwise, best_subset):
        assert {0, 2} <= set(choose(found, aic(one)))
        assert set(choose(found, aic(one * [1, 1, 1e3, 1, np.inf, 1]))) & {2, 4} == set()


def test_importance_is_the_mean_over_all_orders(table, monkeypatch):
    x, y = table
    found = moments(gram(x, y))
    scores = {frozenset(s): r2(x, y, s) for size in range(7) for s in combinations(range(6), size)}
    shares = np.zeros(6)
    for order in permutations(range(6)):
        before = 0.0
        for size in range(1, 7):
            after = scores[frozenset(order[:size])]
            shares[order[size - 1]] += after - before
            before = after
    np.testing.assert_allclose(importance(found), shares / 720, atol=1e-9)
    np.testing.assert_allclose(importance(found).sum(), least_squares(found).r2, rtol=1e-9)
    exact = importance(found)
    monkeypatch.setattr(regression, "EXHAUSTIVE", 5)
    np.testing.assert_allclose(importance(found), exact, atol=0.01)
    np.testing.assert_array_equal(importance(found), importance(found))


def world(seed: int = 0, days: int = 240) -> xr.Dataset:
    """A target of rain and clay, with weather and errors that are alike within a month and over many cells."""
    rng = np.random.default_rng(seed)
    shape = (days, 12, 18)
    month = np.repeat(rng.standard_normal((days // 30 + 1, 1, 1)), 30, 0)[:days]
    place = np.kron(rng.standard_normal((6, 6)), np.ones((2, 3)))
    rain = rng.standard_normal(shape)
    clay, noise_map = rng.standard_normal(shape[1:]), np.kron(rng.standard_normal((6, 6)), np.ones((2, 3)))
    sm = 0.3 + 0.02 * rain + 0.03 * clay + 0.03 * month + 0.04 * place + 0.01 * rng.standard_normal(shape)
    sm[rng.random(shape) < 0.4] = np.nan
    noise_months = np.repeat(rng.standard_normal((days // 30 + 1, 1, 1)), 30, 0)[:days]
    dynamic = {
        "rain": rain,
        "rain_again": rain + 0.3 * rng.standard_normal(shape),
        "pressure": noise_months + 0 * rain,
    }
    dynamic["gappy"] = np.where(rng.random(shape) < 0.8, np.nan, rain)
    static = {"clay": clay, "relief": noise_map, "flat": np.ones(shape[1:])}
    strata = np.arange(18) * np.ones((12, 1)) // 9
    return xr.Dataset(
        {
            "sm": (("time", "lat", "lon"), sm.astype("f4"), {"units": "m3 m-3"}),
            **{k: (("time", "lat", "lon"), v.astype("f4"), {"units": "mm d-1"}) for k, v in dynamic.items()},
            **{k: (("lat", "lon"), v.astype("f4")) for k, v in {**static, "climate": strata}.items()},
        },
        {"time": xr.date_range("2020-01-01", periods=days), "lat": 50.0 - np.arange(12), "lon": 5.0 + np.arange(18)},
    )


DYNAMIC, STATIC = ["rain", "rain_again", "pressure", "gappy"], ["clay", "relief", "flat", "climate"]


def judged(dataset: xr.Dataset, training: np.ndarray | None = None) -> selection.Selection:
    record = read_record(as_cube(dataset, "sm", DYNAMIC, STATIC))
    chosen = record.observed if training is None else training
    strata = dataset["climate"].values.astype(int), ["west", "east"]
    return select(record, chosen, DYNAMIC + STATIC, "climate", strata)


def test_what_is_known_is_found():
    found = judged(world())
    assert set(found.kept) == {"rain", "clay"}
    assert found.available["gappy"] == pytest.approx(0.2, abs=0.01)
    assert found.dropped["gappy"].startswith("adds nothing")
    assert found.dropped["flat"] == "the same everywhere"
    assert "with rain" in found.dropped["rain_again"]
    assert found.inflation["rain_again"] > 10
    assert [sample.name for sample in found.samples] == ["all", "west", "east"]
    assert sum(sample.rows for sample in found.samples[1:]) == found.samples[0].rows


def test_a_covariate_that_is_there_when_another_is_not_leaves_that_one_its_rows():
    dataset = world()
    clear = dataset["rain"].values < 0
    dataset["rain"] = dataset["rain"].where(~clear, 0.0).assign_attrs(dataset["rain"].attrs)
    dataset["pressure"] = dataset["pressure"].where(clear)
    assert {"rain", "clay"} <= set(judged(dataset).kept)


def test_rows_that_are_alike_are_not_counted_as_independent():
    """Maps and months that have nothing to do with the target: least squares is sure of them, blocks are not."""
    sure = {"independent": 0, "blocks": 0}
    for seed in range(10):
        whole = judged(world(seed)).samples[0]
        k = [whole.names.index(name) for name in ("pressure", "relief")]
        sure["independent"] += int((whole.fit.p[k] < 0.05).sum())
        sure["blocks"] += int((whole.p_block[k] < 0.05).sum())
        assert whole.effective_size < whole.rows / 20
    assert sure["independent"] >= 18
    assert sure["blocks"] <= 5


def test_only_training_values_count():
    dataset = world()
    observed = np.isfinite(dataset["sm"].values)
    training = observed & (np.arange(240) % 60 < 30)[:, None, None]
    before = judged(dataset, training)
    # values that differ: one number would be a fill value
    held_out = observed & ~training
    dataset["sm"].values[held_out] = np.random.default_rng(0).uniform(0.6, 0.9, held_out.sum())
    dataset["rain"].values[210:] = 7.0
    after = judged(dataset, training)
    np.testing.assert_array_equal(after.samples[0].p_block, before.samples[0].p_block)
    assert after.kept == before.kept
    assert judged(dataset).samples[0].fit.r2 != before.samples[0].fit.r2


def test_too_little_is_refused():
    dataset = world()
    few = np.zeros(dataset["sm"].shape, bool)
    few[0, 0, :] = np.isfinite(dataset["sm"].values[0, 0, :])
    with pytest.raises(CubeError, match="training values for 5 covariates, expected at least 10 for each"):
        judged(dataset, few)
    with pytest.raises(CubeError, match="no covariates to choose from"):
        select(read_record(as_cube(dataset, "sm")), np.isfinite(dataset["sm"].values), [], None, None)


ROLES = [f"data.dynamic=[{','.join(DYNAMIC)}]", f"data.static=[{','.join(STATIC)}]"]


@pytest.mark.slow
def test_the_command_and_its_last_line(run_command, tmp_path):
    world().to_netcdf(tmp_path / "cube.nc")
    words = ["data=netcdf", "data.path=cube.nc", "data.target=sm", "data.precipitation=gappy"]
    code, out, err = run_command("select", *words, *ROLES, "stratum=climate", "output=chosen")
    assert code == 0, err
    last = out.strip().splitlines()[-1]
    assert last == "data.dynamic=[rain] data.static=[clay,climate] data.precipitation=null"
    with (tmp_path / "chosen" / "selection.csv").open() as file:
        rows = {(row["sample"], row["covariate"]): row for row in csv.DictReader(file)}
    assert {sample for sample, _ in rows} == {"all", "0", "1"}
    assert rows["all", "rain"]["kept"] == "yes"
    assert rows["all", "gappy"]["kept"] == "no"
    with (tmp_path / "chosen" / "correlations.csv").open() as file:
        between = {row["covariate"]: row for row in csv.DictReader(file)}
    assert float(between["rain"]["rain_again"]) > 0.9
    assert between["rain"]["clay"] == between["clay"]["rain"]
    assert (tmp_path / "chosen" / "selection.png").stat().st_size > 10_000
    # values of other splits do not change it
    from sgdsm.data.gaps import Gaps
    from sgdsm.data.splits import Blocks

    dataset = world()
    observed = np.isfinite(dataset["sm"].values)
    days = dataset["time"].values.astype("datetime64[D]").astype(np.int64)
    split = Blocks().split(observed, days, Gaps())
    dataset["sm"].values[observed & ~split.allowed] = 0.5
    dataset.to_netcdf(tmp_path / "other.nc")
    words[1] = "data.path=other.nc"
    code, again, err = run_command("select", *words, *ROLES, "stratum=climate", "output=chosen")
    assert again == out
    # and what it recommends can be trained with
    short = ["splits=all", "uncertainty=none", "trainer.progress=false"]
    code, out, err = run_command("train", *TINY_TREES, *words, *last.split(), *short)
    assert code == 0, err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stratum=climat"], "stratum=climat: expected a static variable (did you mean 'climate'?)"),
        (["stratum=clay"], "different values on land, expected 2 to 30 classes"),
        (["stratum=flat"], "stratum=flat: 1 different values"),
        (["output=cube.nc"], "output=cube.nc: a file; expected a folder"),
    ],
)
def test_mistakes_end_in_one_line(run_command, tmp_path, words, message):
    world().to_netcdf(tmp_path / "cube.nc")
    given = ["data=netcdf", "data.path=cube.nc", "data.target=sm", *ROLES]
    code, out, err = run_command("select", *given, *([] if "output=cube.nc" in words else ["output=x"]), *words)
    assert code == 1
    assert message in next(line for line in err.splitlines() if line.startswith("error: "))


def test_the_built_in_world_has_no_such_settings(run_command):
    code, out, err = run_command("select", *SMALL_WORLD, "splits=all", "output=x")
    assert code == 0, err
    assert "no data.dynamic and data.static of their own" in err
    assert out.strip().splitlines()[-1].startswith("data.dynamic=[")
