"""Grasps for the tests: the official verdicts beside the project, and one firm grasp of our own."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np
import pytest
import trimesh

from factories import lifts
from factories.lifts import FIRM_QPOS, FLEXION
from sceneleapultra.hands import load_hand
from sceneleapultra.simulation.protocols import (
    Attempt,
    GraspSimulator,
    HandModel,
    ObjectModel,
    Protocol,
    WorldSpec,
    get_protocol,
)
from sceneleapultra.utils.records import Grasps, ObjectRecord, Scene

REFERENCE = Path(__file__).parents[4] / "shared/data/dexgraspbench_reference"
LEAP_JOINTS = (
    *("if_mcp", "if_rot", "if_pip", "if_dip", "mf_mcp", "mf_rot", "mf_pip", "mf_dip"),
    *("rf_mcp", "rf_rot", "rf_pip", "rf_dip", "th_cmc", "th_axl", "th_mcp", "th_ipl"),
)


@dataclass
class Reference:
    """Verdicts of the official code, and simulators for its objects."""

    rows: dict[str, np.ndarray]
    hand: HandModel
    protocol: Protocol
    _compiled: dict[tuple[str, float], GraspSimulator] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows["obj_scale"])

    def simulator(self, row: int) -> GraspSimulator:
        key = (self.rows["object"][row], float(self.rows["obj_scale"][row]))
        if key not in self._compiled:
            name, scale = key
            folder = REFERENCE / "objects" / name
            info = json.loads((folder / "info/simplified.json").read_text())
            volume = info["mass"] / (info["density"] * info["scale"] ** 3) * scale**3
            files = sorted((folder / "urdf/meshes").glob("*.obj"))
            pieces = tuple(scale * np.asarray(trimesh.load(file, process=False).vertices) for file in files)
            model = ObjectModel(pieces, self.protocol.trial.object_mass_kg / volume)
            spec = WorldSpec((model,), (0,), table=False, gravity=False)
            self._compiled[key] = GraspSimulator(self.hand, spec, self.protocol)
        return self._compiled[key]

    def attempt(self, row: int) -> Attempt:
        stages = (self.rows[k][row] for k in ("pregrasp_qpos", "grasp_qpos", "squeeze_qpos"))
        return Attempt(*stages, self.rows["obj_pose"][row][None])


@pytest.fixture(scope="session")
def reference() -> Reference:
    path = REFERENCE / "reference.h5"
    if not path.is_file():
        pytest.skip("reference verdicts of DexGraspBench absent")
    rows: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: rows.update({name: item[:]}) if isinstance(item, h5py.Dataset) else None
        )
        rows["object"], rows["kind"] = file["object"].asstr()[:], file["kind"].asstr()[:]
    fingers = {f: tuple(f"{f}_{link}" for link in ("bs", "px", "md", "ds")) for f in ("if", "mf", "rf")}
    fingers["th"] = ("th_mp", "th_bs", "th_px", "th_ds")
    meshes = REFERENCE / "hand_leap/simplified_assets"
    hand = HandModel(
        mjcf=(REFERENCE / "hand_leap/right_hand.xml").read_text(),
        assets={file.name: file.read_bytes() for file in meshes.glob("*.obj")},
        base_body="world",
        joint_names=LEAP_JOINTS,
        contact_bodies=(
            "palm",
            *(body for bodies in fingers.values() for body in bodies if body[3:] in ("px", "md", "ds")),
        ),
        finger_bodies=fingers,
    )
    return Reference(rows, hand, get_protocol("dgb-fc"))


@pytest.fixture(scope="session")
def hand_model() -> HandModel:
    return HandModel.from_hand(load_hand("leap_right"))


@pytest.fixture(scope="session")
def cylinder() -> ObjectRecord:
    return lifts.cylinder()


@pytest.fixture(scope="session")
def scene(cylinder: ObjectRecord) -> Scene:
    """The cylinder lies across the palm of a hand whose base is the world's origin, axis along y."""
    T = np.eye(4)
    T[:3, :3] = [[0, 1, 0], [0, 0, -1], [-1, 0, 0]]
    T[:3, 3] = (-0.0055, -0.03, -0.07)
    return Scene((cylinder,), T[None], table=False)


@pytest.fixture(scope="session")
def grasps() -> Grasps:
    """Five hands: firm, not squeezing, open, far away, and inside the object."""
    q, flexion = FIRM_QPOS, FLEXION
    pose = np.concatenate([np.zeros(3), q, [1, 0, 0, 0]])
    hand_pose = np.tile(pose, (5, 1))
    pregrasp, squeeze = np.tile(q - 0.2 * flexion, (5, 1)), np.tile(q + 0.3 * flexion, (5, 1))
    squeeze[1] = q
    hand_pose[2, 3:19] = pregrasp[2] = squeeze[2] = np.array([0.0] * 12 + [0.3, 0.3, 0.0, 0.0])
    hand_pose[3, 2] = 0.5
    hand_pose[4, 2] = -0.04
    return Grasps(hand_pose, pregrasp, squeeze)
