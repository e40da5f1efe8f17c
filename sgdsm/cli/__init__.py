"""The command line: one file a command, the parsing of overrides, and the entry points.

May import everything. Add a command as a file in `commands`.
"""
