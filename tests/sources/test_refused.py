"""Whatever lies in the place of a product's file: one line that names it, no traceback, no waiting."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest

from sgdsm.core.errors import SgdsmError
from sgdsm.sources.readers.files import SourceError, find_files, open_product, products
from tests.sources import make, make_cov

DAY = "20160101"
# a name that each product takes for its own, and the options that it needs
NAMES: dict[str, tuple[str, dict]] = {
    "amsr_tb": ("NSIDC-0630-EASE2_N25km-AQUA_AMSRE-2016001-18H-E-GRD-RSS-v1.0.nc", {}),
    "ascat_l2": (
        "W_XX-EUMETSAT-Darmstadt,SURFACE+SATELLITE,METOPA+ASCAT_C_EUMP_20160101041500_1_eps_o_250_ssm_l2.nc",
        {},
    ),
    "c3s": (f"C3S-SOILMOISTURE-L3S-SSMV-COMBINED-DAILY-{DAY}000000-TCDR-v201801.0.0.nc", {}),
    "cgls": ("c_gls_SSM1km_201601010000_CEURO_S1CSAR_V1.1.1.nc", {}),
    "chirps": ("chirps-v2.0.2016.days_p25.nc", {}),
    "class_map": ("classes.nc", {}),
    "cmip6": ("mrsos_day_X_land-hist_r1i1p1f1_gr_20160101-20160131.nc", {}),
    "dem": ("elevation.nc", {}),
    "era5": ("era5.nc", {}),
    "era5_land": ("era5_land.nc", {}),
    "esa_cci": (f"ESACCI-SOILMOISTURE-L3S-SSMV-COMBINED-{DAY}000000-fv05.2.nc", {}),
    "geotiff_stack": (f"swi_{DAY}.tif", {}),
    "gldas": ("GLDAS_NOAH025_3H.A20160101.0600.021.nc4", {}),
    "gleam": ("Ep_2016_GLEAM_v3.8a.nc", {}),
    "gpm_imerg": (f"3B-DAY.MS.MRG.3IMERG.{DAY}-S000000-E235959.V07B.nc4", {}),
    "ismn": ("NET_NET_Alpha_sm_0.000000_0.050000_Probe-X_20170101_20171231.stm", {}),
    "lis": ("LIS_HIST_201601010000.d01.nc", {}),
    "lprm_amsr2": (f"LPRM-AMSR2_L3_A_SOILM3_V001_{DAY}000000.nc", {}),
    "modis": ("MOD13C1.A2016001.061.2020001000000.hdf", {}),
    "netcdf_grid": ("maps.nc", {"variables": {"a": "b"}}),
    "sgd_sm": (f"LPRM_AMSR2_{DAY}.nc", {}),
    "smap_l2": ("SMAP_L2_SM_P_02801_A_20160101T013002_R18290_001.h5", {}),
    "smap_l3": (f"SMAP_L3_SM_P_{DAY}_R18290_001.h5", {}),
    "smap_l3e_points": ("Western-Australia_2016-01-01.nc", {}),
    "smap_l4": ("SMAP_L4_SM_gph_20160101T013000_Vv7032_001.h5", {}),
    "smos_l2": ("SM_REPR_MIR_SMUDP2_20160101T073146_20160101T082504_700_100_1.nc", {}),
    "smos_l3": ("SM_OPER_MIR_CLF31A_20160101T000000_20160101T235959_300_002_7.DBL.nc", {}),
    "smos_tb": ("SM_RE07_MIR_CDF3TA_20160101T000000_20160101T235959_330_001_7.DBL.nc", {}),
    "soil": ("soil.nc", {"maps": {"sand": "T_SAND"}}),
    "scan": ("scan.csv", {}),
    "station_csv": ("stations.csv", {}),
    "station_netcdf": ("stations.nc", {}),
    "uscrn": ("CRND0103-2016-AZ_Elgin_5_S.txt", {}),
}


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("<html>\n<title>404</title>\n</html>\n")


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(4000))


def truncated(path: Path) -> None:
    make_cov.era5(
        path, np.datetime64("2016-01-01") + np.arange(24) * np.timedelta64(1, "h"), {"t2m": np.ones((24, 4, 5))}
    )
    path.write_bytes(path.read_bytes()[:5000])


def header_only(path: Path) -> None:
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 20)


def netcdf3_header(path: Path) -> None:
    path.write_bytes(b"CDF\x01" + b"\0\0\0\7" * 3)


def other_product(path: Path) -> None:
    made = make.esa_cci(path.parent, "19990101")
    made.replace(path)


def other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["Geophysical_Data/other"] = np.zeros(3)
        file["table"] = np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")])


def no_variables(path: Path) -> None:
    netCDF4.Dataset(path, "w").close()


def odd_axes(path: Path) -> None:
    """Axes that are there, without units, of text, or not of numbers."""
    with netCDF4.Dataset(path, "w") as file:
        for name in ("time", "valid_time", "lat", "lon", "latitude", "longitude", "Latitude", "Longitude"):
            file.createDimension(name, 2)
            file.createVariable(name, str, (name,))[:] = np.array(["a", "b"], object)
        for name in ("t2m", "sm", "precip", "precipitation", "Ep", "mrsos", "b", "T_SAND", "elevation", "TB"):
            file.createVariable(name, "f4", ("time", "lat", "lon"))[:] = 0.5


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.nc", "b")


def link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "gone")


KINDS: list[Callable[[Path], None]] = [
    empty,
    text,
    noise,
    truncated,
    header_only,
    netcdf3_header,
    other_product,
    other_hdf5,
    no_variables,
    odd_axes,
    archive,
    link_to_nowhere,
]


def test_all_products_are_tried():
    assert set(NAMES) == set(products())


def one_line(error: SgdsmError, name: str) -> None:
    assert name in str(error), str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 900


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("product", NAMES)
def test_what_cannot_be_read_is_named(tmp_path, product, kind):
    name, options = NAMES[product]
    if product in ("esa_cci", "c3s") and kind is other_product:
        pytest.skip("ESA CCI itself")
    kind(tmp_path / name)
    with pytest.raises(SourceError) as error:
        open_product(product, tmp_path / name, **options).load()
    one_line(error.value, name)
    with pytest.raises(SourceError) as error:
        open_product(product, tmp_path, **options).load()
    one_line(error.value, name)


@pytest.mark.parametrize("product", NAMES)
def test_pipes_and_folders(tmp_path, product):
    """A pipe would be waited for without end; a folder is none of the files."""
    name, options = NAMES[product]
    os.mkfifo(tmp_path / name)
    for path in (tmp_path / name, tmp_path, str(tmp_path / f"*{Path(name).suffix}")):
        with pytest.raises(SourceError, match="is a pipe, a socket or a device, expected a regular file") as error:
            find_files(product, path, **options)
        one_line(error.value, name)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(SourceError, match=r"a folder without files .*, it is empty") as error:
        find_files(product, tmp_path / name, **options)
    with pytest.raises(SourceError, match=r"a folder without files .*, it holds ") as error:
        find_files(product, tmp_path, **options)
    one_line(error.value, name)


def test_paths_that_lead_nowhere(tmp_path):
    for path, message in (
        (tmp_path / "gone", "no such file or folder"),
        (str(tmp_path / "*.nc"), "no file matches this pattern"),
        ([], "expected at least one file, folder or pattern"),
    ):
        with pytest.raises(SourceError, match=message):
            find_files("era5", path)


BEGINNINGS = [
    (b"PK\x03\x04 rest", "is a zip archive: unpack it"),
    (b"\x1f\x8b rest", "is compressed by gzip: unpack it"),
    (b"GRIB rest", "is GRIB: ask for NetCDF, or convert it"),
    (
        b"<html>\n<title>404</title>",
        "is text that begins with '<html> <title>404</title>', expected data: fetch it again",
    ),
    ("Zugang verweigert für".encode(), "is text that begins with 'Zugang verweigert für'"),
]


@pytest.mark.parametrize("product", ["esa_cci", "era5", "netcdf_grid", "smap_l4", "cmip6", "smap_l3e_points", "dem"])
@pytest.mark.parametrize(("begin", "message"), BEGINNINGS)
def test_what_it_is_instead(tmp_path, product, begin, message):
    """Of archives that the Climate Data Store calls .nc, and pages of servers that ask for a login."""
    name, options = NAMES[product]
    (tmp_path / name).write_bytes(begin)
    with pytest.raises(SourceError, match=message) as error:
        open_product(product, tmp_path, **options).load()
    one_line(error.value, name)


DAMAGED = [
    (truncated, "damaged or was cut off: fetch it again|was cut off: fetch it again"),
    (noise, "it is no (NetCDF|HDF5) file, or damaged: fetch it again|damaged or was cut off: fetch it again"),
    (link_to_nowhere, "it is a link that leads nowhere"),
]


@pytest.mark.parametrize("product", ["esa_cci", "era5", "netcdf_grid", "smap_l4", "cmip6", "smap_l3e_points", "dem"])
@pytest.mark.parametrize(("kind", "message"), DAMAGED)
def test_the_cure_is_named(tmp_path, product, kind, message):
    name, options = NAMES[product]
    kind(tmp_path / name)
    with pytest.raises(SourceError, match=message):
        open_product(product, tmp_path, **options).load()


def test_a_name_with_signs_of_patterns(tmp_path):
    (tmp_path / "a[1]").mkdir()
    made = make.esa_cci(tmp_path / "a[1]", DAY)
    assert find_files("esa_cci", made).files[0].path == made
    assert find_files("esa_cci", tmp_path / "a[1]").files[0].path == made
