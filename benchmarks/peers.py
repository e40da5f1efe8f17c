"""What users would pick instead, beside ours: time, memory and skill on one cube, at the same hidden values.

    python benchmarks/peers.py OUT [--models NAME,NAME] [--threads 1] [--figure FILE.png] [--rows 16 --days 365 ...]
    python benchmarks/peers.py OUT --cube FILE --target sm --dynamic rain,warmth --static clay   # a cube of your own

By default the cube is the built-in world. Part of its observed values is hidden as in real gaps (swaths of other days,
outages of 6 to 15 days); each method sees the rest, in a process of its own, one after the other. Times are of the
processor, all threads together, so other jobs on the machine hardly count; filling is from memory to memory. Memory is
the largest of the process, libraries and cube included. Intervals are left out: the others give none.

Others come with `pip install -e '.[peers]'`; one that is not installed is skipped by name. Each is used as in twenty
lines of a user's own: departures from the mean of the cell; for trees the nearest seen values in time, means around the
cell, weather of the day and before, season, maps, learned from values hidden by masks of other days; for SAITS the
series of the cell, the mean of its neighbours, weather and season. Ours are used with their defaults.

OUT gets a line for each method (methods.jsonl; what is there is not done again), peers.md and, with matplotlib,
peers.png: skill against time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import xarray as xr

EXTRA = "pip install -e '.[peers]'"
OURS = ("linear_time", "dctpls", "xgboost", "pconv3d", "seamless")
REFERENCE = "linear_time"
DRAWS = 3  # mask samples that trees of other packages learn from
SEASON = 92  # days that SAITS sees at once
AT_ONCE = 200_000  # rows of features in memory together, in filling


class Task(NamedTuple):
    """How a method is used: what learns (None: nothing does), and what returns the filled values, (T, H, W)."""

    learn: Callable[[], object] | None
    fill: Callable[[], np.ndarray]


@dataclass
class Field:
    """What a method may see."""

    path: Path
    cube: xr.Dataset
    threads: int

    def __post_init__(self) -> None:
        self.names = json.loads(self.cube.attrs["names"])
        self.sm = self.cube[self.names["target"]].values.astype(np.float32)
        self.land = self.cube["land"].values.astype(bool)
        self.gaps = np.isnan(self.sm) & self.land
        self.dynamic = np.stack([self.cube[n].values for n in self.names["dynamic"]]).astype(np.float32)
        self.static = np.stack([self.cube[n].values for n in self.names["static"]]).astype(np.float32)
        angle = 2 * np.pi * self.cube["time"].dt.dayofyear.values / 365.25
        self.season = np.stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
        self.mean = cell_means(self.sm)

    def settled(self, filled: np.ndarray) -> np.ndarray:
        """What a method left out becomes the mean of the cell."""
        return np.where(np.isfinite(filled), filled, self.mean)


def cell_means(sm: np.ndarray) -> np.ndarray:
    """Mean of each cell, (H, W); of all cells where a cell has no value."""
    count = np.isfinite(sm).sum(0)
    return np.where(count > 0, np.nansum(sm, 0) / np.maximum(count, 1), np.nanmean(sm)).astype(np.float32)


def interpolate_na(field: Field) -> Task:
    sm = field.cube[field.names["target"]]

    def fill() -> np.ndarray:
        line = sm.interpolate_na("time")
        # before the first and after the last value
        ends = sm.interpolate_na("time", method="nearest", fill_value="extrapolate")
        return field.settled(line.combine_first(ends).values)

    return Task(None, fill)


def pytesmo(field: Field) -> Task:
    from pytesmo.interpolate.dctpls import smoothn

    def fill() -> np.ndarray:
        return smoothn(field.sm - field.mean, isrobust=False)[0] + field.mean

    return Task(None, fill)


def around(departures: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Mean of what is seen in a box around each value; NaN where nothing is."""
    from scipy.ndimage import uniform_filter

    seen = np.isfinite(departures)
    share = uniform_filter(seen.astype(np.float32), size, mode="constant")
    mean = uniform_filter(np.nan_to_num(departures), size, mode="constant")
    return np.where(share > 1e-4, mean / np.maximum(share, 1e-4), np.nan)


