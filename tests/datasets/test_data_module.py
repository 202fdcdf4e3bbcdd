"""Are batches the same whatever loads them, and is a run that stops continued where it was?"""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor

from factories.data_module import assert_equal, epochs, module
from factories.records import CLAIMED, claimed, scene_record, writer
from factories.stores import edited
from sceneleapultra.datasets.items.phases import Phase
from sceneleapultra.datasets.items.sampler import epoch_order
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR, build


def test_batches_are_typed_and_complete(finished_store: Path) -> None:
    data = module(finished_store)
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, GraspBatch) and batch.size == 4
    assert batch.scene_pc.shape == (4, 100, 3) and batch.scene_pc.dtype == torch.float32
    assert batch.hand_pose is not None and batch.hand_pose.shape == (4, 6, 23)
    assert batch.grasp_success is not None and batch.grasp_success.tolist() == [[True] * 4 + [False] * 2] * 4
    assert all(name.startswith("train-") for name in batch.object_name)
    assert len(set(batch.item_index)) == 4
    assert data.frame == "tabletop"
    assert data.data_hash == data.store.content_hash


@pytest.mark.parametrize("num_workers", [0, 1])
def test_families_are_prompts(finished_store: Path, num_workers: int) -> None:
    """The target's family is said, the other families of its scene are what it is not."""
    data = module(finished_store, prompt="category", workers=num_workers)
    names = dict(zip(data.store.object_names, data.store.object_families, strict=True))
    for batch in data.train_dataloader():
        assert batch.positive_prompt == tuple(names[name] for name in batch.object_name)
        for own, others in zip(batch.positive_prompt, batch.negative_prompts, strict=True):
            assert own not in others and set(others) <= set(names.values())
    assert next(iter(module(finished_store).train_dataloader())).positive_prompt == ()


@pytest.mark.parametrize("workers", [1, 2])
def test_loading_processes_change_nothing(finished_store: Path, workers: int) -> None:
    """Two epochs, so that processes that stay alive must learn of the new one."""
    alone = epochs(module(finished_store).train_dataloader(), 2)
    assert_equal(alone, epochs(module(finished_store, workers=workers).train_dataloader(), 2))


def test_memory_changes_nothing(finished_store: Path) -> None:
    remembered = epochs(module(finished_store).train_dataloader(), 2)
    assert_equal(remembered, epochs(module(finished_store, cache_mb=0).train_dataloader(), 2))


def one(data: Any, epoch: int, position: int) -> GraspBatch:
    batch, _ = data[epoch, position]
    return batch


def test_an_item_is_new_in_each_epoch_and_the_same_in_each_run(finished_store: Path) -> None:
    data = module(finished_store).dataset("train", augment=True)
    first, again, later = one(data, 0, 3), one(data, 0, 3), one(data, 1, 3)
    assert_equal([first], [again])
    assert first.item_index == later.item_index
    assert not torch.equal(first.scene_pc, later.scene_pc)
    assert not torch.equal(first.squeeze_qpos, later.squeeze_qpos)  # type: ignore[arg-type]
    other = one(module(finished_store, seed=1).dataset("train", augment=True), 0, 3)
    assert not torch.equal(first.scene_pc, other.scene_pc)


def test_an_item_does_not_depend_on_its_batch(finished_store: Path) -> None:
    data = module(finished_store).dataset("train", augment=True)
    batch, _ = data.__getitems__([(2, 5), (2, 3), (2, 8)])
    assert batch is not None
    for name in ("scene_pc", "hand_pose", "T_world_frame", "squeeze_qpos"):
        assert torch.equal(getattr(batch, name)[1], getattr(one(data, 2, 3), name)[0]), name


def test_augmented_here_or_on_the_device_is_the_same(finished_store: Path) -> None:
    here = next(iter(module(finished_store).train_dataloader()))
    there = module(finished_store, augment_on="device")
    plain = next(iter(there.train_dataloader()))
    assert not torch.equal(plain.scene_pc, here.scene_pc)
    assert_equal([there.on_after_batch_transfer(plain, 0)], [here])
    validation = next(iter(there.val_dataloader()))
    assert there.on_after_batch_transfer(validation, 0) is validation


