"""Is a setting that the project prints read back as it was, and are misspelt and renamed ones known?"""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException, OverrideParseException
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from sceneleapultra.utils.core import overrides, renamed
from sceneleapultra.utils.core.config import CONFIG_DIR

ROOTS = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml"))


@pytest.mark.parametrize("root", ROOTS)
def test_a_key_named_like_a_group_is_that_group(root: str) -> None:
    """Hydra takes ``name=value`` for the choice of an option wherever ``config/name`` is a folder."""
    keys = {str(key) for key in OmegaConf.load(CONFIG_DIR / f"{root}.yaml")} - {"defaults", "hydra"}
    folders = {path.name for path in CONFIG_DIR.iterdir() if path.is_dir()}
    assert keys & folders <= set(overrides.groups_of(root))


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Z")), min_size=1, max_size=20))
def test_a_printed_setting_is_read_back_as_it_was(value: str) -> None:
    (word,) = shlex.split(overrides.written("key", value))
    assert str(OverridesParser.create().parse_override(word).value()) == value


def test_a_plain_path_is_printed_plainly() -> None:
    path = Path("runs/quickstart/2026-11-28_22-00-00/checkpoints/best-v1.ckpt")
    assert overrides.written("checkpoint", path) == f"checkpoint={path}"


def test_a_renamed_key_is_answered_with_its_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "RENAMED_KEYS", {"data.dots": "data.cloud.points", "sight": "camera.lens"})
    hints = overrides.override_hints(["data.dots=3", "sight.width=2", "optimizer.lrr=1"], "config")
    assert hints == [
        "data.dots is called data.cloud.points since 0.2.",
        "sight.width is called camera.lens.width since 0.2.",
        "Unknown key 'optimizer.lrr'. Did you mean 'optimizer.lr'?",
    ]


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        *(
            (
                f"data.store={value}",
                f"data.store={value}: some of its characters mean something else to Hydra. Quote the value twice: "
                f"'data.store=\"{value}\"'",
            )
            for value in ("a=b.h5", "a(1).h5")
        ),
        ("quickstart", "'quickstart' is no key=value. Did you mean experiment=quickstart?"),
    ],
)
def test_a_word_that_cannot_be_read_says_how_to_write_it(word: str, answer: str) -> None:
    with pytest.raises(OverrideParseException) as error:
        OverridesParser.create().parse_overrides([word])
    assert overrides.explain(error.value, [word], "config") == answer


def test_an_option_that_is_not_there_is_answered_with_the_nearest() -> None:
    error = MissingConfigException("", missing_cfg_file="model/path/cosin", options=["cosine", "edm"])
    answer = overrides.explain(error, ["model/path=cosin"], "config")
    assert answer == "Unknown model/path 'cosin'. Did you mean 'cosine'? Available: cosine, edm."


def test_an_option_that_moved_is_answered_with_its_group() -> None:
    for old, new in renamed.RENAMED_OPTIONS["experiment"].items():
        error = MissingConfigException("", f"experiment/{old}", ["quickstart"])
        assert overrides.explain(error, [], "config") == f"experiment={old} is called {new} since 0.2."
        group, _, option = new.partition("=")
        assert (CONFIG_DIR / group / f"{option}.yaml").is_file()


def test_settings_are_written_without_dashes() -> None:
    answer = "Unknown flag --seed=3. Settings are written without dashes: seed=<value>."
    assert overrides.unknown_flags(["--seed=3", "-m", "--cfg", "job", "--help"]) == [answer]
    assert overrides.unknown_flags(["--experimental-rerun=x.pickle"])  # it would unpickle a file
