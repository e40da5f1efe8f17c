"""Where values come from: product readers, downloads, and the simulated world.

May import `core`, `data` and `evaluation`. To add a product, add one file to `products`.
"""

from __future__ import annotations

from typing import Any

from sgdsm.core.public import resolve

# public name: module that defines it; specifications in files use `sgdsm.sources.NAME`
PUBLIC = {
    "Sensors": "simulation.emission",
    "model_world": "simulation.model_world",
    "open_product": "readers.files",
    "sensor_world": "simulation.world",
    "simulate": "simulation.world",
    "simulate_store": "simulation.world",
    "simulated_region": "simulation.region",
    "pseudo_labelled": "pseudo_labels",
    "two_sensors_file": "simulation.two_sensors",
}
__all__ = [*PUBLIC]


def __getattr__(name: str) -> Any:
    return resolve(__name__, PUBLIC, name)
