"""Splits that hold out whole years, whole places, or what a question file hides: tests of what a filler carries over.

`Blocks` asks how well gaps are filled in a place and a year whose neighbours were learned from; `Years` and `Regions`
ask for other years and other places. `Protocol` takes the question that `sgdsm protocol` has written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sgdsm.core.arguments import Recorded
from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import local_only
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream
from sgdsm.data.gaps import Gaps
from sgdsm.data.splits import (
    SPLITS,
    All,
    Blocks,
    Random,
    Scenario,
    Split,
    check_hidden,
    check_separation,
    check_shares,
    split_by_label,
)

TEST = SPLITS.index("test")
YEAR_DAYS = 300  # of the record, for a year to be the test of itself
HIDDEN, VISIBLE = "hidden.nc", "visible.nc"  # the files of a question


class Years(Blocks):
    """Whole calendar years for the test; the other years in blocks of days for training, validation and calibration.

    It asks whether a filler can be used in years that it has not learned from. As in `Blocks`, a window sees the
    observations of its own split only, and targets of different splits lie `separation_days` apart.

    Args:
        test: Calendar years of the test; none: the last year of which the record has 300 days.
        block_days: Length of a block of the other years, days.
        separation_days: Distance between targets of different splits, days.
        shares: Shares of the blocks of the other years for train, validation and calibration.
        hidden: Share of the values on target days that validation, calibration and test hide.
        seed: Of the assignment and of the mask samples.

    Raises:
        ConfigError: When a number is out of range.
    """

    name = "splits=years"

    def __init__(
        self,
        test: Sequence[int] = (),
        block_days: int = 30,
        separation_days: int = 15,
        shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
        hidden: float = 0.4,
        seed: int = 0,
    ) -> None:
        check_shares(shares, len(SPLITS) - 1)
        check_separation("days", separation_days, block_days)
        check_hidden(hidden)
        self.test, self.block_days, self.separation_days = tuple(test), block_days, separation_days
        self.shares, self.hidden, self.seed = tuple(shares), hidden, seed

    def _dealt(self, days: np.ndarray, free: np.ndarray | None = None) -> tuple[np.ndarray, str]:
        year = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
        there, count = np.unique(year, return_counts=True)
        held = self.test or self._last(there, count * ((days[-1] - days[0] + 1) / len(days)))
        lacking = sorted(set(held) - set(there.tolist()))
        if lacking:
            raise ConfigError(
                f"splits.test={list(held)}: the record has no day of {lacking[0]}; it has {there[0]} to {there[-1]}"
            )
        in_test = np.isin(year, held)
        if in_test.all():
            raise ConfigError(
                f"splits.test={list(held)}: these are all years of the record, none is left to learn from"
            )
        label, about = super()._dealt(days, ~in_test)
        return np.where(in_test, TEST, label), f"{about}, of which {', '.join(map(str, held))} is the test"

    def _last(self, years: np.ndarray, days: np.ndarray) -> tuple[int, ...]:
        """Return the last year with days enough for a test.

        Args:
            years: Calendar years of the record.
            days: Days of the record in each.
        """
        long = years[days >= YEAR_DAYS]
        if not long.size or len(years) < 2:
            raise ConfigError(
                f"splits=years: the record of {years[0]} to {years[-1]} has no year with {YEAR_DAYS} days beside "
                "another one: name the years of the test, like splits.test=[2016], or use splits=blocks"
            )
        return (int(long[-1]),)


class Regions(Recorded):
    """Blocks of cells assigned to training, validation, calibration and test, each with all days.

    It asks whether a filler can be used in places that it has not learned from: there it sees the observations around
    the gaps, but the place taught it nothing. A window sees the observations of its own split only. Days are shared:
    weather that reaches over the border of two blocks is in the training values too, so that blocks as large as
    weather systems are the stricter test.

    Args:
        block_cells: Height and width of a block, cells.
        separation_cells: Distance between targets of different splits, cells.
        shares: Shares of the observed values for train, validation, calibration and test.
        hidden: Share of the values in target cells that validation, calibration and test hide.
        seed: Of the assignment and of the mask samples.

    Raises:
        ConfigError: When a number is out of range.
    """

    in_parts = False
    name = "splits=regions"

    def __init__(
        self,
        block_cells: int = 8,
        separation_cells: int = 2,
        shares: tuple[float, float, float, float] = (0.52, 0.16, 0.16, 0.16),
        hidden: float = 0.4,
        seed: int = 0,
    ) -> None:
        check_shares(shares, len(SPLITS))
        check_separation("cells", separation_cells, block_cells)
        check_hidden(hidden)
        self.block_cells, self.separation_cells, self.shares = block_cells, separation_cells, tuple(shares)
        self.hidden, self.seed = hidden, seed

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Split the observed values.

        Args:
            observed: (T, H, W) bool.
            days: Days since 1970-01-01, (T,).
            gaps: How the held-out samples are drawn.
            orbit: Orbit over the cube's grid, for simulated swaths.

        Raises:
            ConfigError: When there are too few blocks, or a split has no value or no hidden value.
        """
        label, target = self.label(observed.sum(0), orbit is not None and _closes(orbit.lon))
        return split_by_label(observed, label[None], target[None], gaps, orbit, self.hidden, self.seed, self.name)

    def label(self, count: np.ndarray, circular: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return the split of each cell, and the cells whose values may be targets.

        Args:
            count: Observed values of each cell, (H, W) int.
            circular: Whether the last column touches the first.

        Returns:
            Index into SPLITS, -1 in blocks without a value, (H, W) int; and True where values may be targets, (H, W)
            bool.

        Raises:
            ConfigError: When there are too few blocks for four splits.
        """
        rows, columns = count.shape
        numbers = [max(1, round(length / self.block_cells)) for length in (rows, columns)]
        # blocks of nearly equal size that cover the grid exactly
        place = [np.arange(length) * number // length for length, number in zip(count.shape, numbers, strict=True)]
        block = place[0][:, None] * numbers[1] + place[1]
        values = np.bincount(block.ravel(), count.ravel(), numbers[0] * numbers[1])
        filled = np.flatnonzero(values)
        if len(filled) < len(SPLITS):
            raise ConfigError(
                f"splits=regions: a grid of {rows} x {columns} cells holds {len(filled)} blocks with values, of "
                f"{self.block_cells} x {self.block_cells} cells, expected at least {len(SPLITS)}: lower "
                "splits.block_cells, or use splits=blocks"
            )
        split_of_block = np.full(len(values), -1)
        order = np.random.default_rng([Stream.ASSIGNMENT, self.seed]).permutation(filled)
        held = np.zeros(len(SPLITS))
        for number, one in enumerate(order):
            # after one for each, the split that is furthest behind its share of all values comes next
            choice = number if number < len(SPLITS) else int(np.argmin((held + values[one]) / np.asarray(self.shares)))
            split_of_block[one] = choice
            held[choice] += values[one]
        label = split_of_block[block]
        target = _inside(label, self.separation_cells // 2, circular)
        for code, split in enumerate(SPLITS):
            if not (target & (label == code) & (count > 0)).any():
                raise ConfigError(
                    f"splits=regions: {self.separation_cells} cells from the others, the {split} split has no observed "
                    "value left: lower splits.separation_cells or raise splits.block_cells"
                )
        return label, target


class Protocol(Recorded):
    """A question of `sgdsm protocol`: what it hides is the test, and nothing but what it shows is learned from.

    Two fixed disjoint gap-shaped samples of the visible values are held out for validation and calibration, as by
    `All`. In the test all visible values are seen.

    Args:
        path: Folder of the question, with `hidden.nc` and `visible.nc`.
        fraction: Share of the visible values in each of the two samples.
        seed: Of the samples.

    Raises:
        ConfigError: When the fraction is not between 0 and 0.5.
    """

    in_parts = False

    def __init__(self, path: str, fraction: float = 0.05, seed: int = 0) -> None:
        local_only("splits.path", path)
        self.path, self.fraction, self.seed = Path(path), fraction, seed
        self.held = All(fraction, seed)

    def split(self, observed: np.ndarray, days: np.ndarray, gaps: Gaps, orbit: Orbit | None = None) -> Split:
        """Split the observed values.

        Args:
            observed: (T, H, W) bool.
            days: Days since 1970-01-01, (T,).
            gaps: How the held-out samples are drawn.
            orbit: Orbit over the cube's grid, for simulated swaths.

        Raises:
            ConfigError: When there is no such question, or it is one of another cube.
        """
        test = read_question(self.path)
        if test.seen.shape != observed.shape or not np.array_equal(test.seen | test.all_hidden, observed):
            raise ConfigError(
                f"splits.path={self.path}: it asks for {_size(test.seen | test.all_hidden)}, the cube has "
                f"{_size(observed)}, at other places: give the data that the question was made from"
            )
        split = self.held.split(test.seen, days, gaps, orbit)
        return split._replace(scenarios={**split.scenarios, "test": test})


AnySplits = All | Blocks | Random | Years | Regions | Protocol


def read_question(folder: Path) -> Scenario:
    """Read which values a question hides and shows.

    Args:
        folder: With the files HIDDEN and VISIBLE.

    Raises:
        ConfigError: There is no question, or its files do not go together.
    """
    if not (folder / HIDDEN).is_file():
        inside = sorted(path.parent.name for path in folder.glob(f"*/{HIDDEN}"))
        if inside:
            raise ConfigError(
                f"splits.path={folder}: holds the questions {', '.join(inside)}: name one, like "
                f"splits.path={folder / inside[0]}"
            )
        raise ConfigError(f"splits.path={folder}: no file {HIDDEN}: expected a folder that `sgdsm protocol` has made")
    with open_dataset(folder / HIDDEN) as asked, open_dataset(folder / VISIBLE) as shown:
        name = str(asked.attrs.get("target", ""))
        if name not in shown or "truth" not in asked or shown[name].dims != asked["truth"].dims:
            raise ConfigError(f"splits.path={folder}: {VISIBLE} has no variable '{name}' like 'truth' of {HIDDEN}")
        dims, seen = asked["truth"].dims, np.isfinite(shown[name].values)
        hidden = {str(n): v.values.astype(bool) for n, v in asked.data_vars.items() if n != "truth" and v.dims == dims}
        digest = asked.attrs.get("digest")
    if not hidden or any(mask.shape != seen.shape or (mask & seen).any() for mask in hidden.values()):
        raise ConfigError(f"splits.path={folder}: {HIDDEN} hides nothing, or values that {VISIBLE} shows")
    question = Scenario(seen, hidden, seen)
    if digest != masks_digest([question]):
        raise ConfigError(
            f"splits.path={folder}: what it shows or hides was changed since `sgdsm protocol` made it: make it again"
        )
    return question


def masks_digest(scenarios: Sequence[Scenario]) -> str:
    """Return a digest of which values scenarios show and hide."""
    masks = hashlib.sha256()
    for mask in (mask for scenario in scenarios for mask in (scenario.seen, *scenario.hidden.values())):
        # eight values in a byte
        masks.update(np.packbits(mask).tobytes())
    return masks.hexdigest()[:16]


def _closes(lon: np.ndarray) -> bool:
    """Return True if columns at these longitudes, radians, (W,), go once round the globe."""
    if lon.size < 3:
        return False
    step = abs(float(lon[-1] - lon[0])) / (lon.size - 1)
    return abs(step * lon.size - 2 * np.pi) < step / 2


def _inside(label: np.ndarray, reach: int, circular: bool) -> np.ndarray:
    """Return which cells have no cell of another label within so many rows and columns, (H, W) bool."""
    rows, columns = label.shape
    padded = np.pad(label, ((reach, reach), (0, 0)), mode="edge")
    padded = np.pad(padded, ((0, 0), (reach, reach)), mode="wrap" if circular else "edge")
    inside = label >= 0
    for row in range(2 * reach + 1):
        for column in range(2 * reach + 1):
            near = padded[row : row + rows, column : column + columns]
            # a block without any value is nobody's neighbour
            inside &= (near == label) | (near < 0)
    return inside


def _size(mask: np.ndarray) -> str:
    return f"{int(mask.sum())} values of {' x '.join(map(str, mask.shape))}"
