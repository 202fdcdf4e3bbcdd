"""How a foreign hand, a URDF or an MJCF, becomes a description: MuJoCo parses, we read the compiled model."""

from sceneleapultra.hands.importers.mjcf import describe_mjcf
from sceneleapultra.hands.importers.urdf import describe_urdf

__all__ = ["describe_mjcf", "describe_urdf"]
