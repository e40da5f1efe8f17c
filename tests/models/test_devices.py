"""Networks and uncertainty wrappers on a device that is not the CPU, without one: see `pretended_device`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from sgdsm.core.specification import TARGET, locate
from sgdsm.models.networks.base import Network
from sgdsm.models.trees.filler import _predict_there
from sgdsm.training.compose import config_folder
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.forked import Forked
from tests.models.pretended_device import SMALL
from tests.models.test_models import settings_of

pytestmark = pytest.mark.slow


def targets(spec: Any) -> list[str]:
    """Classes that a model file names, those of the files that it takes in included."""
    if isinstance(spec, list):
        return [found for part in spec for found in targets(part)]
    if isinstance(spec, str) and spec != "_self_":
        # an entry of `defaults`: FILE@WHERE
        return targets(yaml.safe_load((config_folder() / "model" / f"{spec.partition('@')[0]}.yaml").read_text()))
    if isinstance(spec, dict):
        own = [spec[TARGET]] if TARGET in spec else []
        return own + targets(spec.get("defaults", []))
    return []


def has_network(path: Path) -> bool:
    kinds = [locate(name) for name in targets(yaml.safe_load(path.read_text()))]
    return any(isinstance(kind, type) and issubclass(kind, Network) for kind in kinds)


FILES = (path for path in (config_folder() / "model").glob("*.yaml") if path.stem != "auto")
MODELS = sorted(path.stem for path in FILES if has_network(path))
# dropout in the head, and branches that are off by default
MODELS += ["pconv3d model.head_dropout=0.1 model.gap_features=true", "seamless model.muon_rate=null"]
WAYS = ("step", "fill", "conformal", "input_noise", "mc_dropout")


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict[str, str]]:
    """What went wrong, by model and what was done with it; one process for all, which takes most of the time."""
    process = Forked(tmp_path_factory.mktemp("device"), "tests/models/pretended_device.py", *MODELS)
    out, err = process.communicate()
    assert process.returncode == 0, err
    problems: dict[str, dict[str, str]] = json.loads(out.splitlines()[-1])
    return problems


def test_all_networks_are_found():
    assert {"seamless", "pconv3d", "casm", "sgd_sm", "ensemble", "stack"} <= {*MODELS}
    assert "xgboost" not in MODELS


@pytest.mark.parametrize("what", ["a sum", "numpy", "an index"])
def test_the_pretended_device_refuses_tensors_of_the_cpu(found, what):
    assert found["refused"][what]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS)
def test_no_tensor_of_the_cpu_is_mixed_in(found, model, way):
    problem = found[model][way]
    if problem.startswith("skipped: "):
        pytest.skip(problem.removeprefix("skipped: "))
    assert not problem, problem


def test_uncertainties_are_those_of_the_settings(found):
    there = {path.stem for path in (config_folder() / "uncertainty").glob("*.yaml")} - {"none"}
    assert there == {*WAYS} - {"step", "fill"}


def test_trees_fill_on_the_gpu_of_the_run(tmp_path, monkeypatch):
    task = TrainingTask.from_config(settings_of("xgboost model.quantiles=[0.05,0.95]", *SMALL))
    fit(task, tmp_path)
    asked, filler = [], task.filler
    rows = np.random.default_rng(0).normal(size=(50, len(filler.names))).astype(np.float32)
    rows[::7, 3] = np.nan
    expected = [booster.inplace_predict(rows) for booster in (filler.booster, filler.bounds)]
    # where there is no GPU XGBoost would say so and stay on the CPU
    monkeypatch.setattr("xgboost.Booster.set_param", lambda _, given: asked.append(given))
    device = torch.device("cuda", 0)
    np.testing.assert_allclose(filler._predict(filler.booster, rows, device), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(_predict_there(filler.bounds, rows, device), expected[1], rtol=1e-5, atol=1e-6)
    assert asked == [{"device": "cuda:0"}] * 2
    assert _predict_there(filler.booster, rows, torch.device("cpu")) is None
