"""Is the name free under which a command line adds an object? Hydra would merge two of one name without a word."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from yaml import MarkedYAMLError

from sceneleapultra.utils.core.config import CONFIG_DIR, all_keys

_ADDED = re.compile(r"\+([^+=][^=]*)=\{.*_target_")  # +key={_target_: ...}
_FOLDER = ("--config-dir", "-cd")
_SEARCH = "hydra.searchpath="


def clashes(config_name: str, argv: list[str]) -> list[str]:
    """Return a sentence for each object whose name is taken, and for a YAML file of the user's that cannot be read.

    Nothing is composed, and nothing found, where the command line adds neither an object nor a folder of YAML.

    Args:
        config_name: root of the configuration.
        argv: the words behind the program's name.
    """
    folders = list(_folders(argv))
    words = [word for word in argv if ("=" in word and word[0] != "-") or word[0] == "~"]
    added = {word: found[1] for word in words if (found := _ADDED.match(word))}
    if not added and not folders and not any(word.startswith(_SEARCH) for word in words):
        return []
    if twice := [key for key, count in Counter(added[w] for w in words if w in added).items() if count > 1]:
        return [f"{key} is added twice. Give each its own name." for key in twice]
    rest = [word for word in words if word not in added]
    search = [f"{_SEARCH}[{','.join(f'file://{folder}' for folder in folders)}]"] if folders else []
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            known = all_keys(compose(config_name, overrides=[*search, *rest]))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f"{mark.name}, line {mark.line + 1}: "
        return [
            f"{where}{error.problem}. Two entries of one name would be one; a file needs a name for each."
        ]
    except (HydraException, ValueError):  # Hydra names what is wrong when it composes the whole
        return []
    return [
        f"{key} is there already, and the two would be merged. Give yours another name, or remove that one: '~{key}'."
        for key in added.values()
        if key in known
    ]


def _folders(argv: list[str]) -> Iterator[str]:
    for word, following in zip_longest(argv, argv[1:], fillvalue=""):
        flag, equals, value = word.partition("=")
        if flag in _FOLDER:
            yield value if equals else following
