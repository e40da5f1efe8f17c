"""Length that a NetCDF-3 file must have, from its header.

The library reads zeros from a file that was cut off, without an error. Layout: NetCDF classic and 64-bit offset
formats, Unidata, "File format specifications".
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import BinaryIO

MAGIC = (b"CDF\x01", b"CDF\x02")
BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8}  # of the types byte, char, short, int, float, double
STREAMING = 0xFFFFFFFF  # the header does not contain the number of records


def whole(path: Path) -> None:
    """Raise an error if a NetCDF-3 file ends before its last variable; other files pass.

    Args:
        path: The file.

    Raises:
        OSError: If the file is truncated.
    """
    with path.open("rb") as stream:
        magic = stream.read(4)
        if magic not in MAGIC:
            return
        try:
            needed = _end(stream, offset_bytes=8 if magic == MAGIC[1] else 4)
        except (KeyError, EOFError) as error:
            raise OSError("truncated: its header is not whole") from error
    if path.stat().st_size < needed:
        raise OSError(f"truncated: it has {path.stat().st_size} bytes, expected {needed}")


def _end(stream: BinaryIO, offset_bytes: int) -> int:
    """Return the byte after the last value."""
    records = _number(stream)
    sizes = []
    for _ in range(_count(stream)):
        _name(stream)
        sizes.append(_number(stream))
    _skip_attributes(stream)
    fixed, recurring = [0], []
    for _ in range(_count(stream)):
        _name(stream)
        shape = [sizes[_number(stream)] for _ in range(_number(stream))]
        _skip_attributes(stream)
        kind = _number(stream)
        _number(stream)  # its size, which may not fit
        begin = _number(stream, offset_bytes)
        # the unlimited dimension has the length 0 in the header
        if shape and shape[0] == 0:
            recurring.append((begin, prod(shape[1:]) * BYTES[kind]))
        else:
            fixed.append(begin + prod(shape) * BYTES[kind])
    if not recurring or records in (0, STREAMING):
        return max(fixed)
    # a lone recurring variable is not padded to 4 bytes
    step = recurring[0][1] if len(recurring) == 1 else sum(-(-size // 4) * 4 for _, size in recurring)
    return max(*fixed, *(begin + (records - 1) * step + size for begin, size in recurring))


def _number(stream: BinaryIO, size: int = 4) -> int:
    """Return a big-endian integer; EOFError at the end of the file."""
    raw = stream.read(size)
    if len(raw) < size:
        raise EOFError
    return int.from_bytes(raw, "big")


def _count(stream: BinaryIO) -> int:
    """Return the length of a list, which a tag precedes."""
    _number(stream)
    return _number(stream)


def _name(stream: BinaryIO) -> None:
    """Skip a name, padded to 4 bytes."""
    stream.seek(-(-_number(stream) // 4) * 4, 1)


def _skip_attributes(stream: BinaryIO) -> None:
    """Skip a list of attributes."""
    for _ in range(_count(stream)):
        _name(stream)
        size = BYTES[_number(stream)] * _number(stream)
        stream.seek(-(-size // 4) * 4, 1)
