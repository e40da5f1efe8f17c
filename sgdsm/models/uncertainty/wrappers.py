"""Wrappers that give any filler an uncertainty; they nest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.cube import ConfigError
from sgdsm.core.specification import TARGET, build, check_spec
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.base import Network
from sgdsm.models.networks.layers.dropout import ChannelDropout
from sgdsm.models.networks.seasonal import seasonal_cycle

NOISE = 13  # first word of the seeds


class Wrapper(GapFiller):
    """A filler around another, with the windows of that one.

    filler: what is wrapped, itself a wrapper perhaps.
    """

    def __init__(self, filler: GapFiller) -> None:
        super().__init__()
        self.filler = filler
        self.window, self.batch_size, self.decomposes = filler.window, filler.batch_size, filler.decomposes
        self.wide_cells = filler.wide_cells

    def setup_inputs(self, inputs: Inputs) -> None:
        self.filler.configure(inputs)
        self.setup_own()

    def adopt(self) -> None:
        """Take the variables over from a filler that is fitted already."""
        self.inputs = self.filler.inputs
        self.setup_own()

    def setup_own(self) -> None:
        """Build what the wrapper itself needs of the variables."""

    @abstractmethod
    def fill(self, batch: Batch) -> Filled:
        """As the filler does, with an uncertainty."""


class McDropout(Wrapper):
    """Adds the spread of thinned networks as epistemic uncertainty (Gal and Ghahramani, ICML 2016).

    The estimate stays that of the whole network. Only dropout is switched on, and a mask holds for all windows, days
    and cells, so that neither tiles nor their order show. What lies before the first dropout is worked out once where
    that sits in the head (`model.head_dropout`).

    filler: a network with dropout. samples: how many. seed: of the masks.
    """

    def __init__(self, filler: GapFiller, samples: int = 20, seed: int = 0) -> None:
        super().__init__(filler)
        if samples < 2:
            raise ConfigError(f"uncertainty.samples={samples}: expected at least 2")
        self.samples, self.seed = samples, seed
        self.decomposes = True

    def setup_own(self) -> None:
        modules = [m for m in self.filler.modules() if isinstance(m, ChannelDropout) and m.share]
        if not modules:
            raise ConfigError(
                f"uncertainty: {type(innermost(self.filler)).__name__} has no dropout to sample; "
                "expected a network with model.dropout or model.head_dropout above 0"
            )
        self.layers = modules

    def fill(self, batch: Batch) -> Filled:
        more: dict[str, Any] = {}
        if isinstance(self.filler, Network) and all(layer.in_head for layer in self.layers):
            more["trunk"] = self.filler.trunk_of(batch)
        whole = self.filler.fill(batch, **more)
        # by Welford: memory does not grow with the samples
        mean, squares = torch.zeros_like(whole.mean), torch.zeros_like(whole.mean)
        try:
            for number in range(self.samples):
                for place, layer in enumerate(self.layers):
                    layer.sample = (self.seed, number, place)
                value = self.filler.fill(batch, **more).mean
                step = value - mean
                mean += step / (number + 1)
                squares += step * (value - mean)
        finally:
            for layer in self.layers:
                layer.sample = None
        return with_epistemic(whole, squares / (self.samples - 1))


class InputNoise(Wrapper):
    """Adds the spread of estimates from noisy inputs as data uncertainty, after CASM (Sci. Data 10, 154, 2023).

    Gaussian noise goes on the seen soil moisture and on the covariates where they are present, its standard deviation
    a fraction of that of the cell's departures from its seasonal cycle; scalers stay as they are. It is the same for
    all windows, so that their overlaps agree. The variance counts as aleatoric.

    fraction: of the standard deviation. samples: how many. seed: of the noise.
    """

    def __init__(self, filler: GapFiller, fraction: float = 0.1, samples: int = 10, seed: int = 0) -> None:
        super().__init__(filler)
        if fraction <= 0 or samples < 2:
            raise ConfigError(
                f"uncertainty.fraction={fraction}, samples={samples}: expected more than 0, and at least 2"
            )
        self.fraction, self.samples, self.seed = fraction, samples, seed
        # the noise is drawn for windows of one size
        self.wide_cells = None

    def fill(self, batch: Batch) -> Filled:
        whole = self.filler.fill(batch)
        spread = _departures(batch)
        # log spread of the seen anomalies, over their scale
        own = torch.exp(batch.static[:, -1:, None])
        mean, squares = torch.zeros_like(whole.mean), torch.zeros_like(whole.mean)
        for number in range(self.samples):
            dynamic = batch.dynamic + self._noise(batch.dynamic, number, 0) * spread * batch.present
            sm = batch.sm + self._noise(batch.sm, number, 1) * own * batch.seen
            value = self.filler.fill(batch._replace(dynamic=dynamic, sm=sm)).mean
            step = value - mean
            mean += step / (number + 1)
            squares += step * (value - mean)
        variance = squares / (self.samples - 1)
        std = None if whole.std is None else torch.sqrt(whole.std**2 + variance)
        return whole._replace(std=std)

    def _noise(self, like: Tensor, number: int, kind: int) -> Tensor:
        rng = np.random.default_rng([NOISE, self.seed, number, kind])
        return self.fraction * torch.from_numpy(rng.standard_normal(like.shape[1:], np.float32)).to(like)


def _departures(batch: Batch) -> Tensor:
    """Standard deviation of each covariate's departures from its seasonal cycle, (B, C, 1, H, W); 0 without values."""
    if not batch.dynamic.shape[1]:
        return batch.dynamic[:, :, :1]
    residual = batch.dynamic - seasonal_cycle(batch.dynamic, batch.present, batch.season)
    count = batch.present.sum(2, keepdim=True).clamp(min=1)
    return torch.sqrt((residual * batch.present).square().sum(2, keepdim=True) / count)


def with_epistemic(whole: Filled, variance: Tensor) -> Filled:
    """What a filler gives with an epistemic variance, (B, 1, T, H, W), added to what it knows."""
    own = torch.zeros_like(variance) if whole.epistemic is None else whole.epistemic**2
    std = None if whole.std is None else torch.sqrt(whole.std**2 + variance)
    return whole._replace(std=std, epistemic=torch.sqrt(own + variance))


def wrap(spec: Mapping[str, Any], filler: GapFiller) -> Wrapper:
    """The wrappers of a specification around a filler; what it nests under 'filler' goes inside.

    Raises ConfigError where it makes no wrapper.
    """
    inside = wrap(spec["filler"], filler) if "filler" in spec else filler
    made: Wrapper = build({k: v for k, v in spec.items() if k != "filler"}, Wrapper, filler=inside)
    if hasattr(inside, "inputs"):
        made.adopt()
    return made


def check_wrappers(spec: Mapping[str, Any], where: str = "uncertainty") -> None:
    """Raise ConfigError where a specification makes no wrappers, see `wrap`."""
    check_spec({k: v for k, v in spec.items() if k != "filler"}, Wrapper, where, ("filler",))
    if "filler" in spec:
        inner = spec["filler"]
        if not isinstance(inner, Mapping):
            raise ConfigError(f"{where}.filler={inner!r}: expected settings with {TARGET}")
        check_wrappers(inner, f"{where}.filler")


def innermost(filler: GapFiller) -> Any:
    """The filler inside all wrappers."""
    while isinstance(filler, Wrapper):
        filler = filler.filler
    return filler
