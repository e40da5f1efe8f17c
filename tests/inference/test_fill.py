from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from sgdsm.core.cube import as_cube
from sgdsm.core.errors import ConfigError, CubeError
from sgdsm.core.filled import NONE
from sgdsm.core.io.hdf5 import join_packed, pack
from sgdsm.core.region import Box, box_of
from sgdsm.core.specification import build
from sgdsm.core.tiling import Axis
from sgdsm.data.batch import Batch, Filled
from sgdsm.data.normalization import Inputs, season_basis
from sgdsm.data.record import Names, day_numbers, read_record
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.reader import SlabReader
from sgdsm.inference.schema import BOUNDS, PARTS
from sgdsm.inference.slabs import plan_slabs
from sgdsm.inference.survey import Overview, Surveyor, prior_of, survey
from sgdsm.inference.writers import MemoryOutput, NetcdfOutput, ZarrOutput, writer_for
from sgdsm.models.base import GapFiller, Window
from sgdsm.models.classical.simple import Climatology
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.task import TrainerOptions

QUIET = {"enable_progress_bar": False}
SMALL_SLABS = 2e-5


@pytest.fixture
def filler(world) -> GapFiller:
    """Small windows: a small budget of memory makes many slabs."""
    made = fitted("sgdsm.models.Climatology", world)
    made.window = Window(days=20, cells=4, halo_days=0, halo_cells=0)
    return made


def fitted(path: str, cube: xr.Dataset) -> GapFiller:
    made = build({"_target_": path}, GapFiller)
    record = read_record(cube)
    made.configure(Inputs.fit(record, Names.of(cube), record.observed, "m3 m-3", 1, "train"))
    return made.eval()


class Sure(Climatology):
    """Gives all that a filler may give."""

    level, decomposes = 0.9, True

    def fill(self, batch: Batch) -> Filled:
        mean = super().fill(batch).mean
        std = torch.full_like(mean, 0.05)
        return Filled(mean, std, mean - 0.08, mean + 0.08, 0.6 * std)


@pytest.fixture
def sure(world, filler) -> GapFiller:
    made = Sure()
    made.configure(filler.inputs)
    made.window = filler.window
    return made.eval()


def in_memory(cube: xr.Dataset, filler: GapFiller, **more: object) -> xr.Dataset:
    output = MemoryOutput()
    fill_cube(cube, filler, output, trainer=QUIET, **more)
    return output.dataset


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("memory_gib", [1.0, SMALL_SLABS])
def test_files_hold_what_memory_holds(world, filler, tmp_path, suffix, memory_gib):
    path = tmp_path / f"filled{suffix}"
    fill_cube(world, filler, writer_for(path), memory_gib=memory_gib, trainer=QUIET)
    expected = in_memory(world, filler)
    with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else None) as got:
        assert set(got.data_vars) == set(expected.data_vars) == {"sm", "sm_filled", "sm_source", "gap_age", "land"}
        for name in expected.variables:
            np.testing.assert_array_equal(got[name].values, expected[name].values, err_msg=name)
            assert got[name].attrs.keys() == expected[name].attrs.keys(), name
        assert got["sm_filled"].attrs["units"] == "m3 m-3"
        assert "_FillValue" not in got["lat"].encoding
    leftover = {p.name for p in tmp_path.iterdir()}
    assert leftover == {path.name}


@pytest.mark.parametrize("least", [1, 8, 64])
def test_a_chunk_holds_the_rows_of_several_small_slabs_on_one_day(world, filler, tmp_path, monkeypatch, least):
    monkeypatch.setattr("sgdsm.inference.writers.LEAST_ROWS", least)
    fill_cube(world, filler, NetcdfOutput(tmp_path / "whole.nc"), trainer=QUIET)
    # bands of 4 rows: the last has fewer
    fill_cube(world, filler, NetcdfOutput(tmp_path / "bands.nc"), memory_gib=SMALL_SLABS, trainer=QUIET)
    rows, columns = world["land"].shape
    assert rows % 4
    assert rows > 8
    with h5py.File(tmp_path / "whole.nc") as whole, h5py.File(tmp_path / "bands.nc") as bands:
        assert whole["sm_filled"].chunks == (1, rows, columns)
        assert bands["sm_filled"].chunks == bands["gap_age"].chunks == (1, {1: 4, 8: 8, 64: rows}[least], columns)
        assert bands["sm_filled"].compression == "gzip"
        assert bands["sm_filled"].shuffle
        for name in whole:
            np.testing.assert_array_equal(whole[name], bands[name], err_msg=name)


