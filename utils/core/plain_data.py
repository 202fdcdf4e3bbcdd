"""What a file that somebody else may have written can say: plain data, taken as they stand.

YAML tags, interpolations and XML entities make a file reach beyond itself: into this process, its environment, other
files, or all of memory. Each is refused by a sentence before anything is read further.
"""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from xml.parsers import expat

import yaml
from omegaconf import OmegaConf

MAX_VALUES = 1_000_000  # of a YAML file whose aliases are written out
MAX_DEPTH = 64
_YAML = "tag:yaml.org,2002:"
_PLAIN_TAGS = {
    _YAML + n for n in ("map", "seq", "str", "int", "float", "bool", "null", "merge", "value", "timestamp")
}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of keys and values as plain containers; nothing in it is resolved.

    Raises:
        FileNotFoundError: no such file.
        ValueError: empty, cut off or no YAML; or a tag, an interpolation, or aliases that grow beyond all measure.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Restore it, or name the right one.")
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            found = "nothing" if root is None else "something else"
            raise ValueError(
                f"{path}: expected YAML with keys and values, it holds {found}. Was it cut off? Restore the file."
            )
        _count_values(root, path, {})
        data = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(
            f"{path}{line}: no valid YAML ({error.problem}). Was it cut off or edited?"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected YAML in UTF-8, got other bytes. Restore the file.") from error
    except RecursionError as error:
        raise ValueError(f"{path}: its values are nested too deeply; at most {MAX_DEPTH} levels.") from error
    assert isinstance(data, dict)
    check_plain(data, path)
    return {str(key): value for key, value in data.items()}


def check_plain(value: Any, source: Path | str, key: str = "") -> None:
    """Refuse what a file holds unless it is plain: mappings and lists of numbers, texts and nothing.

    Args:
        value: what was read.
        source: the file, for the sentence.
        key: where the value stands in it.

    Raises:
        ValueError: a value of another type, a text that stands for a value from elsewhere, or too many levels.
    """
    if key.count(".") >= MAX_DEPTH:
        raise ValueError(f"{source}: its values are nested too deeply; at most {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        for name, child in value.items():
            check_plain(child, source, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list | tuple):
        for i, child in enumerate(value):
            check_plain(child, source, f"{key}.{i}".lstrip("."))
    elif isinstance(value, str):
        if "${" in value or value == "???":
            raise ValueError(
                f"{source}: {key} holds {value[:80]!r}, which stands for a value from elsewhere. What a file says is "
                "taken as it is written: write the value itself."
            )
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError(
            f"{source}: {key} holds a {type(value).__name__}; expected numbers, texts, lists and mappings."
        )


def read_xml(path: Path) -> ET.Element:
    """Read an XML file that declares no entities, and return its outermost element.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not XML, or with entities, which can take any amount of memory or name other files.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Complete the folder, or name the right one.")
    content = path.read_bytes()

    def refuse(name: str, *_: object) -> None:
        raise ValueError(
            f"{path} declares the XML entity '{name[:40]}', which can name other files or grow beyond all memory. "
            "Write out what it stands for."
        )

    # Prefixes of names stay as they are written, as robots' parsers read them: many files declare none of theirs.
    tree, parser = ET.TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = tree.start, tree.end
    parser.CharacterDataHandler = tree.data
    try:
        parser.Parse(content, True)
        return tree.close()
    except (expat.ExpatError, RecursionError) as error:
        raise ValueError(f"{path} is not valid XML ({error}); is it truncated? Copy it again.") from error


def _count_values(node: yaml.Node, path: Path, sizes: dict[int, int | None]) -> int:
    """Return how many values a node becomes when its aliases are written out; each node is visited once."""
    known = sizes.get(id(node), 0)
    if known is None:
        raise ValueError(f"{path}: line {node.start_mark.line + 1} holds itself through an alias.")
    if known:
        return known
    if node.tag not in _PLAIN_TAGS:
        tag = node.tag.replace(_YAML, "!!")[:80]
        raise ValueError(
            f"{path}, line {node.start_mark.line + 1}: the tag {tag} asks for an object. Expected plain YAML: numbers, "
            "texts, lists, keys with values."
        )
    sizes[id(node)] = None
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    total = 1 + sum(_count_values(child, path, sizes) for child in children)
    if total > MAX_VALUES:
        raise ValueError(f"{path}: its aliases make more than {MAX_VALUES:,} values of it. Write it out.")
    sizes[id(node)] = total
    return total
