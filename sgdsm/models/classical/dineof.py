"""DINEOF: gaps are estimated from the leading empirical orthogonal functions of the record, iteratively."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import Window
from sgdsm.models.classical.cosine import basis, frequencies
from sgdsm.models.classical.tuned import Tuned
from sgdsm.models.networks.base import at_least


class Dineof(Tuned):
    """Data interpolating empirical orthogonal functions of the anomalies.

    Beckers and Rixen (J. Atmos. Ocean. Technol. 20, 1839, 2003). The whole record and grid are one matrix, days by
    cells. Gaps start at the climatology; in each step they take the values of the leading modes, and the modes are
    computed again. The number of modes is chosen on the validation split.

    Args:
        modes: Number of modes kept; several to choose from.
        filter_days: Length over which the covariance of days is smoothed, days (after Alvera-Azcarate et al., Ocean
            Sci. 5, 475, 2009; by the Gaussian limit of their steps of diffusion); 0: no filter, as published first,
            which with gaps on most days is hardly better than the climatology; several to choose from.
        tolerance: The iteration stops when the matrix changes by a smaller share.
        iterations: Largest number of steps; fewer leave long gaps closer to the climatology.

    Raises:
        ConfigError: If a setting is out of range.
    """

    window = Window(None)

    def __init__(
        self,
        modes: Sequence[int] | int = (5, 10, 20, 40),
        filter_days: Sequence[float] | float = (0.0, 1.0, 2.0),
        tolerance: float = 1e-3,
        iterations: int = 30,
    ) -> None:
        kept = list(modes) if isinstance(modes, Sequence) else [modes]
        lengths = list(filter_days) if isinstance(filter_days, Sequence) else [filter_days]
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
        anomaly = torch.zeros_like(batch.sm, dtype=torch.float32)
        with torch.autocast(batch.sm.device.type, enabled=False):
            for window, (values, seen) in enumerate(zip(batch.sm[:, 0].float(), batch.seen[:, 0], strict=True)):
                # cells that are never seen have no information on the modes and stay at the climatology
                known = seen.any(0)
                anomaly[window, 0, :, known] = reconstruct(
                    values[:, known], seen[:, known], int(candidate["modes"]), length, self.tolerance, self.iterations
                )
        return Filled(self.in_units(anomaly, batch))


def reconstruct(
    values: Tensor, seen: Tensor, modes: int, filter_length: float, tolerance: float, iterations: int
) -> Tensor:
    """Return a matrix with gaps as reconstructed from its leading modes.

    The modes are found by subspace iteration that starts from those of the step before: a step costs a few products
    with `modes` columns and no decomposition of a whole covariance.

    Args:
        values: Days by cells, (T, N), any number in gaps.
        seen: False in gaps, (T, N) bool.
        modes: Number of modes.
        filter_length: Length over which the covariance is smoothed, in rows.
        tolerance: Relative change of the matrix at which the iteration stops.
        iterations: Largest number of steps.

    Returns:
        The reconstruction, (T, N).
    """
    days = len(values)
    waves = basis(days, values)
    # smoothing the covariance by a Gaussian damps its cosine coefficients
    damping = torch.exp(-(filter_length**2) / 2 * frequencies(days, values))[:, None]

    def filtered(columns: Tensor) -> Tensor:
        return columns if filter_length == 0 else waves.T @ (damping * (waves @ columns))

    matrix = torch.where(seen, values, 0)
    # any start converges; slow waves are near the modes of most records
    vectors = waves[: min(modes, *values.shape)].T
    reconstruction = torch.zeros_like(matrix)
    for _ in range(iterations):
        # the filtered covariance of days is never formed: it is applied factor by factor
        vectors = torch.linalg.qr(filtered(matrix @ (matrix.T @ filtered(vectors)))).Q
        reconstruction = vectors @ (vectors.T @ matrix)
        # seen values never change
        change = torch.where(seen, 0, reconstruction - matrix)
        matrix = matrix + change
        if change.norm() <= tolerance * matrix.norm():
            break
    return reconstruction
