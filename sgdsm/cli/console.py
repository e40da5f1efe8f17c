"""Where train.py, predict.py, `python -m sgdsm` and the script `sgdsm` begin."""

from __future__ import annotations

from sgdsm.core.imports import without_collection
from sgdsm.core.signals import listening


def main(command: str | None = None) -> None:
    """Run a command with the words of the command line; errors of a user's making, and signals, end in one line."""
    with listening():
        # here: it takes seconds, and Ctrl-C must find us ready
        with without_collection():
            from sgdsm.cli.main import run

        run(command)
