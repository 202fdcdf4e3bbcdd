"""How an MJCF becomes a description whose simulated model is that file, in one piece.

Includes are put in place and every file that the model names is read, so that the text and its assets compile to the
same model anywhere, by every function of MuJoCo, alone or attached to another model.
"""

import logging
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mujoco

from sceneleapultra.hands.description import Actuation, Body, HandDescription
from sceneleapultra.hands.importers.compiled import (
    default_actuation,
    derived_semantics,
    read_bodies,
    read_geoms,
)
from sceneleapultra.hands.importers.mjcf_couplings import narrowed, read_couplings
from sceneleapultra.hands.importers.mjcf_joints import name_all, one_joint_per_body
from sceneleapultra.hands.importers.mjcf_servos import add_servos, write_actuation, write_servos
from sceneleapultra.hands.importers.references import find_file, parse_xml
from sceneleapultra.hands.importers.xml_values import numbers
from sceneleapultra.hands.kinematics import homogeneous

_LOG = logging.getLogger(__name__)
_BASE_INERTIAL = {"pos": "0 0 0", "mass": "0.1", "diaginertia": "1e-4 1e-4 1e-4"}
# Elements that name files, and the compiler's setting for where these lie.
_FOLDER_OF = {"mesh": "meshdir", "skin": "meshdir", "hfield": "meshdir", "texture": "texturedir"}


def describe_mjcf(path: Path, actuation: Actuation | None = None) -> HandDescription:
    """Describe the hand in a MuJoCo model; the simulated model is the file's own.

    Args:
        path: the file.
        actuation: gains, damping and contact parameters to take instead of the file's.

    Raises:
        ValueError: MuJoCo cannot parse it, or it is not one tree of bodies below the world.
        FileNotFoundError: a file that it names is missing.
    """
    root = parse_xml(path, "mujoco", "a hand's MJCF")
    _expand(root, path, path, {path.resolve()})
    assets = _gather(root, path)
    name_all(root)
    _drop_zero_masses(root, path)
    model = _compile(root, assets, path)
    _check_world(model, path)
    if one_joint_per_body(root, model, path):
        model = _compile(root, assets, path)
    if not model.body_mass[model.body_weldid == 0].any():
        _LOG.warning("%s: its base has no mass: 100 g are taken, since the hand is moved by it", path)
        base = next(body for body in root.iter("body") if body.get("name") == model.body(1).name)
        ET.SubElement(base, "inertial", _BASE_INERTIAL)
        model = _compile(root, assets, path)
    couplings = read_couplings(model, path)
    write_servos(root, model, actuation or default_actuation(), replace=actuation is not None, path=path)
    if actuation is not None:
        write_actuation(root, model, actuation)
    bodies = read_bodies(model, path, lambda i: read_geoms(model, i, path), couplings)
    bodies = _narrow(bodies, narrowed(model, couplings, path))
    if not model.nu:
        joints = [body.joint for body in bodies if body.joint is not None and body.joint.coupling is None]
        _LOG.warning("%s has no actuators: a position servo was added to each joint", path)
        add_servos(root, joints, actuation or default_actuation())
    text = ET.tostring(root, encoding="unicode")
    _compile(root, assets, path)
    names = [body.name for body in bodies]
    pairs = [(s >> 16, s & 0xFFFF) for s in model.exclude_signature.tolist()]
    excludes = tuple((names[i - 1], names[k - 1]) for i, k in pairs if i and k)  # the world has no number
    T_world_root = homogeneous(tuple(model.body_pos[1]), tuple(model.body_quat[1]))
    return HandDescription(
        name=path.stem,
        bodies=bodies,
        actuation=actuation or default_actuation(),
        semantics=derived_semantics(bodies),
        excludes=excludes,
        source_mjcf=text,
        mesh_assets=assets,
        T_world_root=tuple(tuple(row) for row in T_world_root.tolist()),
    )


def _compile(root: ET.Element, assets: dict[str, bytes], path: Path) -> Any:
    try:
        return mujoco.MjSpec.from_string(ET.tostring(root, encoding="unicode"), assets=assets).compile()
    except ValueError as error:
        raise ValueError(f"{path}: MuJoCo cannot read this as a hand's MJCF: {error}") from error


