"""Can everything that grows be written outside the project? docs/extending.md is followed, in another folder."""

import ast
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra import initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from factories.models import losses_of, scene_batch, small_generator, small_module, small_objective
from factories.records import scene_record
from sceneleapultra import test_lightning, train_lightning
from sceneleapultra.datasets import StoreWriter
from sceneleapultra.datasets.augmentation import Augmentation
from sceneleapultra.hands import load_hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.objectives.states import HeadLoss
from sceneleapultra.utils.core import plugins
from sceneleapultra.utils.core.config import CONFIG_DIR, build

ROOT = CONFIG_DIR.parent
PAGE = ROOT / "docs" / "extending.md"
# Small data and few steps; nothing here names a plugin.
TRAIN = [
    *("experiment=quickstart", "logger=csv", "scheduler.warmup_steps=1", "scheduler.total_steps=4"),
    *("model.generator.decoder.dim=16", "model.generator.decoder.depth=1"),
    *("model.generator.heads.score.widths=[8,8]", "model.generator.heads.score.dim=16"),
    *("data.loading.workers=0", "data.cloud.num_points=256", "data.min_points=20", "data.batch_size=4"),
    *(
        "normalizer_scenes=8",
        "trainer.val_check_interval=4",
        "trainer.log_every_n_steps=1",
        "model.objective.anchors.reach=0.2",
    ),
]
TEST = [
    *("splits=[test]", "max_items=1", "samples_per_item=2", "top=null", "baselines=null", "pictures=0"),
    *("sampling.temperature=0.5", "min_points=20"),
]


def commands() -> list[list[str]]:
    """Return the overrides of the page's commands: of training, of testing."""
    (block,) = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
    found = [words[2:] for words in lines if words[0] == "python"]
    for words in found:
        at = words.index("--config-dir")
        words[at : at + 2] = [f"hydra.searchpath=[file://{words[at + 1]}]"]
    return found


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder outside the project that holds the page's package, on the path of imports."""
    with here(tmp_path):
        yield tmp_path


class here:
    """Stands in a folder with a copy of the page's files; forgets the package and its name behind."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.patch = folder, pytest.MonkeyPatch()

    def __enter__(self) -> Path:
        shutil.copytree(ROOT / "docs/extending", self.folder / "docs/extending", dirs_exist_ok=True)
        self.patch.chdir(self.folder)
        self.patch.syspath_prepend(self.folder / "docs/extending")
        return self.folder

    def __exit__(self, *_: object) -> None:
        self.patch.undo()
        forget()


def forget() -> None:
    """Leave the state of an interpreter in which no plugin was named."""
    plugins._named.clear()
    for name in [n for n in sys.modules if n.partition(".")[0] in ("my_plugin", "broken")]:
        del sys.modules[name]


def composed(root: str, words: list[str]) -> DictConfig:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return hydra.compose(root, overrides=words)


def my_hand(folder: Path) -> str:
    """Write the description of a hand of one's own: the LEAP hand with a joint that opens less far."""
    text = (ROOT / "hands/descriptions/leap_right.yaml").read_text()
    narrower = text.replace("name: leap_right", "name: my_hand").replace("[-0.314, 2.23]", "[-0.1, 2.0]", 1)
    assert narrower.count("my_hand") == 1 and narrower.count("[-0.1, 2.0]") == 1
    (folder / "my_hand.yaml").write_text(narrower)
    return "my_hand.yaml"


def run(folder: Path, *overrides: str) -> Any:
    """Train as the page says, in a folder."""
    words = [*commands()[0], *TRAIN, f"data.store={folder / 'mine.h5'}", *overrides]
    return train_lightning.train(composed("config", words), words)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hand, a store of its grasps, and a run of four steps."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with here(folder):
        settings = {"protocol": "dgb-fc-quick", "protocol_hash": "x", "generator": {"made": "up"}, "seed": 0}
        writer = StoreWriter(folder / "mine.h5", hand=load_hand(my_hand(folder)), **settings)
        for index, split in enumerate(["train"] * 4 + ["val", "test"]):
            writer.write(scene_record(index, split))
        writer.finish()
        trainer = run(folder, "trainer.max_steps=4")
        assert trainer.global_step == 4
        logged = trainer.logged_metrics
        assert {"train/rest", "train/robustness", "val/rest", "val/robustness"} <= set(logged)
        assert all(torch.isfinite(value) for value in logged.values())
    return folder


