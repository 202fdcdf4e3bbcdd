"""The smallest hand of each kind of joint and drive, as text: a palm and fingers of boxes."""

from pathlib import Path
from typing import Any

import mujoco

from sceneleapultra.hands import Hand
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.servos import HAND_PREFIX, Servos

_MASS = '<inertial><mass value="0.05"/><inertia ixx="2e-5" iyy="2e-5" izz="2e-5" ixy="0" ixz="0" iyz="0"/></inertial>'
_BOX = '<collision><origin xyz="0 0 0.02"/><geometry><box size="0.01 0.01 0.03"/></geometry></collision>'
_LIMIT = '<limit lower="{}" upper="{}" effort="1" velocity="1"/>'


def link(name: str) -> str:
    """Return a link of a URDF: a box of 3 cm."""
    return f'<link name="{name}">{_MASS}{_BOX}</link>'


def joint(
    name: str, parent: str, child: str, *, kind: str = "revolute", extra: str = "", **given: str
) -> str:
    """Return a joint of a URDF; limits 0.1 to 1.2 unless ``limits`` says otherwise."""
    lower, upper = given.get("limits", "0.1 1.2").split()
    limit = "" if kind in ("continuous", "fixed", "floating") else _LIMIT.format(lower, upper)
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{given.get("xyz", "0.01 0 0.04")}" rpy="0.1 0.2 0.3"/>'
        f'<axis xyz="{given.get("axis", "0 1 0")}"/>{limit}{extra}</joint>'
    )


def urdf(*parts: str) -> str:
    """Return a URDF."""
    return f'<?xml version="1.0"?><robot name="small">{"".join(parts)}</robot>'


def mjcf(fingers: str, *, angle: str = "radian", pos: str = "0.1 0 0.2", tail: str = "") -> str:
    """Return an MJCF of a palm with fingers."""
    head = f'<compiler angle="{angle}"/><default><joint damping="0.05" armature="0.001"/></default>'
    return f"""<mujoco>{head}<worldbody><body name="palm" pos="{pos}" quat="0.5 0.5 -0.5 0.5">
      <geom type="box" size="0.03 0.03 0.01"/>{fingers}</body></worldbody>{tail}</mujoco>"""


def finger(name: str, inside: str, pos: str = "0.02 0 0.03") -> str:
    """Return a body of an MJCF: a box of 3 cm, and what else is inside it."""
    return (
        f'<body name="{name}" pos="{pos}" quat="0.9 0.1 0.2 0.3">{inside}'
        '<geom type="box" size="0.005 0.005 0.015" pos="0 0 0.02"/></body>'
    )


_ONE = '<joint name="{}" axis="0 1 0" range="0 1.2"/>'
_TWO = finger("f", _ONE.format("a") + finger("g", _ONE.format("b")))
_SERVO_A = '<actuator><position name="a" joint="a" kp="3"/></actuator>'
_MIMICS = (
    joint("b", "f", "g", extra='<mimic joint="a" multiplier="-1.3" offset="0.2"/>'),
    joint("c", "g", "h", extra='<mimic joint="b" multiplier="0.5"/>', axis="1 0 1"),
)
_SLIDES = (
    joint("left", "palm", "f", kind="prismatic", limits="0 0.04", xyz="0 0 0.05"),
    joint(
        "right", "palm", "g", kind="prismatic", limits="0 0.04", axis="0 -1 0", extra='<mimic joint="left"/>'
    ),
)
# A parallelogram: the pad stays upright. The coupler leaves its stop only when the pad is pushed. The driver's frame
# lies aside on its axis, its shapes do not.
_LINKAGE = """<body name="{0}driver" pos="{1}0.0125 {1}0.03 0.05" quat="{2}">
    <joint name="{0}driver" axis="1 0 0" range="0 0.8" armature="0.005" damping="0.1"/>
    <geom type="box" size="0.004 0.015 0.004" pos="-0.0125 0.015 0"/>
    <body name="{0}coupler" pos="0 0.03 0">
      <joint name="{0}coupler" axis="1 0 0" range="-1.5 0" solreflimit="0.005 1"/>
      <geom type="box" size="0.004 0.004 0.01" pos="-0.0125 0.004 0.02"/></body></body>
  <body name="{0}spring" pos="0 {1}0.012 0.06" quat="{2}">
    <joint name="{0}spring" axis="1 0 0" range="-0.3 1" stiffness="0.04" springref="2.5" damping="0.002"/>
    <geom type="box" size="0.004 0.01 0.01" pos="0 0.02 0.02"/>
    <body name="{0}pad" pos="0 0.056 0.036">
      <joint name="{0}pad" axis="1 0 0" pos="0 -0.018 0.01" range="-0.9 0.9" damping="0.002"/>
      <geom type="box" size="0.011 0.004 0.02" pos="0 -0.02 0.04"/></body></body>"""
