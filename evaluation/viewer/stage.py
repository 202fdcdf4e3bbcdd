"""What a browser shows: a scene of a viser server, drawn from arrays, and the texts and controls beside it."""

import contextlib
import io
import threading
from collections.abc import Sequence

import numpy as np
import viser
from jaxtyping import Float

from sceneleapultra.reporting.drawing import ColoredMesh, Rgb
from sceneleapultra.reporting.pictures import table_top
from sceneleapultra.simulation.protocols.film import TOUCHED

HOST = "127.0.0.1"
_POINT_M = 0.0016
_N_PER_M = 40.0  # force of an arrow that is one metre long
_FORCES = {"target": (255, 160, 0), "table": (199, 41, 46), "neighbors": (156, 39, 176)}


class Stage:
    """A server and its scene, world frame: z up, metres. Everything has a name; drawing it again replaces it.

    Args:
        port: where it listens, on this machine alone; 0 for a free one.
        title: above the controls.

    Raises:
        ValueError: somebody listens there.
    """

    def __init__(self, port: int, title: str) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its addresses, in a frame
            self.server = viser.ViserServer(host=HOST, port=port, verbose=False)
        self.lock = threading.RLock()  # of whoever draws: callbacks come from several threads
        if port and self.server.get_port() != port:  # it took the next one
            self.server.stop()
            raise ValueError(f"--port {port} is in use. Pass another, or --port 0 for a free one.")
        self.server.gui.configure_theme(show_logo=False, show_share_button=False)
        self.server.gui.main_panel.dock_right()
        self.server.gui.set_panel_label(title)
        self.server.scene.set_up_direction("+z")
        self.server.initial_camera.position = (0.34, -0.42, 0.34)
        self._parts: dict[str, list[viser.SceneNodeHandle]] = {}

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.server.get_port()}"

    def look_at(self, x: float) -> None:
        """Turn every camera to what stands at a place along x."""
        center = (x, 0.0, 0.07)
        self.server.initial_camera.look_at = center
        for client in self.server.get_clients().values():
            client.camera.look_at = center

    def drawn(self, group: str) -> list[viser.SceneNodeHandle]:
        """Return what was drawn in a group, in its order."""
        return list(self._parts.get(group, []))

    def erase(self, *groups: str) -> None:
        """Remove what was drawn in some groups; all, if none is named."""
        for group in groups or tuple(self._parts):
            for node in self._parts.pop(group, []):
                node.remove()

    def show(self, group: str, visible: bool) -> None:
        """Show or hide what was drawn in a group."""
        for node in self._parts.get(group, []):
            node.visible = visible

    def mesh(
        self, group: str, mesh: ColoredMesh, *, opacity: float = 1.0, visible: bool = True
    ) -> viser.MeshHandle:
        """Draw a mesh."""
        node = self.server.scene.add_mesh_simple(
            self._name(group),
            np.asarray(mesh.vertices, dtype=np.float32),
            np.asarray(mesh.faces, dtype=np.uint32),
            color=_color(mesh.rgb),
            opacity=None if opacity == 1.0 else opacity,
            flat_shading=True,
            side="double",
            visible=visible,
        )
        self._parts.setdefault(group, []).append(node)
        return node

    def points(
        self, group: str, points: Float[np.ndarray, "n 3"], colors: Sequence[Rgb] | Rgb, *, scale: float = 1.0
    ) -> None:
        """Draw points of one color, or of one each."""
        if len(points) == 0:
            return
        node = self.server.scene.add_point_cloud(
            self._name(group),
            np.asarray(points, dtype=np.float32),
            (255 * np.asarray(colors)).round().astype(np.uint8),
            point_size=_POINT_M * scale,
            point_shape="circle",
            precision="float32",
        )
        self._parts.setdefault(group, []).append(node)

    def table(self, group: str, center: Float[np.ndarray, "3"]) -> None:
        """Draw a table top at z = 0 about a point."""
        top = table_top()
        at = np.array([center[0], center[1], 0.0])
        self.mesh(group, ColoredMesh(top.vertices + at, top.faces, top.rgb, "table"))

    def forces(
        self,
        group: str,
        points: Float[np.ndarray, "c 3"],
        forces: Float[np.ndarray, "c 3"],
        touched: np.ndarray,
    ) -> None:
        """Draw forces (N) as arrows from where they act, orange on the target, red the table, purple neighbors."""
        if len(points) == 0:
            return
        ends = np.stack([points, points + forces / _N_PER_M], axis=1)
        colors = np.array([_FORCES[TOUCHED[number]] for number in touched], dtype=np.uint8)
        node = self.server.scene.add_arrows(
            self._name(group),
            ends.astype(np.float32),
            colors,
            shaft_radius=0.002,
            head_radius=0.005,
            head_length=0.01,
        )
        self._parts.setdefault(group, []).append(node)

    def _name(self, group: str) -> str:
        return f"/{group}/{len(self._parts.get(group, []))}"


def _color(rgb: Rgb) -> tuple[int, int, int]:
    r, g, b = (round(255 * c) for c in rgb)
    return r, g, b