def _drop_zero_masses(root: ET.Element, path: Path) -> None:
    """Let bodies whose mass is written as zero have that of their geoms."""
    for world in root.iter("worldbody"):
        for body in world.iter("body"):
            inertial = body.find("inertial")
            if inertial is not None and numbers(inertial, "mass", 1, path)[0] == 0:
                body.remove(inertial)


def _narrow(bodies: tuple[Body, ...], limits: Mapping[str, tuple[float, float]]) -> tuple[Body, ...]:
    def narrow(body: Body) -> Body:
        if body.joint is None or body.joint.name not in limits:
            return body
        lower, upper = limits[body.joint.name]
        return replace(body, joint=replace(body.joint, lower=lower, upper=upper))

    return tuple(narrow(body) for body in bodies)


def _check_world(model: Any, path: Path) -> None:
    roots = [i for i in range(1, model.nbody) if model.body_parentid[i] == 0]
    if len(roots) != 1:
        raise ValueError(f"{path}: expected one hand, so one body below <worldbody>, found {len(roots)}.")
    plane = mujoco.mjtGeom.mjGEOM_PLANE
    for g in range(model.ngeom):
        collides = bool(model.geom_contype[g] or model.geom_conaffinity[g])
        if model.geom_bodyid[g] == 0 and (collides or model.geom_type[g] == plane):
            kind = mujoco.mjtGeom(int(model.geom_type[g])).name.removeprefix("mjGEOM_").lower()
            raise ValueError(
                f"{path}: expected a hand alone, got a {kind} '{model.geom(g).name}' in its <worldbody>: floors "
                "and stands cannot move with it. Remove it, or give the hand's own file instead of a scene."
            )


def _expand(element: ET.Element, source: Path, main: Path, included: set[Path]) -> None:
    """Put the content of included files where they are included, as MuJoCo does: each file once."""
    for place, child in reversed(list(enumerate(element))):
        if child.tag != "include":
            _expand(child, source, main, included)
            continue
        file = _included(child.attrib.get("file", ""), source, main)
        if file in included:
            raise ValueError(f"{main}: {file} is included twice, or by itself. Include it once.")
        included.add(file)
        content = parse_xml(file, None, "an MJCF to include")
        _expand(content, file, main, included)
        element[place : place + 1] = list(content)


def _included(name: str, source: Path, main: Path) -> Path:
    """Return an included file: MuJoCo looks relative to the main file first, then to the one that includes it."""
    try:
        return find_file(main, name, "included file")
    except FileNotFoundError:
        return find_file(source, name, "included file")


def _gather(root: ET.Element, path: Path) -> dict[str, bytes]:
    """Read every file that the model names, and name it in the text as it is named in what is returned."""
    folders = _take_folders(root)
    assets: dict[str, bytes] = {}
    names: dict[Path, str] = {}
    for element, key in _named_files(root):
        if element.tag not in _FOLDER_OF:
            raise ValueError(
                f'{path}: <{element.tag} {key}="{element.attrib[key]}"> is not supported in a hand\'s MJCF; '
                f"expected files of {', '.join(_FOLDER_OF)} only. Put its content into the file itself."
            )
        written = element.attrib[key]
        if folders["strippath"] == "true":
            written = Path(written).name
        file = find_file(path, written, element.tag, folders[_FOLDER_OF[element.tag]])
        if file not in names:
            names[file] = f"{len(names)}_{file.name}"
            assets[names[file]] = file.read_bytes()
        if key == "file":
            element.attrib.setdefault("name", file.stem)  # what MuJoCo calls it
        element.attrib[key] = names[file]
    return assets


def _named_files(root: ET.Element) -> Iterator[tuple[ET.Element, str]]:
    for element in root.iter():
        for key in list(element.attrib):
            if key.startswith("file") and element.attrib[key]:
                yield element, key


def _take_folders(root: ET.Element) -> dict[str, str]:
    """Take the folders of files out of the compiler's settings and return them; the last setting counts."""
    found = {"assetdir": "", "strippath": "false"}
    for compiler in root.iter("compiler"):
        for key in ("assetdir", "meshdir", "texturedir", "strippath"):
            if key in compiler.attrib:
                found[key] = compiler.attrib.pop(key)
    return {"meshdir": found["assetdir"], "texturedir": found["assetdir"], **found}