def test_a_filler_of_the_whole_record(world):
    linear = fitted("sgdsm.models.LinearTime", world)
    linear.window = Window(days=None, cells=4, halo_cells=0)
    a, b = (in_memory(world, linear, memory_gib=m)["sm_filled"].values for m in (1.0, SMALL_SLABS))
    np.testing.assert_array_equal(a, b)


def test_gap_age_is_of_the_whole_record(world, filler):
    got = in_memory(world, filler, memory_gib=SMALL_SLABS)
    observed = np.isfinite(world["sm"].values)
    land = world["land"].values
    days = np.arange(len(observed))
    for row, column in np.argwhere(land)[::7]:
        seen = np.flatnonzero(observed[:, row, column])
        expected = abs(days[:, None] - seen[None]).min(1)
        np.testing.assert_array_equal(got["gap_age"].values[:, row, column], expected)
    assert np.isnan(got["gap_age"].values[:, ~land]).all()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_nothing_is_filled_farther_than_the_cap_from_an_observation(world, sure, tmp_path, suffix):
    whole, path = in_memory(world, sure), tmp_path / f"capped{suffix}"
    fill_cube(world, sure, writer_for(path), max_gap_days=2, memory_gib=SMALL_SLABS, trainer=QUIET)
    far = whole["gap_age"].values > 2
    assert far.any()
    assert ((whole["gap_age"].values > 0) & ~far).any()
    with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else None) as got:
        assert got.attrs["max_gap_days"] == 2
        assert (got["sm_source"].values[far] == NONE).all()
        for name in {"sm_filled", *BOUNDS, *PARTS} & set(whole):
            np.testing.assert_array_equal(got[name].values, np.where(far, np.nan, whole[name].values), err_msg=name)
        np.testing.assert_array_equal(got["sm_source"].values[~far], whole["sm_source"].values[~far])
        np.testing.assert_array_equal(got["gap_age"].values, whole["gap_age"].values)
    assert "max_gap_days" not in whole.attrs
    for cap in (3, None):
        with pytest.raises(ConfigError, match="is of another run"):
            fill_cube(world, sure, writer_for(path), max_gap_days=cap, memory_gib=SMALL_SLABS, trainer=QUIET)


@pytest.mark.parametrize("cap", [0, -3, 2.5, True, 365])
def test_caps_that_are_none(world, filler, cap):
    with pytest.raises(ConfigError, match=f"max_gap_days={cap}: expected whole days, 1 to 364"):
        in_memory(world, filler, max_gap_days=cap)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_product_s_own_uncertainty_is_written_where_observed(world, unsure_world, sure, tmp_path, suffix):
    path, observed = tmp_path / f"filled{suffix}", np.isfinite(world["sm"].values)
    errors = np.where(observed, unsure_world["sm_uncertainty"].values, np.nan)
    fill_cube(unsure_world, sure, writer_for(path), memory_gib=SMALL_SLABS, trainer=QUIET)
    plain = in_memory(world, sure)
    with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else None) as got:
        half_width = 1.6448536 * errors
        own = {"sm_std": errors, "sm_lower": world["sm"] - half_width, "sm_upper": world["sm"] + half_width}
        for name in plain.data_vars:
            expected = np.where(observed, own[name], plain[name].values) if name in own else plain[name].values
            np.testing.assert_allclose(got[name].values, expected, rtol=1e-5, err_msg=name)
        assert np.isnan(got["sm_std"].values[observed]).any()
        for name in own:
            assert (
                got[name].attrs["long_name"].endswith("; where observed from the product's own uncertainty, or missing")
            )
            assert plain[name].attrs["long_name"].endswith("; missing where observed")
        assert got["sm_std_epistemic"].attrs["long_name"].endswith("; missing where observed")
    box = Box(slice(20, 60), slice(2, 6), slice(3, 9))
    part = in_memory(unsure_world, sure, box=box, memory_gib=SMALL_SLABS)
    expected = np.where(observed, errors, plain["sm_std"].values)[box]
    np.testing.assert_array_equal(part["sm_std"].values, expected)


