"""Files over HTTP with resume, and what is known of each product's archive.

May import `core`. Add a product's archive in `products.py`.
"""
