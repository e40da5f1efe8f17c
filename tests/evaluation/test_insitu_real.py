"""Real archives of stations, through the command, against cubes with a known correlation at each station."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sgdsm.sources import open_product
from tests.conftest import shared_data

PLANTED = {1: 0.83, 2: 0.61}  # R of observed and of filled days


def cube_at(stations: xr.Dataset) -> xr.Dataset:
    """A filled file of 0.25 degree around the stations; its R with each is the planted one, on each kind of day."""
    rng = np.random.default_rng(0)
    lat, lon = (
        np.arange(stations[axis].values.min() - 0.5, stations[axis].values.max() + 0.6, 0.25) for axis in ("lat", "lon")
    )
    days = stations["time"].values
    source = rng.integers(1, 3, (len(days), lat.size, lon.size)).astype(np.int8)
    filled = np.full(source.shape, 0.2, np.float32)
    for s in range(stations.sizes["station"]):
        row, column = abs(lat - stations["lat"].values[s]).argmin(), abs(lon - stations["lon"].values[s]).argmin()
        for code, r in PLANTED.items():
            own = stations["sm"].values[:, s].astype(np.float64)
            on = (source[:, row, column] == code) & np.isfinite(own)
            signal = (own[on] - own[on].mean()) / own[on].std()
            noise = rng.standard_normal(on.sum())
            noise -= noise.mean() + signal * (noise * signal).mean()
            filled[on, row, column] = 0.2 + 0.05 * (r * signal + np.sqrt(1 - r**2) * noise / noise.std())
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {"sm_filled": (dims, filled, {"units": "m3 m-3"}), "sm_source": (dims, source)},
        {"time": days, "lat": lat, "lon": lon},
    )


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("archive", "flags", "counts"),
    [
        ("ismn/ceop", None, {"COSMOS/ARM-1": 333}),
        ("ismn/header", None, {"COSMOS/ARM-1": 333}),
        ("ismn/ceop_and_header_mixed", None, {"COSMOS/ARM-1": 333, "FR-Aqui/fraye": 2147}),
        ("ismn/format_header_values", ["U"], {"SMOSMANIA/Narbonne": 31}),
        ("ismn_headervalues_stm/OZNET*.stm", None, {"OZNET/Banandra": 323}),
        ("ismn_headervalues_stm/TAHMO*.stm", None, {"TAHMO/BongoSHS,Bongo": 648}),
    ],
)
def test_the_planted_correlation_comes_back(run_command, tmp_path, archive, flags, counts):
    path = next(iter(sorted((shared_data() / "products").glob(archive))))
    options = {} if flags is None else {"flags": flags}
    cube_at(open_product("ismn", path, **options).load()).to_netcdf(tmp_path / "filled.nc")
    words = ["filled=filled.nc", f"stations='{path}'", "reader=ismn", "least_readings=1"]
    more = [] if flags is None else [f"flags=[{','.join(flags)}]"]
    code, _, err = run_command("insitu", *words, *more, "output=out", "least=10", "draws=20", "figures=false")
    assert code == 0, err
    with xr.open_dataset(Path("out") / "stations.nc") as table:
        observed, filled = (table.sel(subset=name) for name in ("observed", "filled"))
        assert set(table["station"].values) == set(counts)
        for station, count in counts.items():
            found = [float(one["n"].sel(station=station)) for one in (observed, filled)]
            assert sum(found) == count
            for one, r in zip((observed, filled), PLANTED.values(), strict=True):
                assert float(one["r"].sel(station=station)) == pytest.approx(r, abs=0.01)


@pytest.mark.shared_data
def test_an_archive_without_good_readings_names_its_flags(run_command, tmp_path):
    path = next((shared_data() / "products" / "ismn" / "format_header_values").glob("*.zip"))
    cube_at(open_product("ismn", path, flags=["U"]).load()).to_netcdf(tmp_path / "filled.nc")
    code, _, err = run_command("insitu", "filled=filled.nc", f"stations={path}", "output=out")
    assert code == 1
    assert "no reading has a flag of ['G'], found U 736, D05 5: flags=[U] takes those that nobody checked" in err
    assert len(err.strip().splitlines()) == 1
