"""Table of covariates for the regressions in windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.data.batch import Batch
from sgdsm.data.normalization import Inputs

FEWEST_DAYS = 10


class Covariates:
    """Selection of the variables of a batch that are regressed on.

    A dynamic variable with gaps of its own is 0 (its mean) where it is missing, and its mask is a further column.

    Args:
        inputs: Variables of the cube.
        chosen: Names of dynamic and static variables; None: all.
        corrected: Names of those that are a model's soil moisture and are rescaled to the satellite's (see the
            function `corrected`).
        towards: Name of a dynamic variable -> name of another one, to whose mean and spread it is rescaled in each cell
            over their common days. The other one need not be chosen.

    Raises:
        ConfigError: If the cube has no such variable.
    """

    def __init__(
        self,
        inputs: Inputs,
        chosen: Sequence[str] | None,
        corrected: Sequence[str],
        towards: Mapping[str, str] | None = None,
    ) -> None:
        pairs = dict(towards or {})
        known = (*inputs.dynamic, *inputs.static)
        names = known if chosen is None else tuple(chosen)
        for key, wanted, available in (
            ("covariates", names, known),
            ("corrected", corrected, inputs.dynamic),
            ("towards", (*pairs, *pairs.values()), inputs.dynamic),
        ):
            lacking = [name for name in wanted if name not in available]
            if lacking:
                raise ConfigError(
                    f"model.{key}: {lacking} not among {', '.join(available) or 'no variable'} of the cube"
                )
        if twice := sorted({*corrected} & {*pairs} | {*pairs} & {*pairs.values()}):
            raise ConfigError(f"model.towards: '{twice[0]}' is rescaled twice, or a reference that is rescaled itself")
        if inputs.precipitation in corrected:
            raise ConfigError(f"model.corrected: '{inputs.precipitation}' is precipitation, expected soil moisture")
        self.dynamic = [c for c, name in enumerate(inputs.dynamic) if name in names]
        self.static = [c for c, name in enumerate(inputs.static) if name in names]
        # a corrected variable is missing in cells that were hardly observed
        masked = {*inputs.gappy, *corrected, *pairs}
        self.masks = [c for c in self.dynamic if inputs.dynamic[c] in masked]
        self.corrected = [c for c in self.dynamic if inputs.dynamic[c] in corrected]
        self.pairs = [(inputs.dynamic.index(name), inputs.dynamic.index(other)) for name, other in pairs.items()]
        self.count = len(self.dynamic) + len(self.static)

    def of(self, batch: Batch, observed: Tensor) -> Tensor:
        """Return the columns of the table, (B, F, T, H, W).

        Args:
            batch: Windows.
            observed: The target's seen values, standardised, (B, T, H, W).
        """
        dynamic, present = batch.dynamic, batch.present
        if self.corrected or self.pairs:
            dynamic, present = dynamic.clone(), present.clone()
        for c, other in self.pairs:
            reference, there = batch.dynamic[:, other], batch.present[:, other]
            dynamic[:, c], present[:, c] = corrected(dynamic[:, c], present[:, c], reference, there)
        for c in self.corrected:
            dynamic[:, c], present[:, c] = corrected(dynamic[:, c], present[:, c], observed, batch.seen[:, 0])
        days = dynamic.shape[2]
        static = batch.static[:, self.static, None].expand(-1, -1, days, -1, -1)
        return torch.cat([dynamic[:, self.dynamic], present[:, self.masks].to(dynamic.dtype), static], 1)


def corrected(model: Tensor, present: Tensor, satellite: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return model soil moisture rescaled to the satellite's mean and standard deviation in each cell.

    The statistics are those of the days on which both are present (LIU, Eq. 4, in which mu(SM_p1) is a misprint for
    mu(SM_c1)).

    Args:
        model: Of the whole record, (B, T, H, W), in units of any offset and scale.
        present: (B, T, H, W) bool.
        satellite: (B, T, H, W), in units of any offset and scale.
        seen: (B, T, H, W) bool.

    Returns:
        Values and mask, (B, T, H, W) each; a cell with fewer than 10 common days is masked.
    """
    both = present & seen
    days = both.sum(1, keepdim=True)

    def moments(values: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation over the common days, (B, 1, H, W) each."""
        mean = torch.where(both, values, 0.0).sum(1, keepdim=True) / days.clamp(min=1)
        square = torch.where(both, (values - mean).square(), 0.0).sum(1, keepdim=True) / days.clamp(min=1)
        return mean, square.sqrt()

    (mean, spread), (model_mean, model_spread) = moments(satellite), moments(model)
    known = present & (days >= FEWEST_DAYS)
    ratio = torch.where(model_spread > 0, spread / model_spread.clamp(min=1e-12), 0.0)
    return torch.where(known, mean + (model - model_mean) * ratio, 0.0), known
