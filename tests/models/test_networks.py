"""What all networks may be asked for: bf16, compiled blocks, blocks worked out twice, other memory layouts, export."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import xarray as xr

from sgdsm.core.errors import ConfigError
from sgdsm.core.specification import build
from sgdsm.core.tiling import Axis
from sgdsm.data.batch import Batch
from sgdsm.data.datamodule import GapData
from sgdsm.data.gaps import Gaps
from sgdsm.data.normalization import Inputs
from sgdsm.data.record import Names, read_record
from sgdsm.data.splits import All
from sgdsm.inference.blend import _windows
from sgdsm.inference.fill import fill_cube
from sgdsm.inference.writers import MemoryOutput
from sgdsm.models.base import GapFiller
from sgdsm.models.checkpoint import load_filler, save_filler
from sgdsm.models.export import FIELDS, export_network
from sgdsm.models.networks import base
from sgdsm.models.networks.base import Network, compile_blocks
from sgdsm.models.networks.layers.partial import PartialConv3d
from sgdsm.models.networks.seamless import Seamless
from sgdsm.models.uncertainty.conformal import Conformal
from sgdsm.models.uncertainty.wrappers import InputNoise, wrap
from sgdsm.sources.simulation.world import simulate
from sgdsm.training.task import TrainerOptions
from tests.conftest import TINY_PCONV, run_folder
from tests.models.test_models import MODELS, settings_of

pytestmark = pytest.mark.slow

QUIET = {"enable_progress_bar": False, "accelerator": "cpu"}
SMALL = {
    "pconv3d": {"channels": 8, "layers": 2, "width": 16, "memory": 2, "window_days": 40},
    "features": {"channels": 8, "width": 16, "memory": 1, "core_cells": 2, "window_days": 40, "gap_features": True},
    "seamless": {"width": 16, "blocks": 2, "window_days": 40, "window_cells": 6},
    "dense": {"width": 16, "blocks": 1, "window_days": 40, "window_cells": 16, "gap_features": True},
}
CLASSES = {"pconv3d": "PartialConvNetwork", "features": "PartialConvNetwork"}


def small(kind: str, cube: xr.Dataset, **settings: object) -> Network:
    """A network with weights that are not trained, and none of them 0."""
    spec = {"_target_": f"sgdsm.models.{CLASSES.get(kind, 'Seamless')}", **SMALL[kind], **settings}
    net = build(spec, GapFiller)
    record = read_record(cube)
    net.configure(Inputs.fit(record, Names.of(cube), record.observed, "m3 m-3", 1, "train"))
    random_weights(net)
    return net.eval()


def random_weights(net: torch.nn.Module) -> None:
    torch.manual_seed(1)
    for weights in net.parameters():
        weights.data.normal_(0, 0.15)


def batch_of(net: Network, cube: xr.Dataset) -> Batch:
    record = read_record(cube)
    split = All().split(record.observed & record.land, record.days, Gaps())
    axes = net.window.tile(record.values.shape, False)
    data = GapData(record, net.inputs, split, Gaps(), axes, net.batch_size, cores=net.trains_on_cores)
    return data.training_batches(0)[0]


def gradients(net: Network, batch: Batch) -> list[torch.Tensor]:
    """The loss of a training step and its gradients."""
    torch.manual_seed(7)
    loss = net.loss(net.estimate(batch), batch)
    used = [p for p in net.parameters() if p.requires_grad]
    return [loss.detach(), *(g for g in torch.autograd.grad(loss, used, allow_unused=True) if g is not None)]


@pytest.mark.parametrize("kind", SMALL)
def test_blocks_worked_out_twice_learn_the_same_from_less_memory(world, kind):
    found, kept = [], []
    for recompute in (False, True):
        net = small(kind, world, dropout=0.3, recompute_blocks=recompute).train()
        batch, sizes = batch_of(net, world), {}

        def note(tensor: torch.Tensor, sizes: dict = sizes) -> torch.Tensor:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        found.append(gradients(net, batch))
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            loss = net.loss(net.estimate(batch), batch)
        kept.append(sum(sizes.values()))
        del loss
    assert kept[1] < 0.75 * kept[0]
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_network_takes_bf16_where_it_gains_and_the_device_has_it(world, wrapped, monkeypatch):
    net = small("seamless", world, dropout=0.0, head_dropout=0.2)
    batch, filler = batch_of(net, world), wrap({"_target_": "sgdsm.models.McDropout"}, net) if wrapped else net

    def filled(wanted: bool, there: bool, gains: bool = True) -> torch.Tensor:
        monkeypatch.setattr(base, "has_bf16", lambda kind: there)
        monkeypatch.setattr(Seamless, "gains_by_bf16", gains)
        options = TrainerOptions(precision="auto" if wanted else "32-true", accelerator="cpu")
        options.prepare(filler)
        assert options.predicting()["precision"] == "32-true"
        half = wanted and there and gains
        assert options.precision_of(filler) == ("bf16-mixed" if half else "32-true")
        with torch.inference_mode():
            return torch.stack([field for field in filler.fill(batch) if field is not None])

    exact, half = filled(False, True), filled(True, True)
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, exact, rtol=0.02, atol=0.02)
    for others in (filled(True, False), filled(True, True, False)):
        assert torch.equal(others, exact)
    # a run that was trained in float32 is filled in float32
    TrainerOptions().prepare(filler, {"precision": "32-true"})
    assert TrainerOptions(accelerator="cpu").precision_of(filler) == "32-true"


@pytest.mark.parametrize("model", MODELS)
def test_a_network_fills_in_bf16(model, world):
    net = build(settings_of(model, "data.rows=10")["model"], GapFiller)
    if not isinstance(net, Network):
        pytest.skip("no network")
    record = read_record(world)
    net.configure(Inputs.fit(record, Names.of(world), record.observed, "m3 m-3", 1, "train"))
    if sum(p.numel() for p in net.parameters()) > 100:  # not a covariance: any numbers are none
        random_weights(net)
    if hasattr(net, "cell_size"):  # which kriging learns with its first batch
        net.cell_size.fill_(1.0)
    net.eval()
    batch = batch_of(net, world)
    with torch.inference_mode():
        plain = net.fill(batch)
        with torch.autocast("cpu", torch.bfloat16):
            half = net.fill(batch)
    spread = net.inputs.anomaly_scale
    assert half.mean[batch.wanted].isfinite().all()
    assert plain.mean.dtype == half.mean.dtype == torch.float32
    difference = (half.mean - plain.mean)[batch.wanted].abs()
    size = (plain.mean - batch.climatology)[batch.wanted].abs().max().clamp(min=spread)
    assert difference.max() < 0.05 * size
    if plain.std is not None:
        torch.testing.assert_close(half.std[batch.wanted], plain.std[batch.wanted], rtol=0.1, atol=0)


@pytest.mark.parametrize("share", [0.003, 0.5])
def test_masks_are_exact_in_bf16(share):
    torch.manual_seed(0)
    layer = PartialConv3d(4, 4, (5, 3, 3))
    x, mask = torch.randn(1, 4, 9, 12, 12), (torch.rand(1, 1, 9, 12, 12) < share).float()
    expected, found = layer(x, mask)
    with torch.autocast("cpu", torch.bfloat16):
        y, half = layer(x, mask)
    assert y.dtype == torch.bfloat16
    assert torch.equal(half.float(), found)
    assert not (y[:, :, ~half[0, 0].bool()] != 0).any(), "0 where nothing is there"
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.05)


def test_noise_of_the_inputs_is_drawn_for_the_windows_of_the_whole_cube():
    cube = simulate(rows=40, columns=12, days=60, seed=3)
    noisy = Conformal(InputNoise(small("seamless", cube), samples=2))
    axes = noisy.window.tile((60, 40, 12), False, filling=True)
    tiling, whole, _ = _windows(noisy, axes, (0, 0, 0), (60, 40, 12), None)
    for begin, end in ((0, 7), (7, 29), (29, 40)):
        own, starts, _ = _windows(noisy, axes, (0, begin, 0), (60, end - begin, 12), None)
        assert own == tiling
        assert {*starts[1]} <= {*whole[1]}


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("kind", SMALL)
def test_wider_windows_fill_the_same(kind, circular):
    cube = simulate(rows=30, columns=48, days=45, seed=3).assign_attrs(circular_longitude=int(circular))
    net, found = small(kind, cube), []
    for cells in (None, 32):
        output, sizes = MemoryOutput(), []
        fill, net.fill = net.fill, lambda batch, fill=net.fill, sizes=sizes: sizes.append(batch.sm.shape) or fill(batch)
        fill_cube(cube, net, output, window_cells=cells, memory_gib=2e-3, trainer=QUIET)
        net.fill = fill
        found.append((output.arrays["sm_filled"], len(sizes)))
    assert found[1][1] < found[0][1]
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", SMALL)
def test_equal_windows_fill_the_same_to_the_last_bit(kind, monkeypatch):
    cube = simulate(rows=30, columns=48, days=45, seed=3)
    net, found = small(kind, cube), []
    net.batch_size = 1
    for tiles in (Axis.tiles, lambda axis, begin, end, _: (axis, axis.starts_for(begin, end))):
        monkeypatch.setattr(Axis, "tiles", tiles)
        output, values = MemoryOutput(), []
        fill, net.fill = net.fill, lambda batch, fill=net.fill, n=values: n.append(batch.sm.numel()) or fill(batch)
        fill_cube(cube, net, output, trainer=QUIET)
        net.fill = fill
        found.append((output.arrays["sm_filled"], sum(values)))
    assert found[0][1] <= found[1][1]
    np.testing.assert_array_equal(found[0][0], found[1][0])


def test_windows_of_other_fillers_stay(world):
    plain = build({"_target_": "sgdsm.models.Climatology"}, GapFiller)
    record = read_record(world)
    plain.configure(Inputs.fit(record, Names.of(world), record.observed, "m3 m-3", 1, "train"))
    with pytest.raises(ConfigError, match="window_cells=32: Climatology has windows of its own"):
        fill_cube(world, plain, MemoryOutput(), window_cells=32, trainer=QUIET)


@pytest.fixture(scope="module")
def wide() -> xr.Dataset:
    """A cube no smaller than a window: an exported network has one size."""
    return simulate(rows=16, columns=16, days=40, seed=3)


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("pconv3d", ".pt2"), ("seamless", ".pt2"), ("dense", ".pt2"), ("features", ".onnx"), ("dense", ".onnx")],
)
def test_an_exported_network_gives_the_same(wide, kind, ending, tmp_path):
    if ending == ".onnx":
        pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
        onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    net, path = small(kind, wide, batch_size=1), tmp_path / f"model{ending}"
    export_network(net, path)
    batch = batch_of(net, wide)
    batch = batch._replace(wanted=batch.land)
    given = {name: getattr(batch, name) for name in FIELDS}
    if ending == ".pt2":
        found = torch.export.load(path).module()(*given.values())
    else:
        session = onnxruntime.InferenceSession(path)
        assert [one.name for one in session.get_inputs()] == list(FIELDS)
        found = [torch.from_numpy(x) for x in session.run(None, {n: x.numpy() for n, x in given.items()})]
    expected = [x for x in net.fill(batch)[:2] if x is not None]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a[batch.land], b[batch.land], rtol=1e-5, atol=1e-6)


def test_what_cannot_be_exported(world, tmp_path):
    net = small("pconv3d", world)
    with pytest.raises(ConfigError, match=r"expected a name ending in .pt2 or .onnx"):
        export_network(net, tmp_path / "model.pth")
    with pytest.raises(ConfigError, match="Climatology cannot be exported; expected a run of pconv3d or seamless"):
        export_network(build({"_target_": "sgdsm.models.Climatology"}, GapFiller), tmp_path / "model.pt2")


def test_the_network_of_a_run_is_exported(run_command):
    words = ["data.rows=10", "data.columns=14", "data.days=150", *TINY_PCONV, "trainer.progress=false"]
    folder = run_folder(run_command("train", *words)[1])
    code, out, err = run_command("export", f"run={folder}", "output=model.pt2")
    assert (code, out.strip()) == (0, "written: model.pt2"), err
    assert "model.pt2 takes sm, seen, gap_age" in err
    for words, told in (
        ([], "give a cube or a filled file, or run=PATH for its network"),
        ([f"run={folder}", "layout=netcdf"], "layout= and reasons= are for cubes"),
        ([f"run={folder}"], "output=model.pt2 exists"),
    ):
        code, _, err = run_command("export", *words, "output=model.pt2")
        assert code == 1
        assert told in err


needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, g++")


@needs_compiler
@pytest.mark.parametrize("kind", ["pconv3d", "seamless"])
def test_compiled_blocks_are_the_same(world, kind, tmp_path):
    plain, compiled = (small(kind, world, **{"layers" if kind == "pconv3d" else "blocks": 1}) for _ in range(2))
    compile_blocks(compiled)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    batch = batch_of(plain, world)
    with torch.inference_mode():
        torch.testing.assert_close(compiled.fill(batch).mean, plain.fill(batch).mean, rtol=0, atol=1e-6)
    for a, b in zip(gradients(compiled, batch), gradients(plain, batch), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    save_filler(compiled, tmp_path / "model.ckpt")
    again = load_filler(tmp_path / "model.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), plain.parameters(), strict=True))


def test_what_has_no_blocks_is_not_compiled(world):
    with pytest.raises(ConfigError, match="Climatology has no blocks of layers to compile"):
        compile_blocks(build({"_target_": "sgdsm.models.Climatology"}, GapFiller))
