"""How a hand is loaded: by the name of a file in ``config/hand``, or by the path of a card, description, URDF or MJCF.

A card says what a hand's own file cannot: its name, where that file is, servos, and what its parts mean. Those in
``config/hand`` name it relative to the project, others relative to themselves.
"""

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from omegaconf import OmegaConf

from sceneleapultra.hands.checks import check_plausible
from sceneleapultra.hands.description import (
    Actuation,
    Body,
    ContactPatch,
    Coupling,
    HandDescription,
    Inertial,
    Joint,
    Palm,
    Primitive,
    Semantics,
    Vector,
    tuples,
)
from sceneleapultra.hands.hand import Hand
from sceneleapultra.hands.importers import describe_mjcf, describe_urdf
from sceneleapultra.hands.mirror import mirrored
from sceneleapultra.hands.procedural import draw_hand, procedural_seed
from sceneleapultra.utils.core.config import CONFIG_DIR, load_group
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.plain_data import read_yaml

_T = TypeVar("_T")
PROJECT_DIR = CONFIG_DIR.parent
CARD = "hand.yaml"  # in a folder that stands for a hand
MODEL_SUFFIXES = (".yaml", ".urdf", ".xml", ".mjcf")


def load_hand(
    source: str | Path, *, semantics: str | None = None, dtype: torch.dtype = torch.float32
) -> Hand:
    """Load a hand.

    Args:
        source: name of ``config/hand/<name>.yaml``, or ``procedural_<seed>`` for one that is drawn; or path of a card
            (its folder will do), of a ``.yaml`` description, of a ``.urdf`` or a MuJoCo ``.xml``.
        semantics: for a path, the name of a ``config/hand`` file whose `semantics` and `actuation` it takes.
        dtype: of all buffers; with ``torch.float64`` the description's numbers keep their full precision.

    Raises:
        ValueError: unknown name, or a file that does not describe a hand.
        FileNotFoundError: the path, or the description that the config names, does not exist.
    """
    if (seed := procedural_seed(str(source))) is not None:
        return deepcopy(_drawn(seed, dtype))
    path = Path(source)
    shipped = (CONFIG_DIR / "hand" / f"{source}.yaml").is_file()
    if not shipped and (path / CARD).is_file():
        path = path / CARD
    if path.suffix not in MODEL_SUFFIXES:
        config = _config(str(source))
        return _named(config, PROJECT_DIR, f"config/hand/{source}.yaml", dtype)
    if not path.is_file():
        raise FileNotFoundError(
            f"No hand model at {path}. Give the path of a .yaml description or card, a .urdf or a MuJoCo .xml file."
        )
    if path.suffix == ".yaml" and "description" in (card := read_yaml(path)):
        _keys(card, {"name", "description", "actuation", "semantics", "mirror"}, path.name)
        return _named(card, path.parent, str(path), dtype)
    return _hand(path, None if semantics is None else _config(semantics), dtype)


def _named(config: dict[str, Any], folder: Path, where: str, dtype: torch.dtype) -> Hand:
    """Load the hand that a card describes; its file is named relative to a folder."""
    for key in ("name", "description"):
        if key not in config or not isinstance(config[key], str):
            raise ValueError(f"{where}: expected the keys name and description, both texts. Add `{key}`.")
    path = folder / config["description"]
    if not path.is_file():
        raise FileNotFoundError(
            f"{where} names the description {config['description']}, but there is no such file "
            f"under {folder}. Put it there, or point `description` to where it is."
        )
    return _hand(path, config, dtype)


def _hand(path: Path, config: dict[str, Any] | None, dtype: torch.dtype) -> Hand:
    if path.suffix != ".yaml":  # its meshes may lie in files of their own
        return Hand(_describe(path, config), dtype=dtype)
    return deepcopy(_built(path, path.read_bytes(), json.dumps(config), dtype))


@lru_cache(maxsize=8)
def _built(path: Path, content: bytes, config: str, dtype: torch.dtype) -> Hand:
    """Build a hand once in a process; ``content`` is what the file holds now, so that a changed one is read anew."""
    return Hand(_describe(path, json.loads(config)), dtype=dtype)


@lru_cache(maxsize=8)
def _drawn(seed: int, dtype: torch.dtype) -> Hand:
    return Hand(draw_hand(seed), dtype=dtype)


def _config(name: str) -> dict[str, Any]:
    config = OmegaConf.to_container(load_group("hand", name), resolve=True)
    assert isinstance(config, dict)
    return {str(k): v for k, v in config.items()}


def _describe(path: Path, config: dict[str, Any] | None) -> HandDescription:
    actuation = None
    if config is not None and "actuation" in config:
        actuation = _record(Actuation, config["actuation"], f"{config['name']}: actuation")
    if path.suffix not in MODEL_SUFFIXES:
        raise ValueError(f"A hand's description ends in {', '.join(MODEL_SUFFIXES)}; got {path}.")
    if path.suffix == ".yaml":
        description = read_description(path)
    elif path.suffix == ".urdf":
        description = describe_urdf(path)
    else:
        description = describe_mjcf(path, actuation)
    check_plausible(description, path)
    if config is None:
        return description
    if {"mirror": False, **config}["mirror"]:
        description = mirrored(description, config["name"])
    changes: dict[str, Any] = {"name": config["name"]}
    if actuation is not None:
        changes["actuation"] = actuation
    if "semantics" in config:
        added = parse_semantics(config["semantics"], str(path))
        changes["semantics"] = replace(
            description.semantics, **{key: getattr(added, key) for key in config["semantics"]}
        )
    return replace(description, **changes)


