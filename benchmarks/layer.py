"""The partial convolution against the published formulation, and against a plain convolution.

python benchmarks/layer.py [--device cpu] [--rounds 15]

Published (Liu et al., ECCV 2018, as public code has it): a mask of as many channels as the features goes through a
second convolution with ones, without a gradient. Ours: a mask of one channel and box sums. Forward and backward,
float32; the three take turns in one run, so a busy machine slows them alike. On the CPU seconds are of processor time,
all threads together, which other jobs disturb less. Prints medians and geometric means.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import prod
from statistics import median

import torch
from torch import Tensor, nn

from sgdsm.models.networks.layers.partial import PartialConv3d

SHAPES = ((2, 32, 9, 64, 64), (1, 16, 16, 128, 128))
FORMATS = {"contiguous": torch.contiguous_format, "channels_last_3d": torch.channels_last_3d}


class Published(nn.Module):
    """x' = (W * (x m) n / sum(m) + b) m', sums over all channels of the mask."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1)
        self.mask_conv = nn.Conv3d(channels, channels, 3, padding=1, bias=False).requires_grad_(False)
        nn.init.ones_(self.mask_conv.weight)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        assert self.conv.bias is not None
        with torch.no_grad():
            present = self.mask_conv(mask)
            found = present.clamp(0, 1)
            ratio = self.mask_conv.weight[0].numel() / (present + 1e-8) * found
        bias = self.conv.bias.view(1, -1, 1, 1, 1)
        return ((self.conv(x * mask) - bias) * ratio + bias) * found, found


def in_turn(
    tasks: dict[str, Callable[[], object]], rounds: int, wait: Callable[[], object], clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of tasks that take turns."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            begin = clock()
            task()
            wait()
            if number:
                times[name].append(clock() - begin)
    return {name: median(found) for name, found in times.items()}


def compare(shape: tuple[int, ...], layout: str, device: str, rounds: int) -> dict[str, float]:
    """Seconds of the three at one shape, all in one memory layout; checks that ours equals the published one."""
    torch.manual_seed(0)
    channels = shape[1]
    ours, published = PartialConv3d(channels, channels, (3, 3, 3)), Published(channels)
    plain = nn.Conv3d(channels, channels, 3, padding=1)
    nn.init.normal_(ours.bias)
    with torch.no_grad():
        published.conv.weight.copy_(ours.filters)
        assert published.conv.bias is not None
        published.conv.bias.copy_(ours.bias.flatten())
    for module in (ours, published, plain):
        module.to(device)
        for weight in module.parameters():
            if weight.ndim == 5 and module is not ours:  # ours has its own layout
                weight.data = weight.data.to(memory_format=FORMATS[layout])
    mask = (torch.rand(shape[0], 1, *shape[2:]) < 0.5).float()
    mask[..., : shape[-1] // 4] = 0  # sea: where the mask has nothing to grow from
    many = mask.expand(shape).contiguous().to(device, memory_format=FORMATS[layout])
    mask = mask.to(device)
    x = torch.randn(shape).to(device, memory_format=FORMATS[layout]).requires_grad_()
    with torch.no_grad():
        difference = float((ours(x, mask)[0] - published(x, many)[0]).abs().max())
    if difference > 1e-5:
        raise SystemExit(f"ours differs from the published formulation by {difference:g}")
    tasks = {
        "ours": lambda: ours(x, mask)[0].sum().backward(),
        "published": lambda: published(x, many)[0].sum().backward(),
        "plain": lambda: plain(x).sum().backward(),
    }
    wait, clock = (lambda: None), time.process_time
    if device == "cuda":
        wait, clock = torch.cuda.synchronize, time.perf_counter
    return {**in_turn(tasks, rounds, wait, clock), "difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    print(f"torch {torch.__version__}, {given.device}, {torch.get_num_threads()} threads")
    for layout in FORMATS:
        faster, slower = [], []
        for shape in SHAPES:
            found = compare(shape, layout, given.device, given.rounds)
            faster.append(found["published"] / found["ours"])
            slower.append(found["ours"] / found["plain"])
            times = ", ".join(f"{name} {1e3 * found[name]:.1f} ms" for name in ("published", "ours", "plain"))
            print(f"{layout} {shape}: {times}; same to {found['difference']:.0e}")
        mean = [prod(ratios) ** (1 / len(ratios)) for ratios in (faster, slower)]
        print(f"{layout}: {mean[0]:.2f} times as fast as published, {mean[1]:.2f} of the plain one's time")


if __name__ == "__main__":
    main()
