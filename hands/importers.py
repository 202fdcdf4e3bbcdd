"""How a foreign hand, a URDF or an MJCF, becomes a description: MuJoCo parses, we read the compiled model."""

from pathlib import Path

from hands.description import HandDescription


def describe_mjcf(path: Path) -> HandDescription:
    """Describe the hand in a MuJoCo model."""
    raise NotImplementedError(path)


def describe_urdf(path: Path) -> HandDescription:
    """Describe the hand in a URDF."""
    raise NotImplementedError(path)
