"""Gap-fillers: networks, tree models, classical methods, and the wrappers that add uncertainty.

May import `core` to `report`; of `evaluation` it uses `metrics` only. A new filler subclasses `base.GapFiller`, gets a
public name in `PUBLIC` below, and a YAML file of its name in configs/model with the defaults of its constructor.
"""

from __future__ import annotations

from typing import Any

from sgdsm.core.public import resolve

# public name: module that defines it; specifications in files use `sgdsm.models.NAME`
PUBLIC = {
    "Auto": "auto",
    "Casm": "networks.casm",
    "Climatology": "classical.simple",
    "Conformal": "uncertainty.conformal",
    "DctPls": "classical.dctpls",
    "Dineof": "classical.dineof",
    "Ensemble": "ensemble",
    "GapFiller": "base",
    "InputNoise": "uncertainty.wrappers",
    "Kriging": "classical.kriging",
    "LinearTime": "classical.simple",
    "McDropout": "uncertainty.wrappers",
    "Network": "networks.base",
    "PartialConvNetwork": "networks.pconv3d",
    "Persistence": "classical.simple",
    "RandomForest": "trees.filler",
    "Seamless": "networks.seamless",
    "Stack": "ensemble",
    "WindowForest": "window_forest.filler",
    "XGBoost": "trees.filler",
}
__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    return resolve(__name__, PUBLIC, name)
