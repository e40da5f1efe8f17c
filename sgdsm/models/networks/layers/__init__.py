"""Layers that networks are made of; plain torch.

Imports torch only.
"""
