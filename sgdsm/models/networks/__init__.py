"""Neural networks; `base.Network` holds what they share.

Add a network as one file that subclasses `base.Network`.
"""
