from __future__ import annotations

import mgwr.gwr
import numpy as np
import pytest
import torch

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build
from sgdsm.data.batch import Batch
from sgdsm.data.datamodule import GapData
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.window_forest.blocks import Blocks, stages
from sgdsm.models.window_forest.covariates import corrected
from sgdsm.models.window_forest.gwr import bisquare, coefficients, smoothed
from sgdsm.models.window_forest.presets import PRESETS, ForestShape
from sgdsm.models.window_forest.region import RegionForest
from sgdsm.models.window_forest.regressors import Samples, linear, literal_forest, shared_forest
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.conftest import composed

pytestmark = pytest.mark.slow

FEW_TREES = ["model.trees=8"]


def settings(*words: str) -> dict:
    small = ["data.rows=9", "data.columns=10", "data.days=130", "trainer.progress=false"]
    return composed("train", *["model=window_forest", *small, *words])


def fitted(tmp_path, *words: str) -> TrainingTask:
    task = TrainingTask.from_config(settings(*words))
    fit(task, tmp_path)
    return task


def batch_of(task: TrainingTask) -> Batch:
    """The validation draw in one window."""
    scene = task.data.scene_of(task.split.scenarios["validation"])
    axes = type(task.filler.window)(None).tile(scene.seen.shape, False)
    return scene.batch([(0, 0, 0)], axes)


def rmse(task: TrainingTask, batch: Batch) -> float:
    with torch.no_grad():
        found = task.filler.fill(batch).mean[batch.wanted]
    return float((found - task.filler.in_units(batch.truth, batch)[batch.wanted]).square().mean().sqrt())


def filled(task: TrainingTask, filler: GapFiller, precision: str = "32-true") -> np.ndarray:
    output = MemoryOutput()
    fill_cube(task.cube, filler, output, trainer={"enable_progress_bar": False, "precision": precision})
    return output.dataset["sm_filled"].values


def friedman(rng: np.random.Generator, groups: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    x = rng.random((groups, rows, 6)).astype(np.float32)
    y = np.sin(np.pi * x[..., 0] * x[..., 1]) + (x[..., 2] - 0.5) ** 2 + x[..., 3]
    return x, (y + 0.1 * rng.standard_normal(y.shape)).astype(np.float32)


def samples_of(x: np.ndarray, y: np.ndarray, target: np.ndarray) -> Samples:
    slot = torch.arange(x.shape[1]).expand(len(x), -1)
    there, asked = torch.ones(y.shape, dtype=torch.bool), torch.ones(target.shape[:2], dtype=torch.bool)
    return Samples(torch.from_numpy(x), torch.from_numpy(y), there, torch.from_numpy(target), asked, slot)


def test_gwr_has_the_coefficients_of_mgwr():
    rng = np.random.default_rng(0)
    at, x = rng.uniform(0, 10, (120, 2)), rng.standard_normal((120, 3))
    y = 1 + x @ [1.0, -2, 0.5] + 0.2 * at[:, 0] * x[:, 0] + 0.3 * rng.standard_normal(120)
    expected = mgwr.gwr.GWR(at, y[:, None], x, bw=4.0, kernel="bisquare", fixed=True, n_jobs=1).fit().params
    at_, x_, y_ = (torch.from_numpy(part)[None] for part in (at, x, y))
    weights = bisquare(torch.cdist(at_, at_), 4.0)
    got = coefficients(torch.cat([torch.ones_like(x_[..., :1]), x_], 2), y_, weights, ridge=0.0)[0]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_gwr_without_a_sample_near_gives_nothing():
    x, y = torch.ones(1, 4, 2, dtype=torch.float64), torch.ones(1, 4, dtype=torch.float64)
    assert (coefficients(x, y, bisquare(torch.full((1, 3, 4), 9.0), 5.0).double(), 1.0) == 0).all()


def test_the_gaussian_is_normalised_over_what_is_known():
    known = torch.zeros(1, 9, 9, dtype=torch.bool)
    known[0, 4, 4] = known[0, 4, 5] = True
    values = torch.where(known, 2.0, 99.0)
    got = smoothed(values, known)
    torch.testing.assert_close(got[0, 2:7, 3:7], torch.full((5, 4), 2.0))
    assert got[0, 0, 0] == 0
    alone = torch.zeros(1, 9, 9)
    alone[0, 4, 4] = 1
    wave = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.5**2))
    expected = np.outer(wave, wave) / wave.sum() ** 2
    np.testing.assert_allclose(smoothed(alone, torch.ones(1, 9, 9) > 0)[0, 2:7, 2:7], expected, atol=1e-6)


