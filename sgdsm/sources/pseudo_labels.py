"""Cubes whose target is the estimates of a trained model (pseudo-labels), to train another model on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sgdsm.core.cube import by_role, open_cube, open_dataset, target_of
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import FILLED, SM_FILLED, SM_SOURCE


def pseudo_labelled(
    path: str, target: str, filled: str, where: str, dynamic: Sequence[str] = (), land: str | None = None
) -> xr.Dataset:
    """Return a cube of the user's own file whose target is the estimates of a filled file.

    Days that the filled file lacks stay without a target, and so do its observed values: the new model learns from the
    estimates alone.

    Args:
        path: File of the cube, see `open_cube`.
        target: Variable that becomes the target.
        filled: File written by predict on the same grid.
        where: Variable of `path`; estimates are used where it has a value.
        dynamic: Covariates with a time dimension.
        land: Land mask.

    Returns:
        The cube; its target (T, H, W) is in the units of the file's target.

    Raises:
        CubeError: If the files have different grids, the filled file lacks `sm_filled` or `sm_source`, or no estimate
            is left.
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
    # the uncertainty of the file belongs to the observed values, which are no longer the target
    cube = cube.drop_vars(by_role(cube, "uncertainty")).assign({target: estimates.drop_attrs().assign_attrs(old.attrs)})
    return cube if where in dynamic else cube.drop_vars(where)
