"""The fixed skill benchmark: every model trained, filling and scored on draws of hidden real values.

    python benchmarks/skill.py OUTPUT DRAW [DRAW ...] [--models NAME,NAME] [--figure FILE.png]

A DRAW is a folder with `seen/cube.nc` (all that may be read) and `hidden.nc` (what was hidden); the beginning of its
name says which part of skill.yaml holds for it. Runs stay in OUTPUT, and what is there is not done again; a line of
scores for each goes to OUTPUT/scores.jsonl. Prints a table of means over the draws: shares are of linear_time's RMSE
in the same class of the same draws.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import yaml

from sgdsm.evaluation.score import score

REFERENCE = "linear_time"
CLASSES = {
    "all": "all",
    "swath": "swath",
    "outage": "outage",
    "rain": "rain",
    "dry": "dry",
    "DJF": "DJF",
    "MAM": "MAM",
    "JJA": "JJA",
    "SON": "SON",
    "gap_1_day": "1 day",
    "gap_2_days": "2 days",
    "gap_3_days": "3 days",
    "gap_4_to_7_days": "4-7 days",
    "gap_8_or_more_days": "8+ days",
}
Line = dict[str, Any]


def run(draw: Path, label: str, model: Line, data: str, output: Path) -> Line:
    """One model on one draw."""
    folder = output / draw.name / label
    cube, filled = (draw / "seen" / "cube.nc").resolve(), folder / "filled.nc"
    if "members_from" in model and not folder.exists():
        shutil.copytree(output / draw.name / model["members_from"] / "members", folder / "members")
    words = [*model["words"].split(), *data.split(), "data=netcdf", f"data.path={cube}"]
    quiet = "trainer.progress=false"
    again = f"run={folder}" if (folder / "config.yaml").exists() else None
    if not (folder / "metrics.json").exists():
        train = [again] if again else [*words, f"hydra.run.dir={folder}"]
        subprocess.run([sys.executable, "train.py", *train, quiet], check=True, stdout=subprocess.DEVNULL)
    begin = time.perf_counter()
    predict = [sys.executable, "predict.py", f"run={folder}", f"output={filled}", quiet]
    subprocess.run(predict, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    rain = next((w.partition("=")[2] for w in words if w.startswith("data.precipitation=")), None)
    table = score(filled, draw / "hidden.nc", cube, rain).table()
    filled.unlink()
    metrics, origin = (json.loads((folder / f"{name}.json").read_text()) for name in ("metrics", "provenance"))
    return {
        "draw": draw.name,
        "model": label,
        "words": model["words"],
        "revision": origin["revision"],
        "threads": origin["machine"]["threads"],
        "fit_s": metrics["fit_seconds"],
        "fill_s": round(seconds, 1),
        "rmse": {name: round(row["rmse"], 6) for name, row in table.items() if row["n"]},
        **{k: round(table["all"][k], 6) for k in ("bias", "r", "r_anomaly", "coverage", "width")},
    }


def table(lines: list[Line]) -> tuple[list[str], dict[str, dict[str, float]]]:
    """A table in Markdown, best first, and the shares of each model and class."""
    by_model: dict[str, dict[str, Line]] = defaultdict(dict)
    for line in lines:
        by_model[line["model"]][line["draw"]] = line
    reference = by_model.get(REFERENCE, {})
    shares: dict[str, dict[str, float]] = {}
    rows = []
    for model, found in by_model.items():
        draws = [d for d in found if d in reference]
        if not draws:
            continue
        names = [c for c in CLASSES if all(c in found[d]["rmse"] and c in reference[d]["rmse"] for d in draws)]
        shares[model] = {
            c: sum(found[d]["rmse"][c] / reference[d]["rmse"][c] for d in draws) / len(draws) for c in names
        }
        mean = {k: sum(found[d][k] for d in draws) / len(draws) for k in ("bias", "r_anomaly", "coverage")}
        rmse = sum(found[d]["rmse"]["all"] for d in draws) / len(draws)
        cells = [
            f"`{model}`",
            str(len(draws)),
            f"{rmse:.4f}",
            *(f"{shares[model].get(c, float('nan')):.3f}" for c in CLASSES),
        ]
        cells += [f"{mean['r_anomaly']:.3f}", f"{mean['bias']:+.4f}", f"{mean['coverage']:.3f}"]
        rows.append((rmse, [*cells, f"{max(found[d]['fit_s'] for d in draws):.0f} s"]))
    head = ["model", "draws", "RMSE", *(f"share, {c}" if c == "all" else c for c in CLASSES.values())]
    head += ["R within", "bias", "90 % interval covers", "fit, longest"]
    kept = [k for k in range(len(head)) if not all(row[k] == "nan" for _, row in rows)]
    text = [head, ["---"] * len(head), *(row for _, row in sorted(rows))]
    return ["| " + " | ".join(row[k] for k in kept) + " |" for row in text], shares


def figure(shares: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Share of linear_time's RMSE by class, one panel for each kind of draw."""
    size = (10, 3.6 * len(shares))
    panels, axes = plt.subplots(len(shares), 1, figsize=size, squeeze=False, constrained_layout=True)
    for axis, (kind, models) in zip(axes[:, 0], shares.items(), strict=True):
        names = [c for c in CLASSES if any(c in found for found in models.values())]
        ranked = sorted(models, key=lambda m: models[m]["all"])
        for model in ranked:
            if models[model]["all"] < 1.1:
                values = [models[model].get(c, float("nan")) for c in names]
                axis.plot(range(len(names)), values, "o-", ms=4, lw=1, label=model)
        axis.set_xticks(range(len(names)), [CLASSES[c] for c in names], rotation=30)
        axis.set(title=kind, ylabel=f"RMSE / RMSE of {REFERENCE}")
        axis.grid(alpha=0.3)
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    panels.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("draws", type=Path, nargs="+")
    parser.add_argument("--models", help="names of skill.yaml, with commas; by default all")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    plan = yaml.safe_load(Path(__file__).with_name("skill.yaml").read_text())
    given.output.mkdir(parents=True, exist_ok=True)
    store = given.output / "scores.jsonl"

    def kept() -> list[Line]:
        return [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []

    kinds = {draw: next(kind for kind in plan if draw.name.startswith(kind)) for draw in given.draws}
    for draw, kind in kinds.items():
        for label, model in plan[kind]["models"].items():
            done = any(line["draw"] == draw.name and line["model"] == label for line in kept())
            if done or (given.models and label not in given.models.split(",")):
                continue
            line = run(draw, label, model, plan[kind]["data"], given.output)
            with store.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(f"{draw.name} {label}: RMSE {line['rmse']['all']:.4f}, fitted in {line['fit_s']:.0f} s", flush=True)
    shares = {}
    for kind in dict.fromkeys(kinds.values()):
        text, shares[kind] = table([line for line in kept() if line["draw"].startswith(kind)])
        print("\n".join(["", kind, "", *text]))
    if given.figure:
        figure(shares, given.figure)


if __name__ == "__main__":
    main()
