"""Many small random forests grown together, level by level.

They are Breiman's forests (Machine Learning 45, 5, 2001) with two changes that allow batched operations: a bootstrap
draws each sample Poisson(1) times, and splits lie between `BINS` quantiles of each covariate in the forest's own
samples. As in scikit-learn, covariates that cannot split a node are skipped until one can.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sgdsm.models.window_forest.presets import ForestShape

BINS = 16  # a bin fits in uint8, which keeps the tables small
LEAF = 255  # cut of a leaf: no bin is above it
PATHS = 64  # nodes of a level that draw their covariates independently; further ones repeat the draws


class Trees(NamedTuple):
    """Nodes of all trees of all forests; the root of tree k of forest g is node g * K + k.

    Attributes:
        feature: Covariate of the split, (nodes,) int64.
        cut: A row goes right if its bin is above this one; LEAF in a leaf, (nodes,) uint8.
        child: Left child, the right one is the next node; a leaf is its own child, (nodes,) int64.
        value: Mean of the node's samples, (nodes,).
        depth: Of the deepest tree.
    """

    feature: Tensor
    cut: Tensor
    child: Tensor
    value: Tensor
    depth: int


class Entries(NamedTuple):
    """The samples of all trees, E of them; each is in one node of the level that is grown.

    Attributes:
        row: Index of the sample's first covariate in the flattened bins, (E,) int64.
        node: Number of its node in the level, (E,) int64.
        weight: How often the tree draws the sample, (E,).
        product: Weight times value, (E,).
    """

    row: Tensor
    node: Tensor
    weight: Tensor
    product: Tensor

    def only(self, index: Tensor) -> Entries:
        """Return some of the entries.

        Args:
            index: Their numbers, (K,) int64.
        """
        return Entries(*(part.index_select(0, index) for part in self))


def quantile_edges(x: Tensor, mask: Tensor) -> Tensor:
    """Return the BINS - 1 values that divide the samples of each forest into parts of about equal number.

    Args:
        x: Covariates, (G, n, F).
        mask: False for padding, (G, n) bool.

    Returns:
        Edges, (G, F, BINS - 1).
    """
    values = torch.where(mask[..., None], x, torch.inf).sort(1).values.transpose(1, 2).contiguous()
    count = mask.sum(1)[:, None]
    position = (torch.arange(1, BINS, device=x.device) * count) // BINS
    right = position.clamp(max=x.shape[1] - 1)[:, None].expand(-1, x.shape[2], -1)
    left = (position - 1).clamp(min=0)[:, None].expand(-1, x.shape[2], -1)
    # between neighbouring samples, as in scikit-learn
    return (values.gather(2, left) + values.gather(2, right)) / 2


def binned(x: Tensor, edges: Tensor) -> Tensor:
    """Return the bins of values, (G, n, F) uint8: the number of edges below each.

    Args:
        x: Covariates, (G, n, F).
        edges: See `quantile_edges`, (G, F, BINS - 1).
    """
    return torch.searchsorted(edges, x.transpose(1, 2).contiguous()).transpose(1, 2).to(torch.uint8).contiguous()


def poisson_counts(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return how often a bootstrap draws each sample, float32.

    Args:
        shape: Of the result.
        generator: Of the random numbers.
    """
    return torch.poisson(torch.ones(shape), generator=generator)


def grow(bins: Tensor, y: Tensor, counts: Tensor, shape: ForestShape, generator: torch.Generator) -> Trees:
    """Grow K trees for each of G forests.

    Args:
        bins: Of the covariates, (G, n, F) uint8.
        y: Values with a mean near 0 (sums are float32), (G, n).
        counts: How often a tree draws a sample, (G, K, n).
        shape: Settings of the forests.
        generator: Of the covariates that nodes try. All forests use the same draws, so that a forest does not depend
            on the others.
    """
    groups, trees, samples = counts.shape
    features = bins.shape[2]
    # random orders of covariates, drawn on the CPU so that all devices use the same
    table = torch.rand((trees, PATHS, features), generator=generator).argsort(2).to(bins.device)
    group, tree, index = counts.nonzero(as_tuple=True)
    weight = counts[group, tree, index]
    row, node = (group * samples + index) * features, group * trees + tree
    entries = Entries(row, node, weight, weight * y[group, index])
    flat = bins.reshape(-1)
    tree_of_node = torch.arange(trees, device=bins.device).repeat(groups)
    # number of a node by its way from the root, as in a binary heap: it decides which covariates the node tries
    path = torch.ones_like(tree_of_node)
    levels, first = [], 0
    for depth in range(shape.max_depth + 1):
        size = len(tree_of_node)
        number = torch.bincount(entries.node, minlength=size)
        total, moment = (torch.bincount(entries.node, w, minlength=size) for w in (entries.weight, entries.product))
        splittable = (number >= shape.min_samples_split) & (depth < shape.max_depth)
        order = table[tree_of_node, path % PATHS]
        feature, cut, split = _best_splits(flat, entries, (total, moment), order, splittable, shape.tried(features))
        # children of a level are numbered one after the other
        rank = split.cumsum(0) - 1
        itself = torch.arange(first, first + size, device=bins.device)
        child = torch.where(split, first + size + 2 * rank, itself)
        levels.append((feature, cut, child, moment / total.clamp(min=1e-12)))
        kept = split.index_select(0, entries.node).nonzero()[:, 0]
        if not len(kept):
            break
        entries = entries.only(kept)
        right = _right(flat, entries.row, entries.node, feature, cut)
        entries = entries._replace(node=(2 * rank).index_select(0, entries.node) + right)
        tree_of_node = tree_of_node[split].repeat_interleave(2)
        path = (2 * path[split]).repeat_interleave(2)
        path[1::2] += 1
        first += size
    nodes = [torch.cat(part) for part in zip(*levels, strict=True)]
    return Trees(nodes[0], nodes[1], nodes[2], nodes[3], len(levels) - 1)


