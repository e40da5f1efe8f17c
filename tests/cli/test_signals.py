"""Ctrl-C, SIGTERM and SIGHUP: one line that says how to go on, no process left, and the words do go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import xarray as xr

from sgdsm.core import signals as stopping
from sgdsm.core.signals import going_on, listening
from tests.conftest import SMALL_WORLD, TINY_PCONV, in_process
from tests.forked import Forked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUIET = ["trainer.progress=false", "trainer.accelerator=cpu"]
TRAIN = ["train.py", *TINY_PCONV, "model.epochs=15", "uncertainty=none", *SMALL_WORLD, *QUIET]
TOLD = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}


def start(folder: Path, script: str, *words: str) -> subprocess.Popen[str]:
    """A command in a group of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("HYDRA_FULL_ERROR", None)
    command = [sys.executable, *(["-m", "sgdsm"] if script == "-m" else [str(ROOT / script)]), *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def finish(folder: Path, script: str, *words: str) -> str:
    """Run a command to its end, in this process."""
    return in_process(folder, script.removesuffix(".py"), *words)


def stop(
    process: subprocess.Popen[str] | Forked, when: Callable[[], object], number: int, whole: bool = False
) -> list[str]:
    """The notes and the last line of a command that gets a signal (its whole group: as from a terminal) at a moment."""
    end = time.monotonic() + 240
    while not when() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    (os.killpg if whole else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    end = time.monotonic() + 10
    while group_of(process.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not group_of(process.pid)
    lines = err.splitlines()
    assert not [line for line in lines[:-1] if not line.startswith("note: ")], err
    return lines


def group_of(group: int) -> list[str]:
    """What runs in a group; what has ended, and nobody has asked how, does not."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            name, _, state = (place / "stat").read_text().rpartition(") ")
            if state.split()[0] not in "ZX" and int(state.split()[2]) == group:
                found.append(name)
    return found


@pytest.fixture(scope="module", autouse=True)
def no_signal_is_ignored() -> Iterator[None]:
    """Also under nohup, or in the background of a shell, which have some ignored: our commands leave that as it is."""
    before = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in before.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, world) -> Path:
    """Holds `one`, a run that was stopped in its training, and as it was scored, and has gone on."""
    made: Path = tmp_path_factory.mktemp("signals")
    process = Forked(made, *TRAIN, "hydra.run.dir=one")
    lines = stop(process, (made / "one/last.ckpt").exists, signal.SIGTERM)
    assert lines[-1] == "ended by SIGTERM: go on with: sgdsm train run=one"
    process = Forked(made, "train.py", "run=one", *QUIET)
    lines = stop(process, (made / "one/evaluation").exists, signal.SIGINT, whole=True)
    assert lines[-1] == "interrupted: go on with: sgdsm train run=one"
    finish(made, "train.py", "run=one")
    assert (made / "one/training.csv").read_text().count("\n") == 16
    return made


@pytest.mark.parametrize("number", TOLD)
@pytest.mark.parametrize("script", ["train.py", "-m"])
def test_while_it_imports(script, number, tmp_path):
    """From the package's first line on: Python itself takes a moment until there."""
    words = TRAIN[1:] if script == "train.py" else ["predict", "run=nothing", "output=a.nc"]
    process = start(tmp_path, script, *words)
    lines = stop(process, lambda: "numpy" in libraries(process), number)
    assert lines == [TOLD[number]]
    assert not list(tmp_path.iterdir())


def libraries(process: subprocess.Popen[str]) -> str:
    """What a process has loaded."""
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/maps").read_text()
    return ""


def test_train_and_predict_go_on(folder):
    words = ["run=one", "inference.memory_gib=0.0005", "output=a.nc", *QUIET]
    process = Forked(folder, "tests/training/slow_predict.py", *words)
    lines = stop(process, lambda: any(folder.glob("a.nc.parts/slab-*.chunks")), signal.SIGTERM)
    assert lines[-1] == "ended by SIGTERM: the same words go on"
    finish(folder, "predict.py", *words)
    with xr.open_dataset(folder / "a.nc") as filled:
        assert filled["sm_filled"].notnull().any()


def test_members_end_too(tmp_path, world):
    world.to_netcdf(tmp_path / "world.h5")
    words = [
        "model=ensemble", "model.members=2", "uncertainty=none", "trainer.devices=2", *QUIET,
        "data=netcdf", "data.path=world.h5", "data.target=sm", "data.dynamic=[precipitation]", "data.land=land",
        *(f"model.filler.{w}" for w in ("width=8", "blocks=1", "window_days=60", "window_cells=6", "epochs=400")),
        "hydra.run.dir=mine",
    ]  # fmt: skip
    process = Forked(tmp_path, "train.py", *words)
    lines = stop(process, lambda: any(tmp_path.glob("mine/members/*/last.ckpt")), signal.SIGHUP, whole=True)
    assert lines[-1] == "ended by SIGHUP: go on with: sgdsm train run=mine"


def test_the_package_leaves_signals_alone():
    code = (
        "import signal, sgdsm; from sgdsm.core.signals import SIGNALS; import sgdsm.cli.console\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGHUP) == signal.SIG_DFL"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("number", TOLD)
def test_what_a_library_makes_of_a_stop_is_a_stop(number, capsys):
    """Code that turns every error into one of its own must not hide it; handlers are put back."""
    before = [signal.getsignal(one) for one in TOLD]

    def hides_it() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(10)
        except KeyboardInterrupt as stopped:
            raise ImportError("cannot be imported") from stopped

    with pytest.raises(SystemExit) as ended, listening(), going_on(lambda: "like this"):
        hides_it()
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err == f"{TOLD[number]}: like this\n"
    assert [signal.getsignal(one) for one in TOLD] == before
    with pytest.raises(ValueError, match="another"), going_on(lambda: "like this"):
        raise ValueError("another")


LOST = """
import os, signal, subprocess, sys, time
from sgdsm.core import signals as stopping
stopping.TIDY_SECONDS = 0.5
class Swallows:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)
with stopping.listening(), stopping.going_on(lambda: "like this"):
    child = subprocess.Popen(["sleep", "1000"])
    print(child.pid, flush=True)
    sys.unraisablehook = lambda lost: None
    del [Swallows()][0]
    while True:
        time.sleep(0.01)
"""


def test_a_stop_that_is_lost_ends_all_the_same(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", LOST]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 143, done.stderr
    assert done.stderr == "ended by SIGTERM: like this\n"
    with suppress(OSError):
        assert ") Z " in Path(f"/proc/{int(done.stdout)}/stat").read_text()


def test_who_is_a_command(monkeypatch, tmp_path):
    assert not stopping._is_command()
    main = sys.modules["__main__"]
    for script, expected in {ROOT / "train.py": True, tmp_path / "train.py": False, tmp_path / "sgdsm": True}.items():
        monkeypatch.setattr(main, "__file__", str(script), raising=False)
        assert stopping._is_command() is expected, script
    monkeypatch.setattr(sys, "argv", ["-m"])
    for words, expected in (
        (["-m", "sgdsm", "train"], True),
        (["-W", "error", "-m", "sgdsm"], True),
        (["-m", "a"], False),
    ):
        monkeypatch.setattr(sys, "orig_argv", ["python", *words])
        assert stopping._is_command() is expected, words
