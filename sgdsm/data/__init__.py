"""From a cube to tensors: records in memory, splits, gaps, normalization, batches, the Lightning data module.

May import `core`. Edit this to change what a model gets as input.
"""

from __future__ import annotations

from typing import Any

from sgdsm.core.public import resolve

# public name: module that defines it; specifications in files use `sgdsm.data.NAME`
PUBLIC = {
    "All": "splits",
    "Blocks": "splits",
    "Gaps": "gaps",
    "Months": "months",
    "Protocol": "held_out",
    "Random": "splits",
    "Regions": "held_out",
    "Years": "held_out",
    "read_table": "table",
}
__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    return resolve(__name__, PUBLIC, name)
