"""Conditions: what a model is told beside the scene, each with a learned stand-in for when it is not told."""
