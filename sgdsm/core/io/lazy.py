"""Arrays whose values are changed as they are read, piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing


class _Changed(BackendArray):
    """The values of a variable after `change`, which takes and gives arrays of one shape."""

    def __init__(self, variable: xr.Variable, change: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> None:
        self.variable, self.change = variable, change
        self.shape, self.dtype = variable.shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return self.change(np.asarray(self.variable[key].values, self.dtype))


def changed(variable: xr.Variable, change: Callable[[np.ndarray], np.ndarray]) -> xr.Variable:
    """A float variable with `change` applied to each part as it is read; nothing is read yet.

    change: takes an array that it may alter in place. Integers become float32, or float64 where float32 cannot hold
    them.
    """
    dtype = variable.dtype if variable.dtype.kind == "f" else np.result_type(variable.dtype, np.float32)
    data = indexing.LazilyIndexedArray(_Changed(variable, change, dtype))
    encoding = {k: v for k, v in variable.encoding.items() if k == "source"}
    return xr.Variable(variable.dims, data, variable.attrs, encoding)
