"""Settings of a random forest, and the best ones for the climate regions of China (LIU, Table 3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ForestShape:
    """Settings as in scikit-learn's RandomForestRegressor.

    Attributes:
        trees: Number of trees.
        max_depth: Of a tree.
        min_samples_split: Smallest number of samples of a node that is split.
        max_features: Share of the covariates tried at each split.
    """

    trees: int
    max_depth: int
    min_samples_split: int
    max_features: float

    def tried(self, covariates: int) -> int:
        """Return the number of covariates tried at each split, at least one.

        Args:
            covariates: Number of all covariates.
        """
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
