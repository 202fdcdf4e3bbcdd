"""The graphs of a generator as ONNX files, and what an engine must know beside them."""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.exc import UserError
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import InputKind

from sceneleapultra.models.beside import MEASURED
from sceneleapultra.models.bundle.parts import RUNTIME
from sceneleapultra.models.export.choices import choices
from sceneleapultra.models.export.graphs import AXES, Graph, graphs_of
from sceneleapultra.models.export.ptv3 import ptv3_of, traceable
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.utils.core.files import write_json

_MOST = 1 << 20  # of any axis
# Of the example that is traced: lengths of no other axis. Inductor takes an axis as long as another for that one: it
# drops views that change nothing in the example, and what is compiled ahead of time is then of that length for ever.
_SCENES, _GRASPS = 5, 11


def check_exportable(generator: GraspGenerator) -> None:
    """Refuse a generator with a part that has no form in ONNX, by its name.

    Raises:
        ValueError: names it, and where it is.
    """
    if (ptv3 := ptv3_of(generator)) is not None:
        architecture = ptv3.network.architecture
        for name, needed in (("attention", "sdpa"), ("convolution", "gather")):
            if (value := getattr(architecture, name)) != needed:
                raise ValueError(
                    f"model.generator.encoder.architecture.{name}={value} has no form in ONNX. Export without --onnx, "
                    f"or build the model with {name}={needed}, which has the same weights."
                )
    if not generator.has_score_head:
        raise ValueError(
            "This model has no head 'score': without it grasps are ranked by likelihood, which follows gradients and "
            "has no form in ONNX. Export without --onnx, or train with model/generator/heads/score=surface."
        )
    if generator.completion is not None:
        raise ValueError(
            "model.generator.completion: voxels are made of clouds by code outside the network "
            "(utils/geometry/voxels/observe.py), which has no form in ONNX. Export without --onnx."
        )
    if generator.conditioning.conditions:
        raise ValueError(
            "model.generator.conditions: prompts are turned into vectors by code outside the network "
            "(models/network/conditions/words.py), which has no form in ONNX. Export without --onnx."
        )


def write_graphs(
    generator: GraspGenerator,
    folder: Path,
    *,
    pt2: bool = False,
    only: Collection[str] = (),
    rounded: Mapping[str, Tensor] | None = None,
    unrolled: int | None = None,
) -> None:
    """Write one ONNX file per graph.

    Args:
        generator: in evaluation mode, on the processor.
        folder: where.
        pt2: whether to write the program that each is made of, too, for ``torch.export.load``.
        only: names of the graphs to write; empty: all.
        rounded: weights in the form in which graphs store them, where they were rounded.
        unrolled: steps of a graph that samples without a loop; None for no such graph.

    Raises:
        ValueError: an operator has no form in ONNX (names the graph), or a loop that cannot be unrolled.
    """
    check_exportable(generator)
    generator = traceable(generator)
    tensors = _example(generator)
    with torch.no_grad(), _quiet():
        for graph in graphs_of(generator, unrolled):
            inputs = tuple(tensors[name].contiguous().clone() for name in graph.inputs)
            made = graph(*inputs)
            tensors |= dict(zip(graph.outputs, made if isinstance(made, tuple) else (made,), strict=True))
            if only and graph.name not in only:
                continue
            program = _trace(graph, inputs)
            if pt2:
                torch.export.save(program, folder / f"{graph.name}.pt2")
            path = folder / f"{graph.name}.onnx"
            _write(program, graph, path)
            if rounded:
                from sceneleapultra.models.export.compact import compact_graph

                compact_graph(path, rounded)
    write_json(folder / RUNTIME, _about(generator) | {"unrolled": unrolled}, indent=1)


