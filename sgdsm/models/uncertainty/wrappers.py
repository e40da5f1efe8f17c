"""Wrappers that add an uncertainty to any filler; they can be nested."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.core.random import Stream
from sgdsm.core.specification import TARGET, build, check_spec
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.base import Network
from sgdsm.models.networks.layers.dropout import ChannelDropout
from sgdsm.models.networks.seasonal import seasonal_cycle


class Wrapper(GapFiller):
    """A filler around another one, with the same window.

    Args:
        filler: The inner filler, perhaps a wrapper itself.
    """

    def __init__(self, filler: GapFiller) -> None:
        super().__init__()
        self.filler = filler
        self.window, self.batch_size, self.decomposes = filler.window, filler.batch_size, filler.decomposes
        self.wide_cells, self.wide_values = filler.wide_cells, filler.wide_values
        self.fixed_windows = filler.fixed_windows
        self.uses_covariates = filler.uses_covariates
        self.can_be_causal, self.learns_causal = filler.can_be_causal, filler.learns_causal

    def setup_inputs(self, inputs: Inputs) -> None:
        self.filler.configure(inputs)
        # it may depend on the variables
        self.window = self.filler.window
        self.setup_own()

    def adopt(self) -> None:
        """Use the variables of the inner filler, which is fitted already."""
        self.inputs = self.filler.inputs
        if self.inputs.causal:
            self.check_causal()
        self.setup_own()

    def setup_own(self) -> None:
        """Build the wrapper's own parts that depend on the variables."""

    @abstractmethod
    def fill(self, batch: Batch) -> Filled:
        """Fill as the inner filler does, with an uncertainty.

        Args:
            batch: Windows.

        Returns:
            Fields (B, 1, T, H, W) in the target's units.
        """


class McDropout(Wrapper):
    """Adds the spread of thinned networks as epistemic uncertainty (MC dropout; Gal and Ghahramani, ICML 2016).

    The estimate remains that of the whole network. A dropout mask is the same for all windows, days and cells, so that
    the result does not depend on the tiling. With dropout in the head only (`model.head_dropout`) the layers before it
    are computed once for all samples.

    Args:
        filler: A network with dropout.
        samples: Number of thinned networks.
        seed: Of the masks.

    Raises:
        ConfigError: If a setting is out of range.
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
        shared: dict[str, Any] = {}
        if isinstance(self.filler, Network) and all(layer.in_head for layer in self.layers):
            with self.filler.products():
                shared["trunk"] = self.filler.trunk_of(batch)
        whole = self.filler.fill(batch, **shared)
        # Welford's algorithm: the memory does not grow with the number of samples
        mean, squares = torch.zeros_like(whole.mean), torch.zeros_like(whole.mean)
        try:
            for number in range(self.samples):
                for place, layer in enumerate(self.layers):
                    layer.sample = (self.seed, number, place)
                value = self.filler.fill(batch, **shared).mean
                step = value - mean
                mean += step / (number + 1)
                squares += step * (value - mean)
        # also after an error: a later fill must not use dropout
        finally:
            for layer in self.layers:
                layer.sample = None
        return with_epistemic(whole, squares / (self.samples - 1))


class InputNoise(Wrapper):
    """Adds the spread of estimates from noisy inputs as data uncertainty, after CASM (Sci. Data 10, 154, 2023).

    Gaussian noise is added to the seen soil moisture and to the covariates where they are present; its standard
    deviation is a fraction of that of the cell's departures from its seasonal cycle. Scalers are not changed. The noise
    is the same for all windows. Its variance counts as aleatoric.

    Args:
        filler: Any.
        fraction: Standard deviation of the noise over that of the departures.
        samples: Number of noisy inputs.
        seed: Of the noise.

    Raises:
        ConfigError: If a setting is out of range.
    """

    def __init__(self, filler: GapFiller, fraction: float = 0.1, samples: int = 10, seed: int = 0) -> None:
        super().__init__(filler)
        if fraction <= 0 or samples < 2:
            raise ConfigError(
                f"uncertainty.fraction={fraction}, samples={samples}: expected more than 0, and at least 2"
            )
        self.fraction, self.samples, self.seed = fraction, samples, seed
        # the noise is drawn for windows of one size: others would get other noise
        self.wide_cells, self.fixed_windows = None, True
        # the spread is that of departures from a cycle over the whole window
        self.can_be_causal = False

    def fill(self, batch: Batch) -> Filled:
        whole = self.filler.fill(batch)
        spread = _departures(batch)
        sm_spread = torch.exp(batch.cell_log_spread[:, None, None])
        mean, squares = torch.zeros_like(whole.mean), torch.zeros_like(whole.mean)
        for number in range(self.samples):
            # missing values stay 0
            dynamic = batch.dynamic + self._noise(batch.dynamic, number, 0) * spread * batch.present
            sm = batch.sm + self._noise(batch.sm, number, 1) * sm_spread * batch.seen
            value = self.filler.fill(batch._replace(dynamic=dynamic, sm=sm)).mean
            step = value - mean
            mean += step / (number + 1)
            squares += step * (value - mean)
        variance = squares / (self.samples - 1)
        std = None if whole.std is None else torch.sqrt(whole.std**2 + variance)
        return whole._replace(std=std)

    def _noise(self, like: Tensor, number: int, kind: int) -> Tensor:
        """Return the noise of a sample for one window shaped like `like`; kind: 0 for covariates, 1 for the target."""
        rng = np.random.default_rng([Stream.INPUT_NOISE, self.seed, number, kind])
        return self.fraction * torch.from_numpy(rng.standard_normal(like.shape[1:], np.float32)).to(like)


def _departures(batch: Batch) -> Tensor:
    """Return the standard deviation of each covariate's departures from its seasonal cycle, (B, C, 1, H, W)."""
    if not batch.dynamic.shape[1]:
        return batch.dynamic[:, :, :1]
    residual = batch.dynamic - seasonal_cycle(batch.dynamic, batch.present, batch.season)
    count = batch.present.sum(2, keepdim=True).clamp(min=1)
    return torch.sqrt((residual * batch.present).square().sum(2, keepdim=True) / count)


