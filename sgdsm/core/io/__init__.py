"""Opening and writing files and stores: NetCDF, HDF5, Zarr; packed values; what must not be opened.

May import `core` only.
"""
