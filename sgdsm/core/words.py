"""Words of messages."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: '1 day', '2 days'.

    Args:
        number: How many.
        noun: For one, whose plural ends in s.
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
