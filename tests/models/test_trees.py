"""Trees at scale: rows in memory, on disk and on a cluster; early stopping, intervals, monotone constraints."""

from __future__ import annotations

import csv
import errno
import json
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import xgboost

from sgdsm.core.errors import ConfigError, SgdsmError
from sgdsm.core.specification import build
from sgdsm.data.features import to_rows
from sgdsm.inference.importance import of_trees, permuted, with_permutation
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.trees.boosting import Fitting
from sgdsm.models.trees.filler import TreeFiller
from sgdsm.models.trees.row_reservoir import RowReservoir
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.conftest import SMALL_WORLD, TINY_TREES
from tests.models.test_models import filled, settings_of

pytestmark = pytest.mark.slow

SQUARED = {"objective": "reg:squarederror", "tree_method": "hist", "seed": 0, "nthread": 1, "subsample": 0.7}
NAMES = ["a", "b", "c", "d", "e"]


def table(rows: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(rows, len(NAMES))).astype(np.float32)
    truth = (features[:, 0] + features[:, 1] * features[:, 2] + rng.normal(0, 0.3, rows)).astype(np.float32)
    features[rng.random(features.shape) < 0.2] = np.nan
    return features, truth


def kept(features: np.ndarray, truth: np.ndarray, spill: bool = False, most: int = 10**6) -> RowReservoir:
    rows = RowReservoir(most, 0, spill)
    cuts = [0, 7, 500, 501, 1800, len(truth)]
    for index, (begin, end) in enumerate(pairwise(cuts)):
        rows.add(features[begin:end], truth[begin:end], (0, index))
    return rows


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("sgdsm_rows_*"))


@pytest.fixture
def nothing_left():
    before = folders()
    yield
    assert folders() == before


@pytest.mark.parametrize("spill", [False, True])
def test_rows_in_batches_give_the_trees_of_one_table(spill, monkeypatch):
    monkeypatch.setattr("sgdsm.models.trees.boosting.PAGE_ROWS", 600)
    features, truth = table()
    whole = xgboost.train(SQUARED, xgboost.QuantileDMatrix(features, truth, feature_names=NAMES), 10)
    rows = kept(features, truth, spill)
    (parts,) = Fitting(NAMES, 10).fit([SQUARED], rows, rows)
    rows.close()
    assert parts.save_raw() == whole.save_raw()


@pytest.mark.parametrize("forest", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_compiled_trees_give_the_numbers_of_xgboost(forest, threads):
    trees = pytest.importorskip("sgdsm.models.trees.compiled_trees", reason="numba is not installed")
    features, truth = table()
    words = {"num_parallel_tree": 7, "max_depth": 12, "lambda": 0.0, "eta": 1.0} if forest else {"base_score": 0.25}
    data = xgboost.QuantileDMatrix(features, truth)
    booster = xgboost.train({**SQUARED, **words}, data, 1 if forest else 30)
    assert trees.simple(booster)
    rows = np.concatenate([features, np.full((1, len(NAMES)), np.nan, np.float32)])[1:]
    found = trees.CompiledTrees(booster).predict(rows, threads)
    assert found.dtype == np.float32
    assert np.array_equal(found, booster.inplace_predict(rows))
    quantiles = {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}
    assert not trees.simple(xgboost.train({**SQUARED, **quantiles}, data, 2))


def test_a_fill_is_the_same_without_numba(tmp_path, monkeypatch):
    task = TrainingTask.from_config(settings_of("xgboost model.gap_draws=1 model.rounds=20"))
    fit(task, tmp_path)
    with_it = filled(task.cube, task.filler)
    assert task.filler._arrays[1] is not None
    monkeypatch.setattr("sgdsm.models.trees.filler.compiled_module", lambda name: None)
    assert filled(task.cube, task.filler).equals(with_it)


def test_the_same_random_part_is_kept_in_memory_and_on_disk(nothing_left):
    features, truth = table()
    memory, disk = kept(features, truth, False, 1000), kept(features, truth, True, 1000)
    a, b = (next(rows.batches(10**6)) for rows in (memory, disk))
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])
    assert len(a[1]) == memory.count == disk.count <= 1000
    assert set(a[1]) <= set(truth)
    for begin, end in ((7, 500), (501, 1800), (1800, 3000)):
        share = len(np.intersect1d(a[1], truth[begin:end])) / (end - begin)
        assert 0.15 < share < 0.36, "early batches keep their share"
    disk.close()


