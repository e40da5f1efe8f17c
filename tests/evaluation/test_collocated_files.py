"""Triple collocation of files: days, cells, subsets and anomalies as from the arrays; each chunk is read once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.evaluation import collocated_files
from sgdsm.evaluation.collocated_files import check_independent, collocate, open_triplet, reference_of, table, write
from sgdsm.evaluation.moving_anomaly import moving_anomaly
from sgdsm.evaluation.triple_collocation import TOO_FEW, triple_collocation

NAMES = ("sm_filled", "sm", "mo")
DAYS = 420


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A filled file; another satellite, from south to north, in percent and of fewer days; and a model."""
    rng = np.random.default_rng(0)
    shape = (DAYS, 4, 5)
    truth = 0.25 + 0.06 * rng.standard_normal(shape) + 0.05 * np.sin(np.arange(DAYS) / 58)[:, None, None]
    source = np.where(rng.random(shape) < 0.4, 1, 2).astype(np.int8)
    first = truth + np.where(source == 1, 0.02, 0.04) * rng.standard_normal(shape)
    second = 100 * truth + 3.75 * rng.standard_normal(shape)
    second[rng.random(shape) < 0.2] = np.nan
    third = truth + 0.031 * rng.standard_normal(shape)
    third[:, 0, 0] = np.nan
    third[250:, 0, 1] = np.nan
    coords = {
        "time": xr.date_range("2020-01-01", periods=DAYS),
        "lat": 50.0 - np.arange(4),
        "lon": 5.0 + np.arange(5),
    }
    dims = ("time", "lat", "lon")
    made = [
        xr.Dataset({"sm_filled": (dims, first.astype("f4"), {"units": "m3 m-3"}), "sm_source": (dims, source)}, coords),
        xr.Dataset({"sm": (dims, second.astype("f4"), {"units": "percent"})}, coords),
        xr.Dataset({"mo": (dims, third.astype("f4"), {"units": "m3 m-3"})}, coords),
    ]
    made[0].attrs["covariates"] = json.dumps({"rain": "gpm_imerg", "t2m": ""})
    made[1] = made[1].isel(time=slice(10, None), lat=slice(None, None, -1)).drop_isel(time=[100])
    made[2] = made[2].pad(lon=(1, 0), constant_values=0.2).assign_coords(lon=4.0 + np.arange(6))
    paths = [str(tmp_path / f"{name}.nc") for name in "abc"]
    for dataset, path in zip(made, paths, strict=True):
        dataset.to_netcdf(path)
    return paths


