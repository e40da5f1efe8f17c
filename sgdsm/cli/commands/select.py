"""Test which covariates say something of the target, and recommend which to give a model."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import by_role, precipitation_of, suggest, target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.core.settings import setting
from sgdsm.evaluation.antecedent import Antecedent, antecedent, format_antecedent
from sgdsm.evaluation.selection import Sample, Selection
from sgdsm.evaluation.selection import select as rank_covariates
from sgdsm.report.antecedent import antecedent_figure
from sgdsm.report.selection import selection_figure
from sgdsm.training.config import check_groups
from sgdsm.training.task import split_cube

USAGE = "data=.. output=FOLDER [splits=..] [stratum=NAME]"
GROUPS = ("data", "gaps", "splits")
MOST_STRATA = 30
COLUMNS = (
    "sample", "rows", "effective_sample_size", "covariate", "available", "vif", "correlation", "coefficient", "t", "p",
    "t_block", "p_block", "stepwise", "best_subset", "importance", "kept", "why",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The cube whose covariates are tested, at the training values of its splits."""

    data: dict[str, Any] = setting("simulate", "the cube", group=True)
    gaps: dict[str, Any] = setting("transplant", "how observed values are hidden", group=True)
    splits: dict[str, Any] = setting("blocks", "give the splits that scores will be made with", group=True)
    output: str = setting(help="folder of the tables and the figure", path=True)
    stratum: str | None = setting(None, "a static variable of classes (climate, land cover): tested in each too")
    antecedent_days: int = setting(20, "longest antecedent precipitation that is tried, in maps; 0: none")

    def __post_init__(self) -> None:
        if not 0 <= self.antecedent_days <= 366:
            raise ConfigError(f"antecedent_days={self.antecedent_days}: expected 0 to 366")
        check_groups({group: getattr(self, group) for group in GROUPS}, GROUPS)


def run(settings: Settings) -> None:
    """Test the covariates of a cube at its training values; print, write and draw the result."""
    output, stratum = Path(settings.output), settings.stratum
    if output.is_file():
        raise ConfigError(f"output={output}: a file; expected a folder")
    part = split_cube({group: getattr(settings, group) for group in GROUPS})
    cube = part.cube
    names = [*by_role(cube, "dynamic"), *by_role(cube, "static")]
    strata = None if stratum is None else strata_of(cube, stratum)
    # the values that choices may rest on: far enough from those of other splits
    selection = rank_covariates(part.record, part.split.allowed, names, stratum, strata)
    target = str(target_of(cube).name)
    output.mkdir(parents=True, exist_ok=True)
    _write(selection, output / "selection.csv")
    _write_correlations(selection, output / "correlations.csv")
    picture = selection_figure(selection, target, output / "selection.png")
    print(format_selection(selection, target))
    rain = precipitation_of(cube)
    if rain is not None and settings.antecedent_days:
        column = part.record.dynamic[names.index(rain)]
        memory = antecedent(column, part.record.values, part.split.allowed, settings.antecedent_days, strata)
        _write_antecedent(memory, output / "antecedent.csv")
        print(f"\n{format_antecedent(memory, rain)}")
        drawn = antecedent_figure(memory, target, output / "antecedent.png")
        print(f"table: {output / 'antecedent.csv'}, figure: {drawn}\n")
    print(f"tables: {output / 'selection.csv'}, {output / 'correlations.csv'}\nfigure: {picture}")
    if "dynamic" not in settings.data:
        log.info("these data have no data.dynamic and data.static of their own: the names are for data=netcdf")
    kept = {r: [n for n in by_role(cube, r) if n in selection.kept or n == stratum] for r in ("dynamic", "static")}
    named = settings.data.get("precipitation")
    more = " data.precipitation=null" if named is not None and named not in kept["dynamic"] else ""
    print(" ".join(f"data.{role}=[{','.join(chosen)}]" for role, chosen in kept.items()) + more)


