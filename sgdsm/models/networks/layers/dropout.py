"""Dropout of whole channels whose masks can be drawn again."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

SAMPLES = 14  # first word of the seeds


class ChannelDropout(nn.Module):
    """Drops whole channels: in training at random, otherwise only where a sample is asked for.

    share: of the channels. channel: their dimension. alike: dimensions along which a training mask stays the same.
    in_head: whether only the last layers follow, so that what comes before is the same for all samples.
    sample: (seed, number, place of this layer) of a mask that then holds for all windows, days and cells, so that
    tiles and batches do not show; None outside of MC dropout.
    """

    def __init__(self, share: float, channel: int, alike: tuple[int, ...], in_head: bool = False) -> None:
        super().__init__()
        self.share, self.channel, self.alike, self.in_head = share, channel, alike, in_head
        self.sample: tuple[int, int, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.share or (self.sample is None and not self.training):
            return x
        keep = 1 - self.share
        if self.sample is None:
            shape = [1 if dim in self.alike else size for dim, size in enumerate(x.shape)]
            return x * (torch.empty(shape, device=x.device, dtype=x.dtype).bernoulli_(keep) / keep)
        shape = [1] * x.ndim
        shape[self.channel] = x.shape[self.channel]
        kept = np.random.default_rng([SAMPLES, *self.sample]).random(shape, np.float32) < keep
        return x * (torch.from_numpy(kept).to(x) / keep)
