"""Calibration of a fitted filler, from its errors at held-out values, filled as a product would be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sgdsm.core.cube import target_of
from sgdsm.core.random import Stream
from sgdsm.core.specification import TARGET
from sgdsm.core.tiling import cut
from sgdsm.data.batch import Batch, Scene
from sgdsm.data.datamodule import windows_with
from sgdsm.inference.fill import fill_whole
from sgdsm.models.base import GapFiller, Window
from sgdsm.models.uncertainty.calibrated import Calibrated, CalibrationBatch
from sgdsm.models.uncertainty.correlation import positions
from sgdsm.models.uncertainty.wrappers import wrap
from sgdsm.training.task import Part, TrainingTask

SOME = 10_000  # values for the area of applicability


def add_uncertainty(task: TrainingTask, spec: dict[str, Any]) -> GapFiller:
    """Wrap a fitted filler with its uncertainty.

    A conformal wrapper is fitted to the errors at held-out values, filled as a product would be: its scale on the
    validation split, its quantiles on the calibration split.

    Args:
        task: What the filler learned from.
        spec: Specification of the wrapper, or one without `_target_`: no uncertainty.

    Returns:
        The wrapper around `task.filler`, or that filler.
    """
    if spec.get(TARGET) is None:
        return task.filler
    wrapper = wrap(spec, task.filler)
    if isinstance(wrapper, Calibrated):
        validation, calibration = (
            [
                one
                for part in task.parts
                for one in _calibration_batches(wrapper.filler, part, split, task.options.predicting())
            ]
            for split in ("validation", "calibration")
        )
        known = [replace(part.data.scene, wanted=_some(part.split.base)) for part in task.parts]
        wrapper.fit_to_errors(validation, calibration, (batch for scene in known for _, batch in _pieces(scene)))
    return wrapper.eval()


def _calibration_batches(filler: GapFiller, part: Part, split: str, trainer: dict[str, Any]) -> list[CalibrationBatch]:
    scene = part.data.scene_of(part.split.scenarios[split])
    return predict_held_out(filler, scene, positions(target_of(part.cube)), trainer)


def predict_held_out(
    filler: GapFiller, scene: Scene, places: np.ndarray, trainer: dict[str, Any], weight: np.ndarray | None = None
) -> list[CalibrationBatch]:
    """Predict the hidden values of a scene, filling it as a product would be.

    Args:
        filler: Fitted.
        scene: The hidden values are its wanted ones.
        places: Of the cells, (H, W, 3), see `correlation.positions`.
        trainer: As in `fill_whole`.
        weight: Of each value in the calibration, (T, H, W); None: all alike.

    Returns:
        Batches with the errors at the hidden values, in the target's units.
    """
    fields = fill_whole(filler, scene, trainer)
    found = []
    for start, batch in _pieces(scene):
        sizes = batch.sm.shape[2:]

        def window(values: np.ndarray, start: Any = start, sizes: Any = sizes) -> Tensor:
            return torch.from_numpy(np.nan_to_num(cut(values, start, sizes, scene.record.circular)))[None, None]

        errors = window(fields["mean"] - scene.record.values)[batch.wanted]
        std = window(fields["std"]) if "std" in fields else None
        day, row, column = np.nonzero(batch.wanted[0, 0].numpy())
        where = (start[1] + row) % len(places), (start[2] + column) % places.shape[1]
        own = None if weight is None else window(weight)[batch.wanted]
        found.append(CalibrationBatch(batch, errors, std, scene.record.days[start[0] + day], places[where], own))
    return found


def _pieces(scene: Scene) -> Iterator[tuple[tuple[int, int, int], Batch]]:
    """Yield the windows of a scene with wanted values, each the whole series of a few cells, and where they start."""
    axes = Window(None, 8, None, 0).tile(scene.seen.shape, scene.record.circular)
    for start in windows_with(scene.wanted, axes, (0, 0, 0), share=0.0):
        yield start, scene.batch([start], axes, cores=True)


def _some(known: np.ndarray) -> np.ndarray:
    """Return a random sample of the known values, both (T, H, W) bool."""
    chosen = np.zeros(known.size, bool)
    where = np.flatnonzero(known)
    chosen[where[np.random.default_rng(Stream.APPLICABILITY).permutation(len(where))[:SOME]]] = True
    return chosen.reshape(known.shape)
