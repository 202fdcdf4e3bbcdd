"""Objects that touch are told apart: surface is cut along creases, where what would be cut through is narrow.

A crease alone (a handle on its mug, the wall and the floor of a bowl) parts nothing: what is joined by much of its
border is one object. Objects that touch have a crease and little in common. Compare Stein et al., Object Partitioning
using Local Convexity, 2014, who judge creases alone.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

_LINK_M = 0.006  # cells so near to one another are one surface
_LINK_SPACINGS = 2.2  # the same for clouds that are sparser than that
_PATCH_M = 0.010  # radius of the surface that tells whether a cell lies in a crease; no less than a link
_CREASE_M = 0.0004  # a cell lies so far below its patch, as seen along the normal
_LEAST_CELLS = 15  # fewer between creases are no part of their own
_NECK = (
    1.4  # a border is wide from so many cells on, over the root of the number of cells in the smaller part
)

Pairs = Int[np.ndarray, "p 2"]


def part_labels(cells: Float[np.ndarray, "n 3"], viewpoint: Float[np.ndarray, "3"]) -> Int[np.ndarray, "n"]:
    """Return the object that each cell belongs to, from 0; the same cells give the same objects.

    Args:
        cells: centers of small pieces of surface (m).
        viewpoint: camera center in their frame: it tells outside from inside.
    """
    if len(cells) < 2:
        return np.zeros(len(cells), dtype=np.int64)
    tree = cKDTree(cells)
    spacing = float(np.median(tree.query(cells, k=2)[0][:, 1]))
    link = max(_LINK_M, _LINK_SPACINGS * spacing)
    near = tree.query_pairs(max(_PATCH_M, link), output_type="ndarray").astype(np.int64)
    distance = np.linalg.norm(cells[near[:, 0]] - cells[near[:, 1]], axis=1)
    links = near[distance <= link]
    links = links[np.argsort(distance[distance <= link], kind="stable")]
    crease = _mean_over(links, _depth_below_patch(cells, near, viewpoint)) > _CREASE_M
    return _join_wide(_grown(_between(crease, links), links), links)


def _depth_below_patch(
    cells: Float[np.ndarray, "n 3"], near: Pairs, viewpoint: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "n"]:
    """Return how far each cell lies below the mean of its patch, along the patch's normal: positive in a crease."""
    mean = _mean_over(near, cells)
    square = _mean_over(near, (cells[:, :, None] * cells[:, None, :]).reshape(-1, 9)).reshape(-1, 3, 3)
    normal = np.linalg.eigh(square - mean[:, :, None] * mean[:, None, :])[1][:, :, 0]
    outward = np.sign((normal * (viewpoint - cells)).sum(-1))
    depth: np.ndarray = outward * (normal * (mean - cells)).sum(-1)
    return depth


def _mean_over(pairs: Pairs, values: Float[np.ndarray, "n *c"]) -> Float[np.ndarray, "n *c"]:
    """Return the mean of the values of each cell and those paired with it."""
    graph = _graph(pairs, len(values))
    graph = graph + graph.T
    count = 1.0 + np.asarray(graph.sum(1)).reshape(-1, *[1] * (values.ndim - 1))
    mean: np.ndarray = (graph @ values + values) / count
    return mean


def _graph(pairs: Pairs, count: int) -> csr_matrix:
    return coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count)).tocsr()


def _between(crease: Bool[np.ndarray, "n"], links: Pairs) -> Int[np.ndarray, "n"]:
    """Return the connected parts of what lies in no crease; -1 in creases, and where a part is too small."""
    free = links[~crease[links].any(1)]
    label = connected_components(_graph(free, len(crease)), directed=False)[1]
    few = np.bincount(label)[label] < _LEAST_CELLS
    return np.where(crease | few, -1, label)


def _grown(label: Int[np.ndarray, "n"], links: Pairs) -> Int[np.ndarray, "n"]:
    """Give cells without a label that of their nearest neighbor with one, outwards; what is left has its own."""
    # Of several neighbors the last written counts: the nearest comes last.
    both = np.concatenate([links, links[:, ::-1]], axis=1).reshape(-1, 2)[::-1]
    while True:
        reached = both[(label[both[:, 0]] < 0) & (label[both[:, 1]] >= 0)]
        if len(reached) == 0:
            break
        label = label.copy()
        label[reached[:, 0]] = label[reached[:, 1]]
    apart = connected_components(_graph(links, len(label)), directed=False)[1]
    return np.unique(np.where(label < 0, len(label) + apart, label), return_inverse=True)[1].ravel()


def _join_wide(label: Int[np.ndarray, "n"], links: Pairs) -> Int[np.ndarray, "n"]:
    """Join parts that share a wide border, the widest first, until all borders are narrow."""
    while True:
        ends = np.sort(label[links], axis=1)
        crossing = ends[:, 0] < ends[:, 1]
        if not crossing.any():
            return label
        sizes = np.bincount(label)
        border = ends[crossing, 0] * len(sizes) + ends[crossing, 1]
        # Each cell counts once in a border.
        cells = np.unique(border[:, None] * len(label) + links[crossing])
        borders, count = np.unique(cells // len(label), return_counts=True)
        one, other = np.divmod(borders, len(sizes))
        width = 0.5 * count / np.sqrt(np.minimum(sizes[one], sizes[other]))
        widest = int(width.argmax())
        if width[widest] < _NECK:
            return label
        label = np.where(label == other[widest], one[widest], label)
        label = np.unique(label, return_inverse=True)[1].ravel()
