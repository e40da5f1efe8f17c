"""Brightness temperatures of the built-in world, as passive microwave satellites of several years would measure them.

The tau-omega model: a rough soil under one layer of vegetation, zeroth order in scattering (Mo et al., J. Geophys. Res.
87, 11229, 1982). Left out: the atmosphere, bound and salty water, frozen soil (no pass is used over it), open water.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sgdsm.core.errors import ConfigError
from sgdsm.core.orbit import Orbit
from sgdsm.core.random import Stream

SMOS_ANGLE, AMSR_ANGLE = 42.5, 55.0
SMOS_GHZ, AMSR_GHZ = 1.4, (10.7, 18.7, 36.5, 89.0)
SMOS = ("tb_1h", "tb_1v")
AMSR = tuple(f"tb_{int(ghz)}{p}" for ghz in AMSR_GHZ for p in "hv")
ROUGHNESS, ALBEDO = 0.2, 0.05
# water at 20 C: permittivity at rest and at high frequency, frequency of relaxation; rock
WATER_STATIC, WATER_FAST, WATER_GHZ = 80.1, 4.9, 17.1
MINERAL = 4.7
LEAST_NDVI = 0.1  # of bare soil
NOT_FLOWN = 5  # value of sm_reason before SMAP; the world uses the smaller ones
# random streams of the sensors; the world has others, so that sensors do not change it


def permittivity(moisture: np.ndarray, porosity: np.ndarray, ghz: float) -> np.ndarray:
    """Return the complex permittivity of moist soil.

    Refractive mixing of rock, air and water (Birchak et al., Proc. IEEE 62, 93, 1974), with Debye relaxation of the
    water.

    Args:
        moisture: Soil moisture, m3 m-3, any shape.
        porosity: Porosity, m3 m-3, same shape.
        ghz: Frequency, GHz.

    Returns:
        Relative permittivity, same shape.
    """
    water = WATER_FAST + (WATER_STATIC - WATER_FAST) / (1 + 1j * ghz / WATER_GHZ)
    # pores cannot hold more
    moisture = np.minimum(moisture, porosity)
    index: np.ndarray = (1 - porosity) * np.sqrt(MINERAL) + (porosity - moisture) + moisture * np.sqrt(water)
    return index**2


def reflectivity(epsilon: np.ndarray, angle: float, roughness: float = ROUGHNESS) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the power that a soil reflects, at H and V polarisation.

    Fresnel's equations, reduced by exp(-h cos^2) for roughness (Choudhury et al., J. Geophys. Res. 84, 5699, 1979).

    Args:
        epsilon: Relative permittivity, any shape.
        angle: Incidence angle, degrees.
        roughness: Roughness parameter h, 1.

    Returns:
        Reflectivities H and V, 0 to 1, same shape.
    """
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    # Fresnel: index of refraction times the cosine within the soil
    root = np.sqrt(epsilon - sine**2)
    rough = np.exp(-roughness * cosine**2)
    h = abs((cosine - root) / (cosine + root)) ** 2
    v = abs((epsilon * cosine - root) / (epsilon * cosine + root)) ** 2
    return rough * h, rough * v


def optical_depth(ndvi: np.ndarray, ghz: float, stems: float = 1.5) -> np.ndarray:
    """Return the optical depth of the vegetation at nadir: b times its water content.

    b = 0.12 at 1.4 GHz and grows with the root of the frequency (after Jackson and Schmugge, Remote Sens. Environ. 36,
    203, 1991). Water of leaves and stems from NDVI: SMAP ancillary data report on vegetation water content, JPL
    D-53061, 2013.

    Args:
        ndvi: NDVI, 1, any shape.
        ghz: Frequency, GHz.
        stems: Largest water content of stems, kg m-2; 1.5 for grassland, 3.5 for crops.

    Returns:
        Optical depth, 1, same shape.
    """
    green = np.maximum(ndvi, LEAST_NDVI)
    water = np.maximum(0.0, 1.9134 * green**2 - 0.3215 * green) + stems * (green - LEAST_NDVI) / (1 - LEAST_NDVI)
    depth: np.ndarray = 0.12 * np.sqrt(ghz / SMOS_GHZ) * water
    return depth


