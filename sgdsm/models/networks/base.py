"""Networks behind the trainer: what they share in training."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from sgdsm.core.cube import ConfigError
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.layers.block import Block

Estimate = tuple[Tensor, Tensor | None]


class Network(GapFiller):
    """A torch network that estimates anomalies, trained on hidden values: with a smooth L1 loss, or, where it estimates
    their variance too, with the beta-NLL of Seitzer et al. (ICLR 2022).

    epochs: each one pass over the record with fresh gaps. learning_rate: rises over the first 3 % of the
    training, then falls along a cosine. weight_decay: of AdamW. batch_size: windows in a step. seed: of everything
    random in training.
    """

    beta = 0.5  # of the beta-NLL: 0 = likelihood, 1 = squared errors

    def __init__(
        self,
        epochs: int = 40,
        learning_rate: float = 3e-3,
        weight_decay: float = 0.01,
        batch_size: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}.items():
            if value <= 0:
                raise ConfigError(f"model.{name}={value}: expected more than 0")
        self.epochs, self.learning_rate, self.weight_decay = epochs, learning_rate, weight_decay
        self.batch_size, self.seed = batch_size, seed

    def trunk_of(self, batch: Batch) -> Any:
        """What the last layers start from; None: they are not told apart."""
        return None

    @abstractmethod
    def estimate(self, batch: Batch, trunk: Any = None) -> Estimate:
        """Anomalies over `Inputs.anomaly_scale`, (B, 1, T, H, W), and the log of their variance, or None.

        trunk: what `trunk_of` gave for this batch; None: it is worked out.
        """

    def fill(self, batch: Batch, trunk: Any = None) -> Filled:
        """As `GapFiller.fill`; trunk: as in `estimate`."""
        anomaly, log_variance = self.estimate(batch, trunk)
        std = None if log_variance is None else self.inputs.anomaly_scale * torch.exp(0.5 * log_variance.float())
        return Filled(self.in_units(anomaly.float(), batch), std)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of a batch."""
        # seeded here, not once: then a resumed run draws the same dropout masks as an uninterrupted one
        number = index * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(int(np.random.SeedSequence([self.seed, self.current_epoch, number]).generate_state(1)[0]))
        self._schedule(index)
        loss = self.loss(self.estimate(batch), batch)
        self.log("train_loss", loss.detach(), prog_bar=True, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        return loss

    def loss(self, estimate: Estimate, batch: Batch) -> Tensor:
        """Mean loss at the hidden values of a batch."""
        anomaly, log_variance = estimate
        errors = (anomaly - batch.truth)[batch.wanted].float()
        if log_variance is None:
            return weighted_mean(smooth_l1_loss(errors, torch.zeros_like(errors), reduction="none"), batch)
        log_variance = log_variance[batch.wanted].float()
        loss = 0.5 * (errors.square() * torch.exp(-log_variance) + log_variance)
        return weighted_mean(loss * torch.exp(self.beta * log_variance.detach()), batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = self.make_optimizer()
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def make_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer with its highest learning rates."""
        return torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=self.weight_decay)

    def _schedule(self, index: int) -> None:
        # a function of where the training stands, without a state that an interruption could lose
        epochs = self.trainer.max_epochs or self.epochs
        together = self.trainer.accumulate_grad_batches
        steps = -(-int(self.trainer.num_training_batches) // together)
        done = (self.current_epoch + index // together / max(1, steps)) / epochs
        factor = min(1.0, (done + 1e-3) / 0.03) * (0.5 + 0.5 * math.cos(math.pi * min(1.0, done)))
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["initial_lr"] * max(factor, 1e-2)


def blocks_of(filler: nn.Module) -> list[Block]:
    """The blocks of the networks in a filler."""
    return [module for module in filler.modules() if isinstance(module, Block)]


def compile_blocks(filler: GapFiller) -> None:
    """Have `torch.compile` make kernels for the blocks of a filler, in place: its weights keep their names.

    Raises ConfigError where it has no blocks.
    """
    if not blocks_of(filler):
        raise ConfigError(f"trainer.compile=true: {type(filler).__name__} has no blocks of layers to compile")
    for block in blocks_of(filler):
        block.compile()


def weighted_mean(losses: Tensor, batch: Batch) -> Tensor:
    """Mean of the losses of the wanted values, (N,), by their weights."""
    weights = batch.weight[batch.wanted]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-9)


def at_least(least: int, **values: float) -> None:
    """Raise ConfigError for a setting of a model that is less."""
    for name, value in values.items():
        if value < least:
            raise ConfigError(f"model.{name}={value}: expected at least {least}")
