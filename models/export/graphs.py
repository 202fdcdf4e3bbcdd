"""A generator cut into graphs without loops: what an exporter sees, tensors in and tensors out, each with a name.

The solver's loop, the choice of anchors and all random numbers stay outside, so batch, points, grasps and steps may be
any number; only :class:`SamplerGraph` has a loop of so many steps inside. The names say which axes may be of any
length: see :data:`AXES`.
"""

from typing import Any, ClassVar

from torch import Tensor, nn

from sceneleapultra.models.beside import MEASURED
from sceneleapultra.models.clearance import least_distance
from sceneleapultra.models.export.ptv3 import ptv3_of
from sceneleapultra.models.export.scene import SCENE, SURFACE, TOKENS, key_names, scene_of, scene_tensors
from sceneleapultra.models.generator import GraspGenerator
from sceneleapultra.models.network.context import AnchoredScene
from sceneleapultra.models.network.decoder.base import GraspContext
from sceneleapultra.models.network.encoder.ptv3.voxels import own_cells
from sceneleapultra.models.network.tokens import Cloud

# Axes besides the first that may have any length: n points, g grasps.
AXES = {
    **dict.fromkeys(("points", "valid", "target", "rgb"), "n"),
    **dict.fromkeys(
        ("index", "set_id", "noise", "x_t", "x0", "origins", "frames", "geometry", "anchor"), "g"
    ),
}
MOST_UNROLLED = 8  # steps


