"""The table of covariates that the windows regress on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sgdsm.core.cube import ConfigError
from sgdsm.data.batch import Batch
from sgdsm.data.normalization import Inputs

FEWEST_DAYS = 10


class Covariates:
    """Which variables of a batch are regressed on.

    chosen: names of dynamic and static variables; None: all. corrected: those that are soil moisture of a model and
    are brought to the satellite's (`corrected`). A dynamic variable with gaps of its own is 0 (its mean) where it is
    missing, and its mask is a column too.

    Raises ConfigError where the cube has no such variable.
    """

    def __init__(self, inputs: Inputs, chosen: Sequence[str] | None, corrected: Sequence[str]) -> None:
        known = (*inputs.dynamic, *inputs.static)
        names = known if chosen is None else tuple(chosen)
        for key, wanted, there in (("covariates", names, known), ("corrected", corrected, inputs.dynamic)):
            lacking = [name for name in wanted if name not in there]
            if lacking:
                raise ConfigError(f"model.{key}: {lacking} not among {', '.join(there) or 'no variable'} of the cube")
        if inputs.precipitation in corrected:
            raise ConfigError(f"model.corrected: '{inputs.precipitation}' is precipitation, expected soil moisture")
        self.dynamic = [c for c, name in enumerate(inputs.dynamic) if name in names]
        self.static = [c for c, name in enumerate(inputs.static) if name in names]
        # one that is corrected is missing where a cell was hardly observed
        masked = {*inputs.gappy, *corrected}
        self.masks = [c for c in self.dynamic if inputs.dynamic[c] in masked]
        self.corrected = [c for c in self.dynamic if inputs.dynamic[c] in corrected]
        self.count = len(self.dynamic) + len(self.static)

    def of(self, batch: Batch, observed: Tensor) -> Tensor:
        """Columns (B, F, T, H, W); observed: the target's seen values in the units of `corrected`, (B, T, H, W)."""
        dynamic, present = batch.dynamic, batch.present
        if self.corrected:
            dynamic, present = dynamic.clone(), present.clone()
        for c in self.corrected:
            dynamic[:, c], present[:, c] = corrected(dynamic[:, c], present[:, c], observed, batch.seen[:, 0])
        days = dynamic.shape[2]
        static = batch.static[:, self.static, None].expand(-1, -1, days, -1, -1)
        return torch.cat([dynamic[:, self.dynamic], present[:, self.masks].to(dynamic.dtype), static], 1)


def corrected(model: Tensor, present: Tensor, satellite: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Model soil moisture with the satellite's mean and standard deviation in each cell, taken over the days on which
    both are there (LIU, Eq. 4, in which mu(SM_p1) is a misprint for mu(SM_c1)).

    All (B, T, H, W), in units of any offset and scale; days must be the whole record. Returns values and mask: a cell
    with fewer than 10 such days has none.
    """
    both = present & seen
    days = both.sum(1, keepdim=True)

    def moments(values: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.where(both, values, 0.0).sum(1, keepdim=True) / days.clamp(min=1)
        square = torch.where(both, (values - mean).square(), 0.0).sum(1, keepdim=True) / days.clamp(min=1)
        return mean, square.sqrt()

    (mean, spread), (own_mean, own_spread) = moments(satellite), moments(model)
    known = present & (days >= FEWEST_DAYS)
    ratio = torch.where(own_spread > 0, spread / own_spread.clamp(min=1e-12), 0.0)
    return torch.where(known, mean + (model - own_mean) * ratio, 0.0), known
