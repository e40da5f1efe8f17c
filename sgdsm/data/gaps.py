"""Gaps drawn like the real ones: masks of other days put on a day, and outages of several days.

Real gaps are swaths, frost and failures, not single pixels; a filler must be trained and scored on such gaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from sgdsm.core.arguments import Recorded
from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit

KINDS = ("swath", "outage")
FARTHEST = 4  # steps to the nearest seen value that are distinguished; more count as this many
KINDS_IN_TIME = FARTHEST**2
LEAST = 0.1  # smallest weight of a hidden value, so that no kind is lost
SPREAD = 0.25  # part of a day's map that hides values in draws for calibration
OUTAGES = 0.2  # smallest share of outages in such draws
UNLIKE = 0.6  # share of the gaps that would have to lie otherwise in time to be like the hidden values
FEWEST = 0.05  # gaps to one observed value; with fewer their distribution is not known well enough


class Gaps(Recorded):
    """Draws mask samples: sets of values to hide.

    Args:
        fraction: Share of the available values that a draw hides.
        outages: Share of those that lie in outages; the rest lies in transplanted masks of other days.
        donor_days: A mask comes from a day at most this far away (of the same season).
        bank: 'own' = the gaps of the cube itself; 'amsr2' = swaths of a sun-synchronous radiometer, for a cube that has
            hardly any gaps.
        outage_days: Smallest and largest length of an outage, days.
        outage_rows: Smallest and largest height of an outage, cells.
        outage_columns: Smallest and largest width of an outage, cells.
        learn: What training hides: gaps like those that are scored ('alike'), or, for an ablation, single values at
            random.
        match: Weigh the hidden values, in training and validation, so that their distances in time to seen values are
            distributed as those of the gaps of the cube. If each place is seen every other day, say, a hidden value
            seldom has seen values on the days before and after, but a gap mostly has; see `like_gaps`. 'auto': where
            more than UNLIKE of the gaps lie in time as hidden values do not.

    Raises:
        ConfigError: When a number is out of range.
    """

    def __init__(
        self,
        fraction: float = 0.3,
        outages: float = 0.2,
        *,
        donor_days: int = 180,
        bank: Literal["own", "amsr2"] = "own",
        outage_days: Sequence[int] = (6, 15),
        outage_rows: Sequence[int] = (3, 7),
        outage_columns: Sequence[int] = (3, 9),
        learn: Literal["alike", "random"] = "alike",
        match: bool | Literal["auto"] = "auto",
    ) -> None:
        if not 0 < fraction < 1:
            raise ConfigError(f"gaps.fraction={fraction}: expected a share between 0 and 1")
        if not 0 <= outages <= 1:
            raise ConfigError(f"gaps.outages={outages}: expected a share from 0 to 1")
        if donor_days < 1:
            raise ConfigError(f"gaps.donor_days={donor_days}: expected at least 1")
        for name, size in {"days": outage_days, "rows": outage_rows, "columns": outage_columns}.items():
            if len(size) != 2 or not 1 <= size[0] <= size[1]:
                raise ConfigError(f"gaps.outage_{name}={list(size)}: expected [smallest, largest], both at least 1")
        self.fraction, self.outages, self.donor_days, self.bank = fraction, outages, donor_days, bank
        self.learn, self.match = learn, match
        self.outage_size = (outage_days, outage_rows, outage_columns)

    def draw(
        self,
        available: np.ndarray,
        allowed: np.ndarray,
        rng: np.random.Generator,
        orbit: Orbit | None = None,
        fraction: float | None = None,
        donors: np.ndarray | None = None,
        part: float = 1.0,
    ) -> dict[str, np.ndarray]:
        """Hide a share of the available values.

        Args:
            available: Values that a filler could see, (T, H, W) bool.
            allowed: Where values may be hidden, (T, H, W) bool.
            rng: Random numbers.
            orbit: Orbit over the cube's grid, for bank='amsr2'.
            fraction: Share to hide, in place of the configured one.
            donors: Days whose gaps may be transplanted, (T,) bool (default: all); a day without any value is one large
                gap.
            part: Part of the map of a day that hides values, in a box at a random place. Less than 1 needs more days to
                hide as much, and then at least OUTAGES of it is in outages: calibration needs many days, because the
                errors of one day are correlated, and long gaps, which transplants hardly make.

        Returns:
            A mask (T, H, W) bool for each of KINDS, disjoint; a value that both would hide counts as an outage.

        Raises:
            ConfigError: When bank='amsr2' has no orbit.
        """
        wanted = (self.fraction if fraction is None else fraction) * np.count_nonzero(available & allowed)
        outage = np.zeros_like(available)
        # long gaps are what calibration must know best
        share = self.outages if part == 1 else max(self.outages, OUTAGES)
        if share:
            self._outages(outage, available & allowed, share * wanted, rng)
        swath = np.zeros_like(available)
        if share < 1:
            days = np.arange(len(available)) if donors is None else np.flatnonzero(donors)
            self._transplants(swath, available, allowed & ~outage, (1 - share) * wanted, days, rng, orbit, part)
        return {"swath": swath, "outage": outage}

    def _transplants(
        self,
        hidden: np.ndarray,
        available: np.ndarray,
        allowed: np.ndarray,
        wanted: float,
        donors: np.ndarray,
        rng: np.random.Generator,
        orbit: Orbit | None,
        part: float,
    ) -> None:
        possible = available & allowed
        swaths = None
        if self.bank == "amsr2":
            if orbit is None:
                raise ConfigError("gaps.bank=amsr2 needs a cube with lat and lon")
            swaths = orbit.cycle(phase=rng.uniform(0, 2 * np.pi))
        count = 0
        for day in rng.permutation(np.flatnonzero(possible.any((1, 2)))):
            if count >= wanted:
                return
            if swaths is not None:
                # the orbit repeats, at a random phase
                visible = swaths[day % len(swaths)]
            else:
                # masks of the same season: frost and vegetation gaps belong to it
                near = donors[(abs(donors - day) <= self.donor_days) & (donors != day)]
                if not near.size:
                    continue
                visible = available[rng.choice(near)]
            inside = _box(possible.shape[1:], part, rng)
            # what a mask of another day would have hidden here
            hidden[day][inside] = (possible[day] & ~visible)[inside]
            count += int(np.count_nonzero(hidden[day]))

    def _outages(self, hidden: np.ndarray, possible: np.ndarray, wanted: float, rng: np.random.Generator) -> None:
        count, tries = 0, 0
        # bounded tries: where few values are left an outage may hide no new one
        centres = np.flatnonzero(possible)
        while count < wanted and tries < 10 * (1 + wanted) and centres.size:
            tries += 1
            centre = np.unravel_index(rng.choice(centres), possible.shape)
            box = []
            for middle, length, (smallest, largest) in zip(centre, possible.shape, self.outage_size, strict=True):
                # no outage takes more than half of a short axis
                size = min(int(rng.integers(smallest, largest + 1)), max(1, length // 2))
                begin = int(np.clip(middle - rng.integers(0, size), 0, length - size))
                box.append(slice(begin, begin + size))
            outage = tuple(box)
            new = possible[outage] & ~hidden[outage]
            hidden[outage] |= new
            count += int(np.count_nonzero(new))


def _box(shape: tuple[int, ...], part: float, rng: np.random.Generator) -> tuple[slice, ...]:
    """Return a box at a random place that covers about a part of a map."""
    if part >= 1:
        return tuple(slice(None) for _ in shape)
    sizes = [max(1, round(part**0.5 * length)) for length in shape]
    starts = [int(rng.integers(0, length - size + 1)) for length, size in zip(shape, sizes, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))


def is_unlike(hidden: np.ndarray, seen: np.ndarray, observed: np.ndarray, land: np.ndarray) -> bool:
    """Return whether hidden values lie in time otherwise than the gaps of the cube, so that `like_gaps` is of use.

    Args:
        hidden: Hidden values, (T, H, W) bool.
        seen: Seen values, (T, H, W) bool.
        observed: All observed values of the cube, (T, H, W) bool.
        land: Land cells, (H, W) bool.
    """
    if not hidden.any() or _has_few_gaps(gaps := _gaps(observed, land), observed):
        return False
    # half of the sum of the differences is the share that would have to move
    return bool(np.abs(_shares(seen, hidden) - _shares(observed, gaps)).sum() / 2 > UNLIKE)


def like_gaps(hidden: np.ndarray, seen: np.ndarray, observed: np.ndarray, land: np.ndarray) -> np.ndarray:
    """Return weights with which hidden values resemble the gaps of the cube.

    They resemble them in the distance in time to the nearest seen values before and after. A weight is in proportion to
    (share of its kind among the gaps) / (share among the hidden values): 1 for the kind that the hidden values lack
    most, at least LEAST for all. The kind of a value is how many steps (1, 2, 3 or more) it is from the seen value
    before, and likewise after. A kind with fewer than a thousandth of the hidden values does not set the scale.

    Args:
        hidden: Hidden values, (T, H, W) bool.
        seen: Seen values, (T, H, W) bool.
        observed: All observed values of the cube, (T, H, W) bool.
        land: Land cells, (H, W) bool.

    Returns:
        Weights, (T, H, W) float32.

    Raises:
        ConfigError: When the cube has hardly any gaps.
    """
    gaps = _gaps(observed, land)
    if _has_few_gaps(gaps, observed):
        raise ConfigError(
            f"gaps.match=true: the cube has {int(gaps.sum())} gaps, too few to be like; use gaps.match=false"
        )
    kinds = _kinds(seen)
    share_hidden, share_gaps = _shares(seen, hidden), _shares(observed, gaps)
    ratio = np.where(share_hidden > 1e-3, share_gaps / np.maximum(share_hidden, 1e-9), 0)
    # relative to the kind that the hidden values lack most
    weights = np.clip(ratio / max(float(ratio.max()), 1e-9), LEAST, 1).astype(np.float32)
    of_hidden: np.ndarray = weights[kinds]
    return of_hidden


def _gaps(observed: np.ndarray, land: np.ndarray) -> np.ndarray:
    """Return the gaps of a cube, (T, H, W) bool; days without a map and cells never observed are none of them."""
    days, places = np.any(observed, axis=(1, 2), keepdims=True), np.any(observed, axis=0)
    gaps: np.ndarray = ~observed & days & places & land
    return gaps


def _has_few_gaps(gaps: np.ndarray, observed: np.ndarray) -> bool:
    return bool(gaps.sum() < FEWEST * max(1, int(observed.sum())))


def _shares(seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the share of each kind in time among the wanted values, (KINDS_IN_TIME,)."""
    kinds = _kinds(seen)[wanted]
    shares: np.ndarray = np.bincount(kinds, minlength=KINDS_IN_TIME) / max(1, kinds.size)
    return shares


def _kinds(seen: np.ndarray) -> np.ndarray:
    """Return the steps to the seen values before and after, each 1 to 4, as one number, (T, H, W) int8."""
    before, after = (np.full(seen.shape, FARTHEST, np.int8) for _ in range(2))
    for steps in range(FARTHEST - 1, 0, -1):
        before[steps:][seen[:-steps]] = steps
        after[:-steps][seen[steps:]] = steps
    kinds: np.ndarray = (before - 1) * np.int8(FARTHEST) + after - 1
    return kinds
