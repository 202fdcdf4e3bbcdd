"""How often each stage ran, how long, inside which other one: a tree with self and total times."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

Path = tuple[str, ...]
_REMEMBERED = 2048  # latest durations of a stage, for its percentiles


@dataclass
class Node:
    """One stage at one place of the tree."""

    count: int = 0
    total_s: float = 0.0
    device_s: float = 0.0  # on the GPU, as far as it is known yet
    latest_s: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def add(self, seconds: float) -> None:
        """Count one run."""
        self.count += 1
        self.total_s += seconds
        self.latest_s.append(seconds)


@dataclass(frozen=True)
class Row:
    """A node as tables and files show it."""

    path: Path
    count: int
    total_s: float
    self_s: float  # total less that of the stages inside
    mean_ms: float
    p50_ms: float
    p95_ms: float
    device_ms: float  # mean
    share: float  # of the root

    @property
    def name(self) -> str:
        """Name of the stage."""
        return self.path[-1]


class StageTree:
    """Stages by their path from a root, whose total is the whole of which shares are taken."""

    def __init__(self, root: str) -> None:
        self.root: Path = (root,)
        self.nodes: dict[Path, Node] = {self.root: Node()}

    def add(self, path: Path, seconds: float) -> Node:
        """Count one run of a stage."""
        node = self.nodes.get(path)
        if node is None:
            node = self.nodes[path] = Node()
        node.add(seconds)
        return node

    def rows(self) -> list[Row]:
        """Return all nodes, each before those inside it, the longest first."""
        whole = max(self.nodes[self.root].total_s, 1e-12)
        return [self._row(path, whole) for path in self._walk(self.root)]

    def shares(self) -> dict[str, float]:
        """Return the share of each stage, summed over the places where it ran; of the root, its self time."""
        found: dict[str, float] = {}
        for row in self.rows():
            inside = any(parent == row.name for parent in row.path[:-1])
            own = (
                row.self_s / max(self.nodes[self.root].total_s, 1e-12) if row.path == self.root else row.share
            )
            found[row.name] = found.get(row.name, 0.0) + (0.0 if inside else own)
        return found

    def _walk(self, path: Path) -> Iterator[Path]:
        yield path
        inside = [p for p in self.nodes if p[:-1] == path]
        for child in sorted(inside, key=lambda p: -self.nodes[p].total_s):
            yield from self._walk(child)

    def _row(self, path: Path, whole: float) -> Row:
        node = self.nodes[path]
        inside = sum(n.total_s for p, n in self.nodes.items() if p[:-1] == path)
        latest = np.array(node.latest_s) if node.latest_s else np.zeros(1)
        p50, p95 = np.percentile(latest, (50, 95))
        count = max(1, node.count)
        return Row(
            path=path,
            count=node.count,
            total_s=node.total_s,
            self_s=node.total_s - inside,
            mean_ms=1e3 * node.total_s / count,
            p50_ms=1e3 * float(p50),
            p95_ms=1e3 * float(p95),
            device_ms=1e3 * node.device_s / count,
            share=node.total_s / whole,
        )
