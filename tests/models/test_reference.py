"""Given clouds, anchors and noise of 0.1, do the checkpoints it shipped give the grasps and scores that 0.1 gave?

``exact/`` of the reference is what 0.1's code gives in double precision. Arithmetic in another order may round
otherwise than 0.1 did, but not worse.
"""

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
MARGIN = 3.0  # times the greatest error that 0.1 itself made in float32
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
    key = f"{name}/{guidance}"
    expected = {path.rsplit("/", 1)[1]: REFERENCE[path] for path in REFERENCE if path.startswith(f"{key}/")}
    with torch.no_grad():
        run = SamplingRun(model, batch, sampling, SampleRandom([0, 0, 0], torch.device("cpu")))
        start = StartPoint(torch.from_numpy(expected["anchors"]), torch.from_numpy(expected["noise"]))
        made = run.solve(start, trajectory=False)
    exact = {
        name: REFERENCE[f"exact/{key}/{name}"] for name in expected if name not in ("anchors", "noise", "nfe")
    }
    for part, value in exact.items():
        given = run.scene.outputs["anchors"] if part == "anchor_logits" else getattr(made, part)
        finite = np.isfinite(value)  # tokens that carry no grasp have log-odds of minus infinity
        rounding = np.abs(expected[part][finite] - value[finite]).max()
        assert_allclose(given, value, rtol=0, atol=MARGIN * rounding, err_msg=part)
    assert made.nfe == int(expected["nfe"])
