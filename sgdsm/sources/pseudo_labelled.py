"""A cube whose target is what a filler has estimated: one network teaches another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sgdsm.core.cube import CubeError, by_role, open_cube, open_dataset, target_of
from sgdsm.core.filled import FILLED, SM_FILLED, SM_SOURCE


def pseudo_labelled(
    path: str, target: str, filled: str, where: str, dynamic: Sequence[str] = (), land: str | None = None
) -> xr.Dataset:
    """A cube from a file of the user's own (`open_cube`), with the estimates of a filled file as its target.

    filled: file written by predict on the same grid; days that it lacks stay without a target, and so do its observed
    values: the pupil learns from the teacher alone. where: variable of `path`; estimates count where it has a value.

    Raises CubeError where the files do not go together.
    """
    cube = open_cube(path, target, [*(n for n in dynamic if n != where), where], land=land)
    product = open_dataset(filled)
    missing = [n for n in (SM_FILLED, SM_SOURCE) if n not in product]
    if missing:
        raise CubeError(f"{filled}: lacks {missing}: expected a file that predict has written")
    old = target_of(cube)
    for dim in old.dims[1:]:
        if dim not in product.dims or not np.array_equal(product[dim].values, cube[dim].values):
            raise CubeError(f"{filled}: '{dim}' is not that of {path}")
    estimates = product[SM_FILLED].where(product[SM_SOURCE] == FILLED).reindex(time=cube["time"])
    estimates = estimates.transpose(*old.dims).where(np.isfinite(cube[where])).astype(np.float32)
    if not np.isfinite(estimates.values).any():
        raise CubeError(f"{filled}: holds no estimate where '{where}' has a value")
    # an uncertainty was that of the observed values
    cube = cube.drop_vars(by_role(cube, "uncertainty")).assign({target: estimates.drop_attrs().assign_attrs(old.attrs)})
    return cube if where in dynamic else cube.drop_vars(where)