@pytest.mark.parametrize(
    "partition", ["sequential", "random", "interleaved", "farthest_point", "nearest_point"]
)
def test_a_pass_over_chunks_holds_every_grasp_once(finished_store: Path, partition: str) -> None:
    """Six successes an object, four places: two chunks of four and two; 24 targets in views become 48 items."""
    data = module(finished_store, partition=partition, augment={}).dataset("train", augment=True)
    assert len(data) == 48
    for epoch in (0, 1):
        batches = [one(data, epoch, i) for i in range(len(data))]
        assert len({b.item_index for b in batches}) == 48
        drawn: dict[tuple[str, float], list[Any]] = {}
        for b in batches:
            assert b.grasp_success is not None and b.squeeze_qpos is not None
            rows = b.squeeze_qpos[b.grasp_success].tolist()
            assert len(rows) in (2, 4)
            drawn.setdefault((b.object_name[0], float(b.scene_pc.sum())), []).extend(map(tuple, rows))
        assert len(drawn) == 24
        assert all(len(rows) == len(set(rows)) == 6 for rows in drawn.values())


def test_chunks_are_shuffled_anew_where_they_are_random(finished_store: Path) -> None:
    def first(partition: str, epoch: int) -> Tensor:
        data = module(finished_store, partition=partition, augment={}).dataset("train", augment=True)
        drawn = one(data, epoch, 0).squeeze_qpos
        assert drawn is not None
        return drawn[0, :4].sort(0)[0]

    assert not torch.equal(first("random", 0), first("random", 1))
    assert torch.equal(first("interleaved", 0), first("interleaved", 1))


@pytest.mark.parametrize(
    ("split", "names"), [("val", ["val"]), ("test", ["test"]), ("test_family", ["test_family"])]
)
def test_judging_splits_are_served_in_order_and_as_they_are(
    finished_store: Path, split: str, names: list[str]
) -> None:
    data = module(finished_store)
    loaders = {"val": data.val_dataloader(), **dict(zip(("test", "test_family"), data.test_dataloader()))}  # noqa: B905
    served = epochs(loaders[split], 1)
    index = [i for batch in served for i in batch.item_index]
    assert index == sorted(index) and len(index) == 2 * 2 * 2  # scenes, objects, views
    assert {name.split("-")[0] for batch in served for name in batch.object_name} == set(names)
    assert all(torch.equal(b.T_world_frame[:, :3, :3], torch.eye(3).expand(4, 3, 3)) for b in served)
    assert_equal(served, epochs(loaders[split], 1))


