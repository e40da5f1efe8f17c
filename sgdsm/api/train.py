"""`sgdsm.train`: the same training as `train.py`, from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from sgdsm.core.arguments import checked
from sgdsm.core.cube import as_cube, by_role
from sgdsm.core.errors import ConfigError
from sgdsm.core.settings import made
from sgdsm.core.specification import TARGET
from sgdsm.models.base import GapFiller
from sgdsm.training.compose import compose_settings, problem_of
from sgdsm.training.config import TrainingConfig
from sgdsm.training.run import CONFIG, Run
from sgdsm.training.train import train as train_in

OPEN_CUBE = "sgdsm.open_cube"
IN_MEMORY = "a Dataset in memory"
NO_FILE = "the run was trained on a Dataset in Python: name a file with data=netcdf data.path=FILE"
OF_FILES = {TARGET, "path", "group", "zero_is_value", "if_absent"}


@checked
def train(
    data: xr.Dataset | str | Path,
    model: str | GapFiller = "auto",
    *,
    target: str | None = None,
    dynamic: Sequence[str] = (),
    static: Sequence[str] = (),
    land: str | None = None,
    folder: str | Path | None = None,
    overrides: Sequence[str] = (),
    **roles: Any,
) -> Run:
    """Train a gap-filler on a cube, calibrate and score it.

    The settings, and the results, are those of `python train.py data=netcdf ...` with the same words.

    Args:
        data: A Dataset with dims (time, lat, lon) or (time, y, x), or the path of a file that holds one (.nc, .zarr,
            .h5).
        model: Name of a model file, such as 'pconv3d', 'xgboost' or 'linear_time', or a filler made in Python, such
            as `sgdsm.models.Seamless(width=32)`; 'auto' takes pconv3d, or xgboost for a few cells, and says which.
        target: Name of the soil-moisture variable; may be left out for a Dataset made by `sgdsm.as_cube`.
        dynamic: Names of covariates with time.
        static: Names of covariates without time.
        land: Name of the land mask; by default cells that were ever observed are land.
        folder: Of the run; by default a new one among the temporary files. An interrupted training goes on there, a
            finished one is returned as it is.
        overrides: Further settings as on the command line, such as 'model.epochs=10', 'splits=blocks' or
            'trainer.accelerator=cpu'.
        **roles: Further arguments of `sgdsm.as_cube`, such as `precipitation=` or `valid_range=`.

    Returns:
        The run: its `folder`, `scores`, `figures`; what `sgdsm.fill` and the commands take.

    Raises:
        CubeError: The data cannot be used.
        ConfigError: A setting cannot work, or the folder holds a run with other settings.
    """
    named = {"target": target, "dynamic": list(dynamic), "static": list(static), "land": land, **roles}
    name = model if isinstance(model, str) else "climatology"
    words = [word for word in overrides if word.partition("=")[0] != "model"] if isinstance(model, str) else overrides
    try:
        values = compose_settings("train", TrainingConfig, ["data=netcdf", f"model={name}", *words])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"train: {problem_of(error)}") from error
    if not isinstance(model, str):
        values["model"] = dict(model.spec)
    cube, values["data"] = _cube_and_settings(data, values["data"], named)
    settings = made(TrainingConfig, values)
    run = Run(folder if folder is not None else tempfile.mkdtemp(prefix="sgdsm_run_"))
    if (run.folder / CONFIG).exists() and run.config() != settings.training():
        raise ConfigError(f"folder={run.folder} holds a run with other settings: remove it, or choose another")
    return run if run.finished() else train_in(settings.training(), run.folder, cube)


def _cube_and_settings(
    data: xr.Dataset | str | Path, defaults: Mapping[str, Any], named: dict[str, Any]
) -> tuple[xr.Dataset | None, dict[str, Any]]:
    """Return the cube (None where the settings name its file), and the settings of the data."""
    given = {key: value for key, value in named.items() if value not in (None, [], ())}
    unknown = [key for key in given if key not in defaults]
    if unknown:
        raise ConfigError(f"train: unknown argument '{unknown[0]}'; known are {', '.join(sorted(defaults))}")
    settings = {**defaults, **given, TARGET: OPEN_CUBE}
    if not isinstance(data, xr.Dataset):
        if "target" not in given:
            raise ConfigError("train: target= is not given: the name of the soil-moisture variable in the file")
        return None, {**settings, "path": str(data)}
    if "target" in given:
        cube = as_cube(data, **{key: value for key, value in settings.items() if key not in OF_FILES})
    elif by_role(data, "target"):
        cube = data
        settings["target"] = by_role(data, "target")[0]
    else:
        raise ConfigError("train: target= is not given: the name of the soil-moisture variable in the Dataset")
    return cube, {**settings, "path": IN_MEMORY, "if_absent": NO_FILE}
