"""`sgdsm.fill`: filling from Python, with the values that predict.py writes."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.cube import NO_UNCERTAINTY, ConfigError, CubeError, as_cube, by_role, checked_cube, suggest
from sgdsm.data.normalization import Inputs
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.checkpoint import load_filler
from sgdsm.training.run import Run


@checked
def fill(dataset: xr.Dataset, run: str | Path, max_gap_days: int | None = None, **roles: Any) -> xr.Dataset:
    """Fill the gaps of a Dataset with the model of a run; the same values as `predict.py` writes.

    Args:
        dataset: A cube (`sgdsm.as_cube`), or a Dataset with the variables that the run was trained on.
        run: Folder of the run.
        max_gap_days: Values farther in time from the nearest observation of their cell are not filled, days.
        **roles: Arguments of `sgdsm.as_cube`, if the names in the Dataset differ (target=, dynamic=, static=,
            land=...).

    Returns:
        Filled Dataset: the target, `sm_filled`, where the model has them `sm_std`, `sm_lower` and `sm_upper`,
        `sm_source`, `gap_age`, `land`.

    Raises:
        CubeError: The Dataset lacks what the run needs, or a value cannot be right.
        ConfigError: The folder is no run, or an argument does not fit.
    """
    known = [name for name in inspect.signature(as_cube).parameters if name != "dataset"]
    # checked here, so that the message names fill and not as_cube
    for name in roles:
        if name not in known:
            raise ConfigError(f"fill: unknown argument '{name}'{suggest(name, known)}; known are {', '.join(known)}")
    # the data settings of the training say which role each variable had
    trained = Run(run).config()["data"]
    filler = load_filler(Run(run).model)
    # a cube keeps its own roles, unless others are asked for
    if roles or not (by_role(dataset, "target") and by_role(dataset, "land")):
        dataset = as_cube(dataset, **{**_roles(filler.inputs, trained, dataset), **roles})
    dataset = checked_cube(dataset)
    output = MemoryOutput()
    fill_cube(dataset, filler, output, max_gap_days=max_gap_days, trainer={"enable_progress_bar": False})
    return output.dataset


def _roles(inputs: Inputs, trained: dict[str, Any], dataset: xr.Dataset) -> dict[str, Any]:
    """Return the arguments of `as_cube` by the names of the training."""
    land, uncertainty = trained.get("land", "land"), trained.get("uncertainty")
    roles: dict[str, Any] = {
        "target": inputs.target,
        "dynamic": inputs.dynamic,
        "static": inputs.static,
        "land": land if land in dataset else None,
        "precipitation": inputs.precipitation,
        "uncertainty": uncertainty if uncertainty == NO_UNCERTAINTY or uncertainty in dataset else None,
        **{k: trained[k] for k in ("missing_days", "circular_longitude") if k in trained},
    }
    missing = [n for n in (inputs.target, *inputs.dynamic, *inputs.static) if n not in dataset]
    if missing:
        raise CubeError(
            f"the Dataset lacks {missing}, which the run was trained on; name others with target=, dynamic=..."
        )
    return roles
