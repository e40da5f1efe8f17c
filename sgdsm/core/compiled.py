"""Loops compiled by numba. Import it only where `has_numba` is true: the package runs without numba, more slowly."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba


def compiled(fused: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a function for this processor; the result is cached on disk.

    Args:
        fused: True if a product and a sum may be rounded once instead of twice.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"} if fused else False}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return numba.njit(function, cache=True, **options)
        except RuntimeError:
            # no folder can be written for the compiled code
            return numba.njit(function, **options)

    return decorate


def share(kernel: Callable[..., Any], arrays: tuple[Any, ...], count: int, threads: int) -> None:
    """Run a kernel on all items, in threads, each with an equal part.

    Args:
        kernel: Takes the arrays, the first item and the one after the last.
        arrays: For the kernel.
        count: Number of items.
        threads: At most so many.
    """
    threads = min(threads, count)
    if threads <= 1:
        kernel(*arrays, 0, count)
        return
    bounds = [count * k // threads for k in range(threads + 1)]
    # plain threads, no parallel loops of numba: those must not run from several threads or forked processes at once
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda first, last: kernel(*arrays, first, last), bounds[:-1], bounds[1:]))
