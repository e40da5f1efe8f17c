"""Recipes: what a cube is made of, that is products, a period, a grid, screening and features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sgdsm.core.errors import ConfigError
from sgdsm.preprocessing.grid import Grid
from sgdsm.sources.readers.files import Files, find_files


def named_grid(name: str, bbox: tuple[float, float, float, float] | None = None) -> Grid:
    """Return a global grid by its name, see `Grid.named`."""
    return Grid.named(name, bbox)


def regular_grid(resolution: float, bbox: tuple[float, float, float, float] | None = None) -> Grid:
    """Return a grid in degrees, see `Grid.regular`."""
    return Grid.regular(resolution, bbox)


def projected_grid(crs: str, resolution_m: float, bounds: tuple[float, float, float, float]) -> Grid:
    """Return a grid in metres of a CRS, see `Grid.projected`."""
    return Grid.projected(crs, resolution_m, bounds)


@dataclass
class Source:
    """A product, and what the cube takes from it.

    Args:
        product: A module of `sgdsm.sources.products`.
        paths: Its files, folders or patterns; relative ones start at the recipe's `folder`.
        variables: Name in the cube -> name in the product.
        role: Of the variables in the cube. With the target the cube takes `sm_reason` and, if the product has it,
            `sm_uncertainty` too.
        options: Options of the product.
        method: How maps are put on the grid; by default the area-weighted mean, for classes the most frequent one.
        interpolate_days: Between maps of several days (composites), the longest gap that is interpolated, days; null:
            the days between them stay empty.
        composite_days: Days that a map stands for, from its date on; interpolation is between their middles.
    """

    product: str
    paths: str | list[str]
    variables: dict[str, str]
    role: Literal["target", "dynamic", "static"] = "dynamic"
    options: dict[str, Any] = field(default_factory=dict)
    method: Literal["mean", "bilinear", "nearest", "mode"] | None = None
    interpolate_days: int | None = None
    composite_days: int = 1

    def files(self, folder: str | None) -> Files:
        """Return the files; relative paths start at `folder`."""
        paths = [self.paths] if isinstance(self.paths, str) else self.paths
        return find_files(self.product, [Path(folder or ".") / path for path in paths], **self.options)


@dataclass
class Screening:
    """What rejects soil moisture in addition to the product's own flags.

    Args:
        surface_temperature: Variable of the cube, K; with `albedo`, rejects snow: below 273.15 K and albedo above 0.3.
        albedo: Variable of the cube, "1".
        soil_temperature: Variable of the cube, K; rejects frozen soil: below 273.15 K.
        water_fraction: Variable of the cube, share of the cell; rejects water: above 0.2.
        low: Smallest valid value, if the product's range is to be narrowed, in the target's units.
        high: Largest valid value, likewise.

    Raises:
        ConfigError: When only one of surface_temperature and albedo is given.
    """

    surface_temperature: str | None = None
    albedo: str | None = None
    soil_temperature: str | None = None
    water_fraction: str | None = None
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if (self.surface_temperature is None) != (self.albedo is None):
            raise ConfigError(
                "screening: snow is detected from surface_temperature and albedo together: give both or none"
            )

    def names(self) -> list[str]:
        """Return the variables of the cube that the rules use."""
        variables = (self.surface_temperature, self.albedo, self.soil_temperature, self.water_fraction)
        return [name for name in variables if name is not None]


@dataclass
class Feature:
    """A covariate that is computed from others of the cube.

    Args:
        kind: 'antecedent' = mean of the last `days` maps, this one included (Liu et al., HESS 27, 577, 2023, Eq. 1, for
            precipitation); 'range' = `of` minus `minus` (of the day's highest and lowest temperature); 'mean' = mean of
            `of` and `also` where both have a value, else the one that has (LIU's NDVI of MOD13C1 and MYD13C1).
        of: Variable of the cube.
        days: Number of maps, for 'antecedent'.
        minus: Variable of the cube, for 'range'.
        also: Variable of the cube in the same units, for 'mean'.

    Raises:
        ConfigError: When the arguments do not fit the kind.
    """

    kind: Literal["antecedent", "range", "mean"]
    of: str
    days: int = 5
    minus: str | None = None
    also: str | None = None

    def __post_init__(self) -> None:
        for key, kind in (("minus", "range"), ("also", "mean")):
            if (self.kind == kind) != (getattr(self, key) is not None):
                raise ConfigError(f"feature of '{self.of}': '{key}' belongs to kind={kind}, and only there")
        if self.days < 1:
            raise ConfigError(f"feature of '{self.of}': days={self.days}: expected at least 1")

    @property
    def halo_days(self) -> int:
        """Number of maps before the first one that the feature needs."""
        return self.days - 1 if self.kind == "antecedent" else 0

    @property
    def names(self) -> list[str]:
        """Names of the variables that it is made of."""
        return [name for name in (self.of, self.minus, self.also) if name is not None]


@dataclass
class Recipe:
    """How to make a cube.

    Args:
        start: Its first day, like '2015-01-01'.
        end: Its last day.
        grid: Its grid, see `sgdsm.preprocessing.grid`.
        sources: Name -> product and variables; one source has the role of the target.
        features: Name in the cube -> feature.
        screening: What rejects soil moisture in addition to the product's own flags.
        land: A static variable that is above 0.5 on land (a mask, a share); by default cells that were ever observed
            are land.
        terrain: A static variable (elevation, m) from which slope, aspect and topographic position are computed.
        step_days: Days of a map (3: CASM's means).
        folder: Where relative paths start.

    Raises:
        ConfigError: When the parts do not fit together.
    """

    start: str
    end: str
    grid: Grid
    sources: dict[str, Source]
    features: dict[str, Feature] = field(default_factory=dict)
    screening: Screening = field(default_factory=Screening)
    land: str | None = None
    terrain: str | None = None
    step_days: int = 1
    folder: str | None = None

    def __post_init__(self) -> None:
        first, last = self._day("start"), self._day("end")
        if last < first:
            raise ConfigError(f"recipe: end={self.end} is before start={self.start}")
        if self.step_days < 1:
            raise ConfigError(f"recipe: step_days={self.step_days}: expected at least 1")
        # interpolating the target would make values that no satellite reported
        gappy = [name for name, s in self.sources.items() if s.interpolate_days is not None and s.role != "dynamic"]
        if gappy:
            raise ConfigError(f"recipe: interpolate_days belongs to dynamic sources, found it at {gappy}")
        targets = [name for name, source in self.sources.items() if source.role == "target"]
        if len(targets) != 1 or len(self.sources[targets[0]].variables) != 1:
            variables = {name: list(self.sources[name].variables) for name in targets}
            raise ConfigError(f"recipe: expected one source with the role target and one variable, found {variables}")
        names = [name for source in self.sources.values() for name in source.variables] + list(self.features)
        # names of the cube must be unique: variables are stored by name
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"recipe: several sources or features make {twice}")
        dynamic = self.dynamic()
        for name, feature in self.features.items():
            for of in feature.names:
                if of not in dynamic:
                    raise ConfigError(f"recipe: feature '{name}' is made of '{of}', expected one of {dynamic}")
        for of in self.screening.names():
            if of not in names:
                raise ConfigError(f"recipe: screening uses '{of}', expected one of {names}")
        for key in ("land", "terrain"):
            name = getattr(self, key)
            if name is not None and name not in self.static():
                raise ConfigError(f"recipe: {key}={name}: expected one of the static {self.static()}")

    def days(self) -> np.ndarray:
        """Return the days of the maps, (T,) datetime64[ns]."""
        step = np.timedelta64(self.step_days, "D")
        days = np.arange(self._day("start"), self._day("end") + np.timedelta64(1, "D"), step)
        return days.astype("datetime64[ns]")

    def target(self) -> tuple[Source, str]:
        """Return the source of the target, and the target's name in the cube."""
        source = next(s for s in self.sources.values() if s.role == "target")
        return source, next(iter(source.variables))

    def dynamic(self) -> list[str]:
        """Return the names of the dynamic variables, without features."""
        return [name for s in self.sources.values() if s.role == "dynamic" for name in s.variables]

    def static(self) -> list[str]:
        """Return the names of the static variables, without those of the terrain."""
        return [name for s in self.sources.values() if s.role == "static" for name in s.variables]

    def with_role(self, *roles: str) -> Iterator[tuple[str, Source]]:
        """Return name and source of the sources that have one of these roles."""
        return ((name, source) for name, source in self.sources.items() if source.role in roles)

    def plain(self) -> dict[str, Any]:
        """Return the recipe as plain values, without the location of the files."""
        # the grid holds arrays: its ends stand for it
        plain = dataclasses.asdict(dataclasses.replace(self, grid=None))  # type: ignore[arg-type]
        del plain["folder"]
        for source in plain["sources"].values():
            # a cube may be extended after its files were moved
            del source["paths"]
        ends = {
            dim: [len(c), float(c[0]), float(c[-1])]
            for dim, c in zip(self.grid.dims, (self.grid.rows, self.grid.columns), strict=True)
        }
        return {**plain, "grid": {"crs": self.grid.crs, **ends}}

    def _day(self, key: str) -> np.datetime64:
        text = getattr(self, key)
        try:
            # a month or a year is not taken for its first day
            return np.datetime64(date.fromisoformat(text), "D")
        except ValueError:
            raise ConfigError(f"recipe: {key}={text!r}: expected a day like 2015-12-31") from None
