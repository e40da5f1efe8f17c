"""One random forest for a whole region, stored in the checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgdsm.models.window_forest.presets import ForestShape
from sgdsm.models.window_forest.trees import Trees, binned, forest_means, grow, poisson_counts, quantile_edges

ROWS_TOGETHER = 20_000  # rows predicted at once, which limits the memory
STATE = ["child", "cut", "edges", "feature", "mean", "sizes", "value"]


class RegionForest(nn.Module):
    """A forest fitted to rows; empty before `fit`. Its state contains tensors only."""

    def __init__(self) -> None:
        super().__init__()
        self.trees: Trees | None = None
        self.edges = torch.empty(0)
        self.number = 0
        self.mean = 0.0

    def fit(self, x: Tensor, y: Tensor, shape: ForestShape, seed: int) -> None:
        """Fit the forest.

        Args:
            x: Covariates, (n, F).
            y: Values, (n,).
            shape: Settings of the forest.
            seed: Of bootstrap and splits.
        """
        generator = torch.Generator().manual_seed(seed)
        self.mean, self.number = float(y.mean()), shape.trees
        self.edges = quantile_edges(x[None], torch.ones_like(y, dtype=torch.bool)[None])
        counts = poisson_counts((1, shape.trees, len(y)), generator).to(x.device)
        self.trees = grow(binned(x[None], self.edges), (y - self.mean)[None], counts, shape, generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return estimates, (n,).

        Args:
            x: Covariates, (n, F).
        """
        assert self.trees is not None
        feature, cut, child, value, depth = self.trees
        trees = Trees(feature.to(x.device), cut.to(x.device), child.to(x.device), value.to(x.device), depth)
        parts = []
        for rows in x.split(ROWS_TOGETHER):
            bins = binned(rows[None], self.edges.to(x.device))
            # no tree has drawn these rows: all trees are averaged
            counts = torch.zeros((1, self.number, len(rows)), device=x.device)
            parts.append(forest_means(trees, bins, counts, counts[:, 0] == 0)[0])
        return torch.cat(parts).float() + self.mean if parts else x.new_zeros(0)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the nodes, the edges of the bins and the mean of the values, as tensors."""
        if self.trees is None:
            return {}
        nodes = {name: getattr(self.trees, name).cpu() for name in ("feature", "cut", "child", "value")}
        sizes = torch.tensor([self.trees.depth, self.number])
        return {
            **nodes,
            "sizes": sizes,
            "edges": self.edges.cpu(),
            "mean": torch.tensor(self.mean, dtype=torch.float64),
        }

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Read a state as `get_extra_state` returns it.

        Args:
            state: Tensors by name; empty: not fitted.

        Raises:
            ValueError: If the state is no forest; a damaged one would read beyond its tensors.
        """
        if not state:
            return
        if sorted(state) != STATE:
            raise ValueError(f"a forest: expected {', '.join(STATE)}, found {', '.join(sorted(state))}")
        depth, number = (int(n) for n in state["sizes"])
        trees, edges = Trees(state["feature"], state["cut"], state["child"], state["value"], depth), state["edges"]
        if not (0 <= depth < len(trees.child) and 0 < number <= len(trees.child)):
            raise ValueError(f"a forest: {len(trees.child)} nodes, and sizes {depth} and {number}")
        for fault, valid in {
            "nodes that are not there": (trees.child >= 0) & (trees.child < len(trees.child)),
            "covariates that are not there": (trees.feature >= 0) & (trees.feature < edges.shape[1]),
            "values that are no numbers": trees.value.isfinite(),
        }.items():
            if not valid.all():
                raise ValueError(f"a forest: found {fault}")
        self.trees, self.number = trees, number
        self.edges, self.mean = edges, float(state["mean"])