def _trace(graph: Graph, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    axes: list[dict[int, Any]] = []
    for name in graph.inputs:
        found: dict[int, Any] = {0: Dim.DYNAMIC(min=graph.least.get(name, 1), max=_MOST)}
        if (axis := AXES.get(name)) is not None:
            found[1] = Dim.DYNAMIC(min=graph.least.get(axis, 1), max=_MOST)
        axes.append(found)
    parameters = inspect.signature(graph.forward).parameters.values()
    own = sum(parameter.kind is not parameter.VAR_POSITIONAL for parameter in parameters)
    shapes = (*axes[:own], tuple(axes[own:])) if own < len(parameters) else tuple(axes)
    try:
        program = torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=False)
    except (UserError, RuntimeError) as error:
        raise _no_form(graph, error) from error
    _drop_unused(program)
    return program


def _drop_unused(program: ExportedProgram) -> None:
    """Take the weights that a graph does not read, those of the generator's other parts, out of its program."""
    signature, kept = program.graph_signature, []
    nodes = program.graph.find_nodes(op="placeholder")
    for node, spec in zip(nodes, signature.input_specs, strict=True):
        if node.users or spec.kind is InputKind.USER_INPUT:
            kept.append(spec)
            continue
        program.graph.erase_node(node)
        for held in (program.state_dict, program.constants):
            held.pop(spec.target, None)
    signature.input_specs[:] = kept
    program.graph_module.recompile()


def _write(program: ExportedProgram, graph: Graph, path: Path) -> None:
    try:
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            external_data=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise _no_form(graph, error) from error
    assert made is not None
    for node in made.model.graph:  # where in whose files each was made: half the size of a small graph
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    made.save(str(path))


def _no_form(graph: Graph, error: BaseException) -> ValueError:
    return ValueError(
        f"Graph '{graph.name}' cannot be exported to ONNX: {_reason(error)} Export without --onnx."
    )


def _reason(error: BaseException) -> str:
    """Return what an exporter says went wrong, without its advice."""
    lines = [line.strip() for line in str(error.__cause__ or error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:400]


def _example(generator: GraspGenerator) -> dict[str, Tensor]:
    """Return inputs of every graph that no other graph gives; what they hold does not matter, lengths differ."""
    torch_random = torch.Generator().manual_seed(0)
    n = max(generator.encoder.num_centers, generator.contact_points or 1) + 57
    b, g = _SCENES, _GRASPS
    points = 0.2 * torch.rand(b, n, 3, generator=torch_random)
    dim = generator.dim_input
    hands = torch.cat([torch.zeros(3), generator.hand.joint_limits.mean(-1), torch.eye(4)[0]]).repeat(g, 1)
    return {
        "points": points,
        "valid": torch.ones(b, n, dtype=torch.bool),
        "target": torch.arange(n).expand(b, n) % 2 == 0,
        "viewpoint": torch.ones(b, 3),
        "up": torch.tensor([0.0, 0.0, 1.0]).repeat(b, 1),
        "rgb": torch.rand(b, n, 3, generator=torch_random),
        "index": torch.zeros(b, g, dtype=torch.long),
        "set_id": torch.zeros(b, g, dtype=torch.long),
        "x_t": torch.randn(b, g, dim, generator=torch_random),
        "noise": torch.randn(b, g, dim, generator=torch_random),
        "t": torch.full((b,), 0.5),
        "hands": hands,
        "beside": 0.3 * torch.rand(MEASURED + 57, 3, generator=torch_random),
        "times": torch.linspace(1.0, 0.0, 5),
    }


def _about(generator: GraspGenerator) -> dict[str, Any]:
    """Return what an engine must know of a generator beside its graphs, in plain containers."""
    noise = getattr(getattr(generator.process, "diffusion", generator.process), "noise", None)
    assert generator.config is not None
    ptv3 = ptv3_of(generator)
    return {
        "dim_input": generator.dim_input,
        "anchored": generator.representation.anchored,
        "min_points": generator.encoder.min_points,
        "uses_color": generator.encoder.use_color,
        "voxels": None if ptv3 is None else {"size": ptv3.grid_size, "depth": ptv3.depth},
        "prior_scale": 1.0 if noise is None else float(noise.prior_scale),
        "t_min": None if noise is None else float(noise.t_min),
        "num_steps": None if noise is None else noise.num_steps,
        "sampling": generator.config["sampling"],
        "choices": choices(),
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters say of themselves off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
