"""`sgdsm insitu` as a user types it, on a small built-in world."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import xarray as xr

from sgdsm.sources.simulation.world import simulate
from tests.evaluation.test_insitu import filled_of

FAST = ["draws=20", "least=20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("insitu")
    world = simulate(rows=8, columns=10, days=150, seed=3)
    filled_of(world).to_netcdf(folder / "filled.nc")
    world["sm_reason"].to_dataset().to_netcdf(folder / "reasons.nc")
    return folder


def test_simulated_stations_and_the_same_from_their_files(run_command, folder, tmp_path):
    words = [f"filled={folder / 'filled.nc'}", "world_seed=3", *FAST]
    code, out, err = run_command("insitu", *words, "stations=simulate", "output=out")
    assert code == 0, err
    for word in ("observed", "filled_orbit", "filled minus observed, same months", "dense cells", "95 %"):
        assert word in out
    made = tmp_path / "out"
    assert {p.name for p in made.glob("*.png")} == {"map.png", "boxes.png", "scatter.png", "series.png", "status.png"}
    with xr.open_dataset(made / "stations.nc") as table:
        assert table["r"].dims == ("station", "subset")
        assert table["ubrmsd"].attrs["units"] == "m3 m-3"
        assert table["cell_lat"].attrs["units"] == "degrees_north"
        assert table.attrs["Conventions"].startswith("CF")
        assert table["status"].attrs["flag_meanings"].startswith("ok too_few_pairs")
        r = table["r"].sel(subset="filled").values
    rows = list(csv.DictReader((made / "stations.csv").open()))
    ours = [float(row["r"] or "nan") for row in rows if row["subset"] == "filled"]
    np.testing.assert_allclose(ours, r, rtol=1e-8)
    reasons = f"reasons={folder / 'reasons.nc'}"
    for kind, more in (("zip", ["reader=ismn"]), ("csv", ["options={network: SIM}"])):
        path = made / "stations" / f"simulated.{kind}"
        code, _, err = run_command(
            "insitu", *words, f"stations={path}", f"output={kind}", reasons, "figures=false", *more
        )
        assert code == 0, err
        assert (tmp_path / kind / "stations.csv").read_text() == (made / "stations.csv").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stations=simulate"], "are not those of the built-in world with data.seed=0"),
        (["stations=nowhere.zip"], "nowhere.zip: no such file"),
        (["stations=nowhere"], "stations=nowhere: no such file or folder"),
        (["stations=a.csv", "reader=ism"], "reader=ism: expected one of ismn"),
        (["stations=a.csv", "estimate=sm_fild"], "no variable 'sm_fild'; there are sm, sm_filled"),
        (["stations=a.csv", "depth_m=[0.1,0]"], "expected two depths in m, the smaller one first"),
        (["stations=a.csv", "least=2"], "least=2: expected at least 3"),
        (["stations=a.csv", "scale=cdff"], "scale='cdff': expected one of none, mean_std, cdf"),
        (["stations=a.csv", "overpass_hour=25"], "overpass_hour=25: expected a local solar hour"),
        (["stations=a.csv", "frozen_below=4"], "frozen_below=4: the stations of a.csv have no soil temperature"),
        (["stations=a.csv", "classes=map.nc"], "classes=map.nc: expected FILE:VARIABLE"),
        (["stations=a.csv", "max_distance_km=-1"], "max_distance_km=-1: expected more than 0"),
        (["stations=a.csv", "options={colour: red}"], "no option 'colour'"),
        (["stations=a.csv"], "no station has 100 pairs: too few pairs 1 (csv/A)"),
        (["stations=far.csv"], "none of 1 stations lies inside a cell"),
        (["stations=late.csv"], "no common day: its days are 2015-04-01 to 2015-08-28, those of the stations 2019"),
    ],
)
def test_bad_input_ends_in_one_line(run_command, folder, tmp_path, words, message):
    lines = {"a": ("45.5,-120.5", "2015"), "far": ("5,5", "2015"), "late": ("45.5,-120.5", "2019")}
    for name, (place, year) in lines.items():
        rows = [f"A,{place},{year}-05-{day:02d},0.{day + 10}" for day in range(1, 31)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["station,lat,lon,time,sm", *rows]) + "\n")
    code, _, err = run_command("insitu", f"filled={folder / 'filled.nc'}", "output=out", *words)
    assert code == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1 or "simulate" in words[0]
    assert not (tmp_path / "out" / "stations.nc").exists()
