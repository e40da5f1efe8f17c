"""Splits: which values are for training, validation, calibration and test, and what a filler may see of each.

A `Scenario` is one fixed question: these values are seen, these are hidden. All scenarios of a cube are drawn from the
seed of its splits alone, so they are the same for every filler and every run with the same protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sgdsm.core.arguments import Recorded
from sgdsm.core.days import SEASONS, season_numbers
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream
from sgdsm.data.gaps import KINDS, SPREAD, Gaps

# first words of the seeds, so that no two purposes share a stream of random numbers
SPLITS = ("train", "validation", "calibration", "test")


class Scenario(NamedTuple):
    """Masks of one fixed question.

    Attributes:
        seen: Values given to the filler, (T, H, W) bool.
        hidden: Values to be scored, by kind of gap, (T, H, W) bool each.
        known: Values that the cells' climatology may be taken from, (T, H, W) bool.
    """

    seen: np.ndarray
    hidden: dict[str, np.ndarray]
    known: np.ndarray

    @property
    def all_hidden(self) -> np.ndarray:
        """Hidden values of any kind, (T, H, W) bool."""
        hidden: np.ndarray = np.logical_or.reduce(list(self.hidden.values()))
        return hidden


class Split(NamedTuple):
    """The values of a cube, split.

    Attributes:
        base: Values that training may see, (T, H, W) bool.
        allowed: Values that training may hide and learn from, (T, H, W) bool.
        donors: Days whose gaps training may transplant, (T,) bool.
        scenarios: The fixed scenarios, by the name of the split; a split without one is missing.
    """

    base: np.ndarray
    allowed: np.ndarray
    donors: np.ndarray
    scenarios: dict[str, Scenario]

    def training(self, gaps: Gaps, seed: int, epoch: int, orbit: Orbit | None, apart: int = 1) -> Scenario:
        """Return the scenario of one epoch of training; each epoch hides other values.

        Args:
            gaps: How gaps are drawn.
            seed: Of the draws.
            epoch: Number of the epoch.
            orbit: Orbit over the cube's grid, for simulated swaths.
            apart: Days with hidden values are a multiple of so many days apart; each epoch takes the next ones.
        """
        rng = np.random.default_rng([Stream.TRAINING_GAPS, seed, epoch])
        allowed = self.allowed & (np.arange(len(self.allowed)) % apart == epoch % apart)[:, None, None]
        if gaps.learn == "random":
            single = self.base & allowed & (rng.random(self.base.shape) < gaps.fraction)
            hidden = {"swath": single, "outage": np.zeros_like(single)}
        else:
            hidden = gaps.draw(self.base, allowed, rng, orbit, donors=self.donors)
        seen = self.base & ~hidden["swath"] & ~hidden["outage"]
        return Scenario(seen, hidden, seen)


class All(Recorded):
    """Train on every value, for final products.

    Two fixed disjoint gap-shaped mask samples are held out, one for validation (early stopping and any choice) and one
    for calibration. There is no test.

    Args:
        fraction: Share of the values in each of the two samples.
        seed: Of the samples.

    Raises:
        ConfigError: When the fraction is not between 0 and 0.5.
    """

    in_parts = True  # parts of a cube may be split one by one

    def __init__(self, fraction: float = 0.05, seed: int = 0) -> None:
        if not 0 < fraction < 0.5:
            raise ConfigError(f"splits.fraction={fraction}: expected a share between 0 and 0.5")
        self.fraction, self.seed = fraction, seed

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Split the observed values.

        Args:
            observed: (T, H, W) bool.
            days: Days since 1970-01-01, (T,).
            gaps: How the held-out samples are drawn.
            orbit: Orbit over the cube's grid, for simulated swaths.

        Raises:
            ConfigError: When a sample hides nothing.
        """
        base = observed.copy()
        hidden = {}
        for code, split in enumerate(("validation", "calibration")):
            rng = np.random.default_rng([Stream.SCORED_GAPS, self.seed, code])
            # the same number of values for both, though the first are gone already
            fraction = self.fraction * observed.sum() / max(1, base.sum())
            part = SPREAD if split == "calibration" else 1.0
            hidden[split] = gaps.draw(observed, base, rng, orbit, fraction, part=part)
            # disjoint: what validation hides is never seen in training or calibration
            base &= ~np.logical_or.reduce(list(hidden[split].values()))
            if not any(mask.any() for mask in hidden[split].values()):
                raise ConfigError(nothing_hidden(split, gaps, observed))
        scenarios = {split: Scenario(base, kinds, base) for split, kinds in hidden.items()}
        return Split(base, base, np.ones(len(days), bool), scenarios)


