"""The choice of a gap-filler by the cube."""

from __future__ import annotations

import logging

from sgdsm.core.errors import ConfigError
from sgdsm.models.base import GapFiller

log = logging.getLogger(__name__)


class Auto:
    """Two gap-fillers, one of which is trained: a network needs neighbours, trees do with the series of one cell.

    Args:
        many: For cubes of `cells` and more land cells.
        few: For smaller ones.
        cells: Land cells.

    Raises:
        ConfigError: `cells` is less than 1.
    """

    def __init__(self, many: GapFiller, few: GapFiller, cells: int = 4) -> None:
        if cells < 1:
            raise ConfigError(f"model.cells={cells}: expected at least 1")
        self.many, self.few, self.cells = many, few, cells

    def choose(self, cells: int) -> GapFiller:
        """Return the gap-filler for a number of land cells, and say which it is.

        Args:
            cells: Land cells of the cube.
        """
        chosen = self.many if cells >= self.cells else self.few
        log.info("model=auto: %s, as there are %d land cells", type(chosen).__name__, cells)
        return chosen


AnyModel = GapFiller | Auto