def test_shared_trees_are_as_good_as_those_of_scikit_learn():
    """On the same rows; the difference of the squared errors lies within its paired interval."""
    x, y = friedman(np.random.default_rng(1), 40, 120)
    shape = ForestShape(60, 12, 5, 0.34)
    samples = samples_of(x[:, :80], y[:, :80], x[:, 80:])
    ours, own = shared_forest(samples, shape, 80, seed=0)
    theirs, own_theirs = literal_forest(samples, shape, seed=0)
    truth = torch.from_numpy(y[:, 80:])
    error, other = (ours - truth).square().mean(1).sqrt(), (theirs - truth).square().mean(1).sqrt()
    difference = (error - other).numpy()
    assert abs(difference.mean()) < 0.02 * other.mean()
    # out-of-bag estimates err as those of new rows do, and not as those of rows that the trees have met
    seen = torch.from_numpy(y[:, :80])
    for estimate, fresh in ((own, error), (own_theirs, other)):
        assert float((estimate - seen).square().nanmean().sqrt() / fresh.mean()) == pytest.approx(1, abs=0.08)


def test_a_forest_does_not_depend_on_those_beside_it():
    x, y = friedman(np.random.default_rng(2), 5, 60)
    together = shared_forest(samples_of(x[:, :40], y[:, :40], x[:, 40:]), PRESETS["over_wet"], 40, 0)
    alone = shared_forest(samples_of(x[3:4, :40], y[3:4, :40], x[3:4, 40:]), PRESETS["over_wet"], 40, 0)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[3:4], b, equal_nan=True)


def test_linear_regression_leaves_each_sample_out():
    rng = np.random.default_rng(3)
    x, target = rng.standard_normal((1, 30, 2)).astype(np.float32), rng.standard_normal((1, 4, 2)).astype(np.float32)
    y = (x @ np.array([2.0, -1.0]) + 5 + rng.standard_normal((1, 30))).astype(np.float32)
    got, own = linear(samples_of(x, y, target), ridge=1e-6)
    design = np.concatenate([np.ones((30, 1)), x[0]], 1)
    slope = np.linalg.lstsq(design, y[0], rcond=None)[0]
    np.testing.assert_allclose(got[0], np.concatenate([np.ones((4, 1)), target[0]], 1) @ slope, atol=1e-4)
    for i in (0, 7):
        rest = np.arange(30) != i
        slope = np.linalg.lstsq(design[rest], y[0, rest], rcond=None)[0]
        assert float(own[0, i]) == pytest.approx(float(design[i] @ slope), abs=1e-4)


def test_windows_grow_until_they_hold_enough():
    assert stages((5, 7), (1, 4)) == [(2, 1), (2, 2), (3, 2), (3, 3), (3, 4)]
    seen = torch.zeros(12, 20, 20, dtype=torch.bool)
    seen[5, 8:13, 8:13] = True  # 25 samples around (5, 10, 10)
    seen[8, 8:13, 8:13] = True
    blocks = Blocks((12, 20, 20), (1, 1, 1), stages((5, 7), (1, 4)))

    def samples(enough: int, row: int = 10) -> int:
        wanted = torch.zeros_like(seen)
        wanted[5, row, 10] = True
        found = list(blocks.chunks(blocks.padded(seen), blocks.padded(wanted), enough, 4, 10_000))
        return int(found[0].sample_mask.sum()) if found else 0

    assert samples(20) == 25
    assert samples(26) == 50  # three days on each side
    assert samples(1000) == 50  # the largest window
    assert samples(20, row=14) == 20  # rows 11 and 12, of seven
    assert samples(20, row=18) == 0


