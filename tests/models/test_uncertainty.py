from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.uncertainty.calibrated import CalibrationBatch
from sgdsm.models.uncertainty.conformal import ENOUGH_DAYS, Conformal
from sgdsm.models.uncertainty.effective_size import effective_days, student
from sgdsm.models.uncertainty.wrappers import wrap
from sgdsm.training.calibrate import add_uncertainty
from sgdsm.training.config import check_training
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.conftest import composed


def settings_of(model: str, *more: str) -> dict:
    words = [f"model={model}", "trainer.progress=false", "data.rows=10", "data.columns=14", "data.days=365", *more]
    return composed("train", *words)


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> TrainingTask:
    """A climatology, fitted: its errors are what the tests make them."""
    made = TrainingTask.from_config(settings_of("climatology"))
    fit(made, tmp_path_factory.mktemp("run"))
    return made


def conformal(task: TrainingTask, level: float = 0.9) -> Conformal:
    made = Conformal(task.filler, level)
    made.adopt()
    return made


def calibration_batch(batch, errors) -> CalibrationBatch:
    _, _, days, rows, columns = np.nonzero(batch.wanted.numpy())
    return CalibrationBatch(batch, errors, None, days, np.stack([rows, columns, 0 * rows], 1))


def batches_of(task: TrainingTask, split: str, size) -> list:
    """Batches of a split with errors of a known size, (batch) -> (N,), and no standard deviation."""
    scene = task.data.scene_of(task.split.scenarios["calibration" if split == "test" else split])
    found = []
    rng = torch.Generator().manual_seed(len(split))
    whole = [replace(axis, size=axis.length, margin=0) for axis in task.data.axes]
    batch = scene.batch([(0, 0, 0)], whole, cores=False)
    # gaps too, for there is no truth to know: more values than the draw hides
    batch = batch._replace(wanted=batch.land & ~batch.seen & (torch.rand(batch.sm.shape, generator=rng) < 0.3))
    errors = torch.randn(int(batch.wanted.sum()), generator=rng) * size(batch)
    found.append(calibration_batch(batch, errors))
    return found


def by_age_and_season(batch) -> torch.Tensor:
    age = batch.gap_age[batch.wanted]
    season = batch.season[:, 0, None, :, None, None].expand(batch.sm.shape)[batch.wanted]
    return 0.02 * torch.sqrt(age) * torch.exp(0.7 * season)


def test_intervals_cover_in_every_class(task):
    wrapper = conformal(task)
    wrapper.fit_scale(batches_of(task, "validation", by_age_and_season))
    wrapper.calibrate(batches_of(task, "calibration", by_age_and_season))
    batch = batches_of(task, "calibration", by_age_and_season)[0].batch
    filled = wrapper.fill(batch)
    size = by_age_and_season(batch)
    errors = torch.randn(len(size), generator=torch.Generator().manual_seed(9)) * size
    half = (filled.upper - filled.mean)[batch.wanted]
    inside = (errors.abs() <= half).float()
    assert abs(inside.mean() - 0.9) < 0.02
    age, winter = (
        batch.gap_age[batch.wanted],
        batch.season[:, 0, None, :, None, None].expand(batch.sm.shape)[batch.wanted],
    )
    for kind in (age == 1, age >= 2, winter > 0.5, winter < -0.5):
        assert kind.sum() > 300
        assert abs(inside[kind].mean() - 0.9) < 0.06
    # the spread says which values are worse, and by how much
    ratio = filled.std[batch.wanted] / size
    assert 0.9 < ratio.median() < 1.1
    assert ratio.quantile(0.9) / ratio.quantile(0.1) < 1.8


def test_calibration_uses_the_calibration_draw_alone(task):
    batch, errors, *_ = batches_of(task, "calibration", by_age_and_season)[0]
    one, other = conformal(task), conformal(task)
    for wrapper in (one, other):
        wrapper.fit_scale(batches_of(task, "validation", by_age_and_season))
    one.calibrate([calibration_batch(batch, errors)])
    other.calibrate([calibration_batch(batch, 2 * errors)])
    widths = [(w.fill(batch).upper - w.fill(batch).mean)[batch.wanted] for w in (one, other)]
    torch.testing.assert_close(widths[1], 2 * widths[0], rtol=2e-2, atol=1e-4)


