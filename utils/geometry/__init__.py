"""Rotations, frames, points, clouds and signed distances."""