def test_eq_4_gives_the_mean_and_spread_of_the_satellite_on_its_days():
    rng = np.random.default_rng(4)
    satellite = torch.from_numpy(rng.normal(0.25, 0.05, (1, 60, 2, 2)))
    model = 2 * satellite + 0.1 + torch.from_numpy(rng.normal(0, 0.02, satellite.shape))
    seen = torch.from_numpy(rng.random(satellite.shape) < 0.5)
    seen[:, :, 1, 1] = False
    got, known = corrected(model, torch.ones_like(seen), satellite, seen)
    assert not known[:, :, 1, 1].any()
    days = seen[0, :, 0, 1]
    a, b = got[0, days, 0, 1], satellite[0, days, 0, 1]
    assert float(a.mean()) == pytest.approx(float(b.mean()))
    assert float(a.std()) == pytest.approx(float(b.std()))
    assert known[0, ~days, 0, 1].all()


def test_sharing_costs_no_skill(tmp_path):
    """The score of shared regressions beside one of scikit-learn's for each value, on a few days."""
    task = fitted(tmp_path, *FEW_TREES, "model.calibrate=false")
    batch = batch_of(task)
    days = batch.wanted[0, 0].flatten(1).any(1).nonzero()[:10, 0]
    few = torch.zeros_like(batch.wanted)
    few[:, :, days] = batch.wanted[:, :, days]
    batch = batch._replace(wanted=few)
    shared = rmse(task, batch)
    literal = TrainingTask.from_config(
        settings("model.trees=8", "model.calibrate=false", "model.share_cells=1", "model.share_days=1")
    )
    fit(literal, tmp_path)
    assert shared < 1.05 * rmse(literal, batch)


def test_tiles_do_not_show(tmp_path, monkeypatch):
    words = ("model.trees=4", "model.min_samples_split=12", "data.rows=14", "data.columns=15", "data.land_fraction=1")
    task = fitted(tmp_path, *words)
    whole = filled(task, task.filler)
    module = "sgdsm.models.window_forest.settings.CORE_"
    monkeypatch.setattr(f"{module}DAYS", 16)
    monkeypatch.setattr(f"{module}CELLS", 6)
    save_filler(task.filler, tmp_path / "model.ckpt")
    tiled = load_filler(tmp_path / "model.ckpt")
    assert tiled.window.cells == 18
    np.testing.assert_allclose(filled(task, tiled), whole, atol=2e-6)


def test_half_precision_loses_no_samples(tmp_path):
    words = ("model.trees=4", "model.cells=[7,9]", "model.share_cells=7", "data.rows=16", "data.columns=16")
    task = fitted(tmp_path, *words, "data.land_fraction=1")
    np.testing.assert_array_equal(filled(task, task.filler, "bf16-mixed"), filled(task, task.filler))


def test_where_windows_hold_too_little_the_region_stands_in(tmp_path):
    task = fitted(tmp_path, *FEW_TREES)
    batch = batch_of(task)
    nothing = batch._replace(sm=torch.zeros_like(batch.sm), seen=torch.zeros_like(batch.seen))
    region = fitted(tmp_path, *FEW_TREES, "model.windows=false", "model.calibrate=false")
    with torch.no_grad():
        a, b = (f.filler.fill(nothing).mean[batch.wanted] for f in (task, region))
    torch.testing.assert_close(a, b)
    climatology = TrainingTask.from_config(settings(*FEW_TREES)).filler.fill(nothing).mean[batch.wanted]
    torch.testing.assert_close(climatology, batch.climatology[batch.wanted])
    assert (a - climatology).abs().max() > 1e-3


