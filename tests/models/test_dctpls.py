from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.ndimage import distance_transform_edt

from sgdsm.core.errors import ConfigError
from sgdsm.models.classical import cosine
from sgdsm.models.classical.dctpls import DctPls
from sgdsm.models.classical.dineof import Dineof, reconstruct
from sgdsm.models.classical.smooth import bounds, guess, nearest, search, smooth


def gappy(shape=(40, 13, 12), missing=0.5) -> tuple[np.ndarray, np.ndarray]:
    """Waves with noise, 0 where missing; where it is seen."""
    rng = np.random.default_rng(0)
    t, y, x = (np.linspace(0, 3, n) for n in shape)
    field = np.sin(3 * t)[:, None, None] * np.cos(y)[:, None] * np.sin(x) + 0.1 * rng.standard_normal(shape)
    seen = rng.random(shape) > missing
    seen[10:16, 3:9, 3:9] = False
    return np.where(seen, field, 0).astype(np.float32), seen


def tensors(values, seen) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(values)[None], torch.from_numpy(seen.astype(values.dtype))[None]


@pytest.mark.parametrize("longest", [1500, 0])
@pytest.mark.parametrize("shape", [(7, 10, 9), (6, 1, 3), (1, 1, 1)])
def test_cosine_transform(shape, longest, monkeypatch):
    monkeypatch.setattr(cosine, "LONGEST_PRODUCT", longest)
    field = torch.randn(2, *shape, dtype=torch.float64)
    transform = cosine.Cosine(shape, field)
    found = transform.forward(field)
    np.testing.assert_allclose(found, dctn(field.numpy(), axes=(1, 2, 3), norm="ortho"), atol=1e-12)
    np.testing.assert_allclose(transform.inverse(found), field, atol=1e-12)


def test_nearest_is_the_euclidean_one():
    values, seen = gappy(missing=0.97)
    found = nearest(*(torch.from_numpy(a)[None] for a in (values, seen)))[0].numpy()
    distance, place = distance_transform_edt(~seen, return_indices=True)
    expected = values[tuple(place)]
    # where it differs there are two at the same distance
    for cell in np.argwhere(found != expected):
        same = np.argwhere(seen & (values == found[tuple(cell)]))
        assert np.sqrt(((same - cell) ** 2).sum(1)).min() == pytest.approx(distance[tuple(cell)])
    assert not nearest(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.bool)).any()


def test_equals_pytesmo():
    dctpls = pytest.importorskip("pytesmo.interpolate.dctpls")
    values, seen = gappy()
    y, w = tensors(values, seen)
    start, _ = dctpls.calc_init_guess(values, ~seen)
    np.testing.assert_allclose(guess(y, w > 0, cosine.Cosine(values.shape, y))[0], start, atol=0.15)  # ties
    data = np.where(seen, values, np.nan)
    for s in (0.1, 3.0):
        settings = {"init_guess": start, "isrobust": False, "TolZ": 1e-6}
        expected = dctpls.smoothn(data, s, **settings)[0]
        found = smooth(y, w, s, torch.from_numpy(start)[None], tolerance=1e-6)[0]
        np.testing.assert_allclose(found, expected, atol=1e-4)
    own = smooth(y, w, 3.0, tolerance=1e-6, iterations=300)[0]
    np.testing.assert_allclose(own, expected, atol=2e-3)  # the first guess is forgotten


def test_cross_validation_finds_the_s_of_pytesmo():
    dctpls = pytest.importorskip("pytesmo.interpolate.dctpls")
    values, seen = gappy()
    start, _ = dctpls.calc_init_guess(values, ~seen)
    expected, s, *_ = dctpls.smoothn(np.where(seen, values, np.nan), init_guess=start, isrobust=False, TolZ=1e-4)
    y, w = tensors(values, seen)
    found = smooth(y, w, None, torch.from_numpy(start)[None], tolerance=1e-4)[0]
    np.testing.assert_allclose(found, expected, atol=0.03)
    penalty = sum(np.ix_(*((2 - 2 * np.cos(np.pi * np.arange(n) / n)) for n in values.shape))) ** 2
    transform = cosine.Cosine(values.shape, y)
    last = transform.forward(torch.lerp(torch.from_numpy(expected)[None], y, w))
    own = search(last, torch.from_numpy(penalty).float(), y, w, transform, *bounds(values.shape))
    assert own.item() == pytest.approx(np.log10(s), abs=0.2)


