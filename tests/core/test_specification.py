from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from sgdsm.cli.commands import load
from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import made
from sgdsm.core.specification import build, check_spec, fits
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler
from sgdsm.training.compose import config_folder
from sgdsm.training.config import check_training, load_config
from tests.conftest import composed

GROUPS = [
    (folder.name, path.stem)
    for folder in config_folder().iterdir()
    if folder.is_dir() and folder.name != "source"  # tests/prepare checks those
    for path in folder.glob("*.yaml")
]
MISSING = {
    "netcdf": ["data.path=x.nc", "data.target=sm"],
    "simulate_store": ["data.path=x.zarr"],
    "sensor_world": ["data.path=x.nc"],
    "two_sensors": ["data.path=x.nc"],
    "pseudo_labelled": ["data.path=x.nc", "data.filled=y.nc", "data.where=tb"],
    "prepared": ["data.path=x.zarr"],
    "protocol": ["splits.path=x"],
    "table": ["data.path=x.csv", "data.target=SM", "data.predictors=[GRD]", "data.units={SM: 1, GRD: dB}"],
}
# settings of `downscale train` alone
DOWNSCALING = ("months", "downscale_demo", "tune_downscale")


@pytest.mark.parametrize(("group", "name"), GROUPS)
def test_every_shipped_setting_is_valid(group, name, monkeypatch):
    monkeypatch.setattr("sgdsm.training.loggers.need", lambda *args: None)  # their packages are optional
    words = [f"{group}={name}", *MISSING.get(name, [])]
    if group == "regressor" or name in DOWNSCALING:
        made(load("downscale train").Settings, composed("downscale train", *words))
    else:
        check_training(composed("train", *words))


@pytest.mark.parametrize("command", ["train", "compare", "chain"])
def test_every_command_has_valid_defaults(command):
    made(load(command).Settings, composed(command))


def test_settings_name_every_argument_of_what_they_build():
    """A user who reads the file sees all that can be set."""
    import inspect

    from sgdsm.core.specification import locate

    for path in config_folder().glob("*/*.yaml"):
        settings = yaml.safe_load(path.read_text())
        target = settings.get("_target_")
        if path.parent.name == "experiment" or target is None:
            continue
        while isinstance(settings, dict) and "_target_" in settings:
            target = locate(settings["_target_"])
            names = [p for p in inspect.signature(target).parameters if p not in ("args", "kwargs", "filler")]
            # `xgboost@few` among the defaults gives the argument `few`
            given = [part.partition("@")[2].partition(".")[0] for part in settings.get("defaults", []) if "@" in part]
            own = {*settings, *given} - {"_target_", "defaults", "filler"}
            assert sorted(names) == sorted(own), path
            settings = settings.get("filler")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+modle=1"], r"unknown key 'modle' \(did you mean 'model'\?\)"),
        (["+model.widht=3"], "model: unknown key 'widht'"),
        (["+data.path=x"], "data: unknown key 'path'"),
        (["model.epochs=many"], r"model.epochs='many': expected int"),
        (["gaps.bank=own_"], "gaps.bank='own_': expected one of own, amsr2"),
        (["gaps.outage_days=[1,two]"], "gaps.outage_days="),
        (["gaps.fraction=2"], "gaps.fraction=2: expected a share"),
        (["splits=blocks", "splits.separation_days=40"], "splits.separation_days=40"),
        (
            ["model=xgboost", "trainer.max_epochs=5"],
            "epochs mean nothing for the trees of XGBoost; set model.gap_draws",
        ),
        (["model=climatology", "trainer.max_epochs=5"], "learns nothing"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0: expected at least 1"),
        (["data=netcdf", "data.target=sm"], "data.path is not given: pass data.path="),
        (["model._target_=os.system"], "expected a public name of sgdsm"),
        (["model._target_=sgdsm.models.classical.simple.Nothing"], "expected a public name of sgdsm"),
        (["model._target_=sgdsm.training.run.subprocess.run"], "expected a public name of sgdsm"),
        (["uncertainty.level=1.5", "model=climatology"], None),
        (["seed=x"], "seed='x': expected int"),
    ],
)
def test_mistakes_are_found_before_data_are_read(words, message):
    settings = composed("train", *words)
    if message is None:
        check_training(settings)  # found when it is made, which needs the fitted filler
        return
    with pytest.raises(ConfigError, match=message):
        check_training(settings)


