from __future__ import annotations

import sys

import pytest
import torch

from sgdsm.core.compiled import compiled_module
from sgdsm.models.networks.layers import recurrent
from sgdsm.models.networks.layers.recurrent import RecurrentBlock, _by_doubling, _Taps, gated_scan
from sgdsm.models.networks.optimizer import MuonAdamW


def test_scan_agrees_with_a_loop_and_its_gradient_with_differences():
    torch.manual_seed(0)
    x = torch.randn(9, 2, 12, dtype=torch.float64, requires_grad=True)
    keep, value = torch.sigmoid(x[..., :6]), x[..., 6:]
    expected = torch.zeros(9, 2, 6, dtype=torch.float64)
    for half, days in ((slice(0, 3), range(9)), (slice(3, 6), range(8, -1, -1))):
        state = torch.zeros(2, 3, dtype=torch.float64)
        for t in days:
            state = keep[t, :, half] * state + (1 - keep[t, :, half]) * value[t, :, half]
            expected[t, :, half] = state.detach()
    torch.testing.assert_close(gated_scan(x), expected)
    assert torch.autograd.gradcheck(gated_scan, (x,))


@pytest.mark.parametrize(("days", "series", "width"), [(1, 1, 1), (2, 3, 5), (366, 7, 64)])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_compiled_scan_is_the_scan(days, series, width, threads, monkeypatch):
    kernels = pytest.importorskip("sgdsm.models.networks.layers.compiled_scan", reason="numba is not installed")
    torch.manual_seed(0)
    # gates from shut to open, beyond what float32 tells from 0 and 1
    scale = torch.cat([torch.full((2 * width,), 6.0), torch.ones(2 * width)])
    x = torch.randn(days, series, 4 * width) * scale
    grad = torch.randn(days, series, 2 * width)
    exact = x.double().requires_grad_()
    expected = gated_scan(exact)
    expected.backward(grad.double())
    monkeypatch.setattr(kernels, "PARALLEL", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = x.clone().requires_grad_()
        h = gated_scan(ours)
        h.backward(grad)
    finally:
        torch.set_num_threads(before)
    assert type(h.grad_fn).__name__ == "_CompiledScanBackward"
    torch.testing.assert_close(h.double(), expected.detach(), rtol=0, atol=3e-6)
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)
    # the same to the last bit for a part of the series, so also for any number of threads
    last = x[:, -1:].clone().requires_grad_()
    gated_scan(last).backward(grad[:, -1:])
    assert torch.equal(kernels.forward(x[:, -1:].contiguous()), h.detach()[:, -1:])
    assert torch.equal(last.grad, ours.grad[:, -1:])


def test_without_numba_the_scan_is_the_loop(monkeypatch):
    torch.manual_seed(0)
    block, x = RecurrentBlock(8, 0.0), torch.randn(30, 4, 8)

    def results() -> list[torch.Tensor]:
        block.zero_grad()
        y = block(x)
        y.square().sum().backward()
        return [y, *(weights.grad for weights in block.parameters())]

    with_it = results()
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it fails
    compiled_module.cache_clear()
    try:
        assert compiled_module(recurrent.COMPILED) is None
        without = results()
    finally:
        compiled_module.cache_clear()
    torch.testing.assert_close(with_it, without, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("days", [1, 2, 3, 366])
def test_the_scan_by_doubling_is_the_scan(days):
    torch.manual_seed(0)
    x = torch.randn(days, 3, 8)
    keep, value = torch.sigmoid(x[..., :4]), x[..., 4:]
    expected = gated_scan(x)
    found = [_by_doubling(keep, value), _by_doubling(keep.flip(0), value.flip(0)).flip(0)]
    torch.testing.assert_close(torch.cat([found[0][..., :2], found[1][..., 2:]], 2), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("days", [1, 2, 7])
def test_the_filter_of_three_days(days):
    torch.manual_seed(0)
    x = torch.randn(days, 2, 4, dtype=torch.float64, requires_grad=True)
    taps = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    beyond = torch.cat([torch.zeros(1, 2, 4), x, torch.zeros(1, 2, 4)])
    expected = taps[0] * beyond[:-2] + taps[1] * x + taps[2] * beyond[2:]
    torch.testing.assert_close(_Taps.apply(x, taps), expected)
    assert torch.autograd.gradcheck(_Taps.apply, (x, taps))


def test_a_block_looks_both_ways_along_its_own_series_only():
    torch.manual_seed(0)
    block = RecurrentBlock(8, 0.5).eval()
    x = torch.randn(30, 4, 8, requires_grad=True)
    block(x)[15, 1].sum().backward()
    touched = x.grad.abs().sum(2) > 0
    assert touched[:, 1].all()
    assert not touched[:, [0, 2, 3]].any()


def test_dropout_takes_whole_channels_of_a_series():
    torch.manual_seed(0)
    block = RecurrentBlock(16, 0.5)
    x = torch.randn(12, 3, 16)
    added = []
    block.narrow.register_forward_hook(lambda _, __, out: added.append(out))
    difference = block(x) - block.eval()(x)
    y = added[1]
    dropped, kept = (torch.isclose(difference, sign * y, atol=1e-6) for sign in (-1, 1))
    assert (dropped | kept).all(), "dropped, or doubled"
    assert torch.equal(dropped.all(0), ~kept.all(0)), "on all days of a series, or on none"
    assert 0.2 < dropped.float().mean() < 0.8


def test_the_joint_optimiser_is_both(tmp_path):
    def make() -> tuple[torch.nn.Module, MuonAdamW]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 1))
        matrices = [model[0].weight]
        rest = [p for p in model.parameters() if p is not model[0].weight]
        return model, MuonAdamW(matrices, rest, 0.02, 0.003, 0.1)

    def step(model: torch.nn.Module, optimizer: MuonAdamW, x: torch.Tensor) -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    draws = torch.randn(6, 7, 6)
    (ours, joint), (theirs, _) = make(), make()
    muon = torch.optim.Muon([theirs[0].weight], 0.02, 0.1)
    adam = torch.optim.AdamW([p for p in theirs.parameters() if p is not theirs[0].weight], 0.003, weight_decay=0.1)
    for x in draws[:3]:
        step(ours, joint, x)
        muon.zero_grad()
        adam.zero_grad()
        theirs(x).square().mean().backward()
        muon.step()
        adam.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    # saved and loaded, it goes on as if it had not been
    torch.save({"model": ours.state_dict(), "optimizer": joint.state_dict()}, tmp_path / "at.ckpt")
    saved = torch.load(tmp_path / "at.ckpt", weights_only=True)
    again, other = make()
    again.load_state_dict(saved["model"])
    other.load_state_dict(saved["optimizer"])
    for group in (*joint.param_groups, *other.param_groups):
        group["lr"] *= 0.5
    for x in draws[3:]:
        step(ours, joint, x)
        step(again, other, x)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("length", [1, 2])
def test_short_series(length):
    block = RecurrentBlock(8, 0.0)
    assert block(torch.randn(length, 3, 8)).shape == (length, 3, 8)
