"""Fills the gaps of satellite soil-moisture maps and says how sure it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sgdsm.stopping import at_start

at_start()  # of a command, before anything that takes long

from sgdsm.accessor import SgdsmAccessor as SgdsmAccessor  # noqa: E402

if TYPE_CHECKING:
    from sgdsm.api import fill
    from sgdsm.cube import ConfigError, CubeError, SgdsmError, as_cube, check_cube
    from sgdsm.inference.members import members
    from sgdsm.sources.files import open_product

__all__ = ["ConfigError", "CubeError", "SgdsmError", "as_cube", "check_cube", "fill", "members", "open_product"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # importing the package must stay cheap (xarray, for the accessor): torch comes with the first use
    if name not in __all__:
        raise AttributeError(f"module 'sgdsm' has no attribute '{name}'")
    from importlib import import_module

    where = {"fill": "sgdsm.api", "members": "sgdsm.inference.members", "open_product": "sgdsm.sources.files"}
    return getattr(import_module(where.get(name, "sgdsm.cube")), name)
