"""Calls from Python that cannot work: each ends in an error of the package that names the argument, at no cost."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import sgdsm
from sgdsm.core import memory
from sgdsm.core.cube import as_cube, open_cube
from sgdsm.core.errors import SgdsmError
from sgdsm.core.specification import build
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.data.splits import All, Blocks, Random
from sgdsm.evaluation.score import score
from sgdsm.models.checkpoint import save_filler
from sgdsm.models.classical.simple import Climatology
from sgdsm.models.uncertainty.correlation import Correlation
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.run import Run
from sgdsm.training.task import TrainerOptions

NAN = float("nan")
GAPS = "sgdsm.data.Gaps"


@pytest.fixture(scope="module")
def a(tmp_path_factory) -> SimpleNamespace:
    """What calls are made with: a Dataset `own`, a `cube`, a `run`, what it `filled`, `hidden` and `visible` values."""
    folder = tmp_path_factory.mktemp("api")
    rng = np.random.default_rng(0)
    sm = np.where(rng.random((40, 4, 5)) < 0.4, np.nan, 0.2).astype(np.float32)
    dims = ("time", "lat", "lon")
    own = xr.Dataset(
        {"sm": (dims, sm, {"units": "m3 m-3"}), "rain": (dims, np.ones(sm.shape), {"units": "mm d-1"})},
        {"time": xr.date_range("2020-01-01", periods=40), "lat": 50.0 - np.arange(4), "lon": 5.0 + np.arange(5)},
    )
    cube = as_cube(own, "sm")
    record, filler = read_record(cube), Climatology()
    filler.configure(Inputs.fit(record, Names.of(cube), record.observed, "m3 m-3", 1, "train"))
    save_filler(filler, folder / "model.ckpt")
    groups = ("data", "model", "gaps", "splits", "trainer", "uncertainty")
    (folder / "config.yaml").write_text("".join(f"{group}: {{}}\n" for group in groups) + "seed: 0\n")
    filled = sgdsm.fill(cube, folder)
    std = (dims, np.full(sm.shape, 0.04), Correlation((0.5,), (100.0,), (3.0,)).attributes())
    mask = np.zeros(sm.shape, bool)
    mask[3] = np.isfinite(sm[3])
    hidden = xr.Dataset({"truth": (dims, sm), "day": (dims, mask)}, own.coords, {"target": "sm"})
    visible = own.assign(sm=own["sm"].where(~mask))
    return SimpleNamespace(
        own=own, cube=cube, run=str(folder), filled=filled.assign(sm_std=std), hidden=hidden, visible=visible
    )


def score_of(a: SimpleNamespace, **more: Any) -> Any:
    return score(a.filled, a.hidden, a.visible, **more)


CALLS: list[tuple[str, Callable[[SimpleNamespace], Any]]] = [
    # cubes
    ("dataset=None", lambda a: as_cube(None)),
    ("dataset='mine.nc'", lambda a: as_cube("mine.nc", "sm")),
    ("dataset=(DataArray)", lambda a: as_cube(a.own["sm"], "sm")),
    ("target=None", lambda a: as_cube(a.own, None)),
    ("target=['sm']", lambda a: as_cube(a.own, ["sm"])),
    ("dynamic='rain': expected list[str]", lambda a: as_cube(a.own, "sm", "rain")),
    ("dynamic=None", lambda a: as_cube(a.own, "sm", dynamic=None)),
    ("dynamic=[None]", lambda a: as_cube(a.own, "sm", dynamic=[None])),
    ("dynamic=(Dataset)", lambda a: as_cube(a.own, "sm", dynamic=a.own[["rain"]])),
    ("static='rain'", lambda a: as_cube(a.own, "sm", static="rain")),
    ("flag=5", lambda a: as_cube(a.own, "sm", flag=5)),
    ("land=True", lambda a: as_cube(a.own, "sm", land=True)),
    ("precipitation=['rain']", lambda a: as_cube(a.own, "sm", ["rain"], precipitation=["rain"])),
    ("missing_days='fill': expected one of refuse, insert", lambda a: as_cube(a.own, "sm", missing_days="fill")),
    ("circular_longitude='yes'", lambda a: as_cube(a.own, "sm", circular_longitude="yes")),
    ("repeat_cycle_days=8.5", lambda a: as_cube(a.own, "sm", repeat_cycle_days=8.5)),
    ("repeat_cycle_days=-8: expected", lambda a: as_cube(a.own, "sm", repeat_cycle_days=-8)),
    ("repeat_cycle_days=1000000: expected", lambda a: as_cube(a.own, "sm", repeat_cycle_days=10**6)),
    ("uncertainty=0.04", lambda a: as_cube(a.own, "sm", uncertainty=0.04)),
    ("'tagret'; known are dataset, target", lambda a: as_cube(a.own, tagret="sm")),
    ("cube=None", lambda a: sgdsm.check_cube(None)),
    ("cube=(DataArray)", lambda a: sgdsm.check_cube(a.cube["sm"])),
    ("path=None", lambda a: open_cube(None, "sm")),
    ("path=5", lambda a: open_cube(5, "sm")),
    ("target=None", lambda a: open_cube("mine.nc", None)),
    # filling
    ("dataset=None", lambda a: sgdsm.fill(None, a.run)),
    ("dataset='mine.nc'", lambda a: sgdsm.fill("mine.nc", a.run)),
    ("run=5", lambda a: sgdsm.fill(a.cube, 5)),
    ("run=(Dataset)", lambda a: sgdsm.fill(a.cube, a.cube)),
    ("run=nowhere: no such folder", lambda a: sgdsm.fill(a.cube, "nowhere")),
    ("max_gap_days='30'", lambda a: sgdsm.fill(a.cube, a.run, "30")),
    ("max_gap_days=nan: expected a finite number", lambda a: sgdsm.fill(a.cube, a.run, NAN)),
    ("max_gap_days=True", lambda a: sgdsm.fill(a.cube, a.run, True)),
    ("max_gap_days=-1", lambda a: sgdsm.fill(a.cube, a.run, -1)),
    ("max_gap_days=1000000000: expected whole days, 1 to 364", lambda a: sgdsm.fill(a.cube, a.run, 10**9)),
    ("'tagret' (did you mean 'target'?)", lambda a: sgdsm.fill(a.cube, a.run, tagret="sm")),
    ("target=None", lambda a: sgdsm.fill(a.cube, a.run, target=None)),
    ("dynamic='rain'", lambda a: a.own.sgdsm.fill(a.run, dynamic="rain")),
    # members
    ("filled=None", lambda a: sgdsm.members(None)),
    ("filled='filled.nc'", lambda a: sgdsm.members("filled.nc")),
    ("count=0: expected at least 1", lambda a: a.filled.sgdsm.members(0)),
    ("count=-3", lambda a: a.filled.sgdsm.members(-3)),
    ("count=2.5", lambda a: a.filled.sgdsm.members(2.5)),
    ("count=nan", lambda a: a.filled.sgdsm.members(NAN)),
    ("count=None", lambda a: a.filled.sgdsm.members(None)),
    ("count='20'", lambda a: a.filled.sgdsm.members("20")),
    ("count=(ndarray)", lambda a: a.filled.sgdsm.members(np.arange(5))),
    ("count=1000000000: takes 2.98e+03 GiB", lambda a: a.filled.sgdsm.members(10**9)),
    ("count=1000000000000000000000000000000: expected int below", lambda a: a.filled.sgdsm.members(10**30)),
    ("seed=-1: expected 0 or more", lambda a: a.filled.sgdsm.members(seed=-1)),
    ("seed=1.5", lambda a: a.filled.sgdsm.members(seed=1.5)),
    ("seed=None", lambda a: a.filled.sgdsm.members(seed=None)),
    ("sm_filled has dims", lambda a: a.filled.isel(time=0).sgdsm.members()),
    ("time holds int64", lambda a: a.filled.drop_vars("time").sgdsm.members()),
    ("coordinate 'lat'", lambda a: a.filled.drop_vars("lat").sgdsm.members()),
    # drawing; more in test_figures.py
    ("day=None", lambda a: a.filled.sgdsm.plot_day(None)),
    ("day=2099-01-01", lambda a: a.filled.sgdsm.plot_day("2099-01-01")),
    ("observed=3", lambda a: a.filled.sgdsm.plot_day("2020-01-03", observed=3)),
    ("place: expected lat= and lon=", lambda a: a.filled.sgdsm.plot_series()),
    ("lat=nan", lambda a: a.filled.sgdsm.plot_series(lat=NAN, lon=7)),
    ("lon=100000000000000000", lambda a: a.filled.sgdsm.plot_series(lat=48, lon=10**400)),
    ("observed=['sm']", lambda a: a.filled.sgdsm.plot_series(["sm"], lat=48, lon=7)),
    # products and runs
    ("name=None", lambda a: sgdsm.open_product(None, "x")),
    ("paths=None", lambda a: sgdsm.open_product("esa_cci", None)),
    ("paths=5", lambda a: sgdsm.open_product("esa_cci", 5)),
    ("paths=[None]", lambda a: sgdsm.open_product("esa_cci", [None])),
    ("on_bad_file='ignore': expected one of fail, skip", lambda a: sgdsm.open_product("esa_cci", "x", "ignore")),
    ("product 'esacci' (did you mean 'esa_cci'?)", lambda a: sgdsm.open_product("esacci", ".")),
    ("no option 'bands'", lambda a: sgdsm.open_product("esa_cci", "x", bands=3)),
    ("variables=5", lambda a: sgdsm.open_product("netcdf_grid", "x", variables=5)),
    ("overpass=None", lambda a: sgdsm.open_product("smap_l3", "x", overpass=None)),
    ("folder=None", lambda a: Run(None)),
    ("folder=['a']", lambda a: Run(["a"])),
    ("spec=None: expected settings with _target_", lambda a: build(None, Gaps)),
    ("spec='x'", lambda a: build("x", Gaps)),
    ("_target_: 5", lambda a: build({"_target_": 5}, Gaps)),
    ("Gaps.fraction='a'", lambda a: build({"_target_": GAPS, "fraction": "a"}, Gaps)),
    ("Gaps.fraction=nan: expected a finite number", lambda a: build({"_target_": GAPS, "fraction": NAN}, Gaps)),
    # scores
    ("filled=None", lambda a: score(None, None, None)),
    ("hidden=None", lambda a: a.filled.sgdsm.scores(None, None)),
    ("visible=5", lambda a: a.filled.sgdsm.scores(a.hidden, 5)),
    ("precipitation=5", lambda a: score_of(a, precipitation=5)),
    ("temperature=True", lambda a: score_of(a, temperature=True)),
    ("days_at_once=0: expected at least 1", lambda a: score_of(a, days_at_once=0)),
    ("days_at_once=-1", lambda a: score_of(a, days_at_once=-1)),
    ("days_at_once='all'", lambda a: score_of(a, days_at_once="all")),
    # gaps, splits, options, worlds
    ("fraction='0.3'", lambda a: Gaps(fraction="0.3")),
    ("fraction=None", lambda a: Gaps(fraction=None)),
    ("fraction=nan", lambda a: Gaps(fraction=NAN)),
    ("fraction=1e+30", lambda a: Gaps(fraction=1e30)),
    ("outages=nan", lambda a: Gaps(outages=NAN)),
    ("donor_days=-1", lambda a: Gaps(donor_days=-1)),
    ("donor_days=1.5", lambda a: Gaps(donor_days=1.5)),
    ("bank=None", lambda a: Gaps(bank=None)),
    ("outage_days=None", lambda a: Gaps(outage_days=None)),
    ("outage_days=5", lambda a: Gaps(outage_days=5)),
    ("outage_days=[6]", lambda a: Gaps(outage_days=(6,))),
    ("outage_rows=('a', 'b')", lambda a: Gaps(outage_rows=("a", "b"))),
    ("match='yes'", lambda a: Gaps(match="yes")),
    ("'fractions'; known are fraction", lambda a: Gaps(fractions=0.3)),
    ("fraction=-0.1", lambda a: All(fraction=-0.1)),
    ("fraction=nan", lambda a: All(fraction=NAN)),
    ("seed=-1", lambda a: All(seed=-1)),
    ("seed=1e+24", lambda a: All(seed=1e24)),
    ("seed=1000000000000000000000000: expected int below 2**63", lambda a: All(seed=10**24)),
    ("block_days=0", lambda a: Blocks(block_days=0)),
    ("block_days=nan", lambda a: Blocks(block_days=NAN)),
    ("block_days='30'", lambda a: Blocks(block_days="30")),
    ("separation_days=-1", lambda a: Blocks(separation_days=-1)),
    ("shares=None", lambda a: Blocks(shares=None)),
    ("shares='abcd'", lambda a: Blocks(shares="abcd")),
    ("shares=(nan, nan, nan, nan)", lambda a: Blocks(shares=(NAN, NAN, NAN, NAN))),
    ("hidden=2", lambda a: Blocks(hidden=2)),
    ("seed='x'", lambda a: Blocks(seed="x")),
    ("shares=(0.5, 0.5)", lambda a: Random(shares=(0.5, 0.5))),
    ("seed=-1", lambda a: Random(seed=-1)),
    ("devices=None", lambda a: TrainerOptions(devices=None)),
    ("memory_gib=nan", lambda a: TrainerOptions(memory_gib=NAN)),
    ("gradient_clip=inf", lambda a: TrainerOptions(gradient_clip=float("inf"))),
    ("rows='a'", lambda a: simulate(rows="a")),
    ("seed=-1", lambda a: simulate(seed=-1)),
    ("days=1000000000: expected at most 1000000", lambda a: simulate(days=10**9)),
    ("days=1000000: takes 60.1 GiB", lambda a: simulate(days=10**6)),
]


@pytest.mark.parametrize(("told", "call"), CALLS, ids=[f"{k}-{told[:30]}" for k, (told, _) in enumerate(CALLS)])
def test_a_call_that_cannot_work_names_its_argument(told, call, a):
    tracemalloc.start()
    try:
        with pytest.raises(SgdsmError) as caught:
            call(a)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert told in text
    assert len(text.splitlines()) == 1
    assert peak < 2**26


def test_calls_that_work_are_let_through(a):
    """Numbers of numpy, paths, and names in a tuple count as what they are."""
    as_cube(a.own, np.str_("sm"), ("rain",), repeat_cycle_days=np.int64(8))
    assert a.filled.sgdsm.members(np.int64(2), seed=np.uint8(3)).sizes["member"] == 2
    assert Gaps(np.float32(0.25), outage_days=[6, np.int16(15)]).spec["outage_days"] == [6, 15]
    assert All(0.1).spec == {"_target_": "sgdsm.data.All", "fraction": 0.1, "seed": 0}
    assert score_of(a, days_at_once=np.int64(2)).table()["all"]["n"] > 0
    assert TrainerOptions(devices=[0]).devices == [0]


@pytest.mark.parametrize("content", ["MemAvailable:   1024 kB\n", "nothing of the kind\n", None])
def test_members_are_refused_by_the_memory_that_is_free(content, a, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    if content is not None:
        memory.MEMINFO.write_text(content)
    told = content is not None and "Available" in content
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    assert memory.free_gib() == pytest.approx(1 / 1024 if told else everything)
    if told:
        with pytest.raises(SgdsmError, match=r"count=400: takes 0.00119 GiB of memory, 0.000977 GiB are free"):
            a.filled.sgdsm.members(400)
    assert a.filled.sgdsm.members(300).sizes["member"] == 300
