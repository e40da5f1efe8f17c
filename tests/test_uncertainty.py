from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from sgdsm.build import build
from sgdsm.config import config_folder
from sgdsm.models.base import GapFiller
from sgdsm.models.conformal import Conformal
from sgdsm.training import Task, fit, prepare


def settings_of(model: str, *more: str) -> dict:
    words = [f"model={model}", "trainer.progress=false", "data.rows=10", "data.columns=14", "data.days=365", *more]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        return OmegaConf.to_container(compose("train", words), resolve=True)


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Task:
    """A climatology, fitted: its errors are what the tests make them."""
    made = prepare(settings_of("climatology"))
    fit(made, tmp_path_factory.mktemp("run"))
    return made


def conformal(task: Task, level: float = 0.9) -> Conformal:
    made = Conformal(task.filler, level)
    made.adopt()
    return made


def batches_of(task: Task, split: str, size) -> list:
    """Batches of a split with errors of a known size, (batch) -> (N,), and no standard deviation."""
    scene = task.data.scene_of(task.split.scenarios[split])
    found = []
    rng = torch.Generator().manual_seed(len(split))
    whole = [replace(axis, size=axis.length, margin=0) for axis in task.data.axes]
    batch = scene.batch([(0, 0, 0)], whole, cores=False)
    # gaps too, for there is no truth to know: more values than the draw hides
    batch = batch._replace(wanted=batch.land & ~batch.seen & (torch.rand(batch.sm.shape, generator=rng) < 0.3))
    errors = torch.randn(int(batch.wanted.sum()), generator=rng) * size(batch)
    found.append((batch, errors, None))
    return found


def by_age_and_season(batch) -> torch.Tensor:
    age = batch.gap_age[batch.wanted]
    season = batch.season[:, 0, None, :, None, None].expand(batch.sm.shape)[batch.wanted]
    return 0.02 * torch.sqrt(age) * torch.exp(0.7 * season)


def test_intervals_cover_in_every_class(task):
    wrapper = conformal(task)
    wrapper.learn_scale(batches_of(task, "validation", by_age_and_season))
    wrapper.calibrate(batches_of(task, "calibration", by_age_and_season))
    [(batch, _, _)] = batches_of(task, "calibration", by_age_and_season)
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
    [(batch, errors, _)] = batches_of(task, "calibration", by_age_and_season)
    one, other = conformal(task), conformal(task)
    for wrapper in (one, other):
        wrapper.learn_scale(batches_of(task, "validation", by_age_and_season))
    one.calibrate([(batch, errors, None)])
    other.calibrate([(batch, 2 * errors, None)])
    widths = [(w.fill(batch).upper - w.fill(batch).mean)[batch.wanted] for w in (one, other)]
    torch.testing.assert_close(widths[1], 2 * widths[0], rtol=2e-2, atol=1e-4)


def test_a_handful_of_values_gives_the_largest_error(task):
    [(batch, errors, _)] = batches_of(task, "calibration", by_age_and_season)
    few = batch.wanted & (torch.cumsum(batch.wanted.flatten(), 0).reshape(batch.wanted.shape) <= 5)
    small = batch._replace(wanted=few)
    wrapper = conformal(task)
    wrapper.learn_scale([(small, errors[:5], None)])
    wrapper.calibrate([(small, errors[:5], None)])
    half = (wrapper.fill(batch).upper - wrapper.fill(batch).mean)[batch.wanted]
    torch.testing.assert_close(half, torch.full_like(half, float(errors[:5].abs().max())), rtol=1e-4, atol=1e-7)


def test_a_wrapper_that_wraps_a_wrapper_is_built_from_its_settings(task):
    kind = "sgdsm.models.conformal.Conformal"
    inner = {"_target_": kind, "level": 0.5, "filler": dict(task.filler.spec)}
    made = build({"_target_": kind, "level": 0.8, "filler": inner}, GapFiller)
    made.configure(task.filler.inputs)
    assert made.level == 0.8
    assert np.isinf(made.get_buffer("mean_edges").numpy()).all()
