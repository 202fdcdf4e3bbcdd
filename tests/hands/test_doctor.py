"""What the doctor proposes, against hands whose meaning is known, with names that give no hint."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.hands.description import Body, HandDescription, Semantics
from sceneleapultra.hands.doctor import propose
from sceneleapultra.hands.doctor.card import write_card
from sceneleapultra.hands.doctor.findings import examine
from sceneleapultra.hands.kinematics import homogeneous
from sceneleapultra.hands.mirror import mirrored
from tests.factories.hands import GRIPPERS, HANDS, joint, link, urdf, write


def without_hints(description: HandDescription) -> HandDescription:
    """Number bodies and joints, and forget what they mean."""
    body_of = {name: f"b{i}" for i, name in enumerate(description.body_names)}
    every = [body.joint.name for body in description.bodies if body.joint is not None]
    joint_of: dict[str | None, str | None] = {name: f"j{i}" for i, name in enumerate(every)} | {None: None}

    def renamed(body: Body) -> Body:
        moved = body.joint
        if moved is not None:
            coupling = moved.coupling
            if coupling is not None:
                coupling = replace(coupling, leader=joint_of[coupling.leader])
            moved = replace(moved, name=joint_of[moved.name], coupling=coupling)
        return replace(body, name=body_of[body.name], parent=body_of.get(body.parent or ""), joint=moved)

    return replace(
        description,
        bodies=tuple(map(renamed, description.bodies)),
        semantics=Semantics(),
        excludes=tuple((body_of[a], body_of[b]) for a, b in description.excludes),
    )


def fingers_of(semantics: Semantics, description: HandDescription) -> set[tuple[int, ...]]:
    names = description.body_names
    assert semantics.fingers is not None
    return {tuple(map(names.index, bodies)) for bodies in semantics.fingers.values()}


def angle_deg(a: object, b: object) -> float:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


@pytest.mark.parametrize(
    "name",
    [
        "leap_right",
        "parallel_gripper",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("leap_left", "allegro_like")),
    ],
)
def test_what_people_wrote_is_proposed_without_hints(name: str) -> None:
    known = load_hand(name).description
    proposal = propose(Hand(without_hints(known)))[0]
    proposed, meant = proposal.hand.description.semantics, known.semantics
    assert meant.fingers and proposed.fingers and meant.palm and proposed.palm
    assert fingers_of(proposed, proposal.hand.description) == fingers_of(meant, known)
    assert list((proposed.flexion_sign or {}).values()) == list((meant.flexion_sign or {}).values())
    assert angle_deg(proposed.palm.direction, meant.palm.direction) < 12
    if len(meant.fingers) > 2:  # of two jaws either may be the thumb, and either side is up
        assert list(proposed.fingers).index(proposed.thumb) == list(meant.fingers).index(meant.thumb)
        assert angle_deg(proposed.palm.finger_direction, meant.palm.finger_direction) < 15
    off = np.array(proposed.palm.center) - meant.palm.center
    assert abs(off @ np.array(meant.palm.direction)) < 0.03
    low, high = proposal.hand.joint_limits.T
    assert (proposal.hand.rest_qpos >= low - 1e-4).all() and (proposal.hand.rest_qpos <= high + 1e-4).all()
    for pad, own in itertools.product(proposed.contacts or (), known.semantics.contacts or ()):
        if known.body_names.index(own.body) == proposal.hand.body_names.index(pad.body):
            assert pad.primitive == own.primitive
            assert angle_deg(pad.pad_direction, own.pad_direction) < 40


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIPPERS)
def test_grippers_are_claws_that_close(tmp_path: Path, name: str) -> None:
    meant = GRIPPERS[name]
    proposal = propose(load_hand(write(tmp_path, name)))[0]
    proposed = proposal.hand.description.semantics
    assert proposal.kind == "claw" and proposed.palm is not None and proposed.fingers is not None
    assert proposed.flexion_sign == meant["flexion_sign"]
    assert {bodies[-1] for bodies in proposed.fingers.values()} == {b[-1] for b in meant["fingers"].values()}
    assert angle_deg(proposed.palm.direction, meant["palm"]["direction"]) < 5
    across = np.cross(
        proposed.palm.direction, proposed.palm.finger_direction
    )  # the line on which the jaws close
    assert min(angle_deg(across, (0, 1, 0)), angle_deg(across, (0, -1, 0))) < 15


@pytest.mark.slow
def test_a_turned_hand_is_read_the_same() -> None:
    known = without_hints(load_hand("allegro_like").description)
    T = homogeneous((0.05, -0.02, 0.1), (0.8, 0.2, -0.5, 0.26))
    stand = Body("stand", None, (0, 0, 0), (1, 0, 0, 0), None, None, ())
    quat = np.array([0.8, 0.2, -0.5, 0.26]) / np.linalg.norm([0.8, 0.2, -0.5, 0.26])
    first = replace(known.bodies[0], parent="stand", pos=(0.05, -0.02, 0.1), quat_wxyz=tuple(quat.tolist()))
    turned = replace(known, bodies=(stand, first, *known.bodies[1:]))
    one, other = (propose(Hand(d))[0].hand.description.semantics for d in (known, turned))
    assert one.palm and other.palm
    assert angle_deg(T[:3, :3] @ one.palm.direction, other.palm.direction) < 1
    assert angle_deg(T[:3, :3] @ one.palm.finger_direction, other.palm.finger_direction) < 1
    assert (one.fingers, one.thumb, one.flexion_sign) == (other.fingers, other.thumb, other.flexion_sign)


@pytest.mark.slow
def test_a_card_gives_back_what_was_proposed(tmp_path: Path) -> None:
    file = write(tmp_path / "my files", "jaws.urdf")
    proposal = propose(load_hand(file))[0]
    write_card(tmp_path / "hand.yaml", "jaws: mine", file, proposal.hand.description.semantics)
    for source in (tmp_path, tmp_path / "hand.yaml"):
        hand = load_hand(source)
        assert hand.name == "jaws: mine"
        assert hand.description.semantics == proposal.hand.description.semantics
        assert hand.table_hash == load_hand(file).table_hash


def test_what_cannot_grasp_is_refused(tmp_path: Path) -> None:
    one = tmp_path / "one.urdf"
    one.write_text(HANDS["mimic.urdf"])
    with pytest.raises(ValueError, match=r"at least two fingers that joints move, found f\."):
        propose(load_hand(one))
    apart = tmp_path / "apart.urdf"
    apart.write_text(
        urdf(
            *map(link, ("palm", "f", "g")),
            joint("a", "palm", "f", xyz="0.3 0 0", axis="1 0 0"),
            joint("b", "palm", "g", xyz="-0.3 0 0", axis="1 0 0"),
        )
    )
    with pytest.raises(ValueError, match="brings no finger against another"):
        propose(load_hand(apart))


def test_findings_name_what_is_odd(tmp_path: Path) -> None:
    wide = tmp_path / "wide.urdf"
    wide.write_text(
        urdf(*map(link, ("palm", "f")), joint("turntable", "palm", "f", kind="continuous")).replace(
            "0.05", "50"
        )
    )
    found = {finding.topic: finding for finding in examine(load_hand(wide))}
    assert found["limits"].level == "check" and "turntable" in found["limits"].text
    assert found["mass"].level == "check" and "100 kg" in found["mass"].text
    assert {finding.level for finding in examine(load_hand("leap_right"))} <= {"fine", "check"}


def test_servos_that_are_added_are_named_in_the_units_of_their_joints(tmp_path: Path) -> None:
    def said(name: str) -> str:
        return next(f.text for f in examine(load_hand(write(tmp_path, name))) if f.topic == "servos")

    kp = load_hand(write(tmp_path, "jaws.urdf")).description.actuation.kp
    assert f"{kp:g} N m/rad are added" in said("mimic.urdf")
    # A slide counts five centimetres as a radian.
    assert f"of {kp / 0.05**2:g} N/m (slides) are added" in said("jaws.urdf")


def test_an_mjcf_with_meshes_is_looked_at(tmp_path: Path) -> None:
    trimesh.creation.box((0.06, 0.18, 0.04)).export(tmp_path / "palm.stl")
    text = HANDS["jaws.xml"].replace(
        '<geom type="box" size="0.03 0.03 0.01"/>', '<geom type="mesh" mesh="palm"/>'
    )
    (tmp_path / "hand.xml").write_text(
        text.replace("<worldbody>", '<asset><mesh name="palm" file="palm.stl"/></asset><worldbody>')
    )
    found = {finding.topic: finding for finding in examine(load_hand(tmp_path / "hand.xml"))}
    assert found["overlaps at rest"].level == "fine"


def test_the_mirror_image_is_where_the_mirror_puts_it() -> None:
    right = load_hand("leap_right", dtype=torch.float64)
    left = load_hand("leap_left", dtype=torch.float64)
    low, high = right.joint_limits.T
    qpos = low + torch.rand(40, 16, dtype=torch.float64) * (high - low)
    S = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(
        left.forward_kinematics(qpos), S @ right.forward_kinematics(qpos) @ S, rtol=0, atol=0
    )
    assert left.table_hash != right.table_hash
    twice = mirrored(left.description, "leap_right")
    assert Hand(replace(twice, actuation=right.description.actuation)).table_hash == right.table_hash
    torch.testing.assert_close(
        left.palm_center, right.palm_center * torch.tensor([1, -1, 1], dtype=torch.float64)
    )


def test_an_mjcf_is_not_mirrored(tmp_path: Path) -> None:
    file = write(tmp_path, "jaws.xml")
    (tmp_path / "hand.yaml").write_text("name: left\ndescription: jaws.xml\nmirror: true\n")
    with pytest.raises(ValueError, match="is an MJCF, which is simulated as it stands"):
        load_hand(tmp_path)
    assert file.is_file()
