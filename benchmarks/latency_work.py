"""The work that ``benchmarks/latency.py`` measures, in a process that imports the project from a chosen checkout."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

STEPS, GRASPS = 8, 100
FREE = ("empty", "new_empty", "empty_like", "_unsafe_view", "detach", "lift_fresh")  # and views


def work_of(checkout: str) -> None:
    """Answer requests for measurements of this checkout, one a line."""
    sys.path[:0] = [checkout, f"{checkout}/tests"]
    import torch

    torch.set_num_threads(1)
    made: dict[str, Callable[[], object]] = {}
    for line in sys.stdin:
        what, name = line.split()
        if name not in made:
            made[name] = WORK[name]()
            made[name]()  # fills what is computed once
        if what == "count":
            answer: Any = count(made[name])
        else:
            begun = time.process_time()
            made[name]()
            answer = 1e3 * (time.process_time() - begun)
        print(json.dumps(answer), flush=True)


def count(run: Callable[[], object]) -> dict[str, int]:
    """Return how many operations a call dispatches, and how many of them compute something."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        operations = launches = 0

        def __torch_dispatch__(
            self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
        ) -> Any:
            self.operations += 1
            self.launches += not (func.is_view or func.overloadpacket.__name__ in FREE)
            return func(*args, **(kwargs or {}))

    kept = {(module, name): getattr(module, name) for module, name in _pieces()}
    for module, name in kept:
        setattr(module, name, 1 << 28)
    with Count() as counted:
        run()
    for (module, name), size in kept.items():
        setattr(module, name, size)
    return {"operations": counted.operations, "launches": counted.launches}


def _pieces() -> list[tuple[Any, str]]:
    """Return where it stands how much of a batch a CPU computes together."""
    from sceneleapultra.models.network import surface
    from sceneleapultra.models.network.encoder import grouped
    from sceneleapultra.utils.geometry.points import neighbors

    names = [(neighbors, "_PAIRS_CPU"), (grouped, "_NUMBERS_CPU"), (surface, "_PAIRS"), (surface, "_ROWS")]
    return [(module, name) for module, name in names if hasattr(module, name)]


def _encode(name: str, points: int) -> Callable[[], object]:
    import torch
    from hydra import compose, initialize_config_dir

    from sceneleapultra.models.network.tokens import Cloud
    from sceneleapultra.utils.core.config import CONFIG_DIR, build

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=[f"model/generator/encoder={name}", "run_dir=unused"])
    torch.manual_seed(0)
    encoder = build(cfg.model.generator.encoder).eval()
    cloud = Cloud.of(_scene(points))
    return torch.no_grad()(lambda: encoder(cloud))


def _denoise() -> Callable[[], object]:
    import torch

    from sceneleapultra.models.network.tokens import Cloud

    generator = _shipped()
    with torch.no_grad():
        scene = generator.encode(Cloud.of(_scene(768)))
        index = scene.tokens.target.long().argsort(dim=1, descending=True)[:, :1].expand(1, GRASPS)
        anchored = generator.anchor(scene, index, torch.zeros_like(index))
    x_t = torch.randn(1, GRASPS, generator.dim_input, generator=torch.Generator().manual_seed(0))
    t = torch.full((1,), 0.4)
    known: tuple[Any, ...] = ()
    if hasattr(generator, "noise_level"):  # of all steps, before the first: checkouts since then
        with torch.no_grad():
            known = (generator.noise_level(t),)
    return torch.no_grad()(lambda: generator.predict_x0(x_t, t, anchored, *known))


def _sample() -> Callable[[], object]:
    generator, batch = _shipped(), _scene(768)
    changes = {"steps": STEPS, "guidance": "none"}
    return lambda: generator.sample(batch, GRASPS, seeds=[0], sampling=changes)


def _training_step() -> Callable[[], object]:
    import torch
    from hydra import compose, initialize_config_dir

    from factories.models import scene_batch
    from sceneleapultra.models.module import build_module
    from sceneleapultra.utils.core.config import CONFIG_DIR, build

    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("config", overrides=["experiment=quickstart", "run_dir=unused"])
    torch.manual_seed(0)
    optimizer, scheduler = build(cfg.optimizer), build(cfg.scheduler)
    module = build_module(cfg.model, cloud={}, optimizer=optimizer, scheduler=scheduler).train()
    batch = scene_batch(num_scenes=12, num_points=768, num_grasps=16)

    def step() -> None:
        context = module.objective.context(module.generator, batch, step=1, training=True)
        module.objective.total(module.objective.losses(context, training=True), 1).backward()

    return step


def _shipped() -> Any:
    from sceneleapultra.models import load_grasp_model

    return load_grasp_model("leap_table").generator


def _scene(points: int) -> Any:
    from benchmarks.sampling_cost import scene

    return scene(points, 0)


WORK: Mapping[str, Callable[[], Callable[[], object]]] = {
    "encode_pointnet2": lambda: _encode("pointnet2", 4000),
    "encode_ptv3_light": lambda: _encode("ptv3_light", 4000),
    "encode_ptv3": lambda: _encode("ptv3", 4000),
    "denoise_100": _denoise,
    "sample_100_in_8": _sample,
    "training_step": _training_step,
}
