"""What an arm is: joints in a row, primitive shapes, servos; and how MuJoCo gets it."""

from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Float

from sceneleapultra.simulation.protocols.servos import ARM_PREFIX

FLANGE = f"{ARM_PREFIX}flange"
_FOOT = f"{ARM_PREFIX}foot"


@dataclass(frozen=True, kw_only=True)
class ArmJoint:
    """One joint and the link behind it; ``config/arm`` says what each number means."""

    a_alpha_d: tuple[float, float, float]  # m, rad, m
    range_rad: tuple[float, float]
    max_torque_nm: float
    kp: float
    mass_kg: float
    capsules: tuple[tuple[float, float, float, float, float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class ArmDescription:
    """An arm with one flange.

    Raises:
        ValueError: a home that is no place of its joints.
    """

    name: str
    foot_m: tuple[float, float, float]
    yaw_rad: float
    joints: tuple[ArmJoint, ...]
    flange_m: float
    home_rad: tuple[float, ...]
    servo_damping_s: float
    armature_kg_m2: float
    max_speed_rad_s: float

    def __post_init__(self) -> None:
        inside = [low <= q <= high for q, (low, high) in zip(self.home_rad, self.limits, strict=False)]
        if len(self.home_rad) != len(self.joints) or not all(inside):
            raise ValueError(
                f"Arm '{self.name}': home_rad must be {len(self.joints)} angles within the joints' ranges, got "
                f"{list(self.home_rad)}."
            )

    @property
    def limits(self) -> Float[np.ndarray, "q 2"]:
        """Ranges of the joints (rad)."""
        return np.array([joint.range_rad for joint in self.joints])

    @property
    def home(self) -> Float[np.ndarray, "q"]:
        """Where the arm waits (rad)."""
        return np.array(self.home_rad)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of joints and of their servos in a model."""
        return tuple(f"{ARM_PREFIX}joint_{number}" for number in range(1, len(self.joints) + 1))

    def attach(self, spec: mujoco.MjSpec) -> mujoco.MjsBody:
        """Add the arm to a model; return the body of its flange. Nothing of it has weight: its motors carry it."""
        spec.compiler.degree = False
        body = spec.worldbody.add_body(
            name=_FOOT, pos=self.foot_m, quat=_about([0.0, 0.0, 1.0], self.yaw_rad)
        )
        _add_capsule(body, (0.0, 0.0, 0.07, 0.0, 0.0, 0.16, 0.07), mass_kg=2.0)
        for joint, name in zip(self.joints, self.joint_names, strict=True):
            a_m, alpha_rad, d_m = joint.a_alpha_d
            quat = _about([1.0, 0.0, 0.0], alpha_rad)
            along = np.empty(3)
            mujoco.mju_rotVecQuat(along, np.array([0.0, 0.0, d_m]), quat)
            body = body.add_body(name=name, pos=along + np.array([a_m, 0.0, 0.0]), quat=quat, gravcomp=1.0)
            body.add_joint(
                name=name,
                type=mujoco.mjtJoint.mjJNT_HINGE,
                axis=[0.0, 0.0, 1.0],
                limited=True,
                range=joint.range_rad,
                armature=self.armature_kg_m2,
            )
            for capsule in joint.capsules:
                _add_capsule(body, capsule, joint.mass_kg / len(joint.capsules))
            servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            servo.set_to_position(kp=joint.kp, kv=joint.kp * self.servo_damping_s)
            servo.forcelimited, servo.forcerange = True, [-joint.max_torque_nm, joint.max_torque_nm]
        # What stands on the ground is not taken for a parent.
        spec.add_exclude(bodyname1=_FOOT, bodyname2=self.joint_names[0])
        return body.add_body(name=FLANGE, pos=[0.0, 0.0, self.flange_m], gravcomp=1.0)


def _add_capsule(body: mujoco.MjsBody, capsule: tuple[float, ...], mass_kg: float) -> None:
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=capsule[:6],
        size=[capsule[6], 0.0, 0.0],
        mass=mass_kg,
        rgba=[0.86, 0.87, 0.89, 1.0],
    )


def _about(axis: list[float], angle_rad: float) -> Float[np.ndarray, "4"]:
    quat = np.empty(4)
    mujoco.mju_axisAngle2Quat(quat, np.array(axis), angle_rad)
    return quat
