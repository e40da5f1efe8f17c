"""What the blocks of networks have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """Layers that a network repeats: compiled one by one (`trainer.compile`), and perhaps worked out twice.

    recompute: in training, keep only the block's inputs, and work out again in the backward pass what it needs of the
    rest: memory for a third more time.
    """

    recompute = False


def run(block: nn.Module, *inputs: Any) -> Any:
    """What a block gives."""
    if isinstance(block, Block) and block.recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
