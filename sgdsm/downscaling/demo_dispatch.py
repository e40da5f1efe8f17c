"""DISPATCH on the built-in region, where soil moisture of 1 km is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgdsm.core.bilinear import averaged, refined
from sgdsm.downscaling.dispatch import Edges, disaggregated, evaporative_efficiency, scene_efficiency, vegetation_cover
from sgdsm.downscaling.model import Downscaler
from sgdsm.evaluation.fine import BILINEAR, fine_scores, fine_states
from sgdsm.evaluation.metrics import State
from sgdsm.sources.simulation.region import Region

# with the edges of the scene of a day, and with the true temperatures of dry and wet soil
LINE, ARCCOS, KNOWN = "dispatch", "dispatch, arccos", "dispatch, known ends"


def dispatch_scores(
    region: Region, numbers: Sequence[int], model: Downscaler, own: str, factor: int
) -> tuple[dict[str, dict[str, float]], dict[str, np.ndarray]]:
    """Score DISPATCH and a regressor at 1 km, beside the bilinear map of the coarse values.

    Args:
        region: The region, which is one scene.
        numbers: Days, from the first of the region.
        model: Trained at 1 km; it does not look at the coarse soil moisture.
        own: What it is called.
        factor: Cells of 1 km along a side of a coarse one.

    Returns:
        The scores by name, of cells that all methods tell; and the maps of the first day.
    """
    states: dict[str, State] = {}
    pictures: dict[str, np.ndarray] = {}
    for number in numbers:
        seen = region.coarse(number)
        maps = {**_maps(region, number, seen, factor)}
        rows = np.stack([seen[name].reshape(-1) for name in model.predictors], -1)
        maps[own] = model.estimate(rows)["mean"].reshape(seen["SM"].shape)
        for name, state in fine_states(seen["SM"], maps).items():
            states[name] = states[name] + state if name in states else state
        pictures = pictures or {"truth": seen["SM"], **{name: maps[name] for name in (BILINEAR, LINE, KNOWN)}}
    return fine_scores(states), pictures


def _maps(region: Region, number: int, seen: dict[str, np.ndarray], factor: int) -> dict[str, np.ndarray]:
    shape = seen["SM"].shape
    coarse = averaged(seen["SM"], factor)
    row, column = np.indices(shape) // factor
    cell = (row * coarse.shape[1] + column).reshape(-1)
    temperature = seen["LST_day"].reshape(-1).astype(np.float64)
    cover = vegetation_cover(seen["ndvi"]).reshape(-1)
    fitted, _ = scene_efficiency(temperature, cover, np.zeros(cell.size, int))
    known = evaporative_efficiency(temperature, cover, Edges(*region.end_temperatures(number)))
    values = coarse.reshape(-1)
    found = {
        LINE: disaggregated(values, fitted, cell),
        ARCCOS: disaggregated(values, fitted, cell, "arccos"),
        KNOWN: disaggregated(values, known, cell),
    }
    return {BILINEAR: refined(coarse, factor)} | {name: one.reshape(shape) for name, one in found.items()}
