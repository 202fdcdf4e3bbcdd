"""What each loss term over the predicted hand costs a training step, and each matching.

    python benchmarks/loss_terms.py --batch-size 24 --grasps 8

Dispatched operations and processor time of value and gradient on one thread, for random scenes and grasps. Decoding
and kinematics of the predicted and the true hands are computed once for all terms of a step and stand in a row of their
own. One JSON object per row.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sceneleapultra.hands import PlacedHand
from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.objectives.context import AnchorAssignment, PredictionContext
from sceneleapultra.models.objectives.hand_term import HandTerm
from sceneleapultra.models.objectives.matching import Index, SetMatching
from sceneleapultra.utils.batch import GraspBatch
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group


class OperationCount(TorchDispatchMode):
    """Counts dispatched operations that compute: views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operation and run it."""
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class NoisyPrediction(PredictionContext):
    """Predicts the true states with an error of 0.3 standard deviations."""

    @cached_property
    def x0_hat(self) -> Tensor:
        """The prediction, which gradients end at."""
        return (self.x0 + 0.3 * torch.randn_like(self.x0)).detach().requires_grad_(True)


def random_batch(generator: GraspGenerator, size: int, grasps: int, num_points: int) -> GraspBatch:
    """Balls of 4 cm on tables, half of the points each, with hands about them."""
    random, hand = torch.Generator().manual_seed(0), generator.hand
    half = num_points // 2
    ball = torch.nn.functional.normalize(torch.randn(size, half, 3, generator=random), dim=-1) * 0.04
    ball[..., 2] += 0.04
    table = torch.rand(size, num_points - half, 3, generator=random) * 0.4 - 0.2
    table[..., 2] = 0.0
    low, high = hand.joint_limits.unbind(-1)
    qpos = low + (high - low) * torch.rand(size, grasps, hand.num_joints, generator=random)
    quat = torch.nn.functional.normalize(torch.randn(size, grasps, 4, generator=random), dim=-1)
    near = 0.08 * torch.randn(size, grasps, 3, generator=random) + torch.tensor([0.0, 0.0, 0.1])
    yes = torch.ones(size, grasps, dtype=torch.bool)
    # Target and table in turn, so that every prefix of the cloud is a fair sample.
    points = torch.stack([ball, table[:, :half]], dim=2).flatten(1, 2)
    return GraspBatch(
        scene_pc=points,
        point_valid=torch.ones(points.shape[:2], dtype=torch.bool),
        object_mask=(torch.arange(points.shape[1]) % 2 == 0).expand(points.shape[:2]),
        viewpoint=torch.tensor([0.0, -0.5, 0.5]).expand(size, 3),
        up=torch.tensor([0.0, 0.0, 1.0]).expand(size, 3),
        T_world_frame=torch.eye(4).expand(size, 4, 4),
        hand_pose=torch.cat([near, qpos, quat], dim=-1),
        pregrasp_qpos=qpos,
        squeeze_qpos=qpos,
        grasp_valid=yes,
        grasp_success=yes,
        item_index=tuple(range(size)),
    )


def measure(run: Callable[[], None], repeats: int) -> tuple[int, float]:
    """Return dispatched operations and the least processor milliseconds of a call."""
    with OperationCount() as operations:
        run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return operations.count, 1e3 * min(times)


def agreement(size: int, scenes: int = 500) -> dict[str, Any]:
    """Compare the totals of Sinkhorn's pairs with the least ones, for random costs."""
    cost = torch.rand(scenes, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    least, near = (
        cost.gather(
            2, build(load_group("model/objective/matching", name)).pair(cost, cost >= 0).index[..., None]
        )
        for name in ("hungarian", "sinkhorn")
    )
    excess = near.sum((1, 2)) / least.sum((1, 2)) - 1.0
    return {
        "name": f"sinkhorn, {size} grasps",
        "optimal": float((excess < 1e-9).double().mean()),
        "mean excess": round(float(excess.mean()), 4),
    }


def main() -> None:
    """Measure every term and every matching."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=24)
    parser.add_argument("--grasps", type=int, default=8)
    parser.add_argument("--points", type=int, default=768)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        generator = build_generator(compose("config").model.generator).eval()
    batch = random_batch(generator, arguments.batch_size, arguments.grasps, arguments.points)
    settings = SimpleNamespace(
        anchors=AnchorAssignment(softness=0.01, reach=1.0),
        matching=Index(),
        num_grasps=arguments.grasps,
        seed=0,
    )
    context = NoisyPrediction(generator, batch, settings, step=0, training=True)
    with torch.no_grad():
        _ = context.scene, context.x0

    def report(name: str, run: Callable[[], None]) -> None:
        operations, milliseconds = measure(run, arguments.repeats)
        row = {"name": name, "operations": operations, "ms": round(milliseconds, 1)}
        sys.stdout.write(json.dumps(row) + "\n")

    def hands() -> None:
        for name in ("anchored", "grasps_hat", "hand_hat", "hand_true"):
            vars(context).pop(name, None)
        (context.hand_hat.T_frame_body.sum() + context.hand_true.T_frame_body.sum()).backward()

    report("kinematics", hands)
    # Gradients end at the bodies' poses, and for joints at the states: what lies behind is every term's.
    placed = PlacedHand(generator.hand, context.hand_hat.T_frame_body.detach().requires_grad_(True))
    vars(context).update(
        hand_hat=placed, hand_true=PlacedHand(generator.hand, context.hand_true.T_frame_body)
    )
    for option in sorted(path.stem for path in (CONFIG_DIR / "model/objective/terms").glob("*.yaml")):
        config = load_group("model/objective/terms", option)[option]
        if not issubclass(get_class(config._target_), HandTerm):
            continue  # of a head: it costs what the head does
        term: HandTerm = build(config, by_noise=None)

        def value_and_gradient(term: HandTerm = term) -> None:
            vars(context).pop("joints_hat", None)
            term.measure(placed, context).sum().backward()

        report(option, value_and_gradient)
    for option in ("hungarian", "sinkhorn"):
        matching: SetMatching = build(load_group("model/objective/matching", option))

        def pair(matching: SetMatching = matching) -> None:
            matching(lambda: context.grasps_hat.pose, context.positive_pose, context.set_id)

        report(option, pair)
    for size in (arguments.grasps, 2 * arguments.grasps):
        sys.stdout.write(json.dumps(agreement(size)) + "\n")


if __name__ == "__main__":
    main()
