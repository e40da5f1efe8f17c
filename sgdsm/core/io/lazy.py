"""Arrays whose values are changed as they are read, piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing


class _Changed(BackendArray):
    """The values of a variable after a change.

    Args:
        variable: Variable of any shape.
        change: Takes an array that it may alter in place, and returns one of the same shape.
        dtype: Floating-point type of the values.
    """

    def __init__(self, variable: xr.Variable, change: Callable[[np.ndarray], np.ndarray], dtype: np.dtype) -> None:
        self.variable, self.change = variable, change
        self.shape, self.dtype = variable.shape, dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return self.change(np.asarray(self.variable[key].values, self.dtype))


def changed(variable: xr.Variable, change: Callable[[np.ndarray], np.ndarray]) -> xr.Variable:
    """Return a float variable with `change` applied to each part as it is read; nothing is read yet.

    Args:
        variable: Variable of any shape. Integers become float32, or float64 where float32 cannot hold them.
        change: Takes an array that it may alter in place, and returns one of the same shape.
    """
    dtype = variable.dtype if variable.dtype.kind == "f" else np.result_type(variable.dtype, np.float32)
    data = indexing.LazilyIndexedArray(_Changed(variable, change, dtype))
    # the packing was that of the values before
    encoding = {k: v for k, v in variable.encoding.items() if k == "source"}
    return xr.Variable(variable.dims, data, variable.attrs, encoding)


def in_place_of(array: xr.DataArray, variable: xr.Variable) -> xr.DataArray:
    """Return a variable under the name and with the coordinates of another.

    Args:
        array: The one to replace.
        variable: Values, attributes and encoding of the new one, on the same dims.
    """
    new = xr.DataArray(variable, array.coords, name=array.name)
    new.encoding = dict(variable.encoding)  # which DataArray does not take from a Variable
    return new