def test_a_handful_of_values_gives_the_largest_error(task):
    batch, errors, *_ = batches_of(task, "calibration", by_age_and_season)[0]
    few = batch.wanted & (torch.cumsum(batch.wanted.flatten(), 0).reshape(batch.wanted.shape) <= 5)
    small = batch._replace(wanted=few)
    wrapper = conformal(task)
    wrapper.fit_scale([calibration_batch(small, errors[:5])])
    wrapper.calibrate([calibration_batch(small, errors[:5])])
    half = (wrapper.fill(batch).upper - wrapper.fill(batch).mean)[batch.wanted]
    # all five are of one day or two: as wide as with the fewest degrees of freedom
    largest = float(errors[:5].abs().max()) * student(0.9, 3)
    torch.testing.assert_close(half, torch.full_like(half, largest), rtol=1e-4, atol=1e-7)


def test_effective_days_of_independent_days_are_their_number():
    rng = np.random.default_rng(0)
    days = np.repeat(np.arange(60), 50)
    # a day's errors share their size, days do not
    sizes = np.exp(rng.normal(size=60))[days]
    assert 45 < effective_days(sizes * rng.normal(size=len(days)), days) <= 60
    # the effective sample size of independent values is the number of their days
    assert effective_days(rng.normal(size=len(days)), days) == pytest.approx(60)
    # a day that holds most of the values counts for little more than itself
    uneven = np.concatenate([np.zeros(5000, int), days])
    assert effective_days(rng.normal(size=len(uneven)), uneven) < 3


def test_effective_days_of_errors_that_are_alike_are_few():
    rng = np.random.default_rng(1)
    days = np.repeat(np.arange(60), 50)
    halves = np.where(days < 30, 0.1, 10.0) * rng.normal(size=len(days))
    assert effective_days(halves, days) < 12
    assert effective_days(np.ones(len(days)), days) == 1
    assert effective_days(rng.normal(size=50), np.zeros(50, int)) == 1
    assert effective_days(np.zeros(0), np.zeros(0, int)) == 1


@pytest.mark.parametrize("freedom", [3, 5, 14, 40])
def test_the_widening_is_that_of_students_t(freedom):
    stats = pytest.importorskip("scipy.stats")
    for level in (0.5, 0.8, 0.9, 0.95):
        exact = stats.t.ppf(0.5 + level / 2, freedom) / stats.norm.ppf(0.5 + level / 2)
        assert student(level, freedom) == pytest.approx(exact, rel=0.01)


def only_days(one: CalibrationBatch, count: int) -> CalibrationBatch:
    """The values of the first days."""
    kept = one.batch.wanted & (torch.arange(one.batch.sm.shape[2]) < count)[:, None, None]
    inside = kept[one.batch.wanted]
    return CalibrationBatch(
        one.batch._replace(wanted=kept), one.errors[inside], None, one.days[inside], one.places[inside]
    )


def test_with_days_enough_the_validation_draw_changes_nothing(task, caplog):
    calibration, validation = (batches_of(task, split, by_age_and_season) for split in ("calibration", "validation"))
    assert effective_days(calibration[0].errors.numpy(), calibration[0].days) > ENOUGH_DAYS
    one, other = conformal(task), conformal(task)
    with caplog.at_level("INFO"):
        one.calibrate(calibration)
        other.calibrate(calibration, validation)
    assert not caplog.records
    assert torch.equal(one.quantiles.half_width, other.quantiles.half_width)
    assert torch.equal(one.quantiles.variance, other.quantiles.variance)


