"""Is every mistake on a command line answered by one sentence, before anything is loaded?"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trimesh
from omegaconf import DictConfig, OmegaConf

from sceneleapultra.simulation.objects.decomposition import convex_pieces, default_cache
from sceneleapultra.utils.core.cli import hydra_program
from sceneleapultra.utils.core.console import exit_on_user_error
from sceneleapultra.utils.core.locks import owned_folder

pytestmark = pytest.mark.faults
ENCODERS = "fpn, pointnet2, pointnet2_medium, pointnet2_predecessor, pointnet2_small, pointnet_lite, ptv3, ptv3_light"

MISTAKES = [
    ("config", ["trainer.max_step=10"], "Unknown key 'trainer.max_step'. Did you mean 'trainer.max_steps'?"),
    ("config", ["modle=grasp_dit"], "Unknown key 'modle'. Did you mean 'model'?"),
    (
        "config",
        ["model/generator/encodr=fpn"],
        "Unknown key 'model/generator/encodr'. Did you mean 'model/generator/encoder'?",
    ),
    ("config", ["zebra=1"], "Unknown key 'zebra'."),
    (
        "config",
        ["optimizer=null"],
        "optimizer=null: this group needs one of its options, adamw. Leave it out for the one by default.",
    ),
    (
        "config",
        ["seed=1", "a.b=1", "trainer.max_step=3"],
        "Unknown key 'a.b'.\nUnknown key 'trainer.max_step'.",
    ),
    (
        "config",
        ["experiment=quickstrat"],
        "Unknown experiment 'quickstrat'. Did you mean 'quickstart'? Available: completion, "
        "completion_consistency, completion_latent, completion_vae, grasp_latent, grasp_vae, leap_table, "
        "leap_table_cpu, leap_table_own, part_prompts, quickstart.",
    ),
    (
        "config",
        ["model/generator/encoder=pointnet"],
        f"Unknown model/generator/encoder 'pointnet'. Did you mean 'pointnet2'? Available: {ENCODERS}.",
    ),
    ("config", ["hand=leap_rihgt"], "Unknown hand 'leap_rihgt'. Did you mean 'leap_right'?"),
    ("generate", ["hand=my/leap.urdf"], "hand=my/leap.urdf is a hand's own file"),
    (
        "config",
        ["protocol=dgb-fc"],
        "This program has no group 'protocol'. Its groups: callbacks, data, debug,",
    ),
    ("config", ["quickstart"], "'quickstart' is no key=value. Did you mean experiment=quickstart?"),
    ("config", ["now"], "'now' is no key=value."),
    (
        "config",
        ["data.store=a,b.h5"],
        "data.store=a,b.h5: commas separate the values of several runs, which -m starts. A list is written "
        "'data.store=[a,b.h5]', a name with a comma 'data.store=\"a,b.h5\"'",
    ),
    (
        "config",
        ["data.store=a=b.h5"],
        "data.store=a=b.h5: some of its characters mean something else to Hydra. Quote the value twice: "
        "'data.store=\"a=b.h5\"'",
    ),
    ("config", ["data.store=a(1).h5"], "Quote the value twice: 'data.store=\"a(1).h5\"'"),
    ("config", ["~callbacks.foo"], "Could not delete from config. 'callbacks.foo' does not exist."),
    ("config", ["+seed=1"], "Could not append to config. An item is already at 'seed'."),
    ("config", ["--resolve"], "The --resolve flag can only be used in conjunction with --cfg or --help."),
    ("config", ["seed=${nowhere}"], "model.objective.seed: Interpolation key 'nowhere' not found."),
    ("test", [], "checkpoint: a value is required. Pass checkpoint=<value>."),
    ("convert", [], "dest, source: a value is required. Pass dest=<value> source=<value>."),
    (
        "test",
        ["checkpoint=runs/…/best.ckpt"],
        "checkpoint=runs/…/best.ckpt: the dots stand for a name of yours. Write the path as it is on this machine.",
    ),
    (
        "test",
        ["checkpoint=x", "protocol=dgb-cf"],
        "Unknown protocol 'dgb-cf'. Did you mean 'dgb-fc'? Available: ",
    ),
    ("generate", ["dataset=quikc"], "Unknown dataset 'quikc'. Did you mean 'quick'?"),
    ("generate", ["synthesis=simclose"], "Unknown synthesis 'simclose'. Did you mean 'sim_close'?"),
    ("convert", ["conversion=bodx"], "Unknown conversion 'bodx'. Did you mean 'bodex'?"),
    ("self_training", ["protocol=dgb-cf"], "Unknown protocol 'dgb-cf'. Did you mean 'dgb-fc'?"),
    ("compute_statistics", ["statistcs=a"], "Unknown key 'statistcs'. Did you mean 'statistics'?"),
]


def program(root: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a program that does nothing but read every value of its configuration; return its exit status."""

    @hydra_program(root)
    def main(cfg: DictConfig) -> None:
        OmegaConf.to_container(cfg, resolve=True)

    monkeypatch.setattr(sys, "argv", ["program.py", *words])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


