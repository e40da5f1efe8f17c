"""Tables and figures of `Dataset.sgdsm`: the numbers of the commands, and what they must be."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sgdsm.api.accessor import SgdsmAccessor
from sgdsm.core.errors import ConfigError, CubeError
from tests.report.records import filled_record, members_of


def test_coverage_and_gaps_are_those_of_the_values(plain, cube, filled):
    own = plain()
    seen = np.isfinite(own["sm"].values)
    for found in (own.sgdsm.coverage(target="sm"), cube.sgdsm.coverage(), filled().sgdsm.coverage()):
        np.testing.assert_allclose(found["coverage"].values, seen.mean(0))
        february = pd.to_datetime(own["time"].values).month == 2
        assert found["coverage_by_month"].sel(month="2020-02-01") == pytest.approx(seen[february].mean())
        assert list(found["season"].values) == ["DJF"]
    # of each cell the runs of days without a value
    lengths: list[int] = []
    for cell in seen.reshape(len(seen), -1).T:
        edges = np.flatnonzero(np.diff(np.concatenate([[True], cell, [True]]).astype(int)))
        lengths += (edges[1::2] - edges[::2]).tolist()
    table = filled().sgdsm.gaps()
    expected = pd.Series(lengths).value_counts().sort_index()
    assert table["gaps"].tolist() == expected.tolist()
    assert table.index.tolist() == expected.index.tolist()
    assert table["share"].sum() == pytest.approx(1)
    # a map every third day: lengths are days all the same
    third = own.isel(time=slice(None, None, 3))
    assert third.sgdsm.gaps(target="sm").index[0] == 3
    with pytest.raises(CubeError, match=r"nothing says which variable holds soil moisture among sm, rain, clay"):
        own.sgdsm.gaps()
    with pytest.raises(CubeError, match="target= is not given"):
        own.sgdsm.coverage(land="clay")


def test_figures_of_coverage_and_of_means_by_day(filled):
    made = filled()
    maps = made.sgdsm.plot_coverage().axes[0].collections[0].get_array()
    np.testing.assert_allclose(np.asarray(maps), made.sgdsm.coverage()["coverage"].values)
    figure = made.sgdsm.plot_hovmoeller("lon", time=slice("2020-01-05", "2020-01-20"), bbox=[5, 47, 8, 49])
    part = made.sel(time=slice("2020-01-05", "2020-01-20"), lat=slice(49, 47), lon=slice(5, 8))
    weight = np.cos(np.deg2rad(part["lat"]))
    for axis, name in zip(figure.axes[:2], ("sm", "sm_filled"), strict=True):
        drawn = np.ma.filled(axis.collections[0].get_array(), np.nan)
        expected = part[name].weighted(weight).mean("lat").transpose("lon", "time")
        np.testing.assert_allclose(drawn, expected.values, rtol=1e-6)
    with pytest.raises(CubeError, match="along='y': expected 'lat' or 'lon'"):
        made.sgdsm.plot_hovmoeller("y")
    assert made.isel(time=[0], lat=[0], lon=[0]).sgdsm.plot_hovmoeller()._repr_png_()


def test_series_of_a_place(filled):
    made = filled()
    east = made.assign_coords(lon=made["lon"] - 125)
    for lon in (-118, 242, 602):
        figure = east.sgdsm.plot_series(lat=48, lon=lon, time="2020-01-10:2020-01-19")
        (seen,) = (line for line in figure.axes[0].lines if line.get_label() == "observed")
        np.testing.assert_array_equal(seen.get_ydata(), east["sm"].sel(lat=48, lon=-118)[9:19].values)
    made["land"][2, 2] = 0
    with pytest.raises(CubeError, match=r"lat=48, lon=7 is not land; the nearest land is at lat=48, lon=6"):
        made.sgdsm.plot_series(lat=48, lon=7)
    with pytest.raises(CubeError, match="lon=100 lies outside the Dataset"):
        made.sgdsm.plot_series(lat=48, lon=100)
    with pytest.raises(CubeError, match="holds no day"):
        made.sgdsm.plot_series(lat=48, lon=6, time="2031:")


def test_trends_and_stations_are_those_of_the_commands(filled, run_command, tmp_path):
    made = filled(days=300)
    made.to_netcdf(tmp_path / "filled.nc")
    code, _, err = run_command("trends", "filled=filled.nc", "output=trends.nc", "step=raw")
    assert code == 0, err
    with xr.open_dataset(tmp_path / "trends.nc") as written:
        found = made.sgdsm.trends(step="raw")
        for name in ("slope_filled", "p_value_observed", "slope_difference"):
            np.testing.assert_allclose(found[name].values, written[name].values)
    days = made["time"].values.astype("datetime64[D]").astype(str)
    values = made["sm_filled"].values[:, 1, 2] + 0.03
    lines = [f"{day},A,49.1,7.2,{value:.4f}" for day, value in zip(days, values, strict=True)]
    (tmp_path / "st.csv").write_text("\n".join(["time,station,lat,lon,sm", *lines]) + "\n")
    words = ["least=20", "draws=20", "figures=false", "options={least_readings: 1}"]
    code, _, err = run_command("insitu", "filled=filled.nc", "stations=st.csv", "output=st", *words)
    assert code == 0, err
    table = made.sgdsm.insitu(tmp_path / "st.csv", least=20, draws=20, options={"least_readings": 1})
    written = pd.read_csv(tmp_path / "st" / "summary.csv").set_index(["group", "subset"])
    assert table.loc[("all", "filled"), "bias"] == pytest.approx(-0.03, abs=1e-4)
    for name in ("bias", "r_lower", "ubrmsd"):
        np.testing.assert_allclose(table[name].astype(float), written[name], rtol=1e-4, atol=1e-6)
    each = made.sgdsm.insitu(tmp_path / "st.csv", least=20, draws=20, options={"least_readings": 1}, each=True)
    assert {"observed", "filled"} <= set(each.index.get_level_values("subset"))
    with pytest.raises(CubeError, match="no station has 1000 pairs"):
        made.sgdsm.insitu(tmp_path / "st.csv", least=1000, options={"least_readings": 1})
    with pytest.raises(CubeError, match="whole years"):
        made.sgdsm.trends()
    with pytest.raises(ConfigError, match="members=1: expected None, or at least 2"):
        made.sgdsm.trends(step="raw", members=1)


def test_the_page_of_a_dataset(plain, tmp_path, monkeypatch):
    pytest.importorskip("bokeh", reason="the maps need bokeh")
    made = filled_record()
    members = members_of(made, 3)
    page = made.sgdsm.report(tmp_path / "new" / "page.html", title="<mine>", members=members)
    text = page.read_text()
    assert "<title>&lt;mine&gt;</title>" in text
    assert "3 members" in text
    with pytest.raises(CubeError, match="not a filled Dataset: no variable 'sm_filled'"):
        plain().sgdsm.report(tmp_path / "x.html")
    with pytest.raises(CubeError, match="no variable 'sm', which sm_filled names as observed"):
        made.drop_vars(["sm", "sm_source"]).sgdsm.report(tmp_path / "x.html")
    with pytest.raises(CubeError, match="sm_members is on another grid"):
        made.sgdsm.report(tmp_path / "x.html", members=members[:, :, 1:])
    with pytest.raises(ConfigError, match=r"x.txt: expected a name that ends in .html"):
        made.sgdsm.report(tmp_path / "x.txt")
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(ConfigError, match=r"pip install 'sgdsm\[report\]'"):
        made.sgdsm.report(tmp_path / "x.html")
    assert not list(tmp_path.glob("x.*"))


def test_every_method_is_described():
    for name, method in inspect.getmembers(SgdsmAccessor, inspect.isfunction):
        if not name.startswith("_"):
            text = inspect.getdoc(method) or ""
            assert "Returns:" in text, name
            parameters = [n for n in inspect.signature(method).parameters if n != "self"]
            assert all(f"{n}:" in text for n in parameters), (name, parameters)
            assert inspect.signature(method).return_annotation is not inspect.Signature.empty
