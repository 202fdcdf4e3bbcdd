"""Cards and messages print their text as it is."""

import pytest
from torch.utils.data import DataLoader, Dataset

from sceneleapultra.utils.core import console, renamed


def test_a_card_prints_brackets_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    console.card("run", {"overrides": "data.store=[/a/one.h5,/a/two.h5] model.x=[1,2]"})
    assert "data.store=[/a/one.h5,/a/two.h5] model.x=[1,2]" in " ".join(capsys.readouterr().out.split())


class Broken(Dataset[int]):
    """One item, which cannot be read."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise ValueError(f"Item {index} is no item.\nLook at it: or not.")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_message_from_a_loading_process_comes_without_its_stack_trace(
    workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop, console.exit_on_user_error():
        list(DataLoader(Broken(), num_workers=workers))
    assert stop.value.code == 1
    assert capsys.readouterr().err == "Item 0 is no item.\nLook at it: or not.\n"


def test_a_renamed_key_is_answered_with_its_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "RENAMED_KEYS", {"data.dots": "data.cloud.points", "sight": "camera.lens"})
    hints = console.override_hints(["data.dots=3", "sight.width=2", "optimizer.lrr=1"], "config")
    assert hints == [
        "data.dots is called data.cloud.points since 0.2.",
        "sight.width is called camera.lens.width since 0.2.",
        "Unknown key 'optimizer.lrr'. Did you mean 'optimizer.lr'?",
    ]
