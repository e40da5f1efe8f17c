"""The base of all other packages: the cube, its axes and units, errors, regions, reading and writing of files.

Imports numpy and xarray only, and nothing of the other packages.
"""
