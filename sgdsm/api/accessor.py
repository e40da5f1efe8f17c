"""`Dataset.sgdsm`, from `import sgdsm` on; everything heavy is imported where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd
    from matplotlib.figure import Figure


@xr.register_dataset_accessor("sgdsm")
class SgdsmAccessor:
    """`dataset.sgdsm`: fill a cube; look at a filled one and score it."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def fill(self, run: str | Path, max_gap_days: int | None = None, **roles: Any) -> xr.Dataset:
        """See `sgdsm.fill`."""
        from sgdsm.api.fill import fill

        return fill(self._dataset, run, max_gap_days, **roles)

    def members(self, count: int = 20, seed: int = 0) -> xr.DataArray:
        """See `sgdsm.members`."""
        from sgdsm.inference.members import members

        return members(self._dataset, count, seed)

    def scores(self, hidden: str | Path | xr.Dataset, visible: str | Path | xr.Dataset) -> pd.DataFrame:
        """Metrics of a filled Dataset, a row for each class; see `sgdsm.evaluation.score.score`."""
        import pandas as pd

        from sgdsm.evaluation.score import score

        return pd.DataFrame(score(self._dataset, hidden, visible).table()).T

    def plot_day(self, day: str | date, observed: str | None = None) -> Figure:
        """What was observed on a day of a filled Dataset, what was filled, and the age of the gaps.

        day: like '2015-05-05'. observed: name of the observed values' variable, where the Dataset does not tell. A
        notebook shows the Figure that comes back; elsewhere `.savefig("day.png")`.
        """
        from sgdsm.report.filled_figures import filled_day

        return filled_day(self._dataset, day, observed)

    def plot_series(self, observed: str | None = None, **place: float) -> Figure:
        """Observed and filled values of the cell nearest to a place (lat=, lon= or y=, x=), gaps shaded.

        observed: as in `plot_day`.
        """
        from sgdsm.report.filled_figures import filled_series

        return filled_series(self._dataset, place, observed)
