"""Entry point of `python -m sgdsm COMMAND ...`."""

from sgdsm.cli.console import main

main()
