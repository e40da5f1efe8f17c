"""Questions that any filler can be asked: which values of a cube are hidden, in scenarios of known difficulty.

Each scenario hides other values of the same cube and shows all the rest, so that scores of fillers that were made
anywhere, by anybody, at any time can be put side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from sgdsm.core.days import SEASONS
from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream
from sgdsm.core.specification import build
from sgdsm.data.gaps import Gaps
from sgdsm.data.splits import Scenario

WAVES = 12  # of the shapes of unseen masks
SHORTEST, LONGEST = 4.0, 16.0  # of these waves, cells
COVER = (0.2, 0.8)  # smallest and largest share of a map that such a mask hides
WHOLE = 0.5  # of a season's days in the record, for it to be asked for


class Cube(NamedTuple):
    """What a scenario is drawn from.

    Attributes:
        observed: Observed values on land, (T, H, W) bool.
        days: Days since 1970-01-01, (T,).
        gaps: Sizes of outages, and where the masks of swaths come from.
        orbit: Orbit over the grid, None where it has no latitudes and longitudes.
    """

    observed: np.ndarray
    days: np.ndarray
    gaps: Gaps
    orbit: Orbit | None


def draw_questions(cube: Cube, scenarios: Sequence[str], hidden: float, seed: int) -> dict[str, Scenario]:
    """Draw what each scenario hides.

    Args:
        cube: What they are drawn from.
        scenarios: Names in SCENARIOS.
        hidden: Share of the observed values that a scenario hides; a season hides what it has.
        seed: Of the draws. A scenario does not depend on which others are drawn.

    Returns:
        For each name its Scenario, whose hidden values have the name of the scenario.

    Raises:
        ConfigError: A name is unknown or there twice, or the cube is too small or too short for a scenario.
    """
    check_scenarios(scenarios)
    found = {}
    for name in scenarios:
        rng = np.random.default_rng([Stream.QUESTIONS, seed, list(SCENARIOS).index(name)])
        mask = SCENARIOS[name].draw(cube, hidden, rng) & cube.observed
        if not mask.any():
            raise ConfigError(
                f"scenarios={name}: hides none of {int(cube.observed.sum())} observed values: leave it out, or take a "
                "longer record or (for swath) gaps=amsr2"
            )
        seen = cube.observed & ~mask
        if not seen.any():
            raise ConfigError(f"scenarios={name}: hides all observed values: leave it out, or lower hidden=")
        found[name] = Scenario(seen, {name: mask}, seen)
    return found


def check_scenarios(scenarios: Sequence[str]) -> None:
    """Raise ConfigError unless these are names of scenarios, each once."""
    wrong = [name for name in scenarios if name not in SCENARIOS]
    if wrong or not scenarios:
        raise ConfigError(f"scenarios=[{', '.join(scenarios)}]: expected some of {', '.join(SCENARIOS)}")
    if len(set(scenarios)) < len(scenarios):
        raise ConfigError(f"scenarios=[{', '.join(scenarios)}]: expected each once")


def _swath(cube: Cube, hidden: float, rng: np.random.Generator) -> np.ndarray:
    return _drawn(cube, hidden, rng, outages=0.0)["swath"]


def _outage(cube: Cube, hidden: float, rng: np.random.Generator) -> np.ndarray:
    return _drawn(cube, hidden, rng, outages=1.0)["outage"]


def _season(cube: Cube, _: float, rng: np.random.Generator) -> np.ndarray:
    """In each place one season of one year, whatever share of the values that is."""
    month = cube.days.astype("datetime64[D]").astype("datetime64[M]").astype(int)
    # a winter begins in December: the number of the quarter counts from there
    quarter = (month + 1) // 3
    step = max(1, int(np.median(np.diff(cube.days)))) if len(cube.days) > 1 else 1
    whole = [q for q in np.unique(quarter) if (quarter == q).sum() * step >= WHOLE * 91]
    if len(whole) < len(SEASONS):
        raise ConfigError(
            f"scenarios=season: expected a record with at least {len(SEASONS)} seasons, found {len(whole)}: "
            "leave it out"
        )
    mask = np.zeros_like(cube.observed)
    # each season is asked for in as many places as the others
    order = rng.permutation(whole)
    for number, (rows, columns) in enumerate(_places(cube)):
        inside = cube.observed[:, rows, columns]
        # a season that the place has no values in, like a winter of frost, cannot be asked for: the next one is
        turn = np.roll(order, -number)
        there = [q for q in turn if inside[quarter == q].any()]
        if there:
            mask[:, rows, columns] = (quarter == there[0])[:, None, None]
    return mask


def _long(length: int) -> Callable[[Cube, float, np.random.Generator], np.ndarray]:
    """Return a scenario of outages of so many days."""

    def draw(cube: Cube, hidden: float, rng: np.random.Generator) -> np.ndarray:
        step = max(1, int(np.median(np.diff(cube.days)))) if len(cube.days) > 1 else 1
        maps = -(-length // step)
        if len(cube.days) < 2 * maps:
            raise ConfigError(
                f"scenarios=long_{length}: expected a record of at least {2 * length} days, found "
                f"{len(cube.days) * step}: leave it out"
            )
        return _drawn(cube, hidden, rng, outages=1.0, outage_days=[maps, maps])["outage"]

    return draw


def _unseen_cells(cube: Cube, hidden: float, rng: np.random.Generator) -> np.ndarray:
    """All values of some boxes of cells, as of places that a product never retrieves."""
    mask = np.zeros_like(cube.observed)
    counts = cube.observed.sum(0)
    wanted, found = hidden * counts.sum(), 0
    _, heights, widths = cube.gaps.outage_size
    shape = counts.shape
    while found < wanted:
        left = np.flatnonzero(counts)
        centre = np.unravel_index(rng.choice(left), shape)
        box = []
        for middle, length, (smallest, largest) in zip(centre, shape, (heights, widths), strict=True):
            # no box takes more than half of a short axis
            size = min(int(rng.integers(smallest, largest + 1)), max(1, length // 2))
            begin = int(np.clip(middle - rng.integers(0, size), 0, length - size))
            box.append(slice(begin, begin + size))
        found += int(counts[tuple(box)].sum())
        counts[tuple(box)] = 0
        mask[:, box[0], box[1]] = True
    return mask


def _unseen_masks(cube: Cube, hidden: float, rng: np.random.Generator) -> np.ndarray:
    """Blobs of a sum of random waves, like clouds: shapes that no draw of training has, neither swaths nor boxes."""
    mask = np.zeros_like(cube.observed)
    rows, columns = (np.arange(length, dtype=np.float32) for length in cube.observed.shape[1:])
    wanted, found = hidden * cube.observed.sum(), 0
    for day in rng.permutation(np.flatnonzero(cube.observed.any((1, 2)))):
        if found >= wanted:
            break
        length, angle = rng.uniform(SHORTEST, LONGEST, WAVES), rng.uniform(0, np.pi, WAVES)
        phase = rng.uniform(0, 2 * np.pi, WAVES)
        field = sum(
            np.cos(2 * np.pi / n * (np.sin(a) * rows[:, None] + np.cos(a) * columns) + p)
            for n, a, p in zip(length, angle, phase, strict=True)
        )
        mask[day] = field >= np.quantile(field, 1 - rng.uniform(*COVER))
        found += int(np.count_nonzero(mask[day] & cube.observed[day]))
    return mask


class Question(NamedTuple):
    """A scenario.

    Attributes:
        about: What it hides, in a few words.
        draw: Makes the mask, (T, H, W) bool, of a cube, the share to hide and random numbers.
    """

    about: str
    draw: Callable[[Cube, float, np.random.Generator], np.ndarray]


SCENARIOS = {
    "swath": Question("gaps of other days of the cube, put on a day", _swath),
    "outage": Question("boxes of cells without a value for some days", _outage),
    "season": Question("in each place one season of one year", _season),
    **{f"long_{n}": Question(f"boxes of cells without a value for {n} days", _long(n)) for n in (10, 30, 90)},
    "unseen_cells": Question("boxes of cells without any value in the whole record", _unseen_cells),
    "unseen_masks": Question("blobs like clouds, shapes that no filler trains on", _unseen_masks),
}


def _drawn(cube: Cube, hidden: float, rng: np.random.Generator, **changed: object) -> dict[str, np.ndarray]:
    gaps: Gaps = build({**cube.gaps.spec, **changed}, Gaps)
    return gaps.draw(cube.observed, cube.observed, rng, cube.orbit, hidden)


def _places(cube: Cube) -> list[tuple[slice, slice]]:
    """Return boxes that cover the grid, as high and wide as the largest outage."""
    steps = [largest for _, largest in cube.gaps.outage_size[1:]]
    cuts = [
        [slice(begin, begin + step) for begin in range(0, length, step)]
        for length, step in zip(cube.observed.shape[1:], steps, strict=True)
    ]
    return [(rows, columns) for rows in cuts[0] for columns in cuts[1]]
