"""Which values are learned from, which choose, which calibrate, which test; and what a filler may see of each.

A `Scenario` is one fixed question: these values are seen, these are hidden. All scenarios of a cube are drawn from
the seed of its splits alone, so every filler and every run with the same protocol meets the same ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sgdsm.core.arguments import Recorded
from sgdsm.core.cube import ConfigError, log
from sgdsm.core.days import SEASONS, season_numbers
from sgdsm.core.orbit import Orbit
from sgdsm.data.gaps import KINDS, SPREAD, Gaps

# apart in the first number, so that no two purposes share a stream of random numbers
TRAINING_GAPS, SCORED_GAPS, DEAL = 1, 2, 3
SPLITS = ("train", "validation", "calibration", "test")


class Scenario(NamedTuple):
    """Masks (T, H, W) bool. seen: given to the filler. hidden: to be scored, by kind of gap. known: what the cells'
    climatology may be taken from."""

    seen: np.ndarray
    hidden: dict[str, np.ndarray]
    known: np.ndarray

    @property
    def all_hidden(self) -> np.ndarray:
        """Hidden values of any kind."""
        hidden: np.ndarray = np.logical_or.reduce(list(self.hidden.values()))
        return hidden


class Split(NamedTuple):
    """A cube's values dealt out. base: what training may see, allowed: what it may hide and learn from, both (T, H, W)
    bool. donors: days whose gaps training may transplant, (T,) bool. scenarios: the fixed ones, by split; a split
    without one is not there."""

    base: np.ndarray
    allowed: np.ndarray
    donors: np.ndarray
    scenarios: dict[str, Scenario]

    def training(self, gaps: Gaps, seed: int, epoch: int, orbit: Orbit | None, apart: int = 1) -> Scenario:
        """The values hidden in one pass of training, fresh in each epoch.

        apart: days that have hidden values are a multiple of so many days apart; each pass takes the next ones.
        """
        rng = np.random.default_rng([TRAINING_GAPS, seed, epoch])
        allowed = self.allowed & (np.arange(len(self.allowed)) % apart == epoch % apart)[:, None, None]
        if gaps.learn == "random":
            single = self.base & allowed & (rng.random(self.base.shape) < gaps.fraction)
            hidden = {"swath": single, "outage": np.zeros_like(single)}
        else:
            hidden = gaps.draw(self.base, allowed, rng, orbit, donors=self.donors)
        seen = self.base & ~hidden["swath"] & ~hidden["outage"]
        return Scenario(seen, hidden, seen)


class All(Recorded):
    """Learn from every value, for final products: two fixed disjoint gap-shaped draws are kept back, one for
    validation (early stopping and any choice) and one for calibration; there is no test.

    fraction: share of the values in each of the two draws. seed: of the draws.
    """

    in_parts = True  # parts of a cube may be dealt out one by one

    def __init__(self, fraction: float = 0.05, seed: int = 0) -> None:
        if not 0 < fraction < 0.5:
            raise ConfigError(f"splits.fraction={fraction}: expected a share between 0 and 0.5")
        self.fraction, self.seed = fraction, seed

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Deal out the observed values (T, H, W); days since 1970-01-01; gaps: of the scored draws."""
        base = observed.copy()
        hidden = {}
        for code, split in enumerate(("validation", "calibration")):
            rng = np.random.default_rng([SCORED_GAPS, self.seed, code])
            fraction = self.fraction * observed.sum() / max(1, base.sum())
            part = SPREAD if split == "calibration" else 1.0
            hidden[split] = gaps.draw(observed, base, rng, orbit, fraction, part=part)
            base &= ~np.logical_or.reduce(list(hidden[split].values()))
            if not any(mask.any() for mask in hidden[split].values()):
                raise ConfigError(no_gaps(split, gaps, observed))
        scenarios = {split: Scenario(base, kinds, base) for split, kinds in hidden.items()}
        return Split(base, base, np.ones(len(days), bool), scenarios)


