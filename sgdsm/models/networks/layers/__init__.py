"""Layers that networks are made of; plain torch.

May import torch and `core` only.
"""
