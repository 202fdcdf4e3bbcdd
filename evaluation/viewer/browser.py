"""The controls of the viewer: which item, whose grasps, which of them; and the panels that compute something."""

from collections.abc import Callable
from typing import Any

import viser

from sceneleapultra.evaluation.viewer.denoising import DenoisingPanel
from sceneleapultra.evaluation.viewer.replay import ReplayPanel
from sceneleapultra.evaluation.viewer.sides import APART_M, LAYERS, STAGES, Side, details
from sceneleapultra.evaluation.viewer.stage import Stage
from sceneleapultra.evaluation.viewer.subject import Catalog, Subject

_NOBODY = "(nobody)"


class Browser:
    """Shows one subject of a catalog, and another one when the controls say so.

    Args:
        stage: where.
        catalog: what.
    """

    def __init__(self, stage: Stage, catalog: Catalog) -> None:
        self.stage, self.catalog = stage, catalog
        self.sides: list[Side] = []
        self._subject: Subject = catalog.read(0)
        self._busy = False  # while this program itself sets controls
        gui = stage.server.gui
        last = len(catalog) - 1
        self._item = gui.add_slider("item", 0, max(last, 1), 1, 0, visible=last > 0)
        self._caption = gui.add_markdown("")
        self._method: viser.GuiDropdownHandle[str] = gui.add_dropdown("method", ("",))
        self._beside: viser.GuiDropdownHandle[str] = gui.add_dropdown("beside", (_NOBODY,))
        self._grasp = gui.add_slider("grasp, best first", 1, 2, 1, 1)
        self._moment = gui.add_dropdown("hand at", STAGES)
        with gui.add_folder("Layers", expand_by_default=False):
            self._layers = {name: gui.add_checkbox(name, True) for name in LAYERS}
        self._outcome = gui.add_markdown("")
        self.panels = (DenoisingPanel(self), ReplayPanel(self))
        with gui.add_folder("What is known of it"):
            self._details = gui.add_markdown("")
        self._react(self._item, self._read)
        for name in (self._method, self._beside):
            self._react(name, self._place_sides)
        for moment in (self._grasp, self._moment):
            self._react(moment, self._draw_hands)
        for box in self._layers.values():
            self._react(box, self.show_layers)
        with stage.lock:
            self._read()

    @property
    def grasp(self) -> int:
        """The number of the grasp that is shown, from 0."""
        return int(self._grasp.value) - 1

    def show_layers(self) -> None:
        """Show the layers that are ticked; the still hand and objects give way to panels that move theirs."""
        moving = {layer for panel in self.panels for layer in panel.replaces}
        for side in self.sides:
            for name, box in self._layers.items():
                self.stage.show(side.group(name), box.value and name not in moving)

    def _react(self, control: Any, act: Callable[[], None]) -> None:
        @control.on_update
        def _(_: viser.GuiEvent[Any]) -> None:
            if not self._busy:
                with self.stage.lock, self.stage.server.atomic():
                    act()

    def _read(self) -> None:
        """Read the chosen item; its first method is shown."""
        self._subject = self.catalog.read(int(self._item.value))
        methods = tuple(self._subject.candidates) or ("",)
        self._busy = True
        self._caption.content = self._subject.caption
        self._method.options, self._beside.options = methods, (_NOBODY, *methods)
        self._method.value, self._beside.value = methods[0], _NOBODY
        self._method.visible, self._beside.visible = methods != ("",), len(methods) > 1
        self._busy = False
        self._place_sides()

    def _place_sides(self) -> None:
        """Stand one or two sides on the stage."""
        self.stage.erase()
        names = [self._method.value] + ([] if self._beside.value == _NOBODY else [self._beside.value])
        self.sides = [Side.of(f"side{i}", self._subject, name, i * APART_M) for i, name in enumerate(names)]
        most = max((len(side.candidates.grasps) for side in self.sides if side.candidates), default=0)
        self._busy = True
        self._grasp.max, self._grasp.value = max(2, most), 1
        self._grasp.visible = self._moment.visible = most > 0
        self._busy = False
        for side in self.sides:
            side.draw_scene(self.stage)
        self.stage.look_at((len(names) - 1) * APART_M / 2)
        self._draw_hands()

    def _draw_hands(self) -> None:
        for panel in self.panels:
            panel.close()
        for side in self.sides:
            side.draw_hand(self.stage, self.catalog.hand, self.grasp, self._moment.value)
        self._outcome.content = "\n\n".join(side.outcome(self.grasp) for side in self.sides)
        self._details.content = details(self.sides, self.grasp)
        self.show_layers()