def _best_splits(
    flat: Tensor,
    entries: Entries,
    sums: tuple[Tensor, Tensor],
    order: Tensor,
    splittable: Tensor,
    tried: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best split of each node among the first covariates of its order, or the next ones until one can split.

    Args:
        flat: Bins of all rows and covariates, flattened.
        entries: Samples of the trees.
        sums: Weights and weighted values of the nodes, (nodes,) each.
        order: Covariates in the order in which a node tries them, (nodes, F).
        splittable: Nodes that may be split, (nodes,) bool.
        tried: Number of covariates to choose from.

    Returns:
        Covariate, cut, and True if there is a split, (nodes,) each.
    """
    size, features = order.shape
    best = torch.full((size,), -torch.inf, device=flat.device)
    feature = torch.zeros(size, dtype=torch.int64, device=flat.device)
    cut = torch.full((size,), LEAF, dtype=torch.uint8, device=flat.device)
    open_ = splittable
    for k in range(features):
        if k == 0 or k >= tried:
            # only the entries of nodes that are still open
            kept = open_.index_select(0, entries.node).nonzero()[:, 0]
            if not len(kept):
                break
            entries = entries.only(kept)
            number = open_.nonzero()[:, 0]
            bin_of_place = (BINS * (open_.cumsum(0) - 1)).index_select(0, entries.node)
            total, moment = (part.index_select(0, number)[:, None] for part in sums)
        chosen = order[:, k].contiguous()
        key = bin_of_place + flat.index_select(0, entries.row + chosen.index_select(0, entries.node))
        # sums left of each cut, by histograms over bins
        left, left_sum = (
            torch.bincount(key, w, minlength=len(number) * BINS).reshape(-1, BINS).cumsum(1)[:, :-1]
            for w in (entries.weight, entries.product)
        )
        right, right_sum = total - left, moment - left_sum
        valid = (left > 0.5) & (right > 0.5)  # counts are whole numbers
        # the reduction of squared errors, up to a constant of the node
        gain = torch.where(valid, left_sum.square() / left + right_sum.square() / right, -torch.inf)
        highest, where = gain.max(1)
        better = highest > best[number]
        target = number[better]
        best[target], feature[target], cut[target] = highest[better], chosen[target], where[better].to(torch.uint8)
        if k + 1 >= tried:
            open_ = splittable & (cut == LEAF)
    return feature, cut, cut != LEAF


def predict(trees: Trees, bins: Tensor, row: Tensor, root: Tensor) -> Tensor:
    """Return the estimates of trees for rows, (entries,).

    Args:
        trees: Nodes.
        bins: Of the covariates, (rows, F) uint8.
        row: Row of each entry, (entries,) int64.
        root: Root of the tree of each entry, see `Trees`, (entries,) int64.
    """
    features = bins.shape[1]
    flat, row, node = bins.reshape(-1), row * features, root
    for _ in range(trees.depth):
        node = trees.child.index_select(0, node) + _right(flat, row, node, trees.feature, trees.cut)
    return trees.value.index_select(0, node)


def _right(flat: Tensor, row: Tensor, node: Tensor, feature: Tensor, cut: Tensor) -> Tensor:
    """Return True for the entries that go to the right of their nodes."""
    return flat.index_select(0, row + feature.index_select(0, node)) > cut.index_select(0, node)


def forest_means(trees: Trees, bins: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the trees that did not draw a row.

    This is the out-of-bag estimate of a sample, and the estimate of a row that no tree has drawn.

    Args:
        trees: Nodes.
        bins: Of the covariates, (G, n, F) uint8.
        counts: How often a tree draws a row, (G, K, n).
        mask: Rows that are wanted, (G, n) bool.

    Returns:
        Estimates, (G, n); NaN for other rows and for a sample that every tree has drawn.
    """
    groups, number, rows = counts.shape
    group, tree, index = ((counts == 0) & mask[:, None]).nonzero(as_tuple=True)
    row = group * rows + index
    values = predict(trees, bins.reshape(groups * rows, -1), row, group * number + tree)
    total = torch.bincount(row, values, minlength=groups * rows)
    return (total / torch.bincount(row, minlength=groups * rows)).reshape(groups, rows)
