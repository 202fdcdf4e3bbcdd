"""A moving picture of a pick: the model's best grasp for an object on a cluttered table, carried out in simulation.

    python -m benchmarks.pick_film --store model_zoo/example_scene.h5 --object 6 --gif docs/pictures/pick.gif

The model sees one view. The hand approaches, closes and lifts as protocol scene-lift has it, table and all objects
simulated; a pick that is not clean is refused. Needs no graphics system.
"""

import sceneleapultra.utils.core.environment  # noqa: F401

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from benchmarks.common import command_line
from sceneleapultra.evaluation.items import Item
from sceneleapultra.evaluation.methods.model import ModelMethod
from sceneleapultra.evaluation.requests import request_from_store
from sceneleapultra.hands import Hand
from sceneleapultra.models import load_grasp_model
from sceneleapultra.reporting.drawing import OBJECT, ColoredMesh, Drawing, Rgb
from sceneleapultra.reporting.pictures import Viewpoint, render
from sceneleapultra.reporting.simulated import body_meshes
from sceneleapultra.simulation.protocols import get_protocol
from sceneleapultra.simulation.protocols.compiling import object_body
from sceneleapultra.simulation.protocols.film import FRAME_S, Film, Frame, film
from sceneleapultra.utils.core.parallel import LocalExecutor, map_ordered
from sceneleapultra.utils.records import Outcome

_SIZE = 640, 448
_EVERY, _LAST_S = 2, 1.2  # frames of the film for one of the picture; how long the last one stays
_NEIGHBORS: tuple[Rgb, ...] = (
    (0.87, 0.80, 0.68),
    (0.74, 0.83, 0.74),
    (0.86, 0.75, 0.75),
    (0.80, 0.79, 0.86),
)


def bodies(item: Item, one: Film) -> dict[int, ColoredMesh]:
    """Return the hand's bodies as they are simulated, and the objects with their true surfaces, in their own frames."""
    meshes = {number: mesh for number, mesh in body_meshes(one.model).items() if mesh.role == "hand"}
    numbers = get_protocol("scene-lift").trial.world(item.scene, item.target).numbers
    for place, number in enumerate(numbers):
        record, target = item.scene.objects[number], number == item.target
        rgb, role = (OBJECT, "object") if target else (_NEIGHBORS[number % len(_NEIGHBORS)], "neighbor")
        meshes[one.model.body(object_body(place)).id] = ColoredMesh(record.vertices, record.faces, rgb, role)
    return meshes


@dataclass(frozen=True)
class Painter:
    """Paints a frame; a task of an executor."""

    meshes: Mapping[int, ColoredMesh]  # by body
    origin: np.ndarray
    viewpoint: Viewpoint

    def __call__(self, frame: Frame) -> Image.Image:
        """Return the frame as a picture."""
        placed = []
        for body, mesh in self.meshes.items():
            R = Rotation.from_quat(frame.poses[body, 3:], scalar_first=True).as_matrix()
            vertices = mesh.vertices @ R.T + frame.poses[body, :3] - self.origin
            placed.append(replace(mesh, vertices=vertices))
        view = self.viewpoint
        drawing = Drawing(tuple(placed), (), "", "", True, view.azimuth_deg, view.center, view.width)
        return Image.fromarray(np.round(255 * render(drawing, _SIZE, view)).astype(np.uint8))


def write_gif(pictures: list[Image.Image], path: Path) -> None:
    """Write an animation with one palette, so that what rests does not flicker."""
    sheet = Image.new("RGB", (_SIZE[0], _SIZE[1] * 3))
    for row, number in enumerate((0, len(pictures) // 2, len(pictures) - 1)):
        sheet.paste(pictures[number], (0, row * _SIZE[1]))
    palette = sheet.quantize(255, method=Image.Quantize.MEDIANCUT, kmeans=2)
    colors = np.array(palette.getpalette()).reshape(-1, 3)
    colors[colors.sum(1).argmax()] = 255  # the background stays white
    palette.putpalette(colors.ravel().tolist())
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    durations = [round(1000 * _EVERY * FRAME_S)] * (len(frames) - 1) + [round(1000 * _LAST_S)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)


def main() -> None:
    """Film and write."""
    parser = command_line(__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--object", type=int, default=None, help="its number in the first scene")
    parser.add_argument("--gif", type=Path, required=True)
    parser.add_argument("--checkpoint", default="leap_table")
    parser.add_argument("--azimuth", type=float, default=-60.0, help="of the viewer (degrees)")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    model = load_grasp_model(options.checkpoint)
    _, item = request_from_store(options.store, options.object)
    method = ModelMethod(model, model.generator.sampling, options.seed)
    (proposal,) = method.sample_items([item], options.samples)
    hand = Hand(model.hand.description)
    one = film(hand, item.scene, item.target, proposal.grasps, 0, get_protocol("scene-lift"))
    if one.verdict.outcome != Outcome.SUCCESS:
        raise SystemExit(
            f"The best grasp ended as {one.verdict.outcome.name}; choose another --object or --seed."
        )
    view = Viewpoint(options.azimuth, 28.0, 0.70, (0.0, 0.0, 0.085))
    origin = np.array([*item.scene.T_world_object[:, :2, 3].mean(0), 0.0])
    painter = Painter(bodies(item, one), origin, view)
    frames = one.frames[::_EVERY]
    pictures = list(map_ordered(painter, frames, LocalExecutor(workers=options.workers)))
    write_gif(pictures, options.gif)
    print(f"{len(pictures)} frames, {options.gif.stat().st_size / 1e6:.1f} MB: {options.gif}")


if __name__ == "__main__":
    main()
