"""What the readers of several products share: file lists, packed values, grids, swaths, stations.

May import `core`.
"""
