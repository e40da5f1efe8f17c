"""From a fitted filler and a cube to a filled file, slab by slab."""
