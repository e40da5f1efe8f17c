"""From windows to rows of a table, for models that learn from rows.

Features of a value: the nearest seen values of its cell before and after it, the rain between them, the values of its
neighbours, covariates of the day and of the days before it, season and maps. Days are steps of the cube. No feature
reaches farther than `HALO_DAYS` days and `HALO_CELLS` cells, so the result does not depend on the tiles. With
`Inputs.causal` no feature reaches ahead: those of later days are missing everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, pad

from sgdsm.data.batch import Batch
from sgdsm.data.normalization import Inputs

HALO_DAYS = 40  # no feature depends on days farther away (REACH_DAYS, and some lags)
HALO_CELLS = 7  # nor on cells farther away: the largest of BOXES
REACH_DAYS = 32  # days; seen values farther away count as missing
BOXES = (1, 3, 7)  # radii of squares of neighbours, cells
MEMORIES = (3, 10, 30)  # days over which covariates are averaged
SAME = 1e-3  # of the spread of the anomalies: a smaller change is none
NAN = float("nan")
LAGS = (1, 2, -1)  # days; -1 is the day after
# by the first word of a feature's name
SOURCES = {
    **dict.fromkeys(("line", "previous", "next"), "seen in the cell"),
    **dict.fromkeys(("seen", "mean", "departure"), "seen around it"),
    **dict.fromkeys(("repeats", "change"), "repeat cycle"),
    **dict.fromkeys(("cos", "sin"), "season"),
    **dict.fromkeys(("cell", "climatology"), "climatology"),
}


def to_rows(batch: Batch, mask: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor, list[str]]:
    """Return rows of the values where a mask is True.

    Args:
        batch: Windows.
        mask: Values to return, (B, 1, T, H, W) bool.
        inputs: What the filler was fitted for.

    Returns:
        features: (N, F) float32, NaN where one is missing.
        first guess: (N,), as scaled anomalies: the line between the nearest seen values of the cell, 0 (climatology)
        where
            there are none.
        names: Of the F features.
    """
    line = own_line(batch, not inputs.causal)
    # where the rows lie in the values of a feature, by its shape: found once, for all features of that shape
    places: dict[torch.Size, Tensor] = {}

    def take(values: Tensor) -> Tensor:
        if values.shape not in places:
            numbers = torch.arange(values.numel(), device=mask.device).view(values.shape)
            places[values.shape] = numbers.expand_as(mask)[mask]
        return values.reshape(-1)[places[values.shape]]

    names, columns = [], []
    for name, values in features(batch, inputs, line):
        names.append(name)
        columns.append(take(values))
    # turned at the end: writing columns would touch every row for each of them
    return torch.stack(columns).t().contiguous(), torch.nan_to_num(take(line)), names


def features(batch: Batch, inputs: Inputs, line: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield name and values of each feature, broadcastable to (B, 1, T, H, W), NaN where one is missing."""
    yield from gap_features(batch, line, not inputs.causal)
    yield from repeat_features(batch, inputs)
    yield from _covariates(batch, inputs)
    for k, name in enumerate(("cos_year", "sin_year", "cos_half_year", "sin_half_year")):
        yield name, batch.season[:, k, None, :, None, None]
    for k, name in enumerate((*inputs.static, "cell_mean", "cell_log_spread")):
        yield name, batch.static[:, k, None, None]
    yield "climatology", batch.climatology


def gap_features(batch: Batch, line: Tensor, ahead: bool) -> Iterator[tuple[str, Tensor]]:
    """Yield the features that come from soil moisture alone: of the cell, then of its neighbourhood."""
    yield from _own_cell(batch, line, ahead)
    yield from _neighbours(batch, line, ahead)


def gap_channels(batch: Batch, line: Tensor, inputs: Inputs) -> list[Tensor]:
    """Return `gap_features` and `repeat_features` for a network: values, 0 where missing, and masks.

    Args:
        batch: Windows.
        line: What `own_line` returns.
        inputs: What the filler was fitted for.

    Returns:
        Channels, (B, 1, T, H, W) each; `gap_channel_count` is their number.
    """
    channels = []
    for name, values in chain(gap_features(batch, line, not inputs.causal), repeat_features(batch, inputs)):
        missing = values.isnan()
        filled = torch.where(missing, 0.0, values)
        # ages span 1 to 32 days: their logarithm suits a network
        channels += [torch.log1p(filled) if name.endswith("days") else filled, missing.to(filled.dtype)]
    return channels


def gap_channel_count(inputs: Inputs) -> int:
    """Return the number of `gap_channels`."""
    return 2 * (9 + 5 * len(BOXES) + (8 if inputs.repeat_cycle else 0))


