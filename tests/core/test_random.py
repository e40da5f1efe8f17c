from __future__ import annotations

import re

import numpy as np

from sgdsm.core.random import Stream
from tests.conftest import ROOT


def test_the_numbers_of_the_streams_never_change():
    assert [s.value for s in Stream] == list(range(1, 26))
    assert np.random.default_rng([Stream.TRAINING_GAPS, 5]).random() == np.random.default_rng([1, 5]).random()


def test_every_stream_is_used_and_random_numbers_come_from_one():
    text = "\n".join(path.read_text() for path in (ROOT / "sgdsm").rglob("*.py"))
    assert set(re.findall(r"Stream\.([A-Z_]+)", text)) - {"X"} == set(Stream.__members__)
    assert not re.findall(r"default_rng\(\[?\d", text)
