"""Methods without training or with few parameters: interpolation, climatology, DCT-PLS, DINEOF, kriging.

May import what `models` may. Add a method as one file that subclasses `models.base.GapFiller`, or `tuned.Tuned` if it
only has settings to choose.
"""
