"""The built-in world: soil moisture with known truth, and what a satellite would observe of it.

Storms drift over fractal terrain; radiation and temperature follow the sun; a surface layer over a root zone takes up
rain and dries by soil type; a radiometer on a sun-synchronous orbit observes swaths of it, except where the soil is
frozen, the vegetation dense or the band disturbed. Every number is drawn from the seed. The world is made to test
gap-filling, not to be a climate: its gaps, its noise and its memory resemble those of SMAP and AMSR2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from sgdsm.core.arguments import checked
from sgdsm.core.cube import as_cube, open_cube, open_dataset
from sgdsm.core.days import DAYS_PER_YEAR
from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import local_only
from sgdsm.core.memory import check_fits
from sgdsm.core.orbit import Orbit
from sgdsm.sources.simulation.emission import AMSR, SMOS, Sensors, described

KM_PER_DEGREE = 111.2
SPIN_UP_DAYS = 120
CHUNK_ROWS = 24  # rows of a chunk of a store: objects of two MB
HELD = 14  # maps of a day in memory while a world is made: seven, and once more when they are stacked
SURFACE_MM, ROOT_MM = 80.0, 600.0
FROST_K = 276.5  # daily mean below which the soil counts as frozen: at the night pass it is colder than its mean
DYNAMIC = ("precipitation", "air_temperature", "shortwave_down", "surface_temperature")
STATIC = ("elevation", "sand", "clay", "ndvi_mean")
REASONS = "observed orbit frost vegetation interference"
SETTINGS = "simulated_with"  # attribute of a file that holds a world
# name: units, long name, CF standard name
DESCRIBED = {
    "sm": ("m3 m-3", "simulated satellite soil moisture, 01:30 pass", "volume_fraction_of_condensed_water_in_soil"),
    "sm_true": ("m3 m-3", "simulated soil moisture of the surface layer", None),
    "sm_reason": ("1", "why a value is missing", None),
    "precipitation": ("mm d-1", "precipitation", "lwe_precipitation_rate"),
    "air_temperature": ("K", "2 m air temperature", "air_temperature"),
    "shortwave_down": ("W m-2", "downward shortwave radiation", "surface_downwelling_shortwave_flux_in_air"),
    "surface_temperature": ("K", "land surface temperature by day, missing under cloud", "surface_temperature"),
    "elevation": ("m", "elevation", "surface_altitude"),
    "sand": ("%", "sand fraction", None),
    "clay": ("%", "clay fraction", None),
    "ndvi_mean": ("1", "mean NDVI", "normalized_difference_vegetation_index"),
    "sm_noise": ("m3 m-3", "standard deviation of the retrieval noise", None),
    "land": ("1", "land cells", None),
    **described(),
}


@checked
def simulate(
    rows: int = 24,
    columns: int = 48,
    days: int = 731,
    *,
    resolution: float = 1.0,
    north: float = 50.0,
    west: float = -125.0,
    start: str = "2015-04-01",
    land_fraction: float = 0.75,
    seed: int = 0,
    sensors: Sensors | None = None,
    step_days: int = 1,
) -> xr.Dataset:
    """Return a simulated cube in memory.

    Besides the target `sm`, covariates and `land` it holds, without a role, the truth `sm_true` and the standard
    deviation of the retrieval noise `sm_noise`.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        days: Number of days.
        resolution: Cell size, degrees.
        north: Northern edge of the grid, degrees.
        west: Western edge of the grid, degrees.
        start: First day.
        land_fraction: Share of cells above the sea, 1.
        seed: Seed of all random numbers.
        sensors: Satellites whose brightness temperatures are added to the dynamic covariates.
        step_days: 1 for daily maps, n for means of n days over the observed values, dated by the first day.

    Returns:
        Cube (T, H, W); soil moisture in m3 m-3.

    Raises:
        ConfigError: If the size is not possible or does not fit into memory.
    """
    world = World(rows, columns, resolution, north, west, land_fraction, seed)
    if not 1 <= step_days <= days:
        raise ConfigError(f"data.step_days={step_days}: expected 1 to the {days} days of the world")
    size = f"data: rows={rows}, columns={columns}, days={days}"
    check_fits(size, HELD * rows * columns * days, "data=simulate_store makes worlds of any size")
    maps = list(world.run(days, start, sensors))
    # each step is dated by its first day
    time = xr.date_range(start, periods=days // step_days, freq=f"{step_days}D")
    fields = {name: _steps(np.stack([day[name] for day in maps]), step_days) for name in maps[0]}
    arrays: dict[str, Any] = {name: (("time", "lat", "lon"), values) for name, values in fields.items()}
    return _cube(world, arrays, time)


def sensor_world(
    path: str,
    sensors: Sensors,
    dynamic: Sequence[str] = (*SMOS, *AMSR),
    rows: int = 14,
    columns: int = 24,
    days: int = 2922,
    *,
    resolution: float = 1.0,
    north: float = 50.0,
    west: float = -125.0,
    start: str = "2008-01-01",
    land_fraction: float = 0.75,
    seed: int = 0,
    step_days: int = 3,
) -> xr.Dataset:
    """Return `simulate` with sensors, written to a NetCDF file and opened from there, with some of its covariates.

    An existing file is opened.

    Args:
        path: The file.
        sensors: The satellites.
        dynamic: Covariates that the cube has.
        rows: As in `simulate`.
        columns: As in `simulate`.
        days: As in `simulate`.
        resolution: As in `simulate`.
        north: As in `simulate`.
        west: As in `simulate`.
        start: As in `simulate`.
        land_fraction: As in `simulate`.
        seed: As in `simulate`.
        step_days: As in `simulate`.

    Returns:
        Cube (T, H, W).

    Raises:
        ConfigError: If the file was made with other settings, or a setting is not possible.
    """
    settings: dict[str, Any] = {
        "rows": rows, "columns": columns, "days": days, "resolution": resolution, "north": north, "west": west,
        "start": start, "land_fraction": land_fraction, "seed": seed, "step_days": step_days,
    }  # fmt: skip
    if not is_made(path, ".nc", {**settings, "sensors": sensors.settings()}):
        world = simulate(**settings, sensors=sensors)
        world.attrs[SETTINGS] = json.dumps({**settings, "sensors": sensors.settings()})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        world.to_netcdf(f"{path}.partial", engine="netcdf4")
        Path(f"{path}.partial").rename(path)
    return open_cube(path, "sm", dynamic, land="land")


def simulate_store(
    path: str,
    rows: int = 720,
    columns: int = 1440,
    days: int = 365,
    *,
    resolution: float = 0.25,
    north: float = 90.0,
    west: float = -180.0,
    start: str = "2015-04-01",
    land_fraction: float = 0.3,
    seed: int = 0,
    chunk: Literal[8, 16, 32] = 16,
    lost_passes: float = 0.0,
    lost_until: str | None = None,
    rain_trend: float = 0.0,
) -> xr.Dataset:
    """Return `simulate` of any size, written to a Zarr store in blocks of `chunk` days and opened from there.

    An existing store is opened.

    Args:
        path: The store.
        rows: As in `simulate`.
        columns: As in `simulate`.
        days: As in `simulate`.
        resolution: As in `simulate`.
        north: As in `simulate`.
        west: As in `simulate`.
        start: As in `simulate`.
        land_fraction: As in `simulate`.
        seed: As in `simulate`.
        chunk: Days of a chunk.
        lost_passes: Share of the days before `lost_until` without a pass, as if the satellite had begun with half of
            its instruments: coverage then rises, and trends of observed values alone are those of other days.
        lost_until: The first day from which no pass is lost.
        rain_trend: Standard deviation over the cells of the change of the precipitation, share a year.

    Returns:
        Cube (T, H, W), lazy.

    Raises:
        ConfigError: If the store was made with other settings, or a setting is not possible.
    """
    settings: dict[str, Any] = {
        "rows": rows, "columns": columns, "days": days, "resolution": resolution, "north": north, "west": west,
        "start": start, "land_fraction": land_fraction, "seed": seed, "chunk": chunk,
        "lost_passes": lost_passes, "lost_until": lost_until, "rain_trend": rain_trend,
    }  # fmt: skip
    if not is_made(path, ".zarr", settings):
        world = World(rows, columns, resolution, north, west, land_fraction, seed, lost_passes, lost_until, rain_trend)
        block: list[dict[str, np.ndarray]] = []
        for number, day in enumerate(world.run(days, start)):
            block.append(day)
            if len(block) == chunk or number == days - 1:
                first = number - len(block) + 1
                time = xr.date_range(start, periods=days)[first : number + 1]
                arrays: dict[str, Any] = {
                    n: (("time", "lat", "lon"), np.stack([d[n] for d in block])) for n in block[0]
                }
                part = _cube(world, arrays, time).assign_attrs({SETTINGS: json.dumps(settings)})
                _write_block(f"{path}.partial", part, chunk, first == 0)
                block = []
        Path(f"{path}.partial").rename(path)
    return as_cube(open_dataset(path), "sm", DYNAMIC, STATIC, ("sm_reason",), "land")


def _write_block(path: str, part: xr.Dataset, chunk: int, is_first: bool) -> None:
    """Write days of a cube to a Zarr store: a new store for the first block, appended for the others."""
    if is_first:
        part.chunk(time=chunk, lat=CHUNK_ROWS).to_zarr(path, mode="w", consolidated=False)
        return
    # static maps are in the store already, and cannot be appended along time
    moving = part.drop_vars([n for n in part.variables if "time" not in part[n].dims])
    moving.chunk(time=chunk, lat=CHUNK_ROWS).to_zarr(path, append_dim="time", consolidated=False)


@dataclass
class World:
    """Static maps of the world, and its weather and water from day to day.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        resolution: Cell size, degrees.
        north: Northern edge of the grid, degrees.
        west: Western edge of the grid, degrees.
        land_fraction: Share of cells above the sea, 1.
        seed: Seed of all random numbers.
        lost_passes: Share of the days before `lost_until` on which nothing is observed.
        lost_until: The first day from which no pass is lost; needed where passes are lost.
        rain_trend: Standard deviation over the cells of the change of the precipitation, share a year.

    Raises:
        ConfigError: If the grid, the share of land or what is lost is not possible.
    """

    rows: int
    columns: int
    resolution: float
    north: float
    west: float
    land_fraction: float
    seed: int
    lost_passes: float = 0.0
    lost_until: str | None = None
    rain_trend: float = 0.0

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 1 or self.resolution <= 0:
            raise ConfigError(f"data: {self.rows} x {self.columns} cells of {self.resolution} degrees is no grid")
        if not 0 < self.land_fraction <= 1:
            raise ConfigError(f"data.land_fraction={self.land_fraction}: expected a share above 0, at most 1")
        if not 0 <= self.lost_passes <= 1 or (self.lost_passes > 0) != (self.lost_until is not None):
            raise ConfigError(
                f"data.lost_passes={self.lost_passes} data.lost_until={self.lost_until}: expected a share of 0 to 1, "
                "and a day where it is above 0"
            )
        self.lat = self.north - self.resolution * (np.arange(self.rows) + 0.5)
        self.lon = self.west + self.resolution * (np.arange(self.columns) + 0.5)
        if abs(self.lat).max() > 90 or self.columns * self.resolution > 360 + 1e-6:
            raise ConfigError(f"data: {self.rows} x {self.columns} cells from {self.north} N leave the globe")
        # a grid around the globe: fields continue over the date line
        self.circular = self.columns * self.resolution > 360 - 1e-6
        rng = np.random.default_rng([self.seed, 0])
        self._draw_maps(rng)
        self.swaths = Orbit(self.lat, self.lon).cycle(phase=float(rng.uniform(0, 2 * np.pi)))

    def _draw_maps(self, rng: np.random.Generator) -> None:
        """Draw the static maps (H, W): land, elevation, soil, vegetation, noise and interference."""
        height = self._noise(rng, 1500.0, 2.2)
        # the highest cells are land
        sea = np.quantile(height, 1 - self.land_fraction)
        self.land = height >= sea
        relief = abs(self._noise(rng, 400.0, 2.0))
        self.elevation = np.maximum(0, 300 * (height - sea) + 250 * relief * (height - sea))
        self.sand = np.clip(42 + 16 * self._noise(rng, 500.0, 2.0), 8, 88)
        self.clay = np.clip(24 + 9 * self._noise(rng, 400.0, 2.0) - 0.2 * (self.sand - 42), 4, 55)
        self.wetness = 1 / (1 + np.exp(-1.8 * self._noise(rng, 800.0, 2.5)))
        # coefficients of the order of pedotransfer functions, no published ones
        self.porosity = 0.44 - 0.0011 * self.sand + 0.12 * self.wetness
        # wet places have more organic matter, which holds more water
        self.capacity = 0.04 + 0.0035 * self.clay + 0.28 * self.wetness
        self.wilting = 0.01 + 0.0015 * self.clay + 0.12 * self.wetness
        self.drain_days = 0.6 + 3.0 * self.clay / 40
        self.ndvi = np.clip(0.12 + 0.75 * self.wetness + 0.06 * self._noise(rng, 200.0, 2.0), 0.05, 0.92)
        self.noise = 0.010 + 0.032 * self.ndvi**2
        self.disturbed = self._noise(rng, 60.0, 1.5) > 2.0

    def run(self, days: int, start: str, sensors: Sensors | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Yield the daily maps (H, W) of the variables with a time dimension.

        Args:
            days: Number of days, after a spin-up that is not returned.
            start: First day.
            sensors: Satellites whose measurements are added.

        Raises:
            ConfigError: If `days` is less than 1.
        """
        if days < 1:
            raise ConfigError(f"data.days={days}: expected at least 1")
        first = np.datetime64(start, "D").astype(int)
        rng = np.random.default_rng([self.seed, 1])
        storm, warm = self._noise(rng, 600.0, 3.0), self._noise(rng, 1200.0, 3.0)
        local = self._noise(rng, 150.0, 2.5)
        # a start near equilibrium; the spin-up removes the rest
        surface, root = self.capacity * self.wetness, self.capacity * (0.5 + 0.5 * self.wetness)
        # a stream of its own: the weather is the same whatever is lost
        extra = np.random.default_rng([self.seed, 2])
        lost = extra.random(days) < self.lost_passes
        if self.lost_until is not None:
            lost[max(0, np.datetime64(self.lost_until, "D").astype(int) - first) :] = False
        change = self.rain_trend / DAYS_PER_YEAR * self._noise(extra, 800.0, 2.5)
        if sensors is not None:
            sensors.begin(self.seed, self.lat, self.lon)
        for number in range(-SPIN_UP_DAYS, days):
            # storms move 300 km a day to the east
            drift = max(1, round(300 / KM_PER_DEGREE / self.resolution))
            # first-order autoregressive fields with unit variance: 0.55^2 + 0.835^2 = 1
            storm = 0.55 * np.roll(storm, drift, 1) + 0.835 * self._noise(rng, 600.0, 3.0)
            local = 0.3 * local + 0.954 * self._noise(rng, 150.0, 2.5)
            warm = 0.8 * warm + 0.6 * self._noise(rng, 1200.0, 3.0)
            weather = self._weather(first + number, 0.85 * storm + 0.53 * local, warm)
            weather["precipitation"] *= np.maximum(1 + change * max(number, 0), 0)
            surface, root = self._water(surface, root, weather)
            if number < 0:
                continue
            maps = self._observe(number, rng, surface, weather, bool(lost[number]))
            if sensors is not None:
                date, thawed = np.datetime64(int(first) + number, "D"), maps["air_temperature"] >= FROST_K
                maps |= sensors.measure(number, date, maps, self.porosity, self.ndvi, thawed)
            yield maps

    def _weather(self, day: int, storm: np.ndarray, warm: np.ndarray) -> dict[str, np.ndarray]:
        """Return the weather (H, W) of a day: rain in mm d-1, temperatures in K, radiation in W m-2, cloud cover.

        Args:
            day: Days since 1970-01-01.
            storm: Field of storms (H, W), normal with unit variance.
            warm: Field of warm and cold air (H, W), normal with unit variance.
        """
        lat = np.deg2rad(self.lat)[:, None]
        angle = 2 * np.pi * (day % 365.2425) / 365.2425
        # of the sun, rad
        declination = 0.409 * np.sin(angle - 1.39)
        # daily mean of the radiation at the top of the atmosphere
        sunset = np.arccos(np.clip(-np.tan(np.clip(lat, -1.56, 1.56)) * np.tan(declination), -1, 1))
        overhead = sunset * np.sin(lat) * np.sin(declination) + np.cos(lat) * np.cos(declination) * np.sin(sunset)
        sun = 1361 / np.pi * np.maximum(overhead, 0)
        # rain falls on the cloudiest days: more often where and when it is wet
        summer = np.cos(angle - 3.4) * np.sign(lat)
        chance = np.clip(0.06 + 0.34 * self.wetness + 0.06 * summer, 0.02, 0.6)
        # the logistic function with 1.702 is close to the normal distribution function: ranks are uniform
        rank = 1 / (1 + np.exp(-1.702 * storm))
        rain = np.where(rank > 1 - chance, -(4 + 7 * self.wetness) * np.log(np.maximum(1 - rank, 1e-6) / chance), 0.0)
        cloud = np.clip(rank + 0.25 * (self.wetness - 0.5), 0, 1)
        shortwave = sun * (0.78 - 0.5 * cloud**2)
        seasonal = 0.30 * np.rad2deg(abs(lat)) * summer
        mean = 304.5 - 0.011 * np.rad2deg(lat) ** 2 - 0.0055 * self.elevation
        air = mean + seasonal + 3.5 * warm - 2.0 * (cloud - 0.5)
        surface = air + 0.05 * shortwave * (1 - 0.5 * self.ndvi) - 2.0 * np.minimum(rain, 5) / 5
        return {
            "precipitation": rain,
            "air_temperature": air,
            "shortwave_down": shortwave,
            "surface_temperature": np.where(cloud > 0.62, np.nan, surface),
            "cloud": cloud,
        }

    def _water(
        self, surface: np.ndarray, root: np.ndarray, weather: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return soil moisture (H, W) of the surface layer and of the root zone after a day, m3 m-3.

        Args:
            surface: Soil moisture of the surface layer before, m3 m-3.
            root: Soil moisture of the root zone before, m3 m-3.
            weather: Weather of the day.
        """
        air, rain = weather["air_temperature"] - 273.15, weather["precipitation"]
        # Hargreaves' radiation form of potential evaporation, mm a day
        demand = 0.0135 * np.maximum(air + 17.8, 0) * weather["shortwave_down"] * 0.0353
        # snow melts slowly, and frozen soil hardly evaporates
        frozen = air < 0
        rain, demand = np.where(frozen, 0.3 * rain, rain), np.where(frozen, 0.1 * demand, demand)
        # rain that finds no room reaches the root zone, half of it
        room = self.porosity - surface
        taken = np.minimum(rain / SURFACE_MM, room)
        surface = surface + taken
        spilled = rain / SURFACE_MM - taken
        drained = np.maximum(surface - self.capacity, 0) * (1 - np.exp(-1 / self.drain_days))
        stress = np.clip((surface - self.wilting) / (self.capacity - self.wilting), 0, 1)
        dried = 0.55 * demand * stress / SURFACE_MM
        rise = 0.05 * np.maximum(root - surface, 0)
        surface = np.clip(surface - drained - dried + rise, 0.4 * self.wilting, self.porosity)
        # roots take the rest of the demand from below
        thirst = 0.45 * demand * np.clip((root - self.wilting) / (self.capacity - self.wilting), 0, 1)
        moved = (drained + 0.5 * spilled - rise) * SURFACE_MM
        root = root + (moved - thirst) / ROOT_MM - np.maximum(root - self.capacity, 0) * 0.05
        return surface, np.clip(root, 0.5 * self.wilting, self.porosity)

    def _observe(
        self, number: int, rng: np.random.Generator, surface: np.ndarray, weather: dict[str, np.ndarray], lost: bool
    ) -> dict[str, np.ndarray]:
        """Return the covariates of a day, and what the satellite retrieves of the soil moisture `surface`.

        Nothing is retrieved where the pass is `lost`; random numbers are drawn all the same.
        """
        shape = surface.shape
        frost = weather["air_temperature"] < FROST_K
        # gaps over dense vegetation are frequent, not permanent
        dense = rng.random(shape) < np.clip(3 * (self.ndvi - 0.62), 0, 0.9)
        interference = self.disturbed & (rng.random(shape) < 0.6) | (self._noise(rng, 150.0, 2.5) > 1.6)
        reason = np.select(
            [~self.swaths[number % len(self.swaths)] | lost, frost, dense, interference], [1, 2, 3, 4], 0
        )
        # retrievals are never negative
        value = np.maximum(surface + self.noise * rng.standard_normal(shape), 0.01)
        seen = self.land & (reason == 0)
        maps = {name: np.where(self.land, weather[name], np.nan).astype(np.float32) for name in DYNAMIC}
        maps["sm"] = np.where(seen, value, np.nan).astype(np.float32)
        maps["sm_true"] = np.where(self.land, surface, np.nan).astype(np.float32)
        maps["sm_reason"] = np.where(self.land, reason, 0).astype(np.int8)
        return maps

    def _noise(self, rng: np.random.Generator, length_km: float, slope: float) -> np.ndarray:
        """Return a Gaussian field (H, W) of unit variance.

        Its power falls as k^-(slope + 1) beyond the wave number of `length_km`.
        """
        cells = length_km / KM_PER_DEGREE / self.resolution
        # padding keeps the periodic field from correlating opposite edges
        pad_rows = self.rows + int(min(2 * cells, self.rows)) + 1
        pad_columns = self.columns if self.circular else self.columns + int(min(2 * cells, self.columns)) + 1
        ky = np.fft.fftfreq(pad_rows)[:, None]
        kx = np.fft.rfftfreq(pad_columns)[None, :]
        amplitude = (1 + (2 * np.pi * cells) ** 2 * (kx**2 + ky**2)) ** (-(slope + 1) / 4)
        # no mean
        amplitude[0, 0] = 0
        white = np.fft.rfft2(rng.standard_normal((pad_rows, pad_columns)))
        field = np.fft.irfft2(white * amplitude, s=(pad_rows, pad_columns))
        # scaled by the standard deviation of the spectrum, not of this realization: days differ as they should
        full = 2 * (amplitude**2).sum() - (amplitude[:, 0] ** 2).sum()
        return (field / np.sqrt(full / (pad_rows * pad_columns)))[: self.rows, : self.columns]


def _cube(world: World, arrays: dict[str, Any], time: Any) -> xr.Dataset:
    """Return the maps of a world as a cube with roles and attributes."""
    space = ("lat", "lon")
    fixed = {"elevation": world.elevation, "sand": world.sand, "clay": world.clay, "ndvi_mean": world.ndvi}
    fixed["sm_noise"] = world.noise
    maps = {n: (space, np.where(world.land, v, np.nan).astype(np.float32)) for n, v in fixed.items()}
    dataset = xr.Dataset(
        {**arrays, **maps, "land": (space, world.land)}, {"time": time, "lat": world.lat, "lon": world.lon}
    )
    present = {name: words for name, words in DESCRIBED.items() if name in dataset}
    for name, (units, long_name, standard) in present.items():
        dataset[name].attrs = {"units": units, "long_name": long_name}
        if standard:
            dataset[name].attrs["standard_name"] = standard
    measured = [n for n in (*SMOS, *AMSR) if n in dataset]
    reasons = f"{REASONS} not_flown" if measured else REASONS
    flags = {"flag_values": np.arange(len(reasons.split()), dtype=np.int8), "flag_meanings": reasons}
    dataset["sm_reason"].attrs |= flags
    cube = as_cube(dataset, "sm", (*DYNAMIC, *measured), STATIC, ("sm_reason",), "land")
    # sensors have a retrieval noise of their own, so the map of the noise would be wrong
    kept = ("sm_true", "sm_held_back") if measured else ("sm_true", "sm_noise")
    return cube.assign({n: dataset[n] for n in kept})


def is_made(path: str, suffix: str, settings: dict[str, Any]) -> bool:
    """Return True if the file of a world exists.

    Args:
        path: The file.
        suffix: Ending that its name must have.
        settings: Settings that it must have been made with.

    Raises:
        ConfigError: If its name has another ending, or it was made with other settings.
    """
    local_only("data.path", path, "the built-in worlds are made there")
    if Path(path).suffix != suffix:
        raise ConfigError(f"data.path={path}: expected a name that ends in {suffix}")
    if not Path(path).exists():
        return False
    with open_dataset(path) as dataset:
        made_with = json.loads(dataset.attrs.get(SETTINGS, "{}"))
    # tuples become lists, as in the file
    expected = json.loads(json.dumps(settings))
    for name, value in expected.items():
        if made_with.get(name) != value:
            raise ConfigError(
                f"{path}: made with {name}={made_with.get(name)}, expected {value}: remove it, or choose another "
                "data.path"
            )
    return True


def _steps(values: np.ndarray, days: int) -> np.ndarray:
    """Return means (T, H, W) of `days` days each over finite values; of flags the smallest, which is 'observed'.

    Args:
        values: Daily maps (T, H, W); days after the last whole step are dropped.
        days: Days of a step.
    """
    if days == 1:
        return values
    grouped = values[: len(values) // days * days].reshape(-1, days, *values.shape[1:])
    if values.dtype.kind != "f":
        return grouped.min(1)
    # means over the observed days alone, without warnings for empty ones
    known = np.isfinite(grouped)
    total = np.where(known, grouped, 0).sum(1)
    mean: np.ndarray = np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan).astype(values.dtype)
    return mean
