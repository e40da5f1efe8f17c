from __future__ import annotations

import numpy as np
import pytest

from sgdsm.core.cube import ConfigError
from sgdsm.core.specification import build
from sgdsm.models.base import GapFiller
from sgdsm.models.ensemble import convex_weights


@pytest.mark.parametrize("seed", range(5))
def test_weights_agree_with_a_search(seed):
    rng = np.random.default_rng(seed)
    errors = rng.standard_normal((3, 50)) * rng.uniform(0.5, 3, (3, 1)) + rng.standard_normal(50)
    gram = errors @ errors.T
    found = convex_weights(gram)
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    steps = np.linspace(0, 1, 101)
    grid = np.array([(a, b, 1 - a - b) for a in steps for b in steps if a + b <= 1])
    assert found @ gram @ found <= np.einsum("ki,ij,kj->k", grid, gram, grid).min() + 1e-9


def test_copies_share_and_the_perfect_takes_all():
    np.testing.assert_allclose(convex_weights(np.ones((2, 2))), [0.5, 0.5])
    np.testing.assert_allclose(convex_weights(np.diag([1.0, 0.0])), [0, 1], atol=1e-6)


def test_members_are_fillers():
    simple = {"_target_": "sgdsm.models.Climatology"}
    stack = {"_target_": "sgdsm.models.Stack"}
    made = build({**stack, "members": {"a": simple, "b": {"_target_": "sgdsm.models.LinearTime"}}}, GapFiller)
    assert made.window.days is None
    assert made.window.halo_cells == 0
    for members, message in (
        ({"a": simple}, "1 given, expected 2"),
        ({"a": simple, "b": {"_target_": "sgdsm.data.Gaps"}}, "does not make a GapFiller"),
        ({"a": simple, "b": {"_target_": "sgdsm.models.Climatology", "depth": 3}}, "unknown key 'depth'"),
        ({"a": simple, "b": 3}, "expected settings with _target_"),
    ):
        with pytest.raises(ConfigError, match=message):
            build({**stack, "members": members}, GapFiller)
