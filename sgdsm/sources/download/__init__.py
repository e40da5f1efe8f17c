"""Fetching product files over HTTP, or telling how to get them.

May import `core`. Add a product in `products`, instructions for one that needs a browser in `manual`.
"""
