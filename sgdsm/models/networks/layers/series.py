"""Between fields (B, C, T, H, W) and series of single cells (T, N, C), which recurrences and matrix products take."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sgdsm.data.batch import Batch
from sgdsm.models.networks.layers.block import run

GROUP = 32  # series that matrix kernels process together
IN_CACHE = 12_000  # days of series whose features fit in a processor's cache


def to_series(x: Tensor, cells: Tensor | None) -> Tensor:
    """Return a field as series of some of its cells.

    Args:
        x: (B, C, T, H, W).
        cells: Which cells, (B, H, W) bool; None: all of them.

    Returns:
        Series, (T, N, C).
    """
    x = x.movedim(2, 0).movedim(2, -1)
    return x.flatten(1, 3) if cells is None else x[:, cells]


def to_field(series: Tensor, cells: Tensor | None, like: Tensor) -> Tensor:
    """Return series of cells as a field, 0 in the other cells.

    Args:
        series: (T, N, C).
        cells: As given to `to_series`.
        like: A field (B, ., T, H, W) of the wanted size.

    Returns:
        (B, C, T, H, W).
    """
    size = (len(like), *like.shape[3:])
    if cells is None:
        whole = series.unflatten(1, size)
    else:
        whole = series.new_zeros(len(series), *size, series.shape[-1])
        whole[:, cells] = series
    return whole.permute(1, 4, 0, 2, 3)


def wanted_cells(batch: Batch, causal: bool = False) -> Tensor | None:
    """Return the cells with wanted values, and further ones up to a multiple of `GROUP`.

    Libraries compile and cache matrix kernels for each shape: without the rounding every window would have a new one.

    Args:
        batch: Windows.
        causal: True for all land cells in filling: which of them have gaps may be decided by later days, and rounding
            by how many series there are.

    Returns:
        (B, H, W) bool; None, for all cells, in an exported program, which cannot depend on the data like this.
    """
    if torch.compiler.is_exporting():
        return None
    cells = (batch.land if causal and not torch.is_grad_enabled() else batch.wanted).any(2)[:, 0]
    added = (~cells).flatten().nonzero()[: -int(cells.sum()) % GROUP]
    cells = cells.clone()
    cells.view(-1)[added] = True
    return cells


def through_blocks(x: Tensor, encoder: nn.Module, blocks: Iterable[nn.Module], norm: nn.Module) -> Tensor:
    """Return the features of series from their inputs, some series at a time.

    Args:
        x: Inputs, (T, N, channels).
        encoder: From the inputs to the features.
        blocks: Add to the features.
        norm: Of the result.

    Returns:
        (T, N, C).
    """
    parts = []
    for part in x.split(series_at_once(x), 1):
        # under autocast the products are in bf16, but not the residual stream that the blocks add to
        features = encoder(part).float()
        for block in blocks:
            features = run(block, features)
        parts.append(norm(features))
    return torch.cat(parts, 1)


def series_at_once(x: Tensor) -> int:
    """Return how many of the series (T, N, C) go through the layers together: on a CPU what fits in its cache."""
    if x.is_cuda or torch.compiler.is_exporting():
        return max(1, x.shape[1])
    return max(1, IN_CACHE // (len(x) * GROUP)) * GROUP