def arrays(files: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The values (3, T, cells) of the days from the first common one, and the sources."""
    opened = [xr.open_dataset(path) for path in files]
    grid = {"lat": opened[0]["lat"], "lon": opened[0]["lon"]}
    days = opened[0]["time"][10:]
    values = np.stack([d[n].reindex(time=days, **grid).values for d, n in zip(opened, NAMES, strict=True)])
    # a day that one file lacks is no common day
    values[:, 100] = np.nan
    return values.reshape(3, DAYS - 10, -1), opened[0]["sm_source"].values[10:].reshape(DAYS - 10, -1)


def test_cells_are_as_from_the_arrays(files):
    triplet = open_triplet(files, NAMES)
    assert check_independent(triplet) == []
    found = collocate(triplet, least=100, draws=20, reference=reference_of(triplet, "mo"))
    values, source = arrays(files)
    for k, kind in enumerate(found.kinds):
        own = values if kind == "raw" else np.stack([moving_anomaly(one, 35, 5) for one in values])
        for s, days in enumerate((source > 0, source == 1, source == 2)):
            expected = triple_collocation(np.where(days, own, np.nan), 2, least=100)
            assert (found.n[k, s].ravel() == expected["n"]).all()
            assert (found.maps("status")[:, k, s].reshape(3, -1) == expected["status"]).all()
            for name in ("error_std", "scaling", "snr", "fmse", "r"):
                # kept in float32
                got = found.maps(name)[:, k, s].reshape(3, -1)
                np.testing.assert_allclose(got, expected[name], rtol=2e-6)
    assert (found.maps("status")[:, :, :, 0, 0] == TOO_FEW).all()
    low, high = found.maps("error_std_lower"), found.maps("error_std_upper")
    assert (low < high)[np.isfinite(low)].all()
    assert found.subsets == ["all", "observed", "filled"]


def test_bands_do_not_show_and_each_chunk_is_read_once(files, tmp_path, monkeypatch):
    stores = [str(tmp_path / f"{name}.zarr") for name in "abc"]
    for path, store in zip(files, stores, strict=True):
        xr.open_dataset(path).chunk(time=50, lat=2).to_zarr(store, consolidated=False)
    whole = collocate(open_triplet(files, NAMES), draws=10, least=100)
    triplet = open_triplet(stores, NAMES)
    # room for three rows: bands are of whole chunks
    room = 3.5 * 24 * DAYS * 5 / 2**30
    assert [rows.stop - rows.start for rows in collocated_files._bands(triplet, room)] == [2, 2]
    read = []
    picked = collocated_files._picked
    monkeypatch.setattr(collocated_files, "_picked", lambda v, index: read.append((v.name, *index)) or picked(v, index))
    parts = collocate(triplet, draws=10, least=100, memory_gib=room)
    for name, expected in whole.values.items():
        np.testing.assert_allclose(parts.values[name], expected, rtol=2e-6)
    rows: dict[str, list[int]] = {}
    for name, _, lines, _ in read:
        rows.setdefault(name, []).extend(lines // 2)
    assert {name: sorted(set(lines)) for name, lines in rows.items()} == {n: [0, 1] for n in (*NAMES, "sm_source")}
    assert len(read) == 2 * 4


def test_the_file_tells_units_days_and_reasons(files, tmp_path):
    triplet = open_triplet(files, NAMES)
    found = collocate(triplet, draws=5, least=100, anomaly_days=None)
    write(found, triplet, tmp_path / "out.nc", 0, {"settings": "{}"})
    with xr.open_dataset(tmp_path / "out.nc") as written:
        error = written["error_std"].sel(product="sm", subset="filled", kind="raw")
        np.testing.assert_array_equal(error.values, found.maps("error_std")[1, 0, 2])
        assert error.attrs["units"] == "m3 m-3"
        assert written["scaling"].attrs["comment"].endswith("m3 m-3, percent, m3 m-3")
        assert written["n"].dtype == np.int32
        assert written["status"].attrs["flag_meanings"].split()[TOO_FEW] == "too_few_values"
        assert (written.attrs["time_coverage_start"], written.attrs["time_coverage_end"]) == (
            "2020-01-11",
            "2021-02-23",
        )
        assert "not independent of that reanalysis" in written.attrs["comment"]
        assert list(written["kind"].values) == ["raw"]
    text = table(found, NAMES)
    assert "20 too few" not in text
    assert text.endswith("in all: 0")
    assert not list(tmp_path.glob("*.partial"))


def test_the_first_and_third_day_of_files_of_three_days(files, tmp_path):
    every_third = [str(tmp_path / f"{k}.nc") for k in range(3)]
    for path, new in zip(files, every_third, strict=True):
        with xr.open_dataset(path) as dataset:
            dataset.sel(time=dataset["time"].dt.dayofyear % 3 == 1).to_netcdf(new)
    triplet = open_triplet(every_third, NAMES)
    assert triplet.step == 3
    found = collocate(triplet, draws=0, least=50)
    values = triplet.read(slice(None))
    own = np.stack([moving_anomaly(one, 12, 5) for one in values]).reshape(3, len(triplet.days), -1)
    expected = triple_collocation(own, least=50)
    np.testing.assert_allclose(found.maps("error_std")[:, 1, 0].reshape(3, -1), expected["error_std"], rtol=2e-6)


@pytest.mark.parametrize(
    ("covariates", "about", "said"),
    [
        ({"mo": ""}, {}, "'sm_filled' is filled with the covariate 'mo', which 'mo' is"),
        ({"t": "era5_land"}, {"source": "ERA5 monthly"}, "covariate 't' of era5_land, which 'mo' is made of too"),
        ({"swvl2": ""}, {"institution": "European Centre for Medium-Range Weather Forecasts"}, "covariate 'swvl2', wh"),
        ({"t": "smap_l4"}, {"title": "MERRA-2 tavg1"}, "covariate 't' of smap_l4"),
        ({"rain": "gldas"}, {"source": "gldas"}, "covariate 'rain' of gldas"),
        ({"rain": "chirps"}, {"source": "GLDAS"}, None),
        ({"rain": "chirps"}, {"covariates": '{"rain": "chirps"}'}, "are both filled with the covariate 'rain'"),
        ({}, {"source": "ERA5"}, None),
    ],
)
def test_a_triplet_that_shares_a_source_is_refused_by_name(files, tmp_path, covariates, about, said):
    for path, attrs in ((files[0], {"covariates": json.dumps(covariates)}), (files[2], about)):
        with xr.open_dataset(path) as dataset:
            changed = dataset.load().assign_attrs(attrs)
        changed.to_netcdf(path)
    triplet = open_triplet(files, NAMES)
    if said is None:
        assert check_independent(triplet) == []
        return
    with pytest.raises(CubeError, match=said):
        check_independent(triplet)
    assert said in check_independent(triplet, allowed=True)[0]


def test_two_files_of_the_same_observations_are_refused(files, tmp_path):
    with xr.open_dataset(files[0]) as dataset:
        own = dataset["sm_filled"].where(dataset["sm_source"] == 1).rename("sm").to_dataset()
        own.to_netcdf(tmp_path / "own.nc")
    triplet = open_triplet([files[0], str(tmp_path / "own.nc"), files[2]], NAMES)
    with pytest.raises(CubeError, match="'sm_filled' and 'sm' hold the same values at 100% of their common places"):
        check_independent(triplet)


def test_what_does_not_fit_is_named(files, tmp_path):
    with xr.open_dataset(files[2]) as dataset:
        for name, part in {
            "later": dataset.assign_coords(time=dataset["time"] + np.timedelta64(3000, "D")),
            "east": dataset.assign_coords(lon=dataset["lon"] + 0.4),
            "metres": dataset.rename(lat="y", lon="x"),
            "map": dataset.isel(time=0, drop=True),
            "empty": dataset.where(False),
        }.items():
            part.to_netcdf(tmp_path / f"{name}.nc")
    for name, said in {
        "later": "no day in common: .*a.nc from 2020-01-01 to 2021-02-23",
        "east": "east.nc: 'mo' lacks 5 values of lon, the first 5, the nearest 5.4: bring the files to one grid",
        "metres": "metres.nc: 'mo' has dims .* on one grid",
        "map": "map.nc: .*expected maps on days",
    }.items():
        with pytest.raises(CubeError, match=said):
            open_triplet([*files[:2], str(tmp_path / f"{name}.nc")], NAMES)
    with pytest.raises(CubeError, match=r"c.nc: no variable 'moo' \(did you mean 'mo'\?\)"):
        open_triplet(files, ["sm_filled", "sm", "moo"])
    triplet = open_triplet([*files[:2], str(tmp_path / "empty.nc")], NAMES)
    with pytest.raises(
        CubeError, match="no cell has 200 days on which all three products have a value, the most are 0"
    ):
        collocate(triplet)
    with pytest.raises(ConfigError, match="reference=sn: expected one of the products"):
        reference_of(triplet, "sn")


def test_files_of_one_variable_are_told_apart_by_their_names(files):
    names = ["sm_filled", "sm", "sm"]
    assert collocated_files._labels(files, names) == ["a:sm_filled", "b:sm", "c:sm"]
    assert collocated_files._labels(["x/a.nc", "y/a.nc", "z.nc"], ["sm"] * 3) == ["1:a:sm", "2:a:sm", "3:z:sm"]
