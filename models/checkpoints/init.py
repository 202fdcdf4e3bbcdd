"""How training starts from a trained model instead of from nothing."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from sceneleapultra.models.checkpoints.load import load_generator
from sceneleapultra.models.checkpoints.migrate import SURELY_COLLISION_FREE
from sceneleapultra.models.checkpoints.weights import load_encoder, shape_of
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.heads.tokens import TokenScoreHead
from sceneleapultra.models.network.low_rank import adapters, is_adapter

_log = logging.getLogger(__name__)


def init_weights(
    generator: nn.Module, init_from: str | None, encoder_weights: str | None, *, frame: str
) -> None:
    """Take over what the configuration names: a whole generator, or an encoder; nothing where both are None.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it does not fit.
    """
    if init_from is None and adapters(generator):
        raise ValueError(
            "model.generator.hand_encoder.adapter_rank trains adapters of a trained model alone, init_from=null names "
            "none. Pass init_from=<its checkpoint>, or adapter_rank=null."
        )
    if init_from is not None:
        if not isinstance(generator, GraspGenerator):
            raise ValueError(
                f"init_from={init_from} starts a model of grasps, this run trains a {type(generator).__name__}. Pass "
                "init_from=null."
            )
        start_from(generator, init_from, frame=frame)
    if encoder_weights is not None:
        load_encoder(generator.get_submodule("encoder"), encoder_weights)


def start_from(generator: GraspGenerator, path: str | Path, *, frame: str) -> None:
    """Take over the weights of a checkpoint's generator; statistics, optimizer, schedule and averaging start afresh.

    A model for many hands keeps its statistics: those of a few grasps of one hand would change what its weights mean.

    A head that the checkpoint lacks, or has of another kind, keeps its initial weights. A score head that never learned
    whether grasps are collision-free, but was made sure of it so that its order stays, starts at even odds: from
    certainty it would take long to learn.

    Args:
        generator: to be trained, of the same architecture but for its heads.
        path: the checkpoint.
        frame: of the data that will be trained on.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it is of another architecture (the first difference is named) or of another frame.
    """
    trained, _ = load_generator(path)
    fresh = [
        name
        for name, head in generator.heads.items()
        if name not in trained.heads or type(head) is not type(trained.heads[name])
    ]
    left = tuple(
        f"heads.{name}." for name in {*fresh, *(n for n in trained.heads if n not in generator.heads)}
    )
    mine: dict[str, Tensor] = dict(generator.named_parameters())
    theirs: dict[str, Tensor] = dict(trained.named_parameters())
    for key in [*mine, *theirs]:
        have, need = shape_of(theirs, key), shape_of(mine, key)
        begins = key not in theirs and (is_adapter(key) or _of_completion(key))
        if have != need and not key.startswith(left) and not begins:
            raise ValueError(
                f"init_from: {path} has {key} {have}, the model to be trained {need}. Pass the model settings of the "
                "checkpoint's run, or init_from=null."
            )
    here, there = generator.codec.reference_depth, trained.codec.reference_depth
    if here != there:
        _log.warning(
            f"init_from: {path} speaks of a point {there:g} m in front of the palm, the model to be trained of one at "
            f"{here:g} m: what it knows of translations is learned anew. Pass "
            f"model.generator.representation.reference_depth={there:g} to keep it."
        )
    before = trained.normalizer.frame
    if before != frame:
        raise ValueError(
            f"init_from: {path} was trained in frame '{before}', the data are in '{frame}'. Pass data of that frame."
        )
    for name in fresh:
        _log.info(f"init_from: {path} has no head '{name}' of this kind; it keeps its initial weights.")
    own, taken = generator.state_dict(), trained.state_dict()
    generator.load_state_dict(
        {key: own[key] if key.startswith(left) or key not in taken else taken[key] for key in own}
    )
    head = generator.heads["score"] if "score" in generator.heads else None  # noqa: SIM401 (a ModuleDict)
    if isinstance(head, TokenScoreHead):
        out = head.decoder.out
        assert isinstance(out, nn.Linear)  # of two numbers, for any hand
        with torch.no_grad():
            if not out.weight[1].any() and out.bias[1] == SURELY_COLLISION_FREE:
                out.bias[1] = 0.0


def _of_completion(key: str) -> bool:
    """Say whether a parameter belongs to what a completion adds to a model, which starts as if it was not there."""
    return key.startswith("completion.") or ".completion_attn." in key
