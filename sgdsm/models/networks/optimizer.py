"""Muon for hidden matrices and AdamW for the other parameters, as one optimizer: Lightning automates only one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def muon_or_adamw(
    network: nn.Module,
    within: Iterable[Tensor],
    muon_rate: float | None,
    learning_rate: float,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Return Muon for the matrices of some layers of a network and AdamW for the rest.

    Args:
        network: The network.
        within: Parameters of these layers.
        muon_rate: Learning rate of Muon; None: AdamW for all.
        learning_rate: Learning rate of AdamW.
        weight_decay: Of both.
    """
    # Muon orthogonalises matrices; filters of three days (3 x C) are none
    matrices = [] if muon_rate is None else [p for p in within if p.ndim == 2 and min(p.shape) > 3]
    if muon_rate is None or not matrices:
        return torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=weight_decay)
    chosen = set(map(id, matrices))
    rest = [p for p in network.parameters() if id(p) not in chosen]
    return MuonAdamW(matrices, rest, muon_rate, learning_rate, weight_decay)


class MuonAdamW(torch.optim.Optimizer):
    """Orthogonalised momentum (Muon, Jordan et al. 2024) for matrices, AdamW for the rest.

    Args:
        matrices: Two-dimensional parameters.
        rest: All other parameters.
        muon_rate: Learning rate of Muon.
        learning_rate: Learning rate of AdamW.
        weight_decay: Of both.
    """

    def __init__(
        self,
        matrices: Sequence[Tensor],
        rest: Sequence[Tensor],
        muon_rate: float,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, muon_rate, weight_decay),
            torch.optim.AdamW(rest, learning_rate, weight_decay=weight_decay),
        ]
        groups = [group for part in self.parts for group in part.param_groups]
        super().__init__(groups, {})
        # the same objects as in the parts, so that a schedule that sets their learning rates has an effect
        self.param_groups = groups

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
