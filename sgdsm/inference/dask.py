"""Fill on a dask cluster: each slab is a task, its worker reads, fills and writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xarray as xr

from sgdsm.core.dask_cluster import cluster, results
from sgdsm.inference.plan import plan_filling
from sgdsm.inference.slab_filler import SlabFiller
from sgdsm.inference.writers import Writer
from sgdsm.models.base import GapFiller


@dataclass
class SlabWork:
    """Fills slabs on a worker, which opens the cube itself.

    Args:
        open_cube: Opens the cube.
        filler: A fitted gap filler.
        writer: Destination of the slabs.
        settings: Arguments of `plan_filling`.
    """

    open_cube: Callable[[], xr.Dataset]
    filler: GapFiller
    writer: Writer
    settings: dict[str, Any]

    def __call__(self, number: int) -> None:
        """Read, fill and write the slab of this number."""
        module = self._module
        module.predict_step(module.reader[number], 0)
        module.last_write.result()

    def __getstate__(self) -> dict[str, Any]:
        # without the cached module: it holds an open cube, which cannot be sent to another process
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def _module(self) -> SlabFiller:
        module = plan_filling(self.open_cube(), self.filler, self.writer, **self.settings)
        module.writer.join(module.layout, module.plan)
        return module


def fill_on_cluster(
    cube: xr.Dataset, filler: GapFiller, writer: Writer, open_cube: Callable[[], xr.Dataset], **settings: Any
) -> None:
    """Fill a cube as `fill_cube` does, on the CPUs of the workers of a dask cluster (`sgdsm.core.dask_cluster`).

    Args:
        cube: Cube with gaps; what the filler may see.
        filler: A fitted gap filler.
        writer: Destination of the slabs; all workers must reach it.
        open_cube: Opens the same cube again, on a worker.
        **settings: Arguments of `plan_filling`.

    Raises:
        CubeError: As `plan_filling`.
        ConfigError: As `plan_filling`, or when there is no cluster.
    """
    module = plan_filling(cube, filler, writer, **settings)
    unfinished = module.unfinished(writer.begin(module.layout, module.plan))
    if unfinished:
        with cluster("inference.cluster=true") as client:
            for _ in results(client, SlabWork(open_cube, filler, writer, settings), unfinished, "slabs"):
                pass
    module.finish()
