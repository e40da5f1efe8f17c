"""Common base of the networks: loss, optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from sgdsm.core.errors import ConfigError
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.layers.block import Block

MOST_EPOCHS = 300  # where the steps decide

# anomalies over `Inputs.anomaly_scale` and the logs of their variances or None, (B, 1, T, H, W) each
Estimate = tuple[Tensor, Tensor | None]


class Network(GapFiller):
    """A torch network that estimates anomalies, trained on hidden values.

    The loss is a smooth L1 loss or, for a network that estimates the variance too, the beta-NLL of Seitzer et al.
    (ICLR 2022).

    Args:
        epochs: Passes over the record, each with new gaps. None: as many as `steps` need, at most 300.
        learning_rate: Largest one; it rises over the first 3 % of the training, then falls along a cosine.
        weight_decay: Of AdamW.
        batch_size: Windows in a step.
        seed: Of all random numbers in training.
        steps: Steps of the optimizer where `epochs` is None: a long training of a short record, a short one of a large
            cube.

    Raises:
        ConfigError: If a setting is out of range.

    Attributes:
        beta: Exponent of the beta-NLL; 0: likelihood, 1: squared errors.
        gains_by_bf16: True if matrix products in bfloat16 make it faster at equal skill, as measured.
        in_bf16: True to use them where the device has instructions for them; set by `use_bf16`.
        emulates_bf16: True to use them then on other devices too, slowly.
    """

    beta = 0.5
    gains_by_bf16 = False
    in_bf16 = False
    emulates_bf16 = False

    def __init__(
        self,
        epochs: int | None = 40,
        *,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        batch_size: int = 1,
        seed: int = 0,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        settings = {"epochs": epochs, "steps": steps, "learning_rate": learning_rate, "batch_size": batch_size}
        for name, value in settings.items():
            if value is not None and value <= 0:
                raise ConfigError(f"model.{name}={value}: expected more than 0")
        self.epochs, self.steps = (MOST_EPOCHS, steps) if epochs is None else (epochs, None)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.batch_size, self.seed = batch_size, seed

    def trunk_of(self, batch: Batch) -> Any:
        """Return the input of the last layers, for sampling dropout in them; None: the network has no such division.

        Args:
            batch: Windows.
        """
        return None

    @abstractmethod
    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        """Estimate the anomalies of windows.

        Args:
            batch: Windows.
            trunk: Result of `trunk_of` for this batch; None: it is computed.

        Returns:
            Anomalies over `Inputs.anomaly_scale` and the logs of their variances or None, (B, 1, T, H, W) each.
        """

    def products(self) -> AbstractContextManager[Any]:
        """Return the context in which this network computes: autocast to bfloat16 where it is faster."""
        kind = self.device.type
        # an exported program is for other devices too
        wanted = self.in_bf16 and (self.emulates_bf16 or has_bf16(kind)) and not torch.compiler.is_exporting()
        return torch.autocast(kind, torch.bfloat16) if wanted else nullcontext()

    def fill(self, batch: Batch, trunk: Any = None) -> Filled:
        """Estimate the wanted values as `GapFiller.fill` does.

        Args:
            batch: Windows.
            trunk: See `estimate`.

        Returns:
            Fields (B, 1, T, H, W) in the target's units.
        """
        with self.products():
            anomaly, log_variance = self.estimate(batch, trunk)
        std = None if log_variance is None else self.inputs.anomaly_scale * torch.exp(0.5 * log_variance.float())
        return Filled(self.in_units(anomaly.float(), batch), std)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss of a batch.

        Args:
            batch: Windows whose wanted values are hidden ones.
            index: Number of the batch, given by Lightning.
        """
        # seeded in each step: a resumed run draws the same dropout masks as an uninterrupted one
        number = index * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.current_epoch, number]).generate_state(1)[0]))
        self._schedule(index)
        with self.products():
            loss = self.loss(self.estimate(batch), batch)
        self.log("train_loss", loss.detach(), prog_bar=True, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        return loss

    def loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        """Return the mean loss at the hidden values of a batch, a scalar.

        Args:
            estimate: See `estimate`.
            batch: Windows with the truth.
        """
        anomaly, log_variance = estimate
        errors = (anomaly - batch.truth)[batch.wanted].float()
        if log_variance is None:
            return weighted_mean(smooth_l1_loss(errors, torch.zeros_like(errors), reduction="none"), batch)
        log_variance = log_variance[batch.wanted].float()
        loss = 0.5 * (errors.square() * torch.exp(-log_variance) + log_variance)
        # beta-NLL: the factor is a weight of each value, no gradient passes through it
        return weighted_mean(loss * torch.exp(self.beta * log_variance.detach()), batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.make_optimizer()
        for group in optimizer.param_groups:
            # the schedule scales these
            group["initial_lr"] = group["lr"]
        return optimizer

    def make_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer with its largest learning rates."""
        return torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def _schedule(self, index: int) -> None:
        """Set the learning rates of a step."""
        # computed from the number of the step alone: no state that an interruption could lose
        epochs = self.trainer.max_epochs or self.epochs
        accumulated = self.trainer.accumulate_grad_batches
        steps = -(-int(self.trainer.num_training_batches) // accumulated)
        done = (self.current_epoch + index // accumulated / max(1, steps)) / epochs
        # linear warm-up, then a cosine down to 1 % of the largest rate
        factor = min(1.0, (done + 1e-3) / 0.03) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * max(factor, 1e-2)


def blocks_of(filler: nn.Module) -> list[Block]:
    """Return the blocks of the networks in a filler.

    Args:
        filler: A network, or a filler that contains networks.
    """
    return [module for module in filler.modules() if isinstance(module, Block)]


@cache
def has_bf16(kind: str) -> bool:
    """Return True if a device has instructions for matrix products in bfloat16.

    Args:
        kind: 'cpu', 'cuda', ...
    """
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # without them bfloat16 is emulated, and slower than float32
    return kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def use_bf16(filler: GapFiller, wanted: bool, emulated: bool = False) -> None:
    """Let the networks of a filler that gain by it compute their products in bfloat16, or in float32.

    Args:
        filler: A network, or a filler that contains networks.
        wanted: False for float32.
        emulated: True to do so also where the device has no instructions for it.
    """
    for network in filler.modules():
        if isinstance(network, Network):
            network.in_bf16, network.emulates_bf16 = wanted and network.gains_by_bf16, emulated


def in_bf16(filler: GapFiller, kind: str) -> bool:
    """Return True if some network of a filler computes in bfloat16 on a device.

    Args:
        filler: A network, or a filler that contains networks.
        kind: 'cpu', 'cuda', ...
    """
    return has_bf16(kind) and any(isinstance(part, Network) and part.in_bf16 for part in filler.modules())


def compile_blocks(filler: GapFiller) -> None:
    """Compile the blocks of a filler with `torch.compile`, in place: the weights keep their names.

    Args:
        filler: A network, or a filler that contains networks.

    Raises:
        ConfigError: If it has no blocks.
    """
    if not blocks_of(filler):
        raise ConfigError(f"trainer.compile=true: {type(filler).__name__} has no blocks of layers to compile")
    for block in blocks_of(filler):
        block.compile()


def weighted_mean(losses: Tensor, batch: Batch) -> Tensor:
    """Return the weighted mean of losses, a scalar.

    Args:
        losses: Of the wanted values, (N,).
        batch: Windows with the weights.
    """
    weights = batch.weight[batch.wanted]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-9)


def at_least(least: int, **values: float) -> None:
    """Raise ConfigError for a setting of a model that is too small.

    Args:
        least: Smallest allowed value.
        **values: Settings by name.

    Raises:
        ConfigError: If one is less.
    """
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"model.{name}={value}: expected at least {least}")
