"""An arm with a LEAP hand picks objects out of scenes: one view, the model's grasps, a way for the arm, the lift.

python examples/pick_with_arm.py --store data/quick.h5 --scenes 30
python examples/pick_with_arm.py --store data/quick.h5 --service http://127.0.0.1:8090

For each scene: the model, or a running service (sceneleap serve), samples grasps from one view; the first that the arm
reaches on a free way, by what the view shows, is carried out in a simulation of the arm, the hand and the whole scene
(protocol scene-lift). The same grasp of a hand that flies is beside it. Writes results.json and strip.png. Needs
pip install 'sceneleapultra[arm]'.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from sceneleapultra.datasets import GraspStore
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.requests import request_of_item
from sceneleapultra.evaluation.stored import chosen_items
from sceneleapultra.hands import Hand, load_hand
from sceneleapultra.hands.adapters import load_adapter
from sceneleapultra.models import load_grasp_model
from sceneleapultra.models.checkpoints.zoo import find_checkpoint
from sceneleapultra.reporting.pictures import render_png
from sceneleapultra.reporting.simulated import draw_world
from sceneleapultra.serving.client import GraspClient
from sceneleapultra.simulation.arm import (
    ArmDescription,
    ArmPlan,
    ArmPlanner,
    ArmWorld,
    ReachError,
    observed_world,
)
from sceneleapultra.simulation.protocols import Protocol, get_protocol
from sceneleapultra.simulation.protocols.hand_model import HandModel
from sceneleapultra.simulation.protocols.spec import Attempt
from sceneleapultra.simulation.protocols.trials import SceneLift
from sceneleapultra.simulation.protocols.world import World
from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.core.console import say
from sceneleapultra.utils.core.files import make_folder, write_json
from sceneleapultra.utils.core.seeding import keyed_seed
from sceneleapultra.utils.core.stats import wilson_interval
from sceneleapultra.utils.records import Grasps

_STILLS_S = (0.0, 1.2, 2.0, 2.8, 3.6, 4.6)  # of the strip


@dataclass
class Cell:
    """What picks: the arm, the hand, and the rules of the lift."""

    arm: ArmDescription
    hand: Hand
    protocol: Protocol
    model: HandModel = field(init=False)
    trial: SceneLift = field(init=False)

    def __post_init__(self) -> None:
        self.model = HandModel.from_hand(self.hand)
        assert isinstance(self.protocol.trial, SceneLift)
        self.trial = self.protocol.trial
        self.mount = load_adapter(self.hand).mount

    def plan(self, item: Item, grasps: Grasps, tries: int) -> tuple[int, ArmPlan, list[str]]:
        """Return the first grasp that the arm reaches, and why it does not reach those before.

        Raises:
            ReachError: it reaches none of them.
        """
        spec, poses = observed_world(item.view.points, item.target_mask, item.view.T_world_cam[:3, 3])
        world = ArmWorld(self.model, spec, self.protocol.physics, self.arm, self.mount)
        planner = ArmPlanner(world, poses, self.trial.approach, self.trial.motion.height_m)
        reasons: list[str] = []
        for number in range(min(tries, len(grasps))):
            try:
                return number, planner.plan(Attempt.of(grasps, number, poses)), reasons
            except ReachError as error:
                reasons.append(str(error))
        raise ReachError(f"none of {len(reasons)} grasps: {reasons[0]}")

    def pick(self, item: Item, plan: ArmPlan, stills: list[Any] | None) -> dict[str, Any]:
        """Carry a plan out; return how it ended."""
        spec = self.trial.world(item.scene, item.target)
        world = FilmedArm(self.model, spec, self.protocol.physics, self.arm, self.mount)
        world.way, world.stills = plan.way, stills
        pieces = np.abs(np.diff(plan.way, axis=0)).max()
        world.way_steps = max(1, round(pieces / self.arm.max_speed_rad_s / world.timestep_s))
        return self._run(world, plan.attempt, spec.poses(item.scene))

    def pick_flying(self, item: Item, attempt: Attempt) -> dict[str, Any]:
        """Carry a grasp out with a hand that flies."""
        spec = self.trial.world(item.scene, item.target)
        world = World(self.model, spec, self.protocol.physics)
        return self._run(world, attempt, spec.poses(item.scene))

    def _run(self, world: World, attempt: Attempt, poses: Float[np.ndarray, "k 7"]) -> dict[str, Any]:
        prepared = world.prepare(replace(attempt, object_poses=poses))
        verdict = self.trial.run(world, prepared, stop_at_failure=False)
        return {
            "outcome": verdict.outcome.name.lower(),
            "picked": bool(verdict.details["picked"]),
            "picked_cleanly": bool(verdict.details["picked_cleanly"]),
            "neighbor_shift_mm": round(1000 * float(verdict.details["neighbor_shift_m"]), 1),
        }


class FilmedArm(ArmWorld):
    """Keeps drawings of itself at some times."""

    stills: list[Any] | None = None

    def step(self, steps: int) -> None:
        """Let time pass."""
        super().step(steps)
        if self.stills is not None and len(self.stills) < len(_STILLS_S):
            time = self.data.time
            if self.way is not None and time >= _STILLS_S[len(self.stills)]:
                self.stills.append(draw_world(self.model, self.data, f"{time:.1f} s"))


def pick_one(cell: Cell, item: Item, grasps: Grasps, tries: int, stills: list[Any] | None) -> dict[str, Any]:
    """Let the arm carry out the first grasp that it reaches; return what is written down of it."""
    row = {"item": item.index, "object": item.object.name, "neighbors": len(item.scene.objects) - 1}
    try:
        chosen, plan, reasons = cell.plan(item, grasps, tries)
    except ReachError as error:
        return row | {"outcome": "not_reached", "why": str(error), "picked": False, "flying": None}
    ended = cell.pick(item, plan, stills)
    flying = cell.pick_flying(item, plan.attempt)
    return row | ended | {"grasp": chosen, "not_reached": reasons, "flying": flying["picked"]}


GraspsFor = Callable[[Item, int], Grasps]


def model_in_this_process(checkpoint: str, seed: int) -> tuple[Hand, GraspsFor]:
    """Return the hand of a model, and what samples with it."""
    model = load_grasp_model(find_checkpoint(checkpoint))
    method = ModelMethod(model, model.generator.sampling, seed)

    def sample(item: Item, count: int) -> Grasps:
        (proposal,) = method.sample_items([item], count)
        return proposal.grasps

    return Hand(model.hand.description), sample


def asked_of(url: str, seed: int) -> tuple[Hand, GraspsFor]:
    """Return the hand of a service, and what asks it for grasps; it sees the cloud and which points are the object."""
    client = GraspClient(url)

    def ask(item: Item, count: int) -> Grasps:
        request = request_of_item(item)
        made = client.grasps(
            points=request.points,
            mask=request.object_mask,
            up=request.up,
            viewpoint=request.viewpoint,
            num_grasps=count,
            seed=keyed_seed(seed, item.index),
        ).grasps
        return made.grasps

    return load_hand(client.model()["hand"]), ask


def pick_with_arm(
    *,
    store: Path,
    split: str = "test",
    scenes: int = 30,
    grasps: int = 32,
    tries: int = 16,
    checkpoint: str = "leap_table",
    service: str | None = None,
    protocol: str = "scene-lift",
    arm: str = "seven_axis",
    seed: int = 0,
    output: Path = Path("picked_by_arm"),
) -> None:
    """Pick one object of each of some scenes.

    Args:
        store: the data set whose scenes and views are used (.h5)
        split: of it
        scenes: how many
        grasps: the model samples for each
        tries: of them that the arm may plan for, best first
        checkpoint: a file, or the name of a shipped model
        service: address of a service that is asked for grasps instead; no model is loaded here
        protocol: scene-lift, or one like it
        arm: a name of config/arm
        seed: of the choice of scenes, and of the noise
        output: folder for results.json and strip.png
    """
    make_folder(output)
    hand, grasps_for = model_in_this_process(checkpoint, seed) if service is None else asked_of(service, seed)
    cell = Cell(build(load_group("arm", arm)), hand, get_protocol(protocol))
    items = chosen_items(GraspStore(store), split, max_items=scenes, per_object=4, min_points=64, seed=seed)
    rows, strip = [], None
    for number, item in enumerate(items):
        found = grasps_for(item, grasps)
        stills: list[Any] | None = [] if strip is None else None
        rows.append(pick_one(cell, item, found, tries, stills))
        if stills and rows[-1]["picked"]:
            strip = stills
        picked = sum(row["picked"] for row in rows)
        say(f"{number + 1:3} {item.object.name}: {rows[-1]['outcome']}; picked {picked} of {len(rows)}")
        write_json(output / "results.json", {"rows": rows}, indent=1)
    low, high = (100 * x for x in wilson_interval(picked, len(rows)))
    reached = [row for row in rows if row["flying"] is not None]
    say(
        f"picked by the arm {picked} of {len(rows)}, {100 * picked / len(rows):.0f} % [{low:.0f}, {high:.0f}]; reached "
        f"{len(reached)}; the same grasps by a hand that flies: {sum(row['flying'] for row in reached)}"
    )
    if strip is not None:
        title = "A grasp of the model, carried out by an arm"
        render_png(strip, output / "strip.png", columns=3, size=360, title=title)


if __name__ == "__main__":
    cli.run(pick_with_arm, __doc__)
