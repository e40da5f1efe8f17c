"""Unlike fillers combined: their errors differ, so their mean is better than the best of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from sgdsm.core.cube import ConfigError, log
from sgdsm.core.specification import build
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller, Window

MOST = 10


class Stack(GapFiller):
    """A convex combination of fillers, its weights fitted by least squares to the validation draw (Breiman, Machine
    Learning 24, 49, 1996: stacked regressions with non-negative weights; here they also add up to 1).

    members: name -> filler, each trained by itself before; every one sees windows large enough for all.
    """

    chooses = True

    def __init__(self, members: dict[str, GapFiller]) -> None:
        super().__init__()
        if not 2 <= len(members) <= MOST:
            raise ConfigError(f"model.members: {len(members)} given, expected 2 to {MOST}")
        self.members = nn.ModuleDict(members)
        self.weights: Tensor
        self.register_buffer("weights", torch.full((len(members),), 1 / len(members)))
        self.uses_repeat_cycle = any(member.uses_repeat_cycle for member in members.values())
        windows = [member.window for member in members.values()]
        days, cells, halo_days, halo_cells = (
            _largest([getattr(w, size) for w in windows]) for size in ("days", "cells", "halo_days", "halo_cells")
        )
        self.window = Window(days, cells, halo_days, halo_cells, min(w.longest for w in windows))

    def setup_inputs(self, inputs: object) -> None:
        for member in self.fillers:
            member.configure(self.inputs)

    @property
    def fillers(self) -> list[GapFiller]:
        """The members, in order."""
        return list(self.members.values())  # type: ignore[arg-type]

    def fill(self, batch: Batch) -> Filled:
        # a member without weight costs nothing
        means = [w * m.fill(batch).mean for w, m in zip(self.weights, self.fillers, strict=True) if w > 0]
        return Filled(torch.stack(means).sum(0))

    def on_validation_epoch_start(self) -> None:
        count = len(self.members)
        self._gram = np.zeros((count, count))
        self._values = 0

    def validation_step(self, batch: Batch, index: int) -> None:
        """Gather the products of the members' estimates with one another and with the truth."""
        estimates = [member.fill(batch).mean[batch.wanted].double().cpu().numpy() for member in self.fillers]
        truth = self.in_units(batch.truth, batch)[batch.wanted].double().cpu().numpy()
        # from the truth: with weights that add up to 1 only the members' errors count
        errors = np.stack(estimates) - truth
        self._gram += errors @ errors.T
        self._values += len(truth)

    def on_validation_epoch_end(self) -> None:
        weights = convex_weights(self._gram)
        self.weights.copy_(torch.from_numpy(weights))
        squares = weights @ self._gram @ weights / self._values
        self.log("validation_rmse", torch.tensor(np.sqrt(squares), dtype=torch.float32))
        shares = zip(self.members, self.weights.tolist(), strict=True)
        log.info("weights: %s", ", ".join(f"{name} {weight:.3f}" for name, weight in shares))


class Ensemble(Stack):
    """The mean of networks that differ in their seeds; its standard deviation joins their spread (CASM's structural
    uncertainty) and what each says of its own.

    filler: the first of them, with a seed. members: how many.
    """

    chooses = False  # their weights are equal
    decomposes = True
    on_validation_epoch_start = GapFiller.on_validation_epoch_start
    validation_step = GapFiller.validation_step
    on_validation_epoch_end = GapFiller.on_validation_epoch_end

    def __init__(self, filler: GapFiller, members: int = 7) -> None:
        seed = filler.spec.get("seed")
        if not isinstance(seed, int):
            raise ConfigError(f"model.filler: {type(filler).__name__} has no seed, its copies would be the same")
        specs = {f"seed_{seed + k}": {**filler.spec, "seed": seed + k} for k in range(members)}
        super().__init__({name: build(spec, GapFiller) for name, spec in specs.items()})

    def fill(self, batch: Batch) -> Filled:
        found = [member.fill(batch) for member in self.fillers]
        means = torch.stack([one.mean for one in found])
        stds = [one.std for one in found if one.std is not None]
        own = [torch.zeros_like(means[0]) if one.epistemic is None else one.epistemic for one in found]
        spread = means.var(0, unbiased=False)
        epistemic = torch.sqrt(torch.stack(own).square().mean(0) + spread)
        std = torch.sqrt(torch.stack(stds).square().mean(0) + spread) if len(stds) == len(found) else None
        return Filled(means.mean(0), std, epistemic=epistemic)


def convex_weights(gram: np.ndarray) -> np.ndarray:
    """The non-negative weights that add up to 1 and give the smallest w' gram w, (M,).

    gram: sums of products of the members' errors, (M, M).
    """
    # a little ridge: two copies of one member share their weight
    gram = gram + 1e-9 * max(np.trace(gram), 1e-300) / len(gram) * np.eye(len(gram))
    best, lowest = np.full(len(gram), 1 / len(gram)), np.inf
    # a handful of members: every subset is tried, so there is no doubt about the optimum
    for size in range(1, len(gram) + 1):
        for chosen in map(list, combinations(range(len(gram)), size)):
            inside = np.linalg.solve(gram[np.ix_(chosen, chosen)], np.ones(size))
            weights = np.zeros(len(gram))
            weights[chosen] = inside / inside.sum()
            error = weights @ gram @ weights
            if (weights >= 0).all() and error < lowest:
                best, lowest = weights, error
    return best


def _largest(sizes: list[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return max(known) if len(known) == len(sizes) else None
