"""The course of a run: read, split, fit, calibrate, score, save.

May import `core` to `inference`.
"""

from __future__ import annotations

from typing import Any

from sgdsm.core.public import resolve

# public name: module that defines it; specifications in files use `sgdsm.training.NAME`
PUBLIC = {
    "EarlyStopping": "callbacks",
    "LearningRates": "callbacks",
    "Run": "run",
    "RunLogger": "loggers",
    "TrainerOptions": "task",
    "TrainingConfig": "config",
    "TrainingTask": "task",
}
__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    return resolve(__name__, PUBLIC, name)
