"""Gap-fillers beside real stations: a satellite record with its weather, and the stations of USCRN.

    python benchmarks/insitu.py OUT [--models linear_time,dctpls,xgboost,pconv3d,seamless,stack] [--draws 500]
    python benchmarks/insitu.py OUT --scale mean_std     # the product scaled to each station: for coverage

For each model: train on the whole record (`splits=all`), fill it (OUT/MODEL.nc; what is there is not done again), and
compare observed and filled days with stations within 40 km of a cell's centre whose soil is warmer than 4 C. Prints and
writes OUT/insitu[_SCALE].md: medians over the stations that all models have, intervals by blocks of 60 days in
resampled stations, and paired differences from `linear_time` on the same draws.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sgdsm.evaluation.insitu import InSitu, compare, network_median, paired_difference
from sgdsm.evaluation.station_matching import matched, scaled
from sgdsm.preprocessing.bias_correction.cdf import fit_cdf
from sgdsm.preprocessing.bias_correction.moments import fit_moments
from sgdsm.sources import open_product

HERE = Path(__file__).resolve().parent
REFERENCE = "linear_time"
MODELS = "linear_time,dctpls,xgboost,pconv3d,seamless,stack"
KM, FROZEN = 40.0, 4.0
SIDES = ("observed", "filled")
MAPS = {"mean_std": fit_moments, "cdf": fit_cdf}


def fill(model: str, cube: Path, out: Path) -> Path:
    """Train a model on the whole record and fill it; return the file."""
    path = out / f"{model}.nc"
    if path.exists():
        return path
    settings = yaml.safe_load((HERE / "skill.yaml").read_text())["conus"]
    words = [*settings["models"][model]["words"].split(), *settings["data"].split(), "data=netcdf", f"data.path={cube}"]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    run = out / "runs" / model
    for command in (
        ["train", *words, f"hydra.run.dir={run}", "trainer.progress=false"],
        ["predict", f"run={run}", f"output={path}", "trainer.progress=false"],
    ):
        print("sgdsm", shlex.join(command), flush=True)
        subprocess.run([sys.executable, "-m", "sgdsm", *command], check=True, env=environment)
    return path


def beside_stations(path: Path, stations: xr.Dataset, scale: str, draws: int, seed: int) -> InSitu:
    with xr.open_dataset(path) as product:
        pairs = matched(
            product, stations, max_distance_km=KM, frozen_below=FROZEN, any_units=scale != "none", name=str(path)
        )
    if scale != "none":
        pairs = scaled(pairs, partial(MAPS[scale], least_values=20))
    return compare(pairs, draws=draws, seed=seed)


def table(results: dict[str, InSitu], scale: str) -> str:
    """Return the table of all models, on the stations that have metrics with each of them on both sides."""
    common = np.logical_and.reduce([
        (r.table["status"].sel(subset=list(SIDES)).values == 0).all(1) for r in results.values()
    ])  # fmt: skip
    first = next(iter(results.values())).table
    numbers = {side: int(np.median(first["n"].sel(subset=side).values[common])) for side in SIDES}
    lines = [
        f"{int(common.sum())} stations of USCRN within {KM:g} km of a cell's centre, soil above {FROZEN:g} C, product "
        f"{'as it is' if scale == 'none' else f'scaled to each station ({scale}), fitted on observed days'}; medians "
        f"over stations, 95 % intervals by moving blocks of 60 days; N {numbers['observed']} observed, "
        f"{numbers['filled']} filled days (median)",
        "",
        "| model | days | R | R of anomalies | ubRMSD | bias | coverage |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, result in results.items():
        for side in SIDES:
            cells = [
                _ranged(network_median(result, name, side, common), digits)
                for name, digits in (("r", 3), ("r_anomaly", 3), ("ubrmsd", 4))
            ]
            bias, cover = (network_median(result, name, side, common)[0] for name in ("bias", "coverage"))
            last = "-" if np.isnan(cover) else f"{cover:.3f}"
            lines.append(f"| {model} | {side} | {' | '.join(cells)} | {bias:+.4f} | {last} |")
    lines += [
        "",
        f"Filled days, paired differences from `{REFERENCE}` (share of stations where the difference is above 0):",
        "",
        "| model | R | R of anomalies | ubRMSD |",
        "|---|---|---|---|",
    ]
    reference = results.get(REFERENCE)
    for model, result in results.items():
        if reference is None or model == REFERENCE:
            continue
        cells = []
        for name, digits in (("r", 3), ("r_anomaly", 3), ("ubrmsd", 4)):
            median, low, high, share, _ = paired_difference(result, reference, name, "filled")
            cells.append(f"{median:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}] ({share:.0%})")
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _ranged(values: tuple[float, float, float], digits: int) -> str:
    middle, low, high = values
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def main() -> None:
    shared = Path(os.environ.get("SGDSM_SHARED_DATA", HERE.parent.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--cube", type=Path, default=shared / "smap_conus.nc")
    parser.add_argument("--stations", type=Path, default=shared / "insitu" / "uscrn_daily_2015_2017.nc")
    parser.add_argument("--scale", choices=["none", *MAPS], default="none")
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    stations = open_product("station_netcdf", given.stations, network="USCRN")
    results = {}
    for model in given.models.split(","):
        path = fill(model, given.cube.resolve(), given.out.resolve())
        results[model] = beside_stations(path, stations, given.scale, given.draws, given.seed)
    text = table(results, given.scale)
    print(f"\n{text}")
    suffix = "" if given.scale == "none" else f"_{given.scale}"
    (given.out / f"insitu{suffix}.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
