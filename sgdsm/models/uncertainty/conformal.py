"""Conformal intervals whose width depends on the age of a gap, rain, season and cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.errors import ConfigError
from sgdsm.core.logging import log
from sgdsm.data.batch import CELL_MAPS, Batch, Filled
from sgdsm.models.base import GapFiller
from sgdsm.models.uncertainty.applicability import Applicability
from sgdsm.models.uncertainty.calibrated import Calibrated, CalibrationBatch, joined_errors, largest_gap_age
from sgdsm.models.uncertainty.correlation import COMPONENTS, Correlation, pair_products
from sgdsm.models.uncertainty.effective_size import effective_days
from sgdsm.models.uncertainty.error_bars import ErrorBars
from sgdsm.models.uncertainty.error_classes import ErrorClasses
from sgdsm.models.uncertainty.quantiles import RIDGE, ErrorQuantiles
from sgdsm.models.uncertainty.recalibration import DriftAdjustment
from sgdsm.models.uncertainty.scale_model import ScaleModel

ENOUGH_DAYS = 30.0  # independent days of calibration from which on nothing is widened


class Conformal(Calibrated):
    """Normalised split conformal intervals, by class (Vovk et al. 2005; Papadopoulos et al. 2011).

    Two steps, on values of different splits. A small network (`ScaleModel`) is fitted on the validation split to the
    size of the errors as a function of the age of the gap, the covariates of the day, the season and the cell; it
    multiplies the filler's own standard deviation where there is one. Then, on the calibration split alone, the
    quantile of the errors over that scale is regressed on classes (`ErrorClasses`: age of the gap 1, 2, 3, 4-7, 8 and
    more days; rain; season; terciles of the cells' mean and spread) and on the scale itself, so that the interval has
    its coverage in each of them. The variance is regressed in the same way and gives the standard deviation. The
    half-width of the interval includes the margin that split conformal prediction needs for a finite number of values;
    where the calibration split has few independent days, that of Student's t (see `calibrate`).

    Intervals describe the value that the satellite would have reported. Epistemic and aleatoric parts of the filler
    keep their shares. The correlation of the errors in space and time is fitted on both splits, and the area of
    applicability on the covariates of the training values (`Applicability`).

    Args:
        filler: Already fitted.
        level: Coverage of the interval, a share of 1.

    Raises:
        ConfigError: If a setting is out of range.
    """

    correlation: Tensor
    oldest_gap: Tensor

    def __init__(self, filler: GapFiller, level: float = 0.9) -> None:
        super().__init__(filler)
        if not 0 < level < 1:
            raise ConfigError(f"uncertainty.level={level}: expected a share between 0 and 1")
        self.level = level

    def setup_own(self) -> None:
        names = self.inputs.dynamic
        rain = names.index(self.inputs.precipitation) if self.inputs.precipitation in names else None
        self.scale = ScaleModel(len(names), self.inputs.anomaly_scale)
        self.classes = ErrorClasses(rain)
        self.quantiles = ErrorQuantiles(self.classes.columns, self.level)
        self.drift = DriftAdjustment()
        self.applicability = Applicability(len(names) + len(self.inputs.static) + CELL_MAPS)
        # NaN: not fitted
        self.register_buffer("oldest_gap", torch.tensor(math.nan))
        self.register_buffer("correlation", torch.full((3, COMPONENTS), math.nan))

    @property
    def error_correlation(self) -> Correlation:
        """Correlation of the standardised errors in space and time."""
        known = self.correlation[:, self.correlation.isfinite().all(0)]
        weights, lengths, days = (tuple(row) for row in known.double().tolist())
        return Correlation(weights, lengths, days)

    @property
    def error_bars(self) -> ErrorBars:
        """Level, correlation and oldest gap of the calibrated intervals."""
        return ErrorBars(self.level, self.decomposes, self.error_correlation, float(self.oldest_gap))

    def fill(self, batch: Batch) -> Filled:
        filled = self.filler.fill(batch)
        if self.inputs.causal:
            # at all land cells: rounding depends on how many values there are, and later days decide where gaps are
            batch = batch._replace(wanted=batch.land.any(2, keepdim=True).expand_as(batch.land))
        nothing = torch.zeros_like(filled.mean)
        half_width, std = (
            nothing.masked_scatter(batch.wanted, values.to(nothing.dtype)) for values in self.widths(batch, filled.std)
        )
        epistemic = None
        if filled.epistemic is not None:
            # a filler without a standard deviation of its own keeps its epistemic part, up to the calibrated one
            share = filled.epistemic / (std if filled.std is None else filled.std).clamp(min=1e-12)
            epistemic = std * share.clamp(max=1)
        distance = self.applicability(batch)
        return Filled(filled.mean, std, filled.mean - half_width, filled.mean + half_width, epistemic, distance)

    def widths(self, batch: Batch, std: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale = self.scale(batch, std)
        half, spread = self.drift(*self.quantiles(self.classes(batch, log_scale), log_scale))
        return half, spread

    def fit_to_errors(
        self,
        validation: Sequence[CalibrationBatch],
        calibration: Sequence[CalibrationBatch],
        training: Iterable[Batch],
    ) -> None:
        self.fit_scale(validation)
        self.calibrate(calibration, validation)
        with torch.no_grad():
            self.fit_correlation(validation, calibration)
        self.applicability.fit(training, [one.batch for one in calibration])

    def fit_scale(self, validation: Sequence[CalibrationBatch]) -> None:
        """Fit the expected size of the errors.

        Args:
            validation: Errors at the hidden values of the validation split.
        """
        self.scale.fit(validation)

    def calibrate(self, calibration: Sequence[CalibrationBatch], validation: Sequence[CalibrationBatch] = ()) -> None:
        """Fit quantile and variance of the scaled errors.

        In records of a few months the effective sample size of the errors is small: fewer than ENOUGH_DAYS independent
        days (`effective_days`). Then the validation split, whose gaps have the sizes of the real ones, is used too; a
        class needs as much evidence in days as otherwise in values to differ from the others; and interval and
        standard deviation are widened to those of Student's t with as many degrees of freedom. Longer records are not
        affected.

        Args:
            calibration: Errors at the hidden values of the calibration split.
            validation: Those of the validation split.
        """
        with torch.no_grad():
            # the effective sample size is that of scaled errors: their sizes are to be compared
            log_scales = [self.scale(one.batch, one.std) for one in calibration]
            days_of_errors = np.concatenate([one.days for one in calibration])
            days = effective_days(_scaled(calibration, log_scales).numpy(), days_of_errors)
            few = days < ENOUGH_DAYS
            used = [*validation, *calibration] if few else [*calibration]
            if few:
                log_scales = [*(self.scale(one.batch, one.std) for one in validation), *log_scales]
            self.classes.fit([one.batch for one in used], log_scales)
            rows = [self.classes(one.batch, scale) for one, scale in zip(used, log_scales, strict=True)]
            design = torch.cat(rows).double()
            log_ratios = torch.log(_scaled(used, log_scales).abs().clamp(min=1e-6))
        self.quantiles.fit(design, log_ratios, RIDGE / days if few else 0.0)
        if few:
            factor = self.quantiles.widen(days)
            log.info(
                "the calibration split hides values on %d days, effective sample size %.0f days; expected at least "
                "%.0f: the intervals are widened by a factor of %.2f and use the validation split too",
                len(np.unique(days_of_errors)),
                days,
                ENOUGH_DAYS,
                factor,
            )
        self.oldest_gap.fill_(largest_gap_age(used))

    def recalibrate(self, calibration: Sequence[CalibrationBatch]) -> None:
        with torch.no_grad():
            self.drift.reset()
            pairs = [self.widths(one.batch, one.std) for one in calibration]
            log_half, log_std = (torch.cat(part).double().log() for part in zip(*pairs, strict=True))
            log_errors = joined_errors(calibration).double().abs().clamp(min=1e-9).log()
            weights = torch.cat([one.weights() for one in calibration]).double()
        # relative to the intervals without an earlier adjustment
        self.drift.fit(log_half, log_std, log_errors, weights, self.level)
        self.oldest_gap.clamp_(min=largest_gap_age(calibration))

    def fit_correlation(self, *splits: Sequence[CalibrationBatch]) -> None:
        """Fit the correlation of the errors over their standard deviations.

        Args:
            splits: Errors of several splits. The split that the scale was fitted on is used too: correlations need
                many errors.
        """
        products = []
        for batches in splits:
            stds = torch.cat([self.widths(one.batch, one.std)[1] for one in batches])
            errors = joined_errors(batches) / stds
            places, days = (np.concatenate(part) for part in zip(*((o.places, o.days) for o in batches), strict=True))
            products.append(pair_products(errors.numpy(), places, days))
        fitted = Correlation.fit(products)
        self.correlation[:, : len(fitted.weights)] = torch.tensor([fitted.weights, fitted.lengths, fitted.days])


def _scaled(batches: Sequence[CalibrationBatch], log_scales: Sequence[Tensor]) -> Tensor:
    """Return errors over their expected sizes, (N,) float64."""
    return joined_errors(batches).double() / torch.cat([*log_scales]).double().exp()