def test_a_full_disk_ends_in_one_line(monkeypatch, tmp_path, nothing_left):
    def full(file: object, array: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    task = TrainingTask.from_config(settings_of("xgboost", "model.spill=true"))
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(SgdsmError, match=r"^model.spill=true: .*sgdsm_rows_.* \(No space left on device\): set TMPDIR"):
        fit(task, tmp_path)


def test_no_room_for_the_second_copy_ends_in_one_line(monkeypatch, nothing_left):
    rows = kept(*table(), spill=True)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("sgdsm.models.trees.row_reservoir.shutil.disk_usage", lambda path: usage)
    with pytest.raises(SgdsmError, match=r"0.00 GiB are free, expected 0.00\): set TMPDIR"):
        Fitting(NAMES, 10).fit([SQUARED], rows, rows)
    rows.close()


def test_the_folder_goes_when_training_is_broken_off(monkeypatch, tmp_path, nothing_left):
    task = TrainingTask.from_config(settings_of("xgboost", "model.spill=true"))
    met = []

    def breaks(*words: object, **more: object) -> None:
        met.extend(folders())
        raise KeyboardInterrupt

    monkeypatch.setattr(xgboost, "train", breaks)
    with pytest.raises(KeyboardInterrupt):
        fit(task, tmp_path)
    assert met


def test_early_stopping_keeps_the_best_round(tmp_path):
    words = ["model.gap_draws=1", "model.rounds=400", "model.learning_rate=0.5", "model.early_stopping_rounds=5"]
    task = TrainingTask.from_config(settings_of("xgboost", *words))
    fit(task, tmp_path)
    trees: xgboost.Booster = task.filler.booster
    count = trees.num_boosted_rounds()
    assert 1 < count < 400

    def error(rounds: int) -> float:
        total, number = 0.0, 0
        for batch in task.data.val_dataloader():
            features, _, _ = to_rows(batch, batch.wanted, task.filler.inputs)
            found = trees.inplace_predict(features.numpy(), iteration_range=(0, rounds))
            total += float(((found - batch.truth[batch.wanted].numpy()) ** 2).sum())
            number += len(found)
        return (total / number) ** 0.5

    assert error(count) == min(error(rounds) for rounds in range(1, count + 1))


def test_intervals_of_quantiles(tmp_path):
    task = TrainingTask.from_config(
        settings_of("xgboost", "model.quantiles=[0.1,0.9]", "model.rounds=40", "model.learning_rate=0.1")
    )
    fit(task, tmp_path)
    assert task.filler.level == 0.8
    plain = TrainingTask.from_config(settings_of("xgboost", "model.rounds=40", "model.learning_rate=0.1"))
    fit(plain, tmp_path)
    got = filled(task.cube, task.filler)
    np.testing.assert_array_equal(got["sm_filled"], filled(plain.cube, plain.filler)["sm_filled"])
    gap = got["sm_source"].values == 2
    lower, mean, upper, std = (got[name].values[gap] for name in ("sm_lower", "sm_filled", "sm_upper", "sm_std"))
    assert (lower <= mean).all()
    assert (mean <= upper).all()
    assert (std > 0).all()
    assert got["sm_lower"].attrs["level"] == np.float32(0.8)
    assert np.isnan(got["sm_lower"].values[~gap]).all()
    scene = task.data.scene_of(task.split.scenarios["validation"])
    hidden = task.split.scenarios["validation"].all_hidden
    seen = task.cube.copy()
    seen["sm"] = seen["sm"].where(scene.seen)
    again = filled(seen, task.filler)
    truth = task.record.values[hidden]
    inside = (again["sm_lower"].values[hidden] <= truth) & (truth <= again["sm_upper"].values[hidden])
    assert 0.6 < inside.mean() < 0.95


def test_more_rain_never_lowers_the_estimate(tmp_path):
    name = "precipitation"
    own = [name, *(f"{name}_{end}" for end in ("lag1", "lag2", "mean3", "mean10", "mean30", "since_previous"))]
    falls = []
    for words in ([], [f"model.monotone={{{name}:1}}"]):
        task = TrainingTask.from_config(settings_of("xgboost", "model.rounds=30", "model.learning_rate=0.2", *words))
        fit(task, tmp_path)
        scene = task.data.scene_of(task.split.scenarios["validation"])
        axes = task.filler.window.tile(scene.seen.shape, False)
        batch = scene.batch([tuple(axis.starts()[0] for axis in axes)], axes)
        rows, _, names = to_rows(batch, batch.wanted, task.filler.inputs)
        features = rows.numpy()[:500]
        falls.append(sum(falling(task.filler.booster, features, names.index(feature)) for feature in own))
    assert falls[0] > 0, "without the constraint the test would show nothing"
    assert falls[1] == 0


def falling(trees: xgboost.Booster, features: np.ndarray, column: int) -> int:
    """How often the estimate falls as one feature grows."""
    found = []
    for value in np.linspace(-2, 6, 15):
        changed = features.copy()
        changed[:, column] = value
        found.append(trees.inplace_predict(changed))
    return int((np.diff(found, axis=0) < -1e-6).sum())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.quantiles=[0.9,0.1]"], r"quantiles=\[0.9, 0.1\]: expected \[lower, upper\] with 0 < lower"),
        (["model.early_stopping_rounds=0"], "early_stopping_rounds=0: expected at least 1, or null"),
        (["model.monotone={precipitation:2}"], r"monotone.precipitation=2: expected 1 \(never falls"),
        (["model.rounds=0"], "rounds=0: expected at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        build(settings_of("xgboost", *words)["model"], GapFiller)


def test_damaged_trees_are_refused(tmp_path):
    task = TrainingTask.from_config(settings_of("xgboost"))
    fit(task, tmp_path)
    save_filler(task.filler, tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)
    content["state"]["_extra_state"]["mean"] = torch.full((1000,), 7, dtype=torch.uint8)
    torch.save(content, tmp_path / "model.ckpt")
    with pytest.raises(ConfigError, match=r"model.ckpt: weights do not fit the model: .*Invalid model format"):
        load_filler(tmp_path / "model.ckpt")


def test_an_unknown_covariate_is_refused():
    with pytest.raises(ConfigError, match=r"no covariate 'precipitaton' \(did you mean 'precipitation'\?\); there are"):
        TrainingTask.from_config(settings_of("xgboost", "model.monotone={precipitaton:1}"))


def test_a_cluster_fits_as_well_as_one_machine(tmp_path):
    pytest.importorskip("distributed")
    pytest.importorskip("pyarrow")
    import dask
    from distributed import LocalCluster

    rmse = []
    words = ["model.gap_draws=1", "model.rounds=30", "model.learning_rate=0.3", "model.early_stopping_rounds=10"]
    inside = LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)
    with inside as cluster, dask.config.set({"scheduler-address": cluster.scheduler_address}):
        for more in ([], ["model.cluster=true"]):
            task = TrainingTask.from_config(settings_of("xgboost", *words, *more))
            fit(task, tmp_path)
            rmse.append(validation_rmse(task))
    # rows are dealt otherwise, so subsampling draws others
    assert rmse[1] == pytest.approx(rmse[0], rel=0.06)


def validation_rmse(task: TrainingTask) -> float:
    squares = []
    for batch in task.data.val_dataloader():
        with torch.inference_mode():
            found = task.filler.fill(batch).mean[batch.wanted]
        squares.append((found - task.filler.in_units(batch.truth, batch)[batch.wanted]) ** 2)
    return float(torch.cat(squares).mean().sqrt())


def test_a_cluster_without_its_packages_ends_in_one_line(monkeypatch, tmp_path):
    monkeypatch.delattr(xgboost, "dask", raising=False)
    monkeypatch.setitem(sys.modules, "xgboost.dask", None)
    task = TrainingTask.from_config(settings_of("xgboost", "model.cluster=true", "model.gap_draws=1"))
    with pytest.raises(ConfigError, match=r"model.cluster=true: .*; pip install 'sgdsm\[cluster\]'"):
        fit(task, tmp_path)


PEAK = """
import sys
from pathlib import Path
import numpy as np
from sgdsm.models.trees.boosting import Fitting
from sgdsm.models.trees.row_reservoir import RowReservoir

come, spill = int(sys.argv[1]), sys.argv[2] == "disk"
rows, rng = RowReservoir(int(sys.argv[3]), 0, spill), np.random.default_rng(0)
for index in range(come // 1000):
    features = rng.random((1000, 90), np.float32)
    rows.add(features, features[:, 0], (0, index))
Fitting([f"f{k}" for k in range(90)], 2).fit([{"tree_method": "hist", "nthread": 1, "max_depth": 4}], rows, rows)
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize("where", ["memory", "disk"])
def test_ten_times_the_rows_take_the_same_memory(where):
    def peak(come: int, most: int = 20_000) -> int:
        words = [sys.executable, "-W", "ignore", "-c", PEAK, str(come), where, str(most)]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)

    few = peak(20_000)
    assert peak(200_000) < 1.2 * few
    if where == "memory":
        assert peak(200_000, most=200_000) > 1.2 * few, "without the bound the test would show nothing"


@pytest.mark.parametrize("model", ["xgboost", "seamless"])
def test_importances_find_what_the_target_rests_on(model, tmp_path):
    task = TrainingTask.from_config(settings_of(model))
    fit(task, tmp_path)
    filler = task.filler
    scene = task.data.scene_of(task.split.scenarios["validation"])
    before = scene.dynamic.copy(), scene.static.copy()
    trees = of_trees(filler, task.data) if isinstance(filler, TreeFiller) else []
    found = {one.name: one for one in with_permutation(trees, filler, scene, 30) if one.kind == "covariate"}
    np.testing.assert_array_equal(scene.dynamic, before[0])
    np.testing.assert_array_equal(scene.static, before[1])
    assert {*filler.inputs.dynamic, *filler.inputs.static} <= set(found)
    measured = {name: one.permutation for name, one in found.items() if one.permutation is not None}
    assert set(measured) == {*filler.inputs.dynamic, *filler.inputs.static}
    assert max(measured, key=measured.get) == "precipitation"
    rain = found["precipitation"]
    assert 0 < rain.permutation_lower <= rain.permutation <= rain.permutation_upper
    if trees:
        assert sum(one.gain for one in trees if one.kind == "feature") == pytest.approx(1)
        assert sum(one.gain for one in trees if one.kind == "covariate") == pytest.approx(1)
        assert {one.source for one in trees} == set(found)


@pytest.mark.parametrize("block_days", [7, 30, 75, 149])
def test_no_block_stays_in_its_place(block_days):
    """A covariate that is left as it is would seem to mean nothing."""
    task = TrainingTask.from_config(settings_of("climatology"))
    scene = task.data.scene_of(task.split.scenarios["validation"])
    day = np.arange(len(scene.seen), dtype=np.float32)
    scene.dynamic[:] = day[:, None, None]
    names = set()
    for name in permuted(scene, block_days):
        if name in scene.inputs.dynamic:
            moved = scene.dynamic[scene.inputs.dynamic.index(name), :, 0, 0]
            assert (moved != day).all()
            np.testing.assert_array_equal(np.sort(moved), day)
            names.add(name)
    assert names == set(scene.inputs.dynamic)


def test_explain_writes_a_table_and_a_figure(run_command, tmp_path):
    code, out, err = run_command("train", *TINY_TREES, *SMALL_WORLD, "trainer.progress=false", "hydra.run.dir=run")
    assert code == 0, err
    code, out, err = run_command("explain", "run=run", "output=told")
    assert code == 0, err
    with (tmp_path / "told" / "importances.csv").open() as file:
        rows = {(row["kind"], row["name"]): row for row in csv.DictReader(file)}
    assert float(rows["covariate", "precipitation"]["permutation"]) > 0
    assert rows["feature", "precipitation_mean3"]["source"] == "precipitation"
    assert rows["covariate", "season"]["permutation"] == ""
    assert (tmp_path / "told" / "importances.png").stat().st_size > 10_000
    code, _, err = run_command("explain", "run=run", "block_days=0")
    assert (code, err.strip()) == (1, "error: block_days=0: expected at least 1")
    code, _, err = run_command("explain", "run=run", "block_days=150")
    assert code == 1
    assert err.strip().endswith("error: block_days=150: the record has 150 days, expected two blocks or more")


def test_nodes_that_point_outside_their_tree_are_refused():
    trees = pytest.importorskip("sgdsm.models.trees.compiled_trees", reason="numba is not installed")
    rng = np.random.default_rng(0)
    rows = rng.random((200, 3), np.float32)
    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(rows, rows.sum(1)), 2)
    with pytest.raises(SgdsmError, match=r"split on 3 features, expected 2"):
        trees.CompiledTrees(booster).predict(rows[:, :2], 1)
    model = json.loads(booster.save_raw("json"))

    class Damaged:
        def save_raw(self, _: str) -> str:
            return json.dumps(model)

    tree = model["learner"]["gradient_booster"]["model"]["trees"][1]
    for side, node, to in (("left_children", 0, 10**6), ("right_children", 0, -1), ("left_children", 1, 0)):
        kept = tree[side][node]
        tree[side][node] = to
        with pytest.raises(SgdsmError, match="a node points to none that comes later in its tree"):
            trees.CompiledTrees(Damaged())
        tree[side][node] = kept
    tree["split_type"][0] = 1
    with pytest.raises(SgdsmError, match="split on categories"):
        trees.CompiledTrees(Damaged())
