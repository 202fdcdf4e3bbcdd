"""A trial again, moment by moment: bodies, contacts and forces of the simulation that judged the grasp."""

import threading
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import viser

from sceneleapultra.evaluation.viewer.panel import Panel
from sceneleapultra.evaluation.viewer.sides import Side
from sceneleapultra.reporting.simulated import body_meshes
from sceneleapultra.simulation.protocols.film import TOUCHED, Film, Frame, film

if TYPE_CHECKING:
    from sceneleapultra.evaluation.viewer.browser import Browser

_FRAME_S = 0.05  # while it plays
_HAND = 0.55  # opacity, so that forces show


class ReplayPanel(Panel):
    """Puts the grasp that is shown through its protocol once more; with two sides, both grasps."""

    layers: ClassVar = ("trial", "forces")
    hides: ClassVar = ("hand", "objects", "all bases", "cloud")

    def __init__(self, browser: "Browser") -> None:
        super().__init__(browser, "Trial, moment by moment", "Try this grasp again")
        self._films: list[tuple[Side, Film]] = []
        self._bodies: list[dict[int, viser.MeshHandle]] = []
        with self.folder:
            self._playing = self.stage.server.gui.add_checkbox("play", False, visible=False)
        self._playing.on_update(self._play)

    def add_controls(self, gui: viser.GuiApi) -> None:
        """Add whether forces are shown."""
        self._with_forces = gui.add_checkbox("forces", True)

    def close(self) -> None:
        """Forget the films."""
        super().close()
        for side, _ in self._films:
            self.stage.show(side.group("table"), True)
        self._films, self._bodies = [], []
        self._playing.visible = self._playing.value = False

    def compute(self) -> int:
        """Simulate the grasp of each side."""
        rules, hand = self.browser.catalog.rules, self.browser.catalog.hand
        if rules.protocol is None:
            raise ValueError(rules.why_not)
        films = []
        for side in self.browser.sides:
            found, item = side.candidates, side.subject.item
            if item is None or found is None or self.browser.grasp >= len(found.grasps):
                continue
            one = film(hand, item.scene, item.target, found.grasps, self.browser.grasp, rules.protocol)
            if one.frames:
                films.append((side, one))
            else:
                raise ValueError(
                    f"{side.method}: it ended before anything moved ({_words(one)}), so there is nothing to see."
                )
        self._films = films
        self._bodies = [self._draw_bodies(side, one) for side, one in films]
        self._playing.visible = bool(films)
        return max((len(one.frames) for _, one in films), default=0)

    def draw(self, moment: int) -> str:
        """Move the bodies to a moment."""
        lines = []
        for (side, one), bodies in zip(self._films, self._bodies, strict=True):
            frame = one.frames[min(moment, len(one.frames) - 1)]
            for number, node in bodies.items():
                node.position = side.place(frame.poses[number, :3])
                node.wxyz = frame.poses[number, 3:]
            self.stage.erase(side.group("forces"))
            if self._with_forces.value:
                points = side.place(frame.points)
                self.stage.forces(side.group("forces"), points, frame.forces, frame.touched)
            lines.append(f"**{side.method}** ({_words(one)})\n\n{_describe(one, frame)}")
        return "\n\n".join(lines)

    def _draw_bodies(self, side: Side, one: Film) -> dict[int, viser.MeshHandle]:
        self.stage.show(side.group("table"), "table" in _geoms(one))
        return {
            number: self.stage.mesh(side.group("trial"), mesh, opacity=_HAND if mesh.role == "hand" else 1.0)
            for number, mesh in body_meshes(one.model).items()
        }

    def _play(self, _: "viser.GuiEvent[Any]") -> None:
        if self._playing.value:
            threading.Thread(target=self._advance, daemon=True).start()

    def _advance(self) -> None:
        pause = threading.Event()
        while self._playing.value and self.slider.visible:
            self.slider.value = (int(self.slider.value) + 1) % (int(self.slider.max) + 1)
            pause.wait(_FRAME_S)


def _geoms(one: Film) -> list[str]:
    return [one.model.geom(i).name for i in range(one.model.ngeom)]


def _words(one: Film) -> str:
    return one.verdict.outcome.name.lower().replace("_", " ")


def _describe(one: Film, frame: Frame) -> str:
    runs = list(dict.fromkeys(f.run for f in one.frames))
    run = f"run {runs.index(frame.run) + 1} of {len(runs)}, " if len(runs) > 1 else ""
    forces = ", ".join(f"{frame.force_on(group):.1f} N on {group}" for group in TOUCHED)
    deepest = f"{len(frame.points)} contacts"
    strongest = np.linalg.norm(frame.forces, axis=1).max(initial=0.0)
    return f"{run}{frame.time_s:.2f} s: {forces}; {deepest}, the strongest {strongest:.1f} N"
