"""From products to a cube: one grid, features, and what quality maps reject."""
