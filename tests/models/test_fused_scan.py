"""The CUDA kernels of the gated scan, without a GPU: by Triton's interpreter, and compiled for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is not installed (it comes with torch for CUDA)"
)
AGREE = """
import torch
from sgdsm.models.networks.layers import fused_scan
from sgdsm.models.networks.layers.recurrent import gated_scan

for days, series, width in ((1, 1, 1), (2, 3, 2), (37, 5, 64), (40, 3, 24)):
    torch.manual_seed(days)
    x, grad = torch.randn(days, series, 4 * width), torch.randn(days, series, 2 * width)
    x[..., : 2 * width] *= 3
    for kind, h_error, relative in ((torch.float32, 1e-6, 1e-6), (torch.bfloat16, 2e-2, 1e-2)):
        x, grad = x.to(kind), grad.to(kind)
        exact = x.double().requires_grad_()
        expected = gated_scan(exact)
        expected.backward(grad.double())
        h = fused_scan.forward(x)
        assert h.dtype == kind
        torch.testing.assert_close(h.double(), expected.detach(), rtol=0, atol=h_error)
        towards = fused_scan.backward(grad, x, h)
        assert towards.dtype == kind
        off = (towards.double() - exact.grad).norm() / exact.grad.norm()
        assert off < relative, (kind, days, off)
"""
COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from sgdsm.models.networks.layers import fused_scan

constants = {"width": 64, "size": fused_scan.COLUMNS, "stages": fused_scan.STAGES}
for kernel, pointers in ((fused_scan._forward, 2), (fused_scan._backward, 4)):
    for kind in ("fp32", "bf16"):
        types = dict.fromkeys(kernel.arg_names[:pointers], f"*{kind}")
        types |= {"days": "i32", "series": "i32", **dict.fromkeys(constants, "constexpr")}
        # torch's memory begins at multiples of 16 bytes
        aligned = {(k,): [["tt.divisibility", 16]] for k in range(pointers)}
        made = triton.compile(
            ASTSource(kernel, types, constants, aligned), GPUTarget("cuda", 90, 32), {"num_warps": fused_scan.WARPS}
        )
        assert made.asm["cubin"]
        # copies that run ahead: of each input those before the loop, and one in it
        loads = {2: 2, 4: 4}[pointers]
        assert made.asm["ptx"].count("cp.async.ca") == loads * fused_scan.STAGES, kernel
"""


@pytest.mark.parametrize(("code", "interpret"), [(AGREE, "1"), (COMPILE, "0")], ids=["agree", "compile"])
def test_kernels(code, interpret):
    words, settings = [sys.executable, "-W", "ignore", "-c", code], {**os.environ, "TRITON_INTERPRET": interpret}
    done = subprocess.run(words, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
