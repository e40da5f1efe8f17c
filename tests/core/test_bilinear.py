"""From coarse to fine cells and back."""

from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.bilinear import averaged, conserved, refined


def test_a_plane_stays_a_plane():
    rows, columns = np.meshgrid(np.arange(4), np.arange(5), indexing="ij")
    fine = refined(rows + 10 * columns, 10)
    place = [(np.arange(n) + 0.5) / 10 - 0.5 for n in fine.shape]
    expected = place[0][:, None] + 10 * place[1]
    np.testing.assert_allclose(fine[5:-5, 5:-5], expected[5:-5, 5:-5], rtol=0, atol=2e-5)
    # constant beyond the outer centres
    assert fine[0, 0] == fine[4, 4] == 0


def test_a_missing_cell_takes_its_surroundings_only():
    coarse = np.ones((5, 5))
    coarse[2, 2] = np.nan
    fine = refined(coarse, 4)
    assert np.isnan(fine[8:12, 8:12]).all()
    assert (fine[:6] == 1).all()


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_mean_of_fine_values_is_the_coarse_value(missing):
    rng = np.random.default_rng(0)
    fine = rng.uniform(0.1, 0.4, (60, 80)).astype(np.float32)
    fine[rng.random(fine.shape) < missing] = np.nan
    fine[:20, :20] = np.where(rng.random((20, 20)) < 0.8, np.nan, fine[:20, :20])  # most of one cell
    coarse = rng.uniform(0.1, 0.4, (3, 4))
    moved = conserved(fine, coarse, 20)
    assert (np.isnan(moved) == np.isnan(fine)).all()
    means = np.array([[np.nanmean(moved[r : r + 20, c : c + 20]) for c in range(0, 80, 20)] for r in range(0, 60, 20)])
    assert abs(means - coarse).ravel()[1:].max() < 1e-6
    # a cell with less than half of its values is left as it is
    np.testing.assert_array_equal(moved[:20, :20], fine[:20, :20])


def test_means_are_of_the_cells():
    np.testing.assert_array_equal(averaged(np.arange(16.0).reshape(4, 4), 2), [[2.5, 4.5], [10.5, 12.5]])