def strata_of(cube: xr.Dataset, name: str, key: str = "stratum") -> tuple[np.ndarray, list[str]]:
    """Return the stratum of each cell, (H, W), -1 where it has none, and the names of the strata.

    `key` is the setting that names it, for messages. Raises ConfigError where `name` is no static variable of classes.
    """
    known = by_role(cube, "static")
    if name not in known:
        raise ConfigError(
            f"{key}={name}: expected a static variable{suggest(name, known)}; there are {known or 'none'}"
        )
    values = cube[name].values.astype(np.float64)
    land = cube[by_role(cube, "land")[0]].values.astype(bool)
    classes = np.unique(values[land & np.isfinite(values)])
    if not 2 <= len(classes) <= MOST_STRATA:
        raise ConfigError(f"{key}={name}: {len(classes)} different values on land, expected 2 to {MOST_STRATA} classes")
    stratum = np.where(land & np.isin(values, classes), np.searchsorted(classes, values), -1)
    attrs = cube[name].attrs
    meanings = str(attrs.get("flag_meanings", "")).split()
    said = dict(zip(np.atleast_1d(attrs.get("flag_values", [])), meanings, strict=False))
    return stratum, [said.get(one, f"{one:g}") for one in classes]


def format_selection(found: Selection, target: str) -> str:
    """The whole sample as a table, the most important covariate first, and what is dropped and why."""
    whole, strata = found.samples[0], found.samples[1:]
    width = max(len(name) for name in found.available)
    lines = [
        f"{target}: {whole.rows} rows of training values, effective sample size about {whole.effective_size:.0f}; R2 "
        f"{whole.fit.r2:.3f}",
        f"{'':{width}}  avail.    VIF      r  coeff.        t       p  t block  p block  stepwise  best  LMG %"
        + ("  strata" if strata else ""),
    ]
    for k in np.argsort(whole.importance)[::-1]:
        name = whole.names[k]
        in_strata = sum(bool(stratum.significant[k]) for stratum in strata)
        lines.append(
            f"{name:{width}}  {found.available[name]:6.1%} {found.inflation[name]:6.1f} {whole.correlation[k]:+6.2f} "
            f"{whole.fit.coefficient[k]:+7.3f} {whole.fit.t[k]:8.1f} {whole.fit.p[k]:7.4f} {whole.t_block[k]:8.1f} "
            f"{whole.p_block[k]:8.4f}  {_yes(whole.stepwise[k]):8}  {_yes(whole.best[k]):4} "
            f"{100 * whole.importance[k]:6.1f}" + (f"  {in_strata}/{len(strata)}" if strata else "")
        )
    lines += ["", *(f"kept     {name:{width}}  {why}" for name, why in found.kept.items())]
    lines += [f"dropped  {name:{width}}  {why}" for name, why in found.dropped.items()]
    return "\n".join(lines)


def _write(found: Selection, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for sample in found.samples:
            for k, name in enumerate(sample.names):
                writer.writerow(_row(found, sample, k, name))
        for name, why in found.dropped.items():
            if name not in found.samples[0].names:
                writer.writerow({"sample": "all", "covariate": name, **_told(found, name), "kept": "no", "why": why})


def _write_correlations(found: Selection, path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["covariate", *found.inflation])
        for name, row in zip(found.inflation, found.correlations, strict=True):
            writer.writerow([name, *(f"{value:.4f}" for value in row)])


def _write_antecedent(found: list[Antecedent], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "rows", "days", "r_within_cells", "r_over_all", "highest"])
        for one in found:
            for days, (within, overall) in enumerate(zip(one.within, one.overall, strict=True), 1):
                numbers = [f"{value:.6g}" for value in (within, overall)]
                writer.writerow([one.name, one.rows, days, *numbers, _yes(days == one.best)])


def _row(found: Selection, sample: Sample, k: int, name: str) -> dict[str, Any]:
    numbers = {
        "correlation": sample.correlation[k],
        "coefficient": sample.fit.coefficient[k],
        "t": sample.fit.t[k],
        "p": sample.fit.p[k],
        "t_block": sample.t_block[k],
        "p_block": sample.p_block[k],
        "importance": sample.importance[k],
    }
    return {
        "sample": sample.name,
        "rows": sample.rows,
        "effective_sample_size": round(sample.effective_size),
        "covariate": name,
        **_told(found, name),
        **{key: f"{value:.6g}" for key, value in numbers.items()},
        "stepwise": _yes(sample.stepwise[k]),
        "best_subset": _yes(sample.best[k]),
        "kept": _yes(name in found.kept),
        "why": found.kept.get(name) or found.dropped[name],
    }


def _told(found: Selection, name: str) -> dict[str, str]:
    factor = found.inflation.get(name)
    return {"available": f"{found.available[name]:.6g}", "vif": "" if factor is None else f"{factor:.6g}"}


def _yes(value: bool) -> str:
    return "yes" if value else "no"
