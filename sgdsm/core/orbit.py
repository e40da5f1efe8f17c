"""Swaths of a sun-synchronous radiometer from orbital geometry."""

from __future__ import annotations

import numpy as np

from sgdsm.core.grids import MEAN_EARTH_RADIUS_KM


class Orbit:
    """Swaths of a conically scanning radiometer such as AMSR2 on a grid, on its descending (01:30) passes.

    The ground track repeats after `orbits` orbits in `days` days (AMSR2: 233 in 16, that is 14.56 a day).

    Args:
        lat: Latitudes of the rows, degrees, (H,).
        lon: Longitudes of the columns, degrees, (W,).
        swath_km: Width of the swath, km.
        inclination: Inclination of the orbit, degrees.
        orbits: Orbits of a repeat cycle.
        days: Days of a repeat cycle.
    """

    def __init__(
        self,
        lat: np.ndarray,
        lon: np.ndarray,
        swath_km: float = 1450.0,
        inclination: float = 98.2,
        orbits: int = 233,
        days: int = 16,
    ) -> None:
        self.lat, self.lon = np.deg2rad(lat).astype(np.float32), np.deg2rad(lon).astype(np.float32)
        self.half_width = swath_km / 2 / MEAN_EARTH_RADIUS_KM
        self.tilt = np.deg2rad(inclination)
        self.orbits, self.days = orbits, days

    def cycle(self, phase: float = 0.0) -> np.ndarray:
        """Return which cells are seen on each day of one repeat cycle.

        Args:
            phase: Longitude of the first node, radians.

        Returns:
            Masks, (days, H, W) bool.
        """
        masks = np.zeros((self.days, self.lat.size, self.lon.size), bool)
        for number in range(self.orbits):
            day = number * self.days // self.orbits
            # the Earth turns under the orbit: each node lies farther west
            node = phase - 2 * np.pi * number * self.days / self.orbits
            masks[day] |= self._pass(node)
        return masks

    def _pass(self, node: float) -> np.ndarray:
        # In the plane of the orbit a cell's distance from the track is its latitude in that frame. The Earth turns
        # while the satellite flies, so the cell's longitude there depends on when it is passed: iterate.
        turn = self.days / self.orbits
        sin_lat, cos_lat = np.sin(self.lat)[:, None], np.cos(self.lat)[:, None]
        along = np.float32(np.pi) - self.lat[:, None]
        for _ in range(3):
            lon = self.lon[None, :] - np.float32(node) + along * np.float32(turn)
            x, y = cos_lat * np.cos(lon), cos_lat * np.sin(lon)
            forward = y * np.cos(self.tilt, dtype=np.float32) + sin_lat * np.sin(self.tilt, dtype=np.float32)
            across = sin_lat * np.cos(self.tilt, dtype=np.float32) - y * np.sin(self.tilt, dtype=np.float32)
            along = np.arctan2(forward, x) % np.float32(2 * np.pi)
        # the half of the orbit from the northernmost to the southernmost point
        descending = (along > np.pi / 2) & (along < 3 * np.pi / 2)
        seen: np.ndarray = descending & (abs(across) < np.sin(self.half_width))
        return seen
