"""Does code from outside run only where a user named its package?"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sceneleapultra.utils.core import plugins
from sceneleapultra.utils.core.plugins import check_targets, plugins_in_use, use_plugins


@pytest.fixture(autouse=True)
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with a subpackage and a module that asks for what is not installed; nothing is named yet."""
    (tmp_path / "good_plugin" / "inner").mkdir(parents=True)
    (tmp_path / "good_plugin" / "inner" / "__init__.py").touch()
    (tmp_path / "sick_plugin.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_named", set())
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "good_plugin"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "target", ["good_plugin.Encoder", "os.system", "builtins.eval", "sceneleapultra_evil.Encoder"]
)
@pytest.mark.parametrize("shape", ["top", "nested", "listed"])
def test_a_file_builds_no_code_that_nobody_named(target: str, shape: str) -> None:
    node = {"_target_": target}
    config = {
        "top": node,
        "nested": {"_target_": "sceneleapultra.models.generator.GraspGenerator", "encoder": {"inner": node}},
        "listed": {"parts": [{"_target_": "sceneleapultra.x"}, [node]]},
    }[shape]
    with pytest.raises(
        ValueError, match=rf"x\.ckpt is built from {target}, which is code outside the project"
    ):
        check_targets(config, "x.ckpt")


def test_code_of_a_named_package_and_of_the_project_is_built() -> None:
    use_plugins(["good_plugin.inner"])
    assert plugins_in_use() == ["good_plugin"]
    assert "good_plugin.inner" in sys.modules
    check_targets(
        {"a": {"_target_": "good_plugin.other.Thing"}, "b": {"_target_": "sceneleapultra.x"}}, "x.ckpt"
    )
    with pytest.raises(ValueError, match=r"is built from os\.system"):
        check_targets({"_target_": "os.system"}, "x.ckpt")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no_plugin", "No module named 'no_plugin'"), ("sick_plugin", "not_installed_anywhere")],
)
def test_a_package_that_cannot_be_imported(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"plugins: cannot import '{name}' \(.*{reason}.*PYTHONPATH"):
        use_plugins(["good_plugin", name])
    assert plugins_in_use() == ["good_plugin"]