class Recorder(pl.LightningModule):
    """Remembers which items it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[tuple[tuple[int, ...], float]] = []

    def training_step(self, batch: GraspBatch, _: int) -> Tensor:
        self.seen.append((batch.item_index, float(batch.scene_pc.sum())))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    store: Path,
    max_steps: int,
    folder: Path,
    resume: Path | None = None,
    *,
    progressive: tuple[Phase, ...] = (),
    **changes: Any,
) -> Recorder:
    recorder = Recorder()
    trainer = pl.Trainer(
        max_steps=max_steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        limit_val_batches=0,
        default_root_dir=folder,
        **changes,
    )
    trainer.fit(recorder, datamodule=module(store, progressive=progressive), ckpt_path=resume)
    trainer.save_checkpoint(folder / f"{max_steps}.ckpt")
    return recorder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [2, 6, 8])
def test_a_stopped_run_continues_with_the_next_batch(
    finished_store: Path, tmp_path: Path, first: int
) -> None:
    """24 training items in batches of 4: epochs of 6 steps; the run stops within, at the end of, and after one."""
    whole = fit(finished_store, 14, tmp_path).seen
    begun = fit(finished_store, first, tmp_path).seen
    rest = fit(finished_store, 14, tmp_path, resume=tmp_path / f"{first}.ckpt").seen
    assert begun + rest == whole


@pytest.mark.filterwarnings("ignore")
def test_a_stopped_run_with_accumulated_gradients(finished_store: Path, tmp_path: Path) -> None:
    """Two batches per step."""
    whole = fit(finished_store, 7, tmp_path, accumulate_grad_batches=2).seen
    begun = fit(finished_store, 4, tmp_path, accumulate_grad_batches=2).seen
    resume = tmp_path / "4.ckpt"
    rest = fit(finished_store, 7, tmp_path, resume=resume, accumulate_grad_batches=2).seen
    assert len(whole) == 14 and begun + rest == whole


PHASES = (Phase(steps=4, batch_size=8, points=50), Phase(steps=3, batch_size=2, points=70))


def test_a_phase_serves_the_first_points_of_more_scenes(finished_store: Path) -> None:
    """24 items: an epoch of three batches of 8 and the first of the next, three batches of 2, then six of 4."""
    plain = module(finished_store, augment={})
    batches = epochs(module(finished_store, augment={}, progressive=PHASES).train_dataloader(), 4)
    assert [(b.size, b.scene_pc.shape[1]) for b in batches] == [(8, 50)] * 4 + [(2, 70)] * 3 + [(4, 100)] * 6
    whole = plain.dataset("train", augment=True)
    first, _ = whole.__getitems__([(0, int(i)) for i in epoch_order(24, 0, 0)[:8]])
    assert_equal([batches[0]], [first.points(50)])
    last, _ = whole.__getitems__([(3, int(i)) for i in epoch_order(24, 0, 3)[:4]])
    assert_equal([batches[7]], [last])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [2, 4, 5, 7, 9])
def test_a_stopped_run_continues_within_its_phase(finished_store: Path, tmp_path: Path, first: int) -> None:
    whole = fit(finished_store, 16, tmp_path, progressive=PHASES).seen
    assert [len(items) for items, _ in whole] == [8] * 4 + [2] * 3 + [4] * 9
    begun = fit(finished_store, first, tmp_path, progressive=PHASES).seen
    resume = tmp_path / f"{first}.ckpt"
    assert begun + fit(finished_store, 16, tmp_path, resume, progressive=PHASES).seen == whole


def test_a_store_of_another_hand(store_path: Path) -> None:
    with edited(store_path) as file:
        file.attrs["hand_name"] = "allegro_right"
    with pytest.raises(ValueError, match=r"holds grasps of hand 'allegro_right', the configuration asks for"):
        module(store_path).setup("fit")


def test_a_split_with_nothing_to_learn(tmp_path: Path) -> None:
    w = writer(tmp_path / "s.h5")
    w.write(scene_record(0))
    data = module(w.finish(), batch_size=1)
    with pytest.raises(ValueError, match=r"has no item of split 'val' with a grasp that held"):
        data.val_dataloader()
    strict = module(data.path, batch_size=1, min_robustness=1.0)
    with pytest.raises(
        ValueError, match=r"data\.grasps\.min_robustness=1 and data\.grasps\.min_clearance_m=0, where"
    ):
        strict.train_dataloader()


def test_a_batch_larger_than_the_store(finished_store: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.batch_size=32 on 1 processes needs 32 training items"):
        module(finished_store, batch_size=32).train_dataloader()


@pytest.mark.parametrize("fraction", [-0.1, 1.5])
def test_a_share_of_bad_items_is_a_share(finished_store: Path, fraction: float) -> None:
    with pytest.raises(
        ValueError, match=rf"data\.loading\.max_bad_fraction: expected 0 to 1, got {fraction}\."
    ):
        module(finished_store, max_bad_fraction=fraction)


@pytest.mark.parametrize("key", ["batch_size", "min_points"])
def test_counts_start_at_one(finished_store: Path, key: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.{key}: expected at least 1, got 0\."):
        module(finished_store, **{key: 0})


def test_a_second_setup_keeps_the_store(finished_store: Path) -> None:
    data = module(finished_store)
    data.setup("fit")
    store = data.store
    data.setup("test")
    assert data.store is store


def test_foreign_data_needs_its_folder(finished_store: Path) -> None:
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        conversion = build(compose("convert", overrides=["conversion=bodex"]).conversion)
    with pytest.raises(ValueError, match=r"data\.root: a value is required, bodex is a foreign format"):
        module(finished_store, conversion=conversion)


def test_a_store_without_squeezes_is_refused(tmp_path: Path) -> None:
    w = writer(tmp_path / "s.h5", origin=CLAIMED)
    w.write(claimed(scene_record(0)))
    with pytest.raises(ValueError, match=r"converted from data without squeeze_qpos, which a model learns"):
        module(w.finish()).setup("fit")
