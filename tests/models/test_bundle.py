"""Is a bundle the model it was made of, and is every other folder refused by a sentence?"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from factories.bundles import change
from factories.models import small_cvae, small_encoder, small_generator
from factories.shipped import LEAP_TABLE_CPU
from factories.views import CLOUD, cloud, sample
from sceneleapultra.evaluation.provenance import file_hash
from sceneleapultra.hands import load_hand
from sceneleapultra.models import GraspModel, load_grasp_model
from sceneleapultra.models.bundle.card import hand_card
from sceneleapultra.models.bundle.manifest import MANIFEST, new_bundle, read_manifest
from sceneleapultra.models.bundle.parts import WEIGHTS
from sceneleapultra.models.bundle.probe import check_probe, probe_request
from sceneleapultra.models.bundle.write import write_bundle
from sceneleapultra.models.checkpoints.init import start_from
from sceneleapultra.models.checkpoints.load import load_generator
from sceneleapultra.utils.requests import GraspRequest, Target

SHIPPED = str(LEAP_TABLE_CPU)


def request() -> GraspRequest:
    points, mask = cloud(1500)
    return GraspRequest.from_points(
        points, target=Target(mask=mask), up=(0.0, 0.0, 1.0), viewpoint=(0.5, 0.0, 0.5)
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "leap"
    write_bundle(load_grasp_model(SHIPPED), request(), folder)
    return folder


@pytest.fixture
def bundle(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def refused(bundle: Path) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load_grasp_model(bundle)
    return str(error.value)


def test_it_makes_the_same_grasps_bit_for_bit(bundle: Path) -> None:
    points, mask = cloud(1500)
    one, two = (sample(load_grasp_model(path), points, mask) for path in (SHIPPED, bundle))
    for name in ("hand_pose", "pregrasp_qpos", "squeeze_qpos", "score", "clearance_m"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.warnings == two.warnings


def test_a_bundle_is_taken_wherever_a_checkpoint_is(bundle: Path) -> None:
    """Training starts from it, and results name it by a hash of all that is in it."""
    generator = load_generator(SHIPPED)[0]
    torch.nn.init.zeros_(generator.decoder.out.weight)
    start_from(generator, bundle, frame="tabletop")
    assert torch.equal(generator.decoder.out.weight, load_generator(SHIPPED)[0].decoder.out.weight)
    before = file_hash(bundle)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][WEIGHTS]["sha256"] = "0" * 64
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    assert file_hash(bundle) != before


def test_the_normalizer_and_the_views_survive_bit_for_bit(bundle: Path) -> None:
    one, two = (load_grasp_model(path) for path in (SHIPPED, bundle))
    states = [model.generator.state_dict() for model in (one, two)]
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert (
            (value == states[1][key])
            if key.endswith("_extra_state")
            else bool((value == states[1][key]).all())
        ), key
    assert (one.frame, one.data_hash, one.views) == (two.frame, two.data_hash, two.views)


def test_it_can_be_exported_again(bundle: Path, tmp_path: Path) -> None:
    write_bundle(load_grasp_model(bundle), request(), tmp_path / "again")
    one, two = (read_manifest(folder)["files"] for folder in (bundle, tmp_path / "again"))
    assert {name: entry["sha256"] for name, entry in one.items() if name != "probe.npz"} == {
        name: entry["sha256"] for name, entry in two.items() if name != "probe.npz"
    }


def test_the_card_tells_what_a_robot_needs(bundle: Path) -> None:
    card = json.loads((bundle / "hand.json").read_text())
    hand = load_grasp_model(SHIPPED).hand
    assert [joint["name"] for joint in card["joints"]] == list(hand.joint_names)
    assert card["frame"] == hand.root_body and card["description_hash"] == hand.table_hash
    limits = np.array([[joint["lower"], joint["upper"]] for joint in card["joints"]])
    np.testing.assert_allclose(limits, hand.joint_limits.numpy(), atol=1e-7)
    assert (limits[:, 0] < limits[:, 1]).all() and 0.1 < card["span_m"] < 0.5
    assert np.linalg.norm(card["palm_direction"]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "config.json", "normalizer.json", "hand.json", "probe.npz"]
)
def test_a_changed_byte_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(bytes(content))
    assert f"{name} is not the file that was written" in refused(bundle)


def test_missing_and_short_files_are_refused(bundle: Path) -> None:
    path = bundle / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert "were written" in refused(bundle)
    path.unlink()
    assert "weights.safetensors is missing" in refused(bundle)


def test_a_folder_that_is_none_and_a_later_version_are_refused(bundle: Path, tmp_path: Path) -> None:
    assert "No checkpoint at" in refused(tmp_path / "nothing.here")
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    assert "version 99, this program reads up to 2" in refused(bundle)
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "checkpoint_version": 99}))
    assert "version 99" in refused(bundle)
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "files": {"../x": {}}}))
    assert "no file of the folder" in refused(bundle)
    (bundle / "manifest.json").write_text("{")
    assert "is no JSON" in refused(bundle)


def test_another_hand_is_refused(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["hand"]["description_hash"] = "0123456789abcdef"
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert "another description of hand 'leap_right'" in refused(bundle)


def test_whole_files_of_a_model_that_computes_otherwise_are_refused_by_the_probe(bundle: Path) -> None:
    weights = safetensors.numpy.load_file(bundle / "weights.safetensors")
    weights["decoder.out.bias"] = weights["decoder.out.bias"] + 0.5
    change(bundle, "weights.safetensors", safetensors.numpy.save(weights))
    assert "does not make the grasps that its probe.npz holds" in refused(bundle)


def test_what_it_is_built_of_is_looked_at_before_anything_is_built(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["generator"]["encoder"]["_target_"] = "os.system"
    change(bundle, "config.json", json.dumps(config).encode())
    assert "was made to run something" in refused(bundle)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full"), new_bundle(tmp_path / "bundle", {}) as folder:
        (folder / "weights").write_bytes(b"1")
        raise OSError("full")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(bundle: Path) -> None:
    with pytest.raises(FileExistsError, match="is there already"):
        write_bundle(load_grasp_model(SHIPPED), request(), bundle)


def test_the_probe_of_a_cvae_and_of_a_model_with_colors_are_sampled_as_they_can_be(tmp_path: Path) -> None:
    made = {"cvae": small_cvae().generator, "color": small_generator(encoder=small_encoder(use_color=True))}
    for name, generator in made.items():
        model = GraspModel(generator=generator, cloud_settings=CLOUD)
        write_bundle(model, probe_request(request()), tmp_path / name)
        check_probe(model, tmp_path / name)
        with np.load(tmp_path / name / "probe.npz") as probe:
            assert ("rgb" in probe.files) == (name == "color") and probe["hand_pose"].shape == (8, 23)


def test_the_program_writes_one_and_answers_for_a_data_set(run_program, tmp_path: Path, capsys) -> None:
    assert run_program("export_model", SHIPPED, tmp_path / "bundle") == 0
    assert "read back" in capsys.readouterr().out
    assert run_program("export_model", SHIPPED, tmp_path / "bundle") == 1
    assert run_program("export_model", "data/quick.h5", tmp_path / "x") == 1
    assert "is a data set" in capsys.readouterr().err


def test_the_card_of_a_bundle_says_units():
    gripper, leap = hand_card(load_hand("parallel_gripper")), hand_card(load_hand("leap_right"))
    assert [joint["unit"] for joint in gripper["joints"]] == ["m"]
    assert {joint["unit"] for joint in leap["joints"]} == {"rad"}
    assert gripper["servo"]["kp_n_per_m"] == pytest.approx(3.0 / 0.05**2)
    assert "kp_n_per_m" not in leap["servo"]