def with_epistemic(whole: Filled, variance: Tensor) -> Filled:
    """Return the result of a filler with a further epistemic variance.

    Args:
        whole: Result of the filler.
        variance: (B, 1, T, H, W), in the squared units of the target.
    """
    before = torch.zeros_like(variance) if whole.epistemic is None else whole.epistemic**2
    std = None if whole.std is None else torch.sqrt(whole.std**2 + variance)
    return whole._replace(std=std, epistemic=torch.sqrt(before + variance))


def wrap(spec: Mapping[str, Any], filler: GapFiller) -> Wrapper:
    """Return a filler in the wrappers of a specification.

    Args:
        spec: Of the outermost wrapper; its entry 'filler', if any, is the specification of the next one inside.
        filler: The innermost filler.

    Raises:
        ConfigError: If the specification is not one of wrappers.
    """
    inside = wrap(spec["filler"], filler) if "filler" in spec else filler
    wrapper: Wrapper = build({k: v for k, v in spec.items() if k != "filler"}, Wrapper, filler=inside)
    if inside.configured:
        wrapper.adopt()
    return wrapper


def check_wrappers(spec: Mapping[str, Any], where: str = "uncertainty") -> None:
    """Check the specification of wrappers, see `wrap`.

    Args:
        spec: Of the outermost wrapper.
        where: Name of the setting, for messages.

    Raises:
        ConfigError: If it is not one of wrappers.
    """
    check_spec({k: v for k, v in spec.items() if k != "filler"}, Wrapper, where, ("filler",))
    if "filler" in spec:
        inner = spec["filler"]
        if not isinstance(inner, Mapping):
            raise ConfigError(f"{where}.filler={inner!r}: expected settings with {TARGET}")
        check_wrappers(inner, f"{where}.filler")


def innermost(filler: GapFiller) -> Any:
    """Return the filler inside all wrappers.

    Args:
        filler: Perhaps a wrapper.
    """
    while isinstance(filler, Wrapper):
        filler = filler.filler
    return filler
