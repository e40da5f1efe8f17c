"""Combinations of fillers: their errors differ, so a weighted mean is better than the best of them."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.specification import build
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller, Window

MOST = 10


class Stack(GapFiller):
    """A convex combination of fillers with weights fitted by least squares on the validation split.

    Stacked regressions with non-negative weights (Breiman, Machine Learning 24, 49, 1996); here the weights also add
    up to 1. The window is large enough for every member.

    Args:
        members: Fillers by name, 2 to 10; each is trained by itself before the weights are fitted.

    Raises:
        ConfigError: If there are too few or too many members.
    """

    chooses = True

    def __init__(self, members: dict[str, GapFiller]) -> None:
        super().__init__()
        if not 2 <= len(members) <= MOST:
            raise ConfigError(f"model.members: {len(members)} given, expected 2 to {MOST}")
        self.members = nn.ModuleDict(members)
        self.weights: Tensor
        # equal weights until the validation pass fits them
        self.register_buffer("weights", torch.full((len(members),), 1 / len(members)))
        self._widen_window()

    def _widen_window(self) -> None:
        """Set a window that is large enough for every member."""
        self.uses_repeat_cycle = any(member.uses_repeat_cycle for member in self.fillers)
        self.uses_covariates = any(member.uses_covariates for member in self.fillers)
        self.can_be_causal = all(member.can_be_causal for member in self.fillers)
        self.learns_causal = any(member.learns_causal for member in self.fillers)
        windows = [member.window for member in self.fillers]
        # None stands for the whole axis
        days, cells, halo_days, halo_cells = (
            _largest([getattr(w, size) for w in windows]) for size in ("days", "cells", "halo_days", "halo_cells")
        )
        self.window = Window(days, cells, halo_days, halo_cells, min(w.longest for w in windows))
        wide = {(member.wide_cells, member.wide_values) for member in self.fillers}
        self.wide_cells, self.wide_values = wide.pop() if len(wide) == 1 else (None, None)

    def setup_inputs(self, inputs: object) -> None:
        for member in self.fillers:
            member.configure(self.inputs)
        # windows may depend on the variables
        self._widen_window()

    @property
    def fillers(self) -> list[GapFiller]:
        """The members, in order."""
        return list(self.members.values())  # type: ignore[arg-type]

    def fill(self, batch: Batch) -> Filled:
        # a member without weight is not run
        means = [w * m.fill(batch).mean for w, m in zip(self.weights, self.fillers, strict=True) if w > 0]
        return Filled(torch.stack(means).sum(0))

    def on_validation_epoch_start(self) -> None:
        count = len(self.members)
        self._gram = np.zeros((count, count))
        self._values = 0

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add the products of the members' errors with one another.

        Args:
            batch: Windows whose wanted values are hidden ones.
            index: Number of the batch, given by Lightning.
        """
        estimates = [member.fill(batch).mean[batch.wanted].double().cpu().numpy() for member in self.fillers]
        truth = self.in_units(batch.truth, batch)[batch.wanted].double().cpu().numpy()
        # errors are enough: with weights that add up to 1 the error of the mean is the mean of the errors
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
    """The mean of fillers that differ in their seeds or settings.

    The standard deviation combines the spread of the members (CASM's structural uncertainty, the epistemic part) and
    their own standard deviations.

    Args:
        filler: A filler with a seed, of which copies with consecutive seeds are made; or a list of 2 to 10 different
            fillers, which are taken as they are.
        members: Number of copies; not used with a list.

    Raises:
        ConfigError: If the filler has no seed, or if members of the list are the same, too few or too many.
    """

    chooses = False  # all weights are equal
    decomposes = True
    on_validation_epoch_start = GapFiller.on_validation_epoch_start
    validation_step = GapFiller.validation_step
    on_validation_epoch_end = GapFiller.on_validation_epoch_end

    def __init__(self, filler: GapFiller | list[GapFiller], members: int = 5) -> None:
        super().__init__(_copies(filler, members) if isinstance(filler, GapFiller) else _different(filler))

    def fill(self, batch: Batch) -> Filled:
        filled = [member.fill(batch) for member in self.fillers]
        means = torch.stack([one.mean for one in filled])
        stds = [one.std for one in filled if one.std is not None]
        # a member that does not know its epistemic part contributes only to the spread
        epistemic = [torch.zeros_like(means[0]) if one.epistemic is None else one.epistemic for one in filled]
        spread = means.var(0, unbiased=False)
        # variances add up: the mean of those of the members, and the variance between the members
        std = torch.sqrt(torch.stack(stds).square().mean(0) + spread) if len(stds) == len(filled) else None
        return Filled(means.mean(0), std, epistemic=torch.sqrt(torch.stack(epistemic).square().mean(0) + spread))


def _copies(filler: GapFiller, members: int) -> dict[str, GapFiller]:
    """Return copies of a filler with consecutive seeds."""
    seed = filler.spec.get("seed")
    if not isinstance(seed, int):
        raise ConfigError(f"model.filler: {type(filler).__name__} has no seed, its copies would be the same")
    specs = {f"seed_{seed + k}": {**filler.spec, "seed": seed + k} for k in range(members)}
    return {name: build(spec, GapFiller) for name, spec in specs.items()}


def _different(fillers: list[GapFiller]) -> dict[str, GapFiller]:
    """Return fillers by name; raise ConfigError if two are the same."""
    for number, filler in enumerate(fillers):
        if any(filler.spec == other.spec for other in fillers[:number]):
            raise ConfigError(f"model.filler: number {number} is the same as another; expected different seeds")
    names = [f"seed_{filler.spec['seed']}" if "seed" in filler.spec else "member" for filler in fillers]
    count = Counter(names)
    # a seed names a member if it is unique: then the files of a list and of copies have the same names
    return {
        name if count[name] == 1 else f"{name}_{number}": filler
        for number, (name, filler) in enumerate(zip(names, fillers, strict=True))
    }


def convex_weights(gram: np.ndarray) -> np.ndarray:
    """Return the non-negative weights w that add up to 1 and minimise w' gram w, (M,).

    Args:
        gram: Sums of products of the members' errors, (M, M).
    """
    # a small ridge: two copies of one member share their weight
    gram = gram + 1e-9 * max(np.trace(gram), 1e-300) / len(gram) * np.eye(len(gram))
    best, lowest = np.full(len(gram), 1 / len(gram)), np.inf
    # with at most 10 members all subsets can be tried, and the optimum is exact
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
    """Return the largest size; None (no limit) if any is None."""
    limited = [size for size in sizes if size is not None]
    return max(limited) if len(limited) == len(sizes) else None
