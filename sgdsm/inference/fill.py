"""Fill a cube slab by slab: memory is one slab, whatever the number of years.

A slab is a box in time and in rows (all columns). While one is filled, the next is read and the last is written. Of
what is read only the cells near land are kept; windows are cut, filled, blended and merged with what was observed on
the device of the filler. Several processes (Lightning's devices and num_nodes) share the slabs and fill one output.
Slabs of the same rows follow each other. Before the first of them, one pass over the target of these rows gathers what
every slab needs to know of the whole record: the climatology of the cells, and the last seen value before and the first
after each slab. So the result does not depend on the slabs.

The parts: `slabs` (how a cube is cut), `survey` (the pass over the target), `reader` (a slab from the file), `packed`
(its cells, and windows of them), `blend` (overlapping windows), `slab_filler` (the Lightning module), `plan` (puts them
together), `schema` and `writers` (the output).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import xarray as xr
from torch.utils.data import DataLoader

from sgdsm.data.batch import Scene
from sgdsm.inference.plan import plan_filling
from sgdsm.inference.slab_filler import SceneFiller
from sgdsm.inference.writers import Writer
from sgdsm.models.base import GapFiller, interruptible, quiet_lightning

QUIET = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}


def fill_cube(
    cube: xr.Dataset,
    filler: GapFiller,
    writer: Writer,
    *,
    trainer: dict[str, Any] | None = None,
    **settings: Any,
) -> None:
    """Fill the gaps of a cube and hand the result to a writer.

    Args:
        cube: Cube with gaps; what the filler may see.
        filler: A fitted gap filler.
        writer: Destination of the slabs, see `sgdsm.inference.writers`.
        trainer: Arguments of `pytorch_lightning.Trainer` (accelerator, devices, precision, ...).
        **settings: Arguments of `plan_filling`.

    Raises:
        CubeError: As `plan_filling`.
        ConfigError: As `plan_filling`, or when the output belongs to another run or to other data.
    """
    module = plan_filling(cube, filler, writer, **settings)
    quiet_lightning()
    runner = pl.Trainer(**{**QUIET, **(trainer or {})}, use_distributed_sampler=False)
    try:
        with interruptible():
            runner.predict(module, return_predictions=False)
    finally:
        module.writing.shutdown(wait=True)
    module.last_write.result()
    # the first process completes the output only when all have written their slabs
    runner.strategy.barrier()
    if runner.is_global_zero:
        module.finish()


def fill_whole(filler: GapFiller, scene: Scene, trainer: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
    """Fill the wanted values of a whole record in memory, with the result that `fill_cube` would give.

    Args:
        filler: A fitted gap filler.
        scene: The record, with its seen and its wanted values.
        trainer: Arguments of `pytorch_lightning.Trainer`.

    Returns:
        The fields of `Filled` that the filler gives, each (T, H, W), see `fill_scene`.
    """
    quiet_lightning()
    runner = pl.Trainer(**{**QUIET, **(trainer or {})})
    with interruptible():
        predictions = runner.predict(
            SceneFiller(filler),
            DataLoader([scene], batch_size=None),  # type: ignore[arg-type]
        )
    fields: dict[str, np.ndarray] = predictions[0]  # type: ignore[index, assignment]
    return fields
