"""Grids of scenes with their truth, made on the fly from stores: what scene completion learns from."""
