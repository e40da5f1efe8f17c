from __future__ import annotations

import h5py
import numpy as np
import pytest

from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_sm


def test_half_orbits_of_a_day_become_their_mean(tmp_path):
    make_sm.smap_l2(
        tmp_path, "02801_A_20150811T013002", [(3, 4, 0.2, 0, 0), (3, 5, 0.3, 1, 1024), (65534, 65534, 0.9, 0, 0)]
    )
    make_sm.smap_l2(tmp_path, "02802_A_20150811T030828", [(3, 4, 0.3, 8, 0), (3, 5, -9999, 7, 1), (3, 6, 0.4, 1, 0)])
    make_sm.smap_l2(tmp_path, "02803_D_20150811T040828", [(3, 4, 0.1, 0, 0), (3, 5, 0.1, 0, 0)])
    make_sm.smap_l2(tmp_path, "02811_A_20150812T013002", [(3, 4, 0.5, 0, 0)])
    cube = open_product("smap_l2", tmp_path).load()
    assert cube["sm"].shape == (2, 406, 964)
    np.testing.assert_allclose(cube["sm"].values[:, 3, 4], [0.2, 0.5], rtol=1e-6)
    np.testing.assert_allclose(cube["sm"].values[0, 3, 5:7], [0.1, 0.4], rtol=1e-6)
    assert cube["sm_reason"].values[0, 3, 3:7].tolist() == [Reason.NO_DATA, 0, 0, Reason.NOT_RECOMMENDED]
    assert np.isfinite(cube["sm"].values).sum() == 4

    evening = open_product("smap_l2", tmp_path, overpass="pm").load()
    np.testing.assert_allclose(evening["sm"].values[0, 3, 4:6], [0.25, 0.3], rtol=1e-6)
    assert evening["sm_reason"].values[0, 3, 5] == Reason.DENSE_VEGETATION
    morning = open_product("smap_l2", tmp_path, overpass="am").load()
    assert morning["sm"].values[0, 3, 4] == np.float32(0.1)
    assert morning.sizes["time"] == 1


def test_no_file_of_the_overpass(tmp_path):
    make_sm.smap_l2(tmp_path, "02801_A_20150811T013002", [(3, 4, 0.2, 0, 0)])
    with pytest.raises(SourceError, match="none of the 1 files is of overpass 'am'"):
        open_product("smap_l2", tmp_path, overpass="am")


@pytest.mark.shared_data
def test_real_half_orbits():
    folder = shared_data() / "products" / "qa4sm_preprocessing" / "2015.08.11"
    cube = open_product("smap_l2", folder).load()
    expected: dict[tuple[int, int], list[float]] = {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            group = file["Soil_Moisture_Retrieval_Data"]
            for row, column, sm, quality, lat, lon in zip(
                *(group[n][:] for n in ("EASE_row_index", "EASE_column_index", "soil_moisture", "retrieval_qual_flag")),
                group["latitude"][:],
                group["longitude"][:],
                strict=True,
            ):
                assert abs(cube["lat"].values[row] - lat) < 1e-4
                assert abs(cube["lon"].values[column] - lon) < 1e-4
                if not quality & 1:
                    expected.setdefault((row, column), []).append(sm)
    observed = cube["sm_reason"].values[0] == Reason.OBSERVED
    assert observed.sum() == len(expected) > 800
    for cell, values in expected.items():
        assert cube["sm"].values[0][cell] == pytest.approx(np.mean(values), rel=1e-5)