def test_a_box_holds_what_the_whole_holds_there(world, filler, tmp_path):
    whole = in_memory(world, filler)
    box = box_of(world, ("2015-06-01", "2015-06-20"), [-122, 43, -114, 47])
    part = in_memory(world, filler, box=box, memory_gib=SMALL_SLABS)
    assert part.sizes == {"time": 20, "lat": 4, "lon": 8}
    xr.testing.assert_equal(part.drop_attrs(), whole.isel(time=box.days, lat=box.rows, lon=box.columns).drop_attrs())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_interrupted_output_is_resumed_with_the_unfinished_slabs(world, filler, tmp_path, suffix):
    path = tmp_path / f"filled{suffix}"
    first, second = recording(writer_for(path), stop_after=3), recording(writer_for(path))
    with pytest.raises(KeyboardInterrupt):
        _fill_directly(world, filler, first)
    assert len(first.recorded) == 3
    _fill_directly(world, filler, second)
    assert len(second.recorded) > 3
    assert not set(first.recorded) & set(second.recorded)
    with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else None) as got:
        np.testing.assert_array_equal(got["sm_filled"].values, in_memory(world, filler)["sm_filled"].values)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_output_that_was_begun_keeps_its_slabs(world, filler, tmp_path, suffix):
    """They follow from the memory, which may be that of another machine."""
    path = tmp_path / f"filled{suffix}"
    first, second = recording(writer_for(path), stop_after=3), recording(writer_for(path))
    box = Box(slice(20, 60), slice(2, 9), slice(3, 9))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fill_cube(world, filler, first, box=box, memory_gib=SMALL_SLABS, trainer=QUIET)
    fill_cube(world, filler, second, box=box, memory_gib=1.0, trainer=QUIET)
    assert len(second.slabs) == 4
    assert sorted(first.recorded + second.recorded) == list(range(len(second.slabs)))
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    # a finished one has the same values, whatever its slabs were
    fill_cube(world, filler, writer_for(path), box=box, memory_gib=1.0, trainer=QUIET)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
    with xr.open_dataset(path, engine="zarr" if suffix == ".zarr" else None) as got:
        xr.testing.assert_equal(got.load().drop_attrs(), in_memory(world, filler, box=box).drop_attrs())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_output_that_was_begun_keeps_its_precision(world, tmp_path, monkeypatch, caplog, suffix):
    """Also on a processor with other instructions."""
    net = build({"_target_": "sgdsm.models.Seamless", "width": 8, "blocks": 1, "window_days": 40}, GapFiller)
    net.window = Window(40, 8, None, 1)
    record = read_record(world)
    net.configure(Inputs.fit(record, Names.of(world), record.observed, "m3 m-3", 1, "train"))
    with torch.no_grad():
        net.output.weight.normal_()
    net.eval()

    def fill(path: Path, has_bf16: bool, stop_after: int = 10**6, setting: str = "auto") -> None:
        monkeypatch.setattr("sgdsm.models.networks.base.has_bf16", lambda kind: has_bf16)
        options = TrainerOptions(precision=setting, accelerator="cpu", progress=False)
        options.prepare(net)
        precision = {"setting": setting, "used": options.precision_of(net)}
        writer, trainer = recording(writer_for(path), stop_after), options.predicting()
        fill_cube(world, net, writer, memory_gib=SMALL_SLABS, trainer=trainer, precision=precision)

    values = {}
    for name, has_bf16 in (("bf16", True), ("fp32", False)):
        path, whole = tmp_path / f"{name}{suffix}", tmp_path / f"whole_{name}{suffix}"
        fill(whole, has_bf16)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fill(path, has_bf16, stop_after=2)
        with pytest.raises(ConfigError, match=r"begun with trainer\.precision=auto: go on with that"):
            fill(path, has_bf16, setting="32-true")
        with caplog.at_level("INFO", "sgdsm"):
            fill(path, not has_bf16)
        engine = "zarr" if suffix == ".zarr" else None
        with xr.open_dataset(path, engine=engine) as got, xr.open_dataset(whole, engine=engine) as expected:
            values[name] = got["sm_filled"].values
            np.testing.assert_array_equal(values[name], expected["sm_filled"].values)
    assert (np.nan_to_num(values["bf16"]) != np.nan_to_num(values["fp32"])).any()
    for used in ("bf16-mixed", "32-true"):
        assert f"going on in precision {used}, in which the output was begun" in caplog.text


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: whole[:-7], lambda whole: whole[:50] + whole[60:]])
def test_a_slab_that_is_not_whole_is_filled_again(world, filler, tmp_path, damage):
    path = tmp_path / "filled.nc"
    first, second = recording(writer_for(path), stop_after=3), recording(writer_for(path))
    with pytest.raises(KeyboardInterrupt):
        _fill_directly(world, filler, first)
    part = sorted((tmp_path / "filled.nc.parts").glob("slab-*.chunks"))[0]
    part.write_bytes(damage(part.read_bytes()))
    _fill_directly(world, filler, second)
    assert first.recorded[0] in second.recorded
    with xr.open_dataset(path) as got:
        np.testing.assert_array_equal(got["sm_filled"].values, in_memory(world, filler)["sm_filled"].values)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_an_output_is_resumed_wherever_it_was_killed(tmp_path, suffix):
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("crash.py")), str(tmp_path), suffix]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


