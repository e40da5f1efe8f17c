"""A training step of networks, on this machine: forward, loss, backward, optimizer; float32, on the CPU.

python benchmarks/step.py [--rounds 5] [--size 48] [NETWORK[,setting=value]...]...

NETWORK: pconv3d or seamless, with settings of its class. The data are the built-in world of size x size cells and a
year, with the batch of the first step. The networks take turns. Prints parameters; values of the windows, those of them
in cells that are learned from (elsewhere `seamless` does no work), and per second of processor time of this process,
which other jobs disturb less than the clock.
"""

from __future__ import annotations

import argparse
import time
from ast import literal_eval
from collections.abc import Callable
from statistics import median

import torch

from sgdsm.data.datamodule import GapData
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.data.splits import All
from sgdsm.models.networks.base import Network
from sgdsm.models.networks.pconv3d import PartialConvNetwork
from sgdsm.models.networks.seamless import Seamless
from sgdsm.sources.simulation.world import simulate

NETWORKS = {"pconv3d": PartialConvNetwork, "seamless": Seamless}


def made(words: str) -> Network:
    """A network from its name and settings."""
    name, *settings = words.split(",")
    pairs = (setting.split("=", 1) for setting in settings)
    return NETWORKS[name](**{key: literal_eval(value) for key, value in pairs})


def step_of(words: str, size: int) -> tuple[Callable[[], object], str, int, int]:
    """A training step, what it is of, the values of its windows, and those in cells that are learned from."""
    cube = simulate(rows=size, columns=size, days=366)
    record, names = read_record(cube), Names.of(cube)
    split = All().split(record.observed, record.days, Gaps())
    inputs = Inputs.fit(record, names, split.base, "m3 m-3", 1, "train")
    network = made(words)
    network.configure(inputs)
    axes = network.window.tile(record.values.shape, False)
    data = GapData(record, inputs, split, Gaps(), axes, network.batch_size, cores=network.trains_on_cores)
    batch, optimizer = data.training_batches(0)[0], network.configure_optimizers()

    def step() -> None:
        optimizer.zero_grad()
        network.loss(network.estimate(batch), batch).backward()
        optimizer.step()

    parameters = sum(weights.numel() for weights in network.parameters())
    learned = int(batch.wanted.any(2).sum()) * batch.seen.shape[2]
    shape = " x ".join(str(length) for length in (len(batch.seen), *batch.seen.shape[2:]))
    return step, f"{words}: {parameters} parameters, windows {shape}", batch.seen.numel(), learned


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["pconv3d", "seamless"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=48)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    steps = [step_of(words, given.size) for words in given.networks]
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(given.rounds + 1):
        for (step, *_), found in zip(steps, times, strict=True):
            begin = time.process_time()
            step()
            found.append(time.process_time() - begin)
    for (_, what, values, learned), found in zip(steps, times, strict=True):
        took = median(found[1:])
        print(f"{what}: {1e3 * took:.0f} ms, {values / took / 1e6:.3f} million values a second", end="")
        print(f", {learned / took / 1e6:.3f} in cells that are learned from")


if __name__ == "__main__":
    main()
