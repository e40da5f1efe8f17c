"""Points of the grid of SMOS (ISEA 4H9): latitudes and longitudes of their identifiers.

The grid lies on an icosahedron, whose faces are mapped with equal areas (Snyder 1992, doi 10.3138/27H7-8K88-4882-1752).
Two faces make a zone of 512 x 512 points; latitudes of the sphere are taken as geodetic ones. Zones and their order
were fitted to the outermost points in the headers of SMOS L2 files; these agree to 0.002 degrees.
"""

from __future__ import annotations

import numpy as np

SIDE = 512  # points of a zone along each of its axes
NORTH = 1  # identifiers of the two points that are in no zone
SOUTH = 9262145
VERTEX = (58.28252559, 11.25)  # latitude, longitude of the first vertex; the next is due north of it
REACH = np.radians(37.37736814)  # from the centre of a face to its vertices
HALF_ANGLE = np.radians(36.0)  # of a face at a vertex, halved: on the sphere, and in the plane
FLAT_ANGLE = np.radians(30.0)
RADIUS = np.sqrt(4 * np.pi / 20 / (3 * np.sqrt(3) / 4)) / np.tan(REACH)  # makes areas in the plane equal


def degrees_of(identifiers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the latitudes and longitudes of points.

    Args:
        identifiers: `Grid_Point_ID` (N,), integers.

    Returns:
        Latitudes (N,) and longitudes (N,) in degrees.

    Raises:
        ValueError: If a number is the identifier of no point.
    """
    zone, place = np.divmod(identifiers.astype(np.int64), 1_000_000)
    # the first point of all comes before zone 0
    place = place - np.where(zone == 0, 2, 1)
    inside = (zone >= 0) & (zone <= 9) & (place >= 0) & (place < SIDE * SIDE)
    if not (inside | (identifiers == NORTH) | (identifiers == SOUTH)).all():
        raise ValueError("Grid_Point_ID that the grid of SMOS does not have")
    vertices = _vertices()
    points = np.where((identifiers == NORTH)[:, None], vertices[0], -vertices[0])
    u, v = place // SIDE / SIDE, place % SIDE / SIDE
    for number in np.unique(zone[inside]):
        start, along_u, along_v, far = _corners(int(number), vertices)
        here = inside & (zone == number)
        # the diagonal of a zone is the edge between its two faces
        first, second = here & (u >= v), here & (u < v)
        points[first] = _on_face(start, along_u, far, u[first] - v[first], v[first])
        points[second] = _on_face(start, far, along_v, u[second], v[second] - u[second])
    return np.degrees(np.arcsin(points[:, 2])), np.degrees(np.arctan2(points[:, 1], points[:, 0]))


def _vertices() -> np.ndarray:
    """Return the first vertex and the five around it (6, 3), unit vectors; the other six are opposite to these."""
    lat, lon = np.radians(VERTEX)
    first = np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    east = np.array([-np.sin(lon), np.cos(lon), 0.0])
    azimuth = np.radians(72.0) * np.arange(5)[:, None]
    edge = np.arctan(2.0)
    around = np.cos(edge) * first + np.sin(edge) * (np.cos(azimuth) * north + np.sin(azimuth) * east)
    return np.vstack([first, around])


def _corners(zone: int, vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the corners of a zone (3,): the first of its points, the ends of its two axes, and the fourth one."""
    around = vertices[1:]
    # zones 0 to 4 touch the first vertex, 5 to 9 the one opposite to it
    if zone < 5:
        k = -zone % 5
        return around[k], -around[(k + 2) % 5], vertices[0], around[k - 1]
    k = (7 - zone) % 5
    return -around[k], -vertices[0], around[(k + 2) % 5], -around[k - 1]


def _on_face(a: np.ndarray, b: np.ndarray, c: np.ndarray, to_b: np.ndarray, to_c: np.ndarray) -> np.ndarray:
    """Return points (N, 3) of the sphere for places on a face of the icosahedron.

    Snyder (1992), inverse of the equal-area projection. The place in the plane is a + to_b (b - a) + to_c (c - a).
    Angles are counted from the vertex before a point.

    Args:
        a: Vertex (3,) of the face; a, b and c are anticlockwise seen from outside.
        b: Vertex (3,) of the face.
        c: Vertex (3,) of the face.
        to_b: Share (N,) of the way to b.
        to_c: Share (N,) of the way to c.
    """
    centre = (a + b + c) / np.linalg.norm(a + b + c)
    ahead = a - centre * (a @ centre)
    ahead /= np.linalg.norm(ahead)
    left = np.cross(centre, ahead)
    third = np.radians(120.0)
    x = 1 - to_b - to_c + (to_b + to_c) * np.cos(third)
    y = (to_b - to_c) * np.sin(third)
    flat = np.arctan2(y, x) % (2 * np.pi)
    turn = np.floor(flat / third) * third
    flat -= turn
    edge = RADIUS * np.tan(REACH) / (np.cos(flat) + np.sin(flat) / np.tan(FLAT_ANGLE))
    area = RADIUS * np.tan(REACH) * edge * np.sin(flat) / 2
    # the angle on the sphere that cuts off the same area, by Newton's method
    angle = flat.copy()
    # a fixed number of steps, more than convergence needs
    for _ in range(10):
        cosine = np.sin(angle) * np.sin(HALF_ANGLE) * np.cos(REACH) - np.cos(angle) * np.cos(HALF_ANGLE)
        corner = np.arccos(cosine)
        slope = np.cos(angle) * np.sin(HALF_ANGLE) * np.cos(REACH) + np.sin(angle) * np.cos(HALF_ANGLE)
        angle -= (angle + HALF_ANGLE + corner - np.pi - area) / (1 - slope / np.sin(corner))
    to_edge = np.arctan2(np.tan(REACH), np.cos(angle) + np.sin(angle) / np.tan(FLAT_ANGLE))
    far = 2 * np.arcsin(np.hypot(x, y) * RADIUS * np.tan(REACH) / edge * np.sin(to_edge / 2))
    angle += turn
    sideways = np.cos(angle)[:, None] * ahead + np.sin(angle)[:, None] * left
    points: np.ndarray = np.cos(far)[:, None] * centre + np.sin(far)[:, None] * sideways
    return points