def test_few_days_are_said_and_widen(task, caplog, monkeypatch):
    few = [only_days(one, 12) for one in batches_of(task, "calibration", by_age_and_season)]
    more = [only_days(one, 12) for one in batches_of(task, "validation", by_age_and_season)]
    # the days of the calibration split happen to be better than those to come
    few = [one._replace(errors=one.errors * 0.8) for one in few]
    wrapper, before = conformal(task), conformal(task)
    with caplog.at_level("INFO"):
        wrapper.calibrate(few, more)
    assert "hides values on 12 days, effective sample size 1" in caplog.text
    monkeypatch.setattr("sgdsm.models.uncertainty.conformal.ENOUGH_DAYS", 0.0)
    before.calibrate(few, more)
    new = only_days(batches_of(task, "test", by_age_and_season)[0], 12)
    halves, stds = zip(*(w.widths(new.batch, None) for w in (before, wrapper)), strict=True)
    covered = [float((new.errors.abs() <= half).float().mean()) for half in halves]
    assert covered[0] < 0.86
    assert 0.88 < covered[1] < 0.97
    assert float((stds[1] / stds[0]).detach().mean()) > 1.1


def test_a_wrapper_that_wraps_a_wrapper_is_built_from_its_settings(task):
    kind = "sgdsm.models.Conformal"
    inner = {"_target_": kind, "level": 0.5, "filler": dict(task.filler.spec)}
    made = build({"_target_": kind, "level": 0.8, "filler": inner}, GapFiller)
    made.configure(task.filler.inputs)
    assert made.level == 0.8
    assert np.isinf(made.classes.mean_edges.numpy()).all()


NETWORKS = {
    "seamless": ("model.width=8", "model.blocks=1", "model.epochs=1"),
    "pconv3d": ("model.channels=8", "model.layers=1", "model.epochs=1", "model.dropout=0.2"),
}


def network(name: str, *more: str):
    """A network with random weights in its last layer, and a batch of two windows for it."""
    made = TrainingTask.from_config(settings_of(name, *NETWORKS[name], *more))
    filler = made.filler.eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in filler.parameters():
            if not parameter.any():
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    scene = made.data.scene_of(made.split.scenarios["validation"])
    first, last = ([axis.starts()[k] for axis in made.data.axes] for k in (0, -1))
    places = [tuple(first), tuple(last)]
    batch = scene.batch(places, made.data.axes, cores=False)
    return filler, batch._replace(wanted=batch.land & ~batch.seen)


def wrapped(kind: str, filler: GapFiller, **more):
    return wrap({"_target_": f"sgdsm.models.{kind}", **more}, filler).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_samples_spread_around_the_whole_network(name):
    filler, batch = network(name)
    with torch.no_grad():
        whole, first = filler.fill(batch), wrapped("McDropout", filler, samples=4).fill(batch)
        again, other = (wrapped("McDropout", filler, samples=4, seed=seed).fill(batch) for seed in (0, 1))
        after = filler.fill(batch)
    wanted = batch.wanted
    assert torch.equal(first.mean[wanted], whole.mean[wanted])
    assert (first.epistemic[wanted] > 0).float().mean() > 0.9
    assert torch.equal(first.epistemic[wanted], again.epistemic[wanted])
    assert not torch.equal(first.epistemic[wanted], other.epistemic[wanted])
    # no mask stays on
    assert torch.equal(after.mean[wanted], whole.mean[wanted])
    if whole.std is not None:
        joined = torch.sqrt(whole.std**2 + first.epistemic**2)
        torch.testing.assert_close(first.std[wanted], joined[wanted])


@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_samples_do_not_depend_on_what_else_is_in_the_batch(name):
    filler, batch = network(name)
    wrapper = wrapped("McDropout", filler, samples=3)
    with torch.no_grad():
        both = wrapper.fill(batch)
        second = wrapper.fill(type(batch)(*(field[1:] for field in batch)))
    torch.testing.assert_close(both.epistemic[1:][batch.wanted[1:]], second.epistemic[batch.wanted[1:]])


@pytest.mark.parametrize("name", NETWORKS)
def test_with_dropout_in_the_head_the_trunk_is_worked_out_once(name, monkeypatch):
    filler, batch = network(name, "model.dropout=0.0", "model.head_dropout=0.3")
    calls = []
    original = filler.trunk_of
    monkeypatch.setattr(filler, "trunk_of", lambda batch: calls.append(1) or original(batch))
    wrapper = wrapped("McDropout", filler, samples=5)
    with torch.no_grad():
        quick = wrapper.fill(batch)
        assert len(calls) == 1
        for layer in wrapper.layers:
            layer.in_head = False
        slow = wrapper.fill(batch)
    assert (quick.epistemic[batch.wanted] > 0).float().mean() > 0.9
    torch.testing.assert_close(quick.epistemic[batch.wanted], slow.epistemic[batch.wanted])


