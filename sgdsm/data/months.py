"""Split of days by months: the first month of each season of one year for validation, of the next for the test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdsm.core.arguments import Recorded
from sgdsm.core.errors import ConfigError
from sgdsm.core.words import counted

TRAINED, VALIDATED, TESTED = "train", "validation", "test"


class Months(Recorded):
    """Some months of a year for validation, the same months of the next year for the test, all others for training.

    For regressions of single days, as in downscaling, which see no neighbours in time.

    Args:
        year: Of validation; the test is of the year after it. By default the last two years that have days in all of
            the months.
        months: Of both, 1 to 12.
        separation_days: Training days are so many days away from those of validation and test; 0: neighbouring days,
            which resemble each other, are in both, so that the scores are too good (it leaks).

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(
        self, year: int | None = None, months: Sequence[int] = (1, 4, 7, 10), separation_days: int = 15
    ) -> None:
        if not months or not all(1 <= month <= 12 for month in months) or len({*months}) < len(months):
            raise ConfigError(f"splits.months={list(months)}: expected numbers from 1 to 12, each once")
        if not 0 <= separation_days <= 365:
            raise ConfigError(f"splits.separation_days={separation_days}: expected 0 to 365")
        self.year, self.months, self.separation_days = year, tuple(months), separation_days

    def label(self, days: np.ndarray) -> np.ndarray:
        """Return the split of each day.

        Args:
            days: Days, datetime64, (N,), in any order; several values may be of one day.

        Returns:
            TRAINED, VALIDATED, TESTED, or '' for what lies too near to the others to be learned from, (N,).

        Raises:
            ConfigError: A split has no day.
        """
        there, place = np.unique(days.astype("datetime64[D]"), return_inverse=True)
        month = there.astype("datetime64[M]").astype(int) % 12 + 1
        years = there.astype("datetime64[Y]").astype(int) + 1970
        chosen = np.isin(month, self.months)
        year = self._last(years, month) if self.year is None else self.year
        label = np.full(there.size, TRAINED, "<U10")
        label[chosen & (years == year)] = VALIDATED
        label[chosen & (years == year + 1)] = TESTED
        for name, of in ((VALIDATED, year), (TESTED, year + 1)):
            if not (label == name).any():
                raise ConfigError(
                    f"splits.year={year}: no day for {name}, which is months {list(self.months)} of {of}; the data "
                    f"are of {there[0]} to {there[-1]}: choose another splits.year or splits.months"
                )
        held = there[label != TRAINED].astype(int)
        for one in np.flatnonzero(label == TRAINED):
            if abs(held - there[one].astype(int)).min() < self.separation_days:
                label[one] = ""
        if not (label == TRAINED).any():
            raise ConfigError(
                f"splits.separation_days={self.separation_days}: no day of {there[0]} to {there[-1]} is left to learn "
                "from: lower it, or give more days"
            )
        found: np.ndarray = label[place.reshape(-1)]
        return found

    def _last(self, years: np.ndarray, month: np.ndarray) -> int:
        """Return the last year that, like the year after it, has days in all months, or in any if there is none."""
        whole = {year for year in np.unique(years).tolist() if {*self.months} <= {*month[years == year].tolist()}} or {
            *years[np.isin(month, self.months)].tolist()
        }
        pairs = [year for year in whole if year + 1 in whole]
        if not pairs:
            raise ConfigError(
                f"splits=months: the data of {years.min()} to {years.max()} have no two years running with days in "
                f"months {list(self.months)}: give two years at least, or choose splits.months and splits.year"
            )
        return max(pairs)

    def leak(self, days: np.ndarray, label: np.ndarray) -> str:
        """Return a warning where days of training lie near those of the test, else ''.

        Args:
            days: As in `label`.
            label: What it returned.
        """
        trained, tested = (np.unique(days[label == n].astype("datetime64[D]").astype(int)) for n in (TRAINED, TESTED))
        place = np.clip(np.searchsorted(trained, tested), 1, len(trained) - 1) if len(trained) > 1 else 0
        nearest = int(np.minimum(abs(tested - trained[place]), abs(tested - trained[place - 1])).min())
        if nearest >= 15:
            return ""
        apart = counted(nearest, "day")
        return f"leaks: training days lie {apart} from test days; splits.separation_days=15 keeps them apart"