def recording(writer, stop_after: int = 10**6):
    """A writer that notes what it writes, and is interrupted after some slabs."""
    write, writer.recorded = writer.write, []

    def noted(slab: int, values: dict[str, np.ndarray]) -> None:
        if len(writer.recorded) == stop_after:
            raise KeyboardInterrupt
        write(slab, values)
        writer.recorded.append(slab)

    writer.write = noted
    return writer


def _fill_directly(world, filler, writer) -> None:
    # Lightning turns an interrupt into an exit; the writer must cope with either
    try:
        fill_cube(world, filler, writer, memory_gib=SMALL_SLABS, trainer=QUIET)
    except SystemExit as error:
        raise KeyboardInterrupt from error


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_finished_output_is_kept_and_that_of_another_run_not_overwritten(world, filler, tmp_path, suffix):
    path = tmp_path / f"filled{suffix}"
    fill_cube(world, filler, writer_for(path), identity="a", trainer=QUIET)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.rglob("*"))
    fill_cube(world, filler, writer_for(path), identity="a", trainer=QUIET)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before
    with pytest.raises(ConfigError, match="is of another run"):
        fill_cube(world, filler, writer_for(path), identity="b", trainer=QUIET)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")) == before


def test_slabs_of_another_run_are_not_mixed_in(world, filler, tmp_path):
    output = NetcdfOutput(tmp_path / "filled.nc")
    parts = tmp_path / "filled.nc.parts"
    parts.mkdir()
    (parts / "plan.json").write_text('{"digest": "other"}')
    (parts / "slab-00000.chunks").write_bytes(b"not ours")
    with pytest.raises(ConfigError, match="holds slabs of another run"):
        fill_cube(world, filler, output, trainer=QUIET)
    (parts / "plan.json").unlink()
    fill_cube(world, filler, output, trainer=QUIET)
    assert not parts.exists()


