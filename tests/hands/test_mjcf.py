"""MJCFs of foreign hands: read in pieces, moved anywhere, with what a configuration changes of them."""

import os
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
import trimesh

from sceneleapultra.hands import load_hand
from tests.factories.hands import HANDS

HEAD = """<compiler angle="radian" meshdir="m"/>
  <default><mesh scale="0.001 0.001 0.001"/><geom solref="0.1 3"/></default>"""
SCENE = f"""<mujoco>{HEAD}<include file="parts/assets.xml"/>
  <worldbody><body name="palm"><geom type="mesh" mesh="b"/><include file="parts/finger.xml"/></body></worldbody>
  <keyframe><key qpos="0.3"/></keyframe><include file="parts/servos.xml"/></mujoco>"""


def write_mjcf(folder: Path) -> Path:
    """Write a hand in pieces, one of which includes another, with a mesh in a folder of the mesh folder."""
    (folder / "m" / "deep").mkdir(parents=True)
    trimesh.creation.box((40, 40, 10)).export(folder / "m" / "deep" / "b.stl")
    files = {
        "hand.xml": SCENE,
        "parts/assets.xml": '<mujocoinclude><asset><mesh file="deep/b.stl"/></asset></mujocoinclude>',
        "parts/finger.xml": '<mujocoinclude><body name="f" pos="0 0 0.02"><include file="joint.xml"/>'
        '<geom type="capsule" size="0.008 0.02" pos="0 0 0.03"/></body></mujocoinclude>',
        "parts/joint.xml": '<mujocoinclude><joint name="j" axis="1 0 0" range="0 1.5"/></mujocoinclude>',
        "parts/servos.xml": '<mujoco><actuator><position name="j" joint="j" kp="2"/></actuator></mujoco>',
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "hand.xml"


def test_an_mjcf_in_pieces_is_one_text_that_compiles_anywhere(tmp_path, monkeypatch):
    path = write_mjcf(tmp_path / "hand")
    theirs = mujoco.MjModel.from_xml_path(str(path))
    hand = load_hand(path, dtype=torch.float64)
    (tmp_path / "elsewhere").mkdir()
    os.replace(path.parent, tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "elsewhere")
    as_model = mujoco.MjModel.from_xml_string(hand.to_mjcf(), dict(hand.mesh_assets))
    as_spec = mujoco.MjSpec.from_string(hand.to_mjcf(), assets=dict(hand.mesh_assets)).compile()
    parent = mujoco.MjSpec()
    child = mujoco.MjSpec.from_string(hand.to_mjcf(), assets=dict(hand.mesh_assets))
    parent.attach(child, prefix="hand-", frame=parent.worldbody.add_frame())
    for ours in (as_model, as_spec, parent.compile()):
        for name in ("body_mass", "geom_size", "geom_solref", "jnt_range", "mesh_vert", "actuator_gainprm"):
            np.testing.assert_array_equal(
                getattr(ours, name)[-len(getattr(theirs, name)) :], getattr(theirs, name)
            )
    assert as_model.mesh("b").id == 0  # as MuJoCo names a mesh by its file


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("parts/finger.xml", "../outside.xml", "included file '../outside.xml' is .* outside of"),
        ("parts/finger.xml", "/etc/passwd", "outside of"),
        ("parts/finger.xml", "nowhere.xml", "included file 'nowhere.xml' is not at"),
        ("parts/finger.xml", "hand.xml", "included twice, or by itself"),
        ("parts/finger.xml", "parts/assets.xml", "included twice"),
        ('meshdir="m"', 'meshdir="/"', "mesh 'deep/b.stl' is /deep/b.stl, outside of"),
        ('meshdir="m"', 'meshdir="q"', "mesh 'deep/b.stl' is not at"),
        (
            "<worldbody>",
            '<worldbody><geom name="floor" type="plane" size="1 1 1"/>',
            "got a plane 'floor' in its",
        ),
        (
            "<worldbody>",
            '<worldbody><geom name="stand" size="1"/>',
            "got a sphere 'stand' in its <worldbody>",
        ),
        (
            "<worldbody>",
            '<asset><model name="x" file="y.xml"/></asset><worldbody>',
            "<model file=.* not supported",
        ),
        ("<mujoco>", "<mujoco>\n<!bad", "is not valid XML"),
    ],
)
def test_what_an_mjcf_may_not_name_is_a_sentence(tmp_path, old, new, message):
    path = write_mjcf(tmp_path / "hand")
    (tmp_path / "outside.xml").write_text("<mujocoinclude/>")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_hand(path)


