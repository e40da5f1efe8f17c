"""Early stopping, learning rates and loggers: what they write, and that an interruption does not show."""

from __future__ import annotations

import csv
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from sgdsm.core.errors import ConfigError
from sgdsm.models.networks.casm import Casm
from sgdsm.models.networks.pconv3d import PartialConvNetwork
from sgdsm.training.callbacks import TrainingHistory
from sgdsm.training.config import check_training
from sgdsm.training.fit import Fitted, fit
from sgdsm.training.loggers import RunLogger, opened
from sgdsm.training.task import TrainingTask
from sgdsm.training.train import scores_text, train
from tests.conftest import SMALL_WORLD, TINY_PCONV, composed

# no validation is better by so much than the one before
ENDS = [
    "callbacks=[early_stopping,lr_monitor]",
    *(f"callbacks.early_stopping.{w}" for w in ("patience=2", "min_delta=9")),
]
WORDS = [*TINY_PCONV, *SMALL_WORLD, "model.epochs=5", "trainer.progress=false", "trainer.precision=32-true"]


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "training.csv").open()))


def trained(folder: Path, *words: str) -> tuple[Fitted, TrainingTask]:
    folder.mkdir(exist_ok=True)
    task = TrainingTask.from_config(composed("train", *WORDS, *words))
    return fit(task, folder), task


def test_a_training_ends_early_and_goes_on_alike_after_a_kill(tmp_path, monkeypatch):
    whole, task = trained(tmp_path / "whole", *ENDS)
    found = rows(tmp_path / "whole")
    # the first validation is the smallest so far, the next two are no better by min_delta
    assert [int(row["epoch"]) for row in found] == [0, 1, 2]
    best = min(found, key=lambda row: float(row["validation_rmse"]))
    assert whole.epoch == int(best["epoch"]) + 1
    # of Muon and AdamW: the same share of their largest rates, falling after the warm-up
    shares = [(float(row["learning_rate"]) / 0.02, float(row["learning_rate_2"]) / 3e-3) for row in found]
    assert shares[0][0] > shares[1][0] > shares[2][0] > 0
    assert all(a == pytest.approx(b, rel=1e-4) for a, b in shares)
    # the state of the last epoch, for Lightning and for who goes on
    last = PartialConvNetwork.load_from_checkpoint(tmp_path / "whole" / "last.ckpt", weights_only=True)
    assert last.inputs == task.filler.inputs
    with pytest.raises(ConfigError, match=r"expected a checkpoint of sgdsm\.models\.Casm, found one of sgdsm"):
        Casm.load_from_checkpoint(tmp_path / "whole" / "last.ckpt")

    ended = TrainingHistory.on_train_epoch_end

    def dying(self, trainer, module):
        ended(self, trainer, module)
        if trainer.current_epoch == 1:
            raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(TrainingHistory, "on_train_epoch_end", dying)
        with pytest.raises(RuntimeError, match="power cut"):
            trained(tmp_path / "second_epoch", *ENDS)
    # killed after the last epoch, before the run was finished
    shutil.copytree(tmp_path / "whole", tmp_path / "at_the_end")
    for name in ("second_epoch", "at_the_end"):
        folder = tmp_path / name
        again, other = trained(folder, *ENDS)
        assert (folder / "training.csv").read_text() == (tmp_path / "whole" / "training.csv").read_text()
        assert (again.validation_rmse, again.epoch) == (whole.validation_rmse, whole.epoch)
        for key, value in task.filler.state_dict().items():
            assert torch.equal(other.filler.state_dict()[key], value), key


def test_a_run_without_a_curve_still_says_that_its_epochs_were_chosen_and_keeps_its_notes(tmp_path, caplog):
    caplog.set_level("INFO", "sgdsm")
    words = [word for word in WORDS if "epochs" not in word and "window_days" not in word]
    config = composed("train", *words, "model.epochs=1", "logger=none", "model.window_days=200")
    run = train(config, tmp_path, figures=False)
    assert not (tmp_path / "training.csv").exists()
    assert "they chose the epochs of the network" in scores_text(run)
    notes = (tmp_path / "notes.txt").read_text().splitlines()
    assert "the record of 150 days is shorter than a window of 200: one window" in notes
    assert len(set(notes)) == len(notes)
    assert not any("run folder" in note for note in notes)
    # a run of before there were loggers and callbacks
    run.write("config.yaml", {name: value for name, value in config.items() if name not in ("logger", "callbacks")})
    assert (run.config()["logger"]["kind"], run.config()["callbacks"]) == ("csv", {})


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_each_logger_writes_into_the_folder_of_the_run_and_goes_on_with_it(kind, tmp_path):
    if find_spec(kind) is None:
        pytest.skip(f"{kind} is not installed")
    config = {"logger": {"_target_": "sgdsm.training.RunLogger", "kind": kind}}
    seen = []
    for step in range(2):
        with opened(config, tmp_path) as logger:
            logger.log_metrics({"train_loss": 1.0 / (1 + step)}, step)
            seen.append(logger.version)
            logger.finalize("success")
    assert seen[0] == seen[1]
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*")}
    assert written == {"mlruns" if kind == "mlflow" else kind}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=xgboost", "callbacks=early_stopping"], "callbacks=early_stopping: XGBoost has no epochs"),
        (["model=linear_time", "callbacks=lr_monitor"], "callbacks=lr_monitor: LinearTime has no epochs"),
        (["callbacks=lr_monitor", "logger=none"], "callbacks=lr_monitor: logger=none writes nothing"),
        (["logger.kind=foo"], "logger.kind='foo': expected one of csv, tensorboard"),
        (["callbacks=early_stopping", "callbacks.early_stopping.patience=0"], "patience=0: expected at least 1"),
        (["+callbacks.x._target_=sgdsm.models.Climatology"], "does not make a Callback"),
        (["+callbacks.x._target_=pytorch_lightning.callbacks.LambdaCallback"], "expected a public name of sgdsm"),
    ],
)
def test_what_would_do_nothing_is_refused_before_data_are_read(words, message):
    with pytest.raises(ConfigError, match=message):
        check_training(composed("train", *words))
    # members that learn by epochs can end early
    check_training(composed("train", "model=stack", "callbacks=early_stopping"))


def test_a_missing_program_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("sgdsm.core.extras.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^logger=mlflow needs mlflow: pip install 'sgdsm\[mlflow\]'$"):
        RunLogger("mlflow")
