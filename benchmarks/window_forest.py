"""Shared window regressions beside a literal loop of scikit-learn's forest: time and score in one run, some minutes.

    python benchmarks/window_forest.py [--days N] [--preset NAME] [--seed N]

Both fill the same hidden values of a small built-in world, in windows of the same sizes; without residual calibration,
so that the loop grows one forest for each value and no more. Prints the time of each, their RMSE, and the difference
of the RMSEs with its interval from resampling days (paired: the same days of both).
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from sgdsm.data.batch import Batch
from sgdsm.models.window_forest.filler import WindowForest
from sgdsm.training.compose import compose_settings
from sgdsm.training.config import TrainingConfig
from sgdsm.training.task import TrainingTask

DRAWS = 2000


def task_of(words: list[str]) -> TrainingTask:
    common = ["model=window_forest", "data.rows=12", "data.columns=16", "data.days=200"]
    return TrainingTask.from_config(compose_settings("train", TrainingConfig, [*common, *words]))


def hidden_of(task: TrainingTask, days: int) -> Batch:
    """Some days of the validation draw, with the whole record around them."""
    scene = task.data.scene_of(task.split.scenarios["validation"])
    axes = type(task.filler.window)(None).tile(scene.seen.shape, False)
    batch = scene.batch([(0, 0, 0)], axes)
    chosen = batch.wanted[0, 0].flatten(1).any(1).nonzero()[:, 0]
    chosen = chosen[:: max(1, len(chosen) // days)][:days]
    few = torch.zeros_like(batch.wanted)
    few[:, :, chosen] = batch.wanted[:, :, chosen]
    return batch._replace(wanted=few)


def filled(task: TrainingTask, batch: Batch) -> tuple[np.ndarray, float]:
    assert isinstance(task.filler, WindowForest)
    begin = time.perf_counter()
    with torch.inference_mode():
        mean = task.filler.fill(batch).mean
    seconds = time.perf_counter() - begin
    truth = task.filler.in_units(batch.truth, batch)
    return (mean - truth)[batch.wanted].double().numpy(), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=40, help="days whose hidden values are filled")
    parser.add_argument("--preset", default="semi_arid", help="of Table 3")
    parser.add_argument("--seed", type=int, default=0, help="of the world")
    options = parser.parse_args()
    torch.set_num_threads(1)
    # the trees of the preset, in place of fewer
    words = ["model.calibrate=false", "model.trees=null", f"model.preset={options.preset}", f"data.seed={options.seed}"]
    shared, literal = task_of(words), task_of([*words, "model.share_cells=1", "model.share_days=1"])
    batch = hidden_of(shared, options.days)
    filled(shared, batch)  # once for what is made at the first call
    ours, seconds = filled(shared, batch)
    theirs, loop = filled(literal, batch)
    day = batch.wanted.nonzero()[:, 2].numpy()
    _, day = np.unique(day, return_inverse=True)
    sums = [np.bincount(day, errors**2) for errors in (ours, theirs)]
    number = np.bincount(day)
    drawn = np.random.default_rng(0).integers(0, len(number), (DRAWS, len(number)))
    a, b = (np.sqrt(s[drawn].sum(1) / number[drawn].sum(1)) for s in sums)
    low, high = np.percentile(a - b, (2.5, 97.5))
    score, other = (float(np.sqrt(np.mean(errors**2))) for errors in (ours, theirs))
    count = len(day)
    print(f"{count} values on {len(number)} days, forest '{options.preset}', one thread")
    print(f"shared:  {seconds:8.2f} s  {1e3 * seconds / count:8.2f} ms a value  RMSE {score:.5f}")
    print(f"literal: {loop:8.2f} s  {1e3 * loop / count:8.2f} ms a value  RMSE {other:.5f}")
    print(f"{loop / seconds:.1f} times as fast; RMSE {score - other:+.5f} ({low:+.5f} to {high:+.5f})")


if __name__ == "__main__":
    main()
