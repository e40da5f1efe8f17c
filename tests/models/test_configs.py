"""The YAML file of a class' own name has the defaults of its constructor; other files say what they are for."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from omegaconf import OmegaConf

from sgdsm.core.specification import TARGET, locate
from sgdsm.training.compose import config_folder
from sgdsm.training.config import TrainingConfig

# files with the defaults of a class
OWN = [
    *(
        f"model/{name}"
        for name in (
            "casm",
            "climatology",
            "dctpls",
            "dineof",
            "ensemble",
            "kriging",
            "linear_time",
            "pconv3d",
            "persistence",
            "random_forest",
            "seamless",
            "window_forest",
            "xgboost",
        )
    ),
    "gaps/transplant",
    *(f"splits/{name}" for name in ("all", "blocks", "months", "protocol", "random", "regions", "years")),
    *(f"regressor/{name}" for name in ("mlp", "random_forest", "ridge", "xgboost")),
    "trainer/default",
    "logger/csv",
    *(f"uncertainty/{name}" for name in ("conformal", "input_noise", "mc_dropout")),
]
GROUPS = ("model", "regressor", "gaps", "splits", "trainer", "uncertainty", "logger", "callbacks")
FILES = sorted(f"{group}/{path.stem}" for group in GROUPS for path in (config_folder() / group).glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(config_folder() / f"{name}.yaml"), resolve=False)
    assert isinstance(found, dict)
    return found


def same(value: Any, default: Any) -> bool:
    """Compare a YAML value with a default; a tuple is a list in YAML, and a seed is the one of the training."""
    if value == "${seed}":
        value = TrainingConfig.__dataclass_fields__["seed"].default
    default = list(default) if isinstance(default, tuple) else default
    return type(value) is type(default) and value == default


def check_defaults(spec: dict[str, Any], where: str) -> None:
    parameters = inspect.signature(locate(spec[TARGET])).parameters
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    defaults = {n: p.default for n, p in parameters.items() if p.kind not in variadic and p.default is not p.empty}
    given = {name: value for name, value in spec.items() if name in defaults}
    assert given.keys() == defaults.keys(), where
    for name, value in given.items():
        assert same(value, defaults[name]), f"{where}: {name}={value}, the default of the class is {defaults[name]}"
    for name, value in spec.items():
        if isinstance(value, dict) and TARGET in value:
            check_defaults(value, f"{where}.{name}")


@pytest.mark.parametrize("name", OWN)
def test_a_file_of_a_class_own_name_has_its_defaults(name):
    check_defaults(read(name), name)


@pytest.mark.parametrize("name", [name for name in FILES if name not in OWN])
def test_a_preset_says_what_it_is_for(name):
    first = (config_folder() / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# "), f"configs/{name}.yaml: expected a comment in the first line"
    assert len(first) > 12


def test_stack_and_ensemble_presets_name_a_class():
    # their members come from other files, so that there are no defaults to compare
    assert {read(name)[TARGET] for name in ("model/stack", "model/casm_ensemble")} == {
        "sgdsm.models.Stack",
        "sgdsm.models.Ensemble",
    }
