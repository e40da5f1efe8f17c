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
    """Filling of a cube, and figures, scores and tables of a cube or a filled Dataset, as `dataset.sgdsm`.

    Each method returns an xarray object, a DataFrame or a Figure; only `animate` and `report` write a file, and return
    its path. Arguments are the words of the commands. What cannot work ends in `sgdsm.CubeError` or
    `sgdsm.ConfigError`, which names what is lacking.

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

        Returns:
            The filled Dataset: the target, `sm_filled`, `sm_std`, `sm_lower`, `sm_upper` (in the target's units),
            `sm_source`, `gap_age` (days), `land`.

        Raises:
            CubeError: The Dataset lacks what the run needs.
            ConfigError: The folder is no run, or an argument is unknown.
        """
        # torch and matplotlib take seconds to import: `import sgdsm` does not need them
        from sgdsm.api.fill import fill

        return fill(self._dataset, run, max_gap_days, **roles)

    def members(self, count: int = 20, seed: int = 0) -> xr.DataArray:
        """Draw members of the filled Dataset; see `sgdsm.members`.

        Args:
            count: Number of members.
            seed: Seed of the random numbers.

        Returns:
            Possible maps, (member, time, rows, columns), in the target's units.

        Raises:
            CubeError: The Dataset is not a filled one, or has no `sm_std`.
            ConfigError: The members do not fit into memory.
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

    def plot_series(self, observed: str | None = None, *, time: str | slice | None = None, **place: float) -> Figure:
        """Draw observed and filled values of the cell nearest to a place, gaps shaded.

        Args:
            observed: As in `plot_day`.
            time: First and last day, like '2015-06-01:2015-06-30' or slice('2015-06-01', '2015-06-30').
            **place: lat= and lon= in degrees (longitudes of -180..180 or 0..360), or y= and x= in metres.

        Returns:
            Figure.

        Raises:
            CubeError: The Dataset is not a filled one, or the place lies outside of it or is no land.
        """
        from sgdsm.report.filled_figures import filled_series

        return filled_series(self._dataset, place, observed, time)

    def coverage(self, **roles: Any) -> xr.Dataset:
        """Return the share of the land values that are observed: by cell, by season and by month.

        Args:
            **roles: Of a Dataset that is neither a cube nor filled: `target='NAME'`, and what else `sgdsm.as_cube`
                takes.

        Returns:
            `coverage` (H, W), NaN off land; `coverage_by_season` (season) and `coverage_by_month` (month); 0 to 1.

        Raises:
            CubeError: Nothing says which variable holds soil moisture.
        """
        from sgdsm.api.coverage import coverage

        return coverage(self._dataset, **roles)

    def gaps(self, **roles: Any) -> pd.DataFrame:
        """Return the lengths of the gaps of the land cells.

        Args:
            **roles: As in `coverage`.

        Returns:
            Indexed by `days`, the length: `gaps`, their number, and `share`, of the missing values that lie in them, 0
            to 1. A gap at the ends of the record has the length that lies in it.

        Raises:
            CubeError: Nothing says which variable holds soil moisture.
        """
        from sgdsm.api.coverage import gaps

        return gaps(self._dataset, **roles)

    def plot_coverage(self, **roles: Any) -> Figure:
        """Draw where and when the Dataset is observed, the lengths of its gaps, and where covariates have values.

        Args:
            **roles: As in `coverage`.

        Returns:
            Figure.

        Raises:
            CubeError: Nothing says which variable holds soil moisture.
        """
        from sgdsm.api.coverage import plot_coverage

        return plot_coverage(self._dataset, **roles)

    def plot_hovmoeller(
        self,
        along: str | None = None,
        *,
        time: str | slice | None = None,
        bbox: Sequence[float] | None = None,
        observed: str | None = None,
    ) -> Figure:
        """Draw means of observed and filled values by latitude (or longitude) and day, and their difference.

        Args:
            along: The axis that is kept: 'lat' (the default; 'y' of a projected grid) or 'lon' ('x').
            time: First and last day, like '2015-06-01:2015-06-30' or slice('2015-06-01', '2015-06-30').
            bbox: [west, south, east, north], degrees.
            observed: As in `plot_day`.

        Returns:
            Figure.

        Raises:
            CubeError: The Dataset is not a filled one, or has no day or cell in `time` and `bbox`.
        """
        from sgdsm.report.hovmoeller import hovmoeller

        return hovmoeller(self._dataset, along, time=time, bbox=bbox, observed=observed)

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

    def report(
        self,
        path: str | Path,
        megabytes: float = 12,
        *,
        title: str | None = None,
        members: xr.DataArray | None = None,
    ) -> Path:
        """Write a page of a filled Dataset, as `sgdsm report` does: maps with a slider over the days, series of cells.

        The page is one file that needs no network. It needs the package bokeh: pip install 'sgdsm[report]'.

        Args:
            path: FILE.html.
            megabytes: Largest size of the page, 10^6 bytes; maps of large records are thinned for it.
            title: Of the page; by default that of the Dataset.
            members: What `members` returns; the series of a cell shows ten of them.

        Returns:
            `path`.

        Raises:
            CubeError: The Dataset is not a filled one, or nothing says which variable holds the observed values.
            ConfigError: The name of the file, a page that cannot be so small, or bokeh is missing.
        """
        from sgdsm.api.report import report

        return report(self._dataset, path, megabytes, title=title, members=members)

    def insitu(self, stations: str | Path | xr.Dataset, **settings: Any) -> pd.DataFrame:
        """Compare a filled Dataset with stations, on observed and on filled days apart, as `sgdsm insitu` does.

        Args:
            stations: File or folder of stations, or a Dataset as `sgdsm.open_product("ismn", ...)` gives it: `sm`
                (time, station), m3 m-3, with `lat`, `lon`, `network` and `depth_m`.
            **settings: `reader=`, `options=`, `estimate=`, `observed=`, `reasons=`, `least=`, `scale=`,
                `max_distance_km=`, `dense=`, `anomaly_days=`, `block_days=`, `draws=`, `seed=` as the command has them;
                `each=True` gives a row for each station in place of medians.

        Returns:
            Indexed by group of stations and subset of days ('observed', 'filled', 'filled minus observed', ...), or by
            station and subset: metrics with `_lower` and `_upper` of their 95 % intervals. RMSD, ubRMSD, MAE and bias
            are in m3 m-3, correlations have no unit.

        Raises:
            CubeError: The Dataset lacks a variable, no station lies in it, or none has enough pairs.
            ConfigError: A file or a setting cannot work.
        """
        from sgdsm.api.insitu import insitu

        return insitu(self._dataset, stations, **settings)

    def trends(self, **settings: Any) -> xr.Dataset:
        """Return trends of filled values, of observed ones alone, and of their difference, as `sgdsm trends` does.

        Args:
            **settings: `step='year'`, 'month' or 'raw'; `visible=`, `estimate=`, `observed=`, `least_days=`,
                `robust=`, `members=`, `seed=` as the command has them.

        Returns:
            Maps (H, W) for each of `_filled`, `_observed` and `_difference`: `slope` (units of the target a year),
            `intercept`, `p_value`, `z`, `n`, `significant`, `significant_fdr`, `mean`; `slope_std_filled`; and the mean
            series (zone, step).

        Raises:
            CubeError: A variable is missing, or there are too few whole years.
            ConfigError: Settings that do not go together.
        """
        from sgdsm.api.trends import trends

        return trends(self._dataset, **settings)

    def drought(self, **settings: Any) -> xr.Dataset:
        """Return drought indicators of the filled values, as `sgdsm drought` does.

        Args:
            **settings: `fit='gamma'`, 'beta' or 'empirical'; `scale_days=30`, `half_window_days=`, `reference=`,
                `least_years=`, `classes=`, `members=`, `seed=` as the command has them.

        Returns:
            `ssi` (T, H, W), the standardised index; `percentile` (T, H, W), %; `drought_class` (T, H, W), 0 to 5;
            `area_under_drought` (T, class), 0 to 1; `probability_moderate` (T, H, W), 0 to 1, where members are drawn.

        Raises:
            CubeError: The Dataset is not a filled one, lacks days, or no cell has values of enough years.
            ConfigError: Settings that do not go together.
        """
        from sgdsm.api.drought import drought

        return drought(self._dataset, **settings)
