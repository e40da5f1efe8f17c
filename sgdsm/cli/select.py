"""The command `select`: which covariates to give a filler; part of the composition root."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import ConfigError, by_role, log, suggest, target_of
from sgdsm.evaluation.selection import Sample, Selection
from sgdsm.evaluation.selection import select as rank_covariates

MOST_STRATA = 30
COLUMNS = (
    "sample", "rows", "effective_sample_size", "covariate", "available", "vif", "correlation", "coefficient", "t", "p",
    "t_block", "p_block", "stepwise", "best_subset", "importance", "kept", "why",
)  # fmt: skip


def select(config: dict[str, Any]) -> None:
    """Judge the covariates of a cube at its training values; print, write and draw what was found."""
    from sgdsm.report.selection import selection_figure
    from sgdsm.training.task import split_cube

    output, stratum = Path(config["output"]), config["stratum"]
    if output.is_file():
        raise ConfigError(f"output={output}: a file; expected a folder")
    dealt = split_cube(config)
    cube = dealt.cube
    names = [*by_role(cube, "dynamic"), *by_role(cube, "static")]
    strata = None if stratum is None else strata_of(cube, stratum)
    # the values that choices may rest on: far enough from those of other splits
    found = rank_covariates(dealt.record, dealt.split.allowed, names, stratum, strata)
    target = str(target_of(cube).name)
    output.mkdir(parents=True, exist_ok=True)
    _write(found, output / "selection.csv")
    _write_correlations(found, output / "correlations.csv")
    picture = selection_figure(found, target, output / "selection.png")
    print(format_selection(found, target))
    print(f"tables: {output / 'selection.csv'}, {output / 'correlations.csv'}\nfigure: {picture}")
    if "dynamic" not in config["data"]:
        log.info("these data have no data.dynamic and data.static of their own: the names are for data=netcdf")
    kept = {role: [n for n in by_role(cube, role) if n in found.kept or n == stratum] for role in ("dynamic", "static")}
    rain = config["data"].get("precipitation")
    more = " data.precipitation=null" if rain is not None and rain not in kept["dynamic"] else ""
    print(" ".join(f"data.{role}=[{','.join(chosen)}]" for role, chosen in kept.items()) + more)


def strata_of(cube: xr.Dataset, name: str) -> tuple[np.ndarray, list[str]]:
    """Return the number of the stratum of each cell, (H, W), -1 where it has none; and the names of the strata.

    Raises ConfigError where `name` is no static variable of classes.
    """
    known = by_role(cube, "static")
    if name not in known:
        raise ConfigError(
            f"stratum={name}: expected a static variable{suggest(name, known)}; there are {known or 'none'}"
        )
    values = cube[name].values.astype(np.float64)
    land = cube[by_role(cube, "land")[0]].values.astype(bool)
    classes = np.unique(values[land & np.isfinite(values)])
    if not 2 <= len(classes) <= MOST_STRATA:
        raise ConfigError(
            f"stratum={name}: {len(classes)} different values on land, expected 2 to {MOST_STRATA} classes"
        )
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
