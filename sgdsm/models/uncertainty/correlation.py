"""Correlation of the errors of filled values in space and time, and random fields with this correlation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr

from sgdsm.core.errors import CubeError
from sgdsm.core.grids import MEAN_EARTH_RADIUS_KM
from sgdsm.core.random import Stream

COMPONENTS = 3
LAGS = (0, 1, 2, 4, 8, 16, 32)  # days
DAYS_DRAWN, VALUES_DRAWN = 128, 300  # days in the sample, values of a day
BINS = 8  # of distance
LONGEST = 365.0  # days; a longer correlation cannot be distinguished from a constant
FREQUENCIES = 256  # waves of a random field
# lengths of the noise component: far below the size of a cell and a day
NO_KM, NO_DAYS = 1e-3, 1e-4
ATTRIBUTES = ("error_weights", "error_lengths", "error_days")


class Products(NamedTuple):
    """Statistics of pairs of standardised errors in bins of distance and lag.

    Attributes:
        distance: Mean distance, km or cells, (bins,).
        lag: In days, (bins,).
        product: Mean product, (bins,).
        number: Of pairs, (bins,).
    """

    distance: np.ndarray
    lag: np.ndarray
    product: np.ndarray
    number: np.ndarray


@dataclass(frozen=True)
class Correlation:
    """C(d, t) = sum_k weights_k exp(-d / lengths_k - |t| / days_k), plus noise of each value with weight 1 - sum_k.

    d is the distance through the Earth in km where the grid has latitudes and longitudes, else in cells; t is in days.

    Attributes:
        weights: Variances of the components, shares of 1.
        lengths: In km or cells.
        days: In days.
    """

    weights: tuple[float, ...]
    lengths: tuple[float, ...]
    days: tuple[float, ...]

    @classmethod
    def fit(cls, samples: Sequence[Products]) -> Correlation:
        """Fit the correlation by weighted least squares.

        Args:
            samples: Products of standardised errors, of one split each.
        """
        distance, lag, product, count = (np.concatenate(part) for part in zip(*samples, strict=True))
        if not len(count):
            return cls((0.0,), (1.0,), (1.0,))  # without pairs: noise of each value alone
        d, t, c = (torch.from_numpy(a) for a in (distance, lag, product))
        # roots of the numbers: otherwise the many distant pairs would outweigh those of a cell with itself
        weight = torch.from_numpy(np.sqrt(count) / np.sqrt(count).sum())
        far = max(float(d.max()), 1e-3)
        # start: ranges of a 30th, an 8th and half of the domain; 2, 8 and 60 days
        start = np.stack([[0.2] * COMPONENTS, np.log([far / 30, far / 8, far / 2]), np.log([2.0, 8.0, 60.0])])
        raw = torch.from_numpy(start).requires_grad_(True)

        def parameters() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            # a softmax with the noise as one more component keeps the sum of the weights below 1
            shares = torch.softmax(torch.cat([raw[0], raw.new_zeros(1)]), 0)[:COMPONENTS]
            lengths = torch.exp(raw[1]).clamp(far / 1000, 10 * far)
            return shares, lengths, torch.exp(raw[2]).clamp(0.1, LONGEST)

        optimizer = torch.optim.LBFGS([raw], max_iter=300, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            w, lengths, spans = parameters()
            model = (w * torch.exp(-d[:, None] / lengths - t[:, None] / spans)).sum(1)
            loss = (weight * (model - c).square()).sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(closure)
        return cls(*(tuple(float(v) for v in p.detach()) for p in parameters()))

    @classmethod
    def of(cls, attrs: Mapping[str, Any]) -> Correlation:
        """Read the correlation from the attributes of a variable, see `attributes`.

        Args:
            attrs: Of the variable sm_std of a filled file.

        Raises:
            CubeError: If the attributes are missing or damaged.
        """
        if any(name not in attrs for name in ATTRIBUTES):
            raise CubeError(
                f"sm_std has no attribute {ATTRIBUTES[0]}: the file was filled by a run with uncertainty=none, or by "
                "an older version; fill it again with uncertainty=conformal"
            )
        values = [np.atleast_1d(np.asarray(attrs[name], np.float64)) for name in ATTRIBUTES]
        if len({len(f) for f in values}) != 1 or not all(np.isfinite(f).all() and (f >= 0).all() for f in values):
            raise CubeError(f"sm_std: attributes {', '.join(ATTRIBUTES)} do not describe a correlation")
        return cls(*(tuple(f.tolist()) for f in values))

    def attributes(self) -> dict[str, np.ndarray]:
        """Return the correlation as attributes of a variable of a file."""
        return dict(zip(ATTRIBUTES, (np.array(v) for v in (self.weights, self.lengths, self.days)), strict=True))

    def at(self, distance: float, lag: float) -> float:
        """Return the correlation of two different values.

        Args:
            distance: km or cells, see the class.
            lag: Days.
        """
        terms = zip(self.weights, self.lengths, self.days, strict=True)
        return float(sum(w * np.exp(-distance / length - abs(lag) / span) for w, length, span in terms))

    def field(self, days: np.ndarray, places: np.ndarray, seed: int, number: int) -> np.ndarray:
        """Return a Gaussian random field of mean 0 and variance 1, (T, N) float32.

        The field is a sum of waves with random frequencies (random Fourier features; Rahimi and Recht, NeurIPS 2007).
        A value depends on its place and day only, so that parts of a field can be computed separately.

        Args:
            days: Day numbers, (T,).
            places: Positions, (N, 3), see `positions`.
            seed: Of all fields.
            number: Of this field.
        """
        rng = np.random.default_rng([Stream.ERROR_FIELDS, seed, number])
        noise = max(0.0, 1 - sum(self.weights))
        total = np.zeros((len(days), len(places)), np.float32)
        for w, length, span in zip((*self.weights, noise), (*self.lengths, NO_KM), (*self.days, NO_DAYS), strict=True):
            # spectra of exponential correlations: Cauchy in time, multivariate Cauchy in space
            space = (
                rng.standard_normal((3, FREQUENCIES)) / np.abs(rng.standard_normal(FREQUENCIES)) / max(length, NO_KM)
            )
            time = rng.standard_cauchy(FREQUENCIES) / max(span, NO_DAYS)
            phase = rng.uniform(0, 2 * np.pi, FREQUENCIES)
            # cos(a + b) by products of matrices of days and of places
            a, b = np.outer(days, time), places @ space + phase
            waves = _cos(a) @ _cos(b).T - _sin(a) @ _sin(b).T
            # each wave has variance 1 / 2
            total += np.float32(np.sqrt(2 * w / FREQUENCIES)) * waves
        return total


def positions(maps: xr.DataArray) -> np.ndarray:
    """Return the positions of the cells of maps, (H, W, 3).

    They are in km from the centre of the Earth, or in rows and columns without latitudes and longitudes.

    Args:
        maps: With dimensions time, rows, columns.
    """
    rows, columns = (maps[dim].values.astype(np.float64) for dim in maps.dims[1:])
    if maps.dims[1] == "lat":
        return MEAN_EARTH_RADIUS_KM * unit_vectors(rows, columns)
    steps = [abs(axis[1] - axis[0]) if len(axis) > 1 else 1.0 for axis in (rows, columns)]
    y, x = np.meshgrid(rows / steps[0], columns / steps[1], indexing="ij")
    return np.stack([y, x, np.zeros_like(x)], -1)


def unit_vectors(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Return unit vectors from the centre of the Earth to the cells of a grid, (H, W, 3).

    Args:
        lat: Degrees north, (H,).
        lon: Degrees east, (W,).
    """
    lat, lon = np.deg2rad(lat)[:, None], np.deg2rad(lon)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0 * lon], -1)


