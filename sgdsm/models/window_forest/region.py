"""One forest for a whole region, kept between training and filling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgdsm.models.window_forest.presets import ForestShape
from sgdsm.models.window_forest.trees import Trees, binned, forest_means, grow, poisson_counts, quantile_edges

ROWS_TOGETHER = 20_000
STATE = ["child", "cut", "edges", "feature", "mean", "sizes", "value"]


class RegionForest(nn.Module):
    """A forest fitted to rows; empty until `fit`. Its state holds tensors only."""

    def __init__(self) -> None:
        super().__init__()
        self.trees: Trees | None = None
        self.edges = torch.empty(0)
        self.number = 0
        self.mean = 0.0

    def fit(self, x: Tensor, y: Tensor, shape: ForestShape, seed: int) -> None:
        """Fit to rows x (n, F) and values y (n,)."""
        generator = torch.Generator().manual_seed(seed)
        self.mean, self.number = float(y.mean()), shape.trees
        self.edges = quantile_edges(x[None], torch.ones_like(y, dtype=torch.bool)[None])
        counts = poisson_counts((1, shape.trees, len(y)), generator).to(x.device)
        self.trees = grow(binned(x[None], self.edges), (y - self.mean)[None], counts, shape, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Estimates for rows x (n, F)."""
        assert self.trees is not None
        feature, cut, child, value, depth = self.trees
        trees = Trees(feature.to(x.device), cut.to(x.device), child.to(x.device), value.to(x.device), depth)
        parts = []
        for rows in x.split(ROWS_TOGETHER):
            bins = binned(rows[None], self.edges.to(x.device))
            counts = torch.zeros((1, self.number, len(rows)), device=x.device)
            parts.append(forest_means(trees, bins, counts, counts[:, 0] == 0)[0])
        return torch.cat(parts).float() + self.mean if parts else x.new_zeros(0)

    def get_extra_state(self) -> dict[str, Tensor]:
        """The nodes, the edges and the mean of the values."""
        if self.trees is None:
            return {}
        named = {name: getattr(self.trees, name).cpu() for name in ("feature", "cut", "child", "value")}
        sizes = torch.tensor([self.trees.depth, self.number])
        return {
            **named,
            "sizes": sizes,
            "edges": self.edges.cpu(),
            "mean": torch.tensor(self.mean, dtype=torch.float64),
        }

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """The inverse of `get_extra_state`. Raises ValueError for a state that is no forest."""
        if not state:
            return
        if sorted(state) != STATE:
            raise ValueError(f"a forest: expected {', '.join(STATE)}, found {', '.join(sorted(state))}")
        depth, number = (int(n) for n in state["sizes"])
        trees, edges = Trees(state["feature"], state["cut"], state["child"], state["value"], depth), state["edges"]
        if not (0 <= depth < len(trees.child) and 0 < number <= len(trees.child)):
            raise ValueError(f"a forest: {len(trees.child)} nodes, and sizes {depth} and {number}")
        for what, known in {
            "nodes that are not there": (trees.child >= 0) & (trees.child < len(trees.child)),
            "covariates that are not there": (trees.feature >= 0) & (trees.feature < edges.shape[1]),
            "values that are no numbers": trees.value.isfinite(),
        }.items():
            if not known.all():
                raise ValueError(f"a forest: found {what}")
        self.trees, self.number = trees, number
        self.edges, self.mean = edges, float(state["mean"])