def brightness(
    moisture: np.ndarray,
    porosity: np.ndarray,
    ndvi: np.ndarray,
    temperature: np.ndarray,
    ghz: float,
    angle: float,
    stems: float = 1.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the brightness temperatures of soil and vegetation that have one temperature.

    Args:
        moisture: Soil moisture, m3 m-3, any shape.
        porosity: Porosity, m3 m-3, same shape.
        ndvi: NDVI, 1, same shape.
        temperature: Temperature of soil and vegetation, K, same shape.
        ghz: Frequency, GHz.
        angle: Incidence angle, degrees.
        stems: See `optical_depth`.

    Returns:
        Brightness temperatures H and V, K, same shape.
    """
    through = np.exp(-optical_depth(ndvi, ghz, stems) / np.cos(np.deg2rad(angle)))
    reflected = reflectivity(permittivity(moisture, porosity, ghz), angle)
    plants = (1 - ALBEDO) * (1 - through)
    # emission of the soil, attenuated; emission of the plants, upward and reflected by the soil
    h, v = (temperature * ((1 - r) * through + plants * (1 + r * through)) for r in reflected)
    return h, v


class Sensors:
    """Satellites over the built-in world with the periods in which they flew: a compressed history of the real ones.

    AMSR-E (10 to 89 GHz, 55 degrees) ends at `amsr_e_until`, AMSR2 begins at `amsr2_from`, SMOS (1.4 GHz, 42.5 degrees)
    begins at `smos_from`, soil moisture of SMAP at `smap_from`. Over land AMSR-E differs from AMSR2 by some kelvins,
    channel by channel (Du et al., Remote Sens. 6, 8594, 2014); the default offsets are round numbers of that order, not
    theirs.

    Args:
        amsr_e_until: First day without AMSR-E.
        smos_from: First day of SMOS.
        amsr2_from: First day of AMSR2.
        smap_from: First day with soil moisture of SMAP.
        amsr_e_offsets: AMSR-E minus AMSR2 at 10, 18, 36 and 89 GHz, K.
        smos_noise: Standard deviation of one pass of SMOS, K.
        amsr_noise: Standard deviation of one pass of AMSR-E or AMSR2, K.
        retrieval_noise: Standard deviation of retrieved soil moisture, m3 m-3.
        stems: See `optical_depth`, kg m-2.

    Raises:
        ConfigError: If a number is negative or a date is none.
    """

    def __init__(
        self,
        amsr_e_until: str,
        smos_from: str,
        amsr2_from: str,
        smap_from: str,
        *,
        amsr_e_offsets: tuple[float, float, float, float] = (-5.0, -4.0, -4.0, -2.0),
        smos_noise: float = 1.3,
        amsr_noise: float = 0.6,
        retrieval_noise: float = 0.04,
        stems: float = 1.5,
    ) -> None:
        known = {"smos_noise": smos_noise, "amsr_noise": amsr_noise, "retrieval_noise": retrieval_noise, "stems": stems}
        for name, value in known.items():
            if value < 0:
                raise ConfigError(f"data.sensors.{name}={value}: expected 0 or more")
        try:
            dates = [np.datetime64(d, "D") for d in (amsr_e_until, smos_from, amsr2_from, smap_from)]
        except ValueError as error:
            raise ConfigError(f"data.sensors: {error}: expected dates like 2010-01-15") from error
        self.amsr_e_until, self.smos_from, self.amsr2_from, self.smap_from = dates
        self.amsr_e_offsets, self.smos_noise, self.amsr_noise = tuple(amsr_e_offsets), smos_noise, amsr_noise
        self.retrieval_noise, self.stems = retrieval_noise, stems

    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor as plain values."""
        public = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return {name: str(v) if isinstance(v, np.datetime64) else v for name, v in public.items()}

    def begin(self, seed: int, lat: np.ndarray, lon: np.ndarray) -> None:
        """Place the satellites on their orbits over a grid.

        Args:
            seed: Seed of orbits and noise.
            lat: Latitudes (H,), degrees.
            lon: Longitudes (W,), degrees.
        """
        # other satellites, other local times of overpass
        phases = np.random.default_rng([seed, Stream.SENSOR_PHASES]).uniform(0, 2 * np.pi, 2)
        self._smos = Orbit(lat, lon, swath_km=1000.0).cycle(phases[0])
        self._amsr = Orbit(lat, lon).cycle(phases[1])
        self._rng = np.random.default_rng([seed, Stream.SENSOR_NOISE])

    def measure(
        self,
        number: int,
        date: np.datetime64,
        maps: dict[str, np.ndarray],
        porosity: np.ndarray,
        ndvi: np.ndarray,
        thawed: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Return the measurements of a day, to be added to the maps of the world.

        Args:
            number: Number of the day, from 0.
            date: Date of the day.
            maps: Maps (H, W) of the world on that day. Their retrieval `sm` is replaced by one with `retrieval_noise`,
                which is held back until SMAP flies; `sm_reason` marks that.
            porosity: Porosity (H, W), m3 m-3.
            ndvi: NDVI (H, W), 1.
            thawed: True (H, W) where the soil is not frozen.

        Returns:
            Maps (H, W) float32: brightness temperatures in K, `sm` and `sm_held_back` in m3 m-3, NaN where there was no
            pass; and `sm_reason`.
        """
        truth, temperature = maps["sm_true"], maps["air_temperature"]
        noise = self._rng.standard_normal(truth.shape)
        # the world's own noise is replaced, so that all sensors are comparable
        retrieved = np.maximum(truth + self.retrieval_noise * noise, 0.01)
        retrieved = np.where(np.isfinite(maps["sm"]), retrieved, np.nan)
        measured = {"sm": retrieved if date >= self.smap_from else np.full_like(retrieved, np.nan)}
        measured["sm_held_back"] = retrieved
        reason = maps["sm_reason"]
        if date < self.smap_from:
            reason = np.where(np.isfinite(truth), NOT_FLOWN, reason).astype(reason.dtype)
        # the sea has no temperature either, so its brightness is NaN
        soil = {"moisture": np.nan_to_num(truth), "porosity": porosity, "ndvi": ndvi, "temperature": temperature}
        measured |= self._brightness(number, date, soil, thawed)
        return {**{name: value.astype(np.float32) for name, value in measured.items()}, "sm_reason": reason}

    def _brightness(
        self, number: int, date: np.datetime64, soil: dict[str, np.ndarray], thawed: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return noisy brightness temperatures (H, W) in K of a day, NaN where there was no pass over thawed soil."""
        early = date < self.amsr_e_until
        measured = {}
        passes = {
            SMOS: self._smos[number % len(self._smos)] if date >= self.smos_from else None,
            AMSR: self._amsr[number % len(self._amsr)] if early or date >= self.amsr2_from else None,
        }
        for names, swath in passes.items():
            seen = np.zeros(thawed.shape, bool) if swath is None else swath & thawed
            smos = names is SMOS
            for k, ghz in enumerate((SMOS_GHZ,) if smos else AMSR_GHZ):
                angle = SMOS_ANGLE if smos else AMSR_ANGLE
                pair = brightness(**soil, ghz=ghz, angle=angle, stems=self.stems)
                for name, value in zip(names[2 * k :], pair, strict=False):
                    # drawn even without a pass, so that random numbers do not depend on the orbits
                    error = (self.smos_noise if smos else self.amsr_noise) * self._rng.standard_normal(thawed.shape)
                    offset = self.amsr_e_offsets[k] if early and not smos else 0.0
                    measured[name] = np.where(seen, value + error + offset, np.nan)
        return measured


def described() -> dict[str, tuple[str, str, str | None]]:
    """Return units, long name and standard name of the variables that the sensors add."""
    found: dict[str, tuple[str, str, str | None]] = {
        "sm_held_back": ("m3 m-3", "the retrieval as if SMAP had always flown; for scores only", None)
    }
    for name in (*SMOS, *AMSR):
        what = f"brightness temperature at {name[3:-1]} GHz, {name[-1].upper()} polarisation"
        found[name] = ("K", what, "brightness_temperature")
    return found
