"""Locks on outputs: two programs never write to the same place at once."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sgdsm.core.errors import ConfigError
from sgdsm.core.io.stores import is_remote


def is_first() -> bool:
    """Return True in the first, or the only, of the processes of a run, as Lightning counts them."""
    # Lightning is heavy, and most importers of this module never fill or train
    from pytorch_lightning.utilities import rank_zero_only

    return not getattr(rank_zero_only, "rank", 0)


@contextmanager
def exclusive(output: str | Path) -> Iterator[None]:
    """Take an exclusive lock on an output, `OUTPUT.lock`; a folder that is missing above it is made.

    A program that was killed leaves the file, but not the lock. Only the first process of a run takes the lock, for all
    of them. There is no lock on an object store, and none on Windows.

    Args:
        output: File, store or folder that is written.

    Raises:
        ConfigError: Another program holds the lock, a link or named pipe of that name is there, or the folder cannot be
            made.
    """
    if is_remote(output) or not is_first():
        yield
        return
    folder = Path(output).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{output}: the folder {folder} cannot be made: {error.strerror}") from error
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    path = Path(f"{output}.lock")
    # neither a link nor a named pipe of that name is followed, or waited for
    with open(path, "w", opener=_itself) as file:
        message = f"{output}: another program is writing there ({path}): wait for it"
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(message) from error
        # one that has just ended took its file away: our lock would be of no use
        if not path.exists() or path.stat().st_ino != os.fstat(file.fileno()).st_ino:
            raise ConfigError(message)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _itself(path: str, flags: int) -> int:
    """Open a file that is no link and no named pipe, without cutting it."""
    try:
        return os.open(path, flags & ~os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ConfigError(f"{path}: is a link or a named pipe, expected no such file: remove it") from error
        raise
