"""Opening and writing of NetCDF, HDF5 and Zarr; decoding of packed values; refusal of unsafe files.

May import `core` only.
"""
