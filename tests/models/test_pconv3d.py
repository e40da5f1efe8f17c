from __future__ import annotations

import csv

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.cube import as_cube
from sgdsm.core.specification import build
from sgdsm.data.batch import Batch
from sgdsm.data.datamodule import GapData
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, Record, read_record
from sgdsm.data.splits import All
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.networks.pconv3d import PartialConvNetwork
from sgdsm.training.fit import fit
from sgdsm.training.task import TrainingTask
from tests.models.test_models import settings_of

SHAPES = [
    {"layers": 0},
    {"layers": 2},
    {"layers": 1, "kernel": (3, 5, 5), "memory": 0, "loss": "mse"},
    {"layers": 1, "gap_features": True},
]


@pytest.fixture(scope="module")
def wide() -> xr.Dataset:
    """A cube wider than the reach of every shape."""
    rng = np.random.default_rng(0)
    sm = (0.2 + 0.05 * rng.standard_normal((24, 45, 49))).astype(np.float32)
    sm[rng.random(sm.shape) < 0.5] = np.nan
    coords = {
        "time": xr.date_range("2020-01-01", periods=24),
        "lat": 50 - 0.5 * np.arange(45),
        "lon": 0.5 * np.arange(49),
    }
    land = (("lat", "lon"), rng.random(sm.shape[1:]) < 0.8)
    return as_cube(xr.Dataset({"sm": (("time", "lat", "lon"), sm), "land": land}, coords), "sm", land="land")


def net_for(cube: xr.Dataset, **settings: object) -> PartialConvNetwork:
    """A network with weights that are not trained, and none of them 0."""
    net = PartialConvNetwork(
        **{
            "window_days": 16,
            "channels": 4,
            "width": 8,
            "memory": 1,
            "gap_features": False,
            "batch_size": 1,
            **settings,
        }
    )
    record = read_record(cube)
    net.configure(Inputs.fit(record, Names.of(cube), record.observed, "1", 1, "train"))
    torch.manual_seed(1)
    for weights in net.parameters():
        weights.data.normal_(0, 0.3)
    return net.eval()


def batch_of(cube: xr.Dataset, net: PartialConvNetwork, gaps: Gaps | None = None) -> Batch:
    return data_of(read_record(cube), cube, net, gaps).training_batches(0)[0]


def data_of(record: Record, cube: xr.Dataset, net: PartialConvNetwork, gaps: Gaps | None = None) -> GapData:
    gaps = gaps or Gaps()
    split = All().split(record.observed & record.land, record.days, gaps)
    axes = net.window.tile(record.values.shape, False)
    return GapData(record, net.inputs, split, gaps, axes, net.batch_size, cores=net.trains_on_cores)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if "gap_features" not in shape])
def test_values_that_are_not_seen_change_nothing(wide, shape):
    net = net_for(wide, **shape)
    batch = batch_of(wide, net)
    noise = batch._replace(sm=torch.where(batch.seen, batch.sm, 9.0), truth=torch.randn_like(batch.truth))
    assert torch.equal(net.estimate(batch)[0], net.estimate(noise)[0])


@pytest.mark.parametrize("shape", SHAPES)
def test_an_estimate_looks_no_further_than_declared(wide, shape):
    net = net_for(wide, **shape, core_cells=50)
    batch, row, column = batch_of(wide, net), 22, 24
    changed = batch.sm.clone()
    changed[..., row, column] += 10.0 * batch.seen[..., row, column]
    a, b = (net.estimate(part)[0] for part in (batch, batch._replace(sm=changed)))
    rows, columns = np.nonzero((a != b).any(2)[0, 0].numpy())
    far = max(abs(rows - row).max(), abs(columns - column).max())
    assert 1 <= far <= net.window.halo_cells


