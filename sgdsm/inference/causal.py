"""Near real time: fillings of a day that look at nothing after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from sgdsm.core.cube import by_role, target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.hdf5 import open_hdf5
from sgdsm.data.normalization import Climatology, Inputs, season_basis
from sgdsm.inference.survey import prior_of, survey
from sgdsm.models.base import GapFiller
from sgdsm.preprocessing.export import write_netcdf

COEFFICIENT, SPREAD = "coefficient", "spread"  # of the file of a climatology


def look_back_only(filler: GapFiller) -> None:
    """Let a fitted filler that was trained with later days do without them, in place.

    Args:
        filler: Its settings, and what trees have learned, stay as they are.

    Raises:
        ConfigError: If it cannot, or not without being trained again.
    """
    if filler.inputs.causal:
        return
    filler.check_causal()
    cure = "train a run with causal=true"
    if filler.learns_causal:
        raise ConfigError(f"causal=true: {type(filler).__name__} was trained to look at both sides of a gap: {cure}")
    if filler.error_bars is not None:
        raise ConfigError(f"causal=true: the error bars of the run are those of fillings that look ahead: {cure}")
    for part in filler.modules():
        if isinstance(part, GapFiller):
            part.inputs = replace(part.inputs, causal=True)
            part.window = replace(part.window, ahead=False)


def save_climatology(cube: xr.Dataset, inputs: Inputs, path: Path, which: str) -> None:
    """Write the climatology of the cells of a cube: from a cube that grows it would change with its later days.

    Args:
        cube: What the filler was trained on, in the units of the training.
        inputs: Of the filler.
        path: Of a NetCDF file.
        which: Values of the training these are, in words, for the attributes.
    """
    target, land = target_of(cube), cube[by_role(cube, "land")[0]].values.astype(bool)
    coefficients, spread = survey(target, land, [], prior_of(target, land, inputs.anomaly_scale**2)).climatology
    rows, columns = (str(dim) for dim in target.dims[1:])
    units = {"units": inputs.units}
    maps = {f"{COEFFICIENT}_{k}": ((rows, columns), one, units) for k, one in enumerate(coefficients)}
    spread_attrs = {**units, "long_name": "standard deviation of the anomalies"}
    whole = xr.Dataset(
        {**maps, SPREAD: ((rows, columns), spread, spread_attrs)},
        {rows: cube[rows].values, columns: cube[columns].values},
        {"comment": "coefficients of 1, then cosine and sine of the year and of half a year", "fitted_on": which},
    )
    write_netcdf(whole, path)


def read_climatology(path: Path, cube: xr.Dataset) -> Climatology:
    """Return what `save_climatology` wrote.

    Args:
        path: Of the file.
        cube: What is to be filled.

    Raises:
        ConfigError: It is no such file, or of another grid.
    """
    target = target_of(cube)
    try:
        with open_hdf5(path) as known:
            for dim in map(str, target.dims[1:]):
                if not np.array_equal(known[dim].values, cube[dim].values):
                    raise ConfigError(
                        f"causal=true: '{dim}' of the cube is not that of the training, which the climatology of the "
                        "cells comes from: train a run on this grid"
                    )
            terms = range(season_basis(np.zeros(1)).shape[1])
            coefficients = np.stack([known[f"{COEFFICIENT}_{k}"].values for k in terms])
            found = Climatology(coefficients, known[SPREAD].values)
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(f"{path}: not a climatology that train has written: train the run again") from error
    if found.coefficients.shape[1:] != target.shape[1:] or found.spread.shape != target.shape[1:]:
        raise ConfigError(f"{path}: not a climatology of this grid: train the run again")
    return found
