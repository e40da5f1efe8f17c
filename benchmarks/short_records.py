"""Whether intervals cover where a record is short: worlds and real data cut to a few months.

    python benchmarks/short_records.py OUTPUT.jsonl [--records world:45,conus:46] [--seeds 10] [--models "xgboost;..."]

A record is a kind and its days. world: the built-in one, a seed each. conus: a random stretch of the real data
(SGDSM_SHARED_DATA). near: a built-in world of 9 km cells, so small that a day is seen as a whole or not at all, and
without covariates. A quarter of the values is hidden, by masks of other days and outages, by draws of their own; the
model learns from the rest as a product would (splits=all), fills it, and is scored on what was hidden.

The same fitted model gets its intervals twice: `before` as if every calibration draw had days enough. What was scored
stays in OUTPUT.jsonl. Prints means over the seeds, and the worst of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.logging import log
from sgdsm.data.gaps import Gaps
from sgdsm.evaluation.score import score
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.uncertainty import conformal
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.calibrate import add_uncertainty
from sgdsm.training.compose import compose_settings
from sgdsm.training.config import TrainingConfig
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask

HIDDEN = 0.25
STRETCH, HIDE, NOISE = 7, 77, 3  # first words of the seeds
WEATHER = {
    "world": "precipitation,air_temperature,shortwave_down,surface_temperature",
    "conus": "precipitation,air_temperature,shortwave_down,longwave_down,specific_humidity,wind_u,wind_v",
}
MAPS = {
    "world": "elevation,sand,clay,ndvi_mean",
    "conus": "bulk_density,sand,silt,clay,water_capacity,ndvi_mean,water_fraction,roughness,landcover,dense_vegetation",
}
CLASSES = {"all": "all", "gap_1_day": "1 day", "gap_4_to_7_days": "4-7 days"}
Line = dict[str, Any]


def record(kind: str, days: int, seed: int) -> xr.Dataset:
    """A short cube, all that was observed in it."""
    if kind == "conus":
        whole = xr.open_dataset(Path(os.environ["SGDSM_SHARED_DATA"]) / "smap_conus.nc").load()
        last = whole.sizes["time"] - days
        start = int(np.random.default_rng([STRETCH, seed, days]).integers(0, last + 1))
        return whole.isel(time=slice(start, start + days))
    return near(days, seed) if kind == "near" else simulate(days=days, seed=seed)


def near(days: int, seed: int) -> xr.Dataset:
    """A small area: of eight days the satellite sees it as a whole on three, and a part of it on two."""
    cube = simulate(days=days, seed=seed, resolution=0.09, start="2016-06-01")
    rng = np.random.default_rng([NOISE, seed])
    sm = cube["sm_true"].values + cube["sm_noise"].values * rng.standard_normal(cube["sm"].shape)
    edges = {0: (-1, 9), 2: (-1, 0.5), 3: (-1, 9), 5: (-1, 9), 7: (0.6, 9)}  # of the swath, from west to east
    rows, columns = sm.shape[1:]
    across = np.arange(columns) / columns + 0.15 * np.arange(rows)[:, None] / rows
    begin = int(rng.integers(0, 8))
    for day in range(days):
        low, high = edges.get((day + begin) % 8, (9, 9))
        seen = (across > low) & (across < high) & (rng.random(across.shape) > 0.02)
        sm[day][~seen | (cube["land"].values == 0)] = np.nan
    return cube.assign(sm=cube["sm"].copy(data=sm.astype(np.float32)))


def words(kind: str, path: Path, model: str) -> list[str]:
    """Overrides of train.py."""
    data = ["data=netcdf", f"data.path={path}", "data.target=sm", "data.land=land", "trainer.progress=false"]
    if kind != "near":
        data += [f"data.dynamic=[{WEATHER[kind]}]", f"data.static=[{MAPS[kind]}]", "data.precipitation=precipitation"]
    return [*data, *f"model={model}".split()]


def run(kind: str, days: int, seed: int, model: str) -> list[Line]:
    """One model on one record: a line before, a line after."""
    cube = record(kind, days, seed)
    observed = np.isfinite(cube["sm"].values) & (cube["land"].values > 0)
    hidden = Gaps().draw(observed, observed, np.random.default_rng([HIDE, seed]), fraction=HIDDEN)
    question = xr.Dataset({name: (cube["sm"].dims, mask) for name, mask in hidden.items()}, cube["sm"].coords)
    question = question.assign(truth=cube["sm"]).assign_attrs(target="sm")
    seen = cube["sm"].where(~(question["swath"] | question["outage"])).assign_attrs(cube["sm"].attrs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seen.nc"
        cube.drop_vars(["sm_true", "sm_noise", "sm_reason"], errors="ignore").assign(sm=seen).to_netcdf(path)
        config = compose_settings("train", TrainingConfig, words(kind, path, model))
        task = TrainingTask.from_config(config)
        fit(task, Path(folder))
        lines = []
        for when, enough in {"before": 0.0, "after": conformal.ENOUGH_DAYS}.items():
            kept, conformal.ENOUGH_DAYS = conformal.ENOUGH_DAYS, enough
            filler, output = add_uncertainty(task, config["uncertainty"]), MemoryOutput()
            conformal.ENOUGH_DAYS = kept
            fill_cube(task.cube, filler, output, trainer=task.options.predicting())
            table = score(output.dataset, question, task.cube).table()
            line = {"record": f"{kind}:{days}", "model": model, "seed": seed, "when": when}
            line |= {"width": table["all"]["width"], "rmse": table["all"]["rmse"], "slope": table["all"]["slope"]}
            lines.append(line | {name: table[name]["coverage"] for name in CLASSES if table[name]["n"] >= 50})
    return lines


def table(lines: list[Line]) -> list[str]:
    """In Markdown: means over the seeds, and the lowest coverage."""
    found: dict[tuple[str, str], dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        found[line["record"], line["model"]][line["when"]].append(line)
    names = [f"{name}, {when}" for name in CLASSES.values() for when in ("before", "after")]
    rows = [["record", "model", "seeds", "RMSE", "over the first model's", *names, "width, after over before"]]
    first: dict[str, dict[int, float]] = {}
    for (where, model), by_time in found.items():
        errors = {line["seed"]: line["rmse"] for line in by_time["after"]}
        reference = first.setdefault(where, errors)
        shares = [error / reference[seed] for seed, error in errors.items() if seed in reference]
        cells = [
            f"{np.mean(list(errors.values())):.4f}",
            f"{np.mean(shares):.3f} ({min(shares):.2f}-{max(shares):.2f})",
        ]
        for name in CLASSES:
            for when in ("before", "after"):
                shares = [line[name] for line in by_time[when] if name in line]
                cells.append(f"{np.mean(shares):.3f} ({min(shares):.2f})" if shares else "")
        ratio = np.mean([a["width"] / b["width"] for a, b in zip(by_time["after"], by_time["before"], strict=True)])
        kind, days = where.split(":")
        rows.append([f"{kind}, {days} days", f"`{model}`", str(len(by_time["after"])), *cells, f"{ratio:.2f}"])
    rows.insert(1, ["---"] * len(rows[0]))
    return ["| " + " | ".join(row) + " |" for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--records", default="world:45,world:60,world:90,conus:46,conus:120,near:46")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--models", default="linear_time;xgboost", help="words after model=, with semicolons")
    given = parser.parse_args()
    log.setLevel(logging.WARNING)

    def kept() -> list[Line]:
        return [json.loads(line) for line in given.output.read_text().splitlines()] if given.output.exists() else []

    for model in given.models.split(";"):
        for where in given.records.split(","):
            kind, days = where.split(":")
            for seed in range(given.seeds):
                if any((x["record"], x["model"], x["seed"]) == (where, model, seed) for x in kept()):
                    continue
                lines = run(kind, int(days), seed, model)
                with given.output.open("a") as file:
                    file.writelines(json.dumps(line) + "\n" for line in lines)
                print(where, model, seed, *(f"{line['when']} {line['all']:.3f}" for line in lines), flush=True)
    print("\n".join(table(kept())))


if __name__ == "__main__":
    main()