def test_one_file_a_year(world, filler, tmp_path):
    longer = world.isel(time=slice(0, 20)).assign_coords(time=xr.date_range("2015-12-25", periods=20))
    fill_cube(longer, filler, writer_for(tmp_path / "filled_{year}.nc"), trainer=QUIET)
    with xr.open_dataset(tmp_path / "filled_2015.nc") as a, xr.open_dataset(tmp_path / "filled_2016.nc") as b:
        assert a.sizes["time"] == 7
        joined = np.concatenate([a["sm_filled"].values, b["sm_filled"].values])
    np.testing.assert_array_equal(joined, in_memory(longer, filler)["sm_filled"].values)


def test_output_names_that_cannot_work(tmp_path):
    (tmp_path / "file").touch()
    for name, message in (
        ("x.tif", "ending in .nc or .zarr"),
        ("file/x.nc", "file is a file, expected a folder"),
        ("{year}.zarr", "all years"),
    ):
        with pytest.raises(ConfigError, match=message):
            writer_for(tmp_path / name)


def test_what_the_run_needs_must_be_there(world, filler):
    with pytest.raises(CubeError, match=r"the cube lacks \['precipitation'\]"):
        in_memory(world.drop_vars("precipitation"), filler)
    with pytest.raises(CubeError, match="a map every 2 days"):
        in_memory(world.isel(time=slice(None, None, 2)), filler)
    depth = world.copy()
    depth["sm"] = depth["sm"].assign_attrs(units="mm")
    with pytest.raises(CubeError, match="'sm' is in 'mm', expected 'm3 m-3' as in training"):
        in_memory(depth, filler)
    empty = world.copy()
    empty["sm"] = empty["sm"].where(False).assign_attrs(world["sm"].attrs)
    with pytest.raises(CubeError, match="has no observed value"):
        in_memory(empty, filler)


def test_one_day_and_one_cell(world):
    climatology = fitted("sgdsm.models.Climatology", world)
    day = int(np.isfinite(world["sm"].values).sum((1, 2)).argmax())
    one_day = in_memory(world.isel(time=[day]), climatology)
    assert np.isfinite(one_day["sm_filled"].values[:, world["land"].values]).all()
    row, column = np.argwhere(np.isfinite(world["sm"].values).any(0))[0]
    one_cell = in_memory(world.isel(lat=[row], lon=[column]), climatology)
    assert np.isfinite(one_cell["sm_filled"].values).all()


def test_another_name_of_the_target_is_kept(world, filler):
    renamed = world.rename(sm="swi")
    assert "swi" in in_memory(renamed, filler)
    clash = world.rename(sm="gap_age")
    with pytest.raises(CubeError, match="rename it"):
        in_memory(clash, filler)


def test_infinite_values_are_named(world, filler):
    broken = world.copy(deep=True)
    broken["precipitation"].values[3, 1, 2] = np.inf
    with pytest.raises(CubeError, match=r"'precipitation' has 1 infinite values, the first at .*2015-04-04"):
        in_memory(broken, filler)


def test_a_covariate_that_is_gappy_only_now_is_logged(world, caplog):
    climatology = fitted("sgdsm.models.Climatology", world)
    gappy = world.copy(deep=True)
    gappy["precipitation"].values[5] = np.nan
    with caplog.at_level("INFO", "sgdsm"):
        in_memory(gappy, climatology, memory_gib=SMALL_SLABS)
    assert caplog.text.count("covariate 'precipitation' has gaps here") == 1


def test_a_covariate_is_looked_at_again_only_where_it_has_gaps(world, monkeypatch):
    climatology = fitted("sgdsm.models.Climatology", world)
    looked = []

    def noted(reader: SlabReader, name: str, everywhere: bool) -> None:
        if name not in reader.inputs.gappy:
            looked.append((name, everywhere))

    monkeypatch.setattr(SlabReader, "_log_gappy", noted)
    in_memory(world, climatology, memory_gib=SMALL_SLABS)
    assert not looked
    gappy = world.copy(deep=True)
    sea = ~world["land"].values
    gappy["precipitation"].values[:, sea] = np.nan
    in_memory(gappy, climatology, memory_gib=SMALL_SLABS)
    assert not looked
    gappy["precipitation"].values[:] = np.nan
    in_memory(gappy, climatology)
    assert looked == [("precipitation", True)]


