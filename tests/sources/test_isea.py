from __future__ import annotations

import numpy as np
import pytest

from sgdsm.sources.readers.isea import degrees_of

# outermost points of half orbits, as headers of SMOS L2 files of 2010-06-01 tell them
LATITUDES = {7119811: -87.067001, 21270: 84.940002, 6250101: -87.032997, 4109000: 82.693001}
LONGITUDES = {7133168: 77.938004, 37067: -130.582993, 4192999: 179.988007, 4204259: -179.992004}


def test_points_that_headers_tell():
    lat, _ = degrees_of(np.array(list(LATITUDES)))
    np.testing.assert_allclose(lat, list(LATITUDES.values()), atol=0.002)
    _, lon = degrees_of(np.array(list(LONGITUDES)))
    np.testing.assert_allclose(lon, list(LONGITUDES.values()), atol=0.002)


def test_zones_cover_the_globe_evenly():
    steps = np.arange(0, 512, 32)
    inside = (steps[:, None] * 512 + steps).ravel()
    lat, lon = degrees_of(np.concatenate([1e6 * zone + inside + (2 if zone == 0 else 1) for zone in range(10)]))
    north = np.sin(np.radians(lat))
    # as many points in each tenth of the globe's area
    assert np.histogram(north, np.linspace(-1, 1, 11))[0].tolist() == pytest.approx([256] * 10, abs=16)
    assert np.histogram(lon, np.linspace(-180, 180, 11))[0].tolist() == pytest.approx([256] * 10, abs=16)
    east, up = np.cos(np.radians(lat)) * np.exp(1j * np.radians(lon)), north
    places = np.stack([east.real, east.imag, up], 1)
    closeness = places @ places.T - 2 * np.eye(len(places))
    distance = np.degrees(np.arccos(np.clip(closeness.max(axis=1), -1, 1)))
    assert distance.min() > 3.0
    assert distance.max() < 4.9


def test_ends_of_the_numbers():
    lat, lon = degrees_of(np.array([1, 9262145]))
    np.testing.assert_allclose(lat, [58.28252559, -58.28252559])
    np.testing.assert_allclose(lon, [11.25, -168.75])
    for wrong in (0, 262146, 1000000, 9262146):
        with pytest.raises(ValueError, match="the grid of SMOS does not have"):
            degrees_of(np.array([5, wrong]))
