"""Fill a cube slab by slab, blend windows, write files.

May import `core` to `models`.
"""
