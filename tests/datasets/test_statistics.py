"""Are the statistics of poses right, robust to a stray grasp, and refused where they do not belong?"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from records_under_test import leap
from test_data_module import module

from datasets.statistics import describe, labels, packed_successes, read_statistics, write_statistics
from hands import GraspPose
from scripts.compute_statistics import main


def test_a_stray_value_does_not_stretch_the_range() -> None:
    """0 to 999 and one million: half a percent below 4.995 (0.005 * 1000 gaps), 99.5 % at 995; the extreme is kept."""
    values = np.r_[np.arange(1000.0), 1e6][:, None]
    found = describe(values, ["x"])["x"]
    assert found["low"] == pytest.approx(5.0) and found["high"] == pytest.approx(995.0)
    assert (found["min"], found["max"]) == (0.0, 1e6)


def test_only_successes_in_the_frame_of_their_items(finished_store: Path) -> None:
    batches = list(module(finished_store, augment={}).train_dataloader())
    found = packed_successes(batches)
    assert found.shape == (sum(int(b.grasp_success.sum()) for b in batches), 25)
    first = GraspPose.from_hand_pose(batches[0].hand_pose[0, :1]).pack().double().numpy()
    np.testing.assert_allclose(found[:1], first)
    assert len(labels(leap().joint_names)) == 25


def test_written_statistics_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    document = {"data_hash": "abc", "modes": {"tabletop": {"numbers": {"x": {"low": 0.0}}}}}
    write_statistics(path, document)
    assert read_statistics(path, data_hash="abc", mode="tabletop") == {"x": {"low": 0.0}}
    with pytest.raises(ValueError, match=r"describes data abc, asked for are those of other"):
        read_statistics(path, data_hash="other", mode="tabletop")
    with pytest.raises(ValueError, match=r"has modes tabletop, not 'object_centric'"):
        read_statistics(path, data_hash="abc", mode="object_centric")
    path.write_text(path.read_text().replace("0.0", "0.1"))
    with pytest.raises(ValueError, match="changed after it was written"):
        read_statistics(path, data_hash="abc", mode="tabletop")
    with pytest.raises(FileNotFoundError, match=r"compute_statistics\.py"):
        read_statistics(tmp_path / "none", data_hash="abc", mode="tabletop")


def test_the_command_measures_augmented_batches(
    tiny_store: Path, tiny_data: list[str], capsys, tmp_path
) -> None:
    """Turned about the vertical, the horizontal axes of the base have one range; unturned, each its own."""
    store = tmp_path / "tiny.h5"
    store.write_bytes(tiny_store.read_bytes())
    words = [
        f"data.store={store}",
        *tiny_data[1:],
        "data.batch_size=4",
        f"run_dir={tmp_path / 'run'}",
        "items=24",
    ]
    assert main([*words, "modes=[tabletop,camera_centric]"]) == 0
    content = json.loads(Path(f"{store}.statistics.json").read_text())
    turned = content["modes"]["tabletop"]["numbers"]
    assert turned["rot6d_0"]["low"] < -0.9 and turned["rot6d_0"]["high"] > 0.9
    assert content["modes"]["camera_centric"]["augment"]["tilt"]["max_deg"] == 10.0
    assert "camera_centric" in capsys.readouterr().out
    assert main([*words, "modes=[tabletop]", "check=true"]) == 0
    assert torch.tensor(content["modes"]["tabletop"]["grasps"]) > 20


def test_unknown_mode_names_the_nearest(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["modes=[tabeltop]"])
    assert "Did you mean 'tabletop'" in capsys.readouterr().err
