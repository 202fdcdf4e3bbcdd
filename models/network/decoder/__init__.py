"""Decoders: noised grasps and a scene in, a prediction per grasp out."""
