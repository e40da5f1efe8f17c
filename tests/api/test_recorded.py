"""Fillers made in Python, not from a configuration: they can be saved, copied and nested as those are."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import TARGET, build, locate
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.classical.simple import Climatology, LinearTime
from sgdsm.models.ensemble import Ensemble, Stack
from sgdsm.models.networks.pconv3d import PartialConvNetwork
from sgdsm.models.networks.seamless import Seamless
from sgdsm.models.trees.filler import XGBoost
from sgdsm.models.uncertainty.conformal import Conformal
from sgdsm.models.uncertainty.wrappers import InputNoise, McDropout
from sgdsm.training.compose import config_folder
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.conftest import composed

MODELS = sorted({path.stem for path in (config_folder() / "model").glob("*.yaml")} - {"auto"})
SMALLER = {
    "casm": ["model.width=16"],
    "casm_paper": ["model.width=16"],
    "casm_ensemble": ["model.members=2", "model.filler.width=16"],
    "ensemble": ["model.members=2", "model.filler.width=8"],
}
# what has no defaults for all of its arguments
LEAST = {
    "Ensemble": lambda: Ensemble(Seamless(width=8)),
    "Stack": lambda: Stack({"a": Climatology(), "b": LinearTime()}),
}


def settings_of(model: str, *more: str) -> dict[str, Any]:
    words = [f"model={model}", "trainer.progress=false", "data.rows=10", "data.columns=14", "data.days=150", *more]
    found = composed("train", *[*words, *SMALLER.get(model, [])])
    assert isinstance(found, dict)
    return found


def made_of(spec: Any, by_position: bool = False) -> Any:
    """What a specification makes, by calling its classes as one does in Python."""
    if isinstance(spec, dict) and TARGET not in spec:
        return {key: made_of(value, by_position) for key, value in spec.items()}
    if not isinstance(spec, dict):
        return spec
    arguments = {name: made_of(value, by_position) for name, value in spec.items() if name != TARGET}
    kind = locate(spec[TARGET])
    if not by_position:
        return kind(**arguments)
    parameters = inspect.signature(kind).parameters
    first = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD and name in arguments]
    return kind(*[arguments.pop(name) for name in first], **arguments)


@pytest.fixture(scope="module")
def inputs(world: xr.Dataset) -> Inputs:
    record = read_record(world)
    return Inputs.fit(record, Names.of(world), record.observed, "m3 m-3", 1, "train")


def same_state(one: GapFiller, two: GapFiller) -> None:
    first, second = one.state_dict(), two.state_dict()
    assert first.keys() == second.keys()
    torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)


def check(made: GapFiller, inputs: Inputs, folder: Path) -> GapFiller:
    """It travels: saved and read, copied, built again from its specification."""
    made.configure(inputs)
    save_filler(made, folder / "model.ckpt")
    content = torch.load(folder / "model.ckpt", weights_only=True)
    assert content["spec"] == made.spec
    for again in (load_filler(folder / "model.ckpt"), copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert again.spec == made.spec
        assert again.inputs == inputs
        same_state(made, again)
    assert build(made.spec, GapFiller).spec == made.spec
    return made


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("how", ["keyword", "position", "defaults"])
def test_a_filler_made_in_python_travels(model, how, inputs, tmp_path):
    spec = settings_of(model)["model"]
    kind = locate(spec[TARGET])
    if how == "defaults":
        made = LEAST.get(kind.__name__, kind)()
    else:
        made = made_of(spec, by_position=how == "position")
        assert made.spec.items() >= {k: v for k, v in spec.items() if not isinstance(v, dict)}.items()
        assert made.spec == build(spec, GapFiller).spec
    if "seed" in made.spec:
        two = check(Ensemble(made, members=2), inputs, tmp_path)
        assert [member.spec["seed"] for member in two.fillers] == [made.spec["seed"], made.spec["seed"] + 1]
    check(made, inputs, tmp_path)
    check(Conformal(made, level=np.float64(0.8)), inputs, tmp_path)


@pytest.mark.parametrize("network", [Seamless, PartialConvNetwork])
def test_wrappers_nest_around_what_was_made_in_python(network, inputs, tmp_path):
    net = network(head_dropout=0.1, seed=np.int64(4))
    made = check(Conformal(InputNoise(McDropout(net, samples=3), 0.2), 0.8), inputs, tmp_path)
    assert made.spec["filler"]["filler"]["filler"] == net.spec
    assert type(made.spec["filler"]["filler"]["filler"]["seed"]) is int
    check(McDropout(Ensemble(network(head_dropout=0.1), 2)), inputs, tmp_path)


def test_an_ensemble_of_members_made_in_python_learns(tmp_path):
    task = TrainingTask.from_config(settings_of("climatology"))
    inputs = task.filler.inputs
    first = Seamless(width=8, blocks=1, window_days=60, window_cells=6, epochs=1, seed=3)
    task.filler = Stack({"both": Ensemble(first, 2), "trees": XGBoost(gap_draws=1, rounds=np.int64(5))})
    task.filler.configure(inputs)
    fit(task, tmp_path)
    save_filler(task.filler, tmp_path / "model.ckpt")
    again = load_filler(tmp_path / "model.ckpt")
    assert again.fillers[1].booster is not None
    assert again.fillers[0].fillers[1].spec["seed"] == 4
    same_state(task.filler, again)
    same_state(task.filler, copy.deepcopy(task.filler))


def test_runs_of_older_versions_load_as_before(inputs, tmp_path):
    """Their specification holds what the configuration said, not the arguments by default."""
    made = Seamless(width=8)
    made.configure(inputs)
    save_filler(made, tmp_path / "model.ckpt")
    content = torch.load(tmp_path / "model.ckpt", weights_only=True)
    content["spec"] = {TARGET: content["spec"][TARGET], "width": 8}
    torch.save(content, tmp_path / "old.ckpt")
    again = load_filler(tmp_path / "old.ckpt")
    assert again.spec == made.spec
    same_state(made, again)


def test_arguments_become_plain_data():
    made = XGBoost(
        np.int32(3), subsample=np.float32(0.5), quantiles=(np.float64(0.1), 0.9), monotone={np.str_("rain"): np.int8(1)}
    )
    assert {k: made.spec[k] for k in ("gap_draws", "subsample", "quantiles", "monotone", "seed")} == {
        "gap_draws": 3, "subsample": 0.5, "quantiles": [0.1, 0.9], "monotone": {"rain": 1}, "seed": 0
    }  # fmt: skip
    assert [type(made.spec[k]) for k in ("gap_draws", "subsample")] == [int, float]
    assert type(next(iter(made.spec["monotone"]))) is str


class Mine(Climatology):
    """Of a user, outside the package; its argument has no type."""

    def __init__(self, thing=None) -> None:
        super().__init__()
        self.thing = thing


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Seamless(width=object()), r"Seamless: width=\(object\): expected int"),
        (lambda: Seamless(width="8"), "Seamless: width='8': expected int"),
        (lambda: Seamless(8.5), "Seamless: window_days=8.5: expected int"),
        (lambda: Seamless(learning_rate=np.nan), "Seamless: learning_rate=nan: expected a finite number"),
        (lambda: Seamless(seed=-1), "Seamless: seed=-1: expected 0 or more"),
        (lambda: Seamless(widht=8), "Seamless: got an unexpected keyword argument 'widht'; known are window_days"),
        (lambda: Climatology(5), r"Climatology: \(5,\): expected no argument"),
        (lambda: Climatology(depth=5), "Climatology: {'depth': 5}: expected no argument"),
        (lambda: XGBoost(monotone={"rain": "up"}), r"monotone={'rain': 'up'}: expected dict\[str, int\] \| None"),
        (lambda: Ensemble([1, 2]), r"Ensemble: filler=.*: expected GapFiller \| list\[GapFiller\]"),
        (lambda: Ensemble([Seamless(), Seamless()]), "model.filler: number 1 is the same as another"),
        (lambda: Stack([Climatology(), Climatology()]), r"Stack: members=.*: expected dict\[str, GapFiller\]"),
        (lambda: Conformal(None), "Conformal: filler=None: expected GapFiller"),
        (
            lambda: Mine(object()),
            r"Mine: thing=\(object\): expected plain data \(numbers, text, lists, dicts of them\)",
        ),
        (lambda: Mine([1, {2}]), r"Mine: thing=\(set\): expected plain data"),
    ],
)
def test_arguments_that_cannot_be_kept_are_refused(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_what_could_not_be_read_again_is_not_saved(inputs, tmp_path):
    with pytest.raises(ConfigError, match=r"Climatology knows no variables yet: call configure\(inputs\) before"):
        save_filler(Climatology(), tmp_path / "model.ckpt")
    mine = Mine(3)
    mine.configure(inputs)
    with pytest.raises(ConfigError, match="expected a public name of sgdsm"):
        save_filler(mine, tmp_path / "model.ckpt")
    assert not any(tmp_path.iterdir())
