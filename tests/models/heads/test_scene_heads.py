"""Heads for contact and segmentation: their labels, whom they train, and what they refuse."""

from dataclasses import fields, replace
from functools import cache

import pytest
import torch
from torch.testing import assert_close

from factories.models import (
    TERMS,
    losses_of,
    scene_batch,
    small_generator,
    small_module,
    small_objective,
    small_score,
)
from sceneleapultra.hands import GraspPose, load_hand
from sceneleapultra.models.metrics import auroc
from sceneleapultra.models.network.heads.anchors import AnchorHeadConfig
from sceneleapultra.models.network.heads.contact import ContactHeadConfig, touches
from sceneleapultra.models.network.heads.segmentation import SegmentationHeadConfig, token_class
from sceneleapultra.models.objectives.states import HeadLoss
from sceneleapultra.utils.core.config import build, load_group
from sceneleapultra.utils.training.validate import validate

CONTACT, SEGMENTATION = ContactHeadConfig(dim=16, touch_m=0.005), SegmentationHeadConfig(dim=16)
NEW = {name: HeadLoss(head=name, weight=1.0) for name in ("contact", "segmentation")}


@cache
def module():
    heads = {
        "anchors": AnchorHeadConfig(),
        "score": small_score(),
        "contact": CONTACT,
        "segmentation": SEGMENTATION,
    }
    return small_module(small_generator(heads=heads), small_objective(terms=TERMS | NEW))


def labeled_batch():
    """Clouds of points that the hands of the first grasps touch, some failures, a table, padding without a class."""
    batch = scene_batch()
    points = load_hand("leap_right").contact_candidates(GraspPose.from_hand_pose(batch.hand_pose[:, :2]))[0]
    place = torch.arange(0, batch.scene_pc.shape[1], 2)
    cloud = batch.scene_pc.clone()
    cloud[:, place] = points.flatten(1, 2)[:, : len(place)]
    success = batch.grasp_success.clone()
    success[:, 1] = False
    classes = torch.where(batch.object_mask, 1, torch.where(cloud[..., 0] > 0.0, 0, 2)).to(torch.uint8)
    classes[:, 5] = 255
    return replace(batch, scene_pc=cloud, grasp_success=success, point_class=classes)


def context(training: bool = True):
    made = module()
    return made.objective.context(made.generator, labeled_batch(), step=0, training=training)


def test_a_fingertip_touches_what_is_as_near_as_asked_for():
    hand = load_hand("leap_right")
    pose = GraspPose.from_hand_pose(scene_batch(num_scenes=2, num_grasps=1).hand_pose)
    at, normal = hand.contact_candidates(pose)
    at, normal = at[:, 0, :4], normal[:, 0, :4]
    points = torch.cat([at - 0.001 * normal, at + 0.004 * normal, at + 0.3 * normal], dim=1)
    touched = touches(hand, points, pose, 0.005)[:, 0]
    assert touched[:, :8].all() and not touched[:, 8:].any()


def test_tokens_are_touched_as_often_as_single_grasps_say():
    c = context()
    head, tokens = module().generator.heads["contact"], c.scene.tokens
    touched, missed = head.counts(c)
    assert touched.sum() > 0 and (touched + missed)[~tokens.target].sum() == 0
    for i in range(len(tokens.xyz)):
        expected = torch.zeros(tokens.xyz.shape[1])
        for k in c.positive[i].nonzero().flatten().tolist():
            pose = GraspPose.from_hand_pose(c.batch.hand_pose[i, k])
            expected += head.hand.signed_distance(tokens.xyz[i], pose) <= 0.005
        assert_close(touched[i], expected * tokens.target[i])
        assert_close((touched + missed)[i], float(c.positive[i].sum()) * tokens.target[i].float())


def test_failures_and_missing_grasps_touch_nothing():
    made, batch = module(), labeled_batch()
    nothing = replace(batch, grasp_success=torch.zeros_like(batch.grasp_success))
    c = made.objective.context(made.generator, nothing, step=0, training=True)
    assert all(x.sum() == 0 for x in made.generator.heads["contact"].counts(c))
    loss = made.objective.terms["contact"](c)
    loss.backward()
    assert loss == 0.0


def test_a_tokens_class_is_that_of_its_point():
    c = context()
    true, batch, tokens = token_class(c.scene.tokens, c.batch), c.batch, c.scene.tokens
    same = (tokens.xyz[:, :, None] == batch.scene_pc[:, None]).all(-1)
    assert same.any(-1).all(), "tokens of this encoder are points of the cloud"
    for i, row in enumerate(same):
        classes = batch.point_class[i].long().expand_as(row)
        assert ((classes == true[i][:, None]) & row).any(-1).all()
    assert set(true.unique().tolist()) <= {0, 1, 2, 255}


