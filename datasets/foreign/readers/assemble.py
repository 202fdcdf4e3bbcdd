"""How a scene that a reader found becomes one of ours: solids, views, grasps in the world, each checked in space."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from sceneleapultra.datasets.foreign.readers.base import Claims, MeshProvider, Placed, RawScene
from sceneleapultra.datasets.foreign.readers.geometry import check_grasps, check_view, chosen
from sceneleapultra.hands import Hand
from sceneleapultra.utils.geometry.points import farthest_point_order_numpy
from sceneleapultra.utils.records import (
    Grasps,
    GraspType,
    LabeledGrasps,
    ObjectRecord,
    Outcome,
    Scene,
    SceneRecord,
    View,
)

_ON_TABLE_M = 0.015  # an object's lowest point may be this far from the table
_OVERSAMPLING = 3


@dataclass(frozen=True)
class GraspCount:
    """How many grasps there are, and why others are not."""

    written: int = 0
    dropped: int = 0  # of objects of another split, or above the most kept
    moved: int = 0  # whose wrist moves further than allowed
    motion_m: float = 0.0  # the furthest that a wrist moves in those that are written
    motion_deg: float = 0.0

    def __add__(self, other: "GraspCount") -> "GraspCount":
        """Count both."""
        return GraspCount(
            self.written + other.written,
            self.dropped + other.dropped,
            self.moved + other.moved,
            max(self.motion_m, other.motion_m),
            max(self.motion_deg, other.motion_deg),
        )


@dataclass(frozen=True, kw_only=True)
class GraspRules:
    """Which grasps are kept and how missing joints are derived; ``config/conversion`` says what each setting means."""

    max_grasps: int
    open_rad: float | None
    squeeze_rad: float | None
    max_wrist_motion_m: float | None
    max_wrist_motion_deg: float | None

    def __post_init__(self) -> None:
        if self.max_grasps < 1:
            raise ValueError(f"conversion.grasps.max_grasps: expected at least 1, got {self.max_grasps}.")
        for name in ("max_wrist_motion_m", "max_wrist_motion_deg"):
            if (value := getattr(self, name)) is not None and value < 0.0:
                raise ValueError(
                    f"conversion.grasps.{name}: expected at least 0, or null for any, got {value}."
                )


@dataclass(frozen=True, kw_only=True)
class PointRules:
    """How many points of a view are kept; ``config/conversion`` says what each setting means."""

    object_points: int
    table_points: int
    table_margin_m: float


@dataclass(frozen=True, kw_only=True)
class Assembler:
    """Makes scene records; the same scene always becomes the same record."""

    hand: Hand
    renderer: MeshProvider
    split_of_object: dict[str, str]  # empty: objects are not split
    columns: frozenset[str]  # joints that the source has beside the grasp's
    grasps: GraspRules
    points: PointRules
    seed: int

    def __post_init__(self) -> None:
        if self._derives() and not self.hand.knows("flexion_sign"):
            raise ValueError(
                "conversion.grasps.open_rad and squeeze_rad need to know which way the joints of hand "
                f"'{self.hand.name}' close. Add semantics.flexion_sign to its config/hand file, or pass null for both."
            )

    def assemble(self, raw: RawScene, index: int, split: str, key: str) -> tuple[SceneRecord, GraspCount]:
        """Return the record, and what became of its grasps.

        Raises:
            FileNotFoundError: a mesh is missing.
            ValueError: the scene makes no sense in space.
        """
        rng = np.random.default_rng([self.seed, index])
        made = [self.renderer.solid(p.mesh, name=p.name, family=p.family, scale=p.scale) for p in raw.objects]
        records = tuple(record for record, _ in made)
        T_object_com = np.tile(np.eye(4), (len(made), 1, 1))
        T_object_com[:, :3, 3] = [center for _, center in made]
        T = np.stack([p.T_world_object for p in raw.objects]) @ T_object_com
        if raw.table:
            _check_table(raw.objects, records, T, key)
        labeled, count = [], GraspCount()
        for i, placed in enumerate(raw.objects):
            claims = placed.grasps
            local = Claims(np.linalg.inv(T_object_com[i]) @ claims.T_object_base, claims.qpos, claims.outcome)
            check_grasps(self.hand, records[i], local, key)
            still = np.flatnonzero(self._still(claims))
            kept = still[self._kept(placed.name, len(still), split, rng)]
            count += GraspCount(
                len(kept), len(still) - len(kept), len(claims) - len(still), *_motion(claims, kept)
            )
            labeled.append(self._labeled(chosen(claims, kept), placed.T_world_object))
        for view in raw.views:
            check_view(view, raw.objects, records, T)
        scene = Scene(records, T, raw.table)
        views = tuple(self._keep_points(view, T, rng) for view in raw.views) or self.renderer.render_views(
            scene, rng
        )
        return SceneRecord(index, split, self.seed, scene, views, tuple(labeled)), count

    def _still(self, claims: Claims) -> Bool[np.ndarray, "g"]:
        """Tell which grasps have their pre-grasp and squeeze at nearly the same wrist."""
        still = np.ones(len(claims), dtype=bool)
        if claims.wrist_motion is not None:
            if self.grasps.max_wrist_motion_m is not None:
                still &= claims.wrist_motion[:, 0] <= self.grasps.max_wrist_motion_m
            if self.grasps.max_wrist_motion_deg is not None:
                still &= np.rad2deg(claims.wrist_motion[:, 1]) <= self.grasps.max_wrist_motion_deg
        return still

    def _kept(self, name: str, num: int, split: str, rng: np.random.Generator) -> np.ndarray:
        """Return which of ``num`` grasps to keep: none of another split's object, and at most so many, at random."""
        own = self.split_of_object.get(name.split("@")[0], split)
        if own != split:
            return np.zeros(0, dtype=np.int64)
        return np.sort(rng.permutation(num)[: self.grasps.max_grasps])

    def _labeled(self, claims: Claims, T_world_object: Float[np.ndarray, "4 4"]) -> LabeledGrasps:
        T = T_world_object @ claims.T_object_base
        quat = Rotation.from_matrix(T[:, :3, :3]).as_quat(scalar_first=True) if len(T) else np.zeros((0, 4))
        low, high = self.hand.joint_limits.double().numpy().T
        closing = self.hand.closing.double().numpy() if self._derives() else np.zeros(len(low))

        def moved(name: str, rad: float | None, sign: float) -> np.ndarray:
            if name in self.columns:
                values = getattr(claims, name)
                if values is None:
                    raise ValueError(
                        f"A grasp file lacks {name}, the first one of this source has it. Mend the source."
                    )
                return values
            return (
                np.full_like(claims.qpos, np.nan)
                if rad is None
                else np.clip(claims.qpos + sign * rad * closing, low, high)
            )

        n = len(claims)
        grasps = Grasps(
            hand_pose=np.concatenate([T[:, :3, 3], claims.qpos, quat], axis=1).astype(np.float32),
            pregrasp_qpos=moved("pregrasp_qpos", self.grasps.open_rad, -1.0).astype(np.float32),
            squeeze_qpos=moved("squeeze_qpos", self.grasps.squeeze_rad, 1.0).astype(np.float32),
        )
        unknown = np.full(n, np.nan, np.float32)
        return LabeledGrasps(
            grasps=grasps,
            success=claims.outcome == Outcome.CLAIMED,
            direction_success=np.zeros((n, 6), bool),
            outcome=claims.outcome.astype(np.uint8),
            penetration_m=unknown,
            self_penetration_m=unknown,
            clearance_m=unknown,
            robustness=unknown,
            grasp_type=np.full(n, GraspType.UNKNOWN, np.uint8),
            held_part=np.zeros(n, np.uint8),
            touched_parts=np.zeros(n, np.uint16),
            disturbance=unknown,
        )

    def _derives(self) -> bool:
        wanted = {"pregrasp_qpos": self.grasps.open_rad, "squeeze_qpos": self.grasps.squeeze_rad}
        return any(rad is not None and name not in self.columns for name, rad in wanted.items())

    def _keep_points(self, view: View, T: Float[np.ndarray, "k 4 4"], rng: np.random.Generator) -> View:
        """Keep evenly spread points of each object, and of what lies near one; in blocks, as stores want them."""
        index = []
        for i in range(len(T) + 1):
            block = np.flatnonzero(view.instance == i)
            if i == 0:
                away = np.linalg.norm(view.points[block, None, :2] - T[None, :, :2, 3], axis=-1).min(1)
                block = block[away <= self.points.table_margin_m]
            most = self.points.object_points if i else self.points.table_points
            block = block[rng.permutation(len(block))[: most * _OVERSAMPLING]]
            if len(block):
                block = block[farthest_point_order_numpy(view.points[block], min(most, len(block)))]
            index.append(block)
        rows = np.concatenate(index).astype(np.int64)
        return View(view.T_world_cam, view.K, view.points[rows], view.rgb[rows], view.instance[rows])


def _motion(claims: Claims, rows: np.ndarray) -> tuple[float, float]:
    """Return the furthest that a wrist moves in some grasps (m, degrees)."""
    if claims.wrist_motion is None:
        return 0.0, 0.0
    m, rad = claims.wrist_motion[rows].max(0, initial=0.0).tolist()
    return m, float(np.rad2deg(rad))


def _check_table(
    placed: tuple[Placed, ...], records: tuple[ObjectRecord, ...], T: Float[np.ndarray, "k 4 4"], key: str
) -> None:
    """Refuse objects far below a table, or scenes in which none touches it."""
    lowest = [float((r.vertices @ t[2, :3] + t[2, 3]).min()) for r, t in zip(records, T, strict=True)]
    i = int(np.argmin(lowest))
    if abs(lowest[i]) > _ON_TABLE_M:
        raise ValueError(
            f"{key}: the lowest point of object '{placed[i].name}' is at z = {1e3 * lowest[i]:.0f} mm, but a table at "
            f"z = 0 is expected (within {1e3 * _ON_TABLE_M:.0f} mm). The poses are in another frame; where there is no "
            "table, pass reader.table=false."
        )