def repeat_features(batch: Batch, inputs: Inputs) -> Iterator[tuple[str, Tensor]]:
    """Yield features of the days one, two, ... repeat cycles of the orbit before and after each day.

    They are given only if the orbit is known to repeat: if the map then repeated that of the day before or after (a
    composite without a new overpass), and how much it changed. They predict how the product is composited, not the
    soil.
    """
    cycle, ahead = inputs.repeat_cycle, not inputs.causal
    if not cycle:
        return
    values = batch.climatology / inputs.anomaly_scale + batch.sm
    pair = batch.seen & _shift(batch.seen.to(values.dtype), 1).nan_to_num().bool()
    # only where both days were seen
    change = torch.where(pair, (values - _shift(values, 1).nan_to_num()).abs(), 0.0)
    same = (pair & (change < SAME)).to(values.dtype)
    pairs = pair.to(values.dtype)
    pairs, same, change = (_over_cycles(x, cycle, ahead) for x in (pairs, same, change))
    for radius in (1, 3):
        weight = _box(pairs, radius)
        for name, total in (("repeats", same), ("change", change)):
            mean = _ratio(_box(total, radius), weight)
            yield f"{name}_{radius}_before", mean
            yield f"{name}_{radius}_after", _shift(mean, -1) if ahead else torch.full_like(mean, NAN)


def own_line(batch: Batch, ahead: bool = True) -> Tensor:
    """Return the line between the seen values of the cell strictly before and after each day.

    If there is only one of them, it is that value; NaN if there is none within REACH_DAYS.

    Args:
        batch: Windows.
        ahead: False for the last seen value alone.

    Returns:
        Scaled anomalies, (B, 1, T, H, W).
    """
    before, days_before = previous(batch.sm, batch.seen)
    if not ahead:
        return before
    after, days_after = following(batch.sm, batch.seen)
    # linear in time between the two
    share = days_before / (days_before + days_after)
    both = before + (after - before) * share
    return torch.where(both.isnan(), torch.where(before.isnan(), after, before), both)


def previous(values: Tensor, seen: Tensor, steps: int = 1) -> tuple[Tensor, Tensor]:
    """Return the last seen value, or an earlier one, strictly before each day.

    Args:
        values: (B, 1, T, H, W).
        seen: (B, 1, T, H, W) bool.
        steps: 1 for the last seen value, 2 for the one before it, ...

    Returns:
        The value, and how many days ago it was, both (B, 1, T, H, W); NaN beyond REACH_DAYS.
    """
    index = _previous_index(seen)
    for _ in range(steps - 1):
        # the last seen day before the last seen day
        index = torch.where(index >= 0, index.gather(2, index.clamp(min=0)), -1)
    days = torch.arange(seen.shape[2], device=seen.device)[:, None, None]
    age = (days - index).to(values.dtype)
    known = (index >= 0) & (age <= REACH_DAYS)
    value = values.gather(2, index.clamp(min=0))
    return torch.where(known, value, NAN), torch.where(known, age, NAN)


def following(values: Tensor, seen: Tensor, steps: int = 1) -> tuple[Tensor, Tensor]:
    """Return the same as `previous`, strictly after each day."""
    value, age = previous(values.flip(2), seen.flip(2), steps)
    return value.flip(2), age.flip(2)


def _previous_index(seen: Tensor) -> Tensor:
    days = torch.arange(seen.shape[2], device=seen.device)[:, None, None]
    last = _largest_so_far(torch.where(seen, days, -1))
    return torch.cat([torch.full_like(last[:, :, :1], -1), last[:, :, :-1]], 2)


def _largest_so_far(values: Tensor) -> Tensor:
    if not torch.compiler.is_exporting():
        return values.cummax(2).values
    # ONNX has no such operator
    days = 1
    while days < values.shape[2]:
        values = torch.cat([values[:, :, :days], torch.maximum(values[:, :, days:], values[:, :, :-days])], 2)
        days *= 2
    return values


def _own_cell(batch: Batch, line: Tensor, ahead: bool) -> Iterator[tuple[str, Tensor]]:
    yield "line", line
    for steps in (1, 2):
        value, age = previous(batch.sm, batch.seen, steps)
        yield f"previous_{steps}", value
        yield f"previous_{steps}_days", age
        nothing = torch.full_like(value, NAN)
        value, age = following(batch.sm, batch.seen, steps) if ahead else (nothing, nothing)
        yield f"next_{steps}", value
        yield f"next_{steps}_days", age


def _neighbours(batch: Batch, line: Tensor, ahead: bool) -> Iterator[tuple[str, Tensor]]:
    seen = batch.seen.to(batch.sm.dtype)
    departs = batch.seen & ~line.isnan()
    departure = torch.where(departs, batch.sm - torch.nan_to_num(line), 0.0)
    weight = departs.to(batch.sm.dtype)
    for radius in BOXES:
        share = _box(seen, radius)
        yield f"seen_share_{radius}", share
        yield f"mean_{radius}", _ratio(_box(batch.sm, radius), share)
        # how much wetter neighbours are than their own line: rain that the cell itself did not show
        mean = _ratio(_box(departure, radius), _box(weight, radius))
        for shift, when in ((0, "today"), (1, "yesterday"), (-1, "tomorrow")):
            yield (
                f"departure_{radius}_{when}",
                _shift(mean, shift) if ahead or shift >= 0 else torch.full_like(mean, NAN),
            )


