"""One product of several filled files, with a flag that tells which of them each value comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.axes import DAY
from sgdsm.core.cube import suggest
from sgdsm.core.errors import CubeError
from sgdsm.core.filled import COVARIATES, NONE, OBSERVED, OBSERVED_NAME, SM_FILLED, SM_SOURCE, maps_of
from sgdsm.evaluation.independence import covariates_of

SM_PART = "sm_part"  # variable of the joined file
OBSERVED_PART = 1  # its code of observed values; those of the parts follow
WITHOUT_PASS = "_without_pass"  # ends the meaning of a value of a part whose sensor had no pass


def joined(
    parts: Mapping[str, xr.Dataset], passes: Mapping[str, xr.DataArray] | None = None, without_pass: bool = False
) -> xr.Dataset:
    """Return one filled Dataset of several ones, value by value.

    Observed values come first, then those of the first part whose sensor had a pass there, and perhaps then those of
    the first part that has a value. CASM (Skulovich and Gentine, Sci. Data 10, 154, 2023) joins its parts from SMOS
    and AMSR so.

    Args:
        parts: Name -> filled Dataset in chunks, (T, H, W) on one grid; the preferred one first. Days may differ.
        passes: Name -> variable that has a value where the sensor of that part measured, on days of any period. None:
            the order of the parts alone decides.
        without_pass: With passes: True to take values where no sensor had one too. Of a network that knows nothing but
            the pass these are the seasonal cycle.

    Returns:
        The variables that all parts have, of all their days, lazy, and `sm_part` with its flags. Attributes are those
        that are the same in all parts, and the covariates of all.

    Raises:
        CubeError: If a part is not a filled Dataset, or if grids, steps or units differ.
    """
    preferred, first = next(iter(parts.items()))
    for name, part in parts.items():
        _check(name, part, first)
    time = np.unique(np.concatenate([part["time"].values for part in parts.values()]))
    steps = np.diff(time) / DAY
    if len(steps) and (steps != steps[0]).any():
        late = time[1:][steps != steps[0]][0]
        raise CubeError(f"the days of the parts do not follow one another at equal steps, at {str(late)[:10]}")
    whole = {name: _reindexed(part, time) for name, part in parts.items()}
    there = {name: part[SM_FILLED].notnull() for name, part in whole.items()}
    # (meaning, part, where it has a value), the preferred one first
    choices = [("observed", name, whole[name][SM_SOURCE] == OBSERVED) for name in parts]
    if passes is not None:
        for name in parts:
            seen = passes[name].notnull().reindex(time=time, fill_value=False)
            choices.append((name, name, there[name] & seen.drop_vars([c for c in seen.coords if c not in seen.dims])))
    if passes is None or without_pass:
        suffix = "" if passes is None else WITHOUT_PASS
        choices += [(f"{name}{suffix}", name, there[name]) for name in parts]
    meanings = ["none", *dict.fromkeys(meaning for meaning, *_ in choices)]
    code = xr.zeros_like(there[preferred], dtype=np.int8)
    number = code.copy()  # of the choice + 1
    for k, (meaning, _, valid) in reversed(list(enumerate(choices, 1))):
        code = xr.where(valid, np.int8(meanings.index(meaning)), code)
        number = xr.where(valid, np.int8(k), number)
    made: dict[str, xr.DataArray] = {}
    for name in _shared(parts):
        variable = first[name]
        if "time" not in variable.dims:
            made[name] = variable
            continue
        values = xr.full_like(whole[preferred][name], np.nan if variable.dtype.kind == "f" else 0)
        for k, (_, source, _) in enumerate(choices, 1):
            values = xr.where(number == k, whole[source][name], values)
        made[name] = values.astype(variable.dtype).transpose(*variable.dims)
        made[name].attrs = _same_attrs([part[name] for part in parts.values()])
    made[SM_PART] = code.astype(np.int8).transpose(*first[SM_FILLED].dims)
    made[SM_PART].attrs = {
        "long_name": "part that sm_filled comes from",
        "flag_values": np.arange(len(meanings), dtype=np.int8),
        "flag_meanings": " ".join(meanings),
    }
    attrs = _same_attrs(list(parts.values())) | _all_covariates(parts)
    return xr.Dataset(made, attrs=attrs).assign_coords(
        {c: first[c] for c in first.coords if "time" not in first[c].dims}
    )


def _check(name: str, part: xr.Dataset, first: xr.Dataset) -> None:
    """Raise CubeError for a part that is no filled Dataset, or not on the grid and in the units of the first one."""
    try:
        values = maps_of(part)
    except CubeError as error:
        raise CubeError(f"{name}: {error}") from error
    if SM_SOURCE not in part:
        raise CubeError(f"{name}: no variable '{SM_SOURCE}': expected what predict.py writes")
    for dim in first[SM_FILLED].dims[1:]:
        if dim not in values.dims or not np.array_equal(values[dim].values, first[dim].values):
            raise CubeError(f"{name}: '{dim}' is not that of the first part: put the parts on one grid")
    units, expected = (dataset[SM_FILLED].attrs.get("units", "1") for dataset in (part, first))
    if units != expected:
        raise CubeError(f"{name}: sm_filled is in '{units}', expected '{expected}' as in the first part")


def _reindexed(part: xr.Dataset, time: np.ndarray) -> xr.Dataset:
    """Return a part on all days; where it has none, sm_filled is NaN and sm_source 0."""
    moving = part[[str(n) for n in part.data_vars if "time" in part[n].dims]]
    return moving.reindex(time=time, fill_value={SM_SOURCE: np.int8(NONE)} | _fills(moving))


def _fills(dataset: xr.Dataset) -> dict[str, Any]:
    return {str(n): dataset[n].dtype.type(0) for n in dataset.data_vars if dataset[n].dtype.kind in "iub"}


def _shared(parts: Mapping[str, xr.Dataset]) -> list[str]:
    """Return the names of the variables that all parts have, in the order of the first."""
    first, *others = parts.values()
    names = [str(name) for name in first.data_vars if all(name in other for other in others)]
    observed = str(first[SM_FILLED].attrs.get(OBSERVED_NAME, ""))
    if any(str(part[SM_FILLED].attrs.get(OBSERVED_NAME, "")) != observed for part in others):
        raise CubeError(f"the parts name their observed values differently{suggest(observed, names)}: rename them")
    return names


def _all_covariates(parts: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """Return the attribute that lists the covariates of all parts, or none where some part does not say them."""
    found = [covariates_of(part.attrs) for part in parts.values()]
    if None in found:
        return {}
    return {COVARIATES: json.dumps({name: product for one in found for name, product in (one or {}).items()})}


def _same_attrs(holders: list[Any]) -> dict[str, Any]:
    """Return the attributes that are the same in all: a correlation of errors, say, is not that of other parts."""
    first, *others = (holder.attrs for holder in holders)
    return {k: v for k, v in first.items() if all(k in o and np.array_equal(o[k], v) for o in others)}
