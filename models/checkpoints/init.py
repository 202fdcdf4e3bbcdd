"""How training starts from a trained model instead of from nothing."""

import logging
from pathlib import Path

import torch
from torch import Tensor, nn

from sceneleapultra.models.checkpoints.migrate import SURELY_CLEAR
from sceneleapultra.models.checkpoints.weights import load_encoder, shape_of
from sceneleapultra.models.inference import load_grasp_model
from sceneleapultra.models.learning import GraspLearning
from sceneleapultra.models.network.scorer.tokens import TokenScorer

_log = logging.getLogger(__name__)


def begin(module: nn.Module, init_from: str | None, encoder_weights: str | None, *, frame: str) -> None:
    """Take over what the configuration names: a whole model, or an encoder; nothing where both are None.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it does not fit.
    """
    if init_from is not None:
        if not isinstance(module, GraspLearning):
            raise ValueError(
                f"init_from={init_from} starts a model of grasps, this run trains a {type(module).__name__}. Pass "
                "init_from=null."
            )
        start_from(module, init_from, frame=frame)
    if encoder_weights is not None:
        assert isinstance(module.encoder, nn.Module)
        load_encoder(module.get_submodule("encoder"), encoder_weights)


def start_from(module: GraspLearning, path: str | Path, *, frame: str) -> None:
    """Take over the weights of a checkpoint; pose statistics, optimizer, schedule and averaging begin anew.

    A scorer of another kind begins anew. One that never learned whether grasps are clear, but was made sure of it so
    that its order stays, begins at even odds: from certainty it would take long to learn.

    Args:
        module: the model to be trained, of the same architecture.
        path: the checkpoint.
        frame: of the data that will be trained on.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: it is of another architecture (the first difference is named), of another reference point or of
            another frame.
    """
    trained = load_grasp_model(path).module
    mine: dict[str, Tensor] = dict(module.named_parameters())
    theirs: dict[str, Tensor] = dict(trained.named_parameters())
    same_scorer = type(module.scorer) is type(trained.scorer)
    for key in [*mine, *theirs]:
        if key.startswith("scorer.") and not same_scorer:
            continue
        have, need = shape_of(theirs, key), shape_of(mine, key)
        if have != need:
            raise ValueError(
                f"init_from: {path} has {key} {have}, the model to be trained {need}. Pass the model settings of the "
                "checkpoint's run, or init_from=null."
            )
    here, there = module.denoiser.codec.reference_depth, trained.denoiser.codec.reference_depth
    if here != there:
        raise ValueError(
            f"init_from: {path} speaks of a point {there:g} m in front of the palm, the model to be trained of one at "
            f"{here:g} m: its translations would mean something else. Pass model.reference_depth={there:g}."
        )
    before = trained.denoiser.normalizer.frame
    if before != frame:
        raise ValueError(
            f"init_from: {path} was trained in frame '{before}', the data are in '{frame}'. Pass data of that frame."
        )
    taken = trained.state_dict()
    if not same_scorer:
        _log.info(f"init_from: {path} has a scorer of another kind than model.scorer; this one begins anew.")
        own = {key: value for key, value in module.state_dict().items() if key.startswith("scorer.")}
        taken = {key: value for key, value in taken.items() if not key.startswith("scorer.")} | own
    module.load_state_dict(taken)
    if isinstance(module.scorer, TokenScorer):
        out = module.scorer.decoder.out
        with torch.no_grad():
            if not out.weight[1].any() and out.bias[1] == SURELY_CLEAR:
                out.bias[1] = 0.0
