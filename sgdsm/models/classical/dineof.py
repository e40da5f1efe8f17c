"""DINEOF: gaps from the leading empirical orthogonal functions of the record, found together with them."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import torch
from torch import Tensor

from sgdsm.core.cube import ConfigError
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import Window
from sgdsm.models.classical.cosine import basis, frequencies
from sgdsm.models.classical.tuned import Tuned
from sgdsm.models.networks.base import at_least


class Dineof(Tuned):
    """Data interpolating empirical orthogonal functions of the anomalies (Beckers and Rixen, J. Atmos. Ocean. Technol.
    20, 1839, 2003).

    The whole record and grid are one matrix, days by cells. Gaps start at the climatology; in each step they take the
    values of the leading modes, and the modes are found anew. The number of modes is chosen on the validation draw.

    modes: how many are kept; a list to choose from. filter_days: length over which the covariance of days is smoothed
    (after Alvera-Azcarate et al., Ocean Sci. 5, 475, 2009; theirs by steps of diffusion, ours by its Gaussian limit);
    0: not at all, as published first, which with gaps on most days hardly beats the climatology; a list to choose from.
    tolerance, iterations: it stops when the matrix changes by a smaller share, or after so many steps; fewer steps
    leave long gaps closer to the climatology.
    """

    window = Window(None)

    def __init__(
        self,
        modes: list[int] | int = 20,
        filter_days: list[float] | float = 1.0,
        tolerance: float = 1e-3,
        iterations: int = 30,
    ) -> None:
        kept = list(modes) if isinstance(modes, (list, tuple)) else [modes]
        lengths = list(filter_days) if isinstance(filter_days, (list, tuple)) else [filter_days]
        if not kept or not lengths:
            raise ConfigError(f"model.modes={modes}, filter_days={filter_days}: expected at least one of each")
        super().__init__([{"modes": k, "filter_days": length} for k, length in product(kept, lengths)])
        at_least(1, iterations=iterations, modes=min(kept))
        if min(lengths) < 0:
            raise ConfigError(f"model.filter_days={filter_days}: expected 0 or more")
        if not 0 < tolerance < 1:
            raise ConfigError(f"model.tolerance={tolerance}: expected a share between 0 and 1")
        self.tolerance, self.iterations = tolerance, iterations

    def fill_with(self, batch: Batch, candidate: Mapping[str, float]) -> Filled:
        length = candidate["filter_days"] / self.inputs.step_days
        found = torch.zeros_like(batch.sm, dtype=torch.float32)
        with torch.autocast(batch.sm.device.type, enabled=False):
            for window, (values, seen) in enumerate(zip(batch.sm[:, 0].float(), batch.seen[:, 0], strict=True)):
                known = seen.any(0)
                found[window, 0, :, known] = reconstruct(
                    values[:, known], seen[:, known], int(candidate["modes"]), length, self.tolerance, self.iterations
                )
        return Filled(self.in_units(found, batch))


def reconstruct(
    values: Tensor, seen: Tensor, modes: int, filter_length: float, tolerance: float, iterations: int
) -> Tensor:
    """What the leading modes say of a matrix with gaps, (T, N).

    values: (T, N), any number in gaps. seen: the same shape. filter_length: in rows.

    The modes are found by subspace iteration that goes on from those of the step before: a step costs a few products
    with `modes` columns, no decomposition of a whole covariance.
    """
    days = len(values)
    waves = basis(days, values)
    damping = torch.exp(-(filter_length**2) / 2 * frequencies(days, values))[:, None]

    def filtered(columns: Tensor) -> Tensor:
        return columns if filter_length == 0 else waves.T @ (damping * (waves @ columns))

    matrix = torch.where(seen, values, 0)
    # slow waves are near the modes of most records; another start would do
    vectors = waves[: min(modes, *values.shape)].T
    found = torch.zeros_like(matrix)
    for _ in range(iterations):
        vectors = torch.linalg.qr(filtered(matrix @ (matrix.T @ filtered(vectors)))).Q
        found = vectors @ (vectors.T @ matrix)
        change = torch.where(seen, 0, found - matrix)
        matrix = matrix + change
        if change.norm() <= tolerance * matrix.norm():
            break
    return found