class Blocks(Recorded):
    """Blocks of days dealt to training, validation, calibration and test, every season to each as far as they last.

    A window sees the observations of its own split only; the climatology of the cells comes from the training days
    and what is seen of the split itself. Values that are learned from, chosen by or scored keep `separation_days` from
    those of another split.

    block_days: length of a block. shares: of the blocks, for train, validation, calibration, test. hidden: share of
    the values on target days that validation, calibration and test hide. seed: of the deal and of the draws.
    """

    in_parts = False

    def __init__(
        self,
        block_days: int = 30,
        separation_days: int = 15,
        shares: tuple[float, float, float, float] = (0.52, 0.16, 0.16, 0.16),
        hidden: float = 0.4,
        seed: int = 0,
    ) -> None:
        if len(shares) != 4 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(f"splits.shares={list(shares)}: expected four positive shares that add up to 1")
        if not 0 <= separation_days < block_days:
            raise ConfigError(
                f"splits.separation_days={separation_days}: expected less than splits.block_days={block_days}, "
                "or no split could hold a target"
            )
        if not 0 < hidden < 1:
            raise ConfigError(f"splits.hidden={hidden}: expected a share between 0 and 1")
        self.block_days, self.separation_days, self.shares = block_days, separation_days, tuple(shares)
        self.hidden, self.seed = hidden, seed

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Deal out the observed values (T, H, W); days since 1970-01-01; gaps: of the scored draws."""
        # a target that begins late or ends early is dealt over its own days; the others are nobody's
        held = np.flatnonzero(observed.any((1, 2)))
        first, last = (int(held[0]), int(held[-1])) if held.size else (0, len(days) - 1)
        first = first if days[first] - days[0] > self.block_days else 0
        last = last if days[-1] - days[last] > self.block_days else len(days) - 1
        label, target = np.full(len(days), -1), np.zeros(len(days), bool)
        label[first : last + 1], target[first : last + 1] = self.label(days[first : last + 1])
        train = label == 0
        scenarios = {}
        for code, split in enumerate(SPLITS[1:], start=1):
            mine = label == code
            own = observed & mine[:, None, None]
            allowed = own & (target & mine)[:, None, None]
            if not allowed.any():
                raise ConfigError(f"splits=blocks: the {split} days hold no observed value")
            rng = np.random.default_rng([SCORED_GAPS, self.seed, code])
            hidden = gaps.draw(own, allowed, rng, orbit, self.hidden, mine)
            if not any(mask.any() for mask in hidden.values()):
                raise ConfigError(no_gaps(split, gaps, observed))
            seen = own & ~hidden["swath"] & ~hidden["outage"]
            scenarios[split] = Scenario(seen, hidden, seen | (observed & train[:, None, None]))
        base = observed & train[:, None, None]
        return Split(base, base & target[:, None, None], train, scenarios)

    def label(self, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The split of each day, (T,) int, as an index into SPLITS; and whether its values may be targets, (T,) bool.

        Raises ConfigError where the record is too short for four splits.
        """
        span = int(days[-1] - days[0]) + 1
        count = round(span / self.block_days)
        if count < len(SPLITS):
            raise ConfigError(
                f"splits=blocks: a record of {span} days holds {count} blocks of {self.block_days} days, "
                f"expected at least {len(SPLITS)}: lower splits.block_days, or use splits=all"
            )
        block = np.minimum((days - days[0]) * count // span, count - 1)
        middles = days[0] + (np.arange(count) + 0.5) * span / count
        deal = self._deal(season_numbers(middles))
        label = deal[block]
        target = np.ones(len(days), bool)
        before = self.separation_days // 2
        for edge in np.flatnonzero(np.diff(label)):
            boundary = days[edge + 1]
            target &= (days < boundary - before) | (days >= boundary + self.separation_days - before)
        for code, split in enumerate(SPLITS):
            if not (target & (label == code)).any():
                raise ConfigError(
                    f"splits=blocks: {self.separation_days} days from the others, the {split} split has no day left: "
                    "lower splits.separation_days or raise splits.block_days"
                )
            lacking = [s for k, s in enumerate(SEASONS) if k not in season_numbers(days[target & (label == code)])]
            if lacking:
                log.info("the %s days hold no %s: the record has too few blocks", split, ", ".join(lacking))
        return label, target

    def _deal(self, season: np.ndarray) -> np.ndarray:
        """A split for each block, every season to each split where it has as many blocks as there are splits."""
        rng = np.random.default_rng([DEAL, self.seed])
        shares = np.asarray(self.shares)
        deal, dealt = np.empty(len(season), int), np.zeros(len(SPLITS))
        for number in range(len(SEASONS)):
            blocks = rng.permutation(np.flatnonzero(season == number))
            first = len(SPLITS) if len(blocks) >= len(SPLITS) else 0
            for place, block in enumerate(blocks):
                # after one for each, the split that is furthest behind its share of all blocks comes next
                choice = place if place < first else int(np.argmin((dealt + 1) / shares))
                deal[block] = choice
                dealt[choice] += 1
        return deal


class Random(Recorded):
    """Single values dealt at random: for comparison with papers that were scored so, and for nothing else.

    It leaks. A test value has training values on the days around it and in the cells around it, with the same rain in
    them, so the scores promise more than gaps of any length or other years will keep. `blocks` is the honest one.

    shares: of the values, for train, validation, calibration, test. seed: of the deal.
    """

    in_parts = False

    def __init__(self, shares: tuple[float, float, float, float] = (0.52, 0.16, 0.16, 0.16), seed: int = 0) -> None:
        if len(shares) != 4 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
            raise ConfigError(f"splits.shares={list(shares)}: expected four positive shares that add up to 1")
        self.shares, self.seed = tuple(shares), seed

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Deal out the observed values (T, H, W); those of training are seen by all."""
        rng = np.random.default_rng([DEAL, self.seed])
        label = np.digitize(rng.random(observed.shape, np.float32), np.cumsum(self.shares[:3]))
        base = observed & (label == 0)
        scenarios = {}
        for code, split in enumerate(SPLITS[1:], start=1):
            mine = observed & (label == code)
            if not mine.any() or not base.any():
                raise ConfigError(f"splits=random: {observed.sum()} observed values are too few for four splits")
            scenarios[split] = Scenario(base, {"random": mine}, base)
        return Split(base, base, np.ones(len(days), bool), scenarios)


def no_gaps(split: str, gaps: Gaps, observed: np.ndarray) -> str:
    """Why a draw hid nothing."""
    return (
        f"the draw for {split} hides none of {int(observed.sum())} observed values ({' and '.join(KINDS)}): "
        f"with gaps.bank={gaps.bank} the masks of other days show no gap here; use gaps=amsr2, or a longer record"
    )
