"""Many small random forests at once, grown level by level over all of them.

They are Breiman's forests (Machine Learning 45, 5, 2001) but for two things that let them share their work: a bootstrap
counts each sample Poisson(1) times, and splits lie between `BINS` quantiles of each covariate in the forest's own
samples. As in scikit-learn, covariates that cannot split a node are passed over until one can.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sgdsm.models.window_forest.presets import ForestShape

BINS = 16
LEAF = 255
PATHS = 64  # nodes of a level that draw their covariates independently


class Trees(NamedTuple):
    """Nodes of all trees of all forests; the root of tree k of forest g is node g * K + k.

    feature, cut: a row goes right where its bin of that covariate is above cut; a leaf has cut LEAF. child: the left
    child, the right one comes next; a leaf is its own child. value: mean of the node's samples. All (nodes,).
    depth: of the deepest tree.
    """

    feature: Tensor
    cut: Tensor
    child: Tensor
    value: Tensor
    depth: int


def quantile_edges(x: Tensor, mask: Tensor) -> Tensor:
    """The BINS - 1 values that cut the samples of each forest into parts of about equal number.

    x: (G, n, F). mask: (G, n) bool, what is a sample. Returns (G, F, BINS - 1).
    """
    values = torch.where(mask[..., None], x, torch.inf).sort(1).values.transpose(1, 2).contiguous()
    count = mask.sum(1)[:, None]
    position = (torch.arange(1, BINS, device=x.device) * count) // BINS
    right = position.clamp(max=x.shape[1] - 1)[:, None].expand(-1, x.shape[2], -1)
    left = (position - 1).clamp(min=0)[:, None].expand(-1, x.shape[2], -1)
    return (values.gather(2, left) + values.gather(2, right)) / 2


def binned(x: Tensor, edges: Tensor) -> Tensor:
    """How many edges lie below each value, (G, n, F) uint8."""
    return torch.searchsorted(edges, x.transpose(1, 2).contiguous()).transpose(1, 2).to(torch.uint8).contiguous()


def poisson_counts(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """How often a bootstrap takes a sample, float32."""
    return torch.poisson(torch.ones(shape), generator=generator)


def grow(bins: Tensor, y: Tensor, counts: Tensor, shape: ForestShape, generator: torch.Generator) -> Trees:
    """Grow K trees for each of G forests.

    bins: (G, n, F) uint8. y: (G, n), about 0 (sums are float32). counts: (G, K, n), how often a tree takes a sample.
    generator: of the covariates that nodes try; all forests draw the same ones, so that what a forest gives does not
    depend on the others.
    """
    groups, trees, samples = counts.shape
    features = bins.shape[2]
    table = torch.rand((trees, PATHS, features), generator=generator).argsort(2).to(bins.device)
    group, tree, index = counts.nonzero(as_tuple=True)
    row, node = (group * samples + index) * features, group * trees + tree
    weight = counts[group, tree, index]
    entries = (row, node, weight, weight * y[group, index])
    flat = bins.reshape(-1)
    own_tree = torch.arange(trees, device=bins.device).repeat(groups)
    path = torch.ones_like(own_tree)
    levels, first = [], 0
    for depth in range(shape.max_depth + 1):
        row, node, weight, product = entries
        size = len(own_tree)
        number = torch.bincount(node, minlength=size)
        total, moment = (torch.bincount(node, w, minlength=size) for w in (weight, product))
        wide = (number >= shape.min_samples_split) & (depth < shape.max_depth)
        order = table[own_tree, path % PATHS]
        feature, cut, split = _best_splits(flat, entries, (total, moment), order, wide, shape.tried(features))
        rank = split.cumsum(0) - 1
        here = torch.arange(first, first + size, device=bins.device)
        child = torch.where(split, first + size + 2 * rank, here)
        levels.append((feature, cut, child, moment / total.clamp(min=1e-12)))
        kept = split.index_select(0, node).nonzero()[:, 0]
        if not len(kept):
            break
        row, node, weight, product = (part.index_select(0, kept) for part in entries)
        right = _right(flat, row, node, feature, cut)
        entries = (row, (2 * rank).index_select(0, node) + right, weight, product)
        own_tree = own_tree[split].repeat_interleave(2)
        path = (2 * path[split]).repeat_interleave(2)
        path[1::2] += 1
        first += size
    nodes = [torch.cat(part) for part in zip(*levels, strict=True)]
    return Trees(nodes[0], nodes[1], nodes[2], nodes[3], len(levels) - 1)


def _best_splits(
    flat: Tensor,
    entries: tuple[Tensor, Tensor, Tensor, Tensor],
    sums: tuple[Tensor, Tensor],
    order: Tensor,
    wide: Tensor,
    tried: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """The best split of each node among the first `tried` covariates of its order; where none of them can split it,
    among the next ones until one can. Returns covariate, cut, and whether there is a split."""
    size, features = order.shape
    row, node, weight, product = entries
    best = torch.full((size,), -torch.inf, device=flat.device)
    feature = torch.zeros(size, dtype=torch.int64, device=flat.device)
    cut = torch.full((size,), LEAF, dtype=torch.uint8, device=flat.device)
    open_ = wide
    for k in range(features):
        if k == 0 or k >= tried:
            # the nodes that are still open, side by side
            kept = open_.index_select(0, node).nonzero()[:, 0]
            if not len(kept):
                break
            row, node, weight, product = (part.index_select(0, kept) for part in (row, node, weight, product))
            number = open_.nonzero()[:, 0]
            bin_of_place = (BINS * (open_.cumsum(0) - 1)).index_select(0, node)
            total, moment = (part.index_select(0, number)[:, None] for part in sums)
        chosen = order[:, k].contiguous()
        key = bin_of_place + flat.index_select(0, row + chosen.index_select(0, node))
        left, left_sum = (
            torch.bincount(key, w, minlength=len(number) * BINS).reshape(-1, BINS).cumsum(1)[:, :-1]
            for w in (weight, product)
        )
        right, right_sum = total - left, moment - left_sum
        valid = (left > 0.5) & (right > 0.5)  # counts are whole numbers
        gain = torch.where(valid, left_sum.square() / left + right_sum.square() / right, -torch.inf)
        found, where = gain.max(1)
        better = found > best[number]
        target = number[better]
        best[target], feature[target], cut[target] = found[better], chosen[target], where[better].to(torch.uint8)
        if k + 1 >= tried:
            open_ = wide & (cut == LEAF)
    return feature, cut, cut != LEAF


def predict(trees: Trees, bins: Tensor, row: Tensor, root: Tensor) -> Tensor:
    """What trees give for rows, (entries,). bins: (rows, F) uint8. row, root: (entries,), root as in `Trees`."""
    features = bins.shape[1]
    flat, row, node = bins.reshape(-1), row * features, root
    for _ in range(trees.depth):
        node = trees.child.index_select(0, node) + _right(flat, row, node, trees.feature, trees.cut)
    return trees.value.index_select(0, node)


def _right(flat: Tensor, row: Tensor, node: Tensor, feature: Tensor, cut: Tensor) -> Tensor:
    """Whether entries go to the right of their nodes."""
    return flat.index_select(0, row + feature.index_select(0, node)) > cut.index_select(0, node)


def forest_means(trees: Trees, bins: Tensor, counts: Tensor, mask: Tensor) -> Tensor:
    """Mean over the trees that count a row 0 times: the out-of-bag estimate of a sample, and the estimate of a row
    that no tree has met.

    bins: (G, n, F). counts: (G, K, n). mask: (G, n) bool, the rows that are wanted. Returns (G, n), NaN elsewhere and
    for a sample that every tree has met.
    """
    groups, number, rows = counts.shape
    group, tree, index = ((counts == 0) & mask[:, None]).nonzero(as_tuple=True)
    row = group * rows + index
    values = predict(trees, bins.reshape(groups * rows, -1), row, group * number + tree)
    total = torch.bincount(row, values, minlength=groups * rows)
    return (total / torch.bincount(row, minlength=groups * rows)).reshape(groups, rows)
