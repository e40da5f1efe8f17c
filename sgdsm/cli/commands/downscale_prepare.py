"""Make the 1 km cube and the 10 m stack of predictors for downscaling from files, as a recipe says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import check_folder, local_only
from sgdsm.core.lock import exclusive
from sgdsm.core.settings import setting
from sgdsm.downscaling.fine_recipe import read_recipe
from sgdsm.downscaling.prepare import prepare
from sgdsm.downscaling.raster_grid import need_packages

USAGE = "recipe=RECIPE.yaml coarse=CUBE.nc [fine=STACK.zarr]"
NOTE = (
    "a recipe names start, end, grid (like: FILE.tif, or crs, resolution_m and bounds) and sources of the kinds "
    "sentinel2, sentinel1 and raster; docs/downscaling.md has one that is whole"
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The recipe, and what is made of it."""

    recipe: str = setting(help="YAML file", path=True)
    coarse: str = setting(help="CUBE.nc, predictors and target at 1 km", path=True)
    fine: str | None = setting(None, "STACK.zarr, predictors at 10 m; default: only the cube", path=True)

    def __post_init__(self) -> None:
        for name, suffix in (("coarse", ".nc"), ("fine", ".zarr")):
            value = getattr(self, name)
            if value is None:
                continue
            local_only(name, value)
            if Path(value).suffix != suffix:
                raise ConfigError(f"{name}={value}: expected a name that ends in {suffix}")
            check_folder(name, value)


def run(settings: Settings) -> None:
    """Read the recipe, make both files, and print what is in them."""
    need_packages("rasterio", "pyproj")
    coarse, fine = Path(settings.coarse), None if settings.fine is None else Path(settings.fine)
    recipe = read_recipe(settings.recipe)
    with exclusive(coarse):
        for name, output in (("coarse", coarse), ("fine", fine)):
            # it may be one of the sources
            if output is not None and output.exists():
                raise ConfigError(f"{name}={output}: is there already: remove it, or choose another name")
        text = prepare(recipe, coarse, fine)
    print(f"{text}\ncube: {coarse}" + ("" if fine is None else f"\nstack: {fine}"))