@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_do_not_show(wide, shape):
    nets = [net_for(wide, **shape, core_cells=cells) for cells in (60, 10)]
    outputs = []
    for net in nets:
        outputs.append(MemoryOutput())
        fill_cube(wide, net, outputs[-1], trainer={"enable_progress_bar": False})
    a, b = (output.arrays["sm_filled"] for output in outputs)
    assert nets[1].window.tile(a.shape, False)[1].size == 10 + 2 * nets[1].window.halo_cells
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_sgd_sm_hides_values_of_the_middle_day_alone(wide):
    net = net_for(wide, window_days=9, core_cells=12, layers=1, middle_day=True)
    record = read_record(wide)
    data = data_of(record, wide, net, Gaps(fraction=0.9))
    held = record.observed & record.land & ~data.split.base
    taken = set()
    for epoch in range(9):
        for (day, _, _), batch in zip(data.training_batches(epoch).windows, data.training_batches(epoch), strict=True):
            assert batch.wanted.any((0, 1, 3, 4)).nonzero().tolist() == [[4]]
            taken.add(day + 4)
        scene = data.training_batches(epoch).scene
        assert (scene.seen | scene.wanted | held == record.observed & record.land).all()
        turn = np.arange(24) % 9 == epoch
        assert (scene.seen[~turn] == data.split.base[~turn]).all(), "other days show all that they have"
    assert taken == set(range(24)), "each day has its turn"


def test_the_global_loss_is_of_observed_values_on_days_that_are_learned_from(wide):
    local, both = (net_for(wide, loss="mse", global_weight=weight, layers=1) for weight in (0.0, 0.5))
    batch = batch_of(wide, local)
    wanted = batch.wanted.clone()
    wanted[:, :, ::2] = False
    batch = batch._replace(wanted=wanted, truth=batch.truth * wanted)
    estimate = torch.randn_like(batch.sm)
    hidden = (estimate - batch.truth)[wanted].square().mean()
    torch.testing.assert_close(local.loss((estimate, None), batch), hidden)
    days = wanted.any((0, 1, 3, 4))
    observed = torch.cat([(estimate - batch.truth)[wanted], (estimate - batch.sm)[:, :, days][batch.seen[:, :, days]]])
    torch.testing.assert_close(both.loss((estimate, None), batch), hidden + 0.5 * observed.square().mean())
    estimate.requires_grad_()
    both.loss((estimate, None), batch).backward()
    assert (estimate.grad[:, :, ~days] == 0).all()
    assert (estimate.grad[~(batch.seen | wanted)] == 0).all()


def test_a_day_is_estimated_from_the_middle_of_a_window_however_short_the_record(wide):
    net = net_for(wide, window_days=9, core_cells=12, layers=1, middle_day=True)

    def filled(cube: xr.Dataset) -> np.ndarray:
        output = MemoryOutput()
        fill_cube(cube, net, output, climatology_from=wide, trainer={"enable_progress_bar": False})
        return output.dataset["sm_filled"].values

    long, short = (wide.isel(time=slice(20, 20 + days)) for days in (12, 7))
    # days 0 to 2 of both see the same days around them
    np.testing.assert_allclose(filled(long)[:3], filled(short)[:3], atol=1e-6)


def test_features_of_trees_are_used_where_there_is_no_weather(wide, world):
    for cube, used in ((wide, True), (world, False)):
        net = net_for(cube, gap_features=None)
        assert (net.gap_features, net.window.halo_cells) == (used, 7 if used else 2)
    # what holds a network has its window, which is known when the variables are
    spec = {"_target_": "sgdsm.models.PartialConvNetwork", "width": 8, "memory": 1}
    stack = build({"_target_": "sgdsm.models.Ensemble", "filler": spec, "members": 2}, GapFiller)
    assert stack.window.halo_cells == 2
    stack.configure(net_for(wide).inputs)
    assert stack.window.halo_cells == 7


def test_a_training_has_its_steps_and_validations_are_spread(tmp_path, caplog):
    caplog.set_level("INFO")
    words = ("model.epochs=null", "model.batch_size=1", "model.core_cells=12", "model.window_days=100")
    task = TrainingTask.from_config(settings_of("pconv3d", *words, "model.steps=40"))
    steps = len(task.data.training_batches(0))
    assert 1 < steps < 20
    fit(task, tmp_path)
    rows = list(csv.DictReader((tmp_path / "training.csv").open()))
    epochs = -(-40 // steps)
    assert len(rows) == epochs
    assert f"{epochs} epochs of {steps} steps: model.steps=40" in caplog.text
    checked = [int(row["epoch"]) + 1 for row in rows if row["validation_rmse"]]
    every = -(-epochs // 12)
    assert checked == sorted({*range(every, epochs + 1, every), epochs})
