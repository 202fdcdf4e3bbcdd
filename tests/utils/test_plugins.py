"""Does code from outside run only where a user named its package?"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sceneleapultra.utils.core import plugins
from sceneleapultra.utils.core.plugins import check_targets, plugins_in_use, targets_of, use_plugins

OTHER = """
import subprocess
from subprocess import Popen


class Thing:
    def act(self, command):
        return subprocess.run(command, shell=True)


def run(command):
    return Popen(command)
"""


@pytest.fixture(autouse=True)
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a subpackage and a module that asks for what is not installed; nothing is named yet."""
    (tmp_path / "good_plugin" / "inner").mkdir(parents=True)
    (tmp_path / "good_plugin" / "inner" / "__init__.py").touch()
    (tmp_path / "good_plugin" / "other.py").write_text(OTHER)
    (tmp_path / "sick_plugin.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_named", set())
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "good_plugin"]:
        del sys.modules[name]


ALLOWED = {"sceneleapultra.models.generator.GraspGenerator"}
OUTSIDE = r"x\.ckpt is built from {}, which is code outside the project"


@pytest.mark.parametrize("shape", ["top", "nested", "listed"])
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("good_plugin.Encoder", OUTSIDE + r"\. If you trust that package, pass plugins=\[good_plugin\]\.$"),
        ("sceneleapultra_evil.Encoder", OUTSIDE + r"\. If you trust that package"),
        ("os.system", OUTSIDE + r" and no part of a model: .* Do not use it\.$"),
        ("builtins.eval", OUTSIDE + r" and no part of a model"),
        ("sceneleapultra.utils.core.config.os.system", r"is built from {}, which is no part of a model here"),
        (
            "sceneleapultra.utils.training.run_folder.git_state",
            r"is built from {}, which is no part of a model",
        ),
        ("x]; curl evil | sh #", r"is built from '{}', which is not the name of a class\.$"),
        (None, r"is built from '{}', which is not the name of a class"),
    ],
)
def test_a_file_builds_no_code_that_nobody_named(target: str | None, sentence: str, shape: str) -> None:
    node = {"_target_": target}
    config = {
        "top": node,
        "nested": {"_target_": "sceneleapultra.models.generator.GraspGenerator", "encoder": {"inner": node}},
        "listed": {"parts": [{"_target_": "sceneleapultra.models.generator.GraspGenerator"}, ([node],)]},
    }[shape]
    with pytest.raises(ValueError, match=sentence.format(re.escape(str(target)))):
        check_targets(config, "x.ckpt", ALLOWED)


def test_classes_of_a_named_package_and_what_is_allowed_are_built() -> None:
    use_plugins(["good_plugin.inner"])
    assert plugins_in_use() == ["good_plugin"]
    assert "good_plugin.inner" in sys.modules
    config = {"a": {"_target_": "good_plugin.other.Thing"}, "b": {"_target_": "sceneleapultra.x"}}
    check_targets(config, "x.ckpt", {"sceneleapultra.x"})
    with pytest.raises(ValueError, match=r"is built from os\.system"):
        check_targets({"_target_": "os.system"}, "x.ckpt", ALLOWED)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("good_plugin.other.run", "is not a class of plugin 'good_plugin' itself"),
        ("good_plugin.other.Popen", "is not a class of plugin 'good_plugin' itself"),  # imported there
        ("good_plugin.other.subprocess.Popen", "plugin 'good_plugin' has no such class"),
        ("good_plugin.other.Thing.act", "plugin 'good_plugin' has no such class"),
        ("good_plugin.missing.Thing", r"has no such class \(No module named 'good_plugin\.missing'"),
    ],
)
def test_a_plugin_is_no_way_to_what_it_imports(name: str, sentence: str) -> None:
    use_plugins(["good_plugin"])
    with pytest.raises(ValueError, match=rf"x\.ckpt is built from {re.escape(name)}, .*{sentence}"):
        check_targets({"_target_": name}, "x.ckpt", ALLOWED)


def test_pythons_own_packages_are_no_plugins() -> None:
    with pytest.raises(ValueError, match=r"plugins: 'os' is part of Python: .* Name packages of models\."):
        use_plugins(["os"])
    assert plugins_in_use() == []


def test_the_projects_groups_name_what_may_be_built() -> None:
    found = targets_of("model/generator", "sampling")
    assert "sceneleapultra.models.network.encoder.hierarchy.AbstractionLevel" in found  # in braces
    assert all(name.startswith("sceneleapultra.models.") for name in found)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no_plugin", "No module named 'no_plugin'"), ("sick_plugin", "not_installed_anywhere")],
)
def test_a_package_that_cannot_be_imported(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"plugins: cannot import '{name}' \(.*{reason}.*PYTHONPATH"):
        use_plugins(["good_plugin", name])
    assert plugins_in_use() == ["good_plugin"]
