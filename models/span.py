"""How wide a cloud may be that is sorted into voxels; nothing here needs torch."""

from collections.abc import Sequence


def check_span(voxels: Sequence[float], size: float, depth: int) -> None:
    """Refuse clouds that are too wide for the codes of their voxels.

    Args:
        voxels: that each cloud spans, along its longest axis.
        size: edge of a voxel (m).
        depth: bits per axis.

    Raises:
        ValueError: a cloud spans more than ``2 ** depth`` voxels.
    """
    if (span := max(voxels)) > 1 << depth:
        raise ValueError(
            f"Cloud {list(voxels).index(span)} spans {span * size:.4g} m: {span:.0f} voxels of grid_size={size:g} m, "
            f"but depth={depth} holds {1 << depth} per axis, {(1 << depth) * size:.4g} m. Are the coordinates in "
            "millimetres? They must be in metres; otherwise crop the cloud, or raise grid_size or depth (at most 16)."
        )
