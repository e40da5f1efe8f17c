"""Make a cube from product files, as a recipe says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import check_folder, local_only
from sgdsm.core.settings import setting
from sgdsm.core.specification import TARGET, build, check_spec
from sgdsm.preprocessing.pipeline import assemble
from sgdsm.preprocessing.recipe import Recipe

USAGE = "data=RECIPE [data.path=CUBE.zarr] [workers=..]"
NOTE = "data.recipe.KEY=value changes the recipe; the same words go on where an interrupted call stopped"
PREPARED = "sgdsm.preprocessing.open_prepared"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The recipe, and how it is carried out."""

    data: dict[str, Any] | None = setting(None, "a recipe, like cci_era5_025 or one of your own", group=True)
    workers: int = setting(2, "processes")
    cluster: bool = setting(False, "make blocks on the dask cluster of DASK_SCHEDULER_ADDRESS, or on one made here")
    on_bad_file: Literal["fail", "skip"] = setting(
        "fail", "skip: the maps of a broken file stay empty, and the table says so"
    )
    block_days: int | None = setting(
        None, "maps in memory at once, for each process; by default as many as make 64 MB a variable"
    )

    def __post_init__(self) -> None:
        if not isinstance(self.data, dict) or self.data.get(TARGET) != PREPARED or not self.data.get("recipe"):
            raise ConfigError("prepare: give data=RECIPE, one with a recipe, like data=cci_era5_025")
        check_spec(self.data, xr.Dataset, "data")
        if self.workers < 1:
            raise ConfigError(f"workers={self.workers}: expected a whole number of at least 1")


def run(settings: Settings) -> None:
    """Make the cube of a recipe, and print what was rejected and why."""
    assert settings.data is not None
    recipe: Recipe = build(settings.data["recipe"], Recipe)
    local_only("data.path", settings.data["path"])
    output = Path(settings.data["path"])
    if output.suffix != ".zarr":
        raise ConfigError(f"data.path={output}: expected a name ending in .zarr; `export` writes it as .nc or .h5")
    check_folder("data.path", output)
    summary = assemble(recipe, output, settings.workers, settings.on_bad_file, settings.block_days, settings.cluster)
    print(f"{summary}\ncube: {output}")
