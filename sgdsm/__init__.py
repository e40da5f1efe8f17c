"""Fill the gaps of satellite soil-moisture maps, with an honest uncertainty."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sgdsm.core.signals import at_start

at_start()  # before the imports that take seconds: Ctrl-C must end a command in one line

from sgdsm.api.accessor import SgdsmAccessor as SgdsmAccessor  # noqa: E402
from sgdsm.core.public import resolve  # noqa: E402

if TYPE_CHECKING:
    from sgdsm.api.compare import compare
    from sgdsm.api.fill import fill
    from sgdsm.api.train import train
    from sgdsm.core.cube import as_cube, check_cube, open_cube
    from sgdsm.core.errors import ConfigError, CubeError, SgdsmError
    from sgdsm.inference.members import members
    from sgdsm.sources.readers.files import open_product

__all__ = [
    "ConfigError",
    "CubeError",
    "SgdsmError",
    "as_cube",
    "check_cube",
    "compare",
    "fill",
    "members",
    "open_cube",
    "open_product",
    "train",
]
__version__ = "0.1.0"
PACKAGES = ("data", "evaluation", "inference", "models", "preprocessing", "report", "sources", "training")
# torch and the rest are imported at first use: `import sgdsm` must stay cheap
PUBLIC = {
    "ConfigError": "core.errors",
    "CubeError": "core.errors",
    "SgdsmError": "core.errors",
    "as_cube": "core.cube",
    "check_cube": "core.cube",
    "compare": "api.compare",
    "fill": "api.fill",
    "members": "inference.members",
    "open_cube": "core.cube",
    "open_product": "sources.readers.files",
    "train": "api.train",
}


def __getattr__(name: str) -> Any:
    if name in PACKAGES:
        return import_module(f"sgdsm.{name}")
    return resolve(__name__, PUBLIC, name)


def __dir__() -> list[str]:
    return sorted([*__all__, *PACKAGES, "__version__"])