def test_packed_rows_are_joined_without_unpacking():
    rng = np.random.default_rng(0)
    for dtype in (np.int8, np.int16, np.float32):
        rows = [rng.integers(-3, 3, (n, 7)).astype(dtype) for n in (1, 4, 9000)]
        shuffled = np.concatenate(rows).view(np.uint8).reshape(-1, np.dtype(dtype).itemsize).T.tobytes()
        # it checks the checksum
        assert zlib.decompress(join_packed([pack(part) for part in rows], [part.size for part in rows])) == shuffled


def test_slabs_cover_a_box_once():
    axes = (Axis(731, 64, 16, False), Axis(200, 48, 6, True), Axis(300, 48, 6, True))
    for memory in (1e-6, 0.01, 0.1, 10.0):
        for box in (Box(slice(0, 731), slice(0, 200), slice(0, 300)), Box(slice(50, 130), slice(7, 40), slice(0, 9))):
            count = np.zeros((731, 200), int)
            for slab in plan_slabs(axes, 4, memory, box):
                count[slice(*slab.days), slice(*slab.rows)] += 1
            assert (count[box.days, box.rows] == 1).all()
            assert count.sum() == count[box.days, box.rows].size


def test_survey_knows_what_lies_around_a_box(world):
    boxes = [slice(0, 40), slice(24, 90), slice(74, 150)]
    land = world["land"].values
    overview = survey(world["sm"], land, boxes, prior_of(world["sm"], land, 1.0))
    assert isinstance(overview, Overview)
    observed = np.isfinite(world["sm"].values)
    for box in boxes:
        for row, column in np.argwhere(world["land"].values)[::11]:
            before = np.flatnonzero(observed[: box.start, row, column])
            after = np.flatnonzero(observed[box.stop :, row, column])
            expected = box.start - before[-1] if before.size else 366
            assert overview.before[box.start][row, column] == expected
            assert overview.after[box.stop][row, column] == (after[0] + 1 if after.size else 366)


def test_global_grid_has_no_seam(world):
    """Turning a global cube about the axis turns the result."""
    lon = np.arange(-180, 180, 360 / 14)
    rng = np.random.default_rng(0)
    sm = (0.2 + 0.05 * rng.standard_normal((60, 6, 14))).astype(np.float32)
    sm[rng.random(sm.shape) < 0.5] = np.nan
    space = {"time": xr.date_range("2020-01-01", periods=60), "lat": 50.0 - np.arange(6), "lon": lon}
    cube = as_cube(xr.Dataset({"sm": (("time", "lat", "lon"), sm, {"units": "m3 m-3"})}, space), "sm")
    assert cube.attrs["circular_longitude"] == 1
    spec = {"_target_": "sgdsm.models.PartialConvNetwork", "window_days": 60, "width": 8, "memory": 1}
    filler = build({**spec, "channels": 4}, GapFiller)
    record = read_record(cube)
    filler.configure(Inputs.fit(record, Names.of(cube), record.observed, "m3 m-3", 1, "train"))
    filler.output.weight.data.normal_()
    filler.eval()
    turned = cube.assign(sm=cube["sm"].copy(data=np.roll(sm, 5, 2)), land=cube["land"].roll(lon=5))
    a, b = (in_memory(c, filler)["sm_filled"].values for c in (cube, turned))
    np.testing.assert_allclose(np.roll(a, 5, 2), b, atol=1e-5)


def test_zarr_of_something_else_is_left_alone(world, filler, tmp_path):
    zarr.open_group(tmp_path / "mine.zarr", mode="w").attrs["mine"] = 1
    with pytest.raises(ConfigError, match="another run"):
        fill_cube(world, filler, ZarrOutput(tmp_path / "mine.zarr"), trainer=QUIET)
    with h5py.File(tmp_path / "mine.nc", "w") as file:
        file["x"] = 1
    with pytest.raises(ConfigError, match="another run"):
        fill_cube(world, filler, NetcdfOutput(tmp_path / "mine.nc"), trainer=QUIET)


