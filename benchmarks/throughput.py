"""Speed of the main steps on this machine: `make bench`. Prints figures; asserts nothing.

python benchmarks/throughput.py
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from statistics import median

import torch

from sgdsm.core.specification import build
from sgdsm.data.datamodule import GapData
from sgdsm.data.features import to_rows
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.data.splits import All
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller, quiet_lightning
from sgdsm.models.networks.layers.partial import PartialConv3d
from sgdsm.sources.simulation.world import simulate


def seconds(task: Callable[[], object], runs: int = 5) -> float:
    """Median time of some runs after one that is not counted."""
    task()
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        task()
        times.append(time.perf_counter() - begin)
    return median(times)


def layer() -> None:
    """A partial convolution beside a plain one of the same size, forward and backward."""
    shape = (2, 32, 9, 64, 64)
    x, mask = torch.randn(shape, requires_grad=True), (torch.rand(2, 1, *shape[2:]) < 0.5).float()
    partial, plain = PartialConv3d(32, 32, (3, 3, 3)), torch.nn.Conv3d(32, 32, 3, padding=1)
    ours = seconds(lambda: partial(x, mask)[0].sum().backward())
    theirs = seconds(lambda: plain(x).sum().backward())
    print(f"partial convolution {shape}: {1e3 * ours:.0f} ms, plain {1e3 * theirs:.0f} ms, ratio {ours / theirs:.2f}")


def main() -> None:
    quiet_lightning()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    layer()
    print(f"simulated world 24 x 48 x 365: {seconds(lambda: simulate(days=365), 3):.2f} s")
    cube = simulate(days=365)
    record, names = read_record(cube), Names.of(cube)
    split = All().split(record.observed, record.days, Gaps())
    inputs = Inputs.fit(record, names, split.base, "m3 m-3", 1, "train")
    values = record.values.size
    quiet = {"enable_progress_bar": False, "accelerator": "cpu"}
    for path in ("sgdsm.models.LinearTime", "sgdsm.models.PartialConvNetwork"):
        filler = build({"_target_": path}, GapFiller)
        filler.configure(inputs)
        took = seconds(lambda filler=filler: fill_cube(cube, filler, MemoryOutput(), trainer=quiet), 3)
        print(f"fill with {path.rsplit('.', 1)[-1]}: {values / took / 1e6:.2f} million values a second")
    axes = filler.window.tile(record.values.shape, False)
    data = GapData(record, inputs, split, Gaps(), axes)
    print(f"one epoch's gaps, climatology and windows: {seconds(lambda: data.training_batches(0), 3):.3f} s")
    batch = data.training_batches(0)[0]
    step = seconds(lambda: (filler.estimate(batch)[0] - batch.truth)[batch.wanted].square().mean().backward())
    print(f"training step of pconv3d: {batch.seen.numel() / step / 1e6:.3f} million values a second")
    rows = seconds(lambda: to_rows(batch, batch.wanted, inputs), 3)
    print(f"features of trees: {batch.seen.numel() / rows / 1e6:.3f} million values a second")


if __name__ == "__main__":
    main()
