"""How many operations are dispatched: on a GPU these networks cost launches, whatever the points and the precision.

The bounds are the counts of 0.1 (4e3797e) for the same model, batch and settings, views included.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from factories.models import scene_batch
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.module import build_module
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import build

REFERENCE = np.load(Path(__file__).parent / "models/reference_0_1.npz")
CLOUD = ("scene_pc", "point_valid", "object_mask", "viewpoint", "up", "T_world_frame")


class OperationCount(TorchDispatchMode):
    """Counts what reaches the dispatcher."""

    count = 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_a_training_step_dispatches_no_more_than_in_0_1(compose: Callable[..., DictConfig]) -> None:
    cfg = compose("experiment=quickstart")
    optimizer, scheduler = build(cfg.optimizer), build(cfg.scheduler)
    module = build_module(cfg.model, cloud={}, optimizer=optimizer, scheduler=scheduler).train()
    batch = scene_batch(num_scenes=12, num_points=768, num_grasps=16)

    def step(index: int) -> None:
        context = module.objective.context(module.generator, batch, step=index, training=True)
        module.objective.total(module.objective.losses(context, training=True), index).backward()

    step(0)  # fills what is computed once
    with OperationCount() as operations:
        step(1)
    assert operations.count <= 4780


@pytest.mark.parametrize(("guidance", "bound"), [("none", 17_045), ("stable", 47_905), ("physics", 24_475)])
def test_sampling_dispatches_no_more_than_in_0_1(guidance: str, bound: int) -> None:
    generator = load_grasp_model("leap_table").generator
    cloud = GraspBatch(**{name: torch.from_numpy(REFERENCE[f"cloud/{name}"][:1]) for name in CLOUD})
    with OperationCount() as operations:
        generator.sample(cloud, 8, seeds=[0], sampling={"steps": 20, "guidance": guidance})
    assert operations.count <= bound
