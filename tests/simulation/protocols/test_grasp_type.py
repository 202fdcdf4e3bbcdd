"""Is the coarse class of a grasp what its contacts say?"""

import numpy as np
import torch
import trimesh

from sceneleapultra.hands import GraspPose, Hand, load_hand
from sceneleapultra.hands.fingertips import Fingertips
from sceneleapultra.simulation.protocols import GRASP_TYPE, Attempt, GraspSimulator, HandModel, get_protocol
from sceneleapultra.simulation.synthesis import PostureSettings
from sceneleapultra.simulation.synthesis.postures import all_postures
from sceneleapultra.utils.records import Grasps, GraspType, ObjectRecord, Scene

_RADIUS = 0.008


def ball(center: np.ndarray, radius: float) -> Scene:
    """A ball afloat."""
    mesh = trimesh.creation.icosphere(3, radius)
    vertices = np.asarray(mesh.vertices)
    T = np.eye(4)
    T[:3, 3] = center
    return Scene(
        (ObjectRecord("ball", "ball", vertices, np.asarray(mesh.faces), (vertices,), 0.1),), T[None], False
    )


def kind(hand: Hand | HandModel, qpos: np.ndarray, scene: Scene) -> GraspType:
    """The type of a grasp by a hand at the origin."""
    protocol = get_protocol("dgb-fc-quick")
    spec = protocol.trial.world(scene, 0)
    pose = np.concatenate([np.zeros(3), qpos, [1.0, 0.0, 0.0, 0.0]])[None]
    grasps = Grasps(pose, qpos[None], qpos[None])
    measured = GraspSimulator(hand, spec, protocol).measure(
        Attempt.of(grasps, 0, spec.poses(scene)), [GRASP_TYPE]
    )
    return GraspType(int(measured["grasp_type"]))


def test_a_hand_around_an_object_is_a_power_grasp_and_one_afar_is_unknown(
    hand_model: HandModel, scene: Scene, grasps: Grasps
) -> None:
    """The firm hand of the conftest lies around a cylinder in its palm; the fourth is half a metre away."""
    protocol = get_protocol("dgb-fc-quick")
    spec = protocol.trial.world(scene, 0)
    simulator, poses = GraspSimulator(hand_model, spec, protocol), spec.poses(scene)
    kinds = [
        simulator.measure(Attempt.of(grasps, i, poses), [GRASP_TYPE])["grasp_type"]
        for i in range(len(grasps))
    ]
    assert kinds[0] == GraspType.POWER and kinds[3] == GraspType.UNKNOWN


def test_a_ball_between_two_fingertips_is_a_precision_grasp() -> None:
    hand = load_hand("leap_right")
    tips, thumb = Fingertips(hand), hand.finger_names.index(hand.thumb)
    settings = PostureSettings(
        drawn=512, range_rad=1.0, idle_rad=(-0.6, 1.0), min_opposition=0.6, min_palm_m=0.04
    )
    postures = all_postures(hand, (1,), settings)[0]
    narrow = int((postures.width_m - 0.025).abs().argmin())
    centers, _ = tips.place(torch.eye(4)[None], postures.qpos[[narrow]])
    finger = int(torch.nonzero(postures.used)[0, 0])
    gap = (centers[0, finger] - centers[0, thumb]).norm() - tips.radii[finger] - tips.radii[thumb]
    scene = ball(postures.middle[narrow].numpy().astype(float), float(gap) / 2 + 2e-4)
    assert kind(hand, postures.qpos[narrow].numpy().astype(float), scene) == GraspType.PRECISION


def test_a_ball_between_the_thumbs_tip_and_the_side_of_a_finger_is_a_lateral_grasp() -> None:
    """A ball is put on the line from the thumb's tip to a link that is no tip, in a posture with just room for it."""
    hand = load_hand("leap_right")
    tips, thumb = Fingertips(hand), hand.finger_names.index(hand.thumb)
    finger = hand.finger_bodies[hand.finger_names[0]]
    side, others = (
        hand.body_names.index(finger[-2]),
        [
            i
            for i, name in enumerate(hand.body_names)
            if name not in (finger[-2], hand.finger_bodies[hand.thumb][-1])
        ],
    )
    rng = np.random.default_rng(0)
    low, high = hand.joint_limits.numpy().T
    qpos = torch.as_tensor(rng.uniform(low, high, size=(4096, hand.num_joints)), dtype=torch.float32)
    pose = GraspPose.from_matrix(torch.eye(4).expand(len(qpos), 4, 4), qpos)
    centers, _ = tips.place(pose.matrix(), qpos)
    tip = centers[:, thumb : thumb + 1].requires_grad_()
    gap = hand.link_distances(tip, pose)[:, side, 0]
    (outward,) = torch.autograd.grad(gap.sum(), tip)
    towards = -outward / outward.norm(dim=-1, keepdim=True)
    free = gap.detach() - tips.radii[thumb]
    middle = tip.detach() + towards * (tips.radii[thumb] + free[:, None, None] / 2)
    alone = hand.link_distances(middle, pose)[:, others, 0].amin(1) > free / 2 + 0.004
    fits = torch.nonzero(alone & (free > 1.5 * _RADIUS) & (free < 4 * _RADIUS))[:, 0]
    assert len(fits) > 0
    i = int(fits[0])
    scene = ball(middle[i, 0].numpy().astype(float), float(free[i]) / 2 + 2e-4)
    assert kind(hand, qpos[i].numpy().astype(float), scene) == GraspType.LATERAL
