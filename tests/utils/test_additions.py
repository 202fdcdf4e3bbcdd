"""Is an object that a command line adds under a name that is taken refused, and nothing else?"""

from pathlib import Path

import pytest

from sceneleapultra.utils.core.additions import clashes

TERM = "{_target_: my_plugin.RestPose, weight: 0.1}"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["trainer.max_steps=4", "+trainer.extra=1"],
        [f"+model.objective.terms.rest={TERM}", f"+model.objective.terms.other={TERM}", "--cfg", "job"],
        ["~model.objective.terms.joints", f"+model.objective.terms.joints={TERM}"],
        [f"+nowhere.at.all={TERM}", "model=unknown"],  # Hydra says that there is no such model
    ],
)
def test_what_is_new_is_added(words: list[str]) -> None:
    assert clashes("config", words) == []


def test_two_terms_of_one_name() -> None:
    words = [f"+model.objective.terms.joints={TERM}"]
    (sentence,) = clashes("config", words)
    assert sentence == (
        "model.objective.terms.joints is there already, and the two would be merged. Give yours another name, or "
        "remove that one: '~model.objective.terms.joints'."
    )
    again = TERM.replace("0.1", "0.2")
    words = [f"+model.objective.terms.rest={TERM}", f"+model.objective.terms.rest={again}"]
    (sentence,) = clashes("config", words)
    assert sentence == "model.objective.terms.rest is added twice. Give each its own name."


@pytest.mark.parametrize(
    "flag", ["--config-dir {}", "--config-dir={}", "-cd {}", "hydra.searchpath=[file://{}]"]
)
def test_two_terms_of_one_name_in_a_file(tmp_path: Path, flag: str) -> None:
    folder = tmp_path / "model/objective/terms"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "rest: {_target_: a.B, weight: 1.0}\nrest: {_target_: a.C, weight: 1.0}\n"
    )
    words = [*flag.format(tmp_path).split(), "model/objective/terms=[mine]"]
    (sentence,) = clashes("config", words)
    assert sentence.startswith(f"{folder / 'mine.yaml'}, line 2: found duplicate key rest. ")
    (folder / "mine.yaml").write_text("rest: {_target_: a.B, weight: 1.0}\n")
    assert clashes("config", words) == []
    (sentence,) = clashes("config", [*words, f"+model.objective.terms.rest={TERM}"])
    assert sentence.startswith("model.objective.terms.rest is there already")
