"""Open cubes whose variables carry their roles: those that `prepare` made, and what `export` wrote of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from sgdsm.core.cube import as_cube, by_role, open_dataset, uncertainty_of
from sgdsm.core.errors import CubeError
from sgdsm.core.io.stores import is_remote
from sgdsm.preprocessing.recipe import Recipe
from sgdsm.preprocessing.store import PLAN


def open_prepared(
    path: str,
    recipe: Recipe | None = None,
    repeat_cycle_days: int | None = None,
    uncertainty: str | None = None,
    valid_range: Sequence[float] | None = None,
) -> xr.Dataset:
    """Open a cube by the roles that its variables carry.

    Args:
        path: File, folder or URL.
        recipe: The recipe that the cube must have been made of.
        repeat_cycle_days: See `sgdsm.core.cube.as_cube`.
        uncertainty: Name of the target's standard deviation (default: the variable of that role).
        valid_range: See `sgdsm.core.cube.as_cube`.

    Returns:
        The cube.

    Raises:
        CubeError: When there is no such cube, or it was made of another recipe.
    """
    if recipe is not None and not is_remote(path) and not Path(path).exists():
        raise CubeError(
            f"{path}: no such cube yet: make it with `python -m sgdsm prepare` and the same data= arguments"
        )
    dataset = open_dataset(path)
    targets = by_role(dataset, "target")
    if len(targets) != 1:
        raise CubeError(
            f"{path}: {len(targets)} variables carry role='target', expected one; use data=netcdf and name it"
        )
    if recipe is not None:
        # compared as JSON: the plan of the store has been through it
        made = json.loads(str(dataset.attrs.get(PLAN, "{}")))
        other = [key for key, value in json.loads(json.dumps(recipe.plain())).items() if made.get(key) != value]
        if other:
            raise CubeError(
                f"{path} was made of another recipe ({', '.join(other)} differ): prepare it again, elsewhere"
            )
    # without a land variable `as_cube` takes the cells that were ever observed
    land = by_role(dataset, "land")
    return as_cube(
        dataset,
        targets[0],
        by_role(dataset, "dynamic"),
        by_role(dataset, "static"),
        by_role(dataset, "flag"),
        land[0] if land else None,
        missing_days="insert",
        repeat_cycle_days=repeat_cycle_days,
        uncertainty=uncertainty or uncertainty_of(dataset),
        valid_range=valid_range,
    )