def test_experiments_with_unknown_keys_are_refused():
    settings = composed("train", "experiment=demo")
    with pytest.raises(ConfigError, match=r"compare: unknown key 'modles' \(did you mean 'models'"):
        check_training({**settings, "compare": {"modles": {}}})
    with pytest.raises(ConfigError, match="unknown key 'splitz'"):
        check_training({**settings, "splitz": {}})


def test_fits():
    assert fits(3, float)
    assert not fits(True, int)
    assert not fits("3", int)
    assert fits([1, 2, 3], tuple[int, int, int])
    assert not fits([1, 2], tuple[int, int, int])
    assert fits(None, int | None)


def test_build_makes_nested_objects_and_keeps_their_specification():
    inner = {"_target_": "sgdsm.models.Climatology"}
    made = build({"_target_": "sgdsm.models.Conformal", "level": 0.8, "filler": inner}, GapFiller)
    assert made.spec["filler"] == inner
    assert type(made.filler).__name__ == "Climatology"
    with pytest.raises(ConfigError, match="'filler' is not given"):
        check_spec({"_target_": "sgdsm.models.Conformal"}, GapFiller)
    with pytest.raises(ConfigError, match="expected a public name of sgdsm"):
        build({"_target_": "sgdsm.models.Conformal", "filler": {"_target_": "builtins.exec"}}, GapFiller)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: ${oc.env:HOME}", "plain values, no interpolation"),
        ("a: [b: {c: '${oc.decode:x}'}]", "no interpolation"),
        ("!!python/object/apply:os.system ['true']", "not a YAML file"),
        ("just words", "expected keys and values"),
        ("a: [", "not a YAML file"),
    ],
)
def test_the_configuration_of_a_run_is_data(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "config.yaml")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


def test_a_checkpoint_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "sgdsm filler 1", "spec": Evil()}, "evil.ckpt")
    with pytest.raises(ConfigError, match="not a checkpoint of a filler"):
        load_filler("evil.ckpt")
    assert not Path("hacked").exists()
    spec = {"_target_": "os.mkdir", "path": "hacked"}
    torch.save({"format": "sgdsm filler 1", "spec": spec, "inputs": {}, "state": {}}, "evil.ckpt")
    with pytest.raises(ConfigError, match="expected a public name of sgdsm"):
        load_filler("evil.ckpt")
    assert not Path("hacked").exists()


def test_a_checkpoint_from_something_else_is_named(tmp_path):
    cases = {
        "weights.ckpt": ({"state_dict": {"w": torch.zeros(2)}}, "expected a checkpoint of the format"),
        "tensor.ckpt": (torch.zeros(2), "expected a checkpoint of the format"),
    }
    for name, (content, message) in cases.items():
        torch.save(content, tmp_path / name)
        with pytest.raises(ConfigError, match=message):
            load_filler(tmp_path / name)
    whole = (tmp_path / "tensor.ckpt").read_bytes()
    for name, content in {"cut.ckpt": whole[:200], "text.ckpt": b"hello", "empty.ckpt": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name}: not a checkpoint"):
            load_filler(tmp_path / name)
    with pytest.raises(ConfigError, match="no such checkpoint"):
        load_filler(tmp_path / "absent.ckpt")


@pytest.mark.slow
def test_the_installed_package_finds_its_settings(tmp_path):
    """As in a wheel: configs/ inside the package, no checkout around it."""
    package = tmp_path / "site" / "sgdsm"
    package.parent.mkdir()
    root = Path(__file__).resolve().parents[2]
    subprocess.run(["cp", "-r", str(root / "sgdsm"), str(package)], check=True)
    subprocess.run(["cp", "-r", str(root / "configs"), str(package / "configs")], check=True)
    words = [sys.executable, "-c", "from sgdsm.training.compose import config_folder; print(config_folder())"]
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    found = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == package / "configs"
