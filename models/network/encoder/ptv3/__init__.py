"""Point Transformer V3: the network on voxels, and the scene encoder around it."""

from sceneleapultra.models.network.encoder.ptv3.architecture import Architecture
from sceneleapultra.models.network.encoder.ptv3.encoder import PTv3
from sceneleapultra.models.network.encoder.ptv3.network import PointTransformerV3

__all__ = ["Architecture", "PTv3", "PointTransformerV3"]