def read_description(path: Path) -> HandDescription:
    """Read one of our own description files."""
    raw, where = read_yaml(path), path.name
    _keys(raw, {"name", "actuation", "bodies", "excludes", "semantics"}, where)
    return HandDescription(
        name=raw["name"],
        bodies=tuple(_body(entry, where) for entry in raw["bodies"]),
        actuation=_record(Actuation, raw["actuation"], f"{where}: actuation"),
        semantics=parse_semantics(raw["semantics"], where),
        excludes=tuple((first, second) for first, second in raw["excludes"]),
    )


def parse_semantics(raw: Mapping[str, Any], where: str) -> Semantics:
    """Read the `semantics` block of a description or of a ``config/hand`` file."""
    _keys(raw, set(Semantics.__dataclass_fields__), f"{where}: semantics")
    values = tuples(raw)
    if "palm" in raw:
        values["palm"] = _record(Palm, raw["palm"], f"{where}: palm")
    if "contacts" in raw:
        values["contacts"] = tuple(
            _record(ContactPatch, patch, f"{where}: contacts") for patch in raw["contacts"]
        )
    return Semantics(**values)


def _body(raw: Mapping[str, Any], where: str) -> Body:
    _keys(
        raw,
        {"name", "parent", "pos", "quat", "joint", "inertial", "geometry"},
        f"{where}: body {raw.get('name')}",
    )
    entry = {"parent": None, "pos": (0, 0, 0), "quat": (1, 0, 0, 0), "joint": None, "inertial": None, **raw}
    joint, inertial = entry["joint"], entry["inertial"]
    return Body(
        name=entry["name"],
        parent=entry["parent"],
        pos=_vector(entry["pos"]),
        quat_wxyz=_vector(entry["quat"]),
        joint=None if joint is None else _joint(joint, where),
        inertial=None
        if inertial is None
        else Inertial(inertial["mass"], *(_vector(inertial[key]) for key in ("pos", "quat", "moments"))),
        primitives=tuple(
            _primitive(geom, f"{where}: geometry of {entry['name']}") for geom in raw["geometry"]
        ),
    )


def _joint(raw: Mapping[str, Any], where: str) -> Joint:
    where = f"{where}: joint {raw.get('name')}"
    _keys(raw, {"name", "axis", "range", "slide", "follows"}, where)
    lower, upper = _vector(raw["range"])
    coupling = None
    if "follows" in raw:
        _keys(raw["follows"], {"joint", "multiplier", "offset"}, f"{where}: follows")
        line = (float(raw["follows"]["offset"]), float(raw["follows"]["multiplier"]))
        coupling = Coupling(str(raw["follows"]["joint"]), (0.0,), (line,))
    slide = bool(raw.get("slide", False))
    return Joint(raw["name"], _vector(raw["axis"]), lower, upper, slide=slide, coupling=coupling)


def _primitive(raw: Mapping[str, Any], where: str) -> Primitive:
    _keys(raw, {"box", "capsule", "sphere", "radius", "pos", "quat", "friction"}, where)
    values = {"pos": (0, 0, 0), "quat": (1, 0, 0, 0), "friction": (), **raw}
    pos, quat, friction = (_vector(values[key]) for key in ("pos", "quat", "friction"))
    if "box" in raw:
        return Primitive("box", _vector(raw["box"]), pos, quat, friction=friction)
    if "sphere" in raw:
        return Primitive("sphere", (float(raw["sphere"]),), pos, quat, friction=friction)
    first, second = (np.array(end, dtype=np.float64) for end in raw["capsule"])
    half = float(np.linalg.norm(second - first)) / 2
    size = (float(raw["radius"]), half)
    return Primitive(
        "capsule", size, _vector((first + second) / 2), _z_onto(second - first), friction=friction
    )


def _z_onto(direction: np.ndarray) -> Vector:
    """Quaternion of the shortest rotation from +z to a direction (half turn about x for -z)."""
    unit = direction / np.linalg.norm(direction)
    quat = np.array([1 + unit[2], -unit[1], unit[0], 0.0])
    norm = np.linalg.norm(quat)
    return (0.0, 1.0, 0.0, 0.0) if norm < 1e-9 else _vector(quat / norm)


def _record(kind: type[_T], raw: Mapping[Any, Any], where: str) -> _T:
    """Fill a dataclass without defaults from a mapping with exactly its fields."""
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    _keys(raw, set(fields), where)
    if missing := sorted(set(fields) - set(raw)):
        raise ValueError(f"{where}: expected the keys {', '.join(fields)}; add {', '.join(missing)}.")
    return kind(**tuples(raw))


def _vector(values: Any) -> Vector:
    return tuple(float(v) for v in values)


def _keys(raw: Mapping[Any, Any], allowed: set[str], where: str) -> None:
    for key in raw:
        if key not in allowed:
            raise unknown_name(f"key in {where}", str(key), allowed)
