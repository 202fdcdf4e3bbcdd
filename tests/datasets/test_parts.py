"""Do parts come back from a store, and does an item asked for by a part hold the grasps on it?"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from factories.data_module import epochs, module
from factories.records import SPLITS, leap, scene_record, with_parts, writer
from sceneleapultra.datasets import GraspStore
from sceneleapultra.utils.parts import Part


@pytest.fixture(scope="module")
def parts_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    w = writer(tmp_path_factory.mktemp("parts") / "store.h5")
    for i, split in enumerate(SPLITS):
        w.write(with_parts(scene_record(i, split)))
    return w.finish()


def test_parts_come_back_and_change_no_hash(parts_store: Path, finished_store: Path) -> None:
    store, made = GraspStore(parts_store, hand=leap()), with_parts(scene_record(0))
    store.verify()
    assert store.has_parts and store.content_hash == GraspStore(finished_store).content_hash
    assert store.object(0).piece_part is not None and store.object(0).piece_part.tolist() == [Part.WALL]
    found = store.labeled(0, 0)
    np.testing.assert_array_equal(found.held_part, made.labeled[0].held_part)
    np.testing.assert_array_equal(found.touched_parts, made.labeled[0].touched_parts)
    assert (found.held_part.dtype, found.touched_parts.dtype) == (np.uint8, np.uint16)
    assert store.held_parts(0, 0) == [Part.RIM, Part.HANDLE] and store.held_parts(0, 1) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_an_items_grasps_are_on_the_part_of_its_prompt(parts_store: Path, workers: int) -> None:
    data = module(parts_store, prompt="part", workers=workers, number=4, failures=2, augment={})
    of_pose = {}
    for scene in range(data.store.num_scenes):
        for target in range(2):
            labeled = data.store.labeled(scene, target)
            of_pose |= dict(zip(labeled.grasps.squeeze_qpos[:, 0].tolist(), labeled.held_part, strict=True))
    words: Counter[str | None] = Counter()
    for batch in epochs(data.train_dataloader(), 3):
        words.update(batch.positive_prompt)
        assert batch.negative_prompts == ()
        for i, text in enumerate(batch.positive_prompt):
            squeeze = batch.squeeze_qpos[i, :4][batch.grasp_success[i, :4]]
            held = {Part(of_pose[q]) for q in squeeze[:, 0].tolist()}
            assert held == ({Part.UNNAMED} if text is None else {Part[text.split()[-1].upper()]})
    assert set(words) == {"by the handle", "by the rim", None}


def test_stores_without_parts_and_partitions_are_refused(finished_store: Path) -> None:
    with pytest.raises(ValueError, match=r"store.h5 names no part of its objects, .*objects.families="):
        module(finished_store, prompt="part").setup("fit")
    with pytest.raises(ValueError, match=r"data.prompt=part: .* Pass data.grasps.partition=null"):
        module(finished_store, prompt="part", partition="random")


def test_as_many_names_as_pieces(tmp_path: Path) -> None:
    record = with_parts(scene_record(0))
    wrong = replace(record.scene.objects[0], piece_part=np.zeros(3, np.uint8))
    scene = replace(record.scene, objects=(wrong, record.scene.objects[1]))
    with pytest.raises(ValueError, match="has 3 names for 1 pieces"):
        writer(tmp_path / "s.h5").write(replace(record, scene=scene))
