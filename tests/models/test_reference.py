"""Given clouds, anchors and noise of 0.1, do the checkpoints it shipped give the grasps and scores that 0.1 gave?"""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from factories.shipped import LEAP_TABLE, LEAP_TABLE_CPU
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.sampling import SampleRandom, SamplingRun, StartPoint
from sceneleapultra.utils.batch import GraspBatch

REFERENCE = np.load(Path(__file__).with_name("reference_0_1.npz"))  # written by 0.1 (4e3797e), one thread
CLOUD = ("scene_pc", "point_valid", "object_mask", "viewpoint", "up", "T_world_frame")
PATHS = {"leap_table_cpu": LEAP_TABLE_CPU, "leap_table_own": LEAP_TABLE}  # as 0.1 called them
NAMES = {"none": "none", "physics": "physics", "hold": "stable"}  # of guidance, in 0.1 and today


@pytest.fixture(scope="module")
def batch() -> GraspBatch:
    return GraspBatch(**{name: torch.from_numpy(REFERENCE[f"cloud/{name}"]) for name in CLOUD})


@pytest.mark.parametrize("guidance", NAMES)
@pytest.mark.parametrize("name", PATHS)
def test_grasps_and_scores_are_those_of_0_1(name: str, guidance: str, batch: GraspBatch) -> None:
    model = load_grasp_model(PATHS[name]).generator
    sampling = model.sampling.changed(
        steps=8,
        temperature=0.5,
        guidance=NAMES[guidance],
        rank="stable" if guidance == "hold" else "score",
    )
    expected = {
        key.rsplit("/", 1)[1]: REFERENCE[key] for key in REFERENCE if key.startswith(f"{name}/{guidance}/")
    }
    with torch.no_grad():
        run = SamplingRun(model, batch, sampling, SampleRandom([0, 0, 0], torch.device("cpu")))
        start = StartPoint(torch.from_numpy(expected["anchors"]), torch.from_numpy(expected["noise"]))
        made = run.solve(start, trajectory=False)
    assert_allclose(run.scene.outputs["anchors"], expected["anchor_logits"], rtol=0, atol=1e-5)
    for key in ("hand_pose", "pregrasp_qpos", "squeeze_qpos", "score"):
        assert_allclose(getattr(made, key), expected[key], rtol=0, atol=1e-6, err_msg=key)
    assert made.nfe == int(expected["nfe"])
