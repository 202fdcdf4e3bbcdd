"""Which files a hand's file may name: those below its own folder or package, wherever the program is started."""

import xml.etree.ElementTree as ET
from pathlib import Path

from sceneleapultra.utils.core.plain_data import read_xml

_PACKAGE = ("package://", "model://")
# Folders that hold a robot's files beside its meshes: what they name lies below the folder above.
_FOLDERS_OF_MODELS = ("urdf", "mjcf", "xml", "robot", "robots", "model", "models")


def parse_xml(path: Path, root: str | None, kind: str) -> ET.Element:
    """Read an XML file.

    Args:
        path: the file.
        root: name of its outermost element; None for any.
        kind: of file that is expected, for messages.

    Raises:
        ValueError: not XML, or with another outermost element.
    """
    element = read_xml(path)
    if root is not None and element.tag != root:
        raise ValueError(
            f"{path}: expected {kind}, so <{root}> as its outermost element, got <{element.tag}>."
        )
    return element


def find_file(source: Path, name: str, what: str, folder: str = "") -> Path:
    """Return where a file lies that a hand's file names.

    Args:
        source: the hand's file.
        name: as it stands there: relative to the file's folder, absolute, ``file://…`` or ``package://<package>/…``.
        what: it is, for messages.
        folder: that the file says such names are relative to; itself relative to the file's.

    Raises:
        FileNotFoundError: there is no such file, or no folder above that is the package.
        ValueError: it lies outside of the file's folder and package.
    """
    source = source.resolve()
    plain = name.removeprefix("file://")
    scheme = next((scheme for scheme in _PACKAGE if name.startswith(scheme)), None)
    if scheme is not None:
        package, _, plain = name.removeprefix(scheme).partition("/")
        root = start = _package(source, package, name, what)
    else:
        root, start = _root(source), source.parent / folder
    file = (start / plain).resolve()
    if not file.is_relative_to(root):
        raise ValueError(
            f"{source}: {what} '{name}' is {file}, outside of {root}. A hand's file may only read what lies below its "
            "own folder or package. Copy it there."
        )
    if not file.is_file():
        raise FileNotFoundError(f"{source}: {what} '{name}' is not at {file}. Put it there.")
    return file


def _root(source: Path) -> Path:
    """Return the package of a file, else its folder (or the one above, in the usual layout ``urdf/`` + ``meshes/``)."""
    for folder in source.parents:
        if (folder / "package.xml").is_file():
            return folder
    folder = source.parent
    return folder.parent if folder.name.lower() in _FOLDERS_OF_MODELS else folder


def _package(source: Path, package: str, name: str, what: str) -> Path:
    """Return the nearest folder above that is the package, by name or package.xml; else the one beside the file."""
    for folder in (*source.parents, source.parent / package):
        if folder.is_dir() and (folder.name == package or _package_name(folder) == package):
            return folder
    raise FileNotFoundError(
        f"{source}: {what} '{name}': '{package}' is no folder beside it or above it. Put the file back into its "
        f"package, or write the path relative to {source.name}."
    )


def _package_name(folder: Path) -> str | None:
    file = folder / "package.xml"
    if not file.is_file():
        return None
    return (parse_xml(file, "package", "a ROS package").findtext("name") or "").strip()
