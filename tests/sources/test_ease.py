from __future__ import annotations

import numpy as np
import pytest

from sgdsm.sources.readers.ease import M09, M25, M36


@pytest.mark.parametrize("grid", [M36, M25, M09])
def test_grid_spans_the_globe_and_its_cells_are_found_again(grid):
    # the outer edges that NSIDC tells for all of these grids
    assert grid.x[0] - grid.cell_size_m / 2 == pytest.approx(-17367530.445, abs=0.5)
    assert grid.y[0] + grid.cell_size_m / 2 == pytest.approx(7314540.83 if grid is not M25 else 7307375.92, abs=0.5)
    rows, columns = np.array([0, 7, grid.rows - 1]), np.array([0, 5, grid.columns - 1])
    empty = np.zeros((3, 3), np.float32)
    part = grid.dataset({"sm": (empty, {})}, np.datetime64("2020-01-01"), rows, columns)
    found = grid.cells(part["lat"].values.astype(np.float32), part["lon"].values.astype(np.float32))
    assert found[0].tolist() == rows.tolist()
    assert found[1].tolist() == columns.tolist()
    assert part["lat"].dims == ("y",)
    assert part["lon"].dims == ("x",)
    assert part.attrs["crs"] == "EPSG:6933"


def test_known_cells():
    # corners of the published coordinate files of the 36 km and 25 km grids
    part = M36.dataset({}, np.datetime64("2020-01-01"))
    assert part["lat"].values[0] == pytest.approx(83.63197, abs=1e-5)
    assert part["lon"].values[0] == pytest.approx(-179.81328, abs=1e-5)
    assert M25.dataset({}, np.datetime64("2020-01-01"))["lat"].values[0] == pytest.approx(83.517136, abs=1e-5)


def test_points_of_another_grid():
    with pytest.raises(ValueError, match=r"off the centres of EASE-Grid 2.0 cells of 9008 m"):
        M09.cells(np.array([10.0, 10.25]), np.array([5.0, 5.25]))
    lat, lon = (
        np.array([v]) for v in (M36.dataset({}, np.datetime64("2020-01-01"))[n].values[0] for n in ("lat", "lon"))
    )
    with pytest.raises(ValueError, match="off the centres"):
        M36.cells(lat + 3, lon)