_APART = "".join(
    f'<exclude body1="{first}" body2="{{0}}{second}"/>'
    for first, second in (
        *(("palm", each) for each in ("driver", "spring", "coupler", "pad")),
        *(("{0}driver", each) for each in ("spring", "pad")),
        *(("{0}coupler", each) for each in ("spring", "pad")),
    )
)
_CLOSED = '<connect anchor="0 0 0" body1="{0}pad" body2="{0}coupler" solref="0.005 1"/>'
_PULLEYS = (
    '<site name="s0" pos="0 -0.008 0.005"/>'
    + _ONE.format("a")
    + '<site name="s1" pos="0 -0.008 0.02"/>'
    + finger("g", _ONE.format("b") + '<site name="s2" pos="-0.006 -0.004 0.02"/>')
)

HANDS: dict[str, str] = {
    "mimic.urdf": urdf(*map(link, ("palm", "f", "g", "h")), joint("a", "palm", "f"), *_MIMICS),
    "mimic_first.urdf": urdf(*map(link, ("palm", "f", "g", "h")), *_MIMICS[::-1], joint("a", "palm", "f")),
    "gripper.urdf": urdf(*map(link, ("palm", "f", "g")), *_SLIDES),
    "continuous.urdf": urdf(*map(link, ("palm", "f")), joint("a", "palm", "f", kind="continuous")),
    "world.urdf": urdf(
        *map(link, ("world", "palm", "f")),
        joint("base", "world", "palm", kind="floating"),
        joint("a", "palm", "f"),
    ),
    "polynomial.xml": mjcf(
        _TWO.replace('range="0 1.2"', 'range="-1 1.2" ref="0.1"'),
        tail='<equality><joint joint1="b" joint2="a" polycoef="0.1 0.5 0.2 -0.1 0.05"/></equality>'
        + _SERVO_A,
    ),
    "driven_follower.xml": mjcf(
        _TWO, tail='<equality><joint joint1="a" joint2="b" polycoef="0 0.5 0 0 0"/></equality>' + _SERVO_A
    ),
    "held.xml": mjcf(_TWO, tail='<equality><joint joint1="b" polycoef="0.3 0 0 0 0"/></equality>' + _SERVO_A),
    "tendon.xml": mjcf(
        _TWO,
        tail='<tendon><fixed name="t"><joint joint="a" coef="1"/><joint joint="b" coef="0.7"/></fixed></tendon>'
        '<actuator><position tendon="t" kp="3"/></actuator>',
    ),
    "tied_tendons.xml": mjcf(
        _TWO,
        tail='<tendon><fixed name="t"><joint joint="a" coef="2"/></fixed>'
        '<fixed name="u"><joint joint="b" coef="3"/></fixed></tendon>'
        '<equality><tendon tendon1="u" tendon2="t" polycoef="0 1 0 0 0"/></equality>' + _SERVO_A,
    ),
    "spatial.xml": mjcf(
        '<site name="p" pos="0.02 -0.01 0.02"/>' + finger("f", _PULLEYS),
        tail='<tendon><spatial name="t"><site site="p"/><site site="s0"/><site site="s1"/><site site="s2"/></spatial>'
        '</tendon><actuator><position tendon="t" kp="4000"/></actuator>',
    ),
    "slides.xml": mjcf(
        finger("f", '<joint name="a" type="slide" axis="0 1 0" range="0 0.04"/>')
        + finger("g", '<joint name="b" type="slide" axis="0 -1 0" range="0 0.04"/>', "-0.02 0 0.03"),
        tail='<tendon><fixed name="t"><joint joint="a" coef="0.5"/><joint joint="b" coef="0.5"/></fixed></tendon>'
        '<equality><joint joint1="a" joint2="b"/></equality><actuator><general name="s" tendon="t" '
        'ctrlrange="0 255" gainprm="0.0156862745" biastype="affine" biasprm="0 -100 -10"/></actuator>',
    ),
    "ball.xml": mjcf(
        finger("f", _ONE.format("a") + finger("g", '<joint name="ball" type="ball" range="0 0.5"/>')),
        tail=_SERVO_A,
    ),
    "three_joints.xml": mjcf(
        finger(
            "f",
            '<joint name="a" axis="0 1 0" range="-20 60" pos="0 0 0.01"/><joint name="b" axis="1 0 0" range="-30 30"/>'
            '<joint name="c" type="slide" axis="0 0 1" range="0 0.02"/>',
        ),
        angle="degree",
        tail='<keyframe><key qpos="0.1 0.2 0.01"/></keyframe><actuator><position joint="a"/><position joint="b"/>'
        '<position joint="c"/></actuator>',
    ),
    "free.xml": mjcf(
        '<freejoint name="root"/>' + _TWO,
        tail='<actuator><motor joint="a"/><motor joint="b"/></actuator>'
        '<keyframe><key qpos="0 0 0 1 0 0 0 0 0"/></keyframe>',
    ),
    "no_servos.xml": mjcf(_TWO.replace(' name="a"', "").replace(' name="g"', "")),
    "idle.xml": mjcf(_TWO.replace('name="b"', 'name="b" stiffness="1" springref="0.4"'), tail=_SERVO_A),
    "linkage.xml": mjcf(
        _LINKAGE.format("", "", "1 0 0 0"),
        tail=f"<equality>{_CLOSED.format('')}</equality><contact>{_APART.format('')}</contact>"
        '<actuator><position joint="driver" kp="5" kv="0.5"/></actuator>',
    ),
}