def rows(field: Field, sm: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Features of trees at some places, (N, features), from what is seen in `sm`."""
    import pandas as pd

    departures, shape = sm - field.mean, sm.shape
    series = pd.DataFrame(departures.reshape(len(sm), -1))
    day = np.arange(len(sm))[:, None]
    seen_on = pd.DataFrame(np.where(series.notna(), day, np.nan))
    before, after = series.ffill(), series.bfill()
    since, until = day - seen_on.ffill(), seen_on.bfill() - day
    line = series.interpolate(limit_direction="both")
    found = [f.to_numpy(np.float32).reshape(shape)[where] for f in (before, after, since, until, line)]
    found += [around(departures, size)[where] for size in ((1, 3, 3), (1, 9, 9), (3, 3, 3), (3, 9, 9))]
    for values in field.dynamic:
        flat = pd.DataFrame(values.reshape(len(sm), -1))
        past = [flat, *(flat.rolling(days, min_periods=1).mean() for days in (3, 10, 30))]
        found += [f.to_numpy(np.float32).reshape(shape)[where] for f in past]
    t, y, x = np.nonzero(where)
    found += [s[t] for s in field.season] + [f[y, x] for f in (field.mean, *field.static)] + [y, x]
    return np.stack(found, 1).astype(np.float32)


def trees(field: Field, model: Any) -> Task:
    def learn() -> None:
        rng, seen = np.random.default_rng(0), np.isfinite(field.sm)
        samples = []
        for _ in range(DRAWS):
            # hidden as a gap would: the mask of another day
            hidden = seen & ~seen[rng.permutation(len(seen))] & (rng.random((len(seen), 1, 1)) < 0.5)
            samples.append((rows(field, np.where(hidden, np.nan, field.sm), hidden), (field.sm - field.mean)[hidden]))
        model.fit(*(np.concatenate(part) for part in zip(*samples, strict=True)))

    def fill() -> np.ndarray:
        x, filled = rows(field, field.sm, field.gaps), field.sm.copy()
        values = [model.predict(x[k : k + AT_ONCE]) for k in range(0, len(x), AT_ONCE)]
        filled[field.gaps] = np.concatenate(values) + np.broadcast_to(field.mean, field.sm.shape)[field.gaps]
        return filled

    return Task(learn, fill)


def random_forest(field: Field) -> Task:
    from sklearn.ensemble import RandomForestRegressor

    settings = {"min_samples_leaf": 5, "max_features": 1 / 3, "max_samples": 0.5}
    return trees(field, RandomForestRegressor(100, n_jobs=field.threads, random_state=0, **settings))


def lightgbm(field: Field) -> Task:
    from lightgbm import LGBMRegressor

    settings = {"num_leaves": 63, "subsample": 0.7, "subsample_freq": 1, "colsample_bytree": 0.5, "verbose": -1}
    return trees(field, LGBMRegressor(n_estimators=600, learning_rate=0.05, n_jobs=field.threads, **settings))


def saits(field: Field) -> Task:
    import torch
    from pypots.imputation import SAITS

    torch.set_num_threads(field.threads)
    departures = field.sm - field.mean
    scale = np.nanstd(departures)
    shape = departures.shape
    channels = [departures / scale, around(departures, (1, 3, 3)) / scale]
    channels += [(d - np.nanmean(d)) / np.nanstd(d) for d in field.dynamic]
    channels += [np.broadcast_to(s[:, None, None], shape) for s in field.season]
    series = np.stack(channels, -1)[:, field.land].swapaxes(0, 1).astype(np.float32)  # cells, days, channels
    # attention over a year would cost ten times as much
    length = min(SEASON, len(departures))
    starts = np.linspace(0, len(departures) - length, -(-len(departures) // length)).astype(int)
    pieces = np.concatenate([series[:, s : s + length] for s in starts])
    model = SAITS(
        n_steps=length, n_features=series.shape[2], n_layers=2, d_model=64, n_heads=4, d_k=16, d_v=16,
        d_ffn=128, dropout=0.1, batch_size=32, epochs=30, device="cpu", verbose=False,
    )  # fmt: skip

    def fill() -> np.ndarray:
        filled = np.full(shape, np.nan, np.float32)
        found = np.split(model.impute({"X": pieces})[..., 0], len(starts))
        for start, piece in zip(starts, found, strict=True):
            filled[start : start + length, field.land] = piece.T * scale
        return field.settled(filled + field.mean)

    return Task(lambda: model.fit({"X": pieces}), fill)


def ours(model: str) -> Callable[[Field], Task]:
    def make(field: Field) -> Task:
        from sgdsm.core.settings import made
        from sgdsm.inference.fill import fill_cube
        from sgdsm.inference.writers import MemoryOutput
        from sgdsm.training.compose import compose_settings
        from sgdsm.training.config import TrainingConfig
        from sgdsm.training.fit import fit
        from sgdsm.training.task import TrainingTask

        names = field.names
        words = [
            f"model={model}", "data=netcdf", f"data.path={field.path}", f"data.target={names['target']}",
            "data.land=land", *(f"data.{kind}=[{','.join(names[kind])}]" for kind in ("dynamic", "static")),
            "trainer.progress=false", "trainer.accelerator=cpu", *(names["words"]),
        ]  # fmt: skip
        if model == "xgboost":
            words.append(f"model.threads={field.threads}")
        values = compose_settings("train", TrainingConfig, words)
        task = TrainingTask.from_config(made(TrainingConfig, values).training())
        folder = tempfile.TemporaryDirectory()

        def fill() -> np.ndarray:
            output = MemoryOutput()
            fill_cube(task.cube, task.filler, output, trainer=task.options.predicting())
            return output.dataset["sm_filled"].values

        def learn() -> None:
            fit(task, Path(folder.name))

        return Task(learn if task.filler.epochs or task.filler.chooses else None, fill)

    return make


class Peer(NamedTuple):
    """A method, the modules it needs, and how to get them."""

    make: Callable[[Field], Task]
    label: str
    modules: tuple[str, ...] = ()
    cure: str = EXTRA


METHODS = {
    "interpolate_na": Peer(interpolate_na, "xarray interpolate_na"),
    "pytesmo": Peer(pytesmo, "pytesmo DCT-PLS", ("pytesmo",)),
    "random_forest": Peer(random_forest, "scikit-learn forest", ("sklearn",)),
    "lightgbm": Peer(lightgbm, "LightGBM", ("lightgbm",)),
    "saits": Peer(saits, "PyPOTS SAITS", ("pypots",)),
    **{name: Peer(ours(name), f"sgdsm {name}") for name in OURS},
}

LEFT_OUT = {
    "climatereconstructionai": "it is in no package index, needs torchvision and learns from complete fields only: "
    "follow the README of its repository"
}


def peak_mib() -> float:
    """Largest memory of this process, MiB."""
    with contextlib.suppress(OSError):
        # unlike ru_maxrss it does not begin with that of the process that started this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def timed(task: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    found = task()
    return found, time.process_time() - begin


def one(name: str, out: Path, threads: int) -> None:
    """Run a method in this process; the filled values go to a file, time and memory to stdout."""
    path = out / "seen.nc"
    field = Field(path, xr.open_dataset(path).load(), threads)
    task = METHODS[name].make(field)
    fit_s = timed(task.learn)[1] if task.learn else 0.0
    filled, fill_s = timed(task.fill)
    if fill_s < 3:
        # the first fill of a process makes kernels and caches
        fill_s = median(timed(task.fill)[1] for _ in range(3))
    np.save(out / f"{name}.npy", filled)
    print(json.dumps({"fit_s": fit_s, "fill_s": fill_s, "memory_mib": peak_mib()}))


def hide(given: argparse.Namespace, out: Path) -> None:
    """Write what all methods see, and what is hidden from them."""
    from sgdsm.core.cube import by_role, open_cube
    from sgdsm.data.gaps import Gaps
    from sgdsm.sources.simulation.world import simulate

    if given.cube is None:
        cube = simulate(given.rows, given.columns, given.days, seed=given.seed)
        words = ["data.precipitation=precipitation"]
    else:
        roles = {key: given.__dict__[key].split(",") if given.__dict__[key] else [] for key in ("dynamic", "static")}
        cube = open_cube(given.cube, given.target, **roles, precipitation=given.precipitation)
        words = [f"data.precipitation={given.precipitation}"] if given.precipitation else []
    target = by_role(cube, "target")[0]
    names = {"target": target, "dynamic": by_role(cube, "dynamic"), "static": by_role(cube, "static"), "words": words}
    observed = np.isfinite(cube[target].values) & cube["land"].values
    hidden = Gaps().draw(observed, np.ones_like(observed), np.random.default_rng([given.seed, 2027]))
    truth = cube[target].values
    seen = cube.assign({target: cube[target].where(~np.logical_or.reduce(list(hidden.values())))})
    seen = seen[[target, *names["dynamic"], *names["static"], "land"]].assign_attrs(names=json.dumps(names))
    for name in seen.variables:
        seen[name].encoding = {}
    seen.to_netcdf(out / "seen.nc")
    np.savez_compressed(out / "hidden.npz", truth=truth, **hidden)


def run(name: str, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """A line of results of one method."""
    variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(variables, str(given.threads))}
    words = [sys.executable, "-W", "ignore", __file__, str(out), "--one", name, "--threads", str(given.threads)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"method": name, "failed": last}
    found = json.loads(done.stdout.strip().splitlines()[-1])
    kept = np.load(out / "hidden.npz")
    filled, truth = np.load(out / f"{name}.npy").astype(np.float64), kept["truth"]
    kinds = {kind: kept[kind] for kind in kept.files if kind != "truth"}
    kinds = {"all": np.logical_or.reduce(list(kinds.values())), **kinds}
    rmse = {kind: float(np.sqrt(np.mean((filled - truth)[mask] ** 2))) for kind, mask in kinds.items() if mask.any()}
    (out / f"{name}.npy").unlink()
    return {"method": name, **found, "rmse": rmse, "hidden": int(kinds["all"].sum())}


def table(lines: list[dict[str, Any]], gaps: int) -> str:
    """Markdown, best first."""
    reference = next((line["rmse"] for line in lines if line["method"] == REFERENCE), None)
    head = ["method", "RMSE", f"share of `{REFERENCE}`", "swath", "outage", "fit", "fill", "values filled a second"]
    text = [head + ["memory"], ["---"] * (len(head) + 1)]
    for line in sorted(lines, key=lambda line: line["rmse"]["all"]):
        shares = [
            f"{line['rmse'][kind] / reference[kind]:.3f}" if reference and kind in line["rmse"] else ""
            for kind in ("all", "swath", "outage")
        ]
        fit_s, rate = line["fit_s"], gaps / line["fill_s"]
        text.append([
            METHODS[line["method"]].label, f"{line['rmse']['all']:.4f}", *shares,
            f"{fit_s:.3g} s" if fit_s else "-", f"{line['fill_s']:.3g} s",
            f"{rate / 1e6:.3g} million", f"{line['memory_mib']:.0f} MiB",
        ])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in text)


def figure(lines: list[dict[str, Any]], path: Path, threads: int) -> None:
    """Skill against time; the line joins the methods that none beats in both."""
    from matplotlib.figure import Figure

    whole = Figure(figsize=(7, 4.5), layout="constrained")
    axes = whole.add_subplot()
    reference = next(line["rmse"]["all"] for line in lines if line["method"] == REFERENCE)
    points = sorted((line["fit_s"] + line["fill_s"], line["rmse"]["all"] / reference, line["method"]) for line in lines)
    best, front = np.inf, []
    for seconds, share, _ in points:
        if share < best:
            best = share
            front.append((seconds, share))
    axes.step(*zip(*front, strict=True), where="post", color="0.7", lw=1, zorder=0)
    for seconds, share, name in points:
        own = name in OURS
        axes.plot(seconds, share, "o", color="C0" if own else "C1")
        # labels of ours below, of others above: the nearest neighbour of a method is often its counterpart
        axes.annotate(METHODS[name].label, (seconds, share), (3, -12 if own else 5), textcoords="offset points", size=8)
    axes.set(
        xscale="log", xlabel=f"fit and fill, seconds of processor ({threads} thread{'s' * (threads > 1)})",
        ylabel=f"RMSE / RMSE of {REFERENCE}",
    )  # fmt: skip
    axes.margins(x=0.25, y=0.1)
    axes.grid(alpha=0.3)
    whole.savefig(path, dpi=110)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default=",".join([*METHODS, *LEFT_OUT]), help="names, with commas")
    parser.add_argument("--figure", type=Path, help="by default OUT/peers.png")
    parser.add_argument("--one", choices=METHODS, help=argparse.SUPPRESS)
    for name, value in {"threads": 1, "rows": 16, "columns": 20, "days": 365, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    for name in ("cube", "target", "dynamic", "static", "precipitation"):
        parser.add_argument(f"--{name}")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    out = given.out.resolve()
    if given.one:
        one(given.one, out, given.threads)
        return
    out.mkdir(parents=True, exist_ok=True)
    chosen = given.models.split(",")
    if unknown := sorted({*chosen} - {*METHODS, *LEFT_OUT}):
        raise SystemExit(f"--models {unknown[0]}: expected some of {','.join([*METHODS, *LEFT_OUT])}")
    if not (out / "seen.nc").exists():
        hide(given, out)
    store = out / "methods.jsonl"
    lines = [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []
    failed = []
    for name in chosen:
        if name in LEFT_OUT:
            print(f"{name}: skipped, {LEFT_OUT[name]}", flush=True)
            continue
        peer = METHODS[name]
        if missing := [module for module in peer.modules if find_spec(module) is None]:
            print(f"{name}: skipped, {missing[0]} is not installed: {peer.cure}", flush=True)
            continue
        if any(line["method"] == name for line in lines):
            continue
        line = run(name, given, out)
        if "failed" in line:
            failed.append(name)
            print(f"{name}: {line['failed']}", flush=True)
            continue
        lines.append(line)
        with store.open("a") as file:
            file.write(json.dumps(line) + "\n")
        times = f"fit {line['fit_s']:.3g} s, fill {line['fill_s']:.3g} s"
        print(f"{name}: RMSE {line['rmse']['all']:.4f}, {times}, {line['memory_mib']:.0f} MiB", flush=True)
    if not lines:
        raise SystemExit("no method ran")
    sm = xr.open_dataset(out / "seen.nc")
    target = sm[json.loads(sm.attrs["names"])["target"]]
    gaps = int((target.isnull() & sm["land"].astype(bool)).sum())
    size = " x ".join(map(str, target.shape))
    machine = f"{size}, {gaps} values filled, {lines[0]['hidden']} of them hidden, {given.threads} thread(s), "
    machine += f"{platform.machine()}, {time.strftime('%Y-%m-%d')}"
    text = f"{machine}\n\n{table(lines, gaps)}\n"
    (out / "peers.md").write_text(text)
    print("\n" + text)
    if find_spec("matplotlib") and any(line["method"] == REFERENCE for line in lines):
        figure(lines, given.figure or out / "peers.png", given.threads)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
