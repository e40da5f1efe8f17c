"""What a newcomer adds, as CONTRIBUTING.md says: a network outside the package, a command and a product of one file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sgdsm.core import specification
from tests.conftest import ROOT, SMALL_WORLD

pytestmark = pytest.mark.slow

QUIET = ["trainer.progress=false", "trainer.accelerator=cpu"]


# the package is imported once for all
TYPED = """
import contextlib, io, json, os, sys
from sgdsm.cli.console import main

said = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["sgdsm", *words]
    os.environ.pop("HYDRA_FULL_ERROR", None)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        with contextlib.suppress(SystemExit):
            main()
    said.append((out.getvalue(), err.getvalue()))
print(json.dumps(said))
"""


def typed(folder: Path, *lines: str) -> list[tuple[str, str]]:
    """What `sgdsm ...` says on stdout and stderr, for each line of words, with the package that lies in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-c", TYPED, json.dumps([line.split() for line in lines])]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(out, err) for out, err in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def copied(tmp_path_factory) -> Path:
    """A copy of the package, to add files to."""
    folder: Path = tmp_path_factory.mktemp("checkout")
    for name in ("sgdsm", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_a_network_of_ones_own_is_one_file_and_one_yaml(run_command, tmp_path, monkeypatch):
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    (tmp_path / "mypkg.py").write_text(next(text for kind, text in blocks if kind == "python"))
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "smooth.yaml").write_text(next(text for kind, text in blocks if kind == "yaml"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mypkg", raising=False)
    train = ["--config-dir", "mine", "model=smooth", "model.epochs=1", *SMALL_WORLD, *QUIET]
    predict = ["run=run", "output=filled.nc", *QUIET]

    def refused(command: str, *words: str) -> None:
        monkeypatch.setattr(specification, "_TRUSTED", set())
        code, _, err = run_command(command, *words)
        assert code == 1
        assert "'mypkg.Smooth': expected a public name of sgdsm" in err
        assert "trust=PACKAGE" in err

    refused("train", *train)
    code, _, err = run_command("train", *train, "trust=mypkg", "hydra.run.dir=run")
    assert code == 0, err
    refused("predict", *predict)
    code, _, err = run_command("predict", *predict, "trust=mypkg")
    assert code == 0, err
    assert (tmp_path / "filled.nc").is_file()
    monkeypatch.setattr(specification, "_TRUSTED", set())


def test_a_command_is_one_file(copied):
    (copied / "sgdsm" / "cli" / "commands" / "greet.py").write_text(
        '''"""Greet somebody."""

from dataclasses import dataclass

from sgdsm.core.settings import setting

USAGE = "name=NAME"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Whom to greet."""

    name: str = setting(help="of a person")
    times: int = setting(1, "how often")


def run(settings: Settings) -> None:
    """Print it."""
    print("\\n".join([f"hello {settings.name}"] * settings.times))
'''
    )
    told = typed(copied, "", "greet name=you times=2", "greet --help", "greet name=you times=x", "greet")
    (told_all, _), (greeted, _), (helped, _), (_, wrong), (_, none) = told
    assert "greet          Greet somebody." in told_all
    assert greeted == "hello you\nhello you\n"
    assert re.search(r"times=1 +how often \(int\)", helped)
    assert "times='x': expected int" in wrong
    assert "name is not given: pass name=..." in none


def test_a_product_reader_is_one_file(copied, plain):
    (copied / "sgdsm" / "sources" / "products" / "mymaps.py").write_text(
        '''"""Daily maps of mine."""

from sgdsm.sources.products import netcdf_grid

PATTERNS = ("*.nc",)


def files(paths, variables=("sm",)):
    """Files of mine."""
    return netcdf_grid.files(paths, variables={name: name for name in variables})
'''
    )
    plain(days=20)[["sm"]].to_netcdf(copied / "maps.nc")
    code = "import sgdsm; print(dict(sgdsm.open_product('mymaps', 'maps.nc').sizes))"
    environment = {**os.environ, "PYTHONPATH": str(copied)}
    words = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(words, cwd=copied, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "'time': 20" in done.stdout
