from __future__ import annotations

import netCDF4
import numpy as np
import pytest

from sgdsm.sources.readers.ease import M25
from sgdsm.sources.readers.files import SourceError, open_product
from sgdsm.sources.readers.isea import degrees_of
from sgdsm.sources.readers.names import Reason
from tests.conftest import shared_data
from tests.sources import make_more

# two points of one cell, and one of another
IDS = [2000003, 2000004, 2000043]
ROW, COLUMN = M25.cells_around(*degrees_of(np.array(IDS)))


def test_points_of_a_cell_become_their_mean(tmp_path):
    assert (ROW[0], COLUMN[0]) == (ROW[1], COLUMN[1]) != (ROW[2], COLUMN[2])
    make_more.smos_l2(
        tmp_path,
        "20100601T073146",
        IDS,
        Soil_Moisture=[0.2, 0.3, np.nan],
        Soil_Moisture_DQX=[0.01, 0.03, np.nan],
        Science_Flags=[1, 1, 64],
        Confidence_Flags=[128, 128, 16],
    )
    make_more.smos_l2(tmp_path, "20100601T141203", IDS, Soil_Moisture=[0.4, 0.4, 0.1])
    make_more.smos_l2(tmp_path, "20100602T000000", IDS, Soil_Moisture=[0.4, np.nan, -0.1])
    cube = open_product("smos_l2", tmp_path).load()
    assert cube["sm"].shape == (2, 584, 1388)
    np.testing.assert_allclose(cube["sm"].values[:, ROW[0], COLUMN[0]], [0.325, 0.4], rtol=1e-6)
    np.testing.assert_allclose(cube["sm_uncertainty"].values[0, ROW[0], COLUMN[0]], 0.01)
    assert cube["sm_reason"].values[:, ROW[2], COLUMN[2]].tolist() == [Reason.OBSERVED, Reason.OUT_OF_RANGE]
    assert (cube["sm_reason"].values == Reason.OBSERVED).sum() == 3
    first = open_product("smos_l2", tmp_path / "SM_REPR_MIR_SMUDP2_20100601T07*.nc")
    assert first["sm_reason"].values[0, ROW[2], COLUMN[2]] == Reason.SNOW
    assert first["flag"].values[0, ROW[2], COLUMN[2]] == 16


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("Science_Flags", 32, Reason.OBSERVED),  # open water in the scene
        ("Science_Flags", 256, Reason.SNOW),
        ("Science_Flags", 2048, Reason.FROZEN),
        ("Science_Flags", 8, Reason.TERRAIN),
        ("Science_Flags", 1 << 25, Reason.RAIN),
        ("RFI_Prob", 40, Reason.OBSERVED),
        ("RFI_Prob", 200, Reason.INTERFERENCE),
        ("Soil_Moisture_DQX", 0.11, Reason.NOT_RECOMMENDED),
        ("Confidence_Flags", 64, Reason.NOT_RECOMMENDED),
        ("Confidence_Flags", 32, Reason.OUT_OF_RANGE),
        ("Confidence_Flags", 128, Reason.OBSERVED),
    ],
)
def test_flags(tmp_path, variable, value, reason):
    make_more.smos_l2(tmp_path, "20100601T073146", IDS[:1], **{"Soil_Moisture": [0.2], variable: [value]})
    assert open_product("smos_l2", tmp_path)["sm_reason"].values[0, ROW[0], COLUMN[0]] == reason
    if reason in (Reason.INTERFERENCE, Reason.NOT_RECOMMENDED) and variable != "Confidence_Flags":
        cube = open_product("smos_l2", tmp_path, largest_rfi=1.0, largest_dqx=1.0)
        assert cube["sm_reason"].values[0, ROW[0], COLUMN[0]] == Reason.OBSERVED


def test_what_is_refused(tmp_path):
    make_more.smos_l2(tmp_path, "20100601T073146", IDS)
    other = make_more.smos_l2(tmp_path, "20100601T073146", IDS, file_class="OPER")
    with pytest.raises(SourceError, match="both hold one pass"):
        open_product("smos_l2", tmp_path)
    with netCDF4.Dataset(other, "a") as file:
        file["Grid_Point_ID"][0] = 262147
    with pytest.raises(SourceError, match=r"SM_OPER.*the grid of SMOS does not have"):
        open_product("smos_l2", other)


@pytest.mark.shared_data
def test_real_half_orbits():
    folder = shared_data() / "products" / "qa4sm_preprocessing" / "01"
    cube = open_product("smos_l2", folder).load()
    assert cube["time"].values.astype("datetime64[D]").astype(str).tolist() == ["2010-06-01"]
    passes = []
    for path in sorted(folder.glob("*.nc")):
        cells: dict[tuple[int, int], list[float]] = {}
        with netCDF4.Dataset(path) as file:
            file.set_auto_maskandscale(False)
            sm, dqx = file["Soil_Moisture"][:], file["Soil_Moisture_DQX"][:]
            bad = (file["Science_Flags"][:] & (64 + 128 + 256 + 2048 + 4096 + 8 + (1 << 25))) != 0
            bad |= (file["Confidence_Flags"][:] & (16 + 32 + 64)) != 0
            bad |= (file["RFI_Prob"][:].view(np.uint8) > 40) | (dqx > 0.1) | (sm < 0)
            good = np.flatnonzero(~bad)
            lat, lon = degrees_of(file["Grid_Point_ID"][:][good])
            # header: what the northernmost and the southernmost point are
            names = {a.rsplit(":", 1)[-1]: a for a in file.ncattrs() if "L2_Product_Location" in a}
            for side, most in (("Northernmost", np.max), ("Southernmost", np.min)):
                told = float(file.getncattr(names[f"{side}_Latitude"]))
                assert most(degrees_of(file["Grid_Point_ID"][:])[0]) == pytest.approx(told, abs=0.002)
        for k, row, column in zip(good, *M25.cells_around(lat, lon), strict=True):
            cells.setdefault((int(row), int(column)), []).append(float(sm[k]))
        passes.append(cells)
    expected = {cell: np.mean([np.mean(p[cell]) for p in passes if cell in p]) for cell in {*passes[0], *passes[1]}}
    assert (cube["sm_reason"].values == Reason.OBSERVED).sum() == len(expected) > 1000
    for (row, column), value in expected.items():
        assert cube["sm"].values[0, row, column] == pytest.approx(value, rel=1e-5, abs=1e-7)
    # half orbits over the Americas and the Atlantic, and over eastern Asia and the Pacific
    lon = cube["lon"].values[np.flatnonzero((cube["sm_reason"].values[0] == Reason.OBSERVED).any(axis=0))]
    assert ((lon < -20) | (lon > 100)).all()
