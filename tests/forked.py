"""Commands in processes of their own, without the seconds that each would take to import the package.

A process that has imported it forks whenever one is asked for: what it starts takes signals, and dies, like a command
that was typed. What happens while a command imports must be tested with a fresh one; so must the further processes of
a run that a cluster starts, as Lightning looks for their numbers when it is imported.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = ["torch._dynamo", "sgdsm.cli.main", "sgdsm.cli.commands.train", "sgdsm.cli.commands.predict"]


class Forked:
    """A command that was started, with what `subprocess.Popen` has of it."""

    def __init__(self, folder: Path, script: str, *words: str) -> None:
        """Start it in a folder, in a group of its own; `script` is a file of this checkout, or `-m` for the package."""
        self._said = TemporaryDirectory()
        context = get_context("forkserver")
        context.set_forkserver_preload(IMPORTED)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(ROOT))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.delenv("HYDRA_FULL_ERROR", raising=False)  # of a test of this process
            given = (folder, script, words, dict(os.environ), Path(self._said.name))
            self._process = context.Process(target=_run, args=given)
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float = 300) -> None:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a forked command", timeout)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        self.wait(timeout)
        out, err = (Path(self._said.name, name).read_text() for name in ("out", "err"))
        return out, err

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(folder: Path, script: str, words: tuple[str, ...], environment: dict[str, str], said: Path) -> None:
    os.setsid()
    for number, name in enumerate(("out", "err"), 1):
        os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    # also under nohup
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if script == "-m":
        sys.argv = ["sgdsm", *words]
        runpy.run_module("sgdsm", run_name="__main__", alter_sys=True)
    else:
        sys.argv = [str(ROOT / script), *words]
        runpy.run_path(sys.argv[0], run_name="__main__")
