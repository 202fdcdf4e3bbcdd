from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.hands.loading import read_description
from sceneleapultra.utils.core.config import CONFIG_DIR

LEAP_YAML = CONFIG_DIR.parent / "hands" / "descriptions" / "leap_right.yaml"
SHARED = CONFIG_DIR.parent.parent / "shared" / "data"

URDF = """<robot name="claw">
  <link name="base">
    <inertial><mass value="0.2"/><inertia ixx="1e-4" iyy="1e-4" izz="1e-4" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><origin xyz="0 0 -0.02" rpy="0.3 -0.5 1.1"/><geometry><box size="0.06 0.04 0.02"/></geometry></collision>
  </link>
  <link name="finger">
    <inertial><mass value="0.05"/><inertia ixx="1e-5" iyy="1e-5" izz="1e-5" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><origin xyz="0 0 0.03"/><geometry><cylinder radius="0.01" length="0.06"/></geometry></collision>
  </link>
  <joint name="hinge" type="{kind}"><parent link="base"/><child link="finger"/><origin xyz="0.02 0 0" rpy="0 0.4 0"/>
    <axis xyz="0 1 0"/><limit lower="-0.5" upper="1.2" effort="1" velocity="1"/>{extra}</joint>
</robot>"""


def write_urdf(folder: Path, kind: str = "revolute", extra: str = "") -> Path:
    path = folder / "claw.urdf"
    path.write_text(URDF.format(kind=kind, extra=extra))
    return path


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown hand 'leap_rihgt'. Did you mean 'leap_right'\?"):
        load_hand("leap_rihgt")


def test_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"No hand model at nowhere/claw.urdf"):
        load_hand("nowhere/claw.urdf")


def test_missing_description_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("HANDS_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"config/hand/allegro_right.yaml names the description"):
        load_hand("allegro_right")


def test_same_description_same_hash_other_limits_other_hash(leap, tmp_path):
    assert load_hand("leap_right").table_hash == leap.table_hash
    changed = tmp_path / "leap.yaml"
    changed.write_text(LEAP_YAML.read_text().replace("range: [-0.314, 2.23]", "range: [-0.3, 2.23]"))
    assert read_description(changed).table_hash() != leap.table_hash


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    parent: if_bs", "    parent: if_bz", "body 'if_px' has parent 'if_bz'"),
        (
            "  - [if_bs, mf_bs]",
            "  - [if_bs, mf_bx]",
            r"Unknown excluded body 'mf_bx'. Did you mean 'mf_..'\?",
        ),
        ("kp: 3.0", "kp: 3.0, kpp: 1", r"Unknown key in leap.yaml: actuation 'kpp'. Did you mean 'kp'\?"),
        ("pad_direction:", "pad_directon:", "Did you mean 'pad_direction'"),
        ("  thumb: thumb", "  thumb: thum", r"Unknown finger as thumb 'thum'. Did you mean 'thumb'\?"),
        ("rest_qpos: {if_mcp: 0.5,", "rest_qpos: {", "`rest_qpos` must name every joint once; check if_mcp"),
        (
            "    geometry:\n      - {box: [0.02,",
            "    geometri:\n      - {box: [0.02,",
            "Did you mean 'geometry'",
        ),
    ],
)
def test_mistakes_in_a_description_are_sentences(tmp_path, old, new, message):
    text = LEAP_YAML.read_text()
    assert old in text
    path = tmp_path / "leap.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        read_description(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("range: [-0.314, 2.23]", "range: [-18, 128]", "may turn from -18 to 128 rad: looks like degrees"),
        ("range: [-0.314, 2.23]", "range: [0.3, 0.3]", "so not at all"),
        ("box: [0.02, 0.06, 0.023]", "box: [20, 60, 23]", "spans 120 m: looks like millimetres"),
    ],
)
def test_other_units_in_a_description_are_sentences(tmp_path, old, new, message):
    text = LEAP_YAML.read_text()
    assert old in text
    (tmp_path / "leap.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=message):
        load_hand(tmp_path / "leap.yaml")


def test_a_urdf_becomes_what_mujoco_makes_of_it(tmp_path):
    # Geometry read by us against geometry read by MuJoCo's own URDF parser.
    path = write_urdf(tmp_path)
    hand = load_hand(path, dtype=torch.float64)
    assert hand.joint_names == ("hinge",)
    assert hand.finger_bodies == {"finger": ("finger",)}
    text = path.read_text().replace(
        '<robot name="claw">', '<robot name="claw"><mujoco><compiler fusestatic="false"/></mujoco>'
    )
    theirs = mujoco.MjSpec.from_string(text).compile()
    ours = mujoco.MjSpec.from_string(hand.to_mjcf()).compile()
    np.testing.assert_allclose(ours.geom_pos, theirs.geom_pos, atol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(ours.geom_quat * theirs.geom_quat, axis=1)), 1, atol=1e-9)
    np.testing.assert_allclose(ours.geom_size, theirs.geom_size, atol=1e-9)
    np.testing.assert_allclose(ours.body_mass, theirs.body_mass)
    np.testing.assert_allclose(ours.jnt_range, theirs.jnt_range)


