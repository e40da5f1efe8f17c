"""Time of fitting and filling on the CPU: this tree against another checkout, by turns in one run.

    git worktree add ../before c445a9f
    OMP_NUM_THREADS=1 python benchmarks/cpu.py ../before [--models seamless,xgboost] [--epochs 6] [--rounds 5] [--wall]

Each tree has a process for each model. They fit one after the other to the built-in world, by `train.py` with the same
words, then fill the same cube by turns. Seconds are of processor time, all threads together, which other jobs disturb
less than the clock (`--wall` for that; with several threads it is what a user waits for). `linear_time` is also
compared with `xarray.interpolate_na`. Prints seconds (before, after), their ratio (of fills the median of the rounds)
and the validation RMSE of both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[1]
# words for train.py; few rows, so that fitting trees does not take most of the run
MODELS = {
    "seamless": ["model=seamless"],
    "pconv3d": ["model=pconv3d"],
    "xgboost": ["model=xgboost", "model.max_rows=30000"],
    "linear_time": ["model=linear_time"],
}
NETWORKS = ("seamless", "pconv3d")

WORKER = """
import json, os, runpy, sys, time, warnings
from pathlib import Path

warnings.filterwarnings("ignore")
given = json.loads(sys.argv[1])
sys.path.insert(0, given["tree"])
clock = time.perf_counter if given["wall"] else time.process_time
time.perf_counter = clock  # so fit_seconds of a run are of this clock too
try:
    from sgdsm.sources.simulation.world import simulate
except ImportError:  # until October 2026
    from sgdsm.sources.simulate import simulate
import sgdsm

assert Path(sgdsm.__file__).parents[1] == Path(given["tree"]).resolve(), sgdsm.__file__
answers, sys.stdout = sys.stdout, sys.stderr
cube = None
for line in sys.stdin:
    if line.strip() == "fit":
        sys.argv = ["train.py", *given["words"]]
        try:
            runpy.run_path(given["tree"] + "/train.py", run_name="__main__")
        except SystemExit as end:
            if end.code:
                raise
        metrics = json.loads(Path(given["run"], "metrics.json").read_text())
        answer = {"fit": metrics["fit_seconds"], "rmse": metrics["validation_rmse"]}
    else:
        cube = simulate(**given["size"]) if cube is None else cube
        begin = clock()
        sgdsm.fill(cube, given["run"])
        answer = {"fill": clock() - begin}
        begin = clock()
        cube["sm"].interpolate_na("time")
        answer["interpolate_na"] = clock() - begin
    print(json.dumps(answer), file=answers, flush=True)
"""


class Tree:
    """A process of a checkout, for one model."""

    def __init__(self, tree: Path, run: Path, words: list[str], size: dict[str, int], wall: bool) -> None:
        given = {"tree": str(tree), "run": str(run), "words": words, "size": size, "wall": wall}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", WORKER, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if os.environ.get("QUIET", "1") == "1" else None,
            cwd=run.parent,
            env={**os.environ, "PYTHONPATH": str(tree)},
            text=True,
        )

    def ask(self, what: str) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{what} failed:\n{self.process.communicate()[1]}")
        found: dict[str, float] = json.loads(line)
        return found


def compare(name: str, trees: list[Path], given: Any) -> None:
    size = {"rows": given.size, "columns": given.size, "days": given.days}
    words = [*MODELS[name], "data=simulate", *(f"data.{key}={value}" for key, value in size.items())]
    words += ["uncertainty=none", "trainer.progress=false", "trainer.accelerator=cpu"]
    words += [f"trainer.max_epochs={given.epochs}"] if name in NETWORKS else []
    with tempfile.TemporaryDirectory() as folder:
        runs = [Path(folder) / side / "run" for side in ("before", "after")]
        for run in runs:
            run.parent.mkdir()
        started = [
            Tree(tree, run, [*words, f"hydra.run.dir={run}"], size, given.wall)
            for tree, run in zip(trees, runs, strict=True)
        ]
        before, after = (tree.ask("fit") for tree in started)
        if name in NETWORKS or name == "xgboost":
            print(f"{name} fit: {before['fit']:.1f}, {after['fit']:.1f} s, {after['fit'] / before['fit']:.2f}")
        print(f"{name} validation RMSE: {before['rmse']:.6f}, {after['rmse']:.6f}", flush=True)
        # the first fill compiles
        rounds = [[tree.ask("fill") for tree in started] for _ in range(given.rounds + 1)][1:]
        seconds = [median(pair[k]["fill"] for pair in rounds) for k in range(2)]
        ratio = median(b["fill"] / a["fill"] for a, b in rounds)
        print(f"{name} fill: {seconds[0]:.3f}, {seconds[1]:.3f} s, {ratio:.2f}", flush=True)
        if name == "linear_time":
            ratio = median(b["fill"] / b["interpolate_na"] for _, b in rounds)
            print(f"{name} fill over interpolate_na: {ratio:.2f}", flush=True)
        for tree in started:
            tree.process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path, help="another checkout")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--size", type=int, default=24, help="rows and columns of the world")
    parser.add_argument("--days", type=int, default=366)
    parser.add_argument("--epochs", type=int, default=6, help="of the networks")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--wall", action="store_true")
    given = parser.parse_args()
    print("seconds before, after, after / before", flush=True)
    for name in given.models.split(","):
        compare(name, [given.before.resolve(), HERE], given)


if __name__ == "__main__":
    main()
