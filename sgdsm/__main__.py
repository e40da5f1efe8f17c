"""`python -m sgdsm COMMAND ...`"""

from sgdsm.commands import main

main()
