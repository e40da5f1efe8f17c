"""Whether error bars are right, on the built-in world where the noise is known, and for means over many values.

    python benchmarks/uncertainty.py parts WORLD.nc FILLED.nc
    python benchmarks/uncertainty.py means FILLED.nc HIDDEN.nc
    python benchmarks/uncertainty.py cost RUN [--samples 20]
    python benchmarks/uncertainty.py noise RUN [--samples 20]

parts: WORLD is a simulated cube (`sm_noise`) with a mask `trained` of the cells that the filler was trained on; FILLED
what a run with uncertainty=mc_dropout (or an ensemble) made of it. Prints the correlation over cells of the aleatoric
standard deviation with the noise, and the epistemic one inside and outside of the mask and by age of the gap.

means: HIDDEN as the scorer takes it. Prints how often the 90 % interval of members covers the mean of 50 hidden values
of one day that lie together, and what errors that are independent would give.

cost: fills the cube of a run with its network alone and with samples of MC dropout, by turns, and prints the ratio.

noise: CASM's table, for a run of an ensemble: range over the cells of the epistemic standard deviation, and how much
the estimates move when noise of 5, 10 and 20 % goes on the inputs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import xarray as xr

import sgdsm
from sgdsm.core.specification import build
from sgdsm.data.batch import Scene
from sgdsm.data.normalization import CellStatistics
from sgdsm.data.record import read_record
from sgdsm.inference.fill import fill_cube, fill_whole
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler
from sgdsm.models.uncertainty.correlation import positions
from sgdsm.models.uncertainty.wrappers import innermost, wrap
from sgdsm.training.run import Run

AGES = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4-7": (4, 7), "8+": (8, 10**4)}
TOGETHER, DRAWS_A_DAY, MEMBERS, MOST_DAYS = 50, 3, 100, 400


def parts(given: argparse.Namespace) -> None:
    """Aleatoric and epistemic standard deviations against what is known of the world."""
    world, filled = xr.open_dataset(given.world), xr.open_dataset(given.filled)
    inside = world["trained"].values.astype(bool)
    land = world["land"].values.astype(bool)
    noise = world["sm_noise"].values
    aleatoric, epistemic = (filled[f"sm_std_{kind}"] for kind in ("aleatoric", "epistemic"))
    by_cell = aleatoric.mean("time").values
    for name, cells in {"trained on": inside & land, "not trained on": ~inside & land}.items():
        known = cells & np.isfinite(by_cell)
        if known.any():
            correlation = np.corrcoef(by_cell[known], noise[known])[0, 1]
            level = float(epistemic.where(xr.DataArray(cells, dims=("lat", "lon"))).mean())
            print(f"cells {name}: {known.sum()}; aleatoric with the noise R {correlation:.3f}; epistemic {level:.5f}")
    age, values = filled["gap_age"].values, epistemic.values
    for name, (low, high) in AGES.items():
        chosen = (age >= low) & (age <= high) & np.isfinite(values) & inside
        print(f"gaps of age {name}: {chosen.sum()} values, epistemic {values[chosen].mean():.5f}")


def means(given: argparse.Namespace) -> None:
    """Coverage of means over TOGETHER values."""
    filled, hidden = xr.open_dataset(given.filled).load(), xr.open_dataset(given.hidden)
    classes = [v.values for v in hidden.data_vars.values() if v.dtype == bool]
    chosen = np.logical_or.reduce(classes) & (filled["sm_source"].values == 2)
    errors = hidden["truth"].values - filled["sm_filled"].values
    places = positions(filled["sm_filled"])
    rng = np.random.default_rng(0)
    days = np.flatnonzero(chosen.sum((1, 2)) >= TOGETHER)
    days = np.sort(rng.choice(days, min(MOST_DAYS, len(days)), replace=False))
    drawn = sgdsm.members(filled.isel(time=days), MEMBERS).values - filled["sm_filled"].values[days]
    std = filled["sm_std"].values
    found, samples, alone = [], [], []
    for k, day in enumerate(days):
        rows, columns = np.nonzero(chosen[day])
        for centre in rng.integers(len(rows), size=DRAWS_A_DAY):
            away = np.linalg.norm(places[rows, columns] - places[rows[centre], columns[centre]], axis=-1)
            y, x = (index[np.argsort(away)[:TOGETHER]] for index in (rows, columns))
            found.append(errors[day, y, x].mean())
            samples.append(drawn[:, k, y, x].mean(-1))
            alone.append(np.sqrt((std[day, y, x] ** 2).sum()) / TOGETHER)
    error, sample, single = np.array(found), np.array(samples), np.array(alone)
    low, high = np.quantile(sample, (0.05, 0.95), axis=1)
    inside = ((error >= low) & (error <= high)).mean()
    print(f"{len(error)} means of {TOGETHER} values: the 90 % interval covers {inside:.3f}, of independent errors "
          f"{(abs(error) < 1.645 * single).mean():.3f}; RMSE {np.sqrt((error**2).mean()):.5f}, "
          f"spread {np.sqrt(sample.var(1).mean()):.5f}")  # fmt: skip


def cost(given: argparse.Namespace) -> None:
    """Seconds of filling with the network alone and with samples."""
    run = Run(given.run)
    cube = build(run.config()["data"], xr.Dataset)
    filler = innermost(load_filler(run.model))
    spec = {"_target_": "sgdsm.models.McDropout", "samples": given.samples}
    seconds: dict[str, list[float]] = {"alone": [], "sampled": []}
    for _ in range(given.times):
        for name, one in {"alone": filler, "sampled": wrap(spec, filler)}.items():
            begin = time.perf_counter()
            fill_cube(cube, one.eval(), MemoryOutput(), trainer={"enable_progress_bar": False})
            seconds[name].append(time.perf_counter() - begin)
    alone, sampled = (float(np.median(seconds[name])) for name in ("alone", "sampled"))
    print(f"network alone {alone:.2f} s, {given.samples} samples {sampled:.2f} s: {sampled / alone:.1f} passes")


def noise(given: argparse.Namespace) -> None:
    """Epistemic range and the answer to noise on the inputs."""
    run = Run(given.run)
    cube = build(run.config()["data"], xr.Dataset)
    filler = innermost(load_filler(run.model))
    epistemic, std = _parts(cube, filler)
    low, high = np.nanquantile(np.nanmean(epistemic, 0), (0.05, 0.95))
    print(
        f"epistemic, means of cells: {low:.4f} to {high:.4f}; whole standard deviation {np.sqrt((std**2).mean()):.4f}"
    )
    for fraction in (0.05, 0.1, 0.2):
        spec = {"_target_": "sgdsm.models.InputNoise", "fraction": fraction, "samples": given.samples}
        _, noisy = _parts(cube, wrap(spec, filler))
        added = np.sqrt(np.maximum(noisy**2 - std**2, 0).mean())
        print(f"noise of {fraction:.0%}: estimates move by {added:.4f}; whole {np.sqrt((noisy**2).mean()):.4f}")


def _parts(cube: xr.Dataset, filler: GapFiller) -> tuple[np.ndarray, np.ndarray]:
    """Epistemic standard deviation (T, H, W) and the whole one at the estimated values (N,)."""
    record = read_record(cube)
    scene = Scene.of(
        record, filler.inputs, record.observed & record.land, record.land & ~record.observed,
        CellStatistics.of(record.values, record.observed & record.land, record.days).solve(),
    )  # fmt: skip
    fields = fill_whole(filler.eval(), scene, {"enable_progress_bar": False})
    return fields["epistemic"], fields["std"][np.isfinite(fields["std"])].astype(np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work, files in {
        parts: ("world", "filled"),
        means: ("filled", "hidden"),
        cost: ("run",),
        noise: ("run",),
    }.items():
        one = commands.add_parser(work.__name__, help=work.__doc__)
        for name in files:
            one.add_argument(name, type=Path)
        if work in (cost, noise):
            one.add_argument("--samples", type=int, default=20)
        if work is cost:
            one.add_argument("--times", type=int, default=3)
        one.set_defaults(work=work)
    given = parser.parse_args()
    given.work(given)


if __name__ == "__main__":
    main()
