"""Write a trained model as a bundle: a folder that needs no training code, checked by digests and by a probe.

python scripts/export_model.py leap_table bundles/leap_table
python scripts/export_model.py leap_table bundles/leap_table --onnx      # for onnxruntime without torch, too
python scripts/export_model.py leap_table bundles/small --precision int8 # a quarter of the size
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from pathlib import Path
from typing import Literal

from sceneleapultra.utils.core import cli
from sceneleapultra.utils.core.config import CONFIG_DIR
from sceneleapultra.utils.core.console import say

EXAMPLE = CONFIG_DIR.parent / "model_zoo" / "example_view.npz"


def export(
    checkpoint: str,
    folder: Path,
    *,
    onnx: bool = False,
    pt2: bool = False,
    unrolled: int | None = None,
    precision: Literal["float32", "bf16", "int8"] = "float32",
    plugins: list[str] | None = None,
) -> None:
    """Export a model.

    Args:
        checkpoint: a file, or the name of a shipped model
        folder: to make
        onnx: the graphs for onnxruntime, too, which then needs no torch
        pt2: with --onnx, the same graphs as programs of torch.export, too
        unrolled: with --onnx, a graph of so many steps of the solver, too: noise in, grasps out, no loop around it
        precision: of the weights in all files; what is computed with them is float32
        plugins: packages outside the project that the model is built from

    Raises:
        FileNotFoundError: no such checkpoint.
        FileExistsError: something is in the folder.
        ValueError: not a checkpoint of this project; what writes ONNX is not installed; or a part of the model has no
            form in it; --pt2 or --unrolled without --onnx.
    """
    from sceneleapultra.models.bundle.manifest import check_free
    from sceneleapultra.models.checkpoints.zoo import find_checkpoint
    from sceneleapultra.models.export.packages import require_onnx

    if Path(checkpoint).suffix == ".h5":
        raise ValueError(
            f"{checkpoint} is a data set, and this exports models. Data sets: python scripts/export_dataset.py"
        )
    if (pt2 or unrolled is not None) and not onnx:
        flag = "--pt2" if pt2 else "--unrolled"
        raise ValueError(f"{flag} adds to the graphs of --onnx. Pass --onnx with it.")
    path = find_checkpoint(checkpoint)
    check_free(folder)
    if onnx:
        require_onnx()

    from sceneleapultra.models.bundle.probe import probe_request
    from sceneleapultra.models.bundle.write import write_bundle
    from sceneleapultra.models.inference import load_grasp_model
    from sceneleapultra.utils.requests import GraspRequest
    from sceneleapultra.utils.requests.files import read_sensor

    model = load_grasp_model(path, plugins=plugins or [])
    probe = probe_request(GraspRequest.of(read_sensor(EXAMPLE, None, None)))
    write_bundle(model, probe, folder, onnx=onnx, pt2=pt2, unrolled=unrolled, precision=precision)
    load_grasp_model(folder, plugins=plugins or [])
    size = sum(file.stat().st_size for file in folder.iterdir())
    say(f"bundle   {folder} ({size / 1e6:.1f} MB), read back and its probe sampled")


def main() -> None:
    """Export what the command line names."""
    cli.run(export, __doc__)


if __name__ == "__main__":
    main()
