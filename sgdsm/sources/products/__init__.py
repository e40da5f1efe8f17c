"""One file a product: `files(paths, **options)` returns its `Files`.

Uses the modules of `readers`. A new file here is a new product; its settings go to configs/source.
"""
