"""`sgdsm.fill`: the same as the commands, from Python."""

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
    """Fill the gaps of a Dataset with the filler of a run; the same values as `predict.py` writes.

    dataset: a cube (`sgdsm.as_cube`), or a Dataset with the variables that the run was trained on. max_gap_days: values
        farther from the nearest observation of their cell are not filled. roles: arguments of `sgdsm.as_cube` where its
        names differ (target=, dynamic=, static=, land=...).

    Raises CubeError where the Dataset lacks what the run needs, ConfigError where the folder is no run or the cap none.
    """
    known = [name for name in inspect.signature(as_cube).parameters if name != "dataset"]
    for name in roles:
        if name not in known:
            raise ConfigError(f"fill: unknown argument '{name}'{suggest(name, known)}; known are {', '.join(known)}")
    trained = Run(run).config()["data"]
    filler = load_filler(Run(run).model)
    if roles or not (by_role(dataset, "target") and by_role(dataset, "land")):
        dataset = as_cube(dataset, **{**_roles(filler.inputs, trained, dataset), **roles})
    dataset = checked_cube(dataset)
    output = MemoryOutput()
    fill_cube(dataset, filler, output, max_gap_days=max_gap_days, trainer={"enable_progress_bar": False})
    return output.dataset


def _roles(inputs: Inputs, trained: dict[str, Any], dataset: xr.Dataset) -> dict[str, Any]:
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
