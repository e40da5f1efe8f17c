"""Recalibration of intervals on recent values, to follow the drift of a sensor or a climate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from sgdsm.core.cube import target_of
from sgdsm.core.errors import ConfigError
from sgdsm.core.matching import warn_ranges
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream
from sgdsm.data.batch import Scene
from sgdsm.data.gaps import SPREAD, Gaps
from sgdsm.data.normalization import CellStatistics, Climatology
from sgdsm.data.record import read_record
from sgdsm.inference.plan import match
from sgdsm.models.uncertainty.calibrated import Calibrated, CalibrationBatch
from sgdsm.models.uncertainty.correlation import positions
from sgdsm.training.calibrate import predict_held_out

HIDDEN, FEWEST = 0.2, 300


def refit(
    cube: xr.Dataset,
    filler: Calibrated,
    gaps: Gaps,
    learned: str,
    days: int,
    half_life_days: float,
    seed: int = 0,
    climatology: Climatology | None = None,
) -> dict[str, Any]:
    """Fit a filler's intervals, in place, to the last days of a cube.

    Split conformal prediction with weights for values that are not exchangeable (Barber et al., Ann. Stat. 51, 816,
    2023). A fresh gap-like mask sample hides a share HIDDEN of the recent values, which are filled from the others as
    a product would be. See `Calibrated.recalibrate` for what is fitted.

    Args:
        cube: With recent values.
        filler: Its intervals are changed.
        gaps: How values are hidden.
        learned: Last day that the filler has learned from, like '2015-12-31'.
        days: At the end of the cube whose values may be hidden, as far as they are after `learned`.
        half_life_days: A value so many days older counts half.
        seed: Of the mask sample.
        climatology: Of the cells; None: that of the values that are not hidden.

    Returns:
        What was hidden, and by how much the interval changed.

    Raises:
        ConfigError: There are fewer than FEWEST such values.
    """
    cube, names = match(cube, filler.inputs)
    warn_ranges(cube, filler.inputs.ranges)
    record = read_record(cube, names)
    observed = record.observed & record.land
    last = int(record.days[-1])
    first = max(last - days, int(np.datetime64(learned, "D").astype(int))) + 1
    recent = observed & (record.days >= first)[:, None, None]
    orbit = Orbit(cube["lat"].values, cube["lon"].values) if "lat" in cube.dims else None
    rng = np.random.default_rng([Stream.RECALIBRATION, seed])
    hidden = np.logical_or.reduce(list(gaps.draw(observed, recent, rng, orbit, HIDDEN, part=SPREAD).values()))
    if hidden.sum() < FEWEST:
        raise ConfigError(
            f"recalibrate: {int(hidden.sum())} values could be hidden after {learned}, the last day that the run has "
            f"learned from; expected at least {FEWEST}: data= names a cube that goes on"
        )
    seen = observed & ~hidden
    if climatology is None:
        climatology = CellStatistics.of(record.values, seen, record.days).solve()
    scene = Scene.of(record, filler.inputs, seen, hidden, climatology)
    age = (last - record.days)[:, None, None] / half_life_days
    weight = np.broadcast_to(0.5**age, hidden.shape).astype(np.float32)
    calibration = predict_held_out(
        filler.filler, scene, positions(target_of(cube)), {"enable_progress_bar": False}, weight
    )
    with torch.no_grad():
        covered, before = _cover(filler, calibration)
        filler.recalibrate(calibration)
        _, after = _cover(filler, calibration)
    return {
        "first_day": str(np.datetime64(first, "D")),
        "last_day": str(np.datetime64(last, "D")),
        "half_life_days": half_life_days,
        "seed": seed,
        "hidden": int(hidden.sum()),
        "covered": covered,
        "width": after / before,
    }


def _cover(filler: Calibrated, judged: list[CalibrationBatch]) -> tuple[float, float]:
    """Return the weighted share of values inside the interval, and its mean width in the target's units."""
    widths = torch.cat([filler.widths(one.batch, one.std)[0] for one in judged])
    weights = torch.cat([one.weights() for one in judged])
    inside = torch.cat([one.errors for one in judged]).abs() <= widths
    return float((inside * weights).sum() / weights.sum()), float((widths * weights).sum() / weights.sum())
