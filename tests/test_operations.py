"""How many operations are dispatched: on a GPU these networks cost launches, whatever the points and the precision.

The bounds are what it takes today (2 % above); to need more is a decision, not an accident. ``benchmarks/latency.py``
says what is counted.
"""

import pytest

from benchmarks.latency_work import WORK, count

BOUNDS = {  # operations, and launches: those of them that compute something, views and empty memory aside
    "encode_pointnet2": (370, 170),
    "encode_ptv3_light": (1570, 1195),
    "encode_ptv3": (2500, 1790),
    "denoise_100": (300, 119),
    "sample_100_in_8": (3570, 1500),
    "training_step": (2870, 1570),
}


@pytest.mark.parametrize("name", WORK)
def test_dispatches_no_more_than_stated(name: str) -> None:
    run = WORK[name]()
    run()  # fills what is computed once
    counted, (operations, launches) = count(run), BOUNDS[name]
    assert counted["operations"] <= operations
    assert counted["launches"] <= launches


@pytest.mark.parametrize(("guidance", "bound"), [("stable", 22_000), ("physics", 15_800)])
def test_guided_sampling_dispatches_no_more_than_stated(guidance: str, bound: int) -> None:
    from benchmarks.sampling_cost import scene
    from sceneleapultra.models import load_grasp_model

    generator, batch = load_grasp_model("leap_table").generator, scene(768, 0)
    changes = {"steps": 20, "guidance": guidance}
    assert count(lambda: generator.sample(batch, 8, seeds=[0], sampling=changes))["operations"] <= bound
