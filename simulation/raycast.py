"""What a perfect camera sees of a scene: depth and instance by casting rays at the objects' true surfaces."""

import mujoco
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from sceneleapultra.utils.records import Scene

# Instance of a pixel that shows neither table nor object; its depth is infinite.
NOTHING = -1


class RayCaster:
    """The visible surfaces of a scene, compiled once and seen from many poses; needs no graphics system.

    Rays meet the triangles themselves, not their hull, so the inside of a cup is seen. Only pixels whose ray may
    meet an object are cast; the table is the plane z = 0.
    """

    def __init__(self, scene: Scene) -> None:
        """Compile the surfaces where they lie."""
        self._table = scene.table
        self._vertices = [
            record.vertices @ T[:3, :3].T + T[:3, 3]
            for record, T in zip(scene.objects, scene.T_world_object, strict=True)
        ]
        spec = mujoco.MjSpec()
        for i, (record, T) in enumerate(zip(scene.objects, scene.T_world_object, strict=True)):
            mesh = spec.add_mesh(
                name=str(i),
                uservert=np.asarray(record.vertices, dtype=float).ravel(),
                userface=np.asarray(record.faces, dtype=np.int32).ravel(),
                inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            )
            body = spec.worldbody.add_body(
                pos=T[:3, 3], quat=Rotation.from_matrix(T[:3, :3]).as_quat(scalar_first=True)
            )
            # Without collisions no hull is computed.
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=mesh.name, contype=0, conaffinity=0)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        mujoco.mj_kinematics(self._model, self._data)

    def render(
        self, T_world_cam: Float[np.ndarray, "4 4"], K: Float[np.ndarray, "3 3"], width: int, height: int
    ) -> tuple[Float[np.ndarray, "h w"], Int[np.ndarray, "h w"]]:
        """Return depth along the optical axis (float32) and instance: 0 table, i + 1 object i, else NOTHING."""
        R, origin = T_world_cam[:3, :3], T_world_cam[:3, 3]
        directions = pixel_rays(K, width, height)
        depth = np.full(height * width, np.inf)
        instance = np.full(height * width, NOTHING, dtype=np.int16)
        if self._table:
            down = -(directions @ R[2])
            hits = down > 1e-9
            depth[hits] = origin[2] / down[hits]
            instance[hits] = 0

        cast = self._may_show_objects(T_world_cam, K, width, height)
        cast_directions = directions[cast]
        length = np.linalg.norm(cast_directions, axis=1)
        rays = (cast_directions / length[:, None]) @ R.T
        geom = np.empty(len(cast), dtype=np.int32)
        distance = np.empty(len(cast))
        mujoco.mj_multiRay(
            self._model,
            self._data,
            origin,
            rays.ravel(),
            None,
            1,
            -1,
            geom,
            distance,
            len(cast),
            mujoco.mjMAXVAL,
        )
        object_depth = distance / length
        front = (geom >= 0) & (object_depth < depth[cast])
        depth[cast[front]] = object_depth[front]
        instance[cast[front]] = geom[front] + 1
        return depth.astype(np.float32).reshape(height, width), instance.reshape(height, width)

    def _may_show_objects(
        self, T_world_cam: Float[np.ndarray, "4 4"], K: Float[np.ndarray, "3 3"], width: int, height: int
    ) -> Int[np.ndarray, "r"]:
        """Return the pixels in the image rectangles about the objects."""
        mask = np.zeros((height, width), dtype=bool)
        for vertices in self._vertices:
            in_cam = (vertices - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
            if in_cam[:, 2].min() < 1e-3:  # beside or behind the camera: no rectangle bounds the projection
                mask[:] = True
                break
            pixels = in_cam @ K.T
            pixels = pixels[:, :2] / pixels[:, 2:]
            left, top = np.clip(np.floor(pixels.min(0)), 0, [width, height]).astype(int)
            right, bottom = np.clip(np.ceil(pixels.max(0)) + 1, 0, [width, height]).astype(int)
            mask[top:bottom, left:right] = True
        return np.flatnonzero(mask)


def pixel_rays(K: Float[np.ndarray, "3 3"], width: int, height: int) -> Float[np.ndarray, "hw 3"]:
    """Return the directions of all pixels in the camera frame, row by row, with z = 1: points at depth one."""
    x = (np.arange(width) - K[0, 2]) / K[0, 0]
    y = (np.arange(height) - K[1, 2]) / K[1, 1]
    rays = np.ones((height, width, 3))
    rays[..., 0] = x
    rays[..., 1] = y[:, None]
    return rays.reshape(-1, 3)
