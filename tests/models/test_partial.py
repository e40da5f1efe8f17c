from __future__ import annotations

import numpy as np
import pytest
import torch

from sgdsm.models.networks.layers.partial import Mix, PartialConv3d


def slowly(x: np.ndarray, mask: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Liu et al. (2018), Eqs. 1-2, cell by cell; cells outside count as missing."""
    batch, _, days, rows, columns = x.shape
    out_channels, _, kt, ky, kx = weight.shape
    n = kt * ky * kx
    out = np.zeros((batch, out_channels, days, rows, columns))
    new = np.zeros((batch, 1, days, rows, columns))
    for b, t, i, j in np.ndindex(batch, days, rows, columns):
        total, count = np.zeros(out_channels), 0.0
        for dt, di, dj in np.ndindex(kt, ky, kx):
            s, r, c = t + dt - kt // 2, i + di - ky // 2, j + dj - kx // 2
            if 0 <= s < days and 0 <= r < rows and 0 <= c < columns and mask[b, 0, s, r, c]:
                count += 1
                total += weight[:, :, dt, di, dj] @ x[b, :, s, r, c]
        if count:
            out[b, :, t, i, j] = total * n / count + bias
            new[b, 0, t, i, j] = 1
    return out, new


@pytest.mark.parametrize("kernel", [(3, 3, 3), (5, 3, 1), (1, 1, 1)])
@pytest.mark.parametrize("shape", [(2, 3, 6, 5, 4), (1, 1, 2, 1, 1)])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_agrees_with_the_published_sum(kernel, shape, share):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    mask = (rng.random((shape[0], 1, *shape[2:])) < share).astype(np.float32)
    torch.manual_seed(0)
    layer = PartialConv3d(shape[1], 4, kernel)
    with torch.no_grad():
        layer.bias.uniform_(-1, 1)
    out, new = layer(torch.from_numpy(x), torch.from_numpy(mask))
    expected, expected_mask = slowly(x, mask, layer.filters.detach().numpy(), layer.bias.detach().numpy().ravel())
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(new.numpy(), expected_mask)


def test_what_is_masked_has_no_effect_and_gets_no_gradient():
    layer = PartialConv3d(2, 3, (3, 3, 3))
    mask = (torch.rand(1, 1, 5, 6, 7) < 0.4).float()
    x = torch.randn(1, 2, 5, 6, 7, requires_grad=True)
    out, _ = layer(x, mask)
    out.sum().backward()
    assert (x.grad * (1 - mask)).abs().max() == 0
    other, _ = layer(torch.where(mask.bool(), x, 1e6), mask)
    torch.testing.assert_close(out, other)


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="odd"):
        PartialConv3d(1, 1, (2, 3, 3))


@pytest.mark.parametrize("channels", [1, 2])
def test_gradients_agree_with_differences(channels):
    torch.manual_seed(0)
    layer = PartialConv3d(channels, 2, (3, 3, 3)).double()
    mask = (torch.rand(1, 1, 4, 3, 3) < 0.3).double()
    mask[:, :, :, :, 0] = 0
    x = torch.randn(1, channels, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    names, weights = zip(*layer.named_parameters(), strict=True)

    def out(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, mask))[0]

    assert torch.autograd.gradcheck(out, (x, *weights))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_mix_is_a_convolution_of_single_values(layout):
    layer = Mix(3, 4)
    x = torch.randn(2, 3, 6, 4, 5).contiguous(memory_format=layout)
    expected = torch.nn.functional.conv3d(x, layer.weight[:, :, None, None, None], layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
