"""One set of weights for several hands: generators that differ in their hand alone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from sceneleapultra.hands import load_hand
from sceneleapultra.models.checkpoints.load import build_generator
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.inference import GraspModel
from sceneleapultra.models.mirrored import MirroredModel, is_mirror_image
from sceneleapultra.models.network.low_rank import merged_state
from sceneleapultra.models.palm_normalizer import PalmNormalizer
from sceneleapultra.models.retargeted import RetargetedModel


class SharedGenerators:
    """The generators of other hands that use the parameters of one generator; each is built when it is first asked for.

    Args:
        generator: whose parameters they are; with a hand encoder, or nobody is served but its own hand.
    """

    def __init__(self, generator: GraspGenerator) -> None:
        self.generator = generator
        self._others: dict[str, GraspGenerator] = {}

    def of(self, hand: str) -> GraspGenerator:
        """Return the generator of a hand, in the same mode as the one whose parameters it uses.

        Raises:
            ValueError: the generator serves its own hand alone.
        """
        if hand == self.generator.hand.name:
            return self.generator
        if hand not in self._others:
            self._others[hand] = sharing(self.generator, hand)
        other = self._others[hand]
        if isinstance(other.normalizer, PalmNormalizer):
            other.normalizer.spread()  # statistics may have come since it was built: they are measured with it
        if other.training != self.generator.training:
            other.train(self.generator.training)
        return other


def sharing(generator: GraspGenerator, hand: str) -> GraspGenerator:
    """Return a generator of another hand that uses the same parameters, and what else travels in a checkpoint.

    Raises:
        ValueError: the generator serves its own hand alone.
    """
    other = _for_hand(generator, hand).to(generator.device)
    theirs = dict(other.named_modules())
    for name, module in generator.named_modules():
        if name not in theirs:  # a part of the hand itself
            continue
        for key, parameter in module._parameters.items():
            theirs[name]._parameters[key] = parameter
        kept = set(module._buffers) - module._non_persistent_buffers_set
        for key in kept:
            theirs[name]._buffers[key] = module._buffers[key]
        if hasattr(module, "checkpointing"):
            theirs[name].checkpointing = module.checkpointing
    other.normalizer.set_extra_state(generator.normalizer.get_extra_state())
    return other.train(generator.training)


def served(model: GraspModel, hand: str, *, retarget: bool = False) -> GraspModel:
    """Return a model that generates grasps of a hand: the model itself, its mirror image, or the same for any hand.

    Args:
        model: as it was loaded.
        hand: see :func:`~sceneleapultra.hands.load_hand`.
        retarget: whether a hand that is neither the model's nor its mirror image takes over the grasps of the model's.

    Raises:
        ValueError: the model is of one hand, of which this is neither itself nor the mirror image, and ``retarget``
            is false; or a hand that cannot take grasps over.
    """
    wanted = load_hand(hand)
    if wanted.table_hash == model.hand.table_hash:
        return model
    if retarget and not is_mirror_image(wanted, model.hand):
        return RetargetedModel.of(model, wanted)
    if model.generator.hand_encoder is None:
        return MirroredModel.of(model, wanted)
    generator = _for_hand(model.generator, hand)
    generator.load_state_dict(model.generator.state_dict())
    generator = generator.to(model.generator.device).eval()
    return GraspModel(generator, model.cloud_settings, completion=model.completion)


def merged(generator: GraspGenerator) -> GraspGenerator:
    """Return the same generator without adapters, their changes added to its weights."""
    config: Mapping[str, Any] | None = generator.config
    assert config is not None
    encoder = {**config["hand_encoder"], "adapter_rank": None}
    with torch.random.fork_rng(devices=[]):
        plain = build_generator({**config, "hand_encoder": encoder})
    assert isinstance(plain, GraspGenerator) and isinstance(plain, nn.Module)
    plain.load_state_dict(merged_state(generator))
    return plain.to(generator.device).train(generator.training)


def _for_hand(generator: GraspGenerator, hand: str) -> GraspGenerator:
    """Build the generator of another hand.

    Raises:
        ValueError: the generator serves its own hand alone.
    """
    if generator.hand_encoder is None:
        raise ValueError(
            f"This model is of hand '{generator.hand.name}' alone, asked for '{hand}'. Train one for many with "
            "model/generator/hand_encoder=graph."
        )
    config: Mapping[str, Any] | None = generator.config
    assert config is not None
    with torch.random.fork_rng(devices=[]):  # weights that are drawn and thrown away
        made = build_generator({**config, "hand": hand})
    assert isinstance(made, GraspGenerator) and isinstance(made, nn.Module)
    return made
