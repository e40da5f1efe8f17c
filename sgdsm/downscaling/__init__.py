"""Downscaling: a regression on 1 km values, applied to the same predictors at 10 m.

May import `core` to `training`. A new regressor subclasses `regressors.Regressor`, gets a public name in `PUBLIC`
below, and a YAML file in configs/regressor with the defaults of its constructor.
"""

from __future__ import annotations

from typing import Any

from sgdsm.core.public import resolve

# public name: module that defines it; specifications in files use `sgdsm.downscaling.NAME`
PUBLIC = {
    "BoostedRegressor": "regressors",
    "ForestRegressor": "regressors",
    "MlpRegressor": "regressors",
    "Regressor": "regressors",
    "RidgeRegressor": "regressors",
}
__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    return resolve(__name__, PUBLIC, name)