def test_what_a_file_cannot_say_is_asked_for(tmp_path):
    hand = load_hand(write_urdf(tmp_path))
    with pytest.raises(
        ValueError, match=r"'claw' does not know its `palm_center`.*semantics.palm.*config/hand"
    ):
        _ = hand.palm_center
    with pytest.raises(ValueError, match=r"does not know its `thumb`"):
        _ = hand.thumb
    with pytest.raises(ValueError, match=r"`semantics.contacts`"):
        hand.contact_candidates(GraspPose(torch.zeros(1, 3), torch.eye(3)[None], torch.zeros(1, 1)))


@pytest.mark.parametrize(
    ("kind", "extra", "message"),
    [
        ("planar", "", r"'hinge': expected joints of type revolute.*got planar"),
        ("revolute", '<mimic joint="hinge"/>', "'hinge' cannot follow"),
        ("revolute", '<mimic joint="nowhere"/>', "'hinge' cannot follow"),
        ("revolute", '<mimic joint="hinge" multiplier="x"/>', r"expected 1 number.*multiplier=\"x\""),
        ("fixed", "", "has no joint that moves by itself"),
    ],
)
def test_unsupported_urdfs_are_sentences(tmp_path, kind, extra, message):
    with pytest.raises(ValueError, match=message):
        load_hand(write_urdf(tmp_path, kind, extra))


def test_a_file_that_is_no_urdf_or_mjcf_is_a_sentence(tmp_path):
    urdf, mjcf = tmp_path / "a.urdf", tmp_path / "a.xml"
    urdf.write_text("<mujoco/>")
    mjcf.write_text("<mujoco><worldbody/></mujoco>")
    with pytest.raises(
        ValueError, match="expected a URDF, so <robot> as its outermost element, got <mujoco>"
    ):
        load_hand(urdf)
    with pytest.raises(ValueError, match="one body below <worldbody>, found 0"):
        load_hand(mjcf)


def test_a_foreign_mjcf_is_simulated_as_it_is():
    path = SHARED / "dexgraspbench_reference" / "hand_leap" / "right_hand.xml"
    if not path.is_file():
        pytest.skip("reference LEAP MJCF absent")
    hand = load_hand(path)
    theirs = mujoco.MjModel.from_xml_path(str(path))
    ours = mujoco.MjModel.from_xml_string(hand.to_mjcf(), dict(hand.mesh_assets))
    for name in (
        "body_mass",
        "body_inertia",
        "geom_solref",
        "geom_friction",
        "jnt_range",
        "actuator_biasprm",
    ):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(ours.mesh_vert, theirs.mesh_vert)
    parent = mujoco.MjSpec()
    child = mujoco.MjSpec.from_string(hand.to_mjcf(), assets=hand.mesh_assets)
    parent.attach(child, prefix="hand-", frame=parent.worldbody.add_frame())
    assert parent.compile().nbody == 1 + len(hand.body_names)
    assert hand.root_body == "palm"


def test_a_hand_loaded_again_is_equal_and_its_own_and_a_changed_file_is_read_anew(tmp_path):
    path = tmp_path / "leap.yaml"
    path.write_text(LEAP_YAML.read_text())
    first, second = load_hand(path), load_hand(path)
    limits = first.joint_limits.clone()
    for key, value in first.named_buffers():
        torch.testing.assert_close(value, second.get_buffer(key), rtol=0, atol=0)
    for value in first.buffers():
        value.zero_()
    torch.testing.assert_close(load_hand(path).joint_limits, limits, rtol=0, atol=0)
    path.write_text(path.read_text().replace("range: [-0.314, 2.23]", "range: [-0.310, 2.23]"))
    changed = load_hand(path)
    assert changed.table_hash != second.table_hash and (changed.joint_limits != limits).any()


def test_slides_and_followers_of_a_description(tmp_path):
    hand = load_hand("parallel_gripper", dtype=torch.float64)
    assert hand.joint_names == ("opening",) and hand.all_joint_names == ("opening", "right_opening")
    T = hand.forward_kinematics(torch.tensor([[0.0], [0.03]], dtype=torch.float64))
    # Both jaws move by what the one joint says, in metres, away from each other.
    np.testing.assert_allclose(T[1, 1:, :3, 3] - T[0, 1:, :3, 3], [[0, 0.03, 0], [0, -0.03, 0]], atol=1e-12)
    assert hand.joint_scale.tolist() == [0.05]
    text = (LEAP_YAML.parent / "parallel_gripper.yaml").read_text()
    changed = tmp_path / "gripper.yaml"
    changed.write_text(text.replace("multiplier: 1.0, offset: 0.0", "multiplier: 0.5, offset: 0.01"))
    half = load_hand(changed, dtype=torch.float64)
    np.testing.assert_allclose(half.all_joints(torch.tensor([0.03], dtype=torch.float64)), [0.03, 0.025])
    changed.write_text(text.replace("joint: opening,", "joint: closing,"))
    with pytest.raises(
        ValueError, match="'right_opening' follows 'closing', which is no joint that moves by itself"
    ):
        load_hand(changed)
    changed.write_text(text.replace("multiplier: 1.0", "multiplyer: 1.0"))
    with pytest.raises(ValueError, match=r"right_opening: follows 'multiplyer'. Did you mean 'multiplier'\?"):
        load_hand(changed)
    changed.write_text(text.replace("range: [0, 0.04], slide: true}", "range: [0, 40], slide: true}"))
    with pytest.raises(ValueError, match="may move from 0 to 40 m: looks like millimetres"):
        load_hand(changed)
