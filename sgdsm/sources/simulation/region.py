"""The built-in region: 12 x 12 km at 10 m, with known soil moisture and what satellites and maps would tell of it.

Fields with crops of their own and sharp edges lie on fractal terrain; soils vary smoothly; storms wet, days dry; the
groundwater follows terrain and season and is known at wells only. A radar sees soil moisture, roughness and crops
through speckle; optical images are clear on some dates; land surface temperature and rain are known at 1 km. Each day
is a function of the seed and the day, made when it is asked for. The region is made to test downscaling, not to be a
place: speckle, looks and sensitivity are those of Sentinel-1, but fields differ less in roughness (0.2 dB) and more in
moisture (0.045 m3 m-3) than most do, so that errors at 10 m are smaller than those of real farmland.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import uniform_filter

from sgdsm.core.arguments import checked
from sgdsm.core.bilinear import averaged, refined
from sgdsm.core.cube import as_cube
from sgdsm.core.errors import ConfigError
from sgdsm.core.speckle import LOOKS, lee

PIXEL_M, FACTOR = 10.0, 100  # of the fine grid; fine cells along a side of a cell of 1 km
WEST_M, NORTH_M = 500_000.0, 5_700_000.0
SPIN_UP_DAYS = 120
MEMORY_DAYS = 18.0  # of the soil for rain
OPTICAL_DAYS = 5  # between images, clear or not
CLEAR = 0.4  # share of clear optical dates
DECIBEL = 24.0  # of backscatter to 1 m3 m-3
WELLS = 60
# name: units, what it is, source, resolution [m]
PREDICTORS = {
    "GRD": ("dB", "VV backscatter, speckle filtered", "simulated Sentinel-1", 10),
    "GW": ("m", "groundwater level below the surface, from wells", "simulated wells", 1000),
    "preci": ("mm d-1", "precipitation", "simulated precipitation", 1000),
    "bulk": ("g cm-3", "bulk density", "simulated soil map", 30),
    "clay": ("%", "clay fraction", "simulated soil map", 30),
    "sand": ("%", "sand fraction", "simulated soil map", 30),
    "LST_day": ("K", "land surface temperature by day", "simulated thermal infrared", 1000),
    "LST_night": ("K", "land surface temperature by night", "simulated thermal infrared", 1000),
    "EVI": ("1", "enhanced vegetation index", "simulated Sentinel-2", 10),
    "LAI": ("1", "leaf area index", "simulated Sentinel-2", 10),
}
STATIC = ("bulk", "clay", "sand")
DYNAMIC = tuple(name for name in PREDICTORS if name not in STATIC)
CRS = (
    'PROJCS["WGS 84 / UTM zone 32N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,'
    'AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],'
    'UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],AUTHORITY["EPSG","4326"]],'
    'PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",9],'
    'PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],PARAMETER["false_northing",0],'
    'UNIT["metre",1,AUTHORITY["EPSG","9001"]],AXIS["Easting",EAST],AXIS["Northing",NORTH],AUTHORITY["EPSG","32632"]]'
)
MAPPING = {
    "grid_mapping_name": "transverse_mercator",
    "longitude_of_central_meridian": 9.0,
    "latitude_of_projection_origin": 0.0,
    "scale_factor_at_central_meridian": 0.9996,
    "false_easting": 500_000.0,
    "false_northing": 0.0,
    "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257223563,
    "crs_wkt": CRS,
}


class Fields(NamedTuple):
    """What of a day is known at 10 m.

    Attributes:
        truth: Soil moisture, m3 m-3.
        predictors: By name, as in PREDICTORS.
        coarse: Predictors and truth at 1 km by name, (H, W); `ndvi` too.
    """

    truth: np.ndarray
    predictors: dict[str, np.ndarray]
    coarse: dict[str, np.ndarray]


class Region:
    """The region, of which each day is made when it is asked for.

    Args:
        cells: Cells of 1 km along a side.
        seed: Of all random numbers.
        speckle: Filter of the radar's 10 m values: lee (5 x 5 pixels), or none.
        start: First day.
        days: Number of days.
    """

    def __init__(self, cells: int, seed: int, speckle: str, start: str, days: int) -> None:
        self.cells, self.seed, self.speckle = cells, seed, speckle
        self.size = cells * FACTOR
        self.first = np.datetime64(start, "D")
        self.days = days
        rng = self._rng(0)
        self.elevation = 150 + 25 * fractal(rng, self.size, 3.4)
        clay = 22 + 6 * fractal(rng, self.size, 3.0)
        sand = 46 - 0.8 * (clay - 22) + 6 * fractal(rng, self.size, 3.0)
        bulk = 1.35 + 0.004 * (sand - 46) + 0.03 * fractal(rng, self.size, 3.0)
        self.soil = {"clay": np.clip(clay, 4, 60), "sand": np.clip(sand, 5, 90), "bulk": np.clip(bulk, 1.0, 1.7)}
        self.field = voronoi(rng, self.size, 36)
        count = int(self.field.max()) + 1
        self.sown = rng.choice([120.0, 170.0, 215.0], count) + rng.normal(0, 8, count)  # day of the largest EVI
        self.crop = rng.uniform(0.15, 0.5, count)  # largest EVI above bare soil
        self.wetness = rng.normal(0, 0.045, count)  # drainage and irrigation, m3 m-3
        self.roughness = rng.normal(0, 0.2, count)  # dB
        self.fine = 0.008 * fractal(rng, self.size, 2.0)
        self.noise = 0.012 * rng.standard_normal((self.size, self.size), np.float32)  # of EVI
        self.wells = rng.uniform(0.03, 0.97, (WELLS, 2)) * self.size  # rows and columns
        self.storms = self._storms()

    def _rng(self, *words: int) -> np.random.Generator:
        return np.random.default_rng([7, self.seed, *words])

    def _storms(self) -> np.ndarray:
        """Return rain at 1 km, mm d-1, of the spin-up and all days, (D, H, W)."""
        grid = np.arange(self.cells) + 0.5
        rain = np.zeros((SPIN_UP_DAYS + self.days, self.cells, self.cells), np.float32)
        wet = False
        for number in range(len(rain)):
            rng = self._rng(1, number)
            # wet and dry spells
            wet = rng.random() < (0.5 if wet else 0.17)
            if not wet:
                continue
            rain[number] = rng.gamma(0.9, 5.0)
            for _ in range(3):
                row, column = rng.uniform(-0.2, 1.2, 2) * self.cells
                far = ((grid[:, None] - row) ** 2 + (grid - column) ** 2) / (2 * rng.uniform(1.5, 4.0) ** 2)
                rain[number] += rng.gamma(0.7, 7.0) * np.exp(-far)
        return rain

    @cached_property
    def antecedent(self) -> np.ndarray:
        """Rain of the past with a memory, mm, at 1 km, (D, H, W) from the first day on."""
        kept = np.exp(-1 / MEMORY_DAYS)
        store, found = np.zeros_like(self.storms[0]), []
        for rain in self.storms:
            store = kept * store + rain
            found.append(store)
        return np.stack(found[SPIN_UP_DAYS:])

    def day_of_year(self, day: int) -> int:
        """Return the day of the year of day number `day`, from 1."""
        date = self.first + day
        return int((date - date.astype("datetime64[Y]")).astype(int)) + 1

    def evi(self, day: int) -> np.ndarray:
        """Return the true EVI at 10 m."""
        shape = np.exp(-(((self.day_of_year(day) - self.sown) / 45.0) ** 2))
        return (0.14 + self.crop * shape).astype(np.float32)[self.field]

    def _clear(self, day: int) -> bool:
        return day % OPTICAL_DAYS == 0 and self._rng(2, day + 1000).random() < CLEAR

    def _image(self, day: int) -> np.ndarray:
        # of each image another part of the same noise: drawing anew takes longer than all else
        return self.evi(day) + np.roll(self.noise, self._rng(3, day + 1000).integers(0, self.size, 2), (0, 1))

    def seen_evi(self, day: int) -> np.ndarray:
        """Return EVI linear in time between the clear images before and after."""
        before = next(d for d in range(day, day - 200, -1) if self._clear(d))
        if before == day:
            return self._image(day)
        after = next(d for d in range(day, day + 200) if self._clear(d))
        share = np.float32((day - before) / (after - before))
        return (1 - share) * self._image(before) + share * self._image(after)

    def depth(self, day: int) -> np.ndarray:
        """Return the depth of the groundwater at 10 m, m."""
        season = 0.5 * np.sin(2 * np.pi * (self.day_of_year(day) - 200) / 365.25)
        slow = self.storms[max(0, SPIN_UP_DAYS + day - 90) : SPIN_UP_DAYS + day + 1].sum(0)
        low = (self.elevation - 150) / 25
        return np.clip(2.6 + 0.9 * low + season - refined((slow - 150) / 250, FACTOR), 0.2, 8).astype(np.float32)

    @cached_property
    def _kriging(self) -> np.ndarray:
        """Weights of the wells in the values at 1 km, (H * W, wells)."""
        grid = (np.arange(self.cells) + 0.5) * FACTOR
        places = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
        interpolated: np.ndarray = RBFInterpolator(self.wells, np.eye(WELLS), kernel="linear", degree=0)(places)
        return interpolated

    def well_levels(self, day: int) -> np.ndarray:
        """Return the level at the wells, m below the surface, (wells,)."""
        row, column = self.wells.astype(int).T
        return self.depth(day)[row, column] + self._rng(4, day).normal(0, 0.03, WELLS)

    def truth(self, day: int) -> np.ndarray:
        """Return soil moisture at 10 m, m3 m-3."""
        clay = self.soil["clay"]
        held = refined(1 - np.exp(-self.antecedent[day] / 55), FACTOR)
        near = 0.06 * np.exp(-self.depth(day) / 1.2)
        season = 0.025 * np.cos(2 * np.pi * (self.day_of_year(day) - 20) / 365.25)
        drawn = 0.10 * (self.evi(day) - 0.14) * (1.2 - held)
        moving = 0.004 * fractal(self._rng(5, day), self.size // 4, 2.0).repeat(4, 0).repeat(4, 1)
        wet = 0.07 + 0.0022 * clay + held * (0.12 + 0.003 * clay) + near + season - drawn
        return np.clip(wet + self.wetness[self.field] + self.fine + moving, 0.03, 0.55).astype(np.float32)

    def power(self, day: int, truth: np.ndarray) -> np.ndarray:
        """Return backscatter at 10 m with speckle, as power."""
        rng = self._rng(6, day)
        decibel = -15 + DECIBEL * (truth - 0.2) - 2.5 * (self.evi(day) - 0.14) + self.roughness[self.field]
        decibel = decibel + rng.normal(0, 0.15)
        speckle = rng.standard_gamma(LOOKS, (self.size, self.size), np.float32) / np.float32(LOOKS)
        return (10 ** (decibel / 10)).astype(np.float32) * speckle

    def temperatures(self, day: int, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return land surface temperature by day and by night, K, and NDVI, at 1 km."""
        rng = self._rng(8, day)
        air = self._air(day, rng)
        ndvi = np.clip(0.12 + 1.3 * self.evi(day), 0, 0.95)
        cover = np.clip((ndvi - 0.15) / 0.75, 0, 1)
        wet = np.clip((truth - 0.05) / 0.4, 0, 1)
        # a dry soil is hot, a canopy near the air's temperature
        surface = air + cover * 3 + (1 - cover) * (18 * (1 - wet) + 2) - 0.0065 * (self.elevation - 150)
        noise = rng.normal(0, 0.6, (2, self.cells, self.cells))
        by_night = air - 8 + 8 * averaged(wet, FACTOR) + noise[1]
        return averaged(surface, FACTOR) + noise[0], by_night, averaged(ndvi, FACTOR)

    def _air(self, day: int, rng: np.random.Generator) -> float:
        return 284 + 10 * np.sin(2 * np.pi * (self.day_of_year(day) - 110) / 365.25) + float(rng.normal(0, 2.5))

    def end_temperatures(self, day: int) -> tuple[float, float, float, float]:
        """Return the temperatures by day of dry soil, of a canopy that lacks water, of wet soil, and of a canopy, K."""
        air = self._air(day, self._rng(8, day))
        return air + 20, air + 3, air + 2, air + 3

    @cached_property
    def soil_maps(self) -> dict[str, np.ndarray]:
        """Soils at 10 m, from maps of 30 m, with an error that varies smoothly."""
        rng, maps = self._rng(9), {}
        for name, error in (("bulk", 0.02), ("clay", 1.5), ("sand", 2.5)):
            rough = self.soil[name] + error * fractal(rng, self.size, 3.0)
            maps[name] = uniform_filter(rough.astype(np.float32), 3)
        return maps

    def make(self, day: int) -> Fields:
        """Return all that is known of a day.

        Args:
            day: Its number from the first day.
        """
        truth, raw, at_10_m, at_1_km = self._seen(day)
        fine = {name: refined(values, FACTOR) for name, values in at_1_km.items()} | at_10_m
        # averaged and filtered as power: the mean of dB is too low
        fine["GRD"] = 10 * np.log10(lee(raw) if self.speckle == "lee" else raw)
        predictors = {name: np.asarray(fine[name], np.float32) for name in PREDICTORS}
        return Fields(truth, predictors, self._averaged(truth, raw, at_10_m, at_1_km))

    def coarse(self, day: int) -> dict[str, np.ndarray]:
        """Return predictors, truth `SM` and `ndvi` of a day at 1 km, by name, (H, W)."""
        return self._averaged(*self._seen(day))

    def _seen(self, day: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the truth and the power with speckle at 10 m, and what else is known at 10 m and at 1 km."""
        truth = self.truth(day)
        evi = np.clip(self.seen_evi(day), -1, 1)
        by_day, by_night, ndvi = self.temperatures(day, truth)
        level = (self._kriging @ self.well_levels(day)).reshape(self.cells, self.cells)
        rain = self.storms[SPIN_UP_DAYS + day]
        at_1_km = {"GW": level, "preci": rain, "LST_day": by_day, "LST_night": by_night, "ndvi": ndvi}
        at_10_m = {**self.soil_maps, "EVI": evi, "LAI": np.maximum(3.618 * evi - 0.118, 0)}
        return truth, self.power(day, truth), at_10_m, at_1_km

    def _averaged(
        self, truth: np.ndarray, raw: np.ndarray, at_10_m: dict[str, np.ndarray], at_1_km: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        means = {name: averaged(values, FACTOR) for name, values in {**at_10_m, "SM": truth}.items()}
        means["GRD"] = 10 * np.log10(averaged(raw, FACTOR))
        return {name: np.asarray(values, np.float32) for name, values in (means | at_1_km).items()}


def fractal(rng: np.random.Generator, size: int, slope: float) -> np.ndarray:
    """Return a random field whose power falls with the wave number to the power of minus `slope`.

    Args:
        rng: Of the field.
        size: Cells along a side.
        slope: Of the power; larger is smoother.

    Returns:
        (size, size) float32 of mean 0 and standard deviation 1.
    """
    rows, columns = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    number = np.hypot(rows, columns).astype(np.float32)
    number[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), np.float32)) * number ** np.float32(-slope / 2)
    spectrum[0, 0] = 0
    field: np.ndarray = np.fft.irfft2(spectrum, (size, size)).astype(np.float32)
    return field / field.std()


def voronoi(rng: np.random.Generator, size: int, spacing: int) -> np.ndarray:
    """Return the number of the field of each pixel: the nearest of points that stand on a grid, moved at random.

    Args:
        rng: Of the points.
        size: Pixels along a side.
        spacing: Of the grid of points, pixels.

    Returns:
        (size, size) int.
    """
    side = -(-size // spacing) + 2
    points = (np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1) - 0.5) * spacing
    points = points + rng.uniform(-0.45, 0.45, points.shape) * spacing
    rows, columns = np.meshgrid(*[np.arange(size, dtype=np.float32)] * 2, indexing="ij")
    own_row, own_column = (rows // spacing).astype(int) + 1, (columns // spacing).astype(int) + 1
    nearest, best = np.full((size, size), np.inf, np.float32), np.zeros((size, size), int)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            row, column = np.clip(own_row + down, 0, side - 1), np.clip(own_column + across, 0, side - 1)
            far = (points[row, column, 0] - rows) ** 2 + (points[row, column, 1] - columns) ** 2
            closer = far < nearest
            nearest[closer], best[closer] = far[closer], (row * side + column)[closer]
    numbers: np.ndarray = np.unique(best, return_inverse=True)[1].reshape(size, size)
    return numbers


@lru_cache(maxsize=2)
def made_region(cells: int, seed: int, speckle: str, start: str, days: int) -> Region:
    """Return the region of some settings; it is made once."""
    return Region(cells, seed, speckle, start, days)


@checked
def simulated_region(
    cells: int = 12,
    days: int = 1096,
    *,
    step_days: int = 6,
    start: str = "2019-01-01",
    speckle: Literal["lee", "none"] = "lee",
    seed: int = 0,
) -> xr.Dataset:
    """Return the region at 1 km, as means of its 10 m values, in memory.

    Args:
        cells: Cells of 1 km along a side.
        days: Length of the record, days.
        step_days: Days between two maps; 6 are those of the radar.
        start: First day.
        speckle: Filter of the 10 m backscatter; the means at 1 km are of the unfiltered power in either case.
        seed: Of all random numbers.

    Returns:
        Cube (T, H, W) with the target `SM` in m3 m-3, ten predictors, and the main crop as a flag.

    Raises:
        ConfigError: A size cannot work.
    """
    if not 2 <= cells <= 100:
        raise ConfigError(f"data.cells={cells}: expected 2 to 100: a day of a region has (100 cells)^2 values of 10 m")
    if not 1 <= step_days <= days:
        raise ConfigError(f"data.step_days={step_days}: expected 1 to the {days} days of the record")
    try:
        np.datetime64(start, "D")
    except ValueError:
        raise ConfigError(f"data.start={start}: expected a date like 2019-01-01") from None
    return _cube(cells, days, step_days, start, speckle, seed).copy()


# a sweep makes the same region for each of its trainings
@lru_cache(maxsize=1)
def _cube(cells: int, days: int, step_days: int, start: str, speckle: str, seed: int) -> xr.Dataset:
    region = made_region(cells, seed, speckle, start, days)
    numbers = range(0, days, step_days)
    maps = [region.coarse(number) for number in numbers]
    dims = ("time", "y", "x")
    arrays: dict[str, Any] = {
        name: (dims, np.stack([one[name] for one in maps]).astype(np.float32)) for name in ("SM", *DYNAMIC)
    }
    arrays |= {name: (dims[1:], maps[0][name]) for name in STATIC}
    late = averaged((region.sown > 145).astype(np.float32)[region.field], FACTOR)
    # flags of a cube have all days
    late = np.broadcast_to(late > 0.67, (len(maps), *late.shape))
    arrays["late_crops"] = (dims, late.astype(np.float32))
    place = {"y": coordinate(NORTH_M, -1000.0, cells, "y"), "x": coordinate(WEST_M, 1000.0, cells, "x")}
    dataset = xr.Dataset(arrays, {"time": region.first.astype("datetime64[ns]") + day_steps(numbers), **place})
    describe(dataset)
    dataset["late_crops"].attrs = {"units": "1", "long_name": "1: two thirds of the cell are summer crops, 0: less"}
    return as_cube(dataset, "SM", DYNAMIC, STATIC, ("late_crops",))


def day_steps(numbers: range) -> np.ndarray:
    """Return day numbers as time differences, (T,)."""
    return np.asarray(numbers).astype("timedelta64[D]").astype("timedelta64[ns]")


def coordinate(edge: float, step: float, count: int, axis: str) -> tuple[str, np.ndarray, dict[str, str]]:
    """Return a coordinate of centres of cells, as xarray takes it."""
    about = {"units": "m", "standard_name": f"projection_{axis}_coordinate", "axis": axis.upper()}
    return axis, edge + (np.arange(count) + 0.5) * step, about


def describe(dataset: xr.Dataset) -> None:
    """Give the variables of the region units, long names, sources and the projection."""
    for name, (units, text, source, _) in PREDICTORS.items():
        if name in dataset:
            dataset[name].attrs = {"units": units, "long_name": text, "source": source, "grid_mapping": "spatial_ref"}
    if "SM" in dataset:
        dataset["SM"].attrs = {
            "units": "m3 m-3",
            "long_name": "simulated soil moisture",
            "standard_name": "volume_fraction_of_condensed_water_in_soil",
            "grid_mapping": "spatial_ref",
        }
    dataset.coords["spatial_ref"] = ((), np.int32(0), MAPPING)


def fine_day(region: Region, day: int) -> xr.Dataset:
    """Return the predictors and the truth of a day at 10 m.

    Args:
        region: The region.
        day: Number of the day from its first.

    Returns:
        Predictors and `SM`, (time, y, x) of one day; soils (y, x).
    """
    found = region.make(day)
    dims = ("time", "y", "x")
    arrays: dict[str, Any] = {name: (dims, found.predictors[name][None]) for name in DYNAMIC}
    arrays |= {name: (dims[1:], found.predictors[name]) for name in STATIC}
    arrays["SM"] = (dims, found.truth[None])
    place = {
        "y": coordinate(NORTH_M, -PIXEL_M, region.size, "y"),
        "x": coordinate(WEST_M, PIXEL_M, region.size, "x"),
    }
    time = (region.first + np.array([day])).astype("datetime64[ns]")
    dataset = xr.Dataset(arrays, {"time": time, **place})
    describe(dataset)
    return dataset