def test_values_of_small_weight_are_learned_from_more_seldom(tmp_path, monkeypatch):
    met = []
    monkeypatch.setattr(RegionForest, "fit", lambda self, x, y, shape, seed: met.append(len(y)))
    fitted(tmp_path, *FEW_TREES, "gaps.match=true")
    monkeypatch.setattr(GapData, "_weights", lambda self, scene: None)
    fitted(tmp_path, *FEW_TREES, "gaps.match=true")
    assert 0.2 < met[0] / met[1] < 0.7


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("edges", None, "expected child, cut, edges, feature, mean, sizes, value, found child, cut, feature"),
        ("child", lambda x: x + 10**6, "nodes that are not there"),
        ("feature", lambda x: x + 99, "covariates that are not there"),
        ("value", lambda x: x * torch.nan, "values that are no numbers"),
        ("sizes", lambda x: 0 * x, "sizes"),
    ],
)
def test_a_damaged_forest_is_refused(name, change, message, tmp_path):
    task = fitted(tmp_path, *FEW_TREES, "model.windows=false", "model.calibrate=false")
    save_filler(task.filler, tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)
    state = content["state"]["forests.semi_arid._extra_state"]
    found = state.pop(name)
    if change is not None:
        state[name] = change(found)
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(ConfigError, match=f"model.ckpt: weights do not fit the model: .*{message}"):
        load_filler(tmp_path / "model.ckpt")


def test_climate_regions_have_their_own_forests(tmp_path):
    words = [*FEW_TREES, "model.zone=sand", "model.zones={40:arid,41:wet}"]
    task = fitted(tmp_path, *words)
    batch = batch_of(task)
    names = dict(task.filler._regions(batch))
    assert set(names) == {"semi_arid", "arid", "wet"}
    sand = torch.from_numpy(task.cube["sand"].values).round()
    assert torch.equal(names["arid"][0, 0], sand == 40)
    assert torch.isfinite(task.filler.fill(batch).mean).all()


@pytest.mark.parametrize(
    "words",
    [
        ["model.regressor=mlr"],
        ["model.regressor=xgboost", "model.share_cells=5"],
        ["model.regressor=svm", "model.share_cells=5"],
        ["model.regressor=ann", "model.share_cells=5", "model.share_days=3"],
        ["model.position=true"],
        ["model.covariates=[]"],
        ["model.corrected=[surface_temperature]"],
        ["model.covariates=[precipitation,sand]"],
        ["model.calibrate=false"],
    ],
)
def test_each_variant_is_better_than_the_climatology(words, tmp_path):
    task = fitted(tmp_path, *FEW_TREES, *words)
    batch = batch_of(task)
    error = (batch.truth * task.filler.inputs.anomaly_scale)[batch.wanted]
    assert rmse(task, batch) < 0.95 * float(error.square().mean().sqrt())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.cells=[4,7]"], "both odd"),
        (["model.days=[3,2]"], "smallest, largest"),
        (["model.fewest=1"], "4 for fewest"),
        (["model.ridge=0"], "more than 0"),
        (["model.windows=false"], "calibrate=false and regressor=forest"),
        (["model.preset=tropical"], "preset=tropical: expected one of arid"),
        (["model.zones={1:dry}"], "zones.1=dry"),
        (["model.zones={a:arid}"], "whole numbers"),
        (["model.max_features=1.5"], "up to 1"),
        (["model.trees=0"], "at least 1"),
        (["model.zone=climate"], "zone=climate: expected a map among the static variables, which are elevation"),
        (["model.covariates=[albedo]"], "covariates: .'albedo'. not among precipitation"),
        (["model.corrected=[sand]"], "corrected: .'sand'. not among"),
        (["model.corrected=[precipitation]"], "is precipitation"),
    ],
)
def test_settings_that_cannot_work_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        TrainingTask.from_config(settings(*words))
    assert build(settings()["model"], GapFiller) is not None
