"""Conformal intervals whose width follows what is known of a value: the age of its gap, rain, season, cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sgdsm.core.cube import ConfigError, log
from sgdsm.data.batch import Batch, Filled
from sgdsm.models.base import GapFiller
from sgdsm.models.uncertainty.applicability import Applicability
from sgdsm.models.uncertainty.correlation import COMPONENTS, Correlation, pair_products
from sgdsm.models.uncertainty.effective_size import FEWEST_DAYS, effective_days, student
from sgdsm.models.uncertainty.wrappers import Wrapper

AGES = (1, 2, 3, 4, 8)
RAIN_QUANTILES = (0.5, 0.8, 0.95)
TERCILES = (1 / 3, 2 / 3)
SEASONS = 4
UNITS, STEPS, RATE, DECAY = 16, 100, 0.02, 0.3
FARTHEST = 4.0  # scaled features beyond are taken for as far
RIDGE = 3.0  # values' worth of evidence that a class is like all others
FEWEST = 100
ENOUGH_DAYS = 30.0  # independent days of calibration from which on nothing is widened
STEADY = [[0.0, -math.inf]] * 2  # no growth of interval and standard deviation
FLOOR = 1e-4  # of the anomalies' spread: no standard deviation is less


class CalibrationBatch(NamedTuple):
    """A batch and the errors at its N wanted values, in the target's units.

    errors: (N,). std: what the filler says of them, (B, 1, T, H, W), or None. days: since 1970-01-01, (N,) int.
    places: (N, 3), see `correlation.positions`. weight: of the values in `Conformal.adapt`, (N,); None: 1.
    """

    batch: Batch
    errors: Tensor
    std: Tensor | None
    days: np.ndarray
    places: np.ndarray
    weight: Tensor | None = None

    def weights(self) -> Tensor:
        """Of the values, (N,)."""
        return torch.ones(len(self.errors)) if self.weight is None else self.weight


class Conformal(Wrapper):
    """Normalised split conformal intervals, by class (Vovk et al. 2005; Papadopoulos et al. 2011).

    Two steps, on values of different splits. A small network learns on the validation draw how large the errors are
    by the age of the gap, the covariates of the day, the season and the cell, starting from the filler's own
    standard deviation where it has one. Then, on the calibration draw alone, the quantile of the errors over that
    scale is regressed on classes (age of the gap 1, 2, 3, 4-7, 8 and more days; rain; season; terciles of the
    cells' mean and spread) and on the scale itself, so that the interval covers in each of them. The variance is
    regressed alike, for the standard deviation. The interval's half-width gets the margin that split conformal
    prediction asks for of so many values; where the calibration draw is worth few independent days, that of few (see
    `calibrate`). All describe the value that the satellite would have reported. Epistemic
    and aleatoric parts of the filler keep their shares. How the errors hang together in space and time is fitted on
    the calibration draw as well, and where the covariates are like those of the training values (`Applicability`).

    filler: already fitted. level: of the interval.
    """

    def __init__(self, filler: GapFiller, level: float = 0.9) -> None:
        super().__init__(filler)
        if not 0 < level < 1:
            raise ConfigError(f"uncertainty.level={level}: expected a share between 0 and 1")
        self.level = level

    scale: nn.Sequential
    quantile: Tensor
    log_variance: Tensor
    growth: Tensor
    centre: Tensor
    offset: Tensor
    correlation: Tensor
    oldest_gap: Tensor

    def setup_own(self) -> None:
        names = self.inputs.dynamic
        self.rain = names.index(self.inputs.precipitation) if self.inputs.precipitation in names else None
        count = 1 + len(names) + 2 + 4
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.scale = nn.Sequential(nn.Linear(count, UNITS), nn.Tanh(), nn.Linear(UNITS, 1))
        last = self.scale[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        for name, sizes in {"rain": len(RAIN_QUANTILES), "mean": len(TERCILES), "spread": len(TERCILES)}.items():
            self.register_buffer(f"{name}_edges", torch.full((sizes,), math.inf))
        classes = len(AGES) + len(RAIN_QUANTILES) + 1 + SEASONS + 2 * (len(TERCILES) + 1)
        for name in ("quantile", "log_variance"):
            self.register_buffer(name, torch.full((2 + classes,), math.nan))
        self.register_buffer("growth", torch.tensor(STEADY))
        self.register_buffer("centre", torch.tensor(0.0))
        self.register_buffer("offset", torch.tensor(0.0))
        self.register_buffer("oldest_gap", torch.tensor(math.nan))
        self.applicability = Applicability(len(names) + len(self.inputs.static) + 2)
        self.register_buffer("correlation", torch.full((3, COMPONENTS), math.nan))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        # runs of before there was growth
        state_dict.setdefault(f"{prefix}growth", torch.tensor(STEADY))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    @property
    def error_correlation(self) -> Correlation:
        """Of the standardised errors."""
        known = self.correlation[:, self.correlation.isfinite().all(0)]
        weights, lengths, days = (tuple(row) for row in known.double().tolist())
        return Correlation(weights, lengths, days)

    def fill(self, batch: Batch) -> Filled:
        found = self.filler.fill(batch)
        nothing = torch.zeros_like(found.mean)
        half_width, std = (
            nothing.masked_scatter(batch.wanted, values.to(nothing.dtype)) for values in self.widths(batch, found.std)
        )
        epistemic = None
        if found.epistemic is not None:
            # without a whole of its own the filler's part stands as it is
            share = found.epistemic / (std if found.std is None else found.std).clamp(min=1e-12)
            epistemic = std * share.clamp(max=1)
        distance = self.applicability(batch)
        return Filled(found.mean, std, found.mean - half_width, found.mean + half_width, epistemic, distance)

    def widths(self, batch: Batch, std: Tensor | None) -> tuple[Tensor, Tensor]:
        """Half of the interval, and the standard deviation, at the wanted values, (N,) each, in the target's units.

        std: the filler's own.
        """
        log_scale = self.log_scale(batch, std)
        design = self._design(batch, log_scale)
        logs = log_scale + design @ self.quantile, log_scale + 0.5 * design @ self.log_variance
        half, spread = (torch.exp(_grown(log, growth)) for log, growth in zip(logs, self.growth, strict=True))
        return half, spread

    def log_scale(self, batch: Batch, std: Tensor | None) -> Tensor:
        """Log of the size of the error at the wanted values, (N,), in the target's units. std: the filler's own."""
        base = torch.full_like(batch.sm, self.inputs.anomaly_scale) if std is None else std
        floor = FLOOR * self.inputs.anomaly_scale
        return torch.log(base[batch.wanted].float().clamp(min=floor)) + self._learned(batch)

    def _learned(self, batch: Batch) -> Tensor:
        found: Tensor = self.scale(self.features(batch))[:, 0] + self.offset
        return found

    def features(self, batch: Batch) -> Tensor:
        """What the scale is learned from, at the wanted values, (N, features)."""
        wanted = batch.wanted[:, 0]
        size = batch.sm.shape
        maps = batch.static[:, -2:, None].expand(-1, -1, *size[2:])
        season = batch.season[:, :, :, None, None].expand(-1, -1, -1, *size[3:])
        fields = torch.cat([torch.log1p(batch.gap_age), batch.dynamic, maps, season], 1)
        return fields.movedim(1, -1)[wanted].float().clamp(-FARTHEST, FARTHEST)

    def learn_scale(self, judged: list[CalibrationBatch]) -> None:
        """Fit the scale to the validation draw."""
        with torch.no_grad():
            features = torch.cat([self.features(one.batch) for one in judged])
            base = torch.cat([self.log_scale(one.batch, one.std) for one in judged])
        sizes = torch.cat([one.errors for one in judged]).abs().float()
        if len(sizes) < FEWEST:
            return
        self.offset += torch.log((sizes / base.exp()).mean().clamp(min=1e-6))
        base += self.offset
        decay, rate = DECAY, RATE
        with torch.enable_grad():
            optimizer = torch.optim.AdamW(self.scale.parameters(), rate, weight_decay=decay)
            for step in range(STEPS):
                optimizer.param_groups[0]["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
                optimizer.zero_grad()
                log_scale = base + self.scale(features)[:, 0]
                (log_scale + sizes * torch.exp(-log_scale)).mean().backward()
                optimizer.step()

    def calibrate(self, judged: list[CalibrationBatch], more: Sequence[CalibrationBatch] = ()) -> None:
        """Fit quantile and variance to the calibration draw.

        Where its errors are worth fewer than ENOUGH_DAYS independent days (`effective_days`), as in records of a few
        months, these say less than the number of values promises. Then `more`, the validation draw, whose gaps are
        whole as the real ones are, serves too; a class needs as much evidence in days as else in values to differ from
        the others; and interval and standard deviation are as wide as those of Student's t with so many degrees of
        freedom are beside the normal distribution's. Nothing of this touches longer records.
        """
        with torch.no_grad():
            scales = [self.log_scale(one.batch, one.std) for one in judged]
            there = np.concatenate([one.days for one in judged])
            days = effective_days(_scaled(judged, scales).numpy(), there)
            few = days < ENOUGH_DAYS
            if few:
                judged, scales = [*more, *judged], [*(self.log_scale(one.batch, one.std) for one in more), *scales]
            self._set_classes([one.batch for one in judged])
            self.centre.copy_(torch.cat(scales).mean())
            design = torch.cat([self._design(o.batch, s) for o, s in zip(judged, scales, strict=True)]).double()
            ratios = torch.log(_scaled(judged, scales).abs().clamp(min=1e-6))
        self._fit(design, ratios, RIDGE / days if few else 0.0)
        if few:
            self._widen(days, len(np.unique(there)))
        self.oldest_gap.fill_(max(float(o.batch.gap_age[o.batch.wanted].max()) for o in judged))

    def _fit(self, design: Tensor, ratios: Tensor, more: float) -> None:
        """Regress quantile and variance.

        design: (N, columns). ratios: logs of the scaled errors, (N,). more: ridge on the classes beyond that on all.
        """
        ridge = RIDGE / len(ratios), more
        rank = min(1.0, math.ceil((len(ratios) + 1) * self.level) / len(ratios))
        if rank >= 1:  # so few values: the largest error is all that can be said
            design = design * (torch.arange(design.shape[1]) == 0)
        start = design.new_zeros(design.shape[1])
        start[0] = _quantile(ratios, rank)
        if rank < 1:
            width = 0.05  # of the smoothing at the corner, in units of the log
            found = _minimise(lambda w: _pinball(ratios - design @ w, rank, width).mean(), start, *ridge)
            # smoothing and ridge leave a little: the whole covers exactly what it should
            found[0] += _quantile(ratios - design @ found, rank)
            self.quantile.copy_(found)
        else:
            self.quantile.copy_(start)
        squares = torch.exp(2 * ratios)
        begin = design.new_zeros(design.shape[1])
        begin[0] = torch.log(squares.mean())
        found = _minimise(lambda w: (squares * torch.exp(-design @ w) + design @ w).mean(), begin, *ridge)
        self.log_variance.copy_(found)

    def _widen(self, days: float, there: int) -> None:
        """Make interval and standard deviation as wide as so few independent days ask for. there: days with errors."""
        freedom = max(days, FEWEST_DAYS)
        wider = student(self.level, freedom)
        self.quantile[0] += math.log(wider)
        self.log_variance[0] += math.log(freedom / (freedom - 2))
        told = "the calibration draw hides values on %d days, worth %.0f independent ones; expected at least %.0f: "
        cure = "the intervals are %.2f times as wide for that, and rest on the validation draw too"
        log.info(told + cure, there, days, ENOUGH_DAYS, wider)

    def adapt(self, judged: list[CalibrationBatch]) -> None:
        """Let interval and standard deviation grow or shrink as the errors of more recent values ask for.

        Squares become a h^2 + b: a sensor that gets noisier adds variance, a filler that gets worse multiplies it. Both
        are found by weighted quantile regression, and for the standard deviation by likelihood.
        """
        with torch.no_grad():
            self.growth.copy_(torch.tensor(STEADY))
            pairs = [self.widths(one.batch, one.std) for one in judged]
            spreads = [torch.cat(part).double().log() for part in zip(*pairs, strict=True)]
            sizes = torch.cat([one.errors for one in judged]).double().abs().clamp(min=1e-9).log()
            weights = torch.cat([one.weights() for one in judged]).double()
        share, evidence = weights / weights.sum(), float(weights.sum() / weights.max())
        # the value to come counts as one more
        rank = min(1.0, self.level * (1 + 1 / evidence))
        start = torch.stack([torch.zeros((), dtype=torch.float64), spreads[0].median() - 1])
        width = 0.05  # as in calibrating
        found = _minimise(lambda w: _pinball(sizes - _grown(spreads[0], w), rank, width) @ share, start)
        order = (sizes - _grown(spreads[0], found)).sort()
        reached = int((share[order.indices].cumsum(0) < rank - 1e-12).sum())
        found += order.values[min(reached, len(sizes) - 1)]
        self.growth[0].copy_(found)

        def likelihood(w: Tensor) -> Tensor:
            log_std = _grown(spreads[1], w)
            return (torch.exp(2 * (sizes - log_std)) + 2 * log_std) @ share

        self.growth[1].copy_(_minimise(likelihood, start))
        self.oldest_gap.clamp_(min=max(float(o.batch.gap_age[o.batch.wanted].max()) for o in judged))

    def correlate(self, *draws: list[CalibrationBatch]) -> None:
        """Fit how the errors hang together, to draws that standard deviations are known for.

        The draw that the scale was learned from serves too: it takes many errors to see what they share.
        """
        products = []
        for judged in draws:
            stds = torch.cat([self.widths(one.batch, one.std)[1] for one in judged])
            errors = torch.cat([one.errors for one in judged]) / stds
            places, days = (np.concatenate(part) for part in zip(*((o.places, o.days) for o in judged), strict=True))
            products.append(pair_products(errors.numpy(), places, days))
        fitted = Correlation.fit(products)
        self.correlation[:, : len(fitted.weights)] = torch.tensor([fitted.weights, fitted.lengths, fitted.days])

    def _set_classes(self, batches: list[Batch]) -> None:
        def edges(values: list[Tensor], shares: tuple[float, ...]) -> Tensor:
            joined = torch.cat(values).float()
            return torch.quantile(joined[torch.linspace(0, len(joined) - 1, min(len(joined), 10**6)).long()],
                                  torch.tensor(shares))  # fmt: skip

        if self.rain is not None:
            rain = [batch.dynamic[:, self.rain, None][batch.wanted] for batch in batches]
            self.get_buffer("rain_edges").copy_(edges(rain, RAIN_QUANTILES))
        for k, name in ((-2, "mean"), (-1, "spread")):
            self.get_buffer(f"{name}_edges").copy_(edges([_map(batch, k) for batch in batches], TERCILES))

    def _design(self, batch: Batch, log_scale: Tensor) -> Tensor:
        """Rows of 1, the centred log of the scale, and classes, at the wanted values: (N, columns)."""
        wanted = batch.wanted
        age = torch.bucketize(batch.gap_age[wanted], batch.gap_age.new_tensor(AGES[1:]), right=True)
        rain = torch.zeros_like(age)
        if self.rain is not None:
            rain = torch.bucketize(batch.dynamic[:, self.rain, None][wanted].float(), self.get_buffer("rain_edges"))
        angle = torch.atan2(batch.season[:, 1], batch.season[:, 0])
        # from December on
        month = (angle / (2 * math.pi) * 12 + 1) % 12
        season = (month // 3).long().clamp(0, SEASONS - 1)[:, None, :, None, None].expand(batch.sm.shape)[wanted]
        kinds = [(age, len(AGES)), (rain, len(RAIN_QUANTILES) + 1), (season, SEASONS)]
        for k, name in ((-2, "mean"), (-1, "spread")):
            kinds.append((torch.bucketize(_map(batch, k), self.get_buffer(f"{name}_edges")), len(TERCILES) + 1))
        classes = [nn.functional.one_hot(kind, count).to(log_scale.dtype) for kind, count in kinds]
        return torch.cat([torch.ones_like(log_scale)[:, None], (log_scale - self.centre)[:, None], *classes], 1)


def _scaled(judged: Sequence[CalibrationBatch], log_scales: list[Tensor]) -> Tensor:
    """Errors over the size that is expected of them, (N,) float64."""
    return torch.cat([one.errors for one in judged]).double() / torch.cat(log_scales).double().exp()


def _map(batch: Batch, channel: int) -> Tensor:
    """A map of the batch at the wanted values, (N,)."""
    return batch.static[:, channel, None, None].expand(batch.sm.shape)[batch.wanted].float().contiguous()


def _quantile(values: Tensor, share: float) -> Tensor:
    """Of any number of values; torch has a limit."""
    return values.quantile(share) if len(values) < 10**7 else values.kthvalue(max(1, int(share * len(values))))[0]


def _pinball(residual: Tensor, level: float, width: float) -> Tensor:
    """Pinball loss, its corner smoothed over about `width`."""
    return level * residual + width * nn.functional.softplus(-residual / width)


def _grown(log_size: Tensor, growth: Tensor) -> Tensor:
    """Log of the root of a h^2 + b. log_size: of h, (N,). growth: logs of the roots of a and b, (2,)."""
    return 0.5 * torch.logaddexp(2 * (log_size + growth[0]), 2 * growth[1])


def _minimise(loss: Callable[[Tensor], Tensor], start: Tensor, ridge: float = 0.0, more: float = 0.0) -> Tensor:
    """The minimum of a loss with a ridge on all but the first weight, by L-BFGS; (columns,).

    more: a further ridge on all but the first two.
    """
    weights = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        total = loss(weights) + ridge * weights[1:].square().sum() + more * weights[2:].square().sum()
        total.backward()
        return total

    with torch.enable_grad():
        optimizer.step(closure)
    return weights.detach()
