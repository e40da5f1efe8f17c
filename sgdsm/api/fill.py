"""`sgdsm.fill`: filling from Python, with the values that predict.py writes."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.axes import axis_names
from sgdsm.core.cube import NO_UNCERTAINTY, as_cube, by_role, checked_cube, space_dims, suggest
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import SM_FILLED
from sgdsm.data.normalization import Inputs
from sgdsm.inference.causal import read_climatology
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler
from sgdsm.training.run import Run
from sgdsm.training.task import TrainerOptions


@checked
def fill(
    dataset: xr.Dataset,
    run: str | Path | Run | None = None,
    max_gap_days: int | None = None,
    *,
    progress: bool | None = None,
    model: str | GapFiller | None = None,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    **roles: Any,
) -> xr.Dataset:
    """Fill the gaps of a Dataset with a trained run, or train and fill in one call.

    The values are those that `predict.py` writes.

    Args:
        dataset: A cube (`sgdsm.as_cube`), or a Dataset with the variables that the run was trained on, dims (time,
            lat, lon) or (time, y, x).
        run: A run or its folder; None trains one on the Dataset itself.
        max_gap_days: Values farther from the nearest observation of their cell, in days, are not filled.
        progress: Whether a progress bar is shown; by default as in the training of the run (`trainer.progress`).
        model: As in `sgdsm.train`, by default 'auto'; only without `run`.
        folder: As in `sgdsm.train`; only without `run`.
        overrides: As in `sgdsm.train`; only without `run`.
        **roles: Arguments of `sgdsm.as_cube` where its names differ, such as `target=`, `dynamic=`, `static=`,
            `land=`.

    Returns:
        The filled Dataset, its rows and columns in the order of `dataset`: the target, `sm_filled`, `sm_std`,
        `sm_lower`, `sm_upper` (in the target's units), `sm_source`, `gap_age` (days), `land`.

    Raises:
        CubeError: The Dataset lacks what the run needs.
        ConfigError: The folder is no run, an argument is unknown, or both `run` and `model` are given.
    """
    if run is not None and model is not None:
        raise ConfigError("fill: give run=, a run or its folder, or model=, to train one on this Dataset, not both")
    if run is None:
        # here: filling with a run needs no Hydra
        from sgdsm.api.train import train

        run = train(dataset, model or "auto", folder=folder, overrides=overrides, **roles)
    elif folder is not None or overrides:
        raise ConfigError("fill: folder= and overrides= are for training, run= has no use for them")
    known = [name for name in inspect.signature(as_cube).parameters if name != "dataset"]
    # checked here, so that the message names fill and not as_cube
    for name in roles:
        if name not in known:
            raise ConfigError(f"fill: unknown argument '{name}'{suggest(name, known)}; known are {', '.join(known)}")
    trained_run = run if isinstance(run, Run) else Run(str(run))
    config = trained_run.config()
    trained = config["data"]
    filler = load_filler(trained_run.model)
    if progress is None:
        progress = bool(config["trainer"].get("progress", True))
    TrainerOptions().prepare(filler, config["trainer"])
    given = dataset
    if roles or not (by_role(dataset, "target") and by_role(dataset, "land")):
        dataset = as_cube(dataset, **{**_roles(filler.inputs, trained, dataset), **roles})
    dataset = checked_cube(dataset)
    more: dict[str, Any] = {}
    if filler.inputs.causal:
        more["climatology"] = read_climatology(trained_run.climatology, dataset)
    output = MemoryOutput()
    fill_cube(dataset, filler, output, max_gap_days=max_gap_days, trainer={"enable_progress_bar": progress}, **more)
    return _in_the_order_of(given, output.dataset)


def _in_the_order_of(given: xr.Dataset, filled: xr.Dataset) -> xr.Dataset:
    """Return a filled Dataset with rows and columns that run as those of the Dataset that the user gave."""
    names = axis_names(given, given.dims)
    for dim, name in names.items():
        if name in space_dims(filled[SM_FILLED]) and dim in given.coords and given.sizes[dim] > 1:
            ours, theirs = (bool(values[0] < values[-1]) for values in (filled[name].values, given[dim].values))
            if ours != theirs:
                filled = filled.isel({name: slice(None, None, -1)})
    return filled


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
