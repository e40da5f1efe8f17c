"""Where data come from: product files, and the built-in world."""
