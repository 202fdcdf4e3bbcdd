"""Which grasps of an object enter an item: a strategy samples some, a partition spreads all over several items."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from sceneleapultra.utils.core.names import unknown_name

Strategy = Literal["random", "farthest_point", "hybrid", "quality_stratified"]
Partition = Literal["sequential", "random", "interleaved", "farthest_point", "nearest_point"]
_STRATA = 4  # of quality_stratified: equally many grasps in each


@dataclass(frozen=True, kw_only=True)
class GraspDistance:
    """How different two grasps are: sqrt(dt^2 / translation_m^2 + geodesic^2 / rotation_rad^2 + dq^2 / joints_rad^2).

    ``dq`` is the root mean square over the joints. Each length is the difference that counts as one.
    """

    translation_m: float
    rotation_rad: float
    joints_rad: float

    def __call__(
        self, one: Float[np.ndarray, "p"], others: Float[np.ndarray, "g p"]
    ) -> Float[np.ndarray, "g"]:
        """Return the distance of each of the others to one (hand poses)."""
        translation = np.linalg.norm(others[:, :3] - one[:3], axis=-1) / self.translation_m
        # Both signs of a quaternion are one rotation.
        cosine = np.abs(others[:, -4:] @ one[-4:]).clip(0.0, 1.0)
        rotation = 2.0 * np.arccos(cosine) / self.rotation_rad
        joints = np.sqrt(np.mean((others[:, 3:-4] - one[3:-4]) ** 2, axis=-1)) / self.joints_rad
        return np.sqrt(translation**2 + rotation**2 + joints**2)


@dataclass(frozen=True, kw_only=True)
class GraspChoice:
    """Which grasps an item takes; ``config/data`` says what each setting means.

    Raises:
        ValueError: unknown strategy or partition, a number out of its range, or shares that do not add up to 1.
    """

    number: int
    failures: int
    strategy: str
    partition: str | None
    shares: tuple[float, float, float]
    distance: GraspDistance
    min_robustness: float
    min_clearance_m: float

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise unknown_name("data.grasps.strategy", self.strategy, get_args(Strategy))
        if self.partition is not None and self.partition not in get_args(Partition):
            raise unknown_name("data.grasps.partition", self.partition, get_args(Partition))
        rules = {
            "number": (self.number >= 1, "at least 1"),
            "failures": (self.failures >= 0, "at least 0"),
            "min_robustness": (0.0 <= self.min_robustness <= 1.0, "0 to 1"),
        }
        for key, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(f"data.grasps.{key}: expected {expected}, got {getattr(self, key)}.")
        if min(self.shares) < 0.0 or abs(sum(self.shares) - 1.0) > 1e-6:
            raise ValueError(
                "data.grasps.shares: expected three shares of at least 0 that add up to 1 (farthest, best, random), "
                f"got {list(self.shares)}."
            )

    def draw(
        self,
        hand_pose: Float[np.ndarray, "g p"],
        quality: Float[np.ndarray, "g"],
        rows: Int[np.ndarray, "c"],
        count: int,
        rng: np.random.Generator,
    ) -> Int[np.ndarray, "m"]:
        """Return ``min(count, c)`` different positions in ``rows``.

        Args:
            hand_pose: all grasps.
            quality: of each, from 0 to 1; NaN where unknown.
            rows: those that may be taken.
            count: how many are wanted.
            rng: of everything left to chance.
        """
        n = len(rows)
        count = min(count, n)
        if count == 0:
            return np.zeros(0, dtype=np.int64)
        if self.strategy == "random":
            return rng.permutation(n)[:count]
        return _DRAWS[self.strategy](self, hand_pose[rows].astype(np.float64), quality[rows], count, rng)

    def num_chunks(self, num_grasps: int) -> int:
        """Return how many items hold all grasps of an object, ``number`` in each: 1 without a partition."""
        return 1 if self.partition is None else max(1, -(-num_grasps // self.number))

    def order(self, hand_pose: Float[np.ndarray, "g p"], rng: np.random.Generator) -> Int[np.ndarray, "g"]:
        """Return all rows so that chunk k of c = ``number`` rows is ``order[k * c : (k + 1) * c]``.

        ``sequential``: as stored. ``random``: shuffled. ``interleaved``: every k-th. ``farthest_point``: each chunk is
        a farthest-point sample of what the chunks before it left. ``nearest_point``: each holds neighbors. Only
        ``random`` uses ``rng``.
        """
        rows = np.arange(len(hand_pose))
        if self.partition == "random":
            return rng.permutation(rows)
        if self.partition == "interleaved":
            return _round_robin(rows, self.number)
        if self.partition in ("farthest_point", "nearest_point"):
            return self._chunk_by_chunk(hand_pose.astype(np.float64), self.number, self.partition)
        return rows

    def _chunk_by_chunk(
        self, hand_pose: Float[np.ndarray, "g p"], count: int, kind: str
    ) -> Int[np.ndarray, "g"]:
        """Take chunk after chunk from what is left: the first grasp, and those far from each other or near it."""
        left, order = np.arange(len(hand_pose)), [np.zeros(0, dtype=np.int64)]
        while len(left):
            pose, num = hand_pose[left], min(count, len(left))
            if kind == "farthest_point":
                taken = _farthest(pose, num, 0, self.distance)
            else:
                taken = np.argsort(self.distance(pose[0], pose), kind="stable")[:num]
            order.append(left[taken])
            left = np.delete(left, taken)
        return np.concatenate(order)


def _round_robin(rows: Int[np.ndarray, "g"], count: int) -> Int[np.ndarray, "g"]:
    """Give rows in turn to ceil(g / count) chunks of ``count`` places, the last of which may have fewer."""
    num = max(1, -(-len(rows) // count))
    hands: list[list[int]] = [[] for _ in range(num)]
    room = [count] * (num - 1) + [len(rows) - count * (num - 1)]
    k = 0
    for row in rows.tolist():
        while len(hands[k]) == room[k]:
            k = (k + 1) % num
        hands[k].append(row)
        k = (k + 1) % num
    return np.array([row for hand in hands for row in hand], dtype=np.int64)


def _farthest(
    hand_pose: Float[np.ndarray, "g p"], count: int, start: int, distance: GraspDistance
) -> Int[np.ndarray, "m"]:
    chosen = [start]
    nearest = distance(hand_pose[start], hand_pose)
    nearest[start] = -1.0
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distance(hand_pose[chosen[-1]], hand_pose))
        nearest[chosen] = -1.0
    return np.array(chosen)


def _weighted(weight: Float[np.ndarray, "g"], count: int, rng: np.random.Generator) -> Int[np.ndarray, "m"]:
    """Draw without replacement in proportion to weights: the largest of log weight plus Gumbel noise (Vieira 2014)."""
    return np.argsort(-(np.log(np.maximum(weight, 1e-6)) + rng.gumbel(size=len(weight))))[:count]


def _draw_farthest(
    choice: GraspChoice, hand_pose: np.ndarray, _: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Start at a random grasp, then always take the one farthest from those taken."""
    return _farthest(hand_pose, count, int(rng.integers(len(hand_pose))), choice.distance)