def test_a_filler_without_dropout_is_refused_before_training():
    with pytest.raises(ConfigError, match="PartialConvNetwork has no dropout"):
        TrainingTask.from_config(settings_of("pconv3d", "model.dropout=0", "uncertainty=mc_dropout"))


def test_input_noise_grows_with_its_fraction_and_leaves_the_estimate():
    filler, batch = network("seamless")
    with torch.no_grad():
        whole = filler.fill(batch)
        small, large = (wrapped("InputNoise", filler, fraction=f, samples=4).fill(batch) for f in (0.05, 0.2))
    wanted = batch.wanted
    assert torch.equal(small.mean[wanted], whole.mean[wanted])
    added = [torch.sqrt(f.std**2 - whole.std**2)[wanted].mean() for f in (small, large)]
    assert 2 < added[1] / added[0] < 6
    # noise belongs to the data: nothing of it is epistemic
    assert small.epistemic is None


@pytest.mark.parametrize("uncertainty", ["mc_dropout", "input_noise"])
def test_wrappers_inside_wrappers_train_save_and_load(uncertainty, tmp_path):
    more = [f"uncertainty={uncertainty}", "uncertainty.filler.samples=2", "trainer.precision=32-true"]
    config = settings_of("seamless", *NETWORKS["seamless"], *more)
    check_training(config)
    made = TrainingTask.from_config(config)
    fit(made, tmp_path)
    wrapper = add_uncertainty(made, config["uncertainty"])
    assert isinstance(wrapper, Conformal)
    assert wrapper.decomposes == (uncertainty == "mc_dropout")
    save_filler(wrapper, tmp_path / "model.ckpt")
    loaded = load_filler(tmp_path / "model.ckpt")
    scene = made.data.scene_of(made.split.scenarios["calibration"])
    batch = scene.batch([tuple(axis.starts()[0] for axis in made.data.axes)], made.data.axes, False)
    with torch.no_grad():
        for ours, theirs in zip(wrapper.fill(batch), loaded.fill(batch), strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert torch.equal(ours[batch.wanted], theirs[batch.wanted])


def test_misspelt_wrappers_are_found_before_data_are_read():
    config = settings_of("seamless", "uncertainty=mc_dropout", "+uncertainty.filler.sample=3")
    with pytest.raises(ConfigError, match=r"uncertainty\.filler: unknown key 'sample'.*samples"):
        check_training(config)


def test_values_unlike_the_training_values_and_old_gaps_are_flagged(task):
    wrapper = add_uncertainty(task, {"_target_": "sgdsm.models.Conformal"})
    output = MemoryOutput()
    # half of the days far outside of anything seen, and a gap older than any that was hidden
    cube = task.cube.copy()
    name = task.filler.inputs.dynamic[1]
    strange = np.arange(cube.sizes["time"]) >= 180
    cube[name] = cube[name].where(~xr.DataArray(strange, dims="time"), cube[name] * 30 + 1000)
    oldest = int(wrapper.oldest_gap)
    target = task.filler.inputs.target
    cube[target] = cube[target].copy(data=np.where(np.arange(len(strange))[:, None, None] < 2 * oldest + 20,
                                                   np.nan, cube[target].values))  # fmt: skip
    cube[target].attrs, cube[name].attrs = task.cube[target].attrs, task.cube[name].attrs
    fill_cube(cube, wrapper, output, trainer={"enable_progress_bar": False})
    filled = output.dataset
    estimated = filled["sm_source"].values == 2
    unlike, old = (filled["sm_flag"].values & bit > 0 for bit in (1, 2))
    assert unlike[strange][estimated[strange]].mean() > 0.99
    assert unlike[~strange][estimated[~strange]].mean() < 0.1
    assert (old == (estimated & (filled["gap_age"].values > oldest))).all()
    assert old.any()
    assert not (unlike | old)[~estimated].any()
    assert ((filled["sm_distance"].values > 1) == unlike).all()
