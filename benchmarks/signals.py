"""Trainings (of one process, of two, of two members) and a filling that get SIGINT, SIGTERM and SIGHUP at ten moments
each, from import to the end.

    python benchmarks/signals.py FOLDER [MOMENTS [train|two|members|predict ...]]

For each: the exit code, the last line, whether a process of the group is left, and whether the words that it says go on
to the end. Prints a table; ends with 1 where one of them fails.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import xarray as xr

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PCONV = ["model=pconv3d", "model.channels=8", "model.layers=1", "model.window_days=32", "model.epochs=20"]
MEMBER = ("width=8", "blocks=1", "window_days=60", "window_cells=6", "epochs=20")
ENSEMBLE = ["model=ensemble", "model.members=2", *(f"model.filler.{word}" for word in MEMBER)]
TWO = "trainer.devices=2"
MODELS = {"train": PCONV, "two": [*PCONV, TWO], "members": [*ENSEMBLE, TWO]}
WORLD = ["data.rows=10", "data.columns=14", "data.days=150"]
QUIET = ["trainer.progress=false", "trainer.accelerator=cpu"]
FIRST_SECONDS = 0.3  # before it, Python itself is starting
END_SECONDS = 60


def start(folder: Path, script: str, *words: str) -> subprocess.Popen[str]:
    """A command in a group of its own, of which nothing may be left."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("HYDRA_FULL_ERROR", None)
    command, pipe = [sys.executable, str(ROOT / script), *words, *QUIET], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def finish(folder: Path, script: str, *words: str) -> float:
    """Run a command to its end; the seconds that it took."""
    begin = time.monotonic()
    process = start(folder, script, *words)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return time.monotonic() - begin


def left(process: subprocess.Popen[str]) -> bool:
    """Whether a process of the group still runs half a second after the first has ended; ends it."""
    time.sleep(0.5)
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state = (place / "stat").read_text().rpartition(") ")[2].split()
            # one that has ended, and nobody has asked how, does not run
            if int(state[2]) == process.pid and state[0] not in "ZX":
                found.append(int(place.name))
    for one in found:
        os.kill(one, signal.SIGKILL)
    return bool(found)


def stopped(process: subprocess.Popen[str], number: int, whole: bool) -> tuple[int, list[str]]:
    """Exit code and lines of a command that a signal is sent to, or to its whole group."""
    with suppress(ProcessLookupError):
        (os.killpg if whole else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=END_SECONDS)
    return process.returncode, err.splitlines()


def predict_held_out(code: int, lines: list[str], number: int, expected: str | None) -> str:
    """What is wrong, '' for nothing. expected: words of the last line; None: nothing had been begun."""
    if code == 0:
        return ""  # it was over before
    told = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM", signal.SIGHUP: "ended by SIGHUP"}[number]
    if code != 128 + number:
        return f"exit code {code}"
    line = told if expected is None else f"{told}: {expected}"
    others = [found for found in lines[:-1] if not found.startswith("note: ")]
    if others:
        return f"more than notes: {others[0]}"
    return "" if lines and lines[-1] == line else f"expected '{line}'"


def train_at(folder: Path, kind: str, number: int, seconds: float, count: int) -> tuple[str, str, bool]:
    name = f"{kind}_{count}"
    process = start(folder, "train.py", *MODELS[kind], *WORLD, f"hydra.run.dir={name}")
    time.sleep(seconds)
    code, lines = stopped(process, number, count % 2 == 0)
    begun = (folder / name / "config.yaml").is_file()
    wrong = predict_held_out(code, lines, number, f"go on with: python train.py run={name}" if begun else None)
    remains = left(process)
    if not begun and (folder / name).exists():
        wrong = wrong or "an empty folder is left"
    if begun:
        finish(folder, "train.py", f"run={name}")
        curves = [sorted((folder / run).rglob("training.csv")) for run in (name, kind)]
        lengths = [[path.read_text().count("\n") for path in found] for found in curves]
        wrong = wrong or ("" if lengths[0] == lengths[1] else "another course after going on")
    return f"{code} {lines[-1] if lines else ''}", wrong, remains


def predict_at(folder: Path, kind: str, number: int, seconds: float, count: int) -> tuple[str, str, bool]:
    name = f"filled_{count}.{'zarr' if count % 3 == 0 else 'nc'}"
    words = ["run=train", "inference.memory_gib=0.0005", f"output={name}"]
    process = start(folder, "predict.py", *words)
    time.sleep(seconds)
    code, lines = stopped(process, number, count % 2 == 0)
    begun = bool(lines) and "go on" in lines[-1]
    wrong = predict_held_out(code, lines, number, "the same words go on" if begun else None)
    if any(folder.glob(f"{name}*")) and not begun and code:
        wrong = wrong or "something was begun, and the line does not say how to go on"
    remains = left(process)
    finish(folder, "predict.py", *words)
    with xr.open_dataset(folder / "whole.nc") as whole, xr.open_dataset(folder / name) as again:
        for variable in whole:
            np.testing.assert_allclose(again[variable], whole[variable], atol=1e-6, err_msg=f"{name} {variable}")
    return f"{code} {lines[-1] if lines else ''}", wrong, remains


def main(folder: Path, moments: int, kinds: list[str]) -> int:
    folder.mkdir(parents=True)
    took = {
        name: finish(folder, "train.py", *words, *WORLD, f"hydra.run.dir={name}")
        for name, words in MODELS.items()
        if name in ("train", *kinds)
    }
    words = ["run=train", "inference.memory_gib=0.0005", "output=whole.nc"]
    took["predict"] = finish(folder, "predict.py", *words)
    print("undisturbed:", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()), flush=True)
    failed = 0
    for kind in kinds:
        for count, moment in enumerate(np.linspace(FIRST_SECONDS, took[kind], moments)):
            number = SIGNALS[count % len(SIGNALS)]
            at = predict_at if kind == "predict" else train_at
            told, wrong, remains = at(folder, kind, number, float(moment), count)
            failed += bool(wrong) or remains
            verdict = wrong or ("a process is left" if remains else "ok")
            print(f"{kind:8}{moment:6.1f} s  {number.name:8} {told:64} {verdict}", flush=True)
    print(f"{failed} of {len(kinds) * moments} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    given = sys.argv[2:]
    sys.exit(main(Path(sys.argv[1]), int(given[0]) if given else 10, given[1:] or [*MODELS, "predict"]))
