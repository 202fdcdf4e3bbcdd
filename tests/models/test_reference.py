"""Given clouds, anchors and noise of 0.1, do the checkpoints it shipped give the grasps and scores that 0.1 gave?

``exact/`` of the reference is what 0.1's code gives in double precision. Arithmetic in another order may round
otherwise than 0.1 did, but not worse.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from benchmarks.double import double_precision, in_double
from factories.shipped import LEAP_TABLE, LEAP_TABLE_CPU
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import GeneratedGrasps
from sceneleapultra.models.network.decoder.time import FourierTime
from sceneleapultra.models.sampling import SampleRandom, SamplingRun, StartPoint
from sceneleapultra.utils.batch import GraspBatch

REFERENCE = np.load(Path(__file__).with_name("reference_0_1.npz"))  # written by 0.1 (4e3797e), one thread
CLOUD = ("scene_pc", "point_valid", "object_mask", "viewpoint", "up", "T_world_frame")
PATHS = {"leap_table_cpu": LEAP_TABLE_CPU, "leap_table_own": LEAP_TABLE}  # as 0.1 called them
MARGIN = 3.0  # times the error that 0.1 itself made in float32
EXACT = {"leap_table_cpu": (1e-10, 1e-10), "leap_table_own": (1e-7, 1e-6)}  # poses, scores
NAMES = {"none": "none", "physics": "physics", "hold": "stable"}  # of guidance, in 0.1 and today


def rounding(given: np.ndarray, exact: np.ndarray) -> float:
    """Return the root of the mean square of errors: the greatest of hundreds is another on every kind of processor."""
    return float(np.sqrt(np.square(given - exact).mean()))


@pytest.fixture(scope="module")
def batch() -> GraspBatch:
    return GraspBatch(**{name: torch.from_numpy(REFERENCE[f"cloud/{name}"]) for name in CLOUD})


def solved(
    model: GraspGenerator, batch: GraspBatch, name: str, guidance: str
) -> tuple[SamplingRun, GeneratedGrasps]:
    """Sample from 0.1's anchors and noise, in the precision of the clouds."""
    sampling = model.sampling.changed(
        steps=8,
        temperature=0.5,
        guidance=NAMES[guidance],
        rank="stable" if guidance == "hold" else "score",
    )
    anchors, noise = (torch.from_numpy(REFERENCE[f"{name}/{guidance}/{k}"]) for k in ("anchors", "noise"))
    with torch.no_grad():
        run = SamplingRun(model, batch, sampling, SampleRandom([0, 0, 0], torch.device("cpu")))
        return run, run.solve(StartPoint(anchors, noise.to(batch.scene_pc.dtype)), trajectory=False)


@pytest.mark.parametrize("guidance", NAMES)
@pytest.mark.parametrize("name", PATHS)
def test_grasps_and_scores_are_those_of_0_1(name: str, guidance: str, batch: GraspBatch) -> None:
    run, made = solved(load_grasp_model(PATHS[name]).generator, batch, name, guidance)
    key = f"{name}/{guidance}"
    expected = {path.rsplit("/", 1)[1]: REFERENCE[path] for path in REFERENCE if path.startswith(f"{key}/")}
    exact = {
        name: REFERENCE[f"exact/{key}/{name}"] for name in expected if name not in ("anchors", "noise", "nfe")
    }
    for part, value in exact.items():
        given = np.asarray(run.scene.outputs["anchors"] if part == "anchor_logits" else getattr(made, part))
        finite = np.isfinite(value)  # tokens that carry no grasp have log-odds of minus infinity
        assert_allclose(given[~finite], value[~finite], err_msg=part)
        assert rounding(given[finite], value[finite]) <= MARGIN * rounding(
            expected[part][finite], value[finite]
        ), part
    assert made.nfe == int(expected["nfe"])
    if guidance == "none":  # nothing magnifies rounding; 0.1's own is up to 0.7e-6
        for part in ("hand_pose", "pregrasp_qpos", "squeeze_qpos"):
            assert_allclose(getattr(made, part), expected[part], rtol=0, atol=1e-6, err_msg=part)


def as_0_1_knew_time(model: GraspGenerator) -> GraspGenerator:
    """Give the model's sinusoids the frequencies of 0.1's processor, whose exp rounded one of these 64 up."""
    for module in model.modules():
        if isinstance(module, FourierTime) and len(module.frequency) == 64:
            up = torch.tensor(torch.inf, dtype=torch.float32)
            module.frequency[22] = module.frequency[22].to(torch.float32).nextafter(up)
    return model


@pytest.mark.parametrize("guidance", NAMES)
@pytest.mark.parametrize("name", PATHS)
def test_in_double_precision_they_are_those_of_0_1(name: str, guidance: str, batch: GraspBatch) -> None:
    """Where nothing rounds, another order of the same arithmetic changes nothing: the two compute the same function."""
    cloud = batch.map(lambda x: x.double() if x.is_floating_point() else x)
    with double_precision():
        model = as_0_1_knew_time(in_double(load_grasp_model(PATHS[name]).generator))
        _, made = solved(model, cloud, name, guidance)
    poses, scores = EXACT[name]
    for part, atol in {
        "hand_pose": poses,
        "pregrasp_qpos": poses,
        "squeeze_qpos": poses,
        "score": scores,
    }.items():
        found, expected = getattr(made, part), REFERENCE[f"exact/{name}/{guidance}/{part}"]
        assert found.dtype == torch.float64
        assert_allclose(found, expected, rtol=0, atol=atol, err_msg=part)
