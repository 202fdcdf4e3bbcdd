"""One folder per run under any launcher, and no run continued under another configuration."""

import subprocess
from datetime import datetime
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from sceneleapultra import __version__
from sceneleapultra.utils.core.torch_files import write_torch
from sceneleapultra.utils.training.run_folder import (
    changed_keys,
    check_same_data,
    git_state,
    last_checkpoint,
    run_id,
    step_of,
    write_run_folder,
)

NOW, LATER = datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 6)


def config(folder: Path, **values: object):
    return OmegaConf.create({"run_dir": str(folder), "seed": 0, "trainer": {"max_steps": 10}} | values)


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"SLURM_JOB_ID": "77"}, "slurm-77"),
        ({"TORCHELASTIC_RUN_ID": "abc"}, "torchrun-abc"),
        ({"SLURM_JOB_ID": "77", "TORCHELASTIC_RUN_ID": "abc"}, "slurm-77"),
    ],
)
def test_ranks_that_start_a_second_apart_share_the_folder(environ: dict[str, str], name: str) -> None:
    assert run_id(environ, NOW) == run_id(environ, LATER) == name


def test_without_a_launcher_the_clock_names_the_run() -> None:
    assert run_id({}, NOW) == "2026-01-02_03-04-05"


def test_torchrun_without_identity_is_refused() -> None:
    with pytest.raises(ValueError, match="Pass torchrun --rdzv-id"):
        run_id({"TORCHELASTIC_RUN_ID": "none"}, NOW)


def test_folder_holds_what_reproduces_the_run(tmp_path: Path) -> None:
    assert write_run_folder(config(tmp_path / "run"), ["seed=0"]) == []
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {"config.yaml", "overrides.yaml", "git.txt", "versions.json", "command.txt"}
    assert (
        tmp_path / "run/git.txt"
    ).stat().st_mode & 0o077 == 0  # what is not committed is the owner's to read


def test_resume_may_change_its_length_but_not_what_it_is(tmp_path: Path) -> None:
    write_run_folder(config(tmp_path), [])
    write_torch(tmp_path / "checkpoints" / "last.ckpt", {"global_step": 10})
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoints" / "last.ckpt"
    longer = config(tmp_path, trainer={"max_steps": 20})
    assert write_run_folder(longer, []) == ["trainer.max_steps: 10 -> 20"]
    with pytest.raises(ValueError, match=r"another configuration.*seed: 0 -> 1.*another run_dir"):
        write_run_folder(config(tmp_path, seed=1, trainer={"max_steps": 20}), [])


def test_changed_keys_names_absent_ones() -> None:
    assert changed_keys(
        OmegaConf.create({"a": 1, "b": {"c": 2}}), OmegaConf.create({"a": 1, "b": {"d": 2}})
    ) == [
        "b.c: 2 -> absent",
        "b.d: absent -> 2",
    ]


def test_step_of_reads_the_checkpoint(tmp_path: Path) -> None:
    torch.save({"global_step": 12, "state_dict": {"w": torch.zeros(3)}}, tmp_path / "last.ckpt")
    assert step_of(tmp_path / "last.ckpt") == 12
    assert step_of(None) == 0


def test_outside_a_checkout_the_version_is_named(tmp_path: Path) -> None:
    assert git_state(tmp_path) == (f"v{__version__}", "")


def test_the_checkout_around_an_installed_package_is_not_its_own(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    installed = tmp_path / "site-packages"
    installed.mkdir()
    assert git_state(installed) == (f"v{__version__}", "")


def test_a_run_is_not_continued_on_other_data(tmp_path: Path) -> None:
    check_same_data(tmp_path, "tabletop", "aaaa", write=True)
    check_same_data(tmp_path, "tabletop", "bbbb", write=True)  # nothing was trained yet
    write_torch(tmp_path / "checkpoints" / "last.ckpt", {"global_step": 10})
    check_same_data(tmp_path, "tabletop", "bbbb", write=False)
    with pytest.raises(
        ValueError, match=r"trained on data bbbb in frame tabletop; data\.store now holds cccc"
    ):
        check_same_data(tmp_path, "tabletop", "cccc", write=False)


def test_a_folder_that_moved_has_the_same_configuration(tmp_path: Path) -> None:
    inside = {"callbacks": {"last": {"path": "${run_dir}/checkpoints/last.ckpt"}}}
    write_run_folder(config(tmp_path / "here", **inside), [])
    write_torch(tmp_path / "here" / "checkpoints" / "last.ckpt", {"global_step": 10})
    (tmp_path / "here").rename(tmp_path / "there")
    assert write_run_folder(config(tmp_path / "there", **inside), []) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", r"expected a JSON object, got list"),
        ('{"frame": "camera", "data_h', r"is no JSON .*a text of 27 bytes"),
        ("{}", r"expected frame, data_hash, got nothing"),
        ("", r"it is empty"),
    ],
)
def test_a_damaged_data_json_is_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    write_torch(tmp_path / "checkpoints" / "last.ckpt", {"global_step": 10})
    (tmp_path / "data.json").write_text(content)
    with pytest.raises(ValueError, match=rf"data\.json.*{words}.*Remove it") as caught:
        check_same_data(tmp_path, "camera", "abc", write=False)
    assert str(tmp_path) in str(caught.value)