_PALM = f'<link name="palm">{_MASS}<collision><geometry><box size="0.06 0.18 0.04"/></geometry></collision></link>'
_PAD = f'<link name="{{}}">{_MASS}<collision><geometry><box size="0.02 0.01 0.08"/></geometry></collision></link>'
_JAW = (
    '<joint name="{}" type="prismatic"><parent link="palm"/><child link="{}"/><origin xyz="0 {} 0.06"/>'
    '<axis xyz="0 {} 0"/><limit lower="0" upper="0.04" effort="1" velocity="1"/>{}</joint>'
)
_MJCF_JAW = """<body name="{0}" pos="0 {1} 0.06"><joint name="{0}" type="slide" axis="0 {2} 0" range="0 0.04"
  armature="0.1" damping="10"/><geom type="box" size="0.01 0.005 0.04"/></body>"""


def _semantics(fingers: tuple[str, str], reach_m: float, **closing: int) -> dict[str, Any]:
    return {
        "palm": {"center": [0, 0, reach_m], "direction": [0, 0, 1], "finger_direction": [1, 0, 0]},
        "fingers": {finger: [finger] for finger in fingers},
        "thumb": fingers[1],
        "flexion_sign": closing,
        "rest_qpos": dict.fromkeys(closing, 0.02),
    }


