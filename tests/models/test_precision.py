"""Do weights in fewer bits stay near what they were, and does a bundle of them hold what was sampled with?"""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from factories.bundles import change
from factories.models import small_generator
from factories.shipped import LEAP_TABLE_CPU
from factories.views import cloud, sample
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.bundle.parts import WEIGHTS, Precision
from sceneleapultra.models.bundle.precision import SCALE, in_rows, restored, round_weights
from sceneleapultra.models.bundle.write import write_bundle
from sceneleapultra.utils.requests import GraspRequest, Target

LESS = {"bf16": 2, "int8": 4}  # times fewer bytes


def view() -> GraspRequest:
    points, mask = cloud(400)
    return GraspRequest.from_points(
        points, target=Target(mask=mask), up=(0.0, 0.0, 1.0), viewpoint=(0.5, 0.0, 0.5)
    )


@pytest.mark.parametrize("precision", LESS)
def test_weights_become_what_is_stored_and_stay_near_what_they_were(precision: Precision) -> None:
    generator = small_generator()
    before = {name: weight.detach().clone() for name, weight in generator.named_parameters()}
    stored = round_weights(generator, precision)
    again = restored(stored)
    changed = 0
    for name, weight in generator.named_parameters():
        if name not in stored:
            assert weight.dim() < 2 or len(weight) < 16
            assert torch.equal(weight, before[name]), name
            continue
        assert torch.equal(weight, again[name]), name
        error, rows = (weight - before[name]).abs().flatten(1), before[name].abs().flatten(1)
        if precision == "int8":  # half a step, and the largest weight of a row is kept
            assert (error <= 0.5001 * rows.amax(1, keepdim=True) / 127).all(), name
        else:
            assert (error <= 2.0**-8 * rows).all(), name
        changed += not torch.equal(weight, before[name])
    assert changed > 10
    assert round_weights(small_generator(), "float32") == {}


def test_rows_of_zeros_and_exact_ones_survive() -> None:
    weight = torch.zeros(16, 3)
    weight[1] = torch.tensor([-127.0, 64.0, 1.0]) / 8
    codes, scale = in_rows(weight)
    assert codes.dtype == torch.int8 and torch.equal(codes[1], torch.tensor([-127, 64, 1], dtype=torch.int8))
    assert torch.equal(restored({"w": codes, "w" + SCALE: scale})["w"], weight)


@pytest.mark.parametrize("precision", LESS)
def test_a_bundle_holds_them_and_makes_the_same_grasps(precision: Precision, tmp_path: Path) -> None:
    model, bundle = load_grasp_model(LEAP_TABLE_CPU), tmp_path / "bundle"
    parameters = [w for w in model.generator.parameters() if w.dim() > 1 and len(w) >= 16]
    whole = 4 * sum(w.numel() for w in model.generator.parameters())
    write_bundle(model, view(), bundle, precision=precision)
    saved = (4 - 4 / LESS[precision]) * sum(w.numel() for w in parameters)
    size = (bundle / WEIGHTS).stat().st_size
    assert size == pytest.approx(whole - saved, rel=0.15)  # names, buffers and scales are added
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert manifest["version"] == 2 and manifest["precision"] == precision
    one, two = (sample(m, *cloud(400)) for m in (model, load_grasp_model(bundle)))
    assert np.array_equal(one.hand_pose, two.hand_pose) and np.array_equal(one.score, two.score)
    if precision == "int8":
        weights = safetensors.numpy.load_file(bundle / WEIGHTS)
        name = next(key for key in weights if key.endswith(SCALE))
        weights[name] = weights[name][:-1]
        change(bundle, WEIGHTS, safetensors.numpy.save(weights))
        with pytest.raises(ValueError, match=r"whole numbers, and .* is not one number for each row"):
            load_grasp_model(bundle)


@pytest.mark.parametrize("precision", LESS)
def test_the_program_writes_rounded_weights(run_program, tmp_path: Path, precision: Precision) -> None:
    bundle = tmp_path / "bundle"
    assert run_program("export_model", LEAP_TABLE_CPU, bundle, "--precision", precision) == 0
    model = load_grasp_model(LEAP_TABLE_CPU)
    whole = 4 * sum(weight.numel() for weight in model.generator.parameters())
    assert (bundle / WEIGHTS).stat().st_size < (1.0 / LESS[precision] + 0.15) * whole
    round_weights(model.generator, precision)
    one, two = (sample(m, *cloud(400)) for m in (model, load_grasp_model(bundle)))
    assert np.array_equal(one.hand_pose, two.hand_pose) and np.array_equal(one.score, two.score)


def test_the_program_refuses_other_words(
    run_program, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program("export_model", LEAP_TABLE_CPU, tmp_path / "other", "--precision", "int4") == 2
    said = capsys.readouterr().err
    assert "--precision: invalid choice: 'int4'" in said and "'float32', 'bf16', 'int8'" in said
    assert not (tmp_path / "other").exists()
