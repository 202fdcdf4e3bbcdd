"""A hand on the command line that is no option of ``config/hand``: the path of its card or of the card's folder, or
one that is drawn from a seed.
"""

import re
from pathlib import Path

from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.overrides import groups_of

_KEY = "hand="
_CARD = "hand.yaml"
_DRAWN = re.compile(_KEY + r"procedural_\d+")


def name_hand_files(words: list[str], config_name: str) -> list[str]:
    """Return the words with ``hand=<path>`` as Hydra takes it: ``hand=file hand.name=<path>``; so with a drawn hand.

    Args:
        words: the command line behind the program's name.
        config_name: root of the configuration; one without the group ``hand`` is left alone.

    Raises:
        FileNotFoundError: the path has no card.
    """
    if "hand" not in groups_of(config_name):
        return words
    found: list[str] = []
    for word in words:
        if _DRAWN.fullmatch(word):
            found += [f"{_KEY}file", f"hand.name={word.removeprefix(_KEY)}"]
            continue
        path = Path(word.removeprefix(_KEY).strip("'" + '"'))
        if not word.startswith(_KEY) or path.suffix in (".urdf", ".xml") or not _is_path(path):
            found.append(word)
            continue
        card = path if path.suffix == ".yaml" else path / _CARD
        if not card.is_file():
            raise FileNotFoundError(
                f"{word}: expected a hand's card at {card}. `sceneleap doctor <urdf or mjcf> --output <folder>` writes "
                "one; hands that come with the project are named without a path."
            )
        found += [f"{_KEY}file", f"hand.name={_quoted(str(card.resolve()))}"]
    return found


def _is_path(path: Path) -> bool:
    shipped = (CONFIG_DIR / "hand" / f"{path}.yaml").is_file()
    return not shipped and (path.suffix == ".yaml" or len(path.parts) > 1 or path.is_dir())


def _quoted(text: str) -> str:
    """Quote what Hydra would read as more than a text."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
