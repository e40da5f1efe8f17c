"""The CUDA kernels of the gated scan, on the CPU by Triton's interpreter: they need Triton, but no GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

CODE = """
import torch
from sgdsm.models.networks.layers import fused_scan
from sgdsm.models.networks.layers.recurrent import _GatedScan

for days, series, width in ((1, 1, 2), (2, 3, 4), (37, 5, 64)):
    torch.manual_seed(days)
    keep, value = torch.rand(days, series, width), torch.randn(days, series, width)
    grad = torch.randn(days, series, width)
    parts = [x.clone().requires_grad_() for x in (keep, value)]
    expected = _GatedScan.apply(*parts)
    expected.backward(grad)
    h = fused_scan.forward(keep, value)
    torch.testing.assert_close(h, expected.detach(), rtol=0, atol=1e-6)
    for found, part in zip(fused_scan.backward(grad, keep, value, h), parts, strict=True):
        torch.testing.assert_close(found, part.grad, rtol=0, atol=1e-5)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed (it comes with torch for CUDA)")
def test_kernels_agree_with_the_loop():
    done = subprocess.run(
        [sys.executable, "-c", CODE], env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