def _draw_hybrid(
    choice: GraspChoice, hand_pose: np.ndarray, quality: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Take the farthest, the better ones of what is left, and the remainder at random of what is left then."""
    num_far = round(count * choice.shares[0])
    num_best = min(count - num_far, round(count * choice.shares[1]))
    left = np.arange(len(hand_pose))
    far = _draw_farthest(choice, hand_pose, quality, num_far, rng) if num_far else left[:0]
    left = np.setdiff1d(left, far)
    best = left[_weighted(np.nan_to_num(quality[left], nan=0.5), num_best, rng)]
    left = np.setdiff1d(left, best)
    return np.concatenate([far, best, rng.permutation(left)[: count - num_far - num_best]])


def _draw_stratified(
    _: GraspChoice, __: np.ndarray, quality: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Take equally many from each quarter by quality; grasps of unknown quality form one more stratum."""
    known = np.flatnonzero(~np.isnan(quality))
    ranked = known[np.argsort(quality[known], kind="stable")]
    strata = [*np.array_split(ranked, _STRATA), np.flatnonzero(np.isnan(quality))]
    mixed = [rng.permutation(stratum) for stratum in strata if len(stratum)]
    # The k-th of every stratum stand together, so that any number of rows is spread evenly.
    place = np.concatenate([np.arange(len(stratum)) for stratum in mixed])
    order = np.lexsort((rng.random(len(place)), place))
    return np.concatenate(mixed)[order][:count]


_DRAWS: dict[str, Callable[..., np.ndarray]] = {
    "farthest_point": _draw_farthest,
    "hybrid": _draw_hybrid,
    "quality_stratified": _draw_stratified,
}
