"""How a checkpoint becomes a bundle."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save
from torch import Tensor

from sceneleapultra.models.bundle.card import hand_card
from sceneleapultra.models.bundle.manifest import new_bundle
from sceneleapultra.models.bundle.parts import CONFIG, HAND, NORMALIZER, WEIGHTS, Precision
from sceneleapultra.models.bundle.precision import round_weights
from sceneleapultra.models.bundle.probe import PROBE, make_probe
from sceneleapultra.models.checkpoints.migrate import CHECKPOINT_VERSION
from sceneleapultra.models.inference import GraspModel
from sceneleapultra.utils.core.files import write_json
from sceneleapultra.utils.requests import GraspRequest

_PROBE_STEPS = 2


def write_bundle(
    model: GraspModel,
    request: GraspRequest,
    folder: Path,
    *,
    onnx: bool = False,
    pt2: bool = False,
    precision: Precision = "float32",
    unrolled: int | None = None,
) -> None:
    """Write a model as a bundle.

    Args:
        model: with its averaged weights, on the processor; with less than float32 it is left with rounded ones.
        request: the probe: what it should be asked at every loading.
        folder: to make.
        onnx: whether to write the graphs for an engine without torch, too.
        pt2: with ``onnx``, whether to write the same graphs as programs of ``torch.export``, too.
        precision: of the weights, in all files.
        unrolled: with ``onnx``, steps of a graph that samples without a loop.

    Raises:
        FileExistsError: something is there.
        ValueError: what writes ONNX is not installed, or a part of the model has no form in it.
        OSError: it cannot be written; nothing is left.
    """
    generator = model.generator
    if generator.hand_encoder is not None:
        raise ValueError(
            "A bundle is of one hand, this model makes its weights of a hand's graph. Export a model that was trained "
            "with model/generator/hand_encoder=none."
        )
    about = {
        "checkpoint_version": CHECKPOINT_VERSION,
        "hand": {"name": model.hand.name, "description_hash": model.hand.table_hash},
        "frame": model.frame,
        "data_hash": model.data_hash,
        "precision": precision,
    }
    rounded = round_weights(generator, precision)
    state = generator.state_dict()
    own = {key: value for key, value in state.items() if not key.startswith("normalizer.")} | rounded
    with new_bundle(folder, about) as temporary:
        (temporary / WEIGHTS).write_bytes(save({key: value.contiguous() for key, value in own.items()}))
        write_json(
            temporary / CONFIG, {"generator": generator.config, "cloud": model.cloud_settings}, indent=1
        )
        write_json(temporary / NORMALIZER, _normalizer(model, state), indent=1)
        write_json(temporary / HAND, hand_card(model.hand), indent=1)
        np.savez_compressed(temporary / PROBE, **make_probe(model, request, _probe_settings(model)))
        if onnx:
            from sceneleapultra.models.export.onnx import write_graphs
            from sceneleapultra.models.export.packages import require_onnx

            require_onnx()
            write_graphs(generator, temporary, pt2=pt2, rounded=rounded, unrolled=unrolled)


def _normalizer(model: GraspModel, state: dict[str, Any]) -> dict[str, Any]:
    """Return the statistics of states in plain containers; floats survive JSON bit for bit."""
    normalizer = model.generator.normalizer
    return {
        "names": model.generator.names,
        **{name: _plain(state[f"normalizer.{name}"]) for name in ("mean", "std", "fitted")},
        **normalizer.get_extra_state(),
    }


def _plain(values: Tensor) -> Any:
    return values.cpu().tolist()


def _probe_settings(model: GraspModel) -> dict[str, Any]:
    """Return how the probe is sampled: as cheaply as says something of all weights."""
    generator = model.generator
    sampling: dict[str, Any] = {"guidance": "none"}
    if generator.has_score_head:
        sampling["rank"] = "none"
    if generator.sampling.solver.kind != "latent":
        sampling["steps"] = _PROBE_STEPS
    settings: dict[str, Any] = {"sampling": sampling}
    conditions = generator.conditioning.conditions.values()
    if needed := [condition for condition in conditions if condition.drop_prob == 0.0]:
        settings["prompt"] = needed[0].encoder.example
    return settings
