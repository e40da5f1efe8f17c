"""Triple collocation: what pytesmo gives, what was planted, and what cannot be estimated."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.evaluation import triple_collocation as module
from sgdsm.evaluation.blocks import moving_blocks
from sgdsm.evaluation.triple_collocation import (
    ESTIMATED,
    NEGATIVE_VARIANCE,
    NOT_CORRELATED,
    STATISTICS,
    TOO_FEW,
    resampled,
    triple_collocation,
)

ERRORS = np.array([0.02, 0.0375, 0.031])


def triplets(days: int, places: int, seed: int = 0, correlation: float = 0.0, gaps: float = 0.0) -> np.ndarray:
    """Three data sets of one truth, (3, days, places), the errors of the first two correlated."""
    rng = np.random.default_rng(seed)
    errors = rng.standard_normal((3, days, places))
    errors[1] = correlation * errors[0] + np.sqrt(1 - correlation**2) * errors[1]
    values = 0.25 + 0.06 * rng.standard_normal((days, places)) + ERRORS[:, None, None] * errors
    values[rng.random(values.shape) < gaps] = np.nan
    return values


@pytest.mark.parametrize("reference", [0, 1, 2])
def test_it_is_what_pytesmo_gives(reference):
    metrics = pytest.importorskip("pytesmo.metrics")
    # from hardly any to many days with three values, and some cells of much noise
    values = triplets(400, 300, gaps=0.3)
    values[0, :, ::7] += 0.2 * np.random.default_rng(1).standard_normal((400, 43))
    values[:, 60:, ::5] = np.nan
    values[1] = 100 * values[1] - 3
    found = triple_collocation(values, reference, least=2)
    estimated = 0
    with np.errstate(invalid="ignore"):
        for cell in range(300):
            known = np.isfinite(values[:, :, cell]).all(0)
            snr, error, scaling = metrics.tcol_metrics(*values[:, known, cell], ref_ind=reference)
            good = found["status"][:, cell] == ESTIMATED
            estimated += good.sum()
            for name, theirs in {"error_std": error, "snr": snr, "scaling": scaling}.items():
                np.testing.assert_allclose(found[name][good, cell], theirs[good], rtol=1e-10, atol=1e-10)
            negative = found["status"][:, cell] == NEGATIVE_VARIANCE
            assert np.isnan(error[negative]).all()
    assert estimated > 700


@pytest.mark.parametrize(("days", "within"), [(1000, 0.12), (5000, 0.06)])
def test_planted_errors_are_found(days, within):
    values = triplets(days, 200)
    # other units and offsets change nothing of errors in units of the first
    values[1] = 250 * values[1] + 7
    found = triple_collocation(values)
    off = abs(found["error_std"] / ERRORS[:, None] - 1)
    assert np.quantile(off, 0.95) < within
    truth = 1 / (1 + (ERRORS / 0.06) ** 2)
    np.testing.assert_allclose(found["r"].mean(1), np.sqrt(truth), atol=0.01)
    np.testing.assert_allclose(found["fmse"].mean(1), 1 - truth, atol=0.01)
    np.testing.assert_allclose(found["snr"].mean(1), 20 * np.log10(0.06 / ERRORS), atol=0.2)
    np.testing.assert_allclose(found["scaling"].mean(1), [1, 1 / 250, 1], rtol=0.01)


def test_correlated_errors_are_found_too_small():
    found = triple_collocation(triplets(1000, 300, correlation=0.3))["error_std"]
    assert -0.4 < np.nanmedian(found[0]) / ERRORS[0] - 1 < -0.3


def test_what_cannot_be_estimated_is_missing_and_has_a_reason():
    values = triplets(400, 4)
    values[2, 150:, 0] = np.nan
    values[2, :, 1] *= -1
    # the first two share their errors: theirs come out negative in many cells
    shared = triplets(400, 300, correlation=0.9)
    values[:, :, 2] = np.nan
    found = triple_collocation(np.concatenate([values, shared], 2), least=200)
    assert found["n"][:4].tolist() == [150, 400, 0, 400]
    assert (found["status"][:, :4].T == [[TOO_FEW], [NOT_CORRELATED], [TOO_FEW], [ESTIMATED]]).all()
    negative = found["status"][0, 4:] == NEGATIVE_VARIANCE
    assert negative.mean() > 0.9
    assert (found["status"][2, 4:] == ESTIMATED).all()
    for name in STATISTICS:
        assert (np.isnan(found[name]) == (found["status"] != ESTIMATED)).all()


def test_constant_values_have_no_estimate():
    values = triplets(300, 1)
    values[1] = 0.2
    assert (triple_collocation(values)["status"] == NOT_CORRELATED).all()


def test_intervals_cover_and_contain_the_estimates():
    values = triplets(730, 300, gaps=0.1)
    weights = resampled(moving_blocks(730, 20, 200, np.random.default_rng(0)))
    found = triple_collocation(values, weights=weights)
    inside = (found["error_std_lower"] <= ERRORS[:, None]) & (ERRORS[:, None] <= found["error_std_upper"])
    assert 0.88 < inside.mean() < 0.99
    for name in STATISTICS:
        low, high = found[f"{name}_lower"], found[f"{name}_upper"]
        assert ((low <= found[name]) & (found[name] <= high)).mean() > 0.97
    same = triple_collocation(values)
    assert all((same[name] == found[name]).all() for name in STATISTICS)


def test_the_bounds_are_quantiles_of_the_estimates_of_the_drawn_days():
    values = triplets(700, 2, gaps=0.05)
    drawn = moving_blocks(700, 30, 50, np.random.default_rng(3))
    found = triple_collocation(values, least=100, weights=resampled(drawn))
    # a day that is drawn twice counts twice
    each = [triple_collocation(values[:, days], least=2) for days in drawn]
    for name in ("error_std", "scaling", "fmse"):
        low, high = np.quantile([one[name] for one in each], (0.025, 0.975), axis=0)
        np.testing.assert_allclose(found[f"{name}_lower"], low, rtol=1e-6)
        np.testing.assert_allclose(found[f"{name}_upper"], high, rtol=1e-6)
    # R falls where the share of errors rises, so that its bounds are those of the share, turned round
    np.testing.assert_allclose(found["r_lower"], np.sqrt(1 - found["fmse_upper"]), rtol=1e-12)
    np.testing.assert_allclose(found["r_upper"], np.sqrt(1 - found["fmse_lower"]), rtol=1e-12)


def test_parts_of_the_places_do_not_show(monkeypatch):
    values = triplets(260, 9, gaps=0.1)
    weights = resampled(moving_blocks(260, 30, 20, np.random.default_rng(3)))
    whole = triple_collocation(values, weights=weights)
    monkeypatch.setattr(module, "AT_ONCE", 2 * 10 * 260)
    parts = triple_collocation(values, weights=weights)
    for name, expected in whole.items():
        np.testing.assert_allclose(parts[name], expected, rtol=1e-10)
