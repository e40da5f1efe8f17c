"""The accessor `Dataset.sgdsm`, which `import sgdsm` registers; heavy packages are imported where they are used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from matplotlib.figure import Figure


@xr.register_dataset_accessor("sgdsm")
class SgdsmAccessor:
    """Filling of a cube, and plots and scores of a filled Dataset, as `dataset.sgdsm`.

    Args:
        dataset: Cube, or filled Dataset.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def fill(self, run: str | Path, max_gap_days: int | None = None, **roles: Any) -> xr.Dataset:
        """Fill the gaps of this Dataset; see `sgdsm.fill`.

        Args:
            run: Folder of a run.
            max_gap_days: Largest distance in days to an observation of the cell.
            **roles: Arguments of `sgdsm.as_cube`.
        """
        # torch and matplotlib take seconds to import: `import sgdsm` does not need them
        from sgdsm.api.fill import fill

        return fill(self._dataset, run, max_gap_days, **roles)

    def members(self, count: int = 20, seed: int = 0) -> xr.DataArray:
        """Draw members of the filled Dataset; see `sgdsm.members`.

        Args:
            count: Number of members.
            seed: Seed of the random numbers.
        """
        from sgdsm.inference.members import members

        return members(self._dataset, count, seed)

    def scores(self, hidden: str | Path | xr.Dataset, visible: str | Path | xr.Dataset) -> pd.DataFrame:
        """Return the metrics of a filled Dataset; see `sgdsm.evaluation.score.score`.

        Args:
            hidden: File or Dataset with the hidden values.
            visible: File or Dataset that was filled.

        Returns:
            Table with a row for each class and a column for each metric.
        """
        from sgdsm.evaluation.score import score

        return pd.DataFrame(score(self._dataset, hidden, visible).table()).T

    def plot_day(self, day: str | date, observed: str | None = None) -> Figure:
        """Draw a day of a filled Dataset: observed values, filled values and the age of the gaps.

        Args:
            day: Date, like '2015-05-05'.
            observed: Name of the variable of the observed values, if the attributes of the Dataset do not name it.

        Returns:
            Figure, which a notebook shows; elsewhere `.savefig("day.png")`.
        """
        from sgdsm.report.filled_figures import filled_day

        return filled_day(self._dataset, day, observed)

    def plot_series(self, observed: str | None = None, **place: float) -> Figure:
        """Draw observed and filled values of the cell nearest to a place, gaps shaded.

        Args:
            observed: As in `plot_day`.
            **place: lat= and lon= in degrees, or y= and x= in metres.
        """
        from sgdsm.report.filled_figures import filled_series

        return filled_series(self._dataset, place, observed)

    def animate(
        self,
        path: str | Path,
        layers: Sequence[str] = ("observed", "filled"),
        *,
        time: str | slice | None = None,
        bbox: Sequence[float] | None = None,
        frames_per_second: float = 4,
        observed: str | None = None,
    ) -> Path:
        """Write an animation of a filled Dataset, as `sgdsm animate` does: a frame for each day.

        Args:
            path: FILE.gif, or FILE.mp4, which needs the program ffmpeg or the package imageio-ffmpeg.
            layers: Maps from left to right: 'observed', 'filled', 'uncertainty', 'gap_age' (days), 'source'.
            time: First and last day, like '2015-06-01:2015-06-30' or slice('2015-06-01', '2015-06-30').
            bbox: [west, south, east, north], degrees.
            frames_per_second: Days shown in a second.
            observed: As in `plot_day`.

        Returns:
            `path`.

        Raises:
            CubeError: The Dataset is not a filled one, lacks a layer, or has no day or cell in `time` and `bbox`.
            ConfigError: The name of the file, a layer or a program that is needed.
        """
        from sgdsm.report.animation import animate

        return animate(
            self._dataset,
            path,
            layers,
            time=time,
            bbox=bbox,
            frames_per_second=frames_per_second,
            observed=observed,
        )
