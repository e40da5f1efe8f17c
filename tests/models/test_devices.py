"""Networks and uncertainty wrappers on a device that is not the CPU, without one: see `pretended_device`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sgdsm.core.specification import TARGET, locate
from sgdsm.models.networks.base import Network
from sgdsm.training.compose import config_folder
from tests.conftest import ROOT

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


MODELS = sorted(path.stem for path in (config_folder() / "model").glob("*.yaml") if has_network(path))
# dropout in the head, and branches that are off by default
MODELS += ["pconv3d model.head_dropout=0.1 model.levels=1 model.gap_features=true", "seamless model.muon_rate=null"]
WAYS = ("step", "fill", "conformal", "input_noise", "mc_dropout")


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, str]]:
    """What went wrong, by model and what was done with it; one process for all, which takes most of the time."""
    words = [sys.executable, "-m", "tests.models.pretended_device", *MODELS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    problems: dict[str, dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
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
