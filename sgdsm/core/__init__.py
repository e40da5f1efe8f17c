"""The base of all other packages: the cube, its axes and units, errors, regions, reading and writing of files.

Imports nothing of the other packages; at module level numpy and xarray only, in `io` h5py too.
"""
