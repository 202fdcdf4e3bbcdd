from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.hand_files import name_hand_files


@pytest.mark.parametrize("folder", ["x", "it's mine", "a=b, {c}"])
def test_a_card_or_its_folder_names_a_hand(tmp_path: Path, folder: str) -> None:
    card = tmp_path / folder / "hand.yaml"
    card.parent.mkdir()
    card.write_text("name: x\n")
    for given in (card, card.parent):
        words = name_hand_files([f"hand={given}", "scenes=3"], "generate")
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            cfg = compose("generate", [*words, "path=x.h5"])
        assert (cfg.hand.name, cfg.scenes) == (str(card), 3)


def test_other_words_stay(tmp_path: Path) -> None:
    words = ["hand=leap_right", "hand=my.urdf", "data.hand=a/b", "scenes=1"]
    assert name_hand_files(words, "generate") == words
    assert name_hand_files(["hand=a/b"], "self_train") == ["hand=a/b"]
    with pytest.raises(FileNotFoundError, match=r"expected a hand's card at .*doctor"):
        name_hand_files([f"hand={tmp_path / 'none'}"], "generate")
