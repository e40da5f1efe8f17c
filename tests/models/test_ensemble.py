from __future__ import annotations

import numpy as np
import pytest
import torch

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.classical.simple import Climatology, LinearTime, Persistence
from sgdsm.models.ensemble import Ensemble, convex_weights
from sgdsm.models.networks.seamless import Seamless
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.models.test_models import settings_of

TINY = {"width": 8, "blocks": 1, "window_days": 60, "window_cells": 6, "epochs": 1}


@pytest.mark.parametrize("seed", range(5))
def test_weights_agree_with_a_search(seed):
    rng = np.random.default_rng(seed)
    errors = rng.standard_normal((3, 50)) * rng.uniform(0.5, 3, (3, 1)) + rng.standard_normal(50)
    gram = errors @ errors.T
    found = convex_weights(gram)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    steps = np.linspace(0, 1, 101)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1])
    assert found @ gram @ found <= np.einsum("ki,ij,kj->k", grid, gram, grid).min() + 1e-9


def test_copies_share_and_the_perfect_takes_all():
    np.testing.assert_allclose(convex_weights(np.ones((2, 2))), [0.5, 0.5])
    np.testing.assert_allclose(convex_weights(np.diag([1.0, 0.0])), [0, 1], atol=1e-6)


def test_members_are_fillers():
    simple = {"_target_": "sgdsm.models.Climatology"}
    stack = {"_target_": "sgdsm.models.Stack"}
    made = build({**stack, "members": {"a": simple, "b": {"_target_": "sgdsm.models.LinearTime"}}}, GapFiller)
    assert made.window.days is None
    assert made.window.halo_cells == 0
    for members, message in (
        ({"a": simple}, "1 given, expected 2"),
        ({"a": simple, "b": {"_target_": "sgdsm.data.Gaps"}}, "does not make a GapFiller"),
        ({"a": simple, "b": {"_target_": "sgdsm.models.Climatology", "depth": 3}}, "unknown key 'depth'"),
        ({"a": simple, "b": 3}, "expected settings with _target_"),
    ):
        with pytest.raises(ConfigError, match=message):
            build({**stack, "members": members}, GapFiller)


def test_an_ensemble_of_a_list_trains_is_saved_and_loaded(tmp_path):
    task = TrainingTask.from_config(settings_of("climatology"))
    inputs = task.filler.inputs
    # members may differ in settings too
    members = [Seamless(**TINY, seed=0), Seamless(**TINY, seed=5), Seamless(**{**TINY, "width": 4}, seed=2)]
    task.filler = Ensemble(members)
    task.filler.configure(inputs)
    fit(task, tmp_path)
    save_filler(task.filler, tmp_path / "model.ckpt")
    again = load_filler(tmp_path / "model.ckpt")
    assert again.spec == task.filler.spec
    assert [member.spec for member in again.fillers] == [member.spec for member in members]
    scene = task.data.scene_of(task.split.scenarios["validation"])
    batch = scene.batch([tuple(axis.starts()[0] for axis in task.data.axes)], task.data.axes, False)
    with torch.no_grad():
        ours, theirs = task.filler.eval().fill(batch), again.fill(batch)
    for one, other in zip(
        (ours.mean, ours.std, ours.epistemic), (theirs.mean, theirs.std, theirs.epistemic), strict=True
    ):
        assert torch.equal(one[batch.wanted], other[batch.wanted])
    assert (ours.epistemic[batch.wanted] > 0).any()


def test_a_list_of_seeds_is_the_same_as_copies():
    copies, listed = Ensemble(Seamless(**TINY), 3), Ensemble([Seamless(**TINY, seed=k) for k in range(3)])
    assert list(copies.members) == list(listed.members) == ["seed_0", "seed_1", "seed_2"]
    assert [one.spec for one in copies.fillers] == [one.spec for one in listed.fillers]


def test_members_of_a_list_are_checked():
    assert len(Ensemble([Climatology(), LinearTime(), Persistence()]).fillers) == 3
    simple, ensemble = {"_target_": "sgdsm.models.Climatology"}, "sgdsm.models.Ensemble"
    for members, message in (
        ([simple, simple], "number 1 is the same as another"),
        ([simple], "1 given, expected 2"),
        ([simple, 3], r"Ensemble\.filler\.1=3: expected settings with _target_"),
        ([simple, {"_target_": "sgdsm.data.Gaps"}], "does not make a GapFiller"),
        ({"_target_": "sgdsm.data.Gaps"}, "does not make a GapFiller"),
        ({"a": simple}, r"expected GapFiller \| list\[GapFiller\]"),
    ):
        with pytest.raises(ConfigError, match=message):
            build({"_target_": ensemble, "filler": members}, GapFiller)
