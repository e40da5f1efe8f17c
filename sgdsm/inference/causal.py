"""Near real time: fillings of a day that look at nothing after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from sgdsm.core.cube import checked_cube, target_of
from sgdsm.core.errors import ConfigError
from sgdsm.models.base import GapFiller


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


def of_training(trained_on: xr.Dataset, last_day: str | None, cube: xr.Dataset) -> xr.Dataset:
    """Return the days of a cube that a run was trained on, for the climatology of the cells.

    From the cube that is filled it would change with later days.

    Args:
        trained_on: The cube of the training; its file may have grown since.
        last_day: Last day of the training, as 2015-12-31; None: not known.
        cube: What is to be filled.

    Raises:
        ConfigError: If they are not on one grid.
    """
    known = checked_cube(trained_on)
    for dim in target_of(cube).dims[1:]:
        if dim not in known.dims or not np.array_equal(known[dim].values, cube[dim].values):
            raise ConfigError(
                f"causal=true: '{dim}' of the cube is not that of the run's own data, which the climatology of the "
                "cells comes from: train a run on this grid"
            )
    return known if last_day is None else known.sel(time=slice(None, last_day))
