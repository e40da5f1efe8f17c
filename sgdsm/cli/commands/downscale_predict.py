"""Estimate fine maps, such as of 10 m, from a stack of predictors with a run of downscale train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import xarray as xr

from sgdsm.core.cube import open_dataset
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.io.stores import check_folder, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.region import check_bbox, period_of
from sgdsm.core.settings import setting
from sgdsm.core.words import counted
from sgdsm.downscaling.conservation import coarse_crs, coarse_maps
from sgdsm.downscaling.model import Downscaler, load
from sgdsm.downscaling.outputs import GeoTiffs, Output, Store, bands_of
from sgdsm.downscaling.predict import Made, Reach, matched, predict
from sgdsm.downscaling.stack import PATTERN, STATIC, cut_to, days_of, grid_of, open_stack
from sgdsm.training.run import content_digest

USAGE = "run=RUN fine=STACK output=FOLDER|FILE.zarr [coarse=FILE] [time=A:B] [bbox=[W,S,E,N]]"
NOTE = "the same words go on where an interrupted call stopped; a folder takes further days later"
STEP = 64  # of tiles a window holds a whole number


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The run, the fine predictors, and where to write."""

    run: str = setting(help="folder of a run of downscale train", path=True)
    fine: str = setting(help="predictors: fine.zarr, or a folder of GeoTIFFs", path=True)
    pattern: str = setting(PATTERN, "names of the files of days in a folder; without {variable}: bands by description")
    static: str = setting(STATIC, "names of the files without a date in a folder")
    output: str = setting(help="folder of a GeoTIFF a day, or FILE.zarr", path=True)
    coarse: str | None = setting(None, "filled file, whose values the means of the fine ones are to equal", path=True)
    coarse_variable: str | None = setting(None, "of it; by default sm_filled, or the target of the run")
    conserve: bool | None = setting(None, "correct the means; by default where coarse= is given")
    same_source: bool = setting(True, "refuse predictors of another source than those of training")
    intervals: bool = setting(True, "bounds and distance too, where the run has them; false takes a third of the time")
    packed: bool = setting(False, "int16 with a scale, half the size")
    cog: bool = setting(False, "cloud-optimised GeoTIFFs, with overviews")
    time: str | None = setting(None, "first and last day, like 2021-01-01:2021-06-30")
    bbox: list[Any] | None = setting(None, "[west, south, east, north], degrees")
    window_pixels: int = setting(512, "side of a window; of an output that was begun it stays")
    workers: int = setting(1, "windows at a time; they share the threads")
    accelerator: Literal["auto", "cpu", "gpu", "cuda"] = setting("auto", "where the estimates are made")

    def __post_init__(self) -> None:
        if self.bbox is not None:
            check_bbox(self.bbox)
        period_of(self.time)
        if self.conserve and self.coarse is None:
            raise ConfigError("conserve=true: give coarse=FILE, whose values the means are to equal")
        if self.coarse is None and self.coarse_variable is not None:
            raise ConfigError(f"coarse_variable={self.coarse_variable}: give coarse=FILE too")
        if self.window_pixels % STEP or not STEP <= self.window_pixels <= 2**13:
            raise ConfigError(f"window_pixels={self.window_pixels}: expected a multiple of {STEP}, up to 8192")
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: expected at least 1")
        if self.cog and self.output.endswith(".zarr"):
            raise ConfigError(f"cog=true: output={self.output} is a Zarr store: expected a folder of GeoTIFFs")
        if self.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
            raise ConfigError(f"accelerator={self.accelerator}: this machine has none: expected auto or cpu")


