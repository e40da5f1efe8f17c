"""Dropout of whole channels with reproducible masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sgdsm.core.random import Stream


class ChannelDropout(nn.Module):
    """Drops whole channels: at random in training, otherwise only for a sample of MC dropout.

    Args:
        share: Share of the channels that is dropped.
        channel: Dimension of the channels.
        alike: Dimensions along which a training mask is constant.
        in_head: True if only the last layers follow, so that all earlier layers give the same for all samples.

    Attributes:
        sample: (seed, number of the sample, number of this layer) of a mask that is the same for all windows, days and
            cells, so that the result does not depend on tiles and batches; None outside MC dropout.
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
        # numpy's stream is the same on every device
        kept = np.random.default_rng([Stream.DROPOUT_MASKS, *self.sample]).random(shape, np.float32) < keep
        return x * (torch.from_numpy(kept).to(x) / keep)