_SWING = (
    '<joint name="{}" type="revolute"><parent link="palm"/><child link="{}"/><origin xyz="0 {} 0.02"/>'
    '<axis xyz="{} 0 0"/><limit lower="0" upper="0.9" effort="1" velocity="1"/>{}</joint>'
)
_LONG = (
    f'<link name="{{}}">{_MASS}<collision><origin xyz="0 0 0.05"/><geometry><box size="0.03 0.01 0.1"/></geometry>'
    "</collision></link>"
)


# Grippers that grasp, and what their files cannot say.
GRIPPERS: dict[str, dict[str, Any]] = {
    "jaws.urdf": _semantics(("left", "right"), 0.02, open_left=-1),
    "jaws.xml": _semantics(("left", "right"), 0.02, left=-1),
    "swings.urdf": {**_semantics(("left", "right"), 0.06, open_left=-1), "rest_qpos": {"open_left": 0.4}},
    "linkages.xml": _semantics(("l_pad", "r_pad"), 0.09, l_driver=1),
}
HANDS["jaws.urdf"] = urdf(
    _PALM,
    _PAD.format("left"),
    _PAD.format("right"),
    _JAW.format("open_left", "left", 0.005, 1, ""),
    _JAW.format("open_right", "right", -0.005, -1, '<mimic joint="open_left"/>'),
)
HANDS["swings.urdf"] = urdf(
    _PALM.replace("0.18", "0.05"),
    _LONG.format("left"),
    _LONG.format("right"),
    _SWING.format("open_left", "left", 0.015, -1, ""),
    _SWING.format("open_right", "right", -0.015, 1, '<mimic joint="open_left"/>'),
)
HANDS["jaws.xml"] = mjcf(
    _MJCF_JAW.format("left", 0.005, 1) + _MJCF_JAW.format("right", -0.005, -1),
    pos="0 0 0",
    tail="""<tendon><fixed name="t"><joint joint="left" coef="0.5"/><joint joint="right" coef="0.5"/></fixed></tendon>
      <equality><joint joint1="right" joint2="left" solref="0.005 1" solimp="0.95 0.99 0.001"/></equality>
      <actuator><general name="s" tendon="t" ctrlrange="0 255" forcerange="-20 20" gainprm="0.156862745"
      biastype="affine" biasprm="0 -1000 -30"/></actuator>""",
)
# As Robotiq's grippers are built and driven: one servo on a tendon, its control 0 to 255, and two closed loops.
HANDS["linkages.xml"] = mjcf(
    _LINKAGE.format("l_", "", "1 0 0 0") + _LINKAGE.format("r_", "-", "0 0 0 1"),
    pos="0 0 0",
    tail=f"""<tendon><fixed name="t"><joint joint="l_driver" coef="0.5"/><joint joint="r_driver" coef="0.5"/></fixed>
      </tendon><equality>{_CLOSED.format("l_")}{_CLOSED.format("r_")}<joint joint1="r_driver" joint2="l_driver"
      solref="0.005 1"/></equality><contact>{_APART.format("l_")}{_APART.format("r_")}</contact><actuator>
      <general name="s" tendon="t" ctrlrange="0 255" forcerange="-5 5" gainprm="0.3137255" biastype="affine"
      biasprm="0 -100 -10"/></actuator>""",
)


def write(folder: Path, name: str) -> Path:
    """Write one of these hands."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(HANDS[name])
    return path


def attached(hand: Hand) -> tuple[mujoco.MjModel, mujoco.MjData, Servos]:
    """Compile a hand as the protocols do: attached, without gravity; contacts off, since boxes of links overlap."""
    model = HandModel.from_hand(hand)
    spec = mujoco.MjSpec()
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.disableflags = mujoco.mjtDisableBit.mjDSBL_GRAVITY | mujoco.mjtDisableBit.mjDSBL_CONTACT
    child = mujoco.MjSpec.from_string(model.mjcf, assets=dict(model.assets))
    spec.worldbody.add_frame().attach_body(child.worldbody, HAND_PREFIX, "")
    compiled = spec.compile()
    return compiled, mujoco.MjData(compiled), Servos(compiled, model)
