"""One or two methods' grasps for one subject, drawn beside each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from sceneleapultra.evaluation.viewer.stage import Stage
from sceneleapultra.evaluation.viewer.subject import Candidates, Subject
from sceneleapultra.hands import GraspPose, Hand
from sceneleapultra.reporting.drawing import CLOUD, NEIGHBOR, OBJECT, REST, ColoredMesh, Rgb, hand_meshes
from sceneleapultra.reporting.requests import upright
from sceneleapultra.utils.columns import COLUMNS
from sceneleapultra.utils.records import Grasps
from sceneleapultra.utils.requests.request import level_plane

LAYERS = ("hand", "objects", "cloud", "all bases")
STAGES = ("grasp", "pre-grasp", "squeeze")
APART_M = 0.55
_SHOWN_RADIUS = 0.3  # of the points about the target (m)


@dataclass(frozen=True)
class Side:
    """A subject with one method's grasps, and where it stands on the stage.

    Attributes:
        name: of its groups on the stage.
        subject: what is shown.
        method: whose grasps; empty where there are none.
        T_stage_request: from the frame of the request to that of the stage, z up.
    """

    name: str
    subject: Subject
    method: str
    T_stage_request: Float[np.ndarray, "4 4"]

    @classmethod
    def of(cls, name: str, subject: Subject, method: str, offset_m: float) -> "Side":
        """Stand a subject on the stage, its target at ``offset_m`` along x."""
        request = subject.request
        center = request.target_points.mean(0, dtype=np.float64)
        if subject.item is not None:
            T = np.eye(4)
            T[:2, 3] = -center[:2]
        else:
            height = level_plane(request).height_of(center) if request.table is not None else 0.0
            T = upright(request.up, center, height)
        T[0, 3] += offset_m
        return cls(name, subject, method, T)

    @property
    def candidates(self) -> Candidates | None:
        """The grasps of the method."""
        return self.subject.candidates.get(self.method)

    def group(self, layer: str) -> str:
        """Return the name of a layer on the stage."""
        return f"{self.name}/{layer}"

    def place(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Move points of the request to the stage."""
        return points @ self.T_stage_request[:3, :3].T + self.T_stage_request[:3, 3]

    def draw_scene(self, stage: Stage) -> None:
        """Draw cloud, objects and table."""
        request, item = self.subject.request, self.subject.item
        stage.erase(*(self.group(layer) for layer in (*LAYERS, "table")))
        points = self.place(request.points)
        center = points[request.object_mask].mean(0)
        near = np.linalg.norm(points[:, :2] - center[:2], axis=1) < _SHOWN_RADIUS
        stage.points(self.group("cloud"), points[request.object_mask], CLOUD)
        stage.points(self.group("cloud"), points[near & ~request.object_mask], REST)
        if item is None:
            return
        for number, record in enumerate(item.scene.objects):
            T = item.scene.T_world_object[number]
            vertices = self.place(record.vertices @ T[:3, :3].T + T[:3, 3])
            rgb, role = (OBJECT, "object") if number == item.target else (NEIGHBOR, "neighbor")
            stage.mesh(self.group("objects"), ColoredMesh(vertices, record.faces, rgb, role), opacity=0.6)
        if item.scene.table:
            stage.table(self.group("table"), center)

    def draw_hand(self, stage: Stage, hand: Hand, number: int, moment: str) -> None:
        """Draw the hand at one of the grasps, and dots where the bases of all are."""
        stage.erase(self.group("hand"), self.group("all bases"))
        if (found := self.candidates) is None or number >= len(found.grasps):
            return
        pose = at_stage(found.grasps, number, moment)
        self.draw_poses(stage, "hand", hand, pose[None], found.colors[number])
        stage.points(
            self.group("all bases"), self.place(found.grasps.hand_pose[:, :3]), found.colors, scale=3.0
        )

    def draw_poses(
        self, stage: Stage, layer: str, hand: Hand, hand_pose: Float[np.ndarray, "g p"], rgb: Rgb
    ) -> None:
        """Draw hands at poses in the frame of the request, on a layer."""
        T = torch.from_numpy(self.T_stage_request)
        poses = GraspPose.from_hand_pose(torch.from_numpy(np.asarray(hand_pose, dtype=np.float64)))
        placed = poses.transform(T).to_hand_pose().numpy()
        for vertices, faces in hand_meshes(hand, placed):
            stage.mesh(self.group(layer), ColoredMesh(vertices, faces, rgb, "hand"))

    def outcome(self, number: int) -> str:
        """Say in one line how a grasp ended."""
        if (found := self.candidates) is None or number >= len(found.grasps):
            return f"**{self.method}**: no such grasp" if self.method else "No grasps here."
        ended = f": {found.outcomes[number]}" if found.outcomes[number] else ""
        return f"**{self.method}**, grasp {number + 1} of {len(found.grasps)}{ended}"

    def details(self, number: int) -> dict[str, str]:
        """Return what else is known of a grasp."""
        found = self.candidates
        return {} if found is None or number >= len(found.grasps) else found.details[number]


def details(sides: Sequence[Side], number: int) -> str:
    """Return what is known of the grasps of this number as a table in markdown, one column for each side."""
    known = [side.details(number) for side in sides]
    names = dict.fromkeys(name for one in known for name in one)
    rows = [[_label(name), *(one.get(name, "") for one in known)] for name in names]
    head = ["", *(side.method for side in sides)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) if rows else ""


def _label(name: str) -> str:
    unit = COLUMNS[name].unit if name in COLUMNS else ""
    return f"{name.removesuffix(f'_{unit.lower()}').replace('_', ' ')}{f', {unit}' if unit else ''}"


def at_stage(grasps: Grasps, number: int, moment: str) -> Float[np.ndarray, "p"]:
    """Return the pose of the hand at one of a grasp's stages."""
    pose = np.array(grasps.hand_pose[number], dtype=np.float64)
    joints = {"pre-grasp": grasps.pregrasp_qpos, "squeeze": grasps.squeeze_qpos}.get(moment)
    if joints is not None and np.isfinite(joints[number]).all():
        pose[3:-4] = joints[number]
    return pose