class Blocks(Recorded):
    """Blocks of days assigned to training, validation, calibration and test, every season to each as far as they last.

    A window sees the observations of its own split only; the climatology of the cells comes from the training days and
    what is seen of the split itself. Values that are used for training, choices or scores keep `separation_days` from
    those of another split.

    Args:
        block_days: Length of a block, days.
        separation_days: Distance between targets of different splits, days.
        shares: Shares of the blocks for train, validation, calibration and test.
        hidden: Share of the values on target days that validation, calibration and test hide.
        seed: Of the assignment and of the mask samples.

    Raises:
        ConfigError: When a number is out of range.
    """

    in_parts = False
    name = "splits=blocks"  # in messages

    def __init__(
        self,
        block_days: int = 30,
        separation_days: int = 15,
        shares: tuple[float, float, float, float] = (0.52, 0.16, 0.16, 0.16),
        hidden: float = 0.4,
        seed: int = 0,
    ) -> None:
        check_shares(shares, len(SPLITS))
        check_separation("days", separation_days, block_days)
        check_hidden(hidden)
        self.block_days, self.separation_days, self.shares = block_days, separation_days, tuple(shares)
        self.hidden, self.seed = hidden, seed

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Split the observed values.

        Args:
            observed: (T, H, W) bool.
            days: Days since 1970-01-01, (T,).
            gaps: How the held-out samples are drawn.
            orbit: Orbit over the cube's grid, for simulated swaths.

        Raises:
            ConfigError: When the record is too short, or a split has no value or no hidden value.
        """
        # a target that begins late or ends early is split over its own days; the other days belong to no split
        held = np.flatnonzero(observed.any((1, 2)))
        first, last = (int(held[0]), int(held[-1])) if held.size else (0, len(days) - 1)
        first = first if days[first] - days[0] > self.block_days else 0
        last = last if days[-1] - days[last] > self.block_days else len(days) - 1
        label, target = np.full(len(days), -1), np.zeros(len(days), bool)
        label[first : last + 1], target[first : last + 1] = self.label(days[first : last + 1])
        where = label[:, None, None], target[:, None, None]
        return split_by_label(observed, *where, gaps, orbit, self.hidden, self.seed, self.name)

    def label(self, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the split of each day, and the days whose values may be targets.

        Args:
            days: Days since 1970-01-01, (T,).

        Returns:
            Index into SPLITS, (T,) int; and True where values may be targets, (T,) bool.

        Raises:
            ConfigError: When the record is too short for four splits.
        """
        label, about = self._dealt(days)
        target = np.ones(len(days), bool)
        before = self.separation_days // 2
        # days near the boundary of two splits are no targets: errors are correlated over some days
        for edge in np.flatnonzero(np.diff(label)):
            boundary = days[edge + 1]
            target &= (days < boundary - before) | (days >= boundary + self.separation_days - before)
        for code, split in enumerate(SPLITS):
            if code not in label:
                raise ConfigError(
                    f"{about}, and the {split} split gets none of them: lower splits.block_days and "
                    "splits.separation_days, like 20 and 5, or use splits=all"
                )
            if not (target & (label == code)).any():
                raise ConfigError(
                    f"{self.name}: {self.separation_days} days from the others, the {split} split has no day left: "
                    "lower splits.separation_days or raise splits.block_days"
                )
            lacking = [s for k, s in enumerate(SEASONS) if k not in season_numbers(days[target & (label == code)])]
            if lacking:
                log.info("the %s days hold no %s: the record has too few blocks", split, ", ".join(lacking))
        return label, target

    def _dealt(self, days: np.ndarray, free: np.ndarray | None = None) -> tuple[np.ndarray, str]:
        """Return the split of each day, -1 where none is dealt, (T,) int; and the number of blocks in words.

        Args:
            days: Days since 1970-01-01, (T,).
            free: Days whose blocks are dealt, (T,) bool; None: all.

        Raises:
            ConfigError: When the record is too short for four splits.
        """
        free = np.ones(len(days), bool) if free is None else free
        span = int(days[-1] - days[0]) + 1
        # blocks of equal length that cover the record exactly
        count = round(span / self.block_days)
        about = f"{self.name}: a record of {span} days holds {count} blocks of {self.block_days} days"
        if count < len(SPLITS):
            raise ConfigError(f"{about}, expected at least {len(SPLITS)}: lower splits.block_days, or use splits=all")
        block = np.minimum((days - days[0]) * count // span, count - 1)
        dealt = np.unique(block[free])
        split_of_block = np.full(count, -1)
        split_of_block[dealt] = self._assign(season_numbers(days[0] + (dealt + 0.5) * span / count))
        return np.where(free, split_of_block[block], -1), about

    def _assign(self, season: np.ndarray) -> np.ndarray:
        """Return a split for each block; every split gets each season that has as many blocks as there are splits."""
        rng = np.random.default_rng([Stream.ASSIGNMENT, self.seed])
        shares = np.asarray(self.shares)
        split_of_block, counts = np.empty(len(season), int), np.zeros(len(shares))
        for number in range(len(SEASONS)):
            blocks = rng.permutation(np.flatnonzero(season == number))
            first = len(shares) if len(blocks) >= len(shares) else 0
            for place, block in enumerate(blocks):
                # after one for each, the split that is furthest behind its share of all blocks comes next
                choice = place if place < first else int(np.argmin((counts + 1) / shares))
                split_of_block[block] = choice
                counts[choice] += 1
        return split_of_block


class Random(Recorded):
    """Single values assigned at random, only for comparison with papers that were scored so.

    It leaks. A test value has training values on the days around it and in the cells around it, with the same rain in
    them, so the scores are better than those of gaps of any length or of other years. Use `Blocks` for honest scores.

    Args:
        shares: Shares of the values for train, validation, calibration and test.
        seed: Of the assignment.

    Raises:
        ConfigError: When the shares are not four positive numbers that add up to 1.
    """

    in_parts = False

    def __init__(self, shares: tuple[float, float, float, float] = (0.52, 0.16, 0.16, 0.16), seed: int = 0) -> None:
        check_shares(shares, len(SPLITS))
        self.shares, self.seed = tuple(shares), seed

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Split the observed values; those of training are seen in every scenario.

        Args:
            observed: (T, H, W) bool.
            days: Days since 1970-01-01, (T,).
            gaps: Not used.
            orbit: Not used.

        Raises:
            ConfigError: When there are too few values.
        """
        rng = np.random.default_rng([Stream.ASSIGNMENT, self.seed])
        # one random number a value; the shares cut them into splits
        label = np.digitize(rng.random(observed.shape, np.float32), np.cumsum(self.shares[:3]))
        base = observed & (label == 0)
        scenarios = {}
        for code, split in enumerate(SPLITS[1:], start=1):
            hidden = observed & (label == code)
            if not hidden.any() or not base.any():
                raise ConfigError(f"splits=random: {observed.sum()} observed values are too few for four splits")
            scenarios[split] = Scenario(base, {"random": hidden}, base)
        return Split(base, base, np.ones(len(days), bool), scenarios)


def nothing_hidden(split: str, gaps: Gaps, observed: np.ndarray) -> str:
    """Return the message for a mask sample that hides nothing."""
    return (
        f"the draw for {split} hides none of {int(observed.sum())} observed values ({' and '.join(KINDS)}): "
        f"with gaps.bank={gaps.bank} the masks of other days show no gap here; use gaps=amsr2, or a longer record"
    )


def split_by_label(
    observed: np.ndarray,
    label: np.ndarray,
    target: np.ndarray,
    gaps: Gaps,
    orbit: Orbit | None,
    hidden: float,
    seed: int,
    name: str,
) -> Split:
    """Split observed values where each day, or each cell, belongs to one split; a filler sees those of its split only.

    Args:
        observed: (T, H, W) bool.
        label: Index into SPLITS, another number for none, (T, 1, 1) or (1, H, W) int.
        target: Where values may be targets, of the shape of `label`, bool.
        gaps: How the mask samples of validation, calibration and test are drawn.
        orbit: Orbit over the cube's grid, for simulated swaths.
        hidden: Share of the values that may be targets that a mask sample hides.
        seed: Of the mask samples.
        name: Of the splits, in messages.

    Raises:
        ConfigError: When a split has no value or no hidden value.
    """
    days = len(observed)
    learned = observed & (label == 0)
    scenarios = {}
    for code, split in enumerate(SPLITS[1:], start=1):
        in_split = label == code
        available = observed & in_split
        allowed = available & target
        if not allowed.any():
            kind = "days" if len(label) > 1 else "cells"
            raise ConfigError(f"{name}: the {split} {kind} hold no observed value")
        rng = np.random.default_rng([Stream.SCORED_GAPS, seed, code])
        donors = np.broadcast_to(in_split.any((1, 2)), days)
        masks = gaps.draw(available, allowed, rng, orbit, hidden, donors)
        if not any(mask.any() for mask in masks.values()):
            raise ConfigError(nothing_hidden(split, gaps, observed))
        seen = available & ~masks["swath"] & ~masks["outage"]
        # climatology from training values too, as a final product would have it
        scenarios[split] = Scenario(seen, masks, seen | learned)
    return Split(learned, learned & target, np.broadcast_to((label == 0).any((1, 2)), days), scenarios)


def check_shares(shares: Sequence[float], number: int) -> None:
    """Raise ConfigError unless there are so many positive shares that add up to 1."""
    if len(shares) != number or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        count = {3: "three", 4: "four"}[number]
        raise ConfigError(f"splits.shares={list(shares)}: expected {count} positive shares that add up to 1")


def check_separation(of: str, separation: int, block: int) -> None:
    """Raise ConfigError where blocks are too short to hold values that far from those of other splits."""
    if not 0 <= separation < block:
        raise ConfigError(
            f"splits.separation_{of}={separation}: expected less than splits.block_{of}={block}, "
            "or no split could hold a target"
        )


def check_hidden(hidden: float) -> None:
    """Raise ConfigError for a share of hidden values that is none."""
    if not 0 < hidden < 1:
        raise ConfigError(f"splits.hidden={hidden}: expected a share between 0 and 1")