class Graph(nn.Module):
    """A part of a generator.

    Attributes:
        name: of its file.
        inputs: names of the tensors that ``forward`` takes, in their order.
        outputs: of those that it returns.
        least: lengths that an axis must have, where that is more than 1.
    """

    name: ClassVar[str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    least: dict[str, int]

    def __init__(self, generator: GraspGenerator) -> None:
        super().__init__()
        self.generator, self.least = generator, {}

    @property
    def scene_names(self) -> tuple[str, ...]:
        """Names of the tensors of an encoded scene."""
        return (*SCENE, *key_names(self.generator))


class EncoderGraph(Graph):
    """A cloud to all that grasps ask of its scene, with the logits that choose anchors.

    Where the encoder has voxels, it says how many each cloud spans, too: a graph refuses nothing.
    """

    name = "encoder"

    def __init__(self, generator: GraspGenerator) -> None:
        super().__init__(generator)
        color = ("rgb",) if generator.encoder.use_color else ()
        self.inputs = ("points", "valid", "target", "viewpoint", "up", *color)
        self.heads = tuple(name for name in ("anchors", "graspness") if name in generator.heads)
        ptv3 = ptv3_of(generator)
        self.grid_size = None if ptv3 is None else ptv3.grid_size
        self.outputs = (*self.scene_names, *self.heads, *(() if ptv3 is None else ("span",)))
        self.least = {"n": max(generator.encoder.num_centers, generator.contact_points or 1)}

    def forward(self, *cloud: Tensor) -> tuple[Tensor, ...]:
        """Encode."""
        scene = self.generator.encode(Cloud(*cloud))
        heads = [scene.outputs[name] for name in self.heads]
        span = (
            [] if self.grid_size is None else [own_cells(Cloud(*cloud), self.grid_size)[1].amax((1, 2)) + 1]
        )
        # Where tokens are the surface, too, an output would be another one: a graph names each once.
        return (*(x.clone() for x in scene_tensors(scene)), *heads, *span)


class AnchorGraph(Graph):
    """The scene as seen from the anchors of grasps: constant over the steps of a solver."""

    name = "anchor"
    inputs = ("index", *TOKENS)
    outputs = ("origins", "frames", "geometry", "anchor")

    def forward(self, index: Tensor, *tokens: Tensor) -> tuple[Tensor, ...]:
        """Look from each anchor."""
        scene = scene_of(dict(zip(TOKENS, tokens, strict=True)))
        own = self.generator.reference_frames(scene.tokens, index)
        return (*own, *self.generator.view(scene, index, *own))


class AnchoredGraph(Graph):
    """What reads a scene as the anchors of grasps see it."""

    def anchored(self, set_id: Tensor, *views: Tensor) -> AnchoredScene:
        """Return that scene, of its tensors."""
        origins, frames, geometry, anchor, *tensors = views
        scene = scene_of(dict(zip(self.scene_names, tensors, strict=True)))
        view = (geometry, anchor, scene.tokens.valid, set_id)
        context = GraspContext(
            scene.keys_values, *view, prompt=None, prompt_valid=None, hand=None, completion=None
        )
        return AnchoredScene(
            scene=scene, index=set_id, origins=origins, frames=frames, prompt=None, context=context
        )


class DenoiserGraph(AnchoredGraph):
    """One evaluation: noised states at a time to the clean states predicted from them."""

    name = "denoiser"
    outputs = ("x0",)

    def __init__(self, generator: GraspGenerator) -> None:
        super().__init__(generator)
        self.inputs = ("x_t", "t", "set_id", *AnchorGraph.outputs, *self.scene_names)

    def forward(self, x_t: Tensor, t: Tensor, set_id: Tensor, *views: Tensor) -> Tensor:
        """Evaluate."""
        return self.generator.predict_x0(x_t, t, self.anchored(set_id, *views))


class SamplerGraph(AnchoredGraph):
    """A whole run of the generator's solver, its loop unrolled: noise to clean states, for engines without a loop.

    Args:
        generator: the generator.
        steps: of the solver.

    Raises:
        ValueError: more steps than are unrolled.
    """

    name = "sampler"
    outputs = ("x0",)

    def __init__(self, generator: GraspGenerator, steps: int) -> None:
        super().__init__(generator)
        if not 1 <= steps <= MOST_UNROLLED:
            raise ValueError(
                f"--unrolled {steps}: expected 1 to {MOST_UNROLLED} steps; each is a copy of the denoiser in the "
                "graph. Sample more of them by a loop around denoiser.onnx."
            )
        changes = {} if generator.sampling.solver.kind == "latent" else {"steps": steps}
        self.solver = generator.sampling.changed(**changes).solver
        self.inputs = ("noise", "set_id", *AnchorGraph.outputs, *self.scene_names)

    def forward(self, noise: Tensor, set_id: Tensor, *views: Tensor) -> Tensor:
        """Sample."""
        generator, anchored = self.generator, self.anchored(set_id, *views)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            return generator.predict_x0(x, t, anchored)

        return generator.process.solve(self.solver, denoise, noise, self._no_noise, trajectory=False).x0

    def _no_noise(self, _: Tensor) -> Tensor:
        raise ValueError(
            f"--unrolled: sampling.solver={self.solver.name} draws noise on its way, and this graph has one input of "
            "noise. Leave it away, or export a model whose solver draws none, as ddim with eta 0."
        )


class GraspsGraph(Graph):
    """Clean states to grasps: the pose in the form of data sets, and the joints of the squeeze."""

    name = "grasps"
    inputs = ("x0", "origins", "frames")
    outputs = ("hand_pose", "squeeze_qpos")

    def forward(self, x0: Tensor, origins: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Decode."""
        generator = self.generator
        pose, squeeze, _ = generator.codec.decode(generator.metric(x0), origins, frames)
        return pose.to_hand_pose(), squeeze


class ScoreGraph(Graph):
    """Clean states to the log-odds that their grasps are stable and collision-free."""

    name = "score"
    outputs = ("log_odds",)

    def __init__(self, generator: GraspGenerator) -> None:
        super().__init__(generator)
        self.inputs = ("x0", "index", "origins", "frames", "up", *TOKENS, *SURFACE)

    def forward(self, x0: Tensor, index: Tensor, origins: Tensor, frames: Tensor, *tensors: Tensor) -> Tensor:
        """Score."""
        generator = self.generator
        grasps = generator.decode_at(x0, index, origins, frames)
        scene = scene_of(dict(zip(("up", *TOKENS, *SURFACE), tensors, strict=True)))
        log_odds: Tensor = generator.score_head(grasps, scene)
        return log_odds


class ClearanceGraph(Graph):
    """Hands and points to the least distance between them."""

    name = "clearance"
    inputs = ("hands", "beside")
    outputs = ("clearance_m",)

    def __init__(self, generator: GraspGenerator) -> None:
        super().__init__(generator)
        self.least = {"beside": MEASURED}

    def forward(self, hands: Tensor, points: Tensor) -> Tensor:
        """Measure."""
        return least_distance(self.generator.hand, hands, points)


class ScheduleGraph(Graph):
    """Times to those that the process has, and its scales of signal and noise there."""

    name = "schedule"
    inputs = ("times",)
    outputs = ("on_grid", "alpha", "sigma")

    def __init__(self, generator: GraspGenerator) -> None:
        super().__init__(generator)
        process: Any = generator.process
        self.noise = getattr(process, "diffusion", process).noise

    def forward(self, times: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate."""
        times = self.noise.on_grid(times)
        # A path that is constant gives what it is given: graphs have outputs of their own.
        return times + 0.0, self.noise.alpha(times) + 0.0, self.noise.sigma(times) + 0.0


def graphs_of(generator: GraspGenerator, unrolled: int | None = None) -> list[Graph]:
    """Return the graphs of a generator, in the order in which one needs the outputs of another.

    Args:
        generator: the generator.
        unrolled: steps of a sampler without a loop; None for no such graph.
    """
    kinds: list[type[Graph]] = [
        EncoderGraph,
        AnchorGraph,
        DenoiserGraph,
        GraspsGraph,
        ClearanceGraph,
        ScoreGraph,
    ]
    if generator.sampling.solver.kind != "latent":
        kinds.append(ScheduleGraph)
    sampler = [] if unrolled is None else [SamplerGraph(generator, unrolled)]
    return [*(kind(generator) for kind in kinds), *sampler]