def run(settings: Settings) -> None:
    """Open, check, predict, and print what was made."""
    local_only("output", settings.output)
    output = Path(settings.output)
    if output.is_file() or output.suffix in (".nc", ".tif", ".tiff"):
        raise ConfigError(f"output={output}: expected the name of a folder of GeoTIFFs, or of a store ending in .zarr")
    check_folder("output", output)
    downscaler = load(Path(settings.run))
    if settings.accelerator in ("gpu", "cuda") or (settings.accelerator == "auto" and torch.cuda.is_available()):
        downscaler.to("cuda")
    name, period = f"fine={settings.fine}", period_of(settings.time)
    stack = open_stack(
        settings.fine, downscaler.predictors, pattern=settings.pattern, static=settings.static, time=period
    )
    if "time" not in stack.dims:
        raise CubeError(f"{name}: no predictor has a time: expected one of each day at least")
    if settings.bbox is not None:
        stack = cut_to(stack, settings.bbox)
    stack = matched(stack, downscaler, settings.same_source, name)
    with exclusive(output):
        if settings.coarse is not None and settings.conserve is not False:
            with open_dataset(settings.coarse) as file:
                try:
                    maps = coarse_maps(file, downscaler.target, downscaler.target_units, settings.coarse_variable)
                    made, reach = _made(settings, downscaler, stack, output, maps, coarse_crs(file))
                except CubeError as error:
                    text = str(error)
                    raise CubeError(text if text.startswith(name) else f"coarse={settings.coarse}: {text}") from error
        else:
            made, reach = _made(settings, downscaler, stack, output)
    _print(settings, made, reach)


def _made(
    settings: Settings,
    downscaler: Downscaler,
    stack: xr.Dataset,
    output: Path,
    coarse: xr.DataArray | None = None,
    crs: str | None = None,
) -> tuple[Made, Reach]:
    grid, days, reach = grid_of(stack), days_of(stack), Reach(downscaler)
    bounds, has_distance = downscaler.bounds, downscaler.distance is not None and settings.intervals
    level = None if bounds is None or not settings.intervals else bounds.level
    bands = bands_of(downscaler.target_units, level, has_distance, settings.packed)
    plan = {
        "run": downscaler.digest,
        "predictors": {n: [stack[n].attrs.get("units", ""), stack[n].attrs.get("source", "")] for n in stack.data_vars},
        "crs": grid.crs,
        "transform": list(grid.transform),
        "shape": [grid.rows, grid.columns],
        "window_pixels": settings.window_pixels,
        "variables": [band.name for band in bands],
        "packed": settings.packed,
        "cog": settings.cog,
        "coarse": None if coarse is None else f"{coarse.name} {content_digest(str(settings.coarse))}",
    }
    tags = {
        "sgdsm_run": f"{settings.run} ({downscaler.digest})",
        "sgdsm_regressor": type(downscaler.regressor).__name__,
        "sgdsm_fine": settings.fine,
        "sgdsm_predictors": ", ".join(f"{n} [{u}]" for n, u in downscaler.units.items()),
        "sgdsm_conserved": "no" if coarse is None else f"means equal {coarse.name} of {settings.coarse}",
    }
    target: Output
    if output.suffix == ".zarr":
        target = Store(output, grid, days, bands, tags, settings.window_pixels)
    else:
        target = GeoTiffs(output, grid, bands, tags, settings.window_pixels, settings.cog)
    made = predict(
        downscaler,
        stack,
        target,
        plan,
        coarse=coarse,
        crs=crs,
        window_pixels=settings.window_pixels,
        workers=settings.workers,
        intervals=settings.intervals,
        reach=reach,
        name=f"fine={settings.fine}",
    )
    return made, reach


def _print(settings: Settings, made: Made, reach: Reach) -> None:
    if made.days:
        total = made.pixels + made.missing
        missing = f"{100 * made.missing / total:.1f} % of the pixels missing"
        print(f"{counted(made.days, 'day')}, {made.pixels:,} estimates, {missing}")
        if made.pixels:
            print(reach.text())
            reach.warn()
    if made.cells or made.left:
        untouched = f"{made.left:,} left as they are (less than half of their pixels, or no coarse value)"
        print(f"means conserved in {made.cells:,} cells of days; {untouched}")
    if made.skipped:
        print(f"{counted(made.skipped, 'day')} {'was' if made.skipped == 1 else 'were'} there already")
    print(f"output: {settings.output}")