def _covariates(batch: Batch, inputs: Inputs) -> Iterator[tuple[str, Tensor]]:
    for c, name in enumerate(inputs.dynamic):
        present = batch.present[:, c : c + 1]
        values = torch.where(present, batch.dynamic[:, c : c + 1], NAN)
        yield name, values
        for lag in LAGS:
            later = inputs.causal and lag < 0
            yield f"{name}_lag{lag}", torch.full_like(values, NAN) if later else _shift(values, lag)
        filled = batch.dynamic[:, c : c + 1]
        # means over the values that are there
        weight = present.to(filled.dtype)
        for days in MEMORIES:
            yield f"{name}_mean{days}", _ratio(_trailing(filled, days), _trailing(weight, days))
        if name == inputs.precipitation:
            # above its value on dry days, so that it adds up
            dry = float(inputs.scalers[name](np.zeros(1, np.float32))[0])
            yield from _rain_between((filled - dry) * weight, batch.seen, name, not inputs.causal)


def features_of(covariate: str, ahead: bool = True) -> list[str]:
    """Return the names of the features that are made of a dynamic covariate.

    Args:
        covariate: Its name.
        ahead: Include those of later days.
    """
    lags = [f"_lag{lag}" for lag in LAGS if lag > 0 or ahead]
    means = [f"_mean{days}" for days in MEMORIES]
    return [covariate + end for end in ("", *lags, *means, "_since_previous", *(["_until_next"] if ahead else []))]


def source_of(feature: str, inputs: Inputs) -> str:
    """Return what a feature is made of: the name of a covariate, or one of the values of SOURCES."""
    for name in inputs.dynamic:
        if feature in features_of(name):
            return name
    return feature if feature in inputs.static else SOURCES[feature.split("_")[0]]


def _rain_between(amount: Tensor, seen: Tensor, name: str, ahead: bool) -> Iterator[tuple[str, Tensor]]:
    days = torch.arange(seen.shape[2], device=seen.device)[:, None, None]
    # the sum from a seen value on is a difference of running sums, for both directions of time
    for when, turn in (("since_previous", False), ("until_next", True)):
        if turn and not ahead:
            yield f"{name}_{when}", torch.full_like(amount, NAN)
            continue
        series, mask = (amount.flip(2), seen.flip(2)) if turn else (amount, seen)
        total = series.cumsum(2)
        index = _previous_index(mask)
        known = (index >= 0) & (days - index <= REACH_DAYS)
        since = total - torch.where(known, total.gather(2, index.clamp(min=0)), NAN)
        if turn:
            since = (since - series).flip(2)
        yield f"{name}_{when}", since


def _shift(values: Tensor, days: int) -> Tensor:
    """Return the values of `days` days ago (negative: ahead), NaN outside the window."""
    if abs(days) >= values.shape[2]:
        return torch.full_like(values, NAN)
    if days > 0:
        return pad(values[:, :, :-days], (0, 0, 0, 0, days, 0), value=NAN)
    return pad(values[:, :, -days:], (0, 0, 0, 0, 0, -days), value=NAN) if days else values


def _trailing(values: Tensor, days: int) -> Tensor:
    """Return sums over the last `days` days, today included."""
    total = values.cumsum(2)
    return total - pad(total, (0, 0, 0, 0, days, 0))[:, :, : values.shape[2]]


def _over_cycles(values: Tensor, cycle: int, ahead: bool) -> Tensor:
    """Return sums of the values whole cycles before and, if `ahead`, after each day, up to REACH_DAYS."""
    total = values.clone()
    for days in range(cycle, min(REACH_DAYS, values.shape[2] - 1) + 1, cycle):
        around = _shift(values, days).nan_to_num()
        total += around + _shift(values, -days).nan_to_num() if ahead else around
    return total


def _box(values: Tensor, radius: int) -> Tensor:
    """Return means over a square of 2 radius + 1 cells; cells outside the window count as 0."""
    size = 2 * radius + 1
    if values.device.type != "cpu" or torch.compiler.is_exporting():
        # padded here: pooling would refuse a window smaller than the square
        rows = avg_pool3d(pad(values, (0, 0, radius, radius)), (1, size, 1), 1)
        return avg_pool3d(pad(rows, (radius, radius)), (1, 1, size), 1)
    # the same sums in the same order, of whole fields at once
    rows = _mean_along(pad(values, (0, 0, radius, radius)), 3, size)
    return _mean_along(pad(rows, (radius, radius)), 4, size)


def _mean_along(values: Tensor, axis: int, size: int) -> Tensor:
    """Return means over `size` neighbours along an axis, which is shorter by size - 1 then."""
    count = values.shape[axis] - size + 1
    total = values.narrow(axis, 0, count).clone()
    for shift in range(1, size):
        total += values.narrow(axis, shift, count)
    return total.div_(size)


def _ratio(sums: Tensor, weights: Tensor) -> Tensor:
    return torch.where(weights > 1e-6, sums / weights.clamp(min=1e-6), NAN)