def test_the_prior_of_a_large_record_comes_from_a_sample(monkeypatch):
    cube = simulate(rows=60, columns=40, days=731, resolution=0.5)
    land = cube["land"].values
    whole = prior_of(cube["sm"], land, 1.0)
    monkeypatch.setattr("sgdsm.inference.survey.PRIOR_VALUES", 0)
    some = prior_of(cube["sm"], land, 1.0)
    assert abs(some.coefficients[0] - whole.coefficients[0]) < 0.05
    empty = cube["sm"].where(False)
    with pytest.raises(CubeError, match="no observed value"):
        prior_of(empty, land, 1.0)
    single = empty.copy()
    single[5, 30, 20] = 0.2
    assert prior_of(single, np.ones_like(land), 1.0).coefficients[0] == pytest.approx(0.2)


@pytest.mark.parametrize("years", [*range(1, 25), 34, 46, 55])
def test_the_sample_for_the_prior_has_all_seasons(years):
    space = {"time": xr.date_range("1979-01-01", periods=int(365.25 * years)), "lat": [1.0, 0.0], "lon": [0.0, 1.0]}
    cycle = 0.25 + 0.08 * np.cos(2 * np.pi * np.arange(len(space["time"])) / 365.2425)
    values = np.broadcast_to(cycle[:, None, None].astype(np.float32), (len(cycle), 2, 2))
    sm = xr.DataArray(values, space, ("time", "lat", "lon"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sgdsm.inference.survey.PRIOR_VALUES", 0)
        found = prior_of(sm, np.ones((2, 2), bool), 1.0).coefficients
    fitted = season_basis(day_numbers(sm["time"])) @ found
    assert abs(fitted - cycle).max() < 0.03


def test_a_finished_file_of_another_run_is_never_overwritten(world, filler, tmp_path):
    path = tmp_path / "mine.nc"
    fill_cube(world, filler, NetcdfOutput(path), identity="one", trainer=QUIET)
    (tmp_path / "mine.nc.parts").mkdir()  # killed while they were removed
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="of another run"):
        fill_cube(world, filler, NetcdfOutput(path), identity="two", trainer=QUIET)
    fill_cube(world, filler, NetcdfOutput(path), identity="one", trainer=QUIET)
    assert path.read_bytes() == before
    assert not (tmp_path / "mine.nc.parts").exists()


@pytest.mark.parametrize("days", [20, 50])
def test_no_window_is_filled_twice(world, days):
    """Slabs of few days, windows that reach into the next ones: each goes through the filler once."""

    class Blended(Climatology):
        def fill(self, batch: Batch) -> Filled:
            # depends on where the window lies, as a recurrence does
            ramp = torch.linspace(0, 0.1, batch.sm.shape[2])[:, None, None]
            worked.append(len(batch.sm))
            return Filled(super().fill(batch).mean + ramp)

    filler, worked, counts, found = Blended(), [], [], []
    filler.configure(fitted("sgdsm.models.Climatology", world).inputs)
    filler.window = Window(days=days, cells=4, halo_days=None, halo_cells=0)
    for memory in (1.0, 1e-6):
        found.append(in_memory(world, filler.eval(), memory_gib=memory))
        counts.append(sum(worked))
        worked.clear()
    assert counts[0] == counts[1]
    for name in found[0]:
        np.testing.assert_allclose(found[1][name], found[0][name], atol=1e-6, err_msg=name)


def test_rows_looked_through_one_band_at_a_time_give_the_same(world, filler, monkeypatch):
    whole = in_memory(world, filler)
    seen = []
    real = Surveyor._survey
    monkeypatch.setattr(Surveyor, "_survey", lambda self, rows: (seen.append(rows), real(self, rows))[1])
    parts = in_memory(world, filler, memory_gib=1e-6)
    assert len(seen) > 1
    assert len(seen) == len(set(map(str, seen)))
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], atol=1e-6, err_msg=name)
