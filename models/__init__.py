"""What the network is: encoders, decoders, diffusion, and the module that trains and samples."""

from sceneleapultra.models.inference import GraspModel, SampledGrasps, load_grasp_model

__all__ = ["GraspModel", "SampledGrasps", "load_grasp_model"]
