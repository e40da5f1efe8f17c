"""From product files to a cube: recipes, grids, regridding, screening, features, the store.

May import `core` to `sources`. Edit this to change how cubes are made.
"""

from __future__ import annotations

from typing import Any

from sgdsm.core.public import resolve

# public name: module that defines it; specifications in files use `sgdsm.preprocessing.NAME`
PUBLIC = {
    "Feature": "recipe",
    "Recipe": "recipe",
    "ResidualTrees": "bias_correction.residual_trees",
    "Screening": "recipe",
    "Source": "recipe",
    "named_grid": "recipe",
    "open_prepared": "open",
    "projected_grid": "recipe",
    "regular_grid": "recipe",
}
__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    return resolve(__name__, PUBLIC, name)
