"""The demonstration of downscaling: what was learned at 1 km, scored at 10 m where the built-in region is known."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.bilinear import conserved, refined
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.specification import TARGET, build
from sgdsm.data.months import TESTED, Months
from sgdsm.downscaling.demo_dispatch import dispatch_scores
from sgdsm.downscaling.model import Downscaler, load
from sgdsm.downscaling.rows import rows_of
from sgdsm.downscaling.train import fitted, labelled
from sgdsm.evaluation.fine import BILINEAR, fine_scores, fine_states
from sgdsm.evaluation.metrics import State
from sgdsm.evaluation.rows import SHOWN
from sgdsm.report.downscaling_figures import DPI, fine_maps, ratio_bars
from sgdsm.sources.simulation.region import FACTOR, Region, fine_day, made_region, simulated_region
from sgdsm.training.run import Run

AT_ONCE = 2**18  # rows together
SAMPLED = 2  # of the pixels without a speckle filter each second row and column
SCORES, STACK, TRUTH, COARSE, WELLS = "fine_scores.json", "fine.zarr", "truth.zarr", "coarse.nc", "wells.csv"
DISPATCHED = "dispatch_scores.json"
CHUNK = 512
COARSER = 6  # cells of 1 km along a side of what DISPATCH starts from


def demo(
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    others: Mapping[str, Mapping[str, Any]],
    folder: Path,
    own: str,
    accelerator: str = "auto",
) -> str:
    """Fit further regressors beside that of a run, and score all of them at 10 m on days of the test.

    Args:
        settings: `fine_days` and `write_fine` of an experiment.
        config: Of the run.
        others: Specifications of the further regressors, by name.
        folder: Of the run; scores, stack, truth, wells and figures are written there.
        own: Name of the run's regressor.
        accelerator: As in `pytorch_lightning.Trainer`.

    Returns:
        A text with the scores.
    """
    rows = rows_of(build(config["data"], xr.Dataset))
    splits: Months = build(config["splits"], Months)
    label = labelled(rows, splits)
    models = {own: load(folder)}
    for name, spec in others.items():
        models[name] = fitted(spec, rows, label, config["seed"], None, accelerator)[0]
    days = chosen_days(rows.days[label == TESTED], int(settings.get("fine_days", 4)))
    region = region_of(config["data"])
    states: dict[str, State] = {}
    unfiltered: dict[str, State] = {}
    pictures: dict[str, np.ndarray] = {}
    spread, made = Spread(models[own]), []
    for day in days:
        number = int((day - region.first).astype(int))
        fine = fine_day(region, number)
        truth, coarse = fine["SM"].values[0], region.coarse(number)["SM"]
        maps = {BILINEAR: refined(coarse, FACTOR)}
        for name, model in models.items():
            maps[name] = estimated(model, fine)
            maps[f"{name}, conserved"] = conserved(maps[name], coarse, FACTOR)
        _add(states, fine_states(truth, maps))
        raw = _without_filter(region, fine, number)
        spread.add(fine, raw)
        part = {"y": slice(None, None, SAMPLED), "x": slice(None, None, SAMPLED)}
        few = {BILINEAR: maps[BILINEAR][::SAMPLED, ::SAMPLED], own: estimated(models[own], raw.isel(part))}
        _add(unfiltered, fine_states(truth[::SAMPLED, ::SAMPLED], few))
        made.append(fine)
        pictures = pictures or {"truth": truth, **{name: maps[name] for name in (BILINEAR, own, f"{own}, conserved")}}
    table = fine_scores(states)
    table[f"{own}, no speckle filter"] = fine_scores(unfiltered)[own]
    run = Run(folder)
    run.write(
        SCORES, {"days": [str(day) for day in days], "units": rows.target_units, "scores": table, **spread.table()}
    )
    run.figures.mkdir(exist_ok=True)
    fine_maps(pictures, str(days[0]), rows.target_units).savefig(run.figures / "fine_maps.png", dpi=DPI)
    ratios = {name: row["ratio"] for name, row in table.items() if name != BILINEAR}
    ratio_bars(ratios).savefig(run.figures / "fine_ratios.png", dpi=DPI)
    beside = _dispatch(region, np.unique(rows.days[label == TESTED]), models[own], own, run, rows.target_units)
    if settings.get("write_fine", True):
        _write(folder, region, xr.concat(made, "time", data_vars="minimal", coords="minimal", compat="override"))
    return "\n".join(
        [f"\nscores at 10 m on {', '.join(map(str, days))} [{rows.target_units}]", _text(table), spread.text(), *beside]
    )


def _dispatch(region: Region, days: np.ndarray, model: Downscaler, own: str, run: Run, units: str) -> list[str]:
    """Score DISPATCH of 6 km at 1 km beside the run's regressor; write, draw and return its scores as lines."""
    if region.cells % COARSER or region.cells < 2 * COARSER:
        log.info("data.cells=%d: DISPATCH is left out, which needs at least 2 x 2 cells of 6 km", region.cells)
        return []
    numbers = [int(n) for n in (days - region.first).astype(int)]
    table, pictures = dispatch_scores(region, numbers, model, own, COARSER)
    run.write(DISPATCHED, {"days": [str(day) for day in days], "units": units, "scores": table})
    fine_maps(pictures, str(days[0]), units).savefig(run.figures / "dispatch_maps.png", dpi=DPI)
    head = f"\nDISPATCH from maps of 6 km, at 1 km on {len(days)} days of the test [{units}]"
    return [head, _text(table, "ratio: ubRMSE over that of the bilinear map of the true 6 km values")]