def test_windows_of_a_batch_do_not_touch_each_other():
    (a, seen_a), (b, seen_b) = gappy(), gappy(missing=0.8)
    both = [torch.cat(pair) for pair in zip(tensors(a, seen_a), tensors(5 * b, seen_b), strict=True)]
    for s in (0.3, None):
        together = smooth(*both, s, tolerance=1e-3)
        alone = torch.cat([smooth(*tensors(a, seen_a), s), smooth(*tensors(5 * b, seen_b), s)])
        torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


def test_a_window_that_has_converged_keeps_its_s():
    (a, seen_a), (b, seen_b) = gappy(), gappy(missing=0.97)
    settings = {"robust": True, "tolerance": 0.1}
    both = [torch.cat(pair) for pair in zip(tensors(a, seen_a), tensors(5 * b, seen_b), strict=True)]
    together = smooth(*both, None, **settings)
    alone = torch.cat(
        [smooth(*tensors(a, seen_a), None, **settings), smooth(*tensors(5 * b, seen_b), None, **settings)]
    )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_robust_ignores_outliers():
    values, seen = gappy(missing=0.2)
    spoiled = values.copy()
    places = np.argwhere(seen)[:: seen.sum() // 60]
    spoiled[tuple(places.T)] += 8
    clean = smooth(*tensors(values, seen), 1.0)
    plain, robust = (smooth(*tensors(spoiled, seen), 1.0, robust=r) for r in (False, True))
    assert (robust - clean).abs().mean() < 0.2 * (plain - clean).abs().mean()


def test_time_weight_is_of_time():
    values, seen = gappy()
    rough = [smooth(*tensors(values, seen), 1.0, time_weight=w).diff(dim=1).square().mean() for w in (0.1, 10.0)]
    assert rough[1] < 0.5 * rough[0]


def test_dineof_finds_modes_in_gaps():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 12, 200)
    whole = np.outer(np.sin(t), rng.standard_normal(60)) + np.outer(np.cos(2 * t), rng.standard_normal(60))
    values = torch.from_numpy(whole.astype(np.float32))
    seen = torch.from_numpy(rng.random(whole.shape) < 0.4)
    found = reconstruct(torch.where(seen, values, 7.0), seen, 2, 0.0, 1e-6, 500)
    assert (found - values)[~seen].square().mean() < 1e-4 * values.square().mean()
    # a day without any value is told by the days around it, if the covariance of days is smooth
    seen[100] = False
    alone, filtered = (reconstruct(values, seen, 2, length, 1e-6, 500)[100] for length in (0.0, 2.0))
    assert alone.abs().max() < 1e-4
    assert (filtered - values[100]).square().mean() < 0.1 * values[100].square().mean()


def test_dineof_with_fewer_days_or_cells_than_modes():
    values = torch.randn(3, 2)
    found = reconstruct(values, torch.ones(3, 2, dtype=torch.bool), 20, 0.0, 1e-6, 5)
    torch.testing.assert_close(found, values, atol=1e-5, rtol=0)
    assert not reconstruct(values, torch.zeros(3, 2, dtype=torch.bool), 20, 1.0, 1e-6, 5).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DctPls(s=0), "model.s=0: expected a number above 0"),
        (lambda: DctPls(s=[]), "or several to choose from"),
        (lambda: DctPls(time_weight=[1.0, -1.0]), "model.time_weight"),
        (lambda: DctPls(tolerance=1.0), "model.tolerance=1.0: expected a share"),
        (lambda: DctPls(window_cells=2), "window_cells=2: expected at least 4"),
        (lambda: Dineof(modes=0), "modes=0: expected at least 1"),
        (lambda: Dineof(modes=[]), "model.modes"),
        (lambda: Dineof(filter_days=-1.0), "filter_days=-1.0: expected 0 or more"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
