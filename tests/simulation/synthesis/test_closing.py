from pathlib import Path

import numpy as np
import trimesh

from sceneleapultra.hands import load_hand
from sceneleapultra.simulation.synthesis.base import prepare
from sceneleapultra.simulation.synthesis.closing import Closer
from sceneleapultra.simulation.synthesis.sim_close import SimClose
from sceneleapultra.utils.records import Scene

# Meshes in millimetres and soft contacts by default, and a free choice of names.
MJCF = """<mujoco>
  <default><mesh scale="0.001 0.001 0.001"/><geom solref="0.1 3" margin="0.02"/><joint damping="7"/></default>
  <asset><mesh name="object_1_0" file="palm.stl"/></asset>
  <worldbody><body name="closing_target"><geom type="mesh" mesh="object_1_0"/>
    <body name="f" pos="0 0 0.02"><joint name="j" axis="1 0 0" range="0 86"/>
      <geom type="capsule" size="0.008 0.02" pos="0 0 0.03"/></body></body></worldbody>
  <actuator><position name="j" joint="j" kp="2"/></actuator></mujoco>"""


def test_what_a_hands_file_sets_by_default_holds_for_the_hand_alone(
    tmp_path: Path, scene: Scene, sim_close: SimClose
) -> None:
    trimesh.creation.box((40, 40, 10)).export(tmp_path / "palm.stl")
    (tmp_path / "hand.xml").write_text(MJCF)
    target = prepare(load_hand(tmp_path / "hand.xml"), scene, 1)
    model = Closer(target, sim_close.closing).model
    body = model.body("closing_target")
    first, number = int(body.geomadr[0]), len(scene.objects[1].pieces)
    for geom, piece in zip(range(first, first + number), scene.objects[1].pieces, strict=True):
        mesh = model.mesh(int(model.geom_dataid[geom]))
        vertices = model.mesh_vert[int(mesh.vertadr[0]) :][: int(mesh.vertnum[0])]
        # MuJoCo keeps a mesh along its own axes: the diameter stays
        diameter = np.linalg.norm(piece[:, None] - piece, axis=-1).max()
        np.testing.assert_allclose(
            np.linalg.norm(vertices[:, None] - vertices, axis=-1).max(), diameter, rtol=1e-5
        )
    actuation = target.hand.description.actuation
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] not in (model.body("hand/closing_target").id, model.body("hand/f").id):
            np.testing.assert_allclose(model.geom_solref[geom], actuation.solref)
            assert model.geom_margin[geom] in (0.0, sim_close.closing.obstacle_margin_m)
        else:
            np.testing.assert_allclose(model.geom_solref[geom], [0.1, 3])
    dof = int(model.joint("hand/j").dofadr[0])
    assert model.dof_damping[dof] == 7


def test_a_base_that_stands_still_does_not_hold_what_it_carries(
    tmp_path: Path, scene: Scene, sim_close: SimClose
) -> None:
    trimesh.creation.box((40, 40, 80)).export(tmp_path / "palm.stl")  # the finger begins inside of it
    (tmp_path / "hand.xml").write_text(MJCF)
    closer = Closer(prepare(load_hand(tmp_path / "hand.xml"), scene, 1), sim_close.closing)
    away = np.eye(4)
    away[2, 3] = 1.0
    closed = closer.close(away, np.zeros(1), np.ones(1))
    assert closed.qpos[0] > 0.1 and not closed.touching.any()
