"""Fetching the files of products: an engine that goes on where it stopped, and what it knows of each product."""
