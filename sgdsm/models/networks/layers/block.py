"""Common base of the blocks of networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """Layers that a network repeats; blocks are compiled one by one (`trainer.compile`).

    Attributes:
        recompute: True to store only the block's inputs in training and to compute the rest again in the backward
            pass: less memory for a third more time.
    """

    recompute = False


def run(block: nn.Module, *inputs: Any) -> Any:
    """Return the output of a block, with activation checkpointing if the block asks for it.

    Args:
        block: A `Block` or another module.
        *inputs: Of the block.
    """
    if isinstance(block, Block) and block.recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