@pytest.fixture
def config_of_mjcf(tmp_path, monkeypatch):
    """A configuration for the hand of ``write_mjcf``, as a user would add it."""

    def write(text: str) -> None:
        from omegaconf import OmegaConf

        from sceneleapultra.hands import loading

        monkeypatch.setattr(loading, "load_group", lambda group, name: OmegaConf.create(text))

    return write


def test_an_actuation_takes_the_place_of_an_mjcfs_own(tmp_path, config_of_mjcf):
    config_of_mjcf(
        "{name: mine, actuation: {kp: 5.0, kv: 0.1, damping: 0.2, frictionloss: 0.01, armature: 0.001, "
        "friction: [0.7], solref: [0.005, 1], solimp: [0.5, 0.99, 0.0001]}}"
    )
    hand = load_hand(write_mjcf(tmp_path / "hand"), semantics="mine")
    model = mujoco.MjModel.from_xml_string(hand.to_mjcf(), dict(hand.mesh_assets))
    assert (model.actuator_gainprm[0, 0], *model.actuator_biasprm[0, :3]) == (5.0, 0.0, -5.0, -0.1)
    assert (model.dof_damping[0], model.dof_frictionloss[0], model.dof_armature[0]) == (0.2, 0.01, 0.001)
    np.testing.assert_array_equal(model.geom_solref, [[0.005, 1]] * 2)
    np.testing.assert_array_equal(model.geom_friction[:, 0], [0.7] * 2)
    assert hand.description.actuation.kp == 5.0


def test_what_the_tree_tells_stays_known_beside_semantics(tmp_path, config_of_mjcf):
    config_of_mjcf("{name: mine, semantics: {rest_qpos: {j: 0.2}}}")
    hand = load_hand(write_mjcf(tmp_path / "hand"), semantics="mine")
    assert hand.finger_bodies == {"f": ("f",)}
    assert hand.rest_qpos.tolist() == [pytest.approx(0.2)]
    with pytest.raises(
        ValueError, match=r"Flying needs to know of hand 'mine': palm, thumb\. .*; a model.*contacts"
    ):
        hand.check_semantics(("palm", "fingers", "thumb"), "Flying")


@pytest.mark.parametrize(
    ("palm", "mass"),
    [
        (
            '<inertial pos="0 0 0" mass="0" diaginertia="0 0 0"/><geom type="box" size="0.03 0.03 0.01"/>',
            0.072,
        ),
        ('<inertial pos="0 0 0" mass="0" diaginertia="0 0 0"/><site/>', 0.1),
        ('<body name="fixed"><inertial pos="0 0 0" mass="0.2" diaginertia="1e-4 1e-4 1e-4"/></body>', 0.0),
    ],
)
def test_the_base_of_an_mjcf_has_a_mass_to_be_moved_by(tmp_path, palm, mass):
    text = HANDS["jaws.xml"].replace('<geom type="box" size="0.03 0.03 0.01"/>', palm)
    (tmp_path / "hand.xml").write_text(text)
    hand = load_hand(tmp_path / "hand.xml")
    spec = mujoco.MjSpec.from_string(hand.to_mjcf())
    spec.worldbody.first_body().add_freejoint()
    # 0.06 x 0.06 x 0.02 m3 at 1,000 kg/m3, or what is taken where there is nothing
    assert spec.compile().body("palm").mass[0] == pytest.approx(mass)


def test_an_exclude_of_the_world_is_none_of_the_hands_bodies(tmp_path):
    finger = (
        '<body name="{0}" pos="{1} 0 0"><joint name="{0}_joint" axis="0 1 0" range="-1 1" limited="true"/>'
    )
    finger += '<geom type="capsule" size="0.008 0.02"/></body>'
    palm = '<body name="palm"><geom type="box" size="0.04 0.04 0.01"/>'
    bodies = f"{palm}{finger.format('a', 0.06)}{finger.format('b', -0.06)}{finger.format('c', 0.1)}</body>"
    excludes = '<exclude body1="world" body2="a"/><exclude body1="a" body2="b"/>'
    path = tmp_path / "hand.xml"
    path.write_text(f"<mujoco><worldbody>{bodies}</worldbody><contact>{excludes}</contact></mujoco>")
    assert set(map(frozenset, load_hand(path).description.excludes)) == {frozenset("ab")}
