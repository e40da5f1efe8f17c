"""Methods without training or with few parameters: interpolation, climatology, DCT-PLS, DINEOF, kriging.

May import what `models` may.
"""
