"""Description of the uncertainty that a filler gives with its estimates."""

from __future__ import annotations

from typing import NamedTuple

from sgdsm.models.uncertainty.correlation import Correlation


class ErrorBars(NamedTuple):
    """What the intervals and standard deviations of a filler mean.

    Attributes:
        level: Coverage of the interval, a share of 1.
        decomposes: True if the filler separates epistemic from aleatoric uncertainty.
        correlation: Of the errors in space and time; None if unknown.
        oldest_gap: Largest gap age that the intervals were fitted on, days; None if unknown.
    """

    level: float
    decomposes: bool = False
    correlation: Correlation | None = None
    oldest_gap: float | None = None