def chosen_days(days: np.ndarray, count: int) -> np.ndarray:
    """Return days of the test, (D,): of each month the middle one, evenly chosen where there are more than `count`."""
    if count < 1:
        raise ConfigError(f"demo.fine_days={count}: expected at least 1")
    there = np.unique(days.astype("datetime64[D]"))
    months = there.astype("datetime64[M]")
    middle = [there[months == month][(months == month).sum() // 2] for month in np.unique(months)]
    places = np.unique(np.linspace(0, len(middle) - 1, min(count, len(middle))).round().astype(int))
    return np.asarray(middle)[places]


def region_of(spec: Mapping[str, Any]) -> Region:
    """Return the region that a configuration of data is of."""
    defaults = {n: p.default for n, p in inspect.signature(simulated_region).parameters.items()}
    given = defaults | {name: value for name, value in spec.items() if name != TARGET}
    return made_region(*(given[name] for name in ("cells", "seed", "speckle", "start", "days")))


def estimated(downscaler: Downscaler, fine: xr.Dataset) -> np.ndarray:
    """Return the estimates of a day's fine predictors, (H, W) float32; NaN where one of them is missing.

    Args:
        downscaler: Fitted.
        fine: Predictors, (1, H, W), or (H, W) for those without time.
    """
    shape = fine["SM"].shape[1:]
    columns = [np.asarray(fine[name].values, np.float32).reshape(-1) for name in downscaler.predictors]
    found = np.full(shape[0] * shape[1], np.nan, np.float32)
    for start in range(0, found.size, AT_ONCE):
        rows = np.stack([column[start : start + AT_ONCE] for column in columns], -1)
        complete = np.isfinite(rows).all(1)
        found[start : start + AT_ONCE][complete] = downscaler.estimate(rows[complete])["mean"]
    return found.reshape(shape)


class Spread:
    """How far the 10 m values of predictors reach beyond those of training.

    Args:
        downscaler: Trained at 1 km.
    """

    def __init__(self, downscaler: Downscaler) -> None:
        self.downscaler = downscaler
        self.sums: dict[str, np.ndarray] = {}

    def add(self, fine: xr.Dataset, unfiltered: xr.Dataset) -> None:
        """Add a day, and the same day without speckle filter."""
        for k, name in enumerate(self.downscaler.predictors):
            self._add(name, k, fine[name].values)
        k = self.downscaler.predictors.index("GRD")
        self._add("GRD, no speckle filter", k, unfiltered["GRD"].values)

    def _add(self, name: str, k: int, values: np.ndarray) -> None:
        outside = ((values < self.downscaler.low[k]) | (values > self.downscaler.high[k])).mean()
        # within a day: through the year all predictors vary at 1 km as well
        found = np.array([1.0, outside, values.std(dtype=np.float64) / self.downscaler.spread[k]])
        self.sums[name] = self.sums.get(name, np.zeros(3)) + found

    def table(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return for each predictor the share of values outside the training range, and the ratio of spreads."""
        return {
            "predictors": {
                name: {"outside": float(outside / n), "spread_ratio": float(ratio / n)}
                for name, (n, outside, ratio) in self.sums.items()
            }
        }

    def text(self) -> str:
        """Return the table as text."""
        lines = ["\n10 m values outside the range of training, and their spread on a day over that of training at 1 km"]
        for name, row in self.table()["predictors"].items():
            lines.append(f"{name:26}{100 * row['outside']:8.2f} %{row['spread_ratio']:9.2f}")
        return "\n".join(lines)


def _without_filter(region: Region, fine: xr.Dataset, number: int) -> xr.Dataset:
    power = region.power(number, fine["SM"].values[0])
    return fine.assign(GRD=fine["GRD"].copy(data=10 * np.log10(power)[None]))


def _add(states: dict[str, State], more: Mapping[str, State]) -> None:
    for name, state in more.items():
        states[name] = states[name] + state if name in states else state


def _text(
    table: Mapping[str, Mapping[str, float]],
    meaning: str = "ratio: ubRMSE over that of the bilinear map of the true 1 km values",
) -> str:
    wide = max(map(len, table)) + 2
    lines = [f"{'':{wide}}" + "".join(f"{name:>9}" for name in (*SHOWN, "ratio"))]
    for name, row in table.items():
        lines.append(f"{name:{wide}}" + "".join(f"{row[n]:9.4f}" for n in SHOWN) + f"{row['ratio']:9.2f}")
    return "\n".join([*lines, meaning])


def _write(folder: Path, region: Region, fine: xr.Dataset) -> None:
    """Write predictors and truth of the days at 10 m, the truth at 1 km, and the wells."""
    for name, part in ((STACK, fine.drop_vars("SM")), (TRUTH, fine[["SM"]])):
        partial = folder / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        sizes = {"time": 1, "y": CHUNK, "x": CHUNK}
        encoding = {
            n: {"chunks": tuple(min(sizes[str(d)], v.sizes[d]) for d in v.dims)} for n, v in part.data_vars.items()
        }
        part.to_zarr(partial, encoding=encoding, zarr_format=2, consolidated=True)
        partial.rename(folder / name)
    numbers = [int(n) for n in (fine["time"].values.astype("datetime64[D]") - region.first).astype(int)]
    coarse = fine[["SM"]].coarsen(y=FACTOR, x=FACTOR).mean()
    coarse["SM"].attrs = fine["SM"].attrs
    partial = folder / f"{COARSE}.partial"
    coarse.to_netcdf(partial, engine="netcdf4")
    partial.rename(folder / COARSE)
    lines = ["date,x,y,groundwater_level"]
    west, north = float(fine["x"][0]) - 5, float(fine["y"][0]) + 5
    for number in numbers:
        for (row, column), level in zip(region.wells, region.well_levels(number), strict=True):
            lines.append(f"{region.first + number},{west + 10 * column:.1f},{north - 10 * row:.1f},{level:.3f}")
    partial = folder / f"{WELLS}.partial"
    partial.write_text("\n".join(lines) + "\n")
    partial.rename(folder / WELLS)
