"""The files of docs/examples: they parse, their words make configurations, and one of them is run."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sgdsm.cli.commands import load
from sgdsm.core.settings import made
from tests.conftest import ROOT, composed

pytestmark = pytest.mark.slow

EXAMPLES = sorted((ROOT / "docs" / "examples").iterdir())
STARTERS = ("python", "srun", "torchrun")


def lines_of(path: Path) -> list[list[str]]:
    """The words of the lines that start one of our programs."""
    whole = path.read_text().replace("\\\n", " ")
    found = [shlex.split(line, comments=True) for line in whole.splitlines()]
    return [words for words in found if words and words[0] in STARTERS and "worker" not in words]


def ours(words: list[str]) -> tuple[str, list[str]]:
    """The command of a line, and its words."""
    if words[:3] == ["python", "-m", "sgdsm"]:
        return words[3], words[4:]
    at = next(k for k, word in enumerate(words) if word in ("train.py", "predict.py"))
    return words[at].removesuffix(".py"), words[at + 1 :]


LINES = [pytest.param(words, id=f"{path.name} {ours(words)[0]}") for path in EXAMPLES for words in lines_of(path)]


def value_of(words: list[str], key: str) -> int:
    """Of a word like --nodes=2, --nproc-per-node 2 or trainer.devices=2; 1 where there is none."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word.partition("=")[0] == key:
            return int(word.partition("=")[2] or following)
    return 1


def test_there_are_lines_of_every_kind():
    commands = {ours(line.values[0])[0] for line in LINES}
    starters = {line.values[0][0] for line in LINES}
    assert commands == {"train", "predict", "prepare"}
    assert starters == set(STARTERS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_bash_reads_it(path):
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("words", LINES)
def test_its_words_make_a_configuration(words):
    command, given = ours(words)
    if command == "train" and any(word.startswith("run=") for word in given):
        given = [word for word in given if not word.startswith("run=")]
        assert all(word.startswith("trainer.") for word in given)
    module = load(command)
    given = module.prepared(given) if hasattr(module, "prepared") else given
    made(module.Settings, composed(command, *given))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_as_many_processes_as_devices(path):
    """Lightning refuses other numbers, but only on the cluster."""
    head = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("#SBATCH")]
    for words in lines_of(path):
        devices, nodes = value_of(words, "trainer.devices"), value_of(words, "trainer.num_nodes")
        if words[0] == "torchrun":
            assert (devices, nodes) == (value_of(words, "--nproc-per-node"), value_of(words, "--nnodes"))
        elif words[0] == "srun":
            assert (devices, nodes) == (value_of(head, "--ntasks-per-node"), value_of(head, "--nodes"))
        else:
            assert (devices, nodes) == (1, 1)


def run(folder: Path, command: list[str], **environment: str) -> subprocess.Popen[str]:
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=settings, stdout=pipe, stderr=pipe, text=True)


def test_torchrun_makes_one_run(tmp_path):
    """Also where the processes give their run folders different names, as they do when a second passes between them."""
    words = next(words for words in lines_of(ROOT / "docs" / "examples" / "torchrun.sh"))
    at = words.index("train.py")
    command = [sys.executable, "-m", "torch.distributed.run", *words[1:at], str(ROOT / "train.py"), *words[at + 1 :]]
    small = ["data.rows=12", "data.columns=24", "uncertainty=none", "trainer.progress=false"]
    more = ["hydra.run.dir=runs/${oc.env:RANK}", *small]
    process = run(tmp_path, [*command, *more])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.strip().splitlines()[-1] == "run: runs/0"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["0"]
    assert (tmp_path / "runs" / "0" / "metrics.json").is_file()
    slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "sgdsm", "SLURM_NODEID": "0", "SLURM_NODELIST": "127.0.0.1"}
    slurm |= {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    fill = ["run=runs/0", "output=filled.nc", "inference.memory_gib=0.00125", "trainer.devices=2"]
    command = [sys.executable, str(ROOT / "predict.py"), *fill, "trainer.accelerator=cpu", "trainer.progress=false"]
    tasks = [run(tmp_path, command, **slurm, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in "01"]
    told = [task.communicate(timeout=300) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], told
    assert [out for out, _ in told] == ["filled: filled.nc\n", ""]
