"""Settings of a forest, and those that were best in the climate regions of China (LIU, Table 3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForestShape:
    """As in scikit-learn's RandomForestRegressor. max_features: share of the covariates tried at each split."""

    trees: int
    max_depth: int
    min_samples_split: int
    max_features: float

    def tried(self, covariates: int) -> int:
        """How many of so many covariates are tried at each split, at least one."""
        return max(1, int(self.max_features * covariates))


PRESETS = {
    "arid": ForestShape(69, 11, 8, 0.12),
    "semi_arid": ForestShape(80, 18, 9, 0.16),
    "arid_semi_wet": ForestShape(47, 9, 5, 0.31),
    "wet_semi_arid": ForestShape(36, 10, 3, 0.25),
    "wet": ForestShape(52, 15, 11, 0.16),
    "moist": ForestShape(62, 10, 9, 0.12),
    "over_wet": ForestShape(22, 8, 4, 0.27),
}
