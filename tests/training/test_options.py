"""What the options of a trainer choose by themselves."""

from __future__ import annotations

import os

import pytest
import torch

from sgdsm.training.task import CUTTERS, TrainerOptions


@pytest.mark.parametrize(
    ("given", "gpu", "expected"),
    [
        ({}, False, 0),
        ({}, True, CUTTERS),
        ({"accelerator": "cpu"}, True, 0),
        ({"workers": 0}, True, 0),
        ({"workers": 7}, False, 7),
    ],
)
def test_windows_are_cut_by_processes_where_a_gpu_waits_for_them(given, gpu, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert TrainerOptions(**given).cutters == expected
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert TrainerOptions(**given).cutters == (1 if expected == CUTTERS else expected)