def pair_products(values: np.ndarray, places: np.ndarray, days: np.ndarray) -> Products:
    """Return the products of a sample of pairs of standardised errors, in bins of distance and lag.

    Args:
        values: Errors of variance 1, (N,).
        places: Positions, (N, 3), see `positions`.
        days: Day numbers, (N,) int.
    """
    values, places = values.astype(np.float64), places.astype(np.float64)
    rng = np.random.default_rng(Stream.ERROR_PAIRS)
    # sorted by day, so that the values of a day are one slice
    order = np.argsort(days, kind="stable")
    values, places, days = values[order], places[order], days[order]
    unique_days, begin = np.unique(days, return_index=True)
    parts = dict(zip(unique_days.tolist(), np.split(np.arange(len(days)), begin[1:]), strict=True))
    box = np.ptp(places, 0) if len(places) else np.zeros(3)
    # the first bin has distance 0 (a cell with itself on other days); beyond 0.7 of the diagonal pairs are few
    edges = np.linalg.norm(box) * np.concatenate([[0, 1e-6], np.geomspace(0.01, 0.7, BINS)])
    sums = np.zeros((3, len(LAGS), len(edges)))
    # a sample of days and values: all pairs would be too many
    drawn = rng.choice(unique_days, min(DAYS_DRAWN, len(unique_days)), replace=False)
    for lag, day in ((lag, day) for lag in range(len(LAGS)) for day in drawn.tolist()):
        other = parts.get(day + LAGS[lag])
        if other is None:
            continue
        one, two = (rng.permutation(part)[:VALUES_DRAWN] for part in (parts[day], other))
        distance = np.linalg.norm(places[one][:, None] - places[two], axis=-1)
        product = values[one][:, None] * values[two]
        # a value is not paired with itself, and very distant pairs are left out
        pairs = (one[:, None] != two) & (distance < edges[-1])
        kind = np.searchsorted(edges, distance[pairs], side="right")
        for k, weights in enumerate((distance[pairs], product[pairs], np.ones(int(pairs.sum())))):
            sums[k, lag] += np.bincount(kind, weights, len(edges))
    used = sums[2] > 0
    lags = np.broadcast_to(np.array(LAGS, np.float64)[:, None], used.shape)[used]
    count = sums[2][used]
    return Products(sums[0][used] / count, lags, sums[1][used] / count, count)


def _cos(angle: np.ndarray) -> np.ndarray:
    """Return the cosine in float32: half the memory of the matrix products."""
    return np.cos(angle).astype(np.float32)


def _sin(angle: np.ndarray) -> np.ndarray:
    """Return the sine in float32."""
    return np.sin(angle).astype(np.float32)
