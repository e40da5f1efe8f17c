"""`python -m sgdsm COMMAND ...`"""

from sgdsm.command_line import main

main()
