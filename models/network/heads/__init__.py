"""Heads: what is predicted of a scene or of grasps besides the grasps themselves."""
