"""Train, fill and score on a folder with `seen/cube.nc` (all that may be read) and `hidden.nc` (what was hidden).

    python benchmarks/hidden.py OUTPUT FOLDER [FOLDER ...] -- WORDS [-- WORDS ...]

WORDS are overrides of train.py, such as 'model=xgboost data.dynamic=[rain]'. A line of scores goes to OUTPUT (JSON
lines) for each folder and model, and a table of means over the folders to the screen; `share` is of linear_time's
RMSE on the same folder, so give it as a model too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sgdsm.evaluation.score import score


def run(folder: Path, words: list[str]) -> dict[str, float | str]:
    """One model on one folder, with the commands that a user would type."""
    with tempfile.TemporaryDirectory() as work:
        begin = time.perf_counter()
        cube = (folder / "seen" / "cube.nc").resolve()
        train = [sys.executable, "train.py", *words, "data=netcdf", f"data.path={cube}", f"hydra.run.dir={work}/run"]
        subprocess.run([*train, "trainer.progress=false"], check=True, stdout=subprocess.DEVNULL)
        trained = time.perf_counter() - begin
        filled = f"{work}/filled.nc"
        predict = [sys.executable, "predict.py", f"run={work}/run", f"output={filled}", "trainer.progress=false"]
        subprocess.run(predict, check=True, stdout=subprocess.DEVNULL)
        rain = next((w.partition("=")[2] for w in words if w.startswith("data.precipitation=")), None)
        table = score(filled, folder / "hidden.nc", cube, rain).table()
        fitted = json.loads(Path(work, "run", "metrics.json").read_text())["fit_seconds"]
    classes = {k: round(v["rmse"], 6) for k, v in table.items() if v["n"]}
    more = {k: round(table["all"][k], 6) for k in ("bias", "r", "r_anomaly", "coverage", "width")}
    name = " ".join(w for w in words if not w.startswith("data"))
    return {"folder": folder.name, "model": name, **classes, **more, "fit_s": fitted, "train_s": round(trained, 1)}


def main() -> None:
    groups: list[list[str]] = [[]]
    for word in sys.argv[1:]:
        if word == "--":
            groups.append([])
        else:
            groups[-1].append(word)
    output, *folders = groups[0]
    rows = []
    for words in groups[1:]:
        for folder in map(Path, folders):
            rows.append(run(folder, " ".join(words).split()))
            with Path(output).open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(rows[-1], flush=True)
    linear = {r["folder"]: float(r["all"]) for r in rows if r["model"] == "model=linear_time"}
    for model in dict.fromkeys(r["model"] for r in rows):
        mine = [r for r in rows if r["model"] == model]
        mean = sum(float(r["all"]) for r in mine) / len(mine)
        share = sum(float(r["all"]) / linear[str(r["folder"])] for r in mine if r["folder"] in linear) / len(mine)
        longest = max(float(r["fit_s"]) for r in mine)
        print(f"{model}: RMSE {mean:.4f}, share of linear_time {share:.3f}, longest fit {longest:.0f} s")


if __name__ == "__main__":
    main()