@pytest.mark.parametrize(("root", "words", "sentence"), MISTAKES)
def test_a_mistake_on_the_command_line_is_one_sentence(
    root: str,
    words: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program(root, words, monkeypatch) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(sentence) or sentence in said.err.splitlines()[0]
    assert len(said.err.splitlines()) == max(1, len(sentence.splitlines()))


def test_a_setting_with_dashes_is_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program("config", ["--experiment", "quickstart", "--help"], monkeypatch) == 2
    said = capsys.readouterr().err
    assert said == "Unknown flag --experiment. Settings are written without dashes: experiment=<value>.\n"


def test_the_trace_is_shown_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="Could not find 'experiment/quickstrat'"):
        program("config", ["experiment=quickstrat"], monkeypatch)


def test_a_defect_of_the_program_keeps_its_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @hydra_program("test")
    def main(cfg: DictConfig) -> None:
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(sys, "argv", ["program.py", "checkpoint=x"])
    with pytest.raises(ZeroDivisionError):
        main()


PLACES = [
    ("generate_dataset", ["scenes=2", "path={place}/a.h5"]),
    ("convert_dataset", ["source={store}", "dest={place}/a.h5"]),
    ("self_train_data", ["checkpoint=leap_table", "store={store}", "output={place}/a.h5"]),
    ("export_dataset", ["{store}", "{place}/out", "--format", "sceneleapplus"]),
    ("inspect_dataset", ["{store}", "--html", "{place}/a.html"]),
]


@pytest.mark.parametrize(("name", "words"), PLACES, ids=[name for name, _ in PLACES])
@pytest.mark.parametrize("place", ["a file", "not a place"])
def test_a_place_that_cannot_be_written_is_one_sentence(
    tiny_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run_program: Callable[..., int],
    name: str,
    words: list[str],
    place: str,
) -> None:
    (tmp_path / "file").touch()
    where = tmp_path / "file" if place == "a file" else Path("/proc/nowhere")
    assert run_program(name, *(word.format(store=tiny_store, place=where) for word in words)) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and str(where) in said[0], said
    assert ": there is no such" in said[0] or "where a folder" in said[0]


def test_a_cache_that_cannot_be_written_says_how_to_move_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").touch()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    box = trimesh.creation.box((0.05, 0.05, 0.05))
    with pytest.raises(SystemExit), exit_on_user_error():
        convex_pieces(box.vertices, box.faces, "box", default_cache())
    assert capsys.readouterr().err == (
        f"Convex pieces of meshes are kept in {tmp_path}/home/.cache/sceneleapultra/convex_pieces, which cannot be "
        "written (Not a directory). Set XDG_CACHE_HOME to a folder that can.\n"
    )


NO_STORE = "no store at none.h5. Make it with: "
BEFORE_TORCH = [
    (["train_lightning.py", "data.store=none.h5"], f"data.store: {NO_STORE}"),
    (
        ["train_lightning.py", "hardware=cpu", "data.store={store}", "run_dir=run"],
        "run is in use: run/lock is held by ",
    ),
    (
        ["train_lightning.py", "hardware=cpu", "data.store={store}", "trainer.max_steps=0"],
        "trainer.max_steps=0: ",
    ),
    (["test_lightning.py", "checkpoint=none.ckpt"], "No checkpoint at none.ckpt. "),
    (["test_lightning.py", "checkpoint=leap_table", "store=none.h5", "output=out"], f"store: {NO_STORE}"),
    (
        ["scripts/self_train_data.py", "checkpoint=leap_table", "store=none.h5", "output=own.h5"],
        f"store: {NO_STORE}",
    ),
    (["scripts/compute_statistics.py", "data.store=none.h5"], f"data.store: {NO_STORE}"),
    (["scripts/inspect_dataset.py", "none.h5"], f"There is {NO_STORE}"),
    (["scripts/store.py", "verify", "none.h5"], f"There is {NO_STORE}"),
]


@pytest.mark.parametrize(("words", "sentence"), BEFORE_TORCH, ids=lambda value: "".join(value)[:40])
def test_what_needs_no_torch_is_answered_before_it_is_imported(
    tmp_path: Path, tiny_store: Path, words: list[str], sentence: str
) -> None:
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison/torch.py").write_text("raise ZeroDivisionError('torch was imported')")
    root = Path(__file__).resolve().parents[2]
    with owned_folder(tmp_path / "run", doing="training", remedy=""):
        done = subprocess.run(
            [sys.executable, str(root / words[0]), *(word.format(store=tiny_store) for word in words[1:])],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}/poison:{root}", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(sentence), done.stderr
    assert "torch" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["poison", "run"]
