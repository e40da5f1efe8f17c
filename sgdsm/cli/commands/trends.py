"""Tell trends of a filled file: of its filled values, of the observed ones alone, and of their difference."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.core.io.stores import check_no_input, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.evaluation.scored_files import ScoredFile, aligned
from sgdsm.evaluation.trend_files import (
    Calendar,
    Step,
    TrendFiles,
    format_trends,
    format_truth,
    robust_of,
    trend_maps,
    truth_table,
    zones_of,
)
from sgdsm.evaluation.trends import Robust
from sgdsm.inference.slope_spread import with_spread
from sgdsm.report.trend_figures import trend_figures

USAGE = "filled=FILE output=FILE.nc [visible=CUBE] [step=year|month|raw] [truth=FILE:VARIABLE]"
NOTE = "figures are written beside the output"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The filled file, what series are made of it, and the test."""

    filled: str = setting(help="what predict has written, or a file of others", path=True)
    output: str = setting(help="FILE.nc of the maps of trends", path=True)
    visible: str | None = setting(None, "cube with the observed values, where the filled file lacks them", path=True)
    estimate: str = setting(SM_FILLED, "variable of the filled values")
    observed: str | None = setting(None, "variable of the observed values; default: the one that the filled one names")
    step: Step = setting("year", "annual means, monthly means within their months, or the maps themselves")
    least_days: int | None = setting(None, "days with a value that a mean needs; default 30 of a year, 3 of a month")
    robust: Robust | None = setting(
        None, "default none for year and raw, covariance (between months) for month; hamed_rao for year and raw"
    )
    members: int | None = setting(
        20, "possible maps for the uncertainty of slopes, where the file tells how errors are correlated; null for none"
    )
    seed: int = setting(0, "of the members")
    classes: str | None = setting(None, "FILE:VARIABLE, a map of classes whose mean series are drawn")
    truth: str | None = setting(None, "FILE:VARIABLE with true values, whose slopes the others are compared with")

    def __post_init__(self) -> None:
        robust_of(self.step, self.robust)
        local_only("output", self.output)
        if Path(self.output).suffix != ".nc":
            raise ConfigError(f"output={self.output}: expected a name that ends in .nc")
        if self.least_days is not None and self.step == "raw":
            raise ConfigError("least_days: only for step=year and step=month, which take means")
        if self.members == 1:
            raise ConfigError("members=1: expected null, or at least 2 for a standard deviation")
        named = [file_and_variable(name, getattr(self, name)) for name in ("classes", "truth")]
        check_no_input(self.output, [self.filled, self.visible, *(pair[0] for pair in named if pair is not None)])


def run(settings: Settings) -> None:
    """Compute the trends; print, write and draw them."""
    output = Path(settings.output)
    with ExitStack() as stack:
        stack.enter_context(exclusive(output))

        def opened(path: str) -> ScoredFile:
            return ScoredFile(stack.enter_context(open_dataset(path)), path)

        filled = opened(settings.filled)
        visible = None if settings.visible is None else opened(settings.visible)
        known = file_and_variable("truth", settings.truth)
        truth = None if known is None else (opened(known[0]), known[1])
        files = TrendFiles.of(filled, visible, truth, settings.estimate, settings.observed)
        calendar, robust = _calendar(settings, files), robust_of(settings.step, settings.robust)
        classes = file_and_variable("classes", settings.classes)
        zones = None
        if classes is not None and settings.classes is not None:
            map_file = opened(classes[0])
            place = files.estimate.isel(time=0, drop=True)
            zones = zones_of(aligned(map_file.variable(classes[1]), place, map_file.name), settings.classes)
        result = trend_maps(files, calendar, robust, zones)
        if settings.members is not None and settings.estimate == SM_FILLED:
            result = with_spread(result, filled, calendar, settings.members, settings.seed)
        partial = output.with_name(f"{output.name}.partial")
        result.to_netcdf(partial, engine="netcdf4", encoding=_encoding(result))
        partial.replace(output)
    print(format_trends(result))
    if truth is not None:
        print(f"\n{format_truth(truth_table(result), result['slope_filled'].attrs['units'])}")
    pictures = trend_figures(result, output)
    print(f"trends: {output}\nfigures: {', '.join(map(str, pictures))}")


def file_and_variable(name: str, value: str | None) -> tuple[str, str] | None:
    """Return the two parts of FILE:VARIABLE, the value of a setting; None if it is not given."""
    if value is None:
        return None
    path, colon, variable = value.rpartition(":")
    if not colon or not path or not variable or variable.startswith("/"):
        raise ConfigError(f"{name}={value}: expected FILE:VARIABLE")
    return path, variable


def _calendar(settings: Settings, files: TrendFiles) -> Calendar:
    try:
        return Calendar.of(files.estimate["time"], settings.step, settings.least_days)
    except CubeError as error:
        raise CubeError(f"filled={settings.filled}: {error}") from error


def _encoding(result: xr.Dataset) -> dict[str, dict[str, object]]:
    return {str(n): {"zlib": True} for n, v in result.data_vars.items() if v.ndim}
