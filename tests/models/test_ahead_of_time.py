"""Is an exported program, compiled ahead of time to machine code, the graph that it was made of?"""

import shutil
from pathlib import Path

import pytest
import torch

pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")

from benchmarks.export_parity import difference, run_torch, scene, starts, untrained
from sceneleapultra.models.export.graphs import graphs_of
from sceneleapultra.models.export.onnx import write_graphs

# Scenes, points, grasps: as many of one as of the other, as axes of space, one of each, and none of these.
SIZES = ((1, 512, 1), (2, 700, 2), (3, 512, 3), (2, 600, 16), (5, 1024, 33))


@pytest.mark.slow
@pytest.mark.traced
@pytest.mark.filterwarnings(
    "ignore:`torch._prims_common.check` is deprecated:FutureWarning"
)  # inductor about itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler: apt-get install g++")
@pytest.mark.parametrize(
    "name", ("encoder", "anchor", "denoiser", "grasps", "clearance", "score", "schedule")
)
@torch.no_grad()
def test_a_graph_as_machine_code(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exported and compiled by the command that docs/export.md names, and asked at other sizes than it was traced."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    generator = untrained("pointnet_lite", "cosine")
    write_graphs(generator, tmp_path, pt2=True, only=(name,))
    program = torch.export.load(tmp_path / f"{name}.pt2")
    assert all(node.users for node in program.graph.nodes if node.name.startswith(("p_", "b_", "c_")))
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "aoti.pt2"))
    compiled = torch._inductor.aoti_load_package(package)
    for b, n, g in SIZES:
        tensors = scene(b, n, seed=b)
        for graph in graphs_of(generator):
            if graph.name == "anchor":
                tensors |= starts(generator, b, g, tensors["token_target"], seed=b)
            if graph.name == "clearance":
                tensors["hands"] = tensors["hand_pose"].flatten(0, 1)
            inputs = {key: tensors[key] for key in graph.inputs}
            tensors |= (own := run_torch(graph, tensors))
            if graph.name == name:
                break
        made = compiled(*inputs.values())
        found = dict(zip(graph.outputs, made if isinstance(made, (tuple, list)) else (made,), strict=True))
        for key in graph.outputs:
            assert difference(found[key].numpy(), own[key]) <= 1e-5, (key, b, n, g)
