"""The words ``key=value`` of a command line: what is wrong with those that Hydra refuses, and how one is written."""

import difflib
import re
import shlex
from collections.abc import Iterator

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf

from sceneleapultra.utils.core.config import CONFIG_DIR, all_keys, nearest_key
from sceneleapultra.utils.core.names import unknown_name
from sceneleapultra.utils.core.renamed import RENAMED_OPTIONS, SINCE, new_name

# Lines of Hydra's messages that are advice on its own grammar, or say what only its authors need.
_BESIDE = ("To append", "Config search path", "provider=", "full_key:", "object_type=", "See https:", "^")


def written(key: str, value: object) -> str:
    """Return ``key=value`` as it is typed in a shell, quoted where shell or Hydra would read it as something else."""
    plain = f"{key}={value}"
    try:
        parsed = OverridesParser.create().parse_override(plain)
        as_it_is = not parsed.is_sweep_override() and str(parsed.value()) == str(value)
    except (HydraException, ValueError):
        as_it_is = False
    if not as_it_is:  # backslashes mean something to Hydra only in front of a quote
        escaped = re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (found[2] and r"\""), str(value))
        plain = f'{key}="{escaped}"'
    return shlex.quote(plain)


def word(key: str, value: object) -> str:
    """Return ``key=value`` as Hydra reads it, where no shell is between."""
    return f"{key}=null" if value is None else shlex.split(written(key, value))[0]


def unknown_flags(argv: list[str]) -> list[str]:
    """Return a sentence for every word with dashes that is no flag of Hydra's: settings are written without them."""
    known = {flag for action in get_args_parser()._actions for flag in action.option_strings}
    known -= {"--experimental-rerun"}  # it unpickles a file
    wrong = [word for word in argv if word.startswith("--") and word.partition("=")[0] not in known]
    return [
        f"Unknown flag {word}. Settings are written without dashes: {word.lstrip('-').partition('=')[0]}=<value>."
        for word in wrong
    ]


def explain(error: Exception, argv: list[str], config_name: str) -> str:
    """Return what is wrong with a command line that Hydra could not compose, in the words of this project.

    Args:
        error: what Hydra raised.
        argv: the words behind the program's name.
        config_name: root of the configuration.
    """
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, config_name)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, option = error.missing_cfg_file.rpartition("/")
        if (new := RENAMED_OPTIONS.get(group, {}).get(option)) is not None:
            return f"{group}={option} is called {new} since {SINCE}."
        if error.missing_cfg_file.startswith("hand/") and option.endswith((".urdf", ".xml")):
            path = error.missing_cfg_file.removeprefix("hand/")
            return (
                f"hand={path} is a hand's own file, which does not say how the hand grasps. Let "
                f"`sceneleap doctor {path} --output <folder>` propose it, look at its page, and pass hand=<folder>."
            )
        return str(unknown_name(group, option, error.options))
    if str(error).startswith(("Ambiguous value", "Sweep parameters")):
        return "\n".join(_sweeps(argv))
    if str(error).startswith("Config group override must be"):
        return "\n".join(_groups_without_option(argv))
    if hints := override_hints(argv, config_name):
        return "\n".join(hints)
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line.rstrip(".") for line in lines if line and not line.startswith(_BESIDE)]
    return f"{'. '.join(kept)}."


def override_hints(argv: list[str], config_name: str) -> list[str]:
    """Return a sentence for every ``key=value`` whose key the configuration lacks: its new name or the nearest key."""
    words = [word for word in argv if "=" in word and not word.startswith(("-", "+", "~", "hydra"))]
    try:
        overrides = OverridesParser.create().parse_overrides(words)
    except (HydraException, ValueError):  # Hydra's parser raises plain ValueErrors too
        return []
    groups = [str(o.input_line) for o in overrides if (CONFIG_DIR / o.key_or_group).is_dir()]
    known = _known_keys(config_name, groups) or _known_keys(config_name, [])
    wrong = [o.key_or_group for o in overrides if o.key_or_group not in known]
    return [hint for key in wrong if (hint := _hint(key, known, config_name))]


def _known_keys(config_name: str, groups: list[str]) -> list[str]:
    try:
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return all_keys(compose(config_name, overrides=groups))
    except (HydraException, ValueError):
        return []


def _hint(key: str, known: list[str], config_name: str) -> str | None:
    if (new := new_name(key)) is not None:
        return f"{key} is called {new} since {SINCE}."
    if (CONFIG_DIR / key).is_dir():
        chosen = groups_of(config_name)
        if "/" in key or key in chosen:
            return None
        return f"This program has no group '{key}'. Its groups: {', '.join(chosen)}."
    guess = _nearest(key, known)
    return f"Unknown key '{key}'." + (f" Did you mean '{guess}'?" if guess else "")


def _nearest(key: str, known: list[str]) -> str | None:
    """Return the group or key that a misspelt one most likely meant; what is as deep as it comes first."""
    folders = (str(path.relative_to(CONFIG_DIR)) for path in CONFIG_DIR.rglob("*") if path.is_dir())
    if "/" in key:
        return next(iter(difflib.get_close_matches(key, list(folders), n=1)), None)
    if "." not in key and (
        close := difflib.get_close_matches(key, [k for k in known if "." not in k], n=1, cutoff=0.75)
    ):
        return close[0]
    return nearest_key(key, known)


def groups_of(config_name: str) -> list[str]:
    """List the groups that the root of a program's configuration chooses from."""
    defaults = OmegaConf.to_container(OmegaConf.load(CONFIG_DIR / f"{config_name}.yaml"))["defaults"]  # type: ignore[index, call-overload]
    names = [str(key) for entry in defaults if isinstance(entry, dict) for key in entry]
    return sorted(name for name in names if " " not in name and name != "hydra")


def _unreadable(word: str, config_name: str) -> str:
    key, equals, value = word.partition("=")
    if not equals:
        found = [path.parent.name for path in sorted(CONFIG_DIR.glob(f"*/{word}.yaml"))] if word else []
        groups = [name for name in found if name in groups_of(config_name)]
        return f"'{word}' is no key=value." + (f" Did you mean {groups[0]}={word}?" if groups else "")
    if "…" in value or "..." in value.split("/"):
        return f"{word}: the dots stand for a name of yours. Write the path as it is on this machine."
    return f"{word}: some of its characters mean something else to Hydra. Quote the value twice: {written(key, value)}"


def _sweeps(argv: list[str]) -> Iterator[str]:
    for word in argv:
        key, equals, value = word.partition("=")
        if equals and not word.startswith("-") and "," in value and value[0] not in "[{\"'":
            yield (
                f"{word}: commas separate the values of several runs, which -m starts. A list is written "
                f"{shlex.quote(f'{key}=[{value}]')}, a name with a comma {written(key, value)}"
            )


def _groups_without_option(argv: list[str]) -> Iterator[str]:
    for word in argv:
        group, _, option = word.partition("=")
        folder = CONFIG_DIR / group
        if folder.is_dir() and not (folder / f"{option}.yaml").is_file():
            options = ", ".join(sorted(path.stem for path in (CONFIG_DIR / group).glob("*.yaml")))
            yield f"{word}: this group needs one of its options, {options}. Leave it out for the one by default."
