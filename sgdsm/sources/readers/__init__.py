"""What the readers of several products share: file lists, packed values, grids, swaths, stations.

May import `core`. A newcomer edits `files` for everything about folders of files, `packed` for values in NetCDF files.
"""
