"""Terms and matchings as YAML has them, in whole training steps."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch.testing import assert_close

from factories.models import (
    TERMS,
    losses_of,
    scene_batch,
    small_cvae,
    small_generator,
    small_module,
    small_objective,
)
from sceneleapultra.models.objectives.matching import Hungarian
from sceneleapultra.utils.core.config import CONFIG_DIR, build, load_group

HEADS = {"contact", "graspness", "segmentation"}  # learned by heads of their own
NAMES = sorted({path.stem for path in (CONFIG_DIR / "model/objective/terms").glob("*.yaml")} - HEADS)
MATCHINGS = sorted(path.stem for path in (CONFIG_DIR / "model/objective/matching").glob("*.yaml"))


def chosen(name: str, **changes):
    group = load_group("model/objective/terms", name)
    assert list(group) == [name], "a term goes by its file's name"
    return build(group[name], **changes)


def on_objects():
    """Grasps about the objects, so that hands touch, enter and miss them; the table is at z = 0."""
    batch = scene_batch()
    points = batch.scene_pc.clone()
    points[..., 2] = points[..., 2].masked_fill(~batch.object_mask & (points[..., 0] > 0.0), 0.0)
    hand_pose = batch.hand_pose.clone()
    hand_pose[..., :3] *= 0.3
    return replace(batch, scene_pc=points, hand_pose=hand_pose)


@cache
def generator():
    return small_generator()


@cache
def fists_in_objects():
    """A generator that, without training, predicts closed hands in the objects."""
    made = small_generator()
    low, high = made.hand.joint_limits.unbind(-1)
    made.normalizer.mean[3 : 3 + len(low)] = 0.3 * low + 0.7 * high
    made.normalizer.std[:3] = 0.03
    return made


@pytest.mark.parametrize("name", NAMES)
def test_each_term_trains_the_network(name):
    wide = {"within_m": 0.2} if name == "fingertip_attraction" else {}
    objective = small_objective(terms={name: chosen(name, by_noise=None, **wide)})
    module = small_module(fists_in_objects(), objective)
    module.zero_grad()
    loss = losses_of(module, on_objects())[name]
    loss.backward()
    gradients = [p.grad for p in module.generator.decoder.parameters() if p.grad is not None]
    assert loss > 0.0 and all(g.isfinite().all() for g in gradients)
    assert max(float(g.abs().max()) for g in gradients) > 0.0


def test_terms_that_are_chosen_are_added_to_the_others():
    plain = losses_of(small_module(generator()), scene_batch())
    terms = TERMS | {"hand_points": chosen("hand_points"), "contact_map": chosen("contact_map", weight=0.0)}
    more = losses_of(small_module(generator(), small_objective(terms=terms)), scene_batch())
    assert set(more) == {*plain, "hand_points"}, "a weight of 0 costs nothing"
    assert all(torch.equal(more[name], plain[name]) for name in plain)


def test_a_weight_may_be_a_schedule():
    settings = {"shape": "linear", "start": 0.0, "end": 4.0, "from_step": 0, "to_step": 100}
    ramp = {"_target_": "sceneleapultra.models.objectives.schedule.WeightSchedule", **settings}
    module = small_module(
        objective=small_objective(terms={"hand_points": chosen("hand_points", weight=ramp)})
    )
    losses = losses_of(module, scene_batch())
    totals = [module.objective.total(losses, step) for step in (0, 50, 200)]
    assert_close(torch.stack(totals), torch.tensor([0.0, 2.0, 4.0]) * losses["hand_points"])


def test_a_cvae_is_measured_too_but_not_by_noise():
    terms = {
        "hand_points": chosen("hand_points"),
        "self_penetration": chosen("self_penetration", by_noise=None),
    }
    losses = losses_of(small_cvae(terms=terms), scene_batch())
    assert losses["hand_points"] > 0.0
    with pytest.raises(ValueError, match=r"terms\.contact_map needs t, which LatentVariable does not give"):
        small_cvae(terms={"contact_map": chosen("contact_map")})


@pytest.mark.parametrize("name", MATCHINGS)
def test_each_matching_trains(name):
    matching = build(load_group("model/objective/matching", name))
    module = small_module(generator(), small_objective(matching=matching))
    losses = losses_of(module, scene_batch())
    torch.stack(list(losses.values())).sum().backward()
    plain = losses_of(small_module(generator()), scene_batch())
    assert all(loss.isfinite() for loss in losses.values())
    assert torch.equal(losses["translation"], plain["translation"]) == (name == "index")


def test_sets_are_matched_by_poses_and_their_losses_follow():
    """What the Hungarian pairs, as (scene, prediction, true grasp), is what the errors of the states are taken of."""
    matching = build(load_group("model/objective/matching", "hungarian"))
    assert isinstance(matching, Hungarian)
    module = small_module(generator(), small_objective(matching=matching))
    context = module.objective.context(module.generator, scene_batch(), step=0, training=True)
    match, g = context.match, context.num_grasps
    assert match is not None and torch.equal(match.matched, context.positive)
    assert (match.index != torch.arange(g)).any()
    paired = context.set_id.gather(1, match.index)
    assert torch.equal(paired[match.matched], context.set_id[match.matched]), "within sets"
    decoded = module.generator.decode(context.target_x0, context.anchored).pose
    true = match.of_targets(context.positive_pose.translation)
    assert_close(decoded.translation[match.matched], true[match.matched], atol=1e-5, rtol=0)
    assert_close(decoded.qpos, match.of_targets(context.positive_pose.qpos), atol=1e-5, rtol=0)
