"""One file a product: `files(paths, **options)` returns the product's `Files`.

Uses the modules of `readers`. A new file here is a new product; its settings go to configs/source. Each module has
`PATTERNS`, the file names to look for in a folder.
"""