@pytest.fixture
def checkpoint(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)  # the hand's path is relative
    return trained / "runs/mine/checkpoints/last.ckpt"


def test_a_training_with_all_of_them_continues_bit_for_bit(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(trained / "my_hand.yaml", tmp_path)
    for steps in (2, 4):  # the same command
        run(trained, f"trainer.max_steps={steps}", f"run_dir={tmp_path / 'again'}")
    assert capsys.readouterr().out.endswith(".ckpt 'plugins=[my_plugin]'\n")  # the next command
    first, second = (
        torch.load(path / "checkpoints/last.ckpt", weights_only=True)
        for path in (trained / "runs/mine", tmp_path / "again")
    )
    for key in ("state_dict", "current_model_state", "optimizer_states"):
        assert_equal(first[key], second[key])
    assert first["global_step"] == second["global_step"] == 4


def assert_equal(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list | tuple):
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    elif isinstance(first, Tensor):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    else:
        assert first == second


def test_its_checkpoint_samples_where_the_plugin_is_named(checkpoint: Path) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["model_config"]["plugins"] == ["my_plugin"]
    model = load_grasp_model(checkpoint, plugins=["my_plugin"])
    kinds = (model.generator.encoder, model.generator.sampling.solver, model.generator.heads["robustness"])
    assert [type(kind).__module__ for kind in kinds] == [
        "my_plugin.encoder",
        "my_plugin.solver",
        "my_plugin.head",
    ]
    assert model.hand.name == "my_hand"
    made = model.generator.sample(scene_batch(2), 3, seeds=[0, 1])
    assert made.hand_pose.shape == (2, 3, 23) and torch.isfinite(made.hand_pose).all() and made.nfe == 4


def test_its_checkpoint_is_refused_where_the_plugin_is_not_named(checkpoint: Path) -> None:
    forget()
    with pytest.raises(
        ValueError, match=r"last\.ckpt is built from my_plugin\.\w+\.\w+, which is code outside"
    ) as told:
        load_grasp_model(checkpoint)
    assert str(told.value).endswith("pass plugins=[my_plugin].")
    assert "my_plugin.encoder" not in sys.modules  # nothing of it ran


def test_its_checkpoint_is_tested_as_the_page_says(checkpoint: Path, tmp_path: Path) -> None:
    words = [*commands()[1], *TEST, f"checkpoint={checkpoint}", f"output={tmp_path}"]
    (entry,) = test_lightning.test(composed("test", words))["methods"]
    assert entry["summary"]["protocol"] == "hang" and entry["summary"]["num_grasps"] == 2
    written = json.loads((tmp_path / "results.json").read_text())
    page = (tmp_path / "report.html").read_text()
    for key, help_text in (
        ("sag_mm", "How far the object sank."),
        ("palm_height_mm", "Height of the hand above the object."),
    ):
        assert isinstance(written["methods"][0]["summary"][key], float) and help_text in page
    assert "<h2>Which method holds most</h2><p>test: model</p>" in page.replace("\n", "")


def test_the_page_shows_what_is_in_the_files() -> None:
    sections = PAGE.read_text().split("\n## ")[1:]
    assert len(sections) == 10
    for section in sections[:-1]:  # a hand is data
        (linked,) = re.findall(r"\]\((extending/my_plugin/\w+\.py)\)", section)
        (shown,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
        wanted = statements(ast.parse(shown))
        bodies = [statements(node) for node in ast.walk(ast.parse((PAGE.parent / linked).read_text()))]
        assert any(body[i : i + len(wanted)] == wanted for body in bodies for i in range(len(body))), linked
    assert len(PAGE.read_text().splitlines()) <= 150


def statements(node: ast.AST) -> list[str]:
    """Return the statements of a body as what they mean, however their lines are broken."""
    body = getattr(node, "body", [])
    return [ast.dump(statement) for statement in body] if isinstance(body, list) else []


def test_the_solver_of_the_page_is_ddim() -> None:
    generator, batch = small_generator(), scene_batch(1)
    mine = build({"_target_": "my_plugin.solver.Jump", "steps": 4, "temperature": 1.0, "clip_x0": 4.0})
    first = generator.sample(batch, 3, seeds=[0])
    second = generator.sample(batch, 3, seeds=[0], sampling={"solver": mine})
    torch.testing.assert_close(first.hand_pose, second.hand_pose, rtol=1e-4, atol=1e-4)


def test_an_augmentation_of_ones_own_acts_last_under_its_own_name() -> None:
    settings = {"_target_": "my_plugin.augmentation.ViewpointError", "probability": 1.0, "sigma_m": 0.01}
    mine, hand = build(settings), load_hand("leap_right")
    yaw = {"probability": 1.0, "max_deg": 180.0}
    chain = Augmentation({"mine": mine, "yaw": yaw}, mode="tabletop", colors=False, hand=hand)
    assert list(chain.transforms) == ["yaw", "mine"]
    before = replace(scene_batch(3), draw_key=torch.arange(3))
    after = Augmentation({"mine": mine}, mode="tabletop", colors=False, hand=hand)(before)
    moved = (after.viewpoint - before.viewpoint).norm(dim=-1)
    assert (moved > 1e-4).all() and (moved < 0.06).all() and torch.equal(after.scene_pc, before.scene_pc)
    with pytest.raises(ValueError, match=r"data\.augment\.yaw is the name of the project's own transform"):
        Augmentation({"yaw": mine}, mode="tabletop", colors=False, hand=hand)


# What is wrong is said in one sentence.

BROKEN = """
from sceneleapultra.models.network.encoder.base import SceneEncoder
from sceneleapultra.models.network.heads.anchors import AnchorHead, AnchorHeadConfig
from sceneleapultra.models.objectives.term import LossTerm


class HalfEncoder(SceneEncoder):
    def __init__(self, *, dim: int) -> None:
        super().__init__()


class Wish(LossTerm):
    needs = ("touch",)

    def __call__(self, context):
        return context.touch


class Softness(AnchorHead):
    labels = ("softness",)


class SoftnessConfig(AnchorHeadConfig):
    def build(self, inputs):
        return Softness(inputs.dim_token)
"""


@pytest.fixture
def broken(elsewhere: Path) -> None:
    (elsewhere / "docs/extending/broken.py").write_text(BROKEN)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"_target_": "broken.HalfEncoder", "dim": 8},
            r"part: class HalfEncoder lacks method '?forward'?, which its base class declares",
        ),
        (
            {"_target_": "my_plugin.encoder.Secondpoints"},
            r"part: there is no my_plugin\.encoder\.Secondpoints to be",
        ),
        ({"_target_": "no_plugin.Encoder"}, r"part: there is no no_plugin\.Encoder to be built"),
        (
            {"_target_": "my_plugin.encoder.FirstPoints", "dim": "wide", "num_tokens": 8},
            r"part\.dim: .*integer",
        ),
        ({"_target_": "my_plugin.encoder.FirstPoints", "dim": 8}, r"part\.num_tokens: missing"),
    ],
)
def test_what_cannot_be_built(broken: None, config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as told:
        build(OmegaConf.create({"_target_": "builtins.dict", "part": config}))
    assert "\n" not in str(told.value)


def test_a_term_whose_needs_nobody_gives(broken: None) -> None:
    term = build({"_target_": "broken.Wish", "weight": 1.0})
    with pytest.raises(
        ValueError, match=r"model\.objective\.terms\.wish needs touch, which Denoising does not give"
    ):
        small_objective(terms={"wish": term})


def test_a_head_without_its_labels(broken: None) -> None:
    heads = {"anchors": build({"_target_": "broken.SoftnessConfig"})}
    objective = small_objective(terms={"anchors": HeadLoss(head="anchors", weight=1.0)})
    module = small_module(small_generator(heads=heads), objective)
    with pytest.raises(ValueError, match=r"heads\.anchors learns from softness, which the data have not"):
        losses_of(module, scene_batch(1))
