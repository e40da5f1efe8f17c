"""Filling on a dask cluster: each slab is a task, its worker reads, fills and writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import xarray as xr

from sgdsm.core.dask_cluster import cluster, results
from sgdsm.inference.fill import SlabFiller, Writer, plan_filling
from sgdsm.models.base import GapFiller


@dataclass
class SlabWork:
    """Fills slabs of a cube that it opens itself, wherever it is."""

    open_cube: Callable[[], xr.Dataset]
    filler: GapFiller
    writer: Writer
    settings: dict[str, Any]

    def __call__(self, number: int) -> None:
        """Read, fill and write a slab."""
        module = self._module
        module.predict_step(module.task[number], 0)
        module.last_write.result()

    def __getstate__(self) -> dict[str, Any]:
        # an open cube does not travel
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def _module(self) -> SlabFiller:
        module = plan_filling(self.open_cube(), self.filler, self.writer, **self.settings)
        module.writer.join(module.shape, module.plan)
        return module


def fill_on_cluster(
    cube: xr.Dataset, filler: GapFiller, writer: Writer, open_cube: Callable[[], xr.Dataset], **settings: Any
) -> None:
    """As `fill_cube`, on the CPUs of the workers of a dask cluster (see `sgdsm.core.dask_cluster`).

    open_cube: opens the cube again, on a worker. settings: those of `plan_filling`.

    Raises what `plan_filling` raises, and ConfigError where there is no cluster.
    """
    module = plan_filling(cube, filler, writer, **settings)
    left = module.left(writer.begin(module.shape, module.plan))
    if left:
        with cluster("inference.cluster=true") as client:
            for _ in results(client, SlabWork(open_cube, filler, writer, settings), left, "slabs"):
                pass
    module.finish()
