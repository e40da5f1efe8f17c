"""Gap-fillers: networks, trees, simple methods, and wrappers that add uncertainty."""
