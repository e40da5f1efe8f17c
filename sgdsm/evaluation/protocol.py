"""Evaluation protocol of a run, as files: which values were hidden, and which the filler could see.

Which values are hidden follows from the splits alone, not from the model. With the files, any product can be scored by
the same protocol.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sgdsm.core.cube import ROLES, by_role, precipitation_of, seen_only, target_of
from sgdsm.data.held_out import HIDDEN as HIDDEN
from sgdsm.data.held_out import VISIBLE as VISIBLE
from sgdsm.data.held_out import masks_digest
from sgdsm.data.splits import Scenario, Split
from sgdsm.evaluation.strata import air_temperature_of, potential_evaporation_of

OF_TRAINING = ("fraction", "learn", "match")  # settings of the gaps that the scored masks do not depend on
FILLED, SCORES = "filled.nc", "scores.nc"
KINDS_OF_SPLIT = {
    "test": "never seen in training",
    "validation": "kept out of the fit, but choices may rest on them: not a test",
}


def scored_split(split: Split) -> str:
    """Return the split that a run is scored on: 'test', or 'validation' where no values are kept for a test."""
    return "test" if "test" in split.scenarios else "validation"


def write_files(folder: Path, cube: xr.Dataset, scenario: Scenario, learned: np.ndarray) -> None:
    """Write the files HIDDEN and VISIBLE of a scenario.

    Args:
        folder: Where to write them.
        cube: The cube that is scored.
        scenario: Which of its values are hidden and seen.
        learned: Which values the run was trained with, (T, H, W) bool; kept in VISIBLE.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = target_of(cube)
    visible = seen_only(cube, scenario.seen)
    covariates = cube[by_role(cube, "dynamic")]
    weather = (precipitation_of(cube), air_temperature_of(covariates), potential_evaporation_of(covariates))
    # maps that name their classes: scores are by class too
    maps = [name for name in by_role(cube, "static") if "flag_meanings" in cube[name].attrs]
    visible = visible[[str(target.name), *(name for name in weather if name), *by_role(cube, "land"), *maps]]
    visible["learned"] = (target.dims, learned, {"long_name": "whether a value was learned from"})
    for name, dataset in {HIDDEN: _hidden(target, scenario), VISIBLE: visible}.items():
        _save(dataset, folder / name)


def write_question(folder: Path, cube: xr.Dataset, scenario: Scenario, about: dict[str, str | int]) -> None:
    """Write the files HIDDEN and VISIBLE of a question for anybody: VISIBLE is a whole cube, with all covariates.

    Args:
        folder: Where to write them.
        cube: The cube that is scored.
        scenario: Which of its values are hidden and seen.
        about: Attributes of both files; the digest of the masks is added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    attrs = {"Conventions": "CF-1.10", **about, "digest": masks_digest([scenario])}
    visible = seen_only(cube, scenario.seen)
    visible = visible[[name for role in ROLES for name in by_role(cube, role)]]
    for name, dataset in {VISIBLE: visible, HIDDEN: _hidden(target_of(cube), scenario)}.items():
        _save(dataset.assign_attrs(attrs), folder / name)


def _hidden(target: xr.DataArray, scenario: Scenario) -> xr.Dataset:
    masks = {
        kind: (target.dims, mask, {"long_name": f"hidden values: {kind}"}) for kind, mask in scenario.hidden.items()
    }
    hidden = xr.Dataset(masks, coords=target.coords)
    hidden["truth"] = target.astype(np.float32)
    hidden.attrs["target"] = str(target.name)
    return hidden


def protocol_record(
    split_name: str,
    scenarios: Sequence[Scenario],
    data: str,
    splits: dict[str, Any],
    gaps: dict[str, Any],
    learned_from: dict[str, str],
) -> dict[str, Any]:
    """Return what must agree for two runs to be compared.

    Args:
        split_name: Of the split that is scored.
        scenarios: Hidden and seen values of each part of the cube that is scored.
        data: Fingerprint of the cube.
        splits: Settings of the splits.
        gaps: Settings of the gaps.
        learned_from: What came from another run, `weights` or `targets`, and its digest. The splits of this run do
            not apply to that one.

    Returns:
        The record, for metrics.json; its `digest` is of all of it, the hidden values included.
    """
    gaps = {key: value for key, value in gaps.items() if key not in OF_TRAINING}
    kinds = scenarios[0].hidden
    record = {
        "scored_split": split_name,
        "splits": splits,
        "gaps": gaps,
        "data": data,
        "hidden": {kind: sum(int(scenario.hidden[kind].sum()) for scenario in scenarios) for kind in kinds},
        "seen": sum(int(scenario.seen.sum()) for scenario in scenarios),
        "masks": masks_digest(scenarios),
        **({"learned_from": learned_from} if learned_from else {}),
    }
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]
    return {**record, "digest": digest}


def kind_of_split(protocol: dict[str, Any]) -> str:
    """Return a phrase on how the scored values of a run relate to its training."""
    if protocol.get("learned_from"):
        return f"{' and '.join(protocol['learned_from'])} came from another run, which may have seen them: not a test"
    if "random" in protocol["hidden"]:
        return "single values at random: it leaks, values around them were learned from"
    return KINDS_OF_SPLIT[protocol["scored_split"]]


def _save(dataset: xr.Dataset, path: Path) -> None:
    dataset = dataset.copy()
    # encodings are of the file that the cube was read from: packing and chunks do not fit here
    dataset["time"].encoding.clear()
    dataset["time"].attrs.pop("bounds", None)
    encoding = {str(n): {"zlib": True, "complevel": 1} for n in dataset.data_vars}
    for name in dataset.data_vars:
        dataset[name].encoding.clear()
        dataset[name].attrs = {k: v for k, v in dataset[name].attrs.items() if k not in ("_FillValue", "grid_mapping")}
    # whole or not at all
    partial = path.with_name(f"{path.name}.partial")
    dataset.to_netcdf(partial, encoding=encoding)
    partial.replace(path)