def test_unknown_classes_are_not_learned():
    made, batch = module(), labeled_batch()
    unknown = replace(batch, point_class=torch.full_like(batch.point_class, 255))
    assert losses_of(made, unknown)["segmentation"] == 0.0
    c = made.objective.context(made.generator, unknown, step=0, training=False)
    assert made.generator.heads["segmentation"].metrics(c)["segmentation"].figures() == {}


@pytest.mark.parametrize(("name", "trains"), [("contact", True), ("segmentation", True), ("score", False)])
def test_scene_heads_train_the_encoder_and_the_score_head_does_not(name, trains):
    made = module()
    made.zero_grad()
    losses_of(made, labeled_batch())[name].backward()
    moved = {
        key for key, p in made.generator.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert any(key.startswith(f"heads.{name}.") for key in moved)
    assert any(key.startswith("encoder.") for key in moved) == trains
    assert all(key.startswith((f"heads.{name}.", "encoder.")) for key in moved)


def test_other_losses_are_what_they_are_without_the_heads():
    made, plain = module(), small_module(small_generator())
    weights = made.generator.state_dict()
    plain.generator.load_state_dict({key: weights[key] for key in plain.generator.state_dict()})
    without, losses = losses_of(plain, labeled_batch()), losses_of(made, labeled_batch())
    assert set(losses) == {*without, "contact", "segmentation"}
    assert all(torch.equal(losses[name], without[name]) for name in without)


def test_heads_learn_their_labels():
    """Overfitted to one batch, contact orders tokens as the true shares do, and every class is found."""
    heads = {"anchors": AnchorHeadConfig(), "contact": CONTACT, "segmentation": SEGMENTATION}
    made = small_module(small_generator(heads=heads), small_objective(terms=NEW))
    batch = labeled_batch()
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(losses_of(made, batch).values())).sum().backward()
        optimizer.step()
    c = made.objective.context(made.generator, batch, step=0, training=False)
    made.metrics.add(made.objective.metrics(c))
    found = made.metrics.compute()
    touched, missed = (x.flatten() for x in made.generator.heads["contact"].counts(c))
    best = auroc(touched / (touched + missed).clamp(min=1.0), touched, missed)
    assert best is not None and best - 0.02 < found["contact_auroc"] <= best
    assert found["segmentation_mean_iou"] > 0.95


def test_validation_computes_a_head_once():
    made, calls = module(), []
    hook = made.generator.heads["score"].register_forward_hook(lambda *_: calls.append(1))
    c = context(training=False)
    made.objective.losses(c, training=False)
    found = made.objective.metrics(c)
    hook.remove()
    assert len(calls) == 1
    assert set(found) == {"stable", "collision_free", "contact", "segmentation"}


def test_data_without_classes_are_refused():
    with pytest.raises(
        ValueError, match=r"heads\.segmentation learns from point_class, which the data have not"
    ):
        losses_of(module(), replace(labeled_batch(), point_class=None))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ContactHeadConfig(dim=0, touch_m=0.01), r"heads\.contact\.dim: expected at least 1, got 0"),
        (
            lambda: ContactHeadConfig(dim=8, touch_m=0.0),
            r"heads\.contact\.touch_m must be positive, got 0\.0",
        ),
        (lambda: SegmentationHeadConfig(dim=-1), r"heads\.segmentation\.dim: expected at least 1, got -1"),
    ],
)
def test_sizes_that_no_head_can_have_are_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    ("name", "kind"), [("contact", ContactHeadConfig), ("segmentation", SegmentationHeadConfig)]
)
def test_yaml_holds_every_setting(name, kind):
    group = load_group(f"model/generator/heads/{name}", "tokens")
    assert isinstance(build(group), kind)
    assert {str(key) for key in group} - {"_target_"} == {field.name for field in fields(kind)}


@pytest.mark.parametrize("name", ["contact", "segmentation"])
def test_a_head_and_its_term_come_together(compose, name):
    head, term = f"+model/generator/heads/{name}=tokens", f"model/objective/terms=[{name}]"
    for model in ("grasp_dit", "grasp_cvae"):
        cfg = compose(f"model={model}", head, f"+{term}" if model == "grasp_cvae" else term)
        validate(cfg)
    with pytest.raises(
        ValueError, match=rf"heads\.{name} is trained by no term\. Pass model/objective/terms="
    ):
        validate(compose(head))
    with pytest.raises(ValueError, match=rf"terms\.{name} trains the head '{name}', which the model has not"):
        validate(compose(term))
    validate(compose(term, f"model.objective.terms.{name}.weight=0"))
